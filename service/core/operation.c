/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/core-private.h"
#include "core/release-private.h"

#include <string.h>

/*
 * The life of an operation, the jobs it has out, the clock, and the queue of changes. See core-private.h for the idea.
 */

typedef struct {
        guint64 id;
        GlOp *op;             /* NULL when nobody is interested any more */
        GlGuest *guest;
        GPtrArray *resources; /* of GlResource (borrowed): a guest is not removed while a job is out */
        GlJobKind kind;
        gint64 overdue_at;
        gboolean overdue;
        GList link; /* in core->outstanding */
} GlOutstanding;

/* --- changes --- */

GlChange *gl_core_emit(GlCore *core, GlChangeKind kind, GlGuest *guest) {
        GlChange *change = g_new0(GlChange, 1);

        change->kind = kind;
        change->guest = guest;
        g_queue_push_tail(&core->changes, change);
        return change;
}

GlChange *gl_core_take_change(GlCore *core) {
        return g_queue_pop_head(&core->changes);
}

void gl_core_touch(GlCore *core, GlGuest *guest, guint properties) {
        GlGuestData *data = gl_guest_data(guest);

        if (guest->hidden)
                return;
        if (data->properties == 0)
                g_ptr_array_add(core->dirty, guest);
        data->properties |= properties;
}

void gl_core_announce_properties(GlCore *core, GlGuest *guest) {
        GlGuestData *data = gl_guest_data(guest);

        if (data->properties == 0)
                return;
        gl_core_emit(core, GL_CHANGE_PROPERTIES, guest)->properties = data->properties;
        data->properties = 0;
        g_ptr_array_remove_fast(core->dirty, guest);
}

static void item_clear(gpointer data) {
        g_free(((GlItem *) data)->name);
}

GArray *gl_items_of(GPtrArray *resources) {
        GArray *items = g_array_sized_new(FALSE, FALSE, sizeof(GlItem), resources->len);

        g_array_set_clear_func(items, item_clear);
        for (guint i = 0; i < resources->len; i++) {
                const GlResource *resource = g_ptr_array_index(resources, i);
                GlItem item = {resource->type, g_strdup(resource->name), resource->mode};

                g_array_append_val(items, item);
        }
        return items;
}

void gl_core_announce_released(GlCore *core, GlGuest *guest, GPtrArray *resources, GlReleaseReason reason) {
        GlChange *change;

        /* One that is leased alone has given itself back. */
        if (resources->len == 0 && !gl_guest_is_leased_alone(core, guest))
                return;
        change = gl_core_emit(core, GL_CHANGE_LEASES_RELEASED, guest);
        change->reason = reason;
        change->items = gl_items_of(resources);
}

void gl_core_reply_error(GlCore *core, const GlRequest *request, GError *error) {
        GlChange *reply = gl_core_emit(core, GL_CHANGE_REPLY, NULL);

        reply->call = request->call;
        reply->error = error;
}

/* --- operations --- */

GlOp *gl_op_new(GlCore *core, const GlOpKind *kind, const GlRequest *request, GlGuest *guest) {
        GlOp *op = g_new0(GlOp, 1);

        op->kind = kind;
        op->guest = guest;
        op->resources = g_ptr_array_new();
        if (request) {
                op->call = request->call;
                op->sender = g_strdup(request->sender);
                op->uid = request->uid;
        }
        op->link.data = op;
        g_queue_push_tail_link(&core->ops, &op->link);
        gl_guest_data(guest)->n_ops++;

        return op;
}

static void outstanding_free(GlCore *core, GlOutstanding *outstanding) {
        g_queue_unlink(&core->outstanding, &outstanding->link);
        g_ptr_array_unref(outstanding->resources);
        g_free(outstanding);
}

void gl_core_forget_jobs(GlCore *core) {
        while (core->outstanding.head)
                outstanding_free(core, core->outstanding.head->data);
}

static void forget_jobs_of(GlCore *core, GlOp *op) {
        for (GList *link = core->outstanding.head; link && op->n_jobs > 0; link = link->next) {
                GlOutstanding *outstanding = link->data;

                if (outstanding->op == op) {
                        outstanding->op = NULL;
                        op->n_jobs--;
                }
        }
}

static void stop_waiting(GlCore *core, GlOp *op) {
        if (!op->waiting)
                return;
        op->waiting = FALSE;
        if (--op->guest->n_waiting == 0)
                gl_core_touch(core, op->guest, GL_PROPERTY_WAITING);
}

static void remove_if_due(GlCore *core, GlGuest *guest) {
        const GlGuestData *data = gl_guest_data(guest);

        if (data->removing && data->n_ops == 0 && data->n_jobs == 0) {
                if (guest->hidden)
                        gl_guest_discard(core, guest);
                else
                        gl_guest_remove(core, guest);
        }
}

void gl_op_free(GlCore *core, GlOp *op) {
        GlGuest *guest = op->guest;

        stop_waiting(core, op);
        forget_jobs_of(core, op);
        g_queue_unlink(&core->ops, &op->link);
        gl_guest_data(guest)->n_ops--;
        g_ptr_array_unref(op->resources);
        g_clear_pointer(&op->regained, g_ptr_array_unref);
        gl_handle_unref(&op->process.handle);
        gl_state_string_free(op->state);
        g_clear_error(&op->cancelled);
        if (op->last_state)
                g_string_free(op->last_state, TRUE);
        g_free(op->in_the_way);
        g_free(op->sender);
        g_free(op);
        core->again = TRUE;
        remove_if_due(core, guest);
}

/* Ends OP. The answer comes last: whatever else its end changes is announced before. */
static GlChange *end(GlCore *core, GlOp *op) {
        GlGuest *guest = op->guest;
        gboolean nameless = guest->hidden || gl_guest_data(guest)->removing;
        gpointer call = g_steal_pointer(&op->call);
        GlChange *reply;

        stop_waiting(core, op);
        if (!guest->hidden)
                gl_core_announce_properties(core, guest);
        if (op->n_jobs == 0)
                gl_op_free(core, op);
        if (!call)
                return NULL;
        reply = gl_core_emit(core, GL_CHANGE_REPLY, nameless ? NULL : guest);
        reply->call = call;
        return reply;
}

void gl_op_fail(GlCore *core, GlOp *op, GError *error) {
        GlChange *reply;

        if (op->n_jobs == 0 && op->kind->failed)
                op->kind->failed(core, op);
        reply = end(core, op);
        if (reply)
                reply->error = error;
        else
                g_error_free(error);
}

void gl_op_succeed(GlCore *core, GlOp *op, guint64 generation, char *text, guint32 pid) {
        GlChange *reply = end(core, op);

        if (!reply) {
                g_free(text);
                return;
        }
        reply->generation = generation;
        reply->text = text;
        reply->pid = pid;
}

void gl_op_submit(GlCore *core, GlOp *op) {
        op->parked = TRUE;
        core->again = TRUE;
}

void gl_op_park(GlOp *op, gint64 retry_at) {
        op->parked = TRUE;
        op->retry_at = retry_at;
        op->settle_until = 0;
}

/* What OP waited for in vain. */
static GError *error_unsettled(GlCore *core, const GlOp *op) {
        const GlGuest *guest = op->guest;
        guint64 seconds = core->limits.storage_timeout / G_USEC_PER_SEC;
        g_autofree char *who = gl_guest_describe(guest), *quoted = NULL;

        for (guint i = 0; i < guest->resources->len; i++) {
                const GlResource *resource = g_ptr_array_index(guest->resources, i);

                if (!resource->drain_reason)
                        continue;
                quoted = gl_quote(resource->name);
                return g_error_new(GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE,
                                   "%s has ended, but its lease on %s has not within %" G_GUINT64_FORMAT " s: %s.", who,
                                   quoted, seconds, resource->drain_reason);
        }
        if (op->kind == &gl_shutdown_kind && gl_guest_has_process(guest))
                return g_error_new(GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE,
                                   "%s was told to end and has not within %" G_GUINT64_FORMAT
                                   " s; its process is another user's, or waits for its storage.",
                                   who, seconds);
        return g_error_new(GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE,
                           "%s waits for storage that has not answered for %" G_GUINT64_FORMAT
                           " s; see whether it hangs, and repeat the call.",
                           who, seconds);
}

void gl_op_settle(GlCore *core, GlOp *op) {
        gint64 until = op->settle_until ?: core->now + (gint64) core->limits.storage_timeout;

        if (!op->call) { /* nobody to tell: it goes on for as long as it takes */
                gl_op_park(op, 0);
        } else if (core->now < until) {
                gl_op_park(op, 0);
                op->settle_until = until;
        } else {
                gl_op_fail(core, op, error_unsettled(core, op));
        }
}

/* Ends OP with the error, now if it has nothing out, else when that has come back and been undone. */
static void cancel(GlCore *core, GlOp *op, GError *error) {
        if (op->n_jobs == 0) {
                gl_op_fail(core, op, error);
                return;
        }
        g_clear_error(&op->cancelled);
        op->cancelled = g_error_copy(error);
        op->parked = FALSE;
        gl_op_fail(core, op, error);
}

void gl_ops_cancel(GlCore *core, GlOpFilter filter, gconstpointer data, const char *why) {
        g_assert(!core->ahead);
        for (GList *link = core->ops.head, *next; link; link = next) {
                GlOp *op = link->data;

                next = link->next;
                if (!op->cancelled && filter(op, data))
                        cancel(core, op, g_error_new_literal(GL_ERROR, GL_ERROR_CANCELLED, why));
        }
}

gboolean gl_op_ends_with_guest(GlCore *core, GlOp *op) {
        g_autofree char *who = NULL;

        if (!gl_guest_data(op->guest)->removing)
                return FALSE;
        who = gl_guest_describe(op->guest);
        gl_op_fail(core, op,
                   g_error_new(GL_ERROR, GL_ERROR_CANCELLED, "%s has ended, and its lock manager with it.", who));
        return TRUE;
}

/* --- jobs --- */

void gl_target_set_lease(GlTarget *target, const GlResource *resource) {
        target->type = resource->type;
        target->name = g_strdup(resource->name);
        target->place = gl_place_ref(resource->place);
        target->source = gl_handle_ref(resource->source);
        target->mode = target->held_mode = resource->mode;
        target->generation = resource->generation;
        target->lease = resource->lease;
}

GlJob *gl_op_new_job(GlCore *core, GlOp *op, GlJobKind kind, GPtrArray *resources) {
        GlJob *job = gl_job_new(kind, op->guest->driver, resources->len);
        GlOutstanding *outstanding = g_new0(GlOutstanding, 1);

        job->id = ++core->last_job;
        job->owner_uid = op->guest->owner_uid;
        job->guest_uuid = g_strdup(op->guest->uuid);
        job->guest_name = g_strdup(op->guest->name);
        job->realtime = core->realtime;
        for (guint role = 0; role < GL_N_PROCESSES && job->holder_pid == 0; role++)
                job->holder_pid = op->guest->processes[role].pid;
        if (op->process.pid != 0)
                job->holder_pid = op->process.pid;
        job->supervised = op->guest->supervised;
        job->guest_to_come = job->holder_pid != 0 && op->guest->processes[GL_PROCESS_GUEST].pid == 0 &&
                             (op->process.pid == 0 || op->role == GL_PROCESS_SUPERVISOR);
        if (op->guest->processes[GL_PROCESS_SUPERVISOR].pid != job->holder_pid)
                job->supervisor_pid = op->guest->processes[GL_PROCESS_SUPERVISOR].pid;

        for (guint i = 0; i < resources->len; i++) {
                GlResource *resource = g_ptr_array_index(resources, i);
                GlTarget *target = &job->targets[i];

                gl_target_set_lease(target, resource);
                target->by_descriptor = resource->by_descriptor;
                target->mode = gl_op_mode(op, resource);
                target->require_scope = op->guest->require_scope;
                if (resource->state == GL_RESOURCE_REGISTERED)
                        target->generation = 0;
                target->resource = resource;
                target->keep_key = resource->keep_key;
                target->kept_by = resource->kept_by;
                target->insist = resource->insisted;
                target->size = resource->size;
                target->mtime = resource->mtime;
                if (kind == GL_JOB_GIVE_BACK)
                        resource->lease = NULL;
                resource->job = job->id;
        }

        outstanding->id = job->id;
        outstanding->op = op;
        outstanding->kind = kind;
        outstanding->guest = op->guest;
        outstanding->resources = g_ptr_array_copy(resources, NULL, NULL);
        outstanding->overdue_at = core->now + core->limits.storage_timeout;
        outstanding->link.data = outstanding;
        job->core_data = outstanding;

        return job;
}

void gl_op_start_job(GlCore *core, GlOp *op, GlJob *job) {
        GlOutstanding *outstanding = job->core_data;

        g_queue_push_tail_link(&core->outstanding, &outstanding->link);
        op->n_jobs++;
        op->asked_at = core->now;
        op->parked = FALSE;
        gl_guest_data(op->guest)->n_jobs++;
        gl_core_emit(core, GL_CHANGE_JOB, op->guest)->job = job;
}

void gl_core_job_done(GlCore *core, GlJob *job, gint64 now, gint64 realtime) {
        GlOutstanding *outstanding = job->core_data;
        g_autoptr(GPtrArray) resources = NULL;
        GlGuest *guest;
        GlOp *op;

        gl_core_enter(core, now, realtime);
        if (!job->guest_uuid) { /* no operation's */
                if (job->kind == GL_JOB_LOOK)
                        gl_core_look_done(core, job);
                else if (job->kind == GL_JOB_AUDIT)
                        gl_core_audit_done(core, job);
                else
                        gl_core_check_done(core, job);
                gl_core_leave(core);
                return;
        }
        resources = g_ptr_array_ref(outstanding->resources);
        guest = outstanding->guest;
        op = outstanding->op;
        outstanding_free(core, outstanding);
        job->core_data = NULL;
        for (guint i = 0; i < resources->len; i++)
                ((GlResource *) g_ptr_array_index(resources, i))->job = 0;
        gl_guest_data(guest)->n_jobs--;
        if (op) {
                op->n_jobs--;
                op->kind->job_done(core, op, job, resources);
        } else {
                remove_if_due(core, guest);
        }
        gl_job_free(job);
        core->again = TRUE;
        gl_core_leave(core);
}

/* --- time --- */

/* One round: those that wait are looked at in the order in which they came, and those further behind stay
 * behind what the ones before them want. */
static void serve_round(GlCore *core) {
        g_autoptr(GPtrArray) round = g_ptr_array_new();

        for (GList *link = core->ops.head; link; link = link->next) {
                GlOp *op = link->data;

                if (op->parked)
                        g_ptr_array_add(round, op);
        }
        if (round->len == 0)
                return;

        core->ahead = gl_table_new();
        for (guint i = 0; i < round->len; i++) {
                GlOp *op = g_ptr_array_index(round, i);

                op->kind->attempt(core, op);
        }
        g_clear_pointer(&core->ahead, gl_table_free);
}

void gl_core_enter(GlCore *core, gint64 now, gint64 realtime) {
        if (core->depth++ == 0) {
                core->now = MAX(core->now, now);
                core->realtime = realtime;
        }
}

void gl_core_leave(GlCore *core) {
        g_assert(core->depth > 0);
        if (core->depth == 1) {
                while (core->again) {
                        core->again = FALSE;
                        serve_round(core);
                }
                while (core->dirty->len > 0)
                        gl_core_announce_properties(core, g_ptr_array_index(core->dirty, 0));
        }
        core->depth--;
}

static void earlier(gint64 *next, gint64 at) {
        if (at != 0)
                *next = MIN(*next, at);
}

gint64 gl_core_next_tick(GlCore *core) {
        gint64 next = MIN(gl_core_next_check(core), gl_core_next_overdue_look(core));

        earlier(&next, core->save_at);
        for (GList *link = core->outstanding.head; link; link = link->next) {
                const GlOutstanding *outstanding = link->data;

                if (!outstanding->overdue) {
                        earlier(&next, outstanding->overdue_at);
                        break;
                }
        }
        for (GList *link = core->ops.head; link; link = link->next) {
                const GlOp *op = link->data;

                if (!op->parked)
                        continue;
                earlier(&next, op->retry_at);
                earlier(&next, op->deadline);
                earlier(&next, op->settle_until);
        }
        return next;
}

static const char *what_follows(GlJobKind kind) {
        switch (kind) {
        case GL_JOB_GIVE_BACK:
                return "It is done when it does.";
        case GL_JOB_INSPECT:
        case GL_JOB_DRAIN:
        case GL_JOB_CHECK:
        case GL_JOB_AUDIT:
        case GL_JOB_LOOK:
                return "Nothing has been changed.";
        case GL_JOB_TAKE:
        case GL_JOB_CHANGE_MODE:
                break;
        }
        return "What the call has begun is undone when it does.";
}

static void report_overdue(GlCore *core, GlOutstanding *outstanding) {
        GlOp *op = outstanding->op;
        const GlResource *first = g_ptr_array_index(outstanding->resources, 0);
        g_autofree char *quoted = gl_quote(first->name);
        GlChange *change = gl_core_emit(core, GL_CHANGE_STORAGE_HANGS, outstanding->guest);

        outstanding->overdue = TRUE;
        change->text = g_strdup(first->name);
        change->message = g_strdup_printf("The storage of %s has not answered for %" G_GUINT64_FORMAT " s.", quoted,
                                          core->limits.storage_timeout / G_USEC_PER_SEC);
        if (op && op->call)
                cancel(core, op,
                       g_error_new(GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE, "%s %s", change->message,
                                   what_follows(outstanding->kind)));
}

void gl_core_tick(GlCore *core, gint64 now, gint64 realtime) {
        gl_core_enter(core, now, realtime);
        if (gl_core_next_check(core) <= core->now)
                gl_core_begin_check(core);
        if (core->save_at != 0 && core->save_at <= core->now)
                gl_core_save_again(core);
        gl_core_fail_overdue_looks(core);
        for (GList *link = core->outstanding.head; link; link = link->next) {
                GlOutstanding *outstanding = link->data;

                if (outstanding->overdue_at > core->now)
                        break;
                if (!outstanding->overdue)
                        report_overdue(core, outstanding);
        }
        for (GList *link = core->ops.head; link; link = link->next) {
                const GlOp *op = link->data;

                if (op->parked && ((op->retry_at != 0 && op->retry_at <= core->now) ||
                                   (op->deadline != 0 && op->deadline <= core->now) ||
                                   (op->settle_until != 0 && op->settle_until <= core->now)))
                        core->again = TRUE;
        }
        gl_core_leave(core);
}

/* --- callers --- */

static gboolean waits_for_sender(const GlOp *op, gconstpointer sender) {
        return op->waiting && g_strcmp0(op->sender, sender) == 0;
}

void gl_core_caller_gone(GlCore *core, const char *sender, gint64 now, gint64 realtime) {
        gl_core_enter(core, now, realtime);
        /* What has been begun goes on, but does not begin to wait for somebody who has left. */
        for (GList *link = core->ops.head; link; link = link->next) {
                GlOp *op = link->data;

                if (!op->waiting && g_strcmp0(op->sender, sender) == 0)
                        op->deadline = 0;
        }
        core->again = TRUE; /* somebody may have stood behind it */
        gl_ops_cancel(core, waits_for_sender, sender, "The caller has left the bus.");
        gl_core_leave(core);
}
