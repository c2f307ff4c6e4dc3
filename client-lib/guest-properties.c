/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest-private.h"

#include <guestlock-enum-types.h>

#include "manager.h"
#include "words.h"

/* The properties of a guest: a table of what the service calls each, and a function that reads each. */

static GParamSpec *props[N_PROPS];

static const struct {
        const char *name, *type;
} on_bus[] = {
        [PROP_UUID] = {"Uuid", "s"},
        [PROP_OWNER_UID] = {"OwnerUid", "u"},
        [PROP_ORIGIN] = {"Origin", "s"},
        [PROP_DRIVER] = {"Driver", "s"},
        [PROP_NAME] = {"Name", "s"},
        [PROP_ID] = {"Id", "u"},
        [PROP_STATE] = {"State", "s"},
        [PROP_WAITING] = {"Waiting", "b"},
        [PROP_PID] = {"Pid", "u"},
        [PROP_SUPERVISOR_PID] = {"SupervisorPid", "u"},
        [PROP_ON_LEASE_LOST] = {"OnLeaseLost", "s"},
        [PROP_GENERATION] = {"Generation", "t"},
        [PROP_ACQUIRED_AT] = {"AcquiredAt", "t"},
};

G_STATIC_ASSERT(G_N_ELEMENTS(on_bus) == PROP_MANAGER);

const char *gl_guest_property_name(guint prop) {
        return on_bus[prop].name;
}

const GVariantType *gl_guest_property_type(guint prop) {
        return (const GVariantType *) on_bus[prop].type;
}

void gl_guest_notify(GuestlockGuest *self, guint prop) {
        g_object_notify_by_pspec(G_OBJECT(self), props[prop]);
}

static const char *text_of(GuestlockGuest *self, int prop) {
        GVariant *value = self->values[prop - 1];

        return value ? g_variant_get_string(value, NULL) : NULL;
}

static guint number_of(GuestlockGuest *self, int prop) {
        GVariant *value = self->values[prop - 1];

        return value ? g_variant_get_uint32(value) : 0;
}

static guint64 large_of(GuestlockGuest *self, int prop) {
        GVariant *value = self->values[prop - 1];

        return value ? g_variant_get_uint64(value) : 0;
}

static GuestlockState state_of(GuestlockGuest *self) {
        if (self->gone)
                return GUESTLOCK_STATE_GONE;
        if (self->unknown)
                return GUESTLOCK_STATE_UNKNOWN;
        return gl_word_to_value(GUESTLOCK_TYPE_STATE, text_of(self, PROP_STATE));
}

static void guestlock_guest_get_property(GObject *object, guint id, GValue *value, GParamSpec *spec) {
        GuestlockGuest *self = GUESTLOCK_GUEST(object);

        switch (id) {
        case PROP_MANAGER:
                g_value_set_object(value, self->manager);
                break;
        case PROP_OBJECT_PATH:
                g_value_set_string(value, self->path);
                break;
        case PROP_STATE:
                g_value_set_enum(value, state_of(self));
                break;
        case PROP_ON_LEASE_LOST:
                g_value_set_enum(value, guestlock_guest_get_on_lease_lost(self));
                break;
        case PROP_WAITING:
                g_value_set_boolean(value, guestlock_guest_get_waiting(self));
                break;
        default:
                if (G_VALUE_HOLDS_STRING(value))
                        g_value_set_string(value, text_of(self, id));
                else if (G_VALUE_HOLDS_UINT(value))
                        g_value_set_uint(value, number_of(self, id));
                else
                        g_value_set_uint64(value, large_of(self, id));
        }
}

#define READABLE (G_PARAM_READABLE | G_PARAM_STATIC_STRINGS)

void gl_guest_install_properties(GObjectClass *class) {
        class->get_property = guestlock_guest_get_property;
        /**
         * GuestlockGuest:uuid:
         *
         * The guest's uuid, in lower case.
         *
         * Since: 0.1
         */
        props[PROP_UUID] = g_param_spec_string("uuid", NULL, NULL, NULL, READABLE);
        /**
         * GuestlockGuest:owner-uid:
         *
         * The uid that the guest belongs to.
         *
         * Since: 0.1
         */
        props[PROP_OWNER_UID] = g_param_spec_uint("owner-uid", NULL, NULL, 0, G_MAXUINT, 0, READABLE);
        /**
         * GuestlockGuest:origin:
         *
         * Where it comes from: `started` (made by a caller) or `adopted` (found again when the service started).
         *
         * Since: 0.1
         */
        props[PROP_ORIGIN] = g_param_spec_string("origin", NULL, NULL, NULL, READABLE);
        /**
         * GuestlockGuest:driver:
         *
         * The driver that makes its leases real.
         *
         * Since: 0.1
         */
        props[PROP_DRIVER] = g_param_spec_string("driver", NULL, NULL, NULL, READABLE);
        /**
         * GuestlockGuest:name:
         *
         * Its name, for people.
         *
         * Since: 0.1
         */
        props[PROP_NAME] = g_param_spec_string("name", NULL, NULL, NULL, READABLE);
        /**
         * GuestlockGuest:id:
         *
         * A number that its manager knows it by; 0: none.
         *
         * Since: 0.1
         */
        props[PROP_ID] = g_param_spec_uint("id", NULL, NULL, 0, G_MAXUINT, 0, READABLE);
        /**
         * GuestlockGuest:state:
         *
         * Its state. While the service does not run it is not known, and the guest keeps its leases.
         *
         * Since: 0.1
         */
        props[PROP_STATE] = g_param_spec_enum("state", NULL, NULL, GUESTLOCK_TYPE_STATE, 0, READABLE);
        /**
         * GuestlockGuest:waiting:
         *
         * Whether a call on it waits: for resources that others hold, or for a child.
         *
         * Since: 0.1
         */
        props[PROP_WAITING] = g_param_spec_boolean("waiting", NULL, NULL, FALSE, READABLE);
        /**
         * GuestlockGuest:pid:
         *
         * The process id of the guest's own process; 0: none.
         *
         * Since: 0.1
         */
        props[PROP_PID] = g_param_spec_uint("pid", NULL, NULL, 0, G_MAXUINT, 0, READABLE);
        /**
         * GuestlockGuest:supervisor-pid:
         *
         * The process id of the supervisor above it; 0: none.
         *
         * Since: 0.1
         */
        props[PROP_SUPERVISOR_PID] = g_param_spec_uint("supervisor-pid", NULL, NULL, 0, G_MAXUINT, 0, READABLE);
        /**
         * GuestlockGuest:on-lease-lost:
         *
         * What is done to it when it loses a lease.
         *
         * Since: 0.1
         */
        props[PROP_ON_LEASE_LOST] = g_param_spec_enum("on-lease-lost", NULL, NULL, GUESTLOCK_TYPE_ACTION, 0, READABLE);
        /**
         * GuestlockGuest:generation:
         *
         * The generation of its latest grant; 0: none yet.
         *
         * Since: 0.1
         */
        props[PROP_GENERATION] = g_param_spec_uint64("generation", NULL, NULL, 0, G_MAXUINT64, 0, READABLE);
        /**
         * GuestlockGuest:acquired-at:
         *
         * When it came to hold its leases, in microseconds since 1970; 0: never.
         *
         * Since: 0.1
         */
        props[PROP_ACQUIRED_AT] = g_param_spec_uint64("acquired-at", NULL, NULL, 0, G_MAXUINT64, 0, READABLE);
        /**
         * GuestlockGuest:manager:
         *
         * The service that knows it.
         *
         * Since: 0.1
         */
        props[PROP_MANAGER] = g_param_spec_object("manager", NULL, NULL, GUESTLOCK_TYPE_MANAGER, READABLE);
        /**
         * GuestlockGuest:object-path:
         *
         * Its object on the bus.
         *
         * Since: 0.1
         */
        props[PROP_OBJECT_PATH] = g_param_spec_string("object-path", NULL, NULL, NULL, READABLE);
        g_object_class_install_properties(class, N_PROPS, props);
}

/**
 * guestlock_guest_get_uuid: (get-property uuid)
 * @self: a guest
 *
 * Returns: (nullable): the guest's uuid, in lower case
 *
 * Since: 0.1
 */
const char *guestlock_guest_get_uuid(GuestlockGuest *self) {
        g_return_val_if_fail(GUESTLOCK_IS_GUEST(self), NULL);
        return text_of(self, PROP_UUID);
}

/**
 * guestlock_guest_get_owner_uid: (get-property owner-uid)
 * @self: a guest
 *
 * Returns: the uid that the guest belongs to
 *
 * Since: 0.1
 */
guint guestlock_guest_get_owner_uid(GuestlockGuest *self) {
        g_return_val_if_fail(GUESTLOCK_IS_GUEST(self), 0);
        return number_of(self, PROP_OWNER_UID);
}

/**
 * guestlock_guest_get_origin: (get-property origin)
 * @self: a guest
 *
 * Returns: (nullable): where it comes from: `started` (made by a caller) or `adopted` (found again when the
 *   service started)
 *
 * Since: 0.1
 */
const char *guestlock_guest_get_origin(GuestlockGuest *self) {
        g_return_val_if_fail(GUESTLOCK_IS_GUEST(self), NULL);
        return text_of(self, PROP_ORIGIN);
}

/**
 * guestlock_guest_get_driver: (get-property driver)
 * @self: a guest
 *
 * Returns: (nullable): the driver that makes its leases real
 *
 * Since: 0.1
 */
const char *guestlock_guest_get_driver(GuestlockGuest *self) {
        g_return_val_if_fail(GUESTLOCK_IS_GUEST(self), NULL);
        return text_of(self, PROP_DRIVER);
}

/**
 * guestlock_guest_get_name: (get-property name)
 * @self: a guest
 *
 * Returns: (nullable): its name, for people
 *
 * Since: 0.1
 */
const char *guestlock_guest_get_name(GuestlockGuest *self) {
        g_return_val_if_fail(GUESTLOCK_IS_GUEST(self), NULL);
        return text_of(self, PROP_NAME);
}

/**
 * guestlock_guest_get_id: (get-property id)
 * @self: a guest
 *
 * Returns: a number that its manager knows it by; 0: none
 *
 * Since: 0.1
 */
guint guestlock_guest_get_id(GuestlockGuest *self) {
        g_return_val_if_fail(GUESTLOCK_IS_GUEST(self), 0);
        return number_of(self, PROP_ID);
}

/**
 * guestlock_guest_get_state: (get-property state)
 * @self: a guest
 *
 * Returns: its state. While the service does not run it is not known, and the guest keeps its leases
 *
 * Since: 0.1
 */
GuestlockState guestlock_guest_get_state(GuestlockGuest *self) {
        g_return_val_if_fail(GUESTLOCK_IS_GUEST(self), GUESTLOCK_STATE_UNKNOWN);
        return state_of(self);
}

/**
 * guestlock_guest_get_waiting: (get-property waiting)
 * @self: a guest
 *
 * Returns: whether a call on it waits: for resources that others hold, or for a child
 *
 * Since: 0.1
 */
gboolean guestlock_guest_get_waiting(GuestlockGuest *self) {
        g_return_val_if_fail(GUESTLOCK_IS_GUEST(self), FALSE);
        return self->values[PROP_WAITING - 1] && g_variant_get_boolean(self->values[PROP_WAITING - 1]);
}

/**
 * guestlock_guest_get_pid: (get-property pid)
 * @self: a guest
 *
 * Returns: the process id of the guest's own process; 0: none
 *
 * Since: 0.1
 */
guint guestlock_guest_get_pid(GuestlockGuest *self) {
        g_return_val_if_fail(GUESTLOCK_IS_GUEST(self), 0);
        return number_of(self, PROP_PID);
}

/**
 * guestlock_guest_get_supervisor_pid: (get-property supervisor-pid)
 * @self: a guest
 *
 * Returns: the process id of the supervisor above it; 0: none
 *
 * Since: 0.1
 */
guint guestlock_guest_get_supervisor_pid(GuestlockGuest *self) {
        g_return_val_if_fail(GUESTLOCK_IS_GUEST(self), 0);
        return number_of(self, PROP_SUPERVISOR_PID);
}

/**
 * guestlock_guest_get_on_lease_lost: (get-property on-lease-lost)
 * @self: a guest
 *
 * Returns: what is done to it when it loses a lease
 *
 * Since: 0.1
 */
GuestlockAction guestlock_guest_get_on_lease_lost(GuestlockGuest *self) {
        g_return_val_if_fail(GUESTLOCK_IS_GUEST(self), GUESTLOCK_ACTION_UNKNOWN);
        return gl_word_to_value(GUESTLOCK_TYPE_ACTION, text_of(self, PROP_ON_LEASE_LOST));
}

/**
 * guestlock_guest_get_generation: (get-property generation)
 * @self: a guest
 *
 * Returns: the generation of its latest grant; 0: none yet
 *
 * Since: 0.1
 */
guint64 guestlock_guest_get_generation(GuestlockGuest *self) {
        g_return_val_if_fail(GUESTLOCK_IS_GUEST(self), 0);
        return large_of(self, PROP_GENERATION);
}

/**
 * guestlock_guest_get_acquired_at: (get-property acquired-at)
 * @self: a guest
 *
 * Returns: when it came to hold its leases, in microseconds since 1970; 0: never
 *
 * Since: 0.1
 */
guint64 guestlock_guest_get_acquired_at(GuestlockGuest *self) {
        g_return_val_if_fail(GUESTLOCK_IS_GUEST(self), 0);
        return large_of(self, PROP_ACQUIRED_AT);
}

/**
 * guestlock_guest_get_manager: (get-property manager)
 * @self: a guest
 *
 * Returns: (transfer none): the service that knows it
 *
 * Since: 0.1
 */
GuestlockManager *guestlock_guest_get_manager(GuestlockGuest *self) {
        g_return_val_if_fail(GUESTLOCK_IS_GUEST(self), NULL);
        return self->manager;
}

/**
 * guestlock_guest_get_object_path: (get-property object-path)
 * @self: a guest
 *
 * Returns: its object on the bus
 *
 * Since: 0.1
 */
const char *guestlock_guest_get_object_path(GuestlockGuest *self) {
        g_return_val_if_fail(GUESTLOCK_IS_GUEST(self), NULL);
        return self->path;
}
