/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "operation.h"

#include "error.h"
#include "guest.h"
#include "interfaces.h"
#include "manager.h"

/*
 * What a public function does, as a list of calls on the service, worked off one by one. There are two who do that, one
 * that blocks and one that never does, so that a function and its twin cannot differ.
 *
 * A call that was delivered when the service was killed ends in NoReply; it is sent again, to the service that the bus
 * starts then. It has no time limit of its own: the service bounds what it does, except for a person's password and the
 * time that the caller wants to wait, and who gives up has a cancellable.
 *
 * A caller's place in a queue of the service ends only with his connection. So a call that can stand in one and be
 * cancelled has a connection of its own, which is closed after it.
 */

#define ATTEMPTS 3

GlCall *gl_call_new(const char *interface, const char *path, const char *method, GVariant *arguments,
                    GUnixFDList *fds) {
        GlCall *call = g_new0(GlCall, 1);

        call->interface = interface;
        call->method = method;
        call->path = g_strdup(path);
        call->arguments = g_variant_ref_sink(arguments ?: g_variant_new("()"));
        call->fds = fds;
        return call;
}

static void call_free(GlCall *call) {
        g_free(call->path);
        g_variant_unref(call->arguments);
        g_clear_object(&call->fds);
        g_free(call);
}

GlOperation *gl_operation_new(GuestlockManager *manager, GuestlockGuest *guest) {
        GlOperation *op = g_new0(GlOperation, 1);

        op->manager = g_object_ref(manager);
        op->guest = guest ? g_object_ref(guest) : NULL;
        g_queue_init(&op->calls);
        g_queue_init(&op->undo);
        return op;
}

/* What only the way to the end needed. */
static void let_go(GlOperation *op) {
        g_queue_clear_full(&op->calls, (GDestroyNotify) call_free);
        g_queue_clear_full(&op->undo, (GDestroyNotify) call_free);
        if (op->connection)
                g_dbus_connection_close(op->connection, NULL, NULL, NULL);
        g_clear_object(&op->connection);
}

void gl_operation_free(GlOperation *op) {
        if (!op)
                return;
        let_go(op);
        g_object_unref(op->manager);
        g_clear_object(&op->guest);
        g_clear_error(&op->failure);
        g_free(op->path);
        g_free(op->uuid);
        g_clear_pointer(&op->reply, g_variant_unref);
        g_clear_object(&op->fds);
        g_clear_object(&op->result);
        g_clear_pointer(&op->guests, g_ptr_array_unref);
        g_clear_pointer(&op->command, g_ptr_array_unref);
        g_clear_object(&op->process);
        g_free(op);
}

GlCall *gl_operation_add(GlOperation *op, const char *interface, const char *path, const char *method,
                         GVariant *arguments, GUnixFDList *fds) {
        GlCall *call = gl_call_new(interface, path, method, arguments, fds);

        g_queue_push_tail(&op->calls, call);
        return call;
}

void gl_operation_fail(GlOperation *op, GError *error) {
        g_queue_clear_full(&op->calls, (GDestroyNotify) call_free);
        if (op->failure)
                g_error_free(error);
        else
                op->failure = error;
}

const char *gl_operation_text(GlOperation *op, const char *text) {
        g_autofree char *shown = NULL;

        if (g_utf8_validate(text, -1, NULL))
                return text;
        shown = g_utf8_make_valid(text, -1);
        gl_operation_fail(op, g_error_new(GUESTLOCK_ERROR, GUESTLOCK_ERROR_INVALID_ARGS,
                                          "\"%s\" is not UTF-8, and nothing else can be said on the bus.", shown));
        return "";
}

/* --- one step --- */

static GDBusCallFlags flags_of(GlOperation *op) {
        return guestlock_manager_get_interactive(op->manager) ? G_DBUS_CALL_FLAGS_ALLOW_INTERACTIVE_AUTHORIZATION
                                                              : G_DBUS_CALL_FLAGS_NONE;
}

/* Where the connection for a call is kept, or belongs when there is one; NULL: with the manager. */
static GDBusConnection **own_connection(GlOperation *op, const GlCall *call, GCancellable *cancellable) {
        return call->waits && cancellable ? &op->connection : NULL;
}

static GDBusConnection *get_connection(GlOperation *op, const GlCall *call, GCancellable *cancellable) {
        GDBusConnection **own = own_connection(op, call, cancellable);

        return own ? *own : gl_manager_get_connection(op->manager);
}

static void take_connection(GlOperation *op, const GlCall *call, GCancellable *cancellable,
                            GDBusConnection *connection) {
        GDBusConnection **own = own_connection(op, call, cancellable);

        if (own)
                *own = connection;
        else
                gl_manager_take_connection(op->manager, connection);
}

/*
 * The place in the queue is free when the bus has seen the end of the connection, and everybody on it hears of that
 * before what is sent from then on. So it is asked until it has.
 */
static gboolean ask_whether_left(GlOperation *op, GVariant *reply, GError **error) {
        gboolean there = TRUE;
        GlCall *call;

        if (reply)
                g_variant_get(reply, "(b)", &there);
        if (!there)
                return TRUE;
        call = gl_call_new(GL_BUS, "/org/freedesktop/DBus", "NameHasOwner",
                           g_variant_new("(s)", g_dbus_connection_get_unique_name(op->connection)), NULL);
        call->then = ask_whether_left;
        g_queue_push_head(&op->calls, call);
        return TRUE;
}

/* What was done so far is undone, if there is anything. */
static void turn_back(GlOperation *op, GError *error) {
        gboolean cancelled = g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED);

        gl_operation_fail(op, error);
        while (!g_queue_is_empty(&op->undo))
                g_queue_push_tail(&op->calls, g_queue_pop_head(&op->undo));
        if (op->connection && cancelled) {
                g_dbus_connection_close(op->connection, NULL, NULL, NULL);
                ask_whether_left(op, NULL, NULL);
        }
}

static gboolean is_success(const GlOperation *op, const GlCall *call, const GError *error) {
        guint32 welcome = call->accepts | (op->attempts ? call->settled_by : 0);

        return error->domain == GUESTLOCK_ERROR && (welcome & 1U << error->code);
}

static void conclude(GlOperation *op, GlCall *call, GVariant *reply, GUnixFDList *fds) {
        GError *problem = NULL;

        if (call->then) {
                if (!call->then(op, reply, &problem))
                        turn_back(op, problem);
                return;
        }
        g_clear_pointer(&op->reply, g_variant_unref);
        op->reply = reply ? g_variant_ref(reply) : NULL;
        g_set_object(&op->fds, fds);
}

/* The call under way has ended. Takes the error, or the reply and what came with it. */
static void step(GlOperation *op, GVariant *reply, GUnixFDList *fds, GError *error) {
        GlCall *call;

        if (error && gl_error_is_no_reply(error) && ++op->attempts < ATTEMPTS) {
                g_error_free(error);
                return;
        }
        call = g_queue_pop_head(&op->calls);
        if (error)
                error = gl_error_translate(error);
        if (!op->failure && (!error || is_success(op, call, error)))
                conclude(op, call, error ? NULL : reply, fds);
        else if (op->failure && !error && call->then)
                call->then(op, reply, NULL);
        /* Nothing else follows from how the undoing goes. */
        else if (!op->failure && !call->may_fail)
                turn_back(op, g_steal_pointer(&error));
        g_clear_error(&error);
        g_clear_pointer(&reply, g_variant_unref);
        g_clear_object(&fds);
        op->attempts = 0;
        call_free(call);
}

static gboolean refreshed(GlOperation *op, GVariant *reply, GError **error) {
        gl_manager_update_guest(op->manager, op->guest, reply);
        return TRUE;
}

/*
 * The next call. Signals come before the reply, and where both are worked off by one loop the guest is up to date. A
 * caller who blocks runs no loop, and another connection has another order: so they look.
 */
static GlCall *next_call(GlOperation *op, gboolean blocking) {
        GlThen finally = op->finally;
        GError *problem = NULL;
        GlCall *call;

        if (g_queue_is_empty(&op->calls) && finally && !op->failure) {
                op->finally = NULL;
                if (!finally(op, NULL, &problem))
                        turn_back(op, problem);
        }
        if (g_queue_is_empty(&op->calls) && op->guest && !op->failure && !op->refreshed &&
            (blocking || op->connection)) {
                op->refreshed = TRUE;
                call = gl_operation_add(op, GL_PROPERTIES, guestlock_guest_get_object_path(op->guest), "GetAll",
                                        g_variant_new("(s)", GL_GUEST), NULL);
                call->then = refreshed;
                call->accepts = GL_BIT(UNKNOWN_OBJECT);
                call->may_fail = TRUE;
        }
        return g_queue_peek_head(&op->calls);
}

static const char *path_of(const GlOperation *op, const GlCall *call) {
        return call->path ?: op->path;
}

static const char *destination_of(const GlCall *call) {
        return g_str_equal(call->interface, GL_BUS) ? GL_BUS : GL_NAME;
}

/* One that failed while it was put together is not begun. */
static void refuse(GlOperation *op) {
        if (op->failure)
                g_queue_clear_full(&op->calls, (GDestroyNotify) call_free);
}

/* What has to be undone is undone, though the caller does not wait for it any more. */
static GCancellable *cancellable_for(const GlOperation *op, GCancellable *cancellable) {
        return op->failure ? NULL : cancellable;
}

/* --- blocking --- */

/* Or connects to the bus: then it is called again for the call. */
static void do_call(GlOperation *op, GlCall *call, GCancellable *cancellable) {
        g_autoptr(GVariantType) type = gl_interfaces_reply_type(call->interface, call->method);
        GDBusConnection *connection = get_connection(op, call, cancellable);
        g_autofree char *address = NULL;
        GUnixFDList *fds = NULL;
        GVariant *reply = NULL;
        GError *error = NULL;

        if (!connection) {
                address = g_dbus_address_get_for_bus_sync(G_BUS_TYPE_SYSTEM, cancellable, &error);
                if (address)
                        connection = g_dbus_connection_new_for_address_sync(address, GL_CONNECTION_FLAGS, NULL,
                                                                            cancellable, &error);
                if (connection)
                        take_connection(op, call, cancellable, connection);
                else
                        step(op, NULL, NULL, error);
                return;
        }
        reply = g_dbus_connection_call_with_unix_fd_list_sync(
                connection, destination_of(call), path_of(op, call), call->interface, call->method, call->arguments,
                type, flags_of(op), G_MAXINT, call->fds, &fds, cancellable, &error);
        step(op, reply, fds, error);
}

GlOperation *gl_operation_run(GlOperation *op, GCancellable *cancellable, GError **error) {
        GlCall *call;

        refuse(op);
        while ((call = next_call(op, TRUE)))
                do_call(op, call, cancellable_for(op, cancellable));
        let_go(op);
        if (!op->failure)
                return op;
        g_propagate_error(error, g_steal_pointer(&op->failure));
        gl_operation_free(op);
        return NULL;
}

/* --- in the background --- */

static void advance(GTask *task);

static void replied(GObject *connection, GAsyncResult *result, gpointer data) {
        GTask *task = data;
        GUnixFDList *fds = NULL;
        GError *error = NULL;
        GVariant *reply;

        reply = g_dbus_connection_call_with_unix_fd_list_finish(G_DBUS_CONNECTION(connection), &fds, result, &error);
        step(g_task_get_task_data(task), reply, fds, error);
        advance(task);
}

static void connected(GObject *source, GAsyncResult *result, gpointer data) {
        GTask *task = data;
        GlOperation *op = g_task_get_task_data(task);
        GCancellable *cancellable = cancellable_for(op, g_task_get_cancellable(task));
        GError *error = NULL;
        GDBusConnection *connection = g_dbus_connection_new_for_address_finish(result, &error);

        if (connection)
                take_connection(op, g_queue_peek_head(&op->calls), cancellable, connection);
        else
                step(op, NULL, NULL, error);
        advance(task);
}

static void begin_connecting(GTask *task, GCancellable *cancellable) {
        GError *error = NULL;
        /* Does not block: the system bus is where the environment or the build says. */
        g_autofree char *address = g_dbus_address_get_for_bus_sync(G_BUS_TYPE_SYSTEM, NULL, &error);

        if (address) {
                g_dbus_connection_new_for_address(address, GL_CONNECTION_FLAGS, NULL, cancellable, connected, task);
                return;
        }
        step(g_task_get_task_data(task), NULL, NULL, error);
        advance(task);
}

static void finish_task(GTask *task) {
        GlOperation *op = g_task_get_task_data(task);

        let_go(op);
        if (op->failure) {
                g_task_return_error(task, g_steal_pointer(&op->failure));
                gl_operation_free(op);
        } else {
                g_task_return_pointer(task, op, (GDestroyNotify) gl_operation_free);
        }
        g_object_unref(task);
}

/* Takes the task. */
static void advance(GTask *task) {
        GlOperation *op = g_task_get_task_data(task);
        GlCall *call = next_call(op, FALSE);
        GCancellable *cancellable = cancellable_for(op, g_task_get_cancellable(task));
        g_autoptr(GVariantType) type = NULL;
        GDBusConnection *connection;

        if (!call) {
                finish_task(task);
                return;
        }
        connection = get_connection(op, call, cancellable);
        if (!connection) {
                begin_connecting(task, cancellable);
                return;
        }
        type = gl_interfaces_reply_type(call->interface, call->method);
        g_dbus_connection_call_with_unix_fd_list(connection, destination_of(call), path_of(op, call), call->interface,
                                                 call->method, call->arguments, type, flags_of(op), G_MAXINT, call->fds,
                                                 cancellable, replied, task);
}

void gl_operation_begin(GlOperation *op, gpointer source, gpointer tag, GCancellable *cancellable,
                        GAsyncReadyCallback callback, gpointer data) {
        GTask *task = g_task_new(source, cancellable, callback, data);

        g_task_set_source_tag(task, tag);
        g_task_set_name(task, "guestlock");
        /* What came to pass is told, also when the caller has cancelled meanwhile. */
        g_task_set_check_cancellable(task, FALSE);
        g_task_set_task_data(task, op, NULL);
        refuse(op);
        advance(task);
}

GlOperation *gl_operation_finish(gpointer source, gpointer tag, GAsyncResult *result, GError **error) {
        g_return_val_if_fail(g_task_is_valid(result, source), NULL);
        g_return_val_if_fail(g_async_result_is_tagged(result, tag), NULL);
        return g_task_propagate_pointer(G_TASK(result), error);
}

/* --- results --- */

gboolean gl_operation_end(GlOperation *op) {
        gboolean succeeded = op != NULL;

        gl_operation_free(op);
        return succeeded;
}

gboolean gl_operation_end_generation(GlOperation *op, guint64 *generation) {
        if (op && generation)
                g_variant_get_child(op->reply, 0, "t", generation);
        return gl_operation_end(op);
}

char *gl_operation_end_string(GlOperation *op) {
        char *text = NULL;

        if (op)
                g_variant_get_child(op->reply, 0, "s", &text);
        gl_operation_free(op);
        return text;
}

gpointer gl_operation_end_object(GlOperation *op) {
        gpointer object = op ? g_steal_pointer(&op->result) : NULL;

        gl_operation_free(op);
        return object;
}
