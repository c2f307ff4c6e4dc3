/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest.h"

#include <guestlock-enum-types.h>

#include "operation.h"
#include "words.h"

/* A guest's processes, and what an administrator does to it. */

static GlOperation *set_child_op(GuestlockGuest *self, guint pid, int pidfd) {
        GlOperation *op = gl_operation_new(gl_guest_manager(self), self);
        GUnixFDList *fds = g_unix_fd_list_new();
        GError *error = NULL;
        GVariantDict options;
        int index;

        g_variant_dict_init(&options, NULL);
        if (pidfd >= 0) {
                index = g_unix_fd_list_append(fds, pidfd, &error);
                if (index < 0)
                        gl_operation_fail(op, error);
                g_variant_dict_insert(&options, "pidfd", "h", index);
        } else {
                g_variant_dict_insert(&options, "pid", "u", pid);
        }
        gl_operation_add(op, GL_GUEST, guestlock_guest_get_object_path(self), "SetChild",
                         g_variant_new("(@a{sv})", g_variant_dict_end(&options)), fds);
        return op;
}

static GlOperation *get_child_op(GuestlockGuest *self, guint wait) {
        GlOperation *op = gl_operation_new(gl_guest_manager(self), self);
        GVariantDict options;

        g_variant_dict_init(&options, NULL);
        if (wait)
                g_variant_dict_insert(&options, "wait-ms", "u", wait);
        gl_operation_add(op, GL_GUEST, guestlock_guest_get_object_path(self), "GetChild",
                         g_variant_new("(@a{sv})", g_variant_dict_end(&options)), NULL)
                ->waits = wait > 0;
        return op;
}

static gboolean end_pid(GlOperation *op, guint *pid) {
        if (op && pid)
                g_variant_get(op->reply, "(u)", pid);
        return gl_operation_end(op);
}

static GlOperation *restrict_op(GuestlockGuest *self) {
        GlOperation *op = gl_operation_new(gl_guest_manager(self), self);

        gl_operation_add(op, GL_GUEST, guestlock_guest_get_object_path(self), "Restrict",
                         g_variant_new_parsed("(@a{sv} {},)"), NULL);
        return op;
}

/* Nothing left to take away, after a NoReply: the first call took it, and the guest may have ended by it. */
static GlOperation *revoke_op(GuestlockGuest *self, GuestlockResourceType type, const char *name, const char *reason,
                              GuestlockRevokeFlags flags) {
        GlOperation *op = gl_operation_new(gl_guest_manager(self), self);
        GVariantDict options;

        g_variant_dict_init(&options, NULL);
        if (flags & GUESTLOCK_REVOKE_FLAGS_KILL)
                g_variant_dict_insert(&options, "kill", "b", TRUE);
        if (flags & GUESTLOCK_REVOKE_FLAGS_DRAINED)
                g_variant_dict_insert(&options, "drained", "b", TRUE);
        gl_operation_add(op, GL_GUEST, guestlock_guest_get_object_path(self), "Revoke",
                         g_variant_new("(sss@a{sv})", name ? gl_word_of_value(GUESTLOCK_TYPE_RESOURCE_TYPE, type) : "",
                                       name ? gl_operation_text(op, name) : "", gl_operation_text(op, reason),
                                       g_variant_dict_end(&options)),
                         NULL)
                ->settled_by = GL_BIT(NO_SUCH_RESOURCE) | GL_BIT(UNKNOWN_OBJECT);
        return op;
}

/**
 * guestlock_guest_set_child_async:
 * @self: a guest
 * @pid: the guest's process; not used if there is a @pidfd
 * @pidfd: a descriptor of it, which stays the caller's; -1: none
 * @cancellable: (nullable): to give up
 * @callback: called when it has ended
 * @user_data: for @callback
 *
 * Tells which process is the guest's own, where its holder is a supervisor. The leases last until both are gone.
 *
 * Since: 0.1
 */
void guestlock_guest_set_child_async(GuestlockGuest *self, guint pid, int pidfd, GCancellable *cancellable,
                                     GAsyncReadyCallback callback, gpointer user_data) {
        g_return_if_fail(GUESTLOCK_IS_GUEST(self));
        gl_operation_begin(set_child_op(self, pid, pidfd), self, guestlock_guest_set_child_async, cancellable, callback,
                           user_data);
}

/**
 * guestlock_guest_set_child_finish:
 * @self: a guest
 * @result: what the callback got
 * @error: for what went wrong
 *
 * Returns: `TRUE` if it succeeded
 *
 * Since: 0.1
 */
gboolean guestlock_guest_set_child_finish(GuestlockGuest *self, GAsyncResult *result, GError **error) {
        return gl_operation_end(gl_operation_finish(self, guestlock_guest_set_child_async, result, error));
}

/**
 * guestlock_guest_set_child_sync:
 * @self: a guest
 * @pid: the guest's process; not used if there is a @pidfd
 * @pidfd: a descriptor of it, which stays the caller's; -1: none
 * @cancellable: (nullable): to give up
 * @error: for what went wrong
 *
 * As [method@Guest.set_child_async], and waits for it.
 *
 * Returns: `TRUE` if it succeeded
 *
 * Since: 0.1
 */
gboolean guestlock_guest_set_child_sync(GuestlockGuest *self, guint pid, int pidfd, GCancellable *cancellable,
                                        GError **error) {
        g_return_val_if_fail(GUESTLOCK_IS_GUEST(self), FALSE);
        return gl_operation_end(gl_operation_run(set_child_op(self, pid, pidfd), cancellable, error));
}

/**
 * guestlock_guest_get_child_async:
 * @self: a guest
 * @wait: how many milliseconds to wait until there is one
 * @cancellable: (nullable): to give up
 * @callback: called when it has ended
 * @user_data: for @callback
 *
 * Asks for the guest's own process.
 *
 * Since: 0.1
 */
void guestlock_guest_get_child_async(GuestlockGuest *self, guint wait, GCancellable *cancellable,
                                     GAsyncReadyCallback callback, gpointer user_data) {
        g_return_if_fail(GUESTLOCK_IS_GUEST(self));
        gl_operation_begin(get_child_op(self, wait), self, guestlock_guest_get_child_async, cancellable, callback,
                           user_data);
}

/**
 * guestlock_guest_get_child_finish:
 * @self: a guest
 * @result: what the callback got
 * @pid: (out) (optional): its process id
 * @error: for what went wrong
 *
 * Returns: `TRUE` if it succeeded
 *
 * Since: 0.1
 */
gboolean guestlock_guest_get_child_finish(GuestlockGuest *self, GAsyncResult *result, guint *pid, GError **error) {
        return end_pid(gl_operation_finish(self, guestlock_guest_get_child_async, result, error), pid);
}

/**
 * guestlock_guest_get_child_sync:
 * @self: a guest
 * @wait: how many milliseconds to wait until there is one
 * @pid: (out) (optional): its process id
 * @cancellable: (nullable): to give up
 * @error: for what went wrong
 *
 * As [method@Guest.get_child_async], and waits for it.
 *
 * Returns: `TRUE` if it succeeded
 *
 * Since: 0.1
 */
gboolean guestlock_guest_get_child_sync(GuestlockGuest *self, guint wait, guint *pid, GCancellable *cancellable,
                                        GError **error) {
        g_return_val_if_fail(GUESTLOCK_IS_GUEST(self), FALSE);
        return end_pid(gl_operation_run(get_child_op(self, wait), cancellable, error), pid);
}

/**
 * guestlock_guest_restrict_async:
 * @self: a guest
 * @cancellable: (nullable): to give up
 * @callback: called when it has ended
 * @user_data: for @callback
 *
 * From now on only who may manage other users' guests changes the leases of this one.
 *
 * Since: 0.1
 */
void guestlock_guest_restrict_async(GuestlockGuest *self, GCancellable *cancellable, GAsyncReadyCallback callback,
                                    gpointer user_data) {
        g_return_if_fail(GUESTLOCK_IS_GUEST(self));
        gl_operation_begin(restrict_op(self), self, guestlock_guest_restrict_async, cancellable, callback, user_data);
}

/**
 * guestlock_guest_restrict_finish:
 * @self: a guest
 * @result: what the callback got
 * @error: for what went wrong
 *
 * Returns: `TRUE` if it succeeded
 *
 * Since: 0.1
 */
gboolean guestlock_guest_restrict_finish(GuestlockGuest *self, GAsyncResult *result, GError **error) {
        return gl_operation_end(gl_operation_finish(self, guestlock_guest_restrict_async, result, error));
}

/**
 * guestlock_guest_restrict_sync:
 * @self: a guest
 * @cancellable: (nullable): to give up
 * @error: for what went wrong
 *
 * As [method@Guest.restrict_async], and waits for it.
 *
 * Returns: `TRUE` if it succeeded
 *
 * Since: 0.1
 */
gboolean guestlock_guest_restrict_sync(GuestlockGuest *self, GCancellable *cancellable, GError **error) {
        g_return_val_if_fail(GUESTLOCK_IS_GUEST(self), FALSE);
        return gl_operation_end(gl_operation_run(restrict_op(self), cancellable, error));
}

/**
 * guestlock_guest_revoke_async:
 * @self: a guest
 * @type: what, with @name
 * @name: (nullable): its name, as it was registered; `NULL`: everything that the guest has
 * @reason: why, for people
 * @flags: what else is done
 * @cancellable: (nullable): to give up
 * @callback: called when it has ended
 * @user_data: for @callback
 *
 * An administrator takes leases away. What is lost stays blocked for others until the processes of the guest are
 * gone: to hand a disk over, revoke it with `GUESTLOCK_REVOKE_FLAGS_KILL`.
 *
 * Since: 0.1
 */
void guestlock_guest_revoke_async(GuestlockGuest *self, GuestlockResourceType type, const char *name,
                                  const char *reason, GuestlockRevokeFlags flags, GCancellable *cancellable,
                                  GAsyncReadyCallback callback, gpointer user_data) {
        g_return_if_fail(GUESTLOCK_IS_GUEST(self));
        g_return_if_fail(reason);
        gl_operation_begin(revoke_op(self, type, name, reason, flags), self, guestlock_guest_revoke_async, cancellable,
                           callback, user_data);
}

/**
 * guestlock_guest_revoke_finish:
 * @self: a guest
 * @result: what the callback got
 * @error: for what went wrong
 *
 * Returns: `TRUE` if it succeeded
 *
 * Since: 0.1
 */
gboolean guestlock_guest_revoke_finish(GuestlockGuest *self, GAsyncResult *result, GError **error) {
        return gl_operation_end(gl_operation_finish(self, guestlock_guest_revoke_async, result, error));
}

/**
 * guestlock_guest_revoke_sync:
 * @self: a guest
 * @type: what, with @name
 * @name: (nullable): its name, as it was registered; `NULL`: everything that the guest has
 * @reason: why, for people
 * @flags: what else is done
 * @cancellable: (nullable): to give up
 * @error: for what went wrong
 *
 * As [method@Guest.revoke_async], and waits for it.
 *
 * Returns: `TRUE` if it succeeded
 *
 * Since: 0.1
 */
gboolean guestlock_guest_revoke_sync(GuestlockGuest *self, GuestlockResourceType type, const char *name,
                                     const char *reason, GuestlockRevokeFlags flags, GCancellable *cancellable,
                                     GError **error) {
        g_return_val_if_fail(GUESTLOCK_IS_GUEST(self), FALSE);
        g_return_val_if_fail(reason, FALSE);
        return gl_operation_end(gl_operation_run(revoke_op(self, type, name, reason, flags), cancellable, error));
}
