/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest-private.h"

#include <guestlock-enum-types.h>

#include "manager.h"
#include "resource.h"
#include "words.h"

/*
 * What the service says of one guest. Properties are kept as the variants that came, and read in guest-properties.c.
 * The calls are in guest-leases.c, guest-resources.c and guest-life.c.
 */

/**
 * GuestlockGuest:
 *
 * The lock manager of one guest. There is one object for each guest that a [class@Manager] was asked for, as long as
 * somebody keeps it; to let go of it changes nothing for the guest.
 *
 * Since: 0.1
 */
G_DEFINE_FINAL_TYPE(GuestlockGuest, guestlock_guest, G_TYPE_OBJECT)

enum { LEASES_ACQUIRED, LEASES_RELEASED, LEASE_LOST, RESOURCES_CHANGED, N_SIGNALS };
static guint signals[N_SIGNALS];

/* --- what is known --- */

void gl_guest_update(GuestlockGuest *self, GVariant *properties) {
        GuestlockState before = guestlock_guest_get_state(self);

        if (self->gone)
                return;
        g_object_ref(self);
        g_object_freeze_notify(G_OBJECT(self));
        for (guint i = 1; properties && i < PROP_MANAGER; i++) {
                GVariant *value =
                        g_variant_lookup_value(properties, gl_guest_property_name(i), gl_guest_property_type(i));

                if (!value || (self->values[i - 1] && g_variant_equal(value, self->values[i - 1]))) {
                        g_clear_pointer(&value, g_variant_unref);
                        continue;
                }
                g_clear_pointer(&self->values[i - 1], g_variant_unref);
                self->values[i - 1] = value;
                if (i != PROP_STATE)
                        gl_guest_notify(self, i);
        }
        self->unknown = FALSE;
        self->gone = !properties;
        if (guestlock_guest_get_state(self) != before)
                gl_guest_notify(self, PROP_STATE);
        g_object_thaw_notify(G_OBJECT(self));
        if (self->gone)
                gl_manager_lose_guest(self->manager, self);
        g_object_unref(self);
}

void gl_guest_set_unknown(GuestlockGuest *self) {
        GuestlockState before = guestlock_guest_get_state(self);

        self->unknown = TRUE;
        if (guestlock_guest_get_state(self) != before)
                gl_guest_notify(self, PROP_STATE);
}

void gl_guest_resources_changed(GuestlockGuest *self) {
        g_signal_emit(self, signals[RESOURCES_CHANGED], 0);
}

GuestlockManager *gl_guest_manager(GuestlockGuest *self) {
        return self->manager;
}

/* --- what is heard --- */

/* Of type and name, and where there are three of mode. */
static GPtrArray *resources_of(GVariant *list, gboolean with_mode) {
        GPtrArray *resources = g_ptr_array_new_with_free_func(g_object_unref);

        for (gsize i = 0; i < g_variant_n_children(list); i++) {
                const char *type, *name, *mode = NULL;

                if (with_mode)
                        g_variant_get_child(list, i, "(&s&s&s)", &type, &name, &mode);
                else
                        g_variant_get_child(list, i, "(&s&s)", &type, &name);
                g_ptr_array_add(resources, gl_resource_new_from_words(type, name, mode));
        }
        return resources;
}

static void leases_acquired(GuestlockGuest *self, GVariant *arguments) {
        g_autoptr(GVariant) list = NULL;
        g_autoptr(GPtrArray) resources = NULL;
        guint64 generation;

        g_variant_get(arguments, "(t@a(sss))", &generation, &list);
        resources = resources_of(list, TRUE);
        g_signal_emit(self, signals[LEASES_ACQUIRED], 0, generation, resources);
}

static void leases_released(GuestlockGuest *self, GVariant *arguments) {
        g_autoptr(GVariant) list = NULL;
        g_autoptr(GPtrArray) resources = NULL;
        const char *reason;

        g_variant_get(arguments, "(&s@a(ss))", &reason, &list);
        resources = resources_of(list, FALSE);
        g_signal_emit(self, signals[LEASES_RELEASED], 0, gl_word_to_value(GUESTLOCK_TYPE_RELEASE_REASON, reason),
                      resources);
}

static void lease_lost(GuestlockGuest *self, GVariant *arguments) {
        const char *type, *name, *reason, *action = NULL, *message = "";
        g_autoptr(GVariant) details = NULL;
        guint64 remaining = 0;

        g_variant_get(arguments, "(&s&s&s@a{sv})", &type, &name, &reason, &details);
        g_variant_lookup(details, "action", "&s", &action);
        g_variant_lookup(details, "remaining-usec", "t", &remaining);
        g_variant_lookup(details, "message", "&s", &message);
        g_signal_emit(self, signals[LEASE_LOST], 0, gl_word_to_value(GUESTLOCK_TYPE_RESOURCE_TYPE, type), name,
                      gl_word_to_value(GUESTLOCK_TYPE_LOSS_REASON, reason),
                      gl_word_to_value(GUESTLOCK_TYPE_ACTION, action), remaining, message);
}

void gl_guest_heard(GuestlockGuest *self, const char *member, GVariant *arguments) {
        if (g_str_equal(member, "LeasesAcquired"))
                leases_acquired(self, arguments);
        else if (g_str_equal(member, "LeasesReleased"))
                leases_released(self, arguments);
        else if (g_str_equal(member, "LeaseLost"))
                lease_lost(self, arguments);
}

/* --- the object --- */

GuestlockGuest *gl_guest_new(GuestlockManager *manager, const char *path) {
        GuestlockGuest *self = g_object_new(GUESTLOCK_TYPE_GUEST, NULL);

        self->manager = g_object_ref(manager);
        self->path = g_strdup(path);
        return self;
}

static void guestlock_guest_finalize(GObject *object) {
        GuestlockGuest *self = GUESTLOCK_GUEST(object);

        gl_manager_forget_guest(self->manager, self->path, self);
        for (gsize i = 0; i < G_N_ELEMENTS(self->values); i++)
                g_clear_pointer(&self->values[i], g_variant_unref);
        g_object_unref(self->manager);
        g_free(self->path);
        G_OBJECT_CLASS(guestlock_guest_parent_class)->finalize(object);
}

static void add_signals(void) {
        /**
         * GuestlockGuest::leases-acquired:
         * @self: the guest
         * @generation: its generation
         * @leases: (element-type GuestlockResource): what was granted, each with type, name and mode
         *
         * Leases were granted, or changed their mode. The list is empty where the guest alone has been leased.
         *
         * Since: 0.1
         */
        signals[LEASES_ACQUIRED] = g_signal_new("leases-acquired", GUESTLOCK_TYPE_GUEST, G_SIGNAL_RUN_LAST, 0, NULL,
                                                NULL, NULL, G_TYPE_NONE, 2, G_TYPE_UINT64, G_TYPE_PTR_ARRAY);
        /**
         * GuestlockGuest::leases-released:
         * @self: the guest
         * @reason: why
         * @leases: (element-type GuestlockResource): what ended, each with type and name
         *
         * Leases ended. From now on others can have the resources.
         *
         * Since: 0.1
         */
        signals[LEASES_RELEASED] =
                g_signal_new("leases-released", GUESTLOCK_TYPE_GUEST, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL,
                             G_TYPE_NONE, 2, GUESTLOCK_TYPE_RELEASE_REASON, G_TYPE_PTR_ARRAY);
        /**
         * GuestlockGuest::lease-lost:
         * @self: the guest
         * @type: what was lost; `GUESTLOCK_RESOURCE_TYPE_GUEST` where the driver leases the guest alone
         * @name: its name; the uuid of the guest
         * @reason: why
         * @action: what is done to the guest
         * @remaining: how many microseconds are left until that has been carried out
         * @message: a sentence for a person, or what the administrator said who took it away
         *
         * A lease that the guest's life depends on is gone: it must not write any more. What it lost stays blocked for
         * others until its processes are gone.
         *
         * Since: 0.1
         */
        signals[LEASE_LOST] =
                g_signal_new("lease-lost", GUESTLOCK_TYPE_GUEST, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL, G_TYPE_NONE, 6,
                             GUESTLOCK_TYPE_RESOURCE_TYPE, G_TYPE_STRING, GUESTLOCK_TYPE_LOSS_REASON,
                             GUESTLOCK_TYPE_ACTION, G_TYPE_UINT64, G_TYPE_STRING);
        /**
         * GuestlockGuest::resources-changed:
         * @self: the guest
         *
         * Something about its resources has changed; see [method@Guest.list_resources_sync].
         *
         * Since: 0.1
         */
        signals[RESOURCES_CHANGED] = g_signal_new("resources-changed", GUESTLOCK_TYPE_GUEST, G_SIGNAL_RUN_LAST, 0, NULL,
                                                  NULL, NULL, G_TYPE_NONE, 0);
}

static void guestlock_guest_class_init(GuestlockGuestClass *class) {
        G_OBJECT_CLASS(class)->finalize = guestlock_guest_finalize;
        gl_guest_install_properties(G_OBJECT_CLASS(class));
        add_signals();
}

static void guestlock_guest_init(GuestlockGuest *self) {
}
