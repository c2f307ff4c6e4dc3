/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Getting the leases. What the guest's disks are was registered before; those that this user has registered are opened
 * here, with his own rights, and registered once more by descriptor in place of the path. For a user other than root
 * the service hands out the locks of such alone, and for everybody it is certain now that what is leased is what is
 * found here. Then all is acquired at once, and the descriptors are fetched in portions: a message carries 16.
 *
 * What cannot be handed out is held all the same, and kept by guestlock-keeper: what somebody else has registered,
 * lease files, storage without locks.
 */

#include "supervisor/acquire.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client-lib/open-disk.h"
#include "core/error.h"

#define MAX_DESCRIPTORS 16U

typedef struct {
        char *type, *name, *state, *scope; /* (owned) (nullable) */
        GlMode mode;
        guint32 registered_by;
} Resource;

static void resource_clear(gpointer data) {
        Resource *resource = data;

        g_free(resource->type);
        g_free(resource->name);
        g_free(resource->state);
        g_free(resource->scope);
}

/* --- the property Resources --- */

static int read_text(sd_bus_message *message, char **text) {
        const char *value;
        int r = sd_bus_message_read(message, "v", "s", &value);

        if (r > 0) {
                g_free(*text);
                *text = g_strdup(value);
        }
        return r;
}

static int read_key(sd_bus_message *message, const char *key, Resource *resource) {
        g_autofree char *mode = NULL;
        int r;

        if (g_str_equal(key, "type"))
                return read_text(message, &resource->type);
        if (g_str_equal(key, "name"))
                return read_text(message, &resource->name);
        if (g_str_equal(key, "state"))
                return read_text(message, &resource->state);
        if (g_str_equal(key, "scope"))
                return read_text(message, &resource->scope);
        if (g_str_equal(key, "registered-by"))
                return sd_bus_message_read(message, "v", "u", &resource->registered_by);
        if (!g_str_equal(key, "mode"))
                return sd_bus_message_skip(message, "v");
        r = read_text(message, &mode);
        return r >= 0 && !gl_mode_from_string(mode, &resource->mode) ? -EBADMSG : r;
}

static int read_resource(sd_bus_message *message, Resource *resource) {
        const char *key;
        int r;

        while ((r = sd_bus_message_enter_container(message, 'e', "sv")) > 0) {
                r = sd_bus_message_read(message, "s", &key);
                if (r >= 0)
                        r = read_key(message, key, resource);
                if (r >= 0)
                        r = sd_bus_message_exit_container(message);
                if (r < 0)
                        return r;
        }
        if (r >= 0 && (!resource->type || !resource->name || !resource->state))
                return -EBADMSG;
        return r;
}

static int read_resources(sd_bus_message *message, GArray *resources) {
        int r = sd_bus_message_enter_container(message, 'a', "a{sv}");

        while (r >= 0 && (r = sd_bus_message_enter_container(message, 'a', "{sv}")) > 0) {
                Resource resource = {.mode = GL_MODE_EXCLUSIVE};

                r = read_resource(message, &resource);
                g_array_append_val(resources, resource);
                if (r >= 0)
                        r = sd_bus_message_exit_container(message);
        }
        return r;
}

/* Of Resource. */
static GArray *get_resources(GlCalls *calls, GError **error) {
        __attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *reply =
                gl_calls_get(calls, "Resources", "aa{sv}", error);
        g_autoptr(GArray) resources = g_array_new(FALSE, TRUE, sizeof(Resource));
        int r;

        if (!reply)
                return NULL;
        g_array_set_clear_func(resources, resource_clear);
        r = read_resources(reply, resources);
        if (r >= 0)
                return g_steal_pointer(&resources);
        g_set_error(error, GL_ERROR, GL_ERROR_DRIVER_FAILED, "The guest's resources cannot be read: %s.",
                    g_strerror(-r));
        return NULL;
}

/* --- registering by descriptor --- */

typedef struct {
        const Resource *resource;
        int fd;
} Registration;

static int fill_registration(sd_bus_message *message, gconstpointer data) {
        const Registration *registration = data;
        const Resource *resource = registration->resource;

        return sd_bus_message_append(message, "sshsa{sv}", resource->type, resource->name, registration->fd,
                                     gl_mode_to_string(resource->mode), 1, "replace", "b", TRUE);
}

static gboolean register_disk(GlCalls *calls, const Resource *resource, GError **error) {
        __attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *reply = NULL;
        g_autoptr(GError) failure = NULL;
        Registration registration = {resource, -1};

        registration.fd = gl_open_disk(resource->name, resource->mode == GL_MODE_READONLY);
        if (registration.fd < 0) {
                g_set_error(error, GL_ERROR, GL_ERROR_ACCESS_DENIED, "The disk \"%s\" cannot be opened: %s.",
                            resource->name, g_strerror(errno));
                return FALSE;
        }
        reply = gl_calls_call(calls, "RegisterResourceFd", fill_registration, &registration, 0, &failure);
        close(registration.fd);
        /* Held by now: somebody has acquired in between. */
        if (reply || failure->code == GL_ERROR_ALREADY_REGISTERED)
                return TRUE;
        g_propagate_error(error, g_steal_pointer(&failure));
        return FALSE;
}

static gboolean register_disks(GlCalls *calls, GError **error) {
        g_autoptr(GArray) resources = get_resources(calls, error);

        for (guint i = 0; resources && i < resources->len; i++) {
                const Resource *resource = &g_array_index(resources, Resource, i);

                if (g_str_equal(resource->type, "disk") && g_str_equal(resource->state, "registered") &&
                    resource->registered_by == getuid() && !register_disk(calls, resource, error))
                        return FALSE;
        }
        return resources != NULL;
}

/* --- acquiring --- */

typedef struct {
        int pidfd;
        guint32 wait_ms;
} Acquisition;

static int fill_acquire(sd_bus_message *message, gconstpointer data) {
        const Acquisition *acquisition = data;

        return sd_bus_message_append(message, "a{sv}", 3, "pidfd", "h", acquisition->pidfd, "supervisor", "b", TRUE,
                                     "wait-ms", "u", acquisition->wait_ms);
}

static gboolean acquire(GlCalls *calls, guint32 wait_ms, GError **error) {
        Acquisition acquisition = {(int) syscall(SYS_pidfd_open, getpid(), 0), wait_ms};
        sd_bus_message *reply;

        if (acquisition.pidfd < 0) {
                g_set_error(error, GL_ERROR, GL_ERROR_DRIVER_FAILED, "There is no pidfd of the supervisor itself: %s.",
                            g_strerror(errno));
                return FALSE;
        }
        reply = gl_calls_call(calls, "Acquire", fill_acquire, &acquisition, (guint64) wait_ms * 1000, error);
        close(acquisition.pidfd);
        sd_bus_message_unref(reply);
        return reply != NULL;
}

/* --- the descriptors --- */

/* Of Resource (borrowed): a part of an array. */
typedef struct {
        Resource **first;
        guint n;
} Portion;

static int fill_inherit(sd_bus_message *message, gconstpointer data) {
        const Portion *portion = data;
        int r = sd_bus_message_open_container(message, 'a', "{sv}");

        if (r >= 0)
                r = sd_bus_message_open_container(message, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append(message, "s", "resources");
        if (r >= 0)
                r = sd_bus_message_open_container(message, 'v', "a(ss)");
        if (r >= 0)
                r = sd_bus_message_open_container(message, 'a', "(ss)");
        for (guint i = 0; r >= 0 && i < portion->n; i++)
                r = sd_bus_message_append(message, "(ss)", portion->first[i]->type, portion->first[i]->name);
        for (guint i = 0; r >= 0 && i < 4; i++)
                r = sd_bus_message_close_container(message);
        return r;
}

static gboolean keep_descriptors(sd_bus_message *reply, const Portion *portion, GPtrArray *locks, GError **error) {
        int r = sd_bus_message_skip(reply, "t"), fd;

        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'a', "h");
        for (guint i = 0; r >= 0 && i < portion->n; i++) {
                const Resource *resource = portion->first[i];

                r = sd_bus_message_read(reply, "h", &fd);
                if (r == 0)
                        r = -EBADMSG;
                fd = r > 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
                if (r > 0 && fd < 0)
                        r = -errno;
                if (fd >= 0)
                        g_ptr_array_add(locks, gl_held_lock_new(resource->type, resource->name, resource->mode, fd));
        }
        if (r >= 0)
                return TRUE;
        g_set_error(error, GL_ERROR, GL_ERROR_DRIVER_FAILED, "The lock descriptors cannot be kept: %s.",
                    g_strerror(-r));
        return FALSE;
}

/* Where one of them is not to be had, the others may be. */
static gboolean inherit(GlCalls *calls, Portion portion, GPtrArray *locks, GError **error) {
        __attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *reply = NULL;
        g_autoptr(GError) failure = NULL;
        guint half = portion.n / 2;

        reply = gl_calls_call(calls, "AcquireInherit", fill_inherit, &portion, 0, &failure);
        if (reply)
                return keep_descriptors(reply, &portion, locks, error);
        if (failure->code != GL_ERROR_ACCESS_DENIED && failure->code != GL_ERROR_NOT_SUPPORTED) {
                g_propagate_error(error, g_steal_pointer(&failure));
                return FALSE;
        }
        return portion.n == 1 || (inherit(calls, (Portion){portion.first, half}, locks, error) &&
                                  inherit(calls, (Portion){portion.first + half, portion.n - half}, locks, error));
}

static gboolean may_be_handed_out(const Resource *resource) {
        return g_str_equal(resource->state, "held") && g_strcmp0(resource->scope, "mount") != 0 &&
               (getuid() == 0 || resource->registered_by == getuid());
}

static gboolean fetch_descriptors(GlCalls *calls, GPtrArray *locks, GError **error) {
        g_autoptr(GArray) resources = get_resources(calls, error);
        g_autoptr(GPtrArray) wanted = g_ptr_array_new();

        if (!resources)
                return FALSE;
        for (guint i = 0; i < resources->len; i++)
                if (may_be_handed_out(&g_array_index(resources, Resource, i)))
                        g_ptr_array_add(wanted, &g_array_index(resources, Resource, i));
        for (guint i = 0; i < wanted->len; i += MAX_DESCRIPTORS) {
                Portion portion = {(Resource **) wanted->pdata + i, MIN(MAX_DESCRIPTORS, wanted->len - i)};

                if (!inherit(calls, portion, locks, error))
                        return FALSE;
        }
        return TRUE;
}

gboolean gl_supervisor_acquire(GlCalls *calls, guint32 wait_ms, GPtrArray *locks, GError **error) {
        return register_disks(calls, error) && acquire(calls, wait_ms, error) &&
               fetch_descriptors(calls, locks, error);
}

/* --- the child --- */

int gl_supervisor_fill_set_child(sd_bus_message *message, int pidfd, gboolean keep_orphan) {
        return sd_bus_message_append(message, "a{sv}", 2, "pidfd", "h", pidfd, "orphan", "s",
                                     keep_orphan ? "keep" : "end");
}

typedef struct {
        int pidfd;
        gboolean keep_orphan;
} ChildToSet;

static int fill_set_child(sd_bus_message *message, gconstpointer data) {
        const ChildToSet *child = data;

        return gl_supervisor_fill_set_child(message, child->pidfd, child->keep_orphan);
}

gboolean gl_supervisor_set_child(GlCalls *calls, int pidfd, gboolean keep_orphan, GError **error) {
        ChildToSet child = {pidfd, keep_orphan};
        sd_bus_message *reply = gl_calls_call(calls, "SetChild", fill_set_child, &child, 0, error);

        sd_bus_message_unref(reply);
        return reply != NULL;
}
