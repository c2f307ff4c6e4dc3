/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "manager-guests.h"

#include "manager.h"

/* Finding a guest that there is. */

static GlOperation *find(GuestlockManager *self, const char *method, GVariant *arguments) {
        GlOperation *op = gl_operation_new(self, NULL);

        gl_operation_add(op, GL_MANAGER, GL_ROOT, method, arguments, NULL)->then = gl_found;
        gl_add_loading(op);
        return op;
}

static GlOperation *attach_guest_op(GuestlockManager *self, const char *uuid, guint pid) {
        GVariantDict options;

        g_variant_dict_init(&options, NULL);
        if (pid)
                g_variant_dict_insert(&options, "pid", "u", pid);
        return find(self, "AttachGuest", g_variant_new("(s@a{sv})", uuid, g_variant_dict_end(&options)));
}

static GlOperation *get_guest_op(GuestlockManager *self, const char *uuid) {
        return find(self, "GetGuest", g_variant_new("(s)", uuid));
}

static GlOperation *get_guest_by_pid_op(GuestlockManager *self, guint pid) {
        return find(self, "GetGuestByPID", g_variant_new("(u)", pid));
}

/**
 * guestlock_manager_attach_guest_async:
 * @self: a manager
 * @uuid: its uuid, in any case
 * @pid: the process that the caller knows as its own or its supervisor's, 0: not known
 * @cancellable: (nullable): to give up
 * @callback: called when it has ended
 * @user_data: for @callback
 *
 * Finds the caller's own guest that runs already, after a restart of the caller: one that has leases or a process.
 * If its process is another than @pid, that is `GUESTLOCK_ERROR_STALE`.
 *
 * Since: 0.1
 */
void guestlock_manager_attach_guest_async(GuestlockManager *self, const char *uuid, guint pid,
                                          GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data) {
        g_return_if_fail(GUESTLOCK_IS_MANAGER(self));
        g_return_if_fail(uuid && g_utf8_validate(uuid, -1, NULL));
        gl_operation_begin(attach_guest_op(self, uuid, pid), self, guestlock_manager_attach_guest_async, cancellable,
                           callback, user_data);
}

/**
 * guestlock_manager_attach_guest_finish:
 * @self: a manager
 * @result: what the callback got
 * @error: for what went wrong
 *
 * Returns: (transfer full): the guest
 *
 * Since: 0.1
 */
GuestlockGuest *guestlock_manager_attach_guest_finish(GuestlockManager *self, GAsyncResult *result, GError **error) {
        return gl_operation_end_object(gl_operation_finish(self, guestlock_manager_attach_guest_async, result, error));
}

/**
 * guestlock_manager_attach_guest_sync:
 * @self: a manager
 * @uuid: its uuid, in any case
 * @pid: the process that the caller knows as its own or its supervisor's, 0: not known
 * @cancellable: (nullable): to give up
 * @error: for what went wrong
 *
 * As [method@Manager.attach_guest_async], and waits for it.
 *
 * Returns: (transfer full): the guest
 *
 * Since: 0.1
 */
GuestlockGuest *guestlock_manager_attach_guest_sync(GuestlockManager *self, const char *uuid, guint pid,
                                                    GCancellable *cancellable, GError **error) {
        g_return_val_if_fail(GUESTLOCK_IS_MANAGER(self), NULL);
        g_return_val_if_fail(uuid && g_utf8_validate(uuid, -1, NULL), NULL);
        return gl_operation_end_object(gl_operation_run(attach_guest_op(self, uuid, pid), cancellable, error));
}

/**
 * guestlock_manager_get_guest_async:
 * @self: a manager
 * @uuid: its uuid, in any case
 * @cancellable: (nullable): to give up
 * @callback: called when it has ended
 * @user_data: for @callback
 *
 * Finds the caller's own guest of this uuid, or else that of root.
 *
 * Since: 0.1
 */
void guestlock_manager_get_guest_async(GuestlockManager *self, const char *uuid, GCancellable *cancellable,
                                       GAsyncReadyCallback callback, gpointer user_data) {
        g_return_if_fail(GUESTLOCK_IS_MANAGER(self));
        g_return_if_fail(uuid && g_utf8_validate(uuid, -1, NULL));
        gl_operation_begin(get_guest_op(self, uuid), self, guestlock_manager_get_guest_async, cancellable, callback,
                           user_data);
}

/**
 * guestlock_manager_get_guest_finish:
 * @self: a manager
 * @result: what the callback got
 * @error: for what went wrong
 *
 * Returns: (transfer full): the guest
 *
 * Since: 0.1
 */
GuestlockGuest *guestlock_manager_get_guest_finish(GuestlockManager *self, GAsyncResult *result, GError **error) {
        return gl_operation_end_object(gl_operation_finish(self, guestlock_manager_get_guest_async, result, error));
}

/**
 * guestlock_manager_get_guest_sync:
 * @self: a manager
 * @uuid: its uuid, in any case
 * @cancellable: (nullable): to give up
 * @error: for what went wrong
 *
 * As [method@Manager.get_guest_async], and waits for it.
 *
 * Returns: (transfer full): the guest
 *
 * Since: 0.1
 */
GuestlockGuest *guestlock_manager_get_guest_sync(GuestlockManager *self, const char *uuid, GCancellable *cancellable,
                                                 GError **error) {
        g_return_val_if_fail(GUESTLOCK_IS_MANAGER(self), NULL);
        g_return_val_if_fail(uuid && g_utf8_validate(uuid, -1, NULL), NULL);
        return gl_operation_end_object(gl_operation_run(get_guest_op(self, uuid), cancellable, error));
}

/**
 * guestlock_manager_get_guest_by_pid_async:
 * @self: a manager
 * @pid: a process
 * @cancellable: (nullable): to give up
 * @callback: called when it has ended
 * @user_data: for @callback
 *
 * Finds the guest that a process belongs to, or is the supervisor of, whoever owns it.
 *
 * Since: 0.1
 */
void guestlock_manager_get_guest_by_pid_async(GuestlockManager *self, guint pid, GCancellable *cancellable,
                                              GAsyncReadyCallback callback, gpointer user_data) {
        g_return_if_fail(GUESTLOCK_IS_MANAGER(self));
        gl_operation_begin(get_guest_by_pid_op(self, pid), self, guestlock_manager_get_guest_by_pid_async, cancellable,
                           callback, user_data);
}

/**
 * guestlock_manager_get_guest_by_pid_finish:
 * @self: a manager
 * @result: what the callback got
 * @error: for what went wrong
 *
 * Returns: (transfer full): the guest
 *
 * Since: 0.1
 */
GuestlockGuest *guestlock_manager_get_guest_by_pid_finish(GuestlockManager *self, GAsyncResult *result,
                                                          GError **error) {
        return gl_operation_end_object(
                gl_operation_finish(self, guestlock_manager_get_guest_by_pid_async, result, error));
}

/**
 * guestlock_manager_get_guest_by_pid_sync:
 * @self: a manager
 * @pid: a process
 * @cancellable: (nullable): to give up
 * @error: for what went wrong
 *
 * As [method@Manager.get_guest_by_pid_async], and waits for it.
 *
 * Returns: (transfer full): the guest
 *
 * Since: 0.1
 */
GuestlockGuest *guestlock_manager_get_guest_by_pid_sync(GuestlockManager *self, guint pid, GCancellable *cancellable,
                                                        GError **error) {
        g_return_val_if_fail(GUESTLOCK_IS_MANAGER(self), NULL);
        return gl_operation_end_object(gl_operation_run(get_guest_by_pid_op(self, pid), cancellable, error));
}
