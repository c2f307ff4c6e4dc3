/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "supervisor.h"

#include "guest.h"

/* What to put before a guest's command line, so that it runs under the supervisor: the service says it. */

static gboolean got_path(GlOperation *op, GVariant *reply, GError **error) {
        char *path;

        g_variant_get(reply, "(s)", &path);
        g_ptr_array_insert(op->command, 0, path);
        return TRUE;
}

static gboolean got_arguments(GlOperation *op, GVariant *reply, GError **error) {
        g_auto(GStrv) arguments = NULL;

        g_variant_get(reply, "(^as)", &arguments);
        for (int i = 0; arguments[i]; i++)
                g_ptr_array_insert(op->command, 1 + i, g_strdup(arguments[i]));
        return TRUE;
}

void gl_add_supervisor_command(GlOperation *op, const char *path, guint wait_ms, gboolean keep_orphan,
                               const char *const *command) {
        GVariantDict options;

        op->command = g_ptr_array_new_with_free_func(g_free);
        for (int i = 0; command && command[i]; i++)
                g_ptr_array_add(op->command, g_strdup(command[i]));
        g_ptr_array_add(op->command, NULL);
        g_variant_dict_init(&options, NULL);
        if (wait_ms)
                g_variant_dict_insert(&options, "wait-ms", "u", wait_ms);
        if (keep_orphan)
                g_variant_dict_insert(&options, "orphan", "s", "keep");
        gl_operation_add(op, GL_GUEST, path, "GetSupervisorPath", NULL, NULL)->then = got_path;
        gl_operation_add(op, GL_GUEST, path, "GetSupervisorArgs",
                         g_variant_new("(@a{sv})", g_variant_dict_end(&options)), NULL)
                ->then = got_arguments;
}

static GlOperation *get_supervisor_command_op(GuestlockGuest *self, guint wait, gboolean keep_orphan,
                                              const char *const *command) {
        GlOperation *op = gl_operation_new(gl_guest_manager(self), self);

        gl_add_supervisor_command(op, guestlock_guest_get_object_path(self), wait, keep_orphan, command);
        return op;
}

static char **end_command(GlOperation *op) {
        char **command = op ? (char **) g_ptr_array_steal(op->command, NULL) : NULL;

        gl_operation_free(op);
        return command;
}

/**
 * guestlock_guest_get_supervisor_command_async:
 * @self: a guest
 * @wait: how many milliseconds the supervisor waits for resources that others hold
 * @keep_orphan: whether the guest goes on, and its leases with it, when the supervisor ends before it; else it is
 *   killed then
 * @command: (nullable) (array zero-terminated=1) (element-type filename): the program that is the guest, and its
 *   arguments; `NULL`: what is to be put before them is asked for
 * @cancellable: (nullable): to give up
 * @callback: called when it has ended
 * @user_data: for @callback
 *
 * Asks what to run instead of a command, as the guest's owner, to run it under the supervisor: that takes what the
 * guest has registered, and starts the command when it has it. [method@Manager.run_guest_async] does all of that; this
 * is for who starts processes in a way of his own.
 *
 * It changes nothing, and is the same in every state of the guest.
 *
 * Since: 0.1
 */
void guestlock_guest_get_supervisor_command_async(GuestlockGuest *self, guint wait, gboolean keep_orphan,
                                                  const char *const *command, GCancellable *cancellable,
                                                  GAsyncReadyCallback callback, gpointer user_data) {
        g_return_if_fail(GUESTLOCK_IS_GUEST(self));
        gl_operation_begin(get_supervisor_command_op(self, wait, keep_orphan, command), self,
                           guestlock_guest_get_supervisor_command_async, cancellable, callback, user_data);
}

/**
 * guestlock_guest_get_supervisor_command_finish:
 * @self: a guest
 * @result: what the callback got
 * @error: for what went wrong
 *
 * Returns: (transfer full) (array zero-terminated=1) (element-type filename): the path of the supervisor, its
 *   arguments, and the command
 *
 * Since: 0.1
 */
char **guestlock_guest_get_supervisor_command_finish(GuestlockGuest *self, GAsyncResult *result, GError **error) {
        return end_command(gl_operation_finish(self, guestlock_guest_get_supervisor_command_async, result, error));
}

/**
 * guestlock_guest_get_supervisor_command_sync:
 * @self: a guest
 * @wait: how many milliseconds the supervisor waits for resources that others hold
 * @keep_orphan: whether the guest goes on, and its leases with it, when the supervisor ends before it; else it is
 *   killed then
 * @command: (nullable) (array zero-terminated=1) (element-type filename): the program that is the guest, and its
 *   arguments; `NULL`: what is to be put before them is asked for
 * @cancellable: (nullable): to give up
 * @error: for what went wrong
 *
 * As [method@Guest.get_supervisor_command_async], and waits for it.
 *
 * Returns: (transfer full) (array zero-terminated=1) (element-type filename): the path of the supervisor, its
 *   arguments, and the command
 *
 * Since: 0.1
 */
char **guestlock_guest_get_supervisor_command_sync(GuestlockGuest *self, guint wait, gboolean keep_orphan,
                                                   const char *const *command, GCancellable *cancellable,
                                                   GError **error) {
        g_return_val_if_fail(GUESTLOCK_IS_GUEST(self), NULL);
        return end_command(
                gl_operation_run(get_supervisor_command_op(self, wait, keep_orphan, command), cancellable, error));
}
