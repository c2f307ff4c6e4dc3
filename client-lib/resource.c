/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "resource.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <guestlock-enum-types.h>
#include <guestlock-error.h>

#include "open-disk.h"
#include "words.h"

/**
 * GuestlockResource:
 *
 * Something that a guest uses: a disk, or a byte of a lease file. It never changes: a program makes one to ask for it,
 * and gets new ones from [method@Guest.list_resources_sync] and the guest's signals. What is not known of one is 0,
 * `FALSE`, `NULL` or `UNKNOWN`.
 *
 * Since: 0.1
 */
struct _GuestlockResource {
        GObject parent_instance;
        GuestlockResourceType type;
        GuestlockMode mode;
        char *name;      /* (owned) */
        char *path;      /* (owned) (nullable) of a lease: its file */
        char *lockspace; /* (owned) (nullable) */
        guint64 offset;
        int fd; /* owned; -1: none */
        /* What the service says of it. */
        GuestlockResourceState state;
        GuestlockScope scope;
        guint64 generation, since;
        guint registered_by;
        gboolean path_moved;
        char *scope_reason, *kept_by, *driver, *held_open_by; /* (owned) (nullable) */
};

G_DEFINE_FINAL_TYPE(GuestlockResource, guestlock_resource, G_TYPE_OBJECT)

static void guestlock_resource_finalize(GObject *object) {
        GuestlockResource *self = GUESTLOCK_RESOURCE(object);

        if (self->fd >= 0)
                close(self->fd);
        g_free(self->name);
        g_free(self->path);
        g_free(self->lockspace);
        g_free(self->scope_reason);
        g_free(self->kept_by);
        g_free(self->driver);
        g_free(self->held_open_by);
        G_OBJECT_CLASS(guestlock_resource_parent_class)->finalize(object);
}

static void guestlock_resource_class_init(GuestlockResourceClass *class) {
        G_OBJECT_CLASS(class)->finalize = guestlock_resource_finalize;
}

static void guestlock_resource_init(GuestlockResource *self) {
        self->fd = -1;
}

static GuestlockResource *make(GuestlockResourceType type, const char *name, GuestlockMode mode) {
        GuestlockResource *self = g_object_new(GUESTLOCK_TYPE_RESOURCE, NULL);

        self->type = type;
        self->name = g_strdup(name);
        self->mode = mode;
        return self;
}

/**
 * guestlock_resource_new_disk:
 * @path: its absolute path
 * @mode: how the guest uses it
 *
 * A disk: an image file or a block device. A backing layer of an image is a disk of its own, in the mode
 * `GUESTLOCK_MODE_READONLY`.
 *
 * Returns: (transfer full): a new resource
 *
 * Since: 0.1
 */
GuestlockResource *guestlock_resource_new_disk(const char *path, GuestlockMode mode) {
        g_return_val_if_fail(path, NULL);
        return make(GUESTLOCK_RESOURCE_TYPE_DISK, path, mode);
}

/**
 * guestlock_resource_new_disk_fd:
 * @path: how it is called: an absolute path, at which nobody looks
 * @fd: a descriptor of it, which stays the caller's; for any mode but `GUESTLOCK_MODE_READONLY` open for writing
 * @mode: how the guest uses it
 *
 * A disk that the caller has open. A message carries 16 descriptors; what has more goes to the service one by one.
 *
 * Returns: (transfer full): a new resource
 *
 * Since: 0.1
 */
GuestlockResource *guestlock_resource_new_disk_fd(const char *path, int fd, GuestlockMode mode) {
        GuestlockResource *self;
        int copy;

        g_return_val_if_fail(path, NULL);
        copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (copy < 0) {
                g_critical("guestlock_resource_new_disk_fd: descriptor %d of \"%s\" cannot be copied: %s", fd, path,
                           g_strerror(errno));
                return NULL;
        }
        self = make(GUESTLOCK_RESOURCE_TYPE_DISK, path, mode);
        self->fd = copy;
        return self;
}

/* As the service says it of what it opens itself. */
static GuestlockError code_of_errno(int reason) {
        return reason == EACCES || reason == EPERM || reason == EROFS ? GUESTLOCK_ERROR_ACCESS_DENIED
                                                                      : GUESTLOCK_ERROR_STORAGE_UNAVAILABLE;
}

/**
 * guestlock_resource_open_disk:
 * @path: its absolute path
 * @mode: how the guest uses it
 * @error: for what went wrong
 *
 * A disk that is opened here, with the rights of this process: for writing, but in the mode `GUESTLOCK_MODE_READONLY`
 * only where that may be. Who is to be handed its lock, as the supervisor is, and is not root has to have it so. It is
 * certain, then, that what is leased is what was found here.
 *
 * Returns: (transfer full): a new resource
 *
 * Since: 0.1
 */
GuestlockResource *guestlock_resource_open_disk(const char *path, GuestlockMode mode, GError **error) {
        g_autofree char *shown = NULL;
        GuestlockResource *self;
        int fd;

        g_return_val_if_fail(path, NULL);
        fd = gl_open_disk(path, mode == GUESTLOCK_MODE_READONLY);
        if (fd < 0) {
                int reason = errno;

                shown = g_utf8_make_valid(path, -1);
                g_set_error(error, GUESTLOCK_ERROR, code_of_errno(reason), "The disk \"%s\" cannot be opened: %s.",
                            shown, g_strerror(reason));
                return NULL;
        }
        self = make(GUESTLOCK_RESOURCE_TYPE_DISK, path, mode);
        self->fd = fd;
        return self;
}

/**
 * guestlock_resource_new_lease:
 * @key: its name
 * @lockspace: (nullable): what the name belongs to, for drivers that have lockspaces
 * @path: the absolute path of the lease file
 * @offset: which byte of it
 * @mode: how the guest uses it
 *
 * A byte of a lease file.
 *
 * Returns: (transfer full): a new resource
 *
 * Since: 0.1
 */
GuestlockResource *guestlock_resource_new_lease(const char *key, const char *lockspace, const char *path,
                                                guint64 offset, GuestlockMode mode) {
        GuestlockResource *self;

        g_return_val_if_fail(key && path, NULL);
        self = make(GUESTLOCK_RESOURCE_TYPE_LEASE, key, mode);
        self->lockspace = g_strdup(lockspace);
        self->path = g_strdup(path);
        self->offset = offset;
        return self;
}

/**
 * guestlock_resource_new_lease_fd:
 * @key: its name
 * @lockspace: (nullable): what the name belongs to, for drivers that have lockspaces
 * @fd: a descriptor of the lease file, which stays the caller's; for any mode but `GUESTLOCK_MODE_READONLY` open for
 *   writing
 * @offset: which byte of it
 * @mode: how the guest uses it
 *
 * A byte of a lease file that the caller has open.
 *
 * Returns: (transfer full): a new resource
 *
 * Since: 0.1
 */
GuestlockResource *guestlock_resource_new_lease_fd(const char *key, const char *lockspace, int fd, guint64 offset,
                                                   GuestlockMode mode) {
        GuestlockResource *self = guestlock_resource_new_disk_fd(key, fd, mode);

        if (!self)
                return NULL;
        self->type = GUESTLOCK_RESOURCE_TYPE_LEASE;
        self->lockspace = g_strdup(lockspace);
        self->offset = offset;
        return self;
}

GuestlockResource *gl_resource_new_from_words(const char *type, const char *name, const char *mode) {
        return make(gl_word_to_value(GUESTLOCK_TYPE_RESOURCE_TYPE, type), name,
                    gl_word_to_value(GUESTLOCK_TYPE_MODE, mode));
}

GuestlockResource *gl_resource_new_from_entry(GVariant *entry) {
        const char *type = NULL, *name = "", *mode = NULL, *state = NULL, *scope = NULL;
        GuestlockResource *self;

        g_variant_lookup(entry, "type", "&s", &type);
        g_variant_lookup(entry, "name", "&s", &name);
        g_variant_lookup(entry, "mode", "&s", &mode);
        self = gl_resource_new_from_words(type, name, mode);
        g_variant_lookup(entry, "state", "&s", &state);
        self->state = gl_word_to_value(GUESTLOCK_TYPE_RESOURCE_STATE, state);
        g_variant_lookup(entry, "scope", "&s", &scope);
        self->scope = gl_word_to_value(GUESTLOCK_TYPE_SCOPE, scope);
        g_variant_lookup(entry, "scope-reason", "s", &self->scope_reason);
        g_variant_lookup(entry, "generation", "t", &self->generation);
        g_variant_lookup(entry, "since-usec", "t", &self->since);
        g_variant_lookup(entry, "kept-by", "s", &self->kept_by);
        g_variant_lookup(entry, "driver", "s", &self->driver);
        g_variant_lookup(entry, "registered-by", "u", &self->registered_by);
        g_variant_lookup(entry, "path-moved", "b", &self->path_moved);
        g_variant_lookup(entry, "held-open-by", "s", &self->held_open_by);
        return self;
}

const char *gl_resource_type_word(GuestlockResource *self) {
        return gl_word_of_value(GUESTLOCK_TYPE_RESOURCE_TYPE, self->type);
}

const char *gl_resource_mode_word(GuestlockResource *self) {
        return gl_word_of_value(GUESTLOCK_TYPE_MODE, self->mode);
}

int gl_resource_fd(GuestlockResource *self) {
        return self->fd;
}

GVariant *gl_resource_options(GuestlockResource *self, guint wait_ms) {
        GVariantDict options;

        g_variant_dict_init(&options, NULL);
        if (self->type == GUESTLOCK_RESOURCE_TYPE_LEASE) {
                if (self->path)
                        g_variant_dict_insert(&options, "path", "s", self->path);
                if (self->lockspace)
                        g_variant_dict_insert(&options, "lockspace", "s", self->lockspace);
                g_variant_dict_insert(&options, "offset", "t", self->offset);
        }
        if (wait_ms)
                g_variant_dict_insert(&options, "wait-ms", "u", wait_ms);
        return g_variant_dict_end(&options);
}

/**
 * guestlock_resource_get_resource_type:
 * @self: a resource
 *
 * Returns: what it is
 *
 * Since: 0.1
 */
GuestlockResourceType guestlock_resource_get_resource_type(GuestlockResource *self) {
        g_return_val_if_fail(GUESTLOCK_IS_RESOURCE(self), GUESTLOCK_RESOURCE_TYPE_UNKNOWN);
        return self->type;
}

/**
 * guestlock_resource_get_name:
 * @self: a resource
 *
 * Returns: its path, or the key of a lease
 *
 * Since: 0.1
 */
const char *guestlock_resource_get_name(GuestlockResource *self) {
        g_return_val_if_fail(GUESTLOCK_IS_RESOURCE(self), NULL);
        return self->name;
}

/**
 * guestlock_resource_get_mode:
 * @self: a resource
 *
 * Returns: how the guest uses it
 *
 * Since: 0.1
 */
GuestlockMode guestlock_resource_get_mode(GuestlockResource *self) {
        g_return_val_if_fail(GUESTLOCK_IS_RESOURCE(self), GUESTLOCK_MODE_UNKNOWN);
        return self->mode;
}

/**
 * guestlock_resource_get_state:
 * @self: a resource
 *
 * Returns: its state when it was asked for
 *
 * Since: 0.1
 */
GuestlockResourceState guestlock_resource_get_state(GuestlockResource *self) {
        g_return_val_if_fail(GUESTLOCK_IS_RESOURCE(self), GUESTLOCK_RESOURCE_STATE_UNKNOWN);
        return self->state;
}

/**
 * guestlock_resource_get_generation:
 * @self: a resource
 *
 * Returns: the generation of its lease: of two holders of one resource, the later one has the larger
 *
 * Since: 0.1
 */
guint64 guestlock_resource_get_generation(GuestlockResource *self) {
        g_return_val_if_fail(GUESTLOCK_IS_RESOURCE(self), 0);
        return self->generation;
}

/**
 * guestlock_resource_get_scope:
 * @self: a resource
 *
 * Returns: whom its lease keeps out
 *
 * Since: 0.1
 */
GuestlockScope guestlock_resource_get_scope(GuestlockResource *self) {
        g_return_val_if_fail(GUESTLOCK_IS_RESOURCE(self), GUESTLOCK_SCOPE_UNKNOWN);
        return self->scope;
}

/**
 * guestlock_resource_get_scope_reason:
 * @self: a resource
 *
 * Returns: (nullable): why its scope is no wider, for a person
 *
 * Since: 0.1
 */
const char *guestlock_resource_get_scope_reason(GuestlockResource *self) {
        g_return_val_if_fail(GUESTLOCK_IS_RESOURCE(self), NULL);
        return self->scope_reason;
}

/**
 * guestlock_resource_get_since:
 * @self: a resource
 *
 * Returns: when it was granted, in microseconds since 1970
 *
 * Since: 0.1
 */
guint64 guestlock_resource_get_since(GuestlockResource *self) {
        g_return_val_if_fail(GUESTLOCK_IS_RESOURCE(self), 0);
        return self->since;
}

/**
 * guestlock_resource_get_kept_by:
 * @self: a resource
 *
 * Returns: (nullable): whose descriptors keep its lock: `holder`, `keeper` or `service`
 *
 * Since: 0.1
 */
const char *guestlock_resource_get_kept_by(GuestlockResource *self) {
        g_return_val_if_fail(GUESTLOCK_IS_RESOURCE(self), NULL);
        return self->kept_by;
}

/**
 * guestlock_resource_get_driver:
 * @self: a resource
 *
 * Returns: (nullable): the driver of its lease
 *
 * Since: 0.1
 */
const char *guestlock_resource_get_driver(GuestlockResource *self) {
        g_return_val_if_fail(GUESTLOCK_IS_RESOURCE(self), NULL);
        return self->driver;
}

/**
 * guestlock_resource_get_registered_by:
 * @self: a resource
 *
 * Returns: the uid of who registered it
 *
 * Since: 0.1
 */
guint guestlock_resource_get_registered_by(GuestlockResource *self) {
        g_return_val_if_fail(GUESTLOCK_IS_RESOURCE(self), 0);
        return self->registered_by;
}

/**
 * guestlock_resource_get_path_moved:
 * @self: a resource
 *
 * Returns: whether its path led elsewhere when the service looked at it last
 *
 * Since: 0.1
 */
gboolean guestlock_resource_get_path_moved(GuestlockResource *self) {
        g_return_val_if_fail(GUESTLOCK_IS_RESOURCE(self), FALSE);
        return self->path_moved;
}

/**
 * guestlock_resource_get_held_open_by:
 * @self: a resource
 *
 * Says, for a person, who has what nobody else should have: of a lease whose guest runs, another process that has its
 * lock's descriptor and so can unlock it; of one that drains, who keeps it from ending, or that no process can be seen
 * that does. See `GUESTLOCK_REVOKE_FLAGS_DRAINED`.
 *
 * Returns: (nullable): who
 *
 * Since: 0.1
 */
const char *guestlock_resource_get_held_open_by(GuestlockResource *self) {
        g_return_val_if_fail(GUESTLOCK_IS_RESOURCE(self), NULL);
        return self->held_open_by;
}
