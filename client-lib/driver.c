/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "driver.h"

/**
 * GuestlockDriver:
 *
 * An engine that makes leases real, as [method@Manager.list_drivers_sync] found it.
 *
 * Since: 0.1
 */
struct _GuestlockDriver {
        GObject parent_instance;
        char *name;          /* (owned) */
        char **capabilities; /* (owned) */
};

G_DEFINE_FINAL_TYPE(GuestlockDriver, guestlock_driver, G_TYPE_OBJECT)

static void guestlock_driver_finalize(GObject *object) {
        GuestlockDriver *self = GUESTLOCK_DRIVER(object);

        g_free(self->name);
        g_strfreev(self->capabilities);
        G_OBJECT_CLASS(guestlock_driver_parent_class)->finalize(object);
}

static void guestlock_driver_class_init(GuestlockDriverClass *class) {
        G_OBJECT_CLASS(class)->finalize = guestlock_driver_finalize;
}

static void guestlock_driver_init(GuestlockDriver *self) {
}

GuestlockDriver *gl_driver_new(const char *name, char **capabilities) {
        GuestlockDriver *self = g_object_new(GUESTLOCK_TYPE_DRIVER, NULL);

        self->name = g_strdup(name);
        self->capabilities = capabilities;
        return self;
}

/**
 * guestlock_driver_get_name:
 * @self: a driver
 *
 * Returns: its name
 *
 * Since: 0.1
 */
const char *guestlock_driver_get_name(GuestlockDriver *self) {
        g_return_val_if_fail(GUESTLOCK_IS_DRIVER(self), NULL);
        return self->name;
}

/**
 * guestlock_driver_get_capabilities:
 * @self: a driver
 *
 * What it can do, in words: `disk`, `lease`, `guest-only`, `hotplug`, `shared`, `readonly`, `inherit`, `fenced`; there
 * may be more.
 *
 * Returns: (transfer none) (array zero-terminated=1): the words
 *
 * Since: 0.1
 */
const char *const *guestlock_driver_get_capabilities(GuestlockDriver *self) {
        g_return_val_if_fail(GUESTLOCK_IS_DRIVER(self), NULL);
        return (const char *const *) self->capabilities;
}
