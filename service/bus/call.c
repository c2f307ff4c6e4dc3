/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/call.h"

#include <errno.h>
#include <time.h>

#include "bus/bus-private.h"
#include "bus/errors.h"

/*
 * The way of a call, stage after stage; each may answer at once or later. A call belongs to its caller's queue for its
 * guest until it has been answered or waits in the core's queue; `caller->calls` maps a uuid to that queue. The next in
 * a queue has its turn from the loop, and not from within the answer to the one before it: that is given while the
 * core's changes are being announced, and what the next one changes would be announced after its reply.
 */

static void begin_turn(GlCall *call);

gint64 gl_now(void) {
        struct timespec now;

        clock_gettime(CLOCK_BOOTTIME, &now);
        return now.tv_sec * G_USEC_PER_SEC + now.tv_nsec / 1000;
}

gint64 gl_realtime(void) {
        return g_get_real_time();
}

static void queues_free(gpointer data) {
        g_hash_table_unref(data);
}

static void wanted_clear(gpointer data) {
        GlWanted *wanted = data;

        if (wanted->resolving)
                gl_resolving_cancel(wanted->resolving);
        gl_source_unref(wanted->source);
}

guint32 gl_call_uid(const GlCall *call) {
        return call->caller->credentials->uid;
}

/* --- how many --- */

/*
 * Each call holds its message, and what it has asked of the storage and of polkit. The bus bounds only those of one
 * connection that want an answer.
 */
static gboolean count_in(GlCall *call, GError **error) {
        GHashTable *n_calls = call->bus->n_calls;
        guint32 uid = gl_call_uid(call);
        guint n = GPOINTER_TO_UINT(g_hash_table_lookup(n_calls, GUINT_TO_POINTER(uid)));

        if (uid != 0 && n >= call->bus->parts.max_calls_per_uid) {
                g_set_error(error, GL_ERROR, GL_ERROR_LIMIT_EXCEEDED,
                            "User %" G_GUINT32_FORMAT " has %u calls under way already, the most that is allowed; wait "
                            "for an answer first.",
                            uid, n);
                return FALSE;
        }
        g_hash_table_insert(n_calls, GUINT_TO_POINTER(uid), GUINT_TO_POINTER(n + 1));
        call->counted = TRUE;
        return TRUE;
}

static void count_out(GlCall *call) {
        GHashTable *n_calls = call->bus->n_calls;
        gpointer uid;
        guint n;

        if (!call->counted)
                return;
        uid = GUINT_TO_POINTER(gl_call_uid(call));
        n = GPOINTER_TO_UINT(g_hash_table_lookup(n_calls, uid));
        if (n > 1)
                g_hash_table_insert(n_calls, uid, GUINT_TO_POINTER(n - 1));
        else
                g_hash_table_remove(n_calls, uid);
}

/* --- the queue --- */

static GQueue *queue_of(GlCaller *caller, const char *uuid) {
        GHashTable *queues = caller->calls;
        GQueue *queue;

        if (!queues) {
                queues = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify) g_queue_free);
                caller->calls = queues;
        }
        queue = g_hash_table_lookup(queues, uuid);
        if (!queue) {
                queue = g_queue_new();
                g_hash_table_insert(queues, g_strdup(uuid), queue);
        }
        return queue;
}

static void enqueue(GlCall *call) {
        GQueue *queue = queue_of(call->caller, call->uuid);

        call->queued = TRUE;
        g_queue_push_tail(queue, call);
        if (queue->length == 1)
                begin_turn(call);
}

static void give_turn(GlCall *call) {
        call->due = TRUE;
        g_queue_push_tail_link(&call->bus->turns, &call->turn);
        sd_event_source_set_enabled(call->bus->turns_source, SD_EVENT_ONESHOT);
}

static void take_turn_back(GlCall *call) {
        if (!call->due)
                return;
        call->due = FALSE;
        g_queue_unlink(&call->bus->turns, &call->turn);
}

void gl_calls_take_turns(GlBus *bus) {
        GlCall *call;

        while ((call = g_queue_peek_head(&bus->turns))) {
                take_turn_back(call);
                begin_turn(call);
        }
}

/* Lets the next one have its turn. */
static void dequeue(GlCall *call) {
        g_autoptr(GlCaller) caller = gl_caller_ref(call->caller);
        g_autofree char *uuid = g_strdup(call->uuid);
        GQueue *queue = queue_of(caller, uuid);
        gboolean was_first = g_queue_peek_head(queue) == call;

        call->queued = FALSE;
        g_queue_remove(queue, call);
        if (queue->length == 0)
                g_hash_table_remove(caller->calls, uuid);
        else if (was_first)
                give_turn(g_queue_peek_head(queue));
        if (caller->calls && g_hash_table_size(caller->calls) == 0)
                g_clear_pointer((GHashTable **) &caller->calls, queues_free);
}

static void call_free(GlCall *call) {
        take_turn_back(call);
        count_out(call);
        g_queue_unlink(&call->bus->calls, &call->link);
        if (call->query)
                call->bus->parts.authority->ops->cancel(call->bus->parts.authority, call->query);
        g_array_unref(call->wanted);
        g_clear_pointer(&call->named, g_array_unref);
        g_clear_pointer(&call->arguments.resources, g_ptr_array_unref);
        g_clear_error(&call->failure);
        g_ptr_array_unref(call->questions);
        g_ptr_array_unref(call->challenged);
        gl_process_unref(call->process);
        sd_bus_message_unref(call->message);
        gl_caller_unref(call->caller);
        g_free(call);
}

static void finish(GlCall *call) {
        if (call->queued)
                dequeue(call);
        call_free(call);
}

void gl_call_waits(GlCall *call) {
        if (call->queued)
                dequeue(call);
}

void gl_calls_drop(GlCaller *caller) {
        GHashTable *queues = g_steal_pointer((GHashTable **) &caller->calls);
        GHashTableIter iter;
        GQueue *queue;

        if (!queues)
                return;
        g_hash_table_iter_init(&iter, queues);
        while (g_hash_table_iter_next(&iter, NULL, (gpointer *) &queue)) {
                GlCall *call;

                while ((call = g_queue_pop_head(queue))) {
                        call->queued = FALSE;
                        if (!call->in_core) /* the core answers those that it has */
                                call_free(call);
                }
        }
        g_hash_table_unref(queues);
}

void gl_calls_forget(GlBus *bus) {
        GlCall *call;

        while ((call = g_queue_peek_head(&bus->calls)))
                call_free(call);
}

/* --- answers --- */

void gl_call_fail(GlCall *call, const GError *error) {
        gl_bus_reply_error(call->message, error);
        finish(call);
}

void gl_call_reply(GlCall *call, const GlChange *answer) {
        g_autoptr(GError) error = NULL;
        sd_bus_message *reply = NULL;
        int r = 0;

        if (sd_bus_message_get_expect_reply(call->message)) {
                r = sd_bus_message_new_method_return(call->message, &reply);
                if (r >= 0 && call->method->fill)
                        r = call->method->fill(call, answer, reply);
                if (r >= 0 && call->failure)
                        gl_bus_reply_error(call->message, call->failure);
                else if (r >= 0)
                        r = sd_bus_send(call->bus->connection, reply, NULL);
        }
        if (r < 0) {
                error = gl_error_from_errno(r, "answer the call");
                gl_bus_reply_error(call->message, error);
        }
        sd_bus_message_unref(reply);
        finish(call);
}

GError *gl_error_from_errno(int negative_errno, const char *what) {
        return g_error_new(GL_ERROR, GL_ERROR_DRIVER_FAILED, "The service could not %s: %s.", what,
                           g_strerror(-negative_errno));
}

GlRequest gl_call_request(GlCall *call) {
        call->in_core = TRUE;
        return (GlRequest){
                .uid = gl_call_uid(call),
                .sender = call->caller->sender,
                .may_manage = call->may_manage,
                .now = gl_now(),
                .realtime = gl_realtime(),
                .call = call,
        };
}

/* --- the stages --- */

/* Others may have changed things since: whatever was looked up before is looked up again. */
static gboolean find_guest(GlCall *call, GError **error) {
        if (!call->on_guest)
                return TRUE;
        call->guest = gl_core_find_guest(call->bus->parts.core, call->owner_uid, call->uuid);
        if (call->guest)
                return TRUE;
        g_set_error(error, GL_ERROR, GL_ERROR_UNKNOWN_OBJECT, "There is no lock manager of guest %s any more.",
                    call->uuid);
        return FALSE;
}

/* The guest may have been restricted while somebody was asked. */
static gboolean is_still_allowed(GlCall *call, GError **error) {
        if (call->may_manage || !gl_call_is_restricted(call))
                return TRUE;
        g_set_error(error, GL_ERROR, GL_ERROR_ACCESS_DENIED,
                    "The leases of guest %s are for those to change who may manage (org.guestlock1.manage).",
                    call->uuid);
        return FALSE;
}

void gl_call_authorised(GlCall *call) {
        g_autoptr(GError) error = NULL;
        GlBus *bus = call->bus;

        if (!find_guest(call, &error) || !is_still_allowed(call, &error)) {
                gl_call_fail(call, error);
                return;
        }
        call->method->run(call);
        gl_bus_pump(bus);
}

/* What was found has to be known to ask about it; the guest may have been freed meanwhile. */
static void all_resolved(GlCall *call) {
        g_autoptr(GError) error = NULL;

        if (find_guest(call, &error))
                gl_call_authorise(call);
        else
                gl_call_fail(call, error);
}

static void resolved(GlSource *source, const GError *error, gpointer user_data) {
        GlWanted *wanted = user_data;
        GlCall *call = wanted->call;

        wanted->resolving = NULL;
        wanted->source = source;
        call->n_resolving--;
        if (error)
                gl_call_fail(call, error);
        else if (call->n_resolving == 0)
                all_resolved(call);
}

/* All at once: each storage has a thread of its own. */
static void resolve_wanted(GlCall *call) {
        GlWorkers *workers = call->bus->parts.workers;
        GlCredentials *credentials = call->caller->credentials;
        guint64 timeout = call->bus->parts.limits->storage_timeout;

        if (call->wanted->len == 0) {
                gl_call_authorise(call);
                return;
        }
        call->n_resolving = call->wanted->len;
        for (guint i = 0; i < call->wanted->len; i++) {
                GlWanted *wanted = &g_array_index(call->wanted, GlWanted, i);

                if (wanted->fd >= 0)
                        wanted->resolving =
                                gl_source_resolve_fd(workers, credentials, wanted->name, wanted->fd, wanted->mode,
                                                     wanted->extent, timeout, resolved, wanted);
                else
                        wanted->resolving = gl_source_resolve_path(workers, credentials, wanted->path, wanted->mode,
                                                                   wanted->extent, timeout, resolved, wanted);
        }
}

static void begin_turn(GlCall *call) {
        g_autoptr(GError) error = NULL;

        if (!find_guest(call, &error) || !gl_open_process(call, &error) ||
            (call->method->prepare && !call->method->prepare(call, &error)))
                gl_call_fail(call, error);
        else
                resolve_wanted(call);
}

static void caller_known(GlCaller *caller, const GError *error, gpointer user_data) {
        g_autoptr(GError) too_many = NULL;
        GlCall *call = user_data;

        if (error) {
                gl_call_fail(call, error);
                return;
        }
        call->caller = gl_caller_ref(caller);
        if (!count_in(call, &too_many))
                gl_call_fail(call, too_many);
        else if (call->uuid[0])
                enqueue(call);
        else
                begin_turn(call);
}

int gl_call_begin(GlBus *bus, const GlMethod *method, sd_bus_message *message, const GlGuest *guest) {
        g_autoptr(GError) error = NULL;
        GlCall *call = g_new0(GlCall, 1);

        call->bus = bus;
        call->method = method;
        call->message = sd_bus_message_ref(message);
        call->link.data = call->turn.data = call;
        g_queue_push_tail_link(&bus->calls, &call->link);
        call->arguments.pidfd = -1;
        call->wanted = g_array_new(FALSE, TRUE, sizeof(GlWanted));
        g_array_set_clear_func(call->wanted, wanted_clear);
        call->questions = g_ptr_array_new_with_free_func((GDestroyNotify) g_strfreev);
        call->challenged = g_ptr_array_new();
        if (guest) {
                call->on_guest = TRUE;
                g_strlcpy(call->uuid, guest->uuid, sizeof call->uuid);
                call->owner_uid = guest->owner_uid;
        }

        if (method->read(call, &error))
                gl_callers_look_up(bus->callers, message, caller_known, call);
        else
                gl_call_fail(call, error);
        return 1;
}

GlWanted *gl_call_want(GlCall *call, GlResourceType type, const char *name, GlMode mode) {
        GlWanted wanted = {
                .call = call,
                .type = type,
                .name = name,
                .mode = mode,
                .path = type == GL_RESOURCE_DISK ? name : NULL,
                .fd = -1,
                .extent = {0, GL_EXTENT_END},
        };

        g_array_append_val(call->wanted, wanted);
        return &g_array_index(call->wanted, GlWanted, call->wanted->len - 1);
}
