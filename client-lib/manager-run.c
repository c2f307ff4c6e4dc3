/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "manager.h"

#include "manager-guests.h"
#include "request.h"
#include "supervisor.h"

/*
 * Running a command under the supervisor. The supervisor opens and takes what the guest has registered, and starts the
 * command only then, so what is in the way is said by it; to its caller it is like the command itself, and ends as that
 * does.
 */

/* Last of all: what was started cannot be taken back. */
static gboolean run(GlOperation *op, GVariant *nothing, GError **error) {
        op->process =
                g_subprocess_newv((const char *const *) op->command->pdata, G_SUBPROCESS_FLAGS_STDIN_INHERIT, error);
        return op->process != NULL;
}

static GlOperation *run_guest_op(GuestlockManager *self, const char *uuid, const char *name, GuestlockRequest *request,
                                 const char *const *command) {
        GlOperation *op = gl_creating(self, uuid, name, request, TRUE);

        gl_add_supervisor_command(op, NULL, gl_request_wait_ms(request), FALSE, command);
        gl_add_loading(op);
        op->finally = run;
        return op;
}

static GuestlockGuest *end_running(GlOperation *op, GSubprocess **process) {
        if (op && process)
                *process = g_steal_pointer(&op->process);
        return gl_operation_end_object(op);
}

/**
 * guestlock_manager_run_guest_async:
 * @self: a manager
 * @uuid: the guest's uuid
 * @name: its name, for people
 * @request: (nullable): what to ask for
 * @command: (array zero-terminated=1) (element-type filename): the program and its arguments
 * @cancellable: (nullable): to give up
 * @callback: called when it has ended
 * @user_data: for @callback
 *
 * Runs a command as a guest, under the supervisor: that takes the resources of @request and waits for them as long
 * as @request says, starts the command when it has them, and says on its standard error why it does not.
 *
 * It is in the place of the command: it has the input and the output of the caller, passes signals on, and ends as
 * the command does. The pid of the command is [property@Guest:pid], and [signal@Guest::lease-lost] is what happens
 * to its leases.
 *
 * Since: 0.1
 */
void guestlock_manager_run_guest_async(GuestlockManager *self, const char *uuid, const char *name,
                                       GuestlockRequest *request, const char *const *command, GCancellable *cancellable,
                                       GAsyncReadyCallback callback, gpointer user_data) {
        g_return_if_fail(GUESTLOCK_IS_MANAGER(self));
        g_return_if_fail(uuid && name);
        g_return_if_fail(!request || GUESTLOCK_IS_REQUEST(request));
        g_return_if_fail(command && command[0]);
        gl_operation_begin(run_guest_op(self, uuid, name, request, command), self, guestlock_manager_run_guest_async,
                           cancellable, callback, user_data);
}

/**
 * guestlock_manager_run_guest_finish:
 * @self: a manager
 * @result: what the callback got
 * @process: (out) (optional) (transfer full): the supervisor
 * @error: for what went wrong
 *
 * Returns: (transfer full): the guest
 *
 * Since: 0.1
 */
GuestlockGuest *guestlock_manager_run_guest_finish(GuestlockManager *self, GAsyncResult *result, GSubprocess **process,
                                                   GError **error) {
        return end_running(gl_operation_finish(self, guestlock_manager_run_guest_async, result, error), process);
}

/**
 * guestlock_manager_run_guest_sync:
 * @self: a manager
 * @uuid: the guest's uuid
 * @name: its name, for people
 * @request: (nullable): what to ask for
 * @command: (array zero-terminated=1) (element-type filename): the program and its arguments
 * @process: (out) (optional) (transfer full): the supervisor
 * @cancellable: (nullable): to give up
 * @error: for what went wrong
 *
 * As [method@Manager.run_guest_async], and waits for it.
 *
 * Returns: (transfer full): the guest
 *
 * Since: 0.1
 */
GuestlockGuest *guestlock_manager_run_guest_sync(GuestlockManager *self, const char *uuid, const char *name,
                                                 GuestlockRequest *request, const char *const *command,
                                                 GSubprocess **process, GCancellable *cancellable, GError **error) {
        g_return_val_if_fail(GUESTLOCK_IS_MANAGER(self), NULL);
        g_return_val_if_fail(uuid && name, NULL);
        g_return_val_if_fail(!request || GUESTLOCK_IS_REQUEST(request), NULL);
        g_return_val_if_fail(command && command[0], NULL);
        return end_running(gl_operation_run(run_guest_op(self, uuid, name, request, command), cancellable, error),
                           process);
}
