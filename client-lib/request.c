/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "request.h"

#include <fcntl.h>
#include <unistd.h>

#include <guestlock-enum-types.h>

#include "error.h"
#include "resource.h"
#include "words.h"

/* The bus throws out who sends more in a message. */
#define MAX_DESCRIPTORS 16

/*
 * The options are kept as the variants that go over the bus, by key, each marked with the part of a call that knows
 * it: what was never set is never sent, and the service's defaults hold.
 */

/**
 * GuestlockRequest:
 *
 * What to ask for: resources, and how. Everything has a default. A call takes what is in it when it begins, and a
 * request may be used again.
 *
 * Since: 0.1
 */
struct _GuestlockRequest {
        GObject parent_instance;
        GPtrArray *resources;   /* (owned) of GuestlockResource */
        GHashTable *options[3]; /* (owned) from key to GVariant; one for each GlRequestPart */
        int pidfd;              /* owned; -1: none, or none could be had */
        gboolean has_pidfd;
        gboolean paused;
};

G_DEFINE_FINAL_TYPE(GuestlockRequest, guestlock_request, G_TYPE_OBJECT)

static void guestlock_request_finalize(GObject *object) {
        GuestlockRequest *self = GUESTLOCK_REQUEST(object);

        if (self->pidfd >= 0)
                close(self->pidfd);
        g_ptr_array_unref(self->resources);
        for (gsize i = 0; i < G_N_ELEMENTS(self->options); i++)
                g_hash_table_unref(self->options[i]);
        G_OBJECT_CLASS(guestlock_request_parent_class)->finalize(object);
}

static void guestlock_request_class_init(GuestlockRequestClass *class) {
        G_OBJECT_CLASS(class)->finalize = guestlock_request_finalize;
}

static void guestlock_request_init(GuestlockRequest *self) {
        self->pidfd = -1;
        self->resources = g_ptr_array_new_with_free_func(g_object_unref);
        for (gsize i = 0; i < G_N_ELEMENTS(self->options); i++)
                self->options[i] =
                        g_hash_table_new_full(g_str_hash, g_str_equal, NULL, (GDestroyNotify) g_variant_unref);
}

/* Key is static; a value that is NULL takes the option back. */
static void set_option(GuestlockRequest *self, GlRequestPart part, const char *key, GVariant *value) {
        GHashTable *options = self->options[g_bit_nth_lsf(part, -1)];

        if (value)
                g_hash_table_insert(options, (char *) key, g_variant_ref_sink(value));
        else
                g_hash_table_remove(options, key);
}

static gboolean belongs(const char *key, GlRequestPart part, GlRequestPart parts) {
        static const char *const tested[] = {"driver", "owner-uid", "pid", "require-scope", NULL};

        return parts & GL_REQUEST_TEST ? g_strv_contains(tested, key) : !!(parts & part);
}

gboolean gl_request_options(GuestlockRequest *self, GlRequestPart parts, GVariantDict *options, GUnixFDList *fds,
                            GError **error) {
        GHashTableIter iter;
        gpointer key, value;
        int index;

        for (gsize i = 0; self && i < G_N_ELEMENTS(self->options); i++) {
                g_hash_table_iter_init(&iter, self->options[i]);
                while (g_hash_table_iter_next(&iter, &key, &value))
                        if (belongs(key, 1 << i, parts))
                                g_variant_dict_insert_value(options, key, value);
        }
        if (!self || !(parts & (GL_REQUEST_ACQUIRE | GL_REQUEST_TEST)))
                return TRUE;
        if (self->has_pidfd && self->pidfd < 0) {
                /* A lease without its holder would be another thing than what was asked for. */
                g_set_error(error, GUESTLOCK_ERROR, GUESTLOCK_ERROR_INVALID_ARGS,
                            "The descriptor of the holder could not be copied when it was given to the request.");
                return FALSE;
        }
        if (self->has_pidfd) {
                index = g_unix_fd_list_append(fds, self->pidfd, error);
                if (index < 0)
                        return FALSE;
                g_variant_dict_insert(options, "pidfd", "h", index);
        }
        if (self->paused && (parts & GL_REQUEST_ACQUIRE))
                g_variant_dict_insert(options, "register-only", "b", TRUE);
        return TRUE;
}

GPtrArray *gl_request_resources(GuestlockRequest *self) {
        return self ? self->resources : NULL;
}

static gboolean has(GuestlockRequest *self, GlRequestPart part, const char *key) {
        return self && g_hash_table_contains(self->options[g_bit_nth_lsf(part, -1)], key);
}

guint gl_request_wait_ms(GuestlockRequest *self) {
        if (!has(self, GL_REQUEST_ACQUIRE, "wait-ms"))
                return 0;
        return g_variant_get_uint32(
                g_hash_table_lookup(self->options[g_bit_nth_lsf(GL_REQUEST_ACQUIRE, -1)], "wait-ms"));
}

gboolean gl_request_waits(GuestlockRequest *self) {
        return gl_request_wait_ms(self) > 0;
}

gboolean gl_request_keeps(GuestlockRequest *self) {
        return has(self, GL_REQUEST_START, "keep");
}

gboolean gl_request_is_paused(GuestlockRequest *self) {
        return self && self->paused;
}

gboolean gl_request_has_process(GuestlockRequest *self) {
        return self && (self->has_pidfd || has(self, GL_REQUEST_ACQUIRE, "pid"));
}

gboolean gl_request_needs_steps(GuestlockRequest *self) {
        guint n = self && self->has_pidfd;

        if (!self)
                return FALSE;
        for (guint i = 0; i < self->resources->len; i++) {
                if (gl_resource_fd(self->resources->pdata[i]) < 0)
                        continue;
                if (guestlock_resource_get_resource_type(self->resources->pdata[i]) != GUESTLOCK_RESOURCE_TYPE_DISK)
                        return TRUE;
                n++;
        }
        return self->paused || n > MAX_DESCRIPTORS;
}

gboolean gl_request_owner(GuestlockRequest *self, guint *uid) {
        if (!has(self, GL_REQUEST_CREATE, "owner-uid"))
                return FALSE;
        *uid = g_variant_get_uint32(
                g_hash_table_lookup(self->options[g_bit_nth_lsf(GL_REQUEST_CREATE, -1)], "owner-uid"));
        return TRUE;
}

/**
 * guestlock_request_new:
 *
 * Returns: (transfer full): a request for nothing, with every default
 *
 * Since: 0.1
 */
GuestlockRequest *guestlock_request_new(void) {
        return g_object_new(GUESTLOCK_TYPE_REQUEST, NULL);
}

/**
 * guestlock_request_add_resource:
 * @self: a request
 * @resource: what the guest uses
 *
 * Adds a resource. Requests with resources are for creating and starting a guest; for a guest that there is see
 * [method@Guest.register_resource_sync] and [method@Guest.attach_resource_sync].
 *
 * Since: 0.1
 */
void guestlock_request_add_resource(GuestlockRequest *self, GuestlockResource *resource) {
        g_return_if_fail(GUESTLOCK_IS_REQUEST(self));
        g_return_if_fail(GUESTLOCK_IS_RESOURCE(resource));
        g_ptr_array_add(self->resources, g_object_ref(resource));
}

/**
 * guestlock_request_add_disk:
 * @self: a request
 * @path: the disk's absolute path
 * @mode: how the guest uses it
 *
 * Adds a disk; see [ctor@Resource.new_disk].
 *
 * Since: 0.1
 */
void guestlock_request_add_disk(GuestlockRequest *self, const char *path, GuestlockMode mode) {
        g_return_if_fail(GUESTLOCK_IS_REQUEST(self));
        g_return_if_fail(path);
        g_ptr_array_add(self->resources, guestlock_resource_new_disk(path, mode));
}

/**
 * guestlock_request_set_pid:
 * @self: a request
 * @pid: the holder; 0, the default: none
 *
 * Sets the process whose life bounds the leases: the guest's, or its supervisor's. Without one they last until they are
 * released.
 *
 * Since: 0.1
 */
void guestlock_request_set_pid(GuestlockRequest *self, guint pid) {
        g_return_if_fail(GUESTLOCK_IS_REQUEST(self));
        set_option(self, GL_REQUEST_ACQUIRE, "pid", pid ? g_variant_new_uint32(pid) : NULL);
}

/**
 * guestlock_request_set_pidfd:
 * @self: a request
 * @pidfd: a descriptor of the holder, which stays the caller's; -1, the default: none
 *
 * As [method@Request.set_pid], by a descriptor from pidfd_open(2).
 *
 * Since: 0.1
 */
void guestlock_request_set_pidfd(GuestlockRequest *self, int pidfd) {
        g_return_if_fail(GUESTLOCK_IS_REQUEST(self));
        if (self->pidfd >= 0)
                close(self->pidfd);
        self->has_pidfd = pidfd >= 0;
        self->pidfd = pidfd >= 0 ? fcntl(pidfd, F_DUPFD_CLOEXEC, 3) : -1;
}

/**
 * guestlock_request_set_supervisor:
 * @self: a request
 * @supervisor: whether the holder is a supervisor, which starts the guest as its child; by default not
 *
 * See [method@Guest.set_child_sync].
 *
 * Since: 0.1
 */
void guestlock_request_set_supervisor(GuestlockRequest *self, gboolean supervisor) {
        g_return_if_fail(GUESTLOCK_IS_REQUEST(self));
        set_option(self, GL_REQUEST_ACQUIRE, "supervisor", supervisor ? g_variant_new_boolean(TRUE) : NULL);
}

/**
 * guestlock_request_set_wait:
 * @self: a request
 * @milliseconds: how long, at most a day; 0, the default: not at all
 *
 * Sets how long to wait for resources that others hold. Who waits holds nothing; those who wait are served first come,
 * first served. A call that waits and has a [class@Gio.Cancellable] goes over a connection of its own to the bus, so
 * that cancelling it gives its place in the queue back.
 *
 * Since: 0.1
 */
void guestlock_request_set_wait(GuestlockRequest *self, guint milliseconds) {
        g_return_if_fail(GUESTLOCK_IS_REQUEST(self));
        set_option(self, GL_REQUEST_ACQUIRE, "wait-ms", milliseconds ? g_variant_new_uint32(milliseconds) : NULL);
}

/**
 * guestlock_request_set_lease_state:
 * @self: a request
 * @state: (nullable): a string from [method@Guest.release_sync] or [method@Guest.inquire_sync]
 *
 * Asks for the leases only if nobody held the resources for writing since; else `GUESTLOCK_ERROR_STALE`.
 *
 * Since: 0.1
 */
void guestlock_request_set_lease_state(GuestlockRequest *self, const char *state) {
        g_return_if_fail(GUESTLOCK_IS_REQUEST(self));
        set_option(self, GL_REQUEST_ACQUIRE, "state", state ? g_variant_new_string(state) : NULL);
}

/**
 * guestlock_request_set_paused:
 * @self: a request
 * @paused: whether the guest begins paused; by default not
 *
 * A paused guest has its process bound, if there is one, and nothing taken: [method@Guest.resume_sync] takes the
 * leases, before the guest is let run.
 *
 * Since: 0.1
 */
void guestlock_request_set_paused(GuestlockRequest *self, gboolean paused) {
        g_return_if_fail(GUESTLOCK_IS_REQUEST(self));
        self->paused = !!paused;
}

/**
 * guestlock_request_set_keep:
 * @self: a request
 * @keep: whether a guest that is started stays known when it has ended; by default not
 *
 * Guests that are created, begin paused or have disks by descriptor are always kept, until
 * [method@Guest.remove_sync].
 *
 * Since: 0.1
 */
void guestlock_request_set_keep(GuestlockRequest *self, gboolean keep) {
        g_return_if_fail(GUESTLOCK_IS_REQUEST(self));
        set_option(self, GL_REQUEST_START, "keep", keep ? g_variant_new_boolean(TRUE) : NULL);
}

/**
 * guestlock_request_set_id:
 * @self: a request
 * @id: a number that the caller knows the guest by; 0, the default: none
 *
 * Since: 0.1
 */
void guestlock_request_set_id(GuestlockRequest *self, guint id) {
        g_return_if_fail(GUESTLOCK_IS_REQUEST(self));
        set_option(self, GL_REQUEST_CREATE, "id", id ? g_variant_new_uint32(id) : NULL);
}

/**
 * guestlock_request_set_driver:
 * @self: a request
 * @driver: (nullable): the driver that makes the guest's leases real; by default
 *   [property@Manager:default-driver]
 *
 * Since: 0.1
 */
void guestlock_request_set_driver(GuestlockRequest *self, const char *driver) {
        g_return_if_fail(GUESTLOCK_IS_REQUEST(self));
        set_option(self, GL_REQUEST_CREATE, "driver", driver ? g_variant_new_string(driver) : NULL);
}

/**
 * guestlock_request_set_on_lease_lost:
 * @self: a request
 * @action: what is done to the guest when it loses a lease; `GUESTLOCK_ACTION_UNKNOWN`, the default: as the service is
 *   configured
 *
 * Since: 0.1
 */
void guestlock_request_set_on_lease_lost(GuestlockRequest *self, GuestlockAction action) {
        g_return_if_fail(GUESTLOCK_IS_REQUEST(self));
        set_option(self, GL_REQUEST_CREATE, "on-lease-lost",
                   action ? g_variant_new_string(gl_word_of_value(GUESTLOCK_TYPE_ACTION, action)) : NULL);
}

/**
 * guestlock_request_set_require_scope:
 * @self: a request
 * @scope: the least scope that each lease must have; `GUESTLOCK_SCOPE_UNKNOWN`, the default: as the service is
 *   configured
 *
 * Since: 0.1
 */
void guestlock_request_set_require_scope(GuestlockRequest *self, GuestlockScope scope) {
        g_return_if_fail(GUESTLOCK_IS_REQUEST(self));
        set_option(self, GL_REQUEST_CREATE, "require-scope",
                   scope ? g_variant_new_string(gl_word_of_value(GUESTLOCK_TYPE_SCOPE, scope)) : NULL);
}

/**
 * guestlock_request_set_owner_uid:
 * @self: a request
 * @uid: the guest's owner, if not the caller, who needs to be allowed to manage other users' guests then
 *
 * Since: 0.1
 */
void guestlock_request_set_owner_uid(GuestlockRequest *self, guint uid) {
        g_return_if_fail(GUESTLOCK_IS_REQUEST(self));
        set_option(self, GL_REQUEST_CREATE, "owner-uid", g_variant_new_uint32(uid));
}
