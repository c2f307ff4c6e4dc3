/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "manager-private.h"

#include "guest.h"
#include "operation.h"

/*
 * The connection to the bus, and what the service says by itself.
 *
 * The connection is not the one that a process shares: its end ends the process by default. There is one match rule for
 * all that the service says, however many guests there are. When the service comes back, one call asks for them all.
 */

/* --- what the service is --- */

void gl_manager_set_running(GuestlockManager *self, gboolean running) {
        if (self->running == running)
                return;
        self->running = running;
        g_object_notify(G_OBJECT(self), "running");
}

static void set_text(GuestlockManager *self, char **where, GVariant *properties, const char *name,
                     const char *property) {
        const char *text = NULL;

        g_variant_lookup(properties, name, "&s", &text);
        if (!g_strcmp0(*where, text))
                return;
        g_free(*where);
        *where = g_strdup(text);
        g_object_notify(G_OBJECT(self), property);
}

static gboolean learn(GlOperation *op, GVariant *reply, GError **error) {
        GuestlockManager *self = op->manager;
        g_autoptr(GVariant) properties = g_variant_get_child_value(reply, 0);

        set_text(self, &self->version, properties, "Version", "version");
        set_text(self, &self->host_id, properties, "HostId", "host-id");
        set_text(self, &self->host_name, properties, "HostName", "host-name");
        set_text(self, &self->default_driver, properties, "DefaultDriver", "default-driver");
        return TRUE;
}

void gl_manager_add_learning(GlOperation *op) {
        gl_operation_add(op, GL_PROPERTIES, GL_ROOT, "GetAll", g_variant_new("(s)", GL_MANAGER), NULL)->then = learn;
}

/* Copied, since handlers may let go of guests: all that are alive. */
static GPtrArray *all_guests(GuestlockManager *self) {
        GPtrArray *guests = g_ptr_array_new_with_free_func(g_object_unref);
        GHashTableIter iter;
        gpointer guest;

        g_hash_table_iter_init(&iter, self->guests);
        while (g_hash_table_iter_next(&iter, NULL, &guest))
                g_ptr_array_add(guests, g_object_ref(guest));
        return guests;
}

/* Those that there were when it was asked for: of others it need not know. */
static gboolean learn_guests(GlOperation *op, GVariant *reply, GError **error) {
        g_autoptr(GVariant) objects = g_variant_get_child_value(reply, 0);
        GVariantDict index;

        g_variant_dict_init(&index, NULL);
        for (gsize i = 0; i < g_variant_n_children(objects); i++) {
                g_autoptr(GVariant) interfaces = NULL;
                const char *path;

                g_variant_get_child(objects, i, "{&o@a{sa{sv}}}", &path, &interfaces);
                if (g_hash_table_contains(op->manager->guests, path))
                        g_variant_dict_insert_value(&index, path, interfaces);
        }
        for (guint i = 0; i < op->guests->len; i++) {
                const char *path = guestlock_guest_get_object_path(op->guests->pdata[i]);
                g_autoptr(GVariant) interfaces = g_variant_dict_lookup_value(&index, path, NULL);
                g_autoptr(GVariant) known =
                        interfaces ? g_variant_lookup_value(interfaces, GL_GUEST, G_VARIANT_TYPE_VARDICT) : NULL;

                gl_guest_update(op->guests->pdata[i], known);
        }
        g_variant_dict_clear(&index);
        return TRUE;
}

static void learnt_again(GObject *object, GAsyncResult *result, gpointer data) {
        GuestlockManager *self = GUESTLOCK_MANAGER(object);
        g_autofree char *owner = data;
        GlOperation *op = gl_operation_finish(self, learnt_again, result, NULL);

        /* If it has gone away again, the next one that comes is asked. */
        if (op && !g_strcmp0(owner, self->owner))
                gl_manager_set_running(self, TRUE);
        gl_operation_free(op);
}

static void learn_again(GuestlockManager *self) {
        GlOperation *op = gl_operation_new(self, NULL);

        gl_manager_add_learning(op);
        op->guests = all_guests(self);
        if (op->guests->len > 0)
                gl_operation_add(op, GL_OBJECT_MANAGER, GL_ROOT, "GetManagedObjects", NULL, NULL)->then = learn_guests;
        gl_operation_begin(op, self, learnt_again, NULL, learnt_again, g_strdup(self->owner));
}

static void lose_service(GuestlockManager *self) {
        g_autoptr(GPtrArray) guests = all_guests(self);

        g_clear_pointer(&self->owner, g_free);
        gl_manager_set_running(self, FALSE);
        for (guint i = 0; i < guests->len; i++)
                gl_guest_set_unknown(guests->pdata[i]);
}

static void owner_changed(GDBusConnection *connection, const char *sender, const char *path, const char *interface,
                          const char *member, GVariant *arguments, gpointer data) {
        GuestlockManager *self = data;
        const char *owner;

        g_variant_get(arguments, "(&s&s&s)", NULL, NULL, &owner);
        if (!g_strcmp0(owner, self->owner) || self->beginning)
                return;
        g_object_ref(self);
        lose_service(self);
        if (*owner) {
                self->owner = g_strdup(owner);
                learn_again(self);
        }
        g_object_unref(self);
}

/* --- what it says --- */

static void guest_added(GuestlockManager *self, GVariant *arguments) {
        g_autoptr(GVariant) interfaces = NULL;
        g_autoptr(GVariant) known = NULL;
        g_autoptr(GuestlockGuest) guest = NULL;
        const char *path;

        if (!g_signal_has_handler_pending(self, g_signal_lookup("guest-added", GUESTLOCK_TYPE_MANAGER), 0, TRUE))
                return;
        g_variant_get(arguments, "(&o@a{sa{sv}})", &path, &interfaces);
        known = g_variant_lookup_value(interfaces, GL_GUEST, G_VARIANT_TYPE_VARDICT);
        if (!known)
                return;
        guest = gl_manager_have_guest(self, path, known);
        g_signal_emit_by_name(self, "guest-added", guest);
}

static void guest_removed(GuestlockManager *self, GVariant *arguments) {
        GuestlockGuest *guest;
        const char *path;

        g_variant_get(arguments, "(&oas)", &path, NULL);
        guest = g_hash_table_lookup(self->guests, path);
        if (guest)
                gl_guest_update(guest, NULL);
}

static void properties_changed(GuestlockGuest *guest, GVariant *arguments) {
        g_autoptr(GVariant) changed = NULL;
        g_autofree const char **invalidated = NULL;
        const char *interface;

        g_variant_get(arguments, "(&s@a{sv}^a&s)", &interface, &changed, &invalidated);
        if (!g_str_equal(interface, GL_GUEST))
                return;
        gl_guest_update(guest, changed);
        if (g_strv_contains(invalidated, "Resources"))
                gl_guest_resources_changed(guest);
}

static void heard(GDBusConnection *connection, const char *sender, const char *path, const char *interface,
                  const char *member, GVariant *arguments, gpointer data) {
        g_autoptr(GuestlockManager) self = g_object_ref(data);
        g_autoptr(GuestlockGuest) guest = g_hash_table_lookup(self->guests, path);

        if (guest)
                g_object_ref(guest);
        if (g_str_equal(interface, GL_OBJECT_MANAGER) && g_str_equal(path, GL_ROOT)) {
                if (g_str_equal(member, "InterfacesAdded"))
                        guest_added(self, arguments);
                else if (g_str_equal(member, "InterfacesRemoved"))
                        guest_removed(self, arguments);
        } else if (guest && g_str_equal(interface, GL_PROPERTIES)) {
                properties_changed(guest, arguments);
        } else if (guest && g_str_equal(interface, GL_GUEST)) {
                gl_guest_heard(guest, member, arguments);
        }
}

/* --- the connection --- */

GDBusConnection *gl_manager_get_connection(GuestlockManager *self) {
        return self->connection && !g_dbus_connection_is_closed(self->connection) ? self->connection : NULL;
}

void gl_manager_drop_connection(GuestlockManager *self) {
        if (!self->connection)
                return;
        g_signal_handler_disconnect(self->connection, self->closed);
        g_dbus_connection_signal_unsubscribe(self->connection, self->from_service);
        g_dbus_connection_signal_unsubscribe(self->connection, self->from_bus);
        g_dbus_connection_close(self->connection, NULL, NULL, NULL);
        g_clear_object(&self->connection);
}

static void connection_closed(GDBusConnection *connection, gboolean by_peer, GError *error, GuestlockManager *self) {
        g_object_ref(self);
        gl_manager_drop_connection(self);
        lose_service(self);
        g_object_unref(self);
}

void gl_manager_take_connection(GuestlockManager *self, GDBusConnection *connection) {
        if (gl_manager_get_connection(self)) {
                g_dbus_connection_close(connection, NULL, NULL, NULL);
                g_object_unref(connection);
                return;
        }
        gl_manager_drop_connection(self);
        self->connection = connection;
        self->closed = g_signal_connect(connection, "closed", G_CALLBACK(connection_closed), self);
        self->from_service = g_dbus_connection_signal_subscribe(connection, GL_NAME, NULL, NULL, NULL, NULL,
                                                                G_DBUS_SIGNAL_FLAGS_NONE, heard, self, NULL);
        self->from_bus =
                g_dbus_connection_signal_subscribe(connection, GL_BUS, GL_BUS, "NameOwnerChanged", NULL, GL_NAME,
                                                   G_DBUS_SIGNAL_FLAGS_NONE, owner_changed, self, NULL);
        /* A connection that is not the first one comes after a bus that has ended. */
        if (!self->beginning)
                learn_again(self);
}
