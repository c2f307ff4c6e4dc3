/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "manager.h"

#include "driver.h"
#include "operation.h"

/* What there is: guests and drivers. */

static GlOperation *list_guests_op(GuestlockManager *self) {
        GlOperation *op = gl_operation_new(self, NULL);

        gl_operation_add(op, GL_OBJECT_MANAGER, GL_ROOT, "GetManagedObjects", NULL, NULL);
        return op;
}

static GPtrArray *end_guests(GlOperation *op) {
        g_autoptr(GVariant) objects = op ? g_variant_get_child_value(op->reply, 0) : NULL;
        GPtrArray *guests;

        if (!op)
                return NULL;
        guests = g_ptr_array_new_with_free_func(g_object_unref);
        for (gsize i = 0; i < g_variant_n_children(objects); i++) {
                g_autoptr(GVariant) interfaces = NULL;
                g_autoptr(GVariant) properties = NULL;
                const char *path;

                g_variant_get_child(objects, i, "{&o@a{sa{sv}}}", &path, &interfaces);
                properties = g_variant_lookup_value(interfaces, GL_GUEST, G_VARIANT_TYPE_VARDICT);
                if (properties)
                        g_ptr_array_add(guests, gl_manager_have_guest(op->manager, path, properties));
        }
        gl_operation_free(op);
        return guests;
}

static GlOperation *count_op(GuestlockManager *self) {
        GlOperation *op = gl_operation_new(self, NULL);

        gl_operation_add(op, GL_PROPERTIES, GL_ROOT, "GetAll", g_variant_new("(s)", GL_MANAGER), NULL);
        return op;
}

static gboolean end_count(GlOperation *op, guint *guests, guint *leases) {
        g_autoptr(GVariant) properties = op ? g_variant_get_child_value(op->reply, 0) : NULL;

        if (op && guests)
                g_variant_lookup(properties, "NGuests", "u", guests);
        if (op && leases)
                g_variant_lookup(properties, "NLeases", "u", leases);
        return gl_operation_end(op);
}

static GlOperation *list_drivers_op(GuestlockManager *self) {
        GlOperation *op = gl_operation_new(self, NULL);

        gl_operation_add(op, GL_MANAGER, GL_ROOT, "ListDrivers", NULL, NULL);
        return op;
}

static GPtrArray *end_drivers(GlOperation *op) {
        g_autoptr(GVariant) list = op ? g_variant_get_child_value(op->reply, 0) : NULL;
        GPtrArray *drivers;

        if (!op)
                return NULL;
        drivers = g_ptr_array_new_with_free_func(g_object_unref);
        for (gsize i = 0; i < g_variant_n_children(list); i++) {
                const char *name;
                char **capabilities;

                g_variant_get_child(list, i, "(&s^as)", &name, &capabilities);
                g_ptr_array_add(drivers, gl_driver_new(name, capabilities));
        }
        gl_operation_free(op);
        return drivers;
}

static GlOperation *of_driver(GuestlockManager *self, const char *method, const char *name) {
        GlOperation *op = gl_operation_new(self, NULL);

        gl_operation_add(op, GL_MANAGER, GL_ROOT, method,
                         g_variant_new("(s@a{sv})", gl_operation_text(op, name), g_variant_new_parsed("@a{sv} {}")),
                         NULL);
        return op;
}

static GlOperation *load_driver_op(GuestlockManager *self, const char *name) {
        return of_driver(self, "LoadDriver", name);
}

static GlOperation *unload_driver_op(GuestlockManager *self, const char *name) {
        return of_driver(self, "UnloadDriver", name);
}

/**
 * guestlock_manager_list_guests_async:
 * @self: a manager
 * @cancellable: (nullable): to give up
 * @callback: called when it has ended
 * @user_data: for @callback
 *
 * Lists the guests of all owners, in no particular order.
 *
 * Since: 0.1
 */
void guestlock_manager_list_guests_async(GuestlockManager *self, GCancellable *cancellable,
                                         GAsyncReadyCallback callback, gpointer user_data) {
        g_return_if_fail(GUESTLOCK_IS_MANAGER(self));
        gl_operation_begin(list_guests_op(self), self, guestlock_manager_list_guests_async, cancellable, callback,
                           user_data);
}

/**
 * guestlock_manager_list_guests_finish:
 * @self: a manager
 * @result: what the callback got
 * @error: for what went wrong
 *
 * Returns: (transfer container) (element-type GuestlockGuest): all of them
 *
 * Since: 0.1
 */
GPtrArray *guestlock_manager_list_guests_finish(GuestlockManager *self, GAsyncResult *result, GError **error) {
        return end_guests(gl_operation_finish(self, guestlock_manager_list_guests_async, result, error));
}

/**
 * guestlock_manager_list_guests_sync:
 * @self: a manager
 * @cancellable: (nullable): to give up
 * @error: for what went wrong
 *
 * As [method@Manager.list_guests_async], and waits for it.
 *
 * Returns: (transfer container) (element-type GuestlockGuest): all of them
 *
 * Since: 0.1
 */
GPtrArray *guestlock_manager_list_guests_sync(GuestlockManager *self, GCancellable *cancellable, GError **error) {
        g_return_val_if_fail(GUESTLOCK_IS_MANAGER(self), NULL);
        return end_guests(gl_operation_run(list_guests_op(self), cancellable, error));
}

/**
 * guestlock_manager_count_async:
 * @self: a manager
 * @cancellable: (nullable): to give up
 * @callback: called when it has ended
 * @user_data: for @callback
 *
 * Asks how many guests and leases there are, of all owners.
 *
 * Since: 0.1
 */
void guestlock_manager_count_async(GuestlockManager *self, GCancellable *cancellable, GAsyncReadyCallback callback,
                                   gpointer user_data) {
        g_return_if_fail(GUESTLOCK_IS_MANAGER(self));
        gl_operation_begin(count_op(self), self, guestlock_manager_count_async, cancellable, callback, user_data);
}

/**
 * guestlock_manager_count_finish:
 * @self: a manager
 * @result: what the callback got
 * @guests: (out) (optional): how many guests there are
 * @leases: (out) (optional): how many leases there are
 * @error: for what went wrong
 *
 * Returns: `TRUE` if it succeeded
 *
 * Since: 0.1
 */
gboolean guestlock_manager_count_finish(GuestlockManager *self, GAsyncResult *result, guint *guests, guint *leases,
                                        GError **error) {
        return end_count(gl_operation_finish(self, guestlock_manager_count_async, result, error), guests, leases);
}

/**
 * guestlock_manager_count_sync:
 * @self: a manager
 * @guests: (out) (optional): how many guests there are
 * @leases: (out) (optional): how many leases there are
 * @cancellable: (nullable): to give up
 * @error: for what went wrong
 *
 * As [method@Manager.count_async], and waits for it.
 *
 * Returns: `TRUE` if it succeeded
 *
 * Since: 0.1
 */
gboolean guestlock_manager_count_sync(GuestlockManager *self, guint *guests, guint *leases, GCancellable *cancellable,
                                      GError **error) {
        g_return_val_if_fail(GUESTLOCK_IS_MANAGER(self), FALSE);
        return end_count(gl_operation_run(count_op(self), cancellable, error), guests, leases);
}

/**
 * guestlock_manager_list_drivers_async:
 * @self: a manager
 * @cancellable: (nullable): to give up
 * @callback: called when it has ended
 * @user_data: for @callback
 *
 * Lists the drivers that are loaded, by name.
 *
 * Since: 0.1
 */
void guestlock_manager_list_drivers_async(GuestlockManager *self, GCancellable *cancellable,
                                          GAsyncReadyCallback callback, gpointer user_data) {
        g_return_if_fail(GUESTLOCK_IS_MANAGER(self));
        gl_operation_begin(list_drivers_op(self), self, guestlock_manager_list_drivers_async, cancellable, callback,
                           user_data);
}

/**
 * guestlock_manager_list_drivers_finish:
 * @self: a manager
 * @result: what the callback got
 * @error: for what went wrong
 *
 * Returns: (transfer container) (element-type GuestlockDriver): all of them
 *
 * Since: 0.1
 */
GPtrArray *guestlock_manager_list_drivers_finish(GuestlockManager *self, GAsyncResult *result, GError **error) {
        return end_drivers(gl_operation_finish(self, guestlock_manager_list_drivers_async, result, error));
}

/**
 * guestlock_manager_list_drivers_sync:
 * @self: a manager
 * @cancellable: (nullable): to give up
 * @error: for what went wrong
 *
 * As [method@Manager.list_drivers_async], and waits for it.
 *
 * Returns: (transfer container) (element-type GuestlockDriver): all of them
 *
 * Since: 0.1
 */
GPtrArray *guestlock_manager_list_drivers_sync(GuestlockManager *self, GCancellable *cancellable, GError **error) {
        g_return_val_if_fail(GUESTLOCK_IS_MANAGER(self), NULL);
        return end_drivers(gl_operation_run(list_drivers_op(self), cancellable, error));
}

/**
 * guestlock_manager_load_driver_async:
 * @self: a manager
 * @name: its name
 * @cancellable: (nullable): to give up
 * @callback: called when it has ended
 * @user_data: for @callback
 *
 * Loads a driver from the directory that the service was built with. One that is loaded already is success.
 *
 * Since: 0.1
 */
void guestlock_manager_load_driver_async(GuestlockManager *self, const char *name, GCancellable *cancellable,
                                         GAsyncReadyCallback callback, gpointer user_data) {
        g_return_if_fail(GUESTLOCK_IS_MANAGER(self));
        g_return_if_fail(name);
        gl_operation_begin(load_driver_op(self, name), self, guestlock_manager_load_driver_async, cancellable, callback,
                           user_data);
}

/**
 * guestlock_manager_load_driver_finish:
 * @self: a manager
 * @result: what the callback got
 * @error: for what went wrong
 *
 * Returns: `TRUE` if it succeeded
 *
 * Since: 0.1
 */
gboolean guestlock_manager_load_driver_finish(GuestlockManager *self, GAsyncResult *result, GError **error) {
        return gl_operation_end(gl_operation_finish(self, guestlock_manager_load_driver_async, result, error));
}

/**
 * guestlock_manager_load_driver_sync:
 * @self: a manager
 * @name: its name
 * @cancellable: (nullable): to give up
 * @error: for what went wrong
 *
 * As [method@Manager.load_driver_async], and waits for it.
 *
 * Returns: `TRUE` if it succeeded
 *
 * Since: 0.1
 */
gboolean guestlock_manager_load_driver_sync(GuestlockManager *self, const char *name, GCancellable *cancellable,
                                            GError **error) {
        g_return_val_if_fail(GUESTLOCK_IS_MANAGER(self), FALSE);
        g_return_val_if_fail(name, FALSE);
        return gl_operation_end(gl_operation_run(load_driver_op(self, name), cancellable, error));
}

/**
 * guestlock_manager_unload_driver_async:
 * @self: a manager
 * @name: its name
 * @cancellable: (nullable): to give up
 * @callback: called when it has ended
 * @user_data: for @callback
 *
 * Ends a driver that no guest has leases of.
 *
 * Since: 0.1
 */
void guestlock_manager_unload_driver_async(GuestlockManager *self, const char *name, GCancellable *cancellable,
                                           GAsyncReadyCallback callback, gpointer user_data) {
        g_return_if_fail(GUESTLOCK_IS_MANAGER(self));
        g_return_if_fail(name);
        gl_operation_begin(unload_driver_op(self, name), self, guestlock_manager_unload_driver_async, cancellable,
                           callback, user_data);
}

/**
 * guestlock_manager_unload_driver_finish:
 * @self: a manager
 * @result: what the callback got
 * @error: for what went wrong
 *
 * Returns: `TRUE` if it succeeded
 *
 * Since: 0.1
 */
gboolean guestlock_manager_unload_driver_finish(GuestlockManager *self, GAsyncResult *result, GError **error) {
        return gl_operation_end(gl_operation_finish(self, guestlock_manager_unload_driver_async, result, error));
}

/**
 * guestlock_manager_unload_driver_sync:
 * @self: a manager
 * @name: its name
 * @cancellable: (nullable): to give up
 * @error: for what went wrong
 *
 * As [method@Manager.unload_driver_async], and waits for it.
 *
 * Returns: `TRUE` if it succeeded
 *
 * Since: 0.1
 */
gboolean guestlock_manager_unload_driver_sync(GuestlockManager *self, const char *name, GCancellable *cancellable,
                                              GError **error) {
        g_return_val_if_fail(GUESTLOCK_IS_MANAGER(self), FALSE);
        g_return_val_if_fail(name, FALSE);
        return gl_operation_end(gl_operation_run(unload_driver_op(self, name), cancellable, error));
}
