/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/core-private.h"

#include <string.h>

#include "core/capabilities.h"

/*
 * The drivers there are and what each can do, as far as the core has to know: which calls a driver has no answer to,
 * and whether it has anything to do for anybody. A guest names its driver, which need not be there: it may have been
 * unloaded while the guest held nothing, or not be found after a restart of the service. What such a guest has in the
 * table stays there; what needs the driver is GL_ERROR_NO_SUCH_DRIVER until it is loaded again.
 *
 * A driver that is guest-only has nothing to do in any of this: the guest is kept apart from others of its name by the
 * registry, its resources stay registered, and no job goes out.
 */

/* --- capabilities --- */

static const char *const known[] = {GL_CAPABILITY_DISK,    GL_CAPABILITY_LEASE,  GL_CAPABILITY_GUEST_ONLY,
                                    GL_CAPABILITY_HOTPLUG, GL_CAPABILITY_MIGRATE, GL_CAPABILITY_SHARED,
                                    GL_CAPABILITY_READONLY, GL_CAPABILITY_INHERIT, GL_CAPABILITY_FENCED, NULL};

gboolean gl_capabilities_include(const char *const *capabilities, const char *capability) {
        return g_strv_contains(capabilities, capability);
}

const char *gl_capabilities_find_fault(const char *const *capabilities) {
        gboolean guest_only;

        if (!capabilities)
                return "it names no capabilities";
        guest_only = gl_capabilities_include(capabilities, GL_CAPABILITY_GUEST_ONLY);
        for (const char *const *capability = capabilities; *capability; capability++) {
                if (!g_strv_contains(known, *capability))
                        return "it names a capability that is not known";
                if (guest_only && !g_str_equal(*capability, GL_CAPABILITY_GUEST_ONLY))
                        return "it is guest-only, and claims to do something with resources as well";
        }
        if (!guest_only && !gl_capabilities_include(capabilities, GL_CAPABILITY_DISK) &&
            !gl_capabilities_include(capabilities, GL_CAPABILITY_LEASE))
                return "it leases neither disks nor leases nor the guest alone";
        return NULL;
}

/* --- the drivers there are --- */

void gl_core_add_driver(GlCore *core, const char *name, const char *const *capabilities) {
        if (!core->default_driver)
                core->default_driver = g_strdup(name);
        g_hash_table_insert(core->drivers, g_strdup(name), (gpointer) capabilities);
}

static int compare_names(gconstpointer a, gconstpointer b) {
        return strcmp(a, b);
}

void gl_core_foreach_driver(GlCore *core, GlDriverFunc func, gpointer user_data) {
        g_autoptr(GList) names = g_list_sort(g_hash_table_get_keys(core->drivers), compare_names);

        for (GList *name = names; name; name = name->next)
                func(name->data, g_hash_table_lookup(core->drivers, name->data), user_data);
}

gboolean gl_core_has_driver(GlCore *core, const char *name) {
        return g_hash_table_contains(core->drivers, name);
}

gboolean gl_core_driver_can(GlCore *core, const char *driver, const char *capability) {
        const char *const *capabilities = g_hash_table_lookup(core->drivers, driver);

        return capabilities && gl_capabilities_include(capabilities, capability);
}

/* --- what calls need of a driver --- */

gboolean gl_guest_is_leased_alone(GlCore *core, const GlGuest *guest) {
        return gl_core_driver_can(core, guest->driver, GL_CAPABILITY_GUEST_ONLY);
}

gboolean gl_core_check_driver(GlCore *core, const GlGuest *guest, GError **error) {
        g_autofree char *who = NULL;

        if (gl_core_has_driver(core, guest->driver))
                return TRUE;
        who = gl_guest_describe(guest);
        g_set_error(error, GL_ERROR, GL_ERROR_NO_SUCH_DRIVER,
                    "%s needs the driver \"%s\", which is not loaded; LoadDriver loads it.", who, guest->driver);
        return FALSE;
}

gboolean gl_core_driver_takes(GlCore *core, const GlGuest *guest, GlResourceType type, GlMode mode, GError **error) {
        static const char *const modes[] = {GL_CAPABILITY_READONLY, GL_CAPABILITY_SHARED, NULL};
        const char *wanted = type == GL_RESOURCE_DISK ? GL_CAPABILITY_DISK : GL_CAPABILITY_LEASE;
        const char *missing = NULL;

        if (!gl_core_check_driver(core, guest, error))
                return FALSE;
        if (gl_guest_is_leased_alone(core, guest))
                return TRUE;
        if (!gl_core_driver_can(core, guest->driver, wanted))
                missing = wanted;
        else if (modes[mode] && !gl_core_driver_can(core, guest->driver, modes[mode]))
                missing = modes[mode];
        if (!missing)
                return TRUE;
        g_set_error(error, GL_ERROR, GL_ERROR_NOT_SUPPORTED, "The driver \"%s\" gives no %s leases.", guest->driver,
                    missing);
        return FALSE;
}

gboolean gl_core_can_inherit(GlCore *core, const GlGuest *guest, GError **error) {
        if (!gl_core_check_driver(core, guest, error))
                return FALSE;
        if (gl_core_driver_can(core, guest->driver, GL_CAPABILITY_INHERIT))
                return TRUE;
        g_set_error(error, GL_ERROR, GL_ERROR_NOT_SUPPORTED, "The driver \"%s\" has no descriptors to inherit.",
                    guest->driver);
        return FALSE;
}

gboolean gl_core_may_plug(GlCore *core, const GlGuest *guest, GlResourceType type, GlMode mode, GError **error) {
        if (!gl_core_check_driver(core, guest, error))
                return FALSE;
        if (!gl_core_driver_can(core, guest->driver, GL_CAPABILITY_HOTPLUG)) {
                g_set_error(error, GL_ERROR, GL_ERROR_NOT_SUPPORTED, "The driver \"%s\" has no hotplug.",
                            guest->driver);
                return FALSE;
        }
        return gl_core_driver_takes(core, guest, type, mode, error);
}

gboolean gl_core_driver_can_lease(GlCore *core, const GlGuest *guest, GError **error) {
        g_autofree char *who = NULL;

        if (!gl_core_check_driver(core, guest, error))
                return FALSE;
        if (!gl_guest_is_leased_alone(core, guest) || guest->require_scope <= GL_SCOPE_HOST)
                return TRUE;
        who = gl_guest_describe(guest);
        g_set_error(error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE,
                    "%s asks for scope \"%s\", and its driver \"%s\" leases a guest on this host alone.", who,
                    gl_scope_to_string(guest->require_scope), guest->driver);
        return FALSE;
}

char *gl_core_why_ignored(const GlGuest *guest) {
        return g_strdup_printf("the driver \"%s\" leases the guest alone: nobody is kept from using this",
                               guest->driver);
}

/* --- taking one away --- */

/* What GUEST has of its driver, in words; NULL: nothing. */
static const char *use_of(GlCore *core, const GlGuest *guest) {
        const GlGuestData *data = gl_guest_data(guest);

        for (GList *link = core->ops.head; link; link = link->next) {
                const GlOp *op = link->data;

                if (op->guest == guest && !op->kind->without_driver)
                        return op->waiting ? "waits for leases" : "has work under way";
        }
        g_assert(data->n_jobs == 0); /* each is an operation's; the driver's code would be gone when it is done */
        if (guest->state == GL_GUEST_HELD || guest->state == GL_GUEST_LOST || gl_guest_has_leases(guest) ||
            guest->ghosts->len > 0)
                return "holds leases";
        return NULL;
}

typedef struct {
        const char *driver;
        const GlGuest *guest; /* (nullable) the first of those that use it */
        const char *use;
        guint n;
} Users;

static void count_users(GlCore *core, GHashTable *guests, Users *users) {
        GHashTableIter iter;
        gpointer guest;

        g_hash_table_iter_init(&iter, guests);
        while (g_hash_table_iter_next(&iter, NULL, &guest)) {
                const char *use =
                        g_str_equal(((GlGuest *) guest)->driver, users->driver) ? use_of(core, guest) : NULL;

                if (!use)
                        continue;
                if (users->n++ > 0)
                        continue;
                users->guest = guest;
                users->use = use;
        }
}

gboolean gl_core_remove_driver(GlCore *core, const char *name, GError **error) {
        Users users = {.driver = name};
        g_autofree char *who = NULL, *others = NULL;

        count_users(core, core->guests, &users);
        count_users(core, core->starting, &users);
        if (users.n == 0 && (gl_core_is_checking(core, name) || gl_core_is_auditing(core, name))) {
                g_set_error(error, GL_ERROR, GL_ERROR_DRIVER_IN_USE,
                            "The driver \"%s\" is in use: it is just looking after leases that have ended.", name);
                return FALSE;
        }
        if (users.n == 0 && gl_core_is_looking(core, name)) {
                g_set_error(error, GL_ERROR, GL_ERROR_DRIVER_IN_USE,
                            "The driver \"%s\" is in use: it is just looking at who is in the way of somebody.", name);
                return FALSE;
        }
        if (users.n == 0) {
                g_hash_table_remove(core->drivers, name);
                return TRUE;
        }
        who = gl_guest_describe(users.guest);
        others = users.n == 1 ? g_strdup("") : g_strdup_printf(", and %u more", users.n - 1);
        g_set_error(error, GL_ERROR, GL_ERROR_DRIVER_IN_USE, "The driver \"%s\" is in use: %s %s%s.", name, who,
                    users.use, others);
        return FALSE;
}
