/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest.h"

#include "operation.h"

/* A guest's parameters, and its end. */

static GlOperation *call_op(GuestlockGuest *self, const char *method, GVariant *arguments, guint32 settled_by) {
        GlOperation *op = gl_operation_new(gl_guest_manager(self), self);

        gl_operation_add(op, GL_GUEST, guestlock_guest_get_object_path(self), method, arguments, NULL)->settled_by =
                settled_by;
        return op;
}

static GVariant *only(GVariantDict *options) {
        return g_variant_new("(@a{sv})", g_variant_dict_end(options));
}

static GlOperation *set_parameter_op(GuestlockGuest *self, const char *key, GVariant *value) {
        return call_op(self, "SetParameter", g_variant_new("(sv)", key, value), 0);
}

static GlOperation *shutdown_op(GuestlockGuest *self, GuestlockShutdownFlags flags) {
        GVariantDict options;

        g_variant_dict_init(&options, NULL);
        if (flags & GUESTLOCK_SHUTDOWN_FLAGS_KILL)
                g_variant_dict_insert(&options, "kill", "b", TRUE);
        if (flags & GUESTLOCK_SHUTDOWN_FLAGS_LEAVE_SUPERVISOR)
                g_variant_dict_insert(&options, "supervisor", "s", "leave");
        return call_op(self, "Shutdown", only(&options), GL_BIT(UNKNOWN_OBJECT));
}

static GlOperation *remove_op(GuestlockGuest *self) {
        return call_op(self, "Free", g_variant_new_parsed("(@a{sv} {},)"), GL_BIT(UNKNOWN_OBJECT));
}

static gboolean looked(GlOperation *op, GVariant *reply, GError **error) {
        g_autoptr(GVariant) properties = reply ? g_variant_get_child_value(reply, 0) : NULL;

        gl_guest_update(op->guest, properties);
        op->refreshed = TRUE;
        return TRUE;
}

static GlOperation *refresh_op(GuestlockGuest *self) {
        GlOperation *op = gl_operation_new(gl_guest_manager(self), self);
        GlCall *call = gl_operation_add(op, GL_PROPERTIES, guestlock_guest_get_object_path(self), "GetAll",
                                        g_variant_new("(s)", GL_GUEST), NULL);

        call->then = looked;
        call->accepts = GL_BIT(UNKNOWN_OBJECT);
        return op;
}

/**
 * guestlock_guest_set_parameter_async:
 * @self: a guest
 * @key: `name`, `id` or `on-lease-lost`
 * @value: its new value: a string, a 32-bit unsigned number, the nick of a [enum@Action]
 * @cancellable: (nullable): to give up
 * @callback: called when it has ended
 * @user_data: for @callback
 *
 * Changes what the service knows of the guest.
 *
 * Since: 0.1
 */
void guestlock_guest_set_parameter_async(GuestlockGuest *self, const char *key, GVariant *value,
                                         GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data) {
        g_return_if_fail(GUESTLOCK_IS_GUEST(self));
        g_return_if_fail(key && g_utf8_validate(key, -1, NULL));
        g_return_if_fail(value);
        gl_operation_begin(set_parameter_op(self, key, value), self, guestlock_guest_set_parameter_async, cancellable,
                           callback, user_data);
}

/**
 * guestlock_guest_set_parameter_finish:
 * @self: a guest
 * @result: what the callback got
 * @error: for what went wrong
 *
 * Returns: `TRUE` if it succeeded
 *
 * Since: 0.1
 */
gboolean guestlock_guest_set_parameter_finish(GuestlockGuest *self, GAsyncResult *result, GError **error) {
        return gl_operation_end(gl_operation_finish(self, guestlock_guest_set_parameter_async, result, error));
}

/**
 * guestlock_guest_set_parameter_sync:
 * @self: a guest
 * @key: `name`, `id` or `on-lease-lost`
 * @value: its new value: a string, a 32-bit unsigned number, the nick of a [enum@Action]
 * @cancellable: (nullable): to give up
 * @error: for what went wrong
 *
 * As [method@Guest.set_parameter_async], and waits for it.
 *
 * Returns: `TRUE` if it succeeded
 *
 * Since: 0.1
 */
gboolean guestlock_guest_set_parameter_sync(GuestlockGuest *self, const char *key, GVariant *value,
                                            GCancellable *cancellable, GError **error) {
        g_return_val_if_fail(GUESTLOCK_IS_GUEST(self), FALSE);
        g_return_val_if_fail(key && g_utf8_validate(key, -1, NULL), FALSE);
        g_return_val_if_fail(value, FALSE);
        return gl_operation_end(gl_operation_run(set_parameter_op(self, key, value), cancellable, error));
}

/**
 * guestlock_guest_shutdown_async:
 * @self: a guest
 * @flags: what is done to its processes
 * @cancellable: (nullable): to give up
 * @callback: called when it has ended
 * @user_data: for @callback
 *
 * The guest has ended: gives everything back. One that was started without [method@Request.set_keep] is gone then.
 *
 * Since: 0.1
 */
void guestlock_guest_shutdown_async(GuestlockGuest *self, GuestlockShutdownFlags flags, GCancellable *cancellable,
                                    GAsyncReadyCallback callback, gpointer user_data) {
        g_return_if_fail(GUESTLOCK_IS_GUEST(self));
        gl_operation_begin(shutdown_op(self, flags), self, guestlock_guest_shutdown_async, cancellable, callback,
                           user_data);
}

/**
 * guestlock_guest_shutdown_finish:
 * @self: a guest
 * @result: what the callback got
 * @error: for what went wrong
 *
 * Returns: `TRUE` if it succeeded
 *
 * Since: 0.1
 */
gboolean guestlock_guest_shutdown_finish(GuestlockGuest *self, GAsyncResult *result, GError **error) {
        return gl_operation_end(gl_operation_finish(self, guestlock_guest_shutdown_async, result, error));
}

/**
 * guestlock_guest_shutdown_sync:
 * @self: a guest
 * @flags: what is done to its processes
 * @cancellable: (nullable): to give up
 * @error: for what went wrong
 *
 * As [method@Guest.shutdown_async], and waits for it.
 *
 * Returns: `TRUE` if it succeeded
 *
 * Since: 0.1
 */
gboolean guestlock_guest_shutdown_sync(GuestlockGuest *self, GuestlockShutdownFlags flags, GCancellable *cancellable,
                                       GError **error) {
        g_return_val_if_fail(GUESTLOCK_IS_GUEST(self), FALSE);
        return gl_operation_end(gl_operation_run(shutdown_op(self, flags), cancellable, error));
}

/**
 * guestlock_guest_remove_async:
 * @self: a guest
 * @cancellable: (nullable): to give up
 * @callback: called when it has ended
 * @user_data: for @callback
 *
 * Has the service forget a guest that holds nothing and whose processes are gone.
 *
 * Since: 0.1
 */
void guestlock_guest_remove_async(GuestlockGuest *self, GCancellable *cancellable, GAsyncReadyCallback callback,
                                  gpointer user_data) {
        g_return_if_fail(GUESTLOCK_IS_GUEST(self));
        gl_operation_begin(remove_op(self), self, guestlock_guest_remove_async, cancellable, callback, user_data);
}

/**
 * guestlock_guest_remove_finish:
 * @self: a guest
 * @result: what the callback got
 * @error: for what went wrong
 *
 * Returns: `TRUE` if it succeeded
 *
 * Since: 0.1
 */
gboolean guestlock_guest_remove_finish(GuestlockGuest *self, GAsyncResult *result, GError **error) {
        return gl_operation_end(gl_operation_finish(self, guestlock_guest_remove_async, result, error));
}

/**
 * guestlock_guest_remove_sync:
 * @self: a guest
 * @cancellable: (nullable): to give up
 * @error: for what went wrong
 *
 * As [method@Guest.remove_async], and waits for it.
 *
 * Returns: `TRUE` if it succeeded
 *
 * Since: 0.1
 */
gboolean guestlock_guest_remove_sync(GuestlockGuest *self, GCancellable *cancellable, GError **error) {
        g_return_val_if_fail(GUESTLOCK_IS_GUEST(self), FALSE);
        return gl_operation_end(gl_operation_run(remove_op(self), cancellable, error));
}

/**
 * guestlock_guest_refresh_async:
 * @self: a guest
 * @cancellable: (nullable): to give up
 * @callback: called when it has ended
 * @user_data: for @callback
 *
 * Asks for the properties. Only a program that runs no main loop, and so hears nothing, needs that.
 *
 * Since: 0.1
 */
void guestlock_guest_refresh_async(GuestlockGuest *self, GCancellable *cancellable, GAsyncReadyCallback callback,
                                   gpointer user_data) {
        g_return_if_fail(GUESTLOCK_IS_GUEST(self));
        gl_operation_begin(refresh_op(self), self, guestlock_guest_refresh_async, cancellable, callback, user_data);
}

/**
 * guestlock_guest_refresh_finish:
 * @self: a guest
 * @result: what the callback got
 * @error: for what went wrong
 *
 * Returns: `TRUE` if it succeeded
 *
 * Since: 0.1
 */
gboolean guestlock_guest_refresh_finish(GuestlockGuest *self, GAsyncResult *result, GError **error) {
        return gl_operation_end(gl_operation_finish(self, guestlock_guest_refresh_async, result, error));
}

/**
 * guestlock_guest_refresh_sync:
 * @self: a guest
 * @cancellable: (nullable): to give up
 * @error: for what went wrong
 *
 * As [method@Guest.refresh_async], and waits for it.
 *
 * Returns: `TRUE` if it succeeded
 *
 * Since: 0.1
 */
gboolean guestlock_guest_refresh_sync(GuestlockGuest *self, GCancellable *cancellable, GError **error) {
        g_return_val_if_fail(GUESTLOCK_IS_GUEST(self), FALSE);
        return gl_operation_end(gl_operation_run(refresh_op(self), cancellable, error));
}
