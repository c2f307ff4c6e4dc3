/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "manager-private.h"

#include "error.h"
#include "guest.h"
#include "operation.h"

/*
 * The object: what is known of the service, and the guests that somebody has a GuestlockGuest of. Where it is known
 * from is in manager-watch.c, the calls in the other manager-*.c.
 */

/**
 * GuestlockManager:
 *
 * The service guestlock, which hands out leases on the storage of virtual machines.
 *
 * Signals and callbacks come in the thread-default main context of who made the manager, and a manager and its guests
 * belong to that thread. Calls whose names end in `_sync` block and handle nothing else meanwhile; what the service has
 * said until they return is true of the guest that they were about.
 *
 * Nothing that was granted depends on the manager: leases belong to the guest. If the service goes away,
 * [property@Manager:running] says so, and when it is back the guests are as it found them. Any call has the bus start
 * it. Calls under way when it is killed are repeated by themselves.
 *
 * Since: 0.1
 */
G_DEFINE_FINAL_TYPE(GuestlockManager, guestlock_manager, G_TYPE_OBJECT)

enum { PROP_RUNNING = 1, PROP_INTERACTIVE, PROP_VERSION, PROP_HOST_ID, PROP_HOST_NAME, PROP_DEFAULT_DRIVER, N_PROPS };
static GParamSpec *props[N_PROPS];

enum { GUEST_ADDED, GUEST_REMOVED, N_SIGNALS };
static guint signals[N_SIGNALS];

/* --- guests --- */

void gl_manager_update_guest(GuestlockManager *self, GuestlockGuest *guest, GVariant *reply) {
        g_autoptr(GVariant) properties = reply ? g_variant_get_child_value(reply, 0) : NULL;

        gl_guest_update(guest, properties);
}

GuestlockGuest *gl_manager_have_guest(GuestlockManager *self, const char *path, GVariant *properties) {
        GuestlockGuest *guest = g_hash_table_lookup(self->guests, path);

        if (guest) {
                g_object_ref(guest);
        } else {
                guest = gl_guest_new(self, path);
                g_hash_table_insert(self->guests, g_strdup(path), guest);
        }
        gl_guest_update(guest, properties);
        return guest;
}

void gl_manager_forget_guest(GuestlockManager *self, const char *path, GuestlockGuest *guest) {
        if (g_hash_table_lookup(self->guests, path) == guest)
                g_hash_table_remove(self->guests, path);
}

void gl_manager_lose_guest(GuestlockManager *self, GuestlockGuest *guest) {
        /* Another guest can have the path now. */
        gl_manager_forget_guest(self, guestlock_guest_get_object_path(guest), guest);
        g_signal_emit(self, signals[GUEST_REMOVED], 0, guest);
}

/* --- the object --- */

static void guestlock_manager_dispose(GObject *object) {
        gl_manager_drop_connection(GUESTLOCK_MANAGER(object));
        G_OBJECT_CLASS(guestlock_manager_parent_class)->dispose(object);
}

static void guestlock_manager_finalize(GObject *object) {
        GuestlockManager *self = GUESTLOCK_MANAGER(object);

        g_hash_table_unref(self->guests);
        g_free(self->owner);
        g_free(self->version);
        g_free(self->host_id);
        g_free(self->host_name);
        g_free(self->default_driver);
        G_OBJECT_CLASS(guestlock_manager_parent_class)->finalize(object);
}

static void guestlock_manager_get_property(GObject *object, guint id, GValue *value, GParamSpec *spec) {
        GuestlockManager *self = GUESTLOCK_MANAGER(object);

        switch (id) {
        case PROP_RUNNING:
                g_value_set_boolean(value, self->running);
                break;
        case PROP_INTERACTIVE:
                g_value_set_boolean(value, self->interactive);
                break;
        case PROP_VERSION:
                g_value_set_string(value, self->version);
                break;
        case PROP_HOST_ID:
                g_value_set_string(value, self->host_id);
                break;
        case PROP_HOST_NAME:
                g_value_set_string(value, self->host_name);
                break;
        case PROP_DEFAULT_DRIVER:
                g_value_set_string(value, self->default_driver);
                break;
        default:
                G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
        }
}

static void guestlock_manager_set_property(GObject *object, guint id, const GValue *value, GParamSpec *spec) {
        if (id == PROP_INTERACTIVE)
                guestlock_manager_set_interactive(GUESTLOCK_MANAGER(object), g_value_get_boolean(value));
        else
                G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
}

#define READABLE (G_PARAM_READABLE | G_PARAM_STATIC_STRINGS)

static void add_properties(GObjectClass *class) {
        /**
         * GuestlockManager:running:
         *
         * Whether the service runs, and the guests are as it says. While it does not, their state is
         * `GUESTLOCK_STATE_UNKNOWN`; nobody loses a lease by that.
         *
         * Since: 0.1
         */
        props[PROP_RUNNING] = g_param_spec_boolean("running", NULL, NULL, FALSE, READABLE);
        /**
         * GuestlockManager:interactive:
         *
         * Whether somebody may be asked for a password; by default not. A call can take as long as he does then.
         *
         * Since: 0.1
         */
        props[PROP_INTERACTIVE] = g_param_spec_boolean(
                "interactive", NULL, NULL, FALSE, G_PARAM_READWRITE | G_PARAM_EXPLICIT_NOTIFY | G_PARAM_STATIC_STRINGS);
        /**
         * GuestlockManager:version:
         *
         * The service's version.
         *
         * Since: 0.1
         */
        props[PROP_VERSION] = g_param_spec_string("version", NULL, NULL, NULL, READABLE);
        /**
         * GuestlockManager:host-id:
         *
         * What tells this host from all others.
         *
         * Since: 0.1
         */
        props[PROP_HOST_ID] = g_param_spec_string("host-id", NULL, NULL, NULL, READABLE);
        /**
         * GuestlockManager:host-name:
         *
         * What people call this host.
         *
         * Since: 0.1
         */
        props[PROP_HOST_NAME] = g_param_spec_string("host-name", NULL, NULL, NULL, READABLE);
        /**
         * GuestlockManager:default-driver:
         *
         * The driver of guests that are made without naming one.
         *
         * Since: 0.1
         */
        props[PROP_DEFAULT_DRIVER] = g_param_spec_string("default-driver", NULL, NULL, NULL, READABLE);
        g_object_class_install_properties(class, N_PROPS, props);
}

static void guestlock_manager_class_init(GuestlockManagerClass *class) {
        GObjectClass *object_class = G_OBJECT_CLASS(class);

        object_class->dispose = guestlock_manager_dispose;
        object_class->finalize = guestlock_manager_finalize;
        object_class->get_property = guestlock_manager_get_property;
        object_class->set_property = guestlock_manager_set_property;
        add_properties(object_class);
        /**
         * GuestlockManager::guest-added:
         * @self: the manager
         * @guest: the new guest
         *
         * Somebody has made a guest. Whoever wants to hear more of it keeps a reference.
         *
         * Since: 0.1
         */
        signals[GUEST_ADDED] = g_signal_new("guest-added", GUESTLOCK_TYPE_MANAGER, G_SIGNAL_RUN_LAST, 0, NULL, NULL,
                                            NULL, G_TYPE_NONE, 1, GUESTLOCK_TYPE_GUEST);
        /**
         * GuestlockManager::guest-removed:
         * @self: the manager
         * @guest: the guest
         *
         * A guest that there is a [class@Guest] of is gone.
         *
         * Since: 0.1
         */
        signals[GUEST_REMOVED] = g_signal_new("guest-removed", GUESTLOCK_TYPE_MANAGER, G_SIGNAL_RUN_LAST, 0, NULL, NULL,
                                              NULL, G_TYPE_NONE, 1, GUESTLOCK_TYPE_GUEST);
        /* Known to GDBus before the first reply. */
        guestlock_error_quark();
}

static void guestlock_manager_init(GuestlockManager *self) {
        self->guests = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
}

static gboolean begun(GlOperation *op, GVariant *reply, GError **error) {
        GuestlockManager *self = op->manager;

        self->beginning = FALSE;
        g_variant_get(reply, "(s)", &self->owner);
        gl_manager_set_running(self, TRUE);
        g_set_object(&op->result, G_OBJECT(self));
        return TRUE;
}

static GlOperation *begin(void) {
        g_autoptr(GuestlockManager) self = g_object_new(GUESTLOCK_TYPE_MANAGER, NULL);
        GlOperation *op = gl_operation_new(self, NULL);

        self->beginning = TRUE;
        gl_manager_add_learning(op);
        gl_operation_add(op, GL_BUS, "/org/freedesktop/DBus", "GetNameOwner", g_variant_new("(s)", GL_NAME), NULL)
                ->then = begun;
        return op;
}

/**
 * guestlock_manager_new_async:
 * @cancellable: (nullable): to give up
 * @callback: called when it is there
 * @user_data: for @callback
 *
 * Connects to the system bus, has it start the service if it does not run, and asks what it is.
 *
 * Since: 0.1
 */
void guestlock_manager_new_async(GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data) {
        gl_operation_begin(begin(), NULL, guestlock_manager_new_async, cancellable, callback, user_data);
}

/**
 * guestlock_manager_new_finish:
 * @result: what the callback got
 * @error: for what went wrong
 *
 * Returns: (transfer full): the manager
 *
 * Since: 0.1
 */
GuestlockManager *guestlock_manager_new_finish(GAsyncResult *result, GError **error) {
        return gl_operation_end_object(gl_operation_finish(NULL, guestlock_manager_new_async, result, error));
}

/**
 * guestlock_manager_new_sync:
 * @cancellable: (nullable): to give up
 * @error: for what went wrong
 *
 * As [func@Manager.new_async], and waits for it.
 *
 * Returns: (transfer full): the manager
 *
 * Since: 0.1
 */
GuestlockManager *guestlock_manager_new_sync(GCancellable *cancellable, GError **error) {
        return gl_operation_end_object(gl_operation_run(begin(), cancellable, error));
}

/**
 * guestlock_manager_get_running: (get-property running)
 * @self: a manager
 *
 * Returns: whether the service runs
 *
 * Since: 0.1
 */
gboolean guestlock_manager_get_running(GuestlockManager *self) {
        g_return_val_if_fail(GUESTLOCK_IS_MANAGER(self), FALSE);
        return self->running;
}

/**
 * guestlock_manager_get_interactive: (get-property interactive)
 * @self: a manager
 *
 * Returns: whether somebody may be asked for a password
 *
 * Since: 0.1
 */
gboolean guestlock_manager_get_interactive(GuestlockManager *self) {
        g_return_val_if_fail(GUESTLOCK_IS_MANAGER(self), FALSE);
        return self->interactive;
}

/**
 * guestlock_manager_set_interactive: (set-property interactive)
 * @self: a manager
 * @interactive: whether somebody may be asked for a password, from the next call on
 *
 * Since: 0.1
 */
void guestlock_manager_set_interactive(GuestlockManager *self, gboolean interactive) {
        g_return_if_fail(GUESTLOCK_IS_MANAGER(self));
        if (self->interactive == !!interactive)
                return;
        self->interactive = !!interactive;
        g_object_notify_by_pspec(G_OBJECT(self), props[PROP_INTERACTIVE]);
}

/**
 * guestlock_manager_get_version: (get-property version)
 * @self: a manager
 *
 * Returns: (nullable): the service's version
 *
 * Since: 0.1
 */
const char *guestlock_manager_get_version(GuestlockManager *self) {
        g_return_val_if_fail(GUESTLOCK_IS_MANAGER(self), NULL);
        return self->version;
}

/**
 * guestlock_manager_get_host_id: (get-property host-id)
 * @self: a manager
 *
 * Returns: (nullable): what tells this host from all others
 *
 * Since: 0.1
 */
const char *guestlock_manager_get_host_id(GuestlockManager *self) {
        g_return_val_if_fail(GUESTLOCK_IS_MANAGER(self), NULL);
        return self->host_id;
}

/**
 * guestlock_manager_get_host_name: (get-property host-name)
 * @self: a manager
 *
 * Returns: (nullable): what people call this host
 *
 * Since: 0.1
 */
const char *guestlock_manager_get_host_name(GuestlockManager *self) {
        g_return_val_if_fail(GUESTLOCK_IS_MANAGER(self), NULL);
        return self->host_name;
}

/**
 * guestlock_manager_get_default_driver: (get-property default-driver)
 * @self: a manager
 *
 * Returns: (nullable): the driver of guests that are made without naming one
 *
 * Since: 0.1
 */
const char *guestlock_manager_get_default_driver(GuestlockManager *self) {
        g_return_val_if_fail(GUESTLOCK_IS_MANAGER(self), NULL);
        return self->default_driver;
}
