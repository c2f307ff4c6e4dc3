/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "obstacle.h"

#include <guestlock-enum-types.h>

#include "words.h"

/**
 * GuestlockObstacle:
 *
 * Somebody or something that stands in the way of a lease: a guest, another program, another host, a mount. It never
 * changes: [method@Manager.who_holds_sync] and [method@Manager.test_acquire_sync] make new ones.
 *
 * What is not known is `NULL`, 0 or `UNKNOWN`, and `G_MAXUINT` where 0 is somebody. The texts are those of other
 * programs and hosts: they are UTF-8, and can have control characters in them.
 *
 * Since: 0.1
 */
struct _GuestlockObstacle {
        GObject parent_instance;
        char *guest_uuid, *guest_name, *object_path; /* (owned) (nullable) */
        char *host, *command;                        /* (owned) (nullable) */
        char *name, *driver, *via, *resource;        /* (owned) (nullable) */
        guint owner_uid, pid;
        GuestlockMode mode;
        GuestlockScope scope;
        guint64 since, generation;
};

G_DEFINE_FINAL_TYPE(GuestlockObstacle, guestlock_obstacle, G_TYPE_OBJECT)

static void guestlock_obstacle_finalize(GObject *object) {
        GuestlockObstacle *self = GUESTLOCK_OBSTACLE(object);

        g_free(self->guest_uuid);
        g_free(self->guest_name);
        g_free(self->object_path);
        g_free(self->host);
        g_free(self->command);
        g_free(self->name);
        g_free(self->driver);
        g_free(self->via);
        g_free(self->resource);
        G_OBJECT_CLASS(guestlock_obstacle_parent_class)->finalize(object);
}

static void guestlock_obstacle_class_init(GuestlockObstacleClass *class) {
        G_OBJECT_CLASS(class)->finalize = guestlock_obstacle_finalize;
}

static void guestlock_obstacle_init(GuestlockObstacle *self) {
        self->owner_uid = G_MAXUINT;
}

GuestlockObstacle *gl_obstacle_new_from_entry(GVariant *entry) {
        GuestlockObstacle *self = g_object_new(GUESTLOCK_TYPE_OBSTACLE, NULL);
        const char *mode = NULL, *scope = NULL;

        g_variant_lookup(entry, "guest-uuid", "s", &self->guest_uuid);
        g_variant_lookup(entry, "guest-name", "s", &self->guest_name);
        g_variant_lookup(entry, "owner-uid", "u", &self->owner_uid);
        g_variant_lookup(entry, "object", "o", &self->object_path);
        g_variant_lookup(entry, "host", "s", &self->host);
        g_variant_lookup(entry, "pid", "u", &self->pid);
        g_variant_lookup(entry, "command", "s", &self->command);
        g_variant_lookup(entry, "mode", "&s", &mode);
        self->mode = gl_word_to_value(GUESTLOCK_TYPE_MODE, mode);
        g_variant_lookup(entry, "name", "s", &self->name);
        g_variant_lookup(entry, "since-usec", "t", &self->since);
        g_variant_lookup(entry, "generation", "t", &self->generation);
        g_variant_lookup(entry, "driver", "s", &self->driver);
        g_variant_lookup(entry, "scope", "&s", &scope);
        self->scope = gl_word_to_value(GUESTLOCK_TYPE_SCOPE, scope);
        g_variant_lookup(entry, "via", "s", &self->via);
        g_variant_lookup(entry, "resource", "s", &self->resource);
        return self;
}

/**
 * guestlock_obstacle_get_guest_uuid:
 * @self: an obstacle
 *
 * Returns: (nullable): the uuid of the guest that is in the way
 *
 * Since: 0.1
 */
const char *guestlock_obstacle_get_guest_uuid(GuestlockObstacle *self) {
        g_return_val_if_fail(GUESTLOCK_IS_OBSTACLE(self), NULL);
        return self->guest_uuid;
}

/**
 * guestlock_obstacle_get_guest_name:
 * @self: an obstacle
 *
 * Returns: (nullable): its name, for people
 *
 * Since: 0.1
 */
const char *guestlock_obstacle_get_guest_name(GuestlockObstacle *self) {
        g_return_val_if_fail(GUESTLOCK_IS_OBSTACLE(self), NULL);
        return self->guest_name;
}

/**
 * guestlock_obstacle_get_owner_uid:
 * @self: an obstacle
 *
 * Returns: the uid of its owner; `G_MAXUINT`: not known
 *
 * Since: 0.1
 */
guint guestlock_obstacle_get_owner_uid(GuestlockObstacle *self) {
        g_return_val_if_fail(GUESTLOCK_IS_OBSTACLE(self), G_MAXUINT);
        return self->owner_uid;
}

/**
 * guestlock_obstacle_get_object_path:
 * @self: an obstacle
 *
 * Returns: (nullable): its path on the bus, if it is a guest of this host's service that is to be seen there
 *
 * Since: 0.1
 */
const char *guestlock_obstacle_get_object_path(GuestlockObstacle *self) {
        g_return_val_if_fail(GUESTLOCK_IS_OBSTACLE(self), NULL);
        return self->object_path;
}

/**
 * guestlock_obstacle_get_host:
 * @self: an obstacle
 *
 * Returns: (nullable): the name of the host that it is on
 *
 * Since: 0.1
 */
const char *guestlock_obstacle_get_host(GuestlockObstacle *self) {
        g_return_val_if_fail(GUESTLOCK_IS_OBSTACLE(self), NULL);
        return self->host;
}

/**
 * guestlock_obstacle_get_pid:
 * @self: an obstacle
 *
 * Returns: the process; 0: none, or not known
 *
 * Since: 0.1
 */
guint guestlock_obstacle_get_pid(GuestlockObstacle *self) {
        g_return_val_if_fail(GUESTLOCK_IS_OBSTACLE(self), 0);
        return self->pid;
}

/**
 * guestlock_obstacle_get_command:
 * @self: an obstacle
 *
 * Returns: (nullable): what the process calls itself, which is not to be trusted
 *
 * Since: 0.1
 */
const char *guestlock_obstacle_get_command(GuestlockObstacle *self) {
        g_return_val_if_fail(GUESTLOCK_IS_OBSTACLE(self), NULL);
        return self->command;
}

/**
 * guestlock_obstacle_get_mode:
 * @self: an obstacle
 *
 * Returns: how it uses what was asked about
 *
 * Since: 0.1
 */
GuestlockMode guestlock_obstacle_get_mode(GuestlockObstacle *self) {
        g_return_val_if_fail(GUESTLOCK_IS_OBSTACLE(self), GUESTLOCK_MODE_UNKNOWN);
        return self->mode;
}

/**
 * guestlock_obstacle_get_name:
 * @self: an obstacle
 *
 * Returns: (nullable): the name under which the guest has registered it
 *
 * Since: 0.1
 */
const char *guestlock_obstacle_get_name(GuestlockObstacle *self) {
        g_return_val_if_fail(GUESTLOCK_IS_OBSTACLE(self), NULL);
        return self->name;
}

/**
 * guestlock_obstacle_get_since:
 * @self: an obstacle
 *
 * Returns: since when, in microseconds since 1970
 *
 * Since: 0.1
 */
guint64 guestlock_obstacle_get_since(GuestlockObstacle *self) {
        g_return_val_if_fail(GUESTLOCK_IS_OBSTACLE(self), 0);
        return self->since;
}

/**
 * guestlock_obstacle_get_generation:
 * @self: an obstacle
 *
 * Returns: the generation of its lease, or of the guest
 *
 * Since: 0.1
 */
guint64 guestlock_obstacle_get_generation(GuestlockObstacle *self) {
        g_return_val_if_fail(GUESTLOCK_IS_OBSTACLE(self), 0);
        return self->generation;
}

/**
 * guestlock_obstacle_get_driver:
 * @self: an obstacle
 *
 * Returns: (nullable): the driver of its lease
 *
 * Since: 0.1
 */
const char *guestlock_obstacle_get_driver(GuestlockObstacle *self) {
        g_return_val_if_fail(GUESTLOCK_IS_OBSTACLE(self), NULL);
        return self->driver;
}

/**
 * guestlock_obstacle_get_scope:
 * @self: an obstacle
 *
 * Returns: whom its lease keeps out
 *
 * Since: 0.1
 */
GuestlockScope guestlock_obstacle_get_scope(GuestlockObstacle *self) {
        g_return_val_if_fail(GUESTLOCK_IS_OBSTACLE(self), GUESTLOCK_SCOPE_UNKNOWN);
        return self->scope;
}

/**
 * guestlock_obstacle_get_via:
 * @self: an obstacle
 *
 * Returns: (nullable): how it is in the way, where that is not plain: a part of a sentence, for a person
 *
 * Since: 0.1
 */
const char *guestlock_obstacle_get_via(GuestlockObstacle *self) {
        g_return_val_if_fail(GUESTLOCK_IS_OBSTACLE(self), NULL);
        return self->via;
}

/**
 * guestlock_obstacle_get_resource:
 * @self: an obstacle
 *
 * Returns: (nullable): the name of the resource that it is in the way of; only of [method@Manager.test_acquire_sync]
 *
 * Since: 0.1
 */
const char *guestlock_obstacle_get_resource(GuestlockObstacle *self) {
        g_return_val_if_fail(GUESTLOCK_IS_OBSTACLE(self), NULL);
        return self->resource;
}
