/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/release-private.h"

#include <signal.h>

/*
 * A guest that has exited. Its last writes may still be on their way: its leases drain, are given back one by one as
 * their I/O is over, and then it is released.
 */

static void attempt_exit(GlCore *core, GlOp *op);
static void exit_job_done(GlCore *core, GlOp *op, GlJob *job, GPtrArray *resources);

const GlOpKind gl_exit_kind = {"exit", attempt_exit, exit_job_done};

/* How often a dead guest's last writes are looked at. */
#define DRAIN_INTERVAL (10 * 1000)
/* After how long it is looked for who is in their way. */
#define AUDIT_AFTER (2 * (gint64) G_USEC_PER_SEC)

/* --- draining and giving back --- */

/* A shutdown is why it exited, if one waits for that. */
static GlReleaseReason exit_reason(GlCore *core, const GlGuest *guest) {
        for (GList *link = core->ops.head; link; link = link->next) {
                const GlOp *op = link->data;

                if (op->guest == guest && op->kind == &gl_shutdown_kind)
                        return GL_RELEASE_SHUTDOWN;
        }
        return GL_RELEASE_GUEST_EXITED;
}

static void finish_exit(GlCore *core, GlOp *op) {
        GlGuest *guest = op->guest;

        gl_guest_data(guest)->exiting = FALSE;
        if (guest->state == GL_GUEST_HELD && gl_guest_is_leased_alone(core, guest))
                gl_core_announce_released(core, guest, op->resources, exit_reason(core, guest));
        gl_guest_drop_ghosts(core, guest);
        if (op->last_state) {
                g_free(guest->state_string);
                guest->state_string = g_string_free(g_steal_pointer(&op->last_state), FALSE);
        }
        if (guest->state != GL_GUEST_NEW)
                gl_guest_released(core, guest);
        if (guest->transient && guest->state == GL_GUEST_RELEASED)
                gl_guest_data(guest)->removing = TRUE;
        gl_op_free(core, op);
}

static void given_back_on_exit(GlCore *core, GlOp *op, GPtrArray *resources) {
        g_autoptr(GPtrArray) listed = g_ptr_array_new();

        for (guint i = 0; i < resources->len; i++) {
                GlResource *resource = g_ptr_array_index(resources, i);

                /* One that was unplugged is spoken of no more. */
                if (g_ptr_array_find(op->guest->resources, resource, NULL))
                        g_ptr_array_add(listed, resource);
                else
                        gl_resource_drop_claim(core, resource);
        }
        for (guint i = 0; op->last_state && i < listed->len; i++)
                gl_state_string_add(op->last_state, g_ptr_array_index(listed, i));
        if (listed->len > 0)
                gl_core_announce_released(core, op->guest, listed, exit_reason(core, op->guest));
        gl_core_mark_given_back(core, listed);
        gl_op_park(op, 0);
        core->again = TRUE;
}

/* Told once: whoever waits for the disk wants to know what for. */
static void report_slow_drain(GlCore *core, GlOp *op, const GlResource *resource) {
        g_autofree char *quoted = gl_quote(resource->name);
        GlChange *change;

        if (op->slow_at == 0 || core->now < op->slow_at)
                return;
        op->slow_at = 0;
        change = gl_core_emit(core, GL_CHANGE_DRAINS_SLOWLY, op->guest);
        change->text = g_strdup(resource->name);
        change->message = g_strdup_printf("The lease on %s is kept although its guest has ended: %s.", quoted,
                                          resource->drain_reason);
}

static void find_who_is_in_the_way(GlCore *core, GlOp *op) {
        if (op->audit_at == 0 || core->now < op->audit_at)
                return;
        op->audit_at = 0;
        gl_core_begin_audit(core);
}

static void drain_answered(GlCore *core, GlOp *op, GlJob *job, GPtrArray *resources) {
        g_autoptr(GPtrArray) drained = g_ptr_array_new();

        for (guint i = 0; i < resources->len; i++) {
                GlResource *resource = g_ptr_array_index(resources, i);

                g_clear_pointer(&resource->drain_reason, g_free);
                if (!job->error && job->targets[i].drained)
                        g_ptr_array_add(drained, resource);
                else
                        resource->drain_reason = g_strdup(job->targets[i].drain_reason ?: "its I/O may not be over");
                resource->writer_seen = job->targets[i].writer_seen;
        }
        if (drained->len == 0) {
                find_who_is_in_the_way(core, op);
                report_slow_drain(core, op, g_ptr_array_index(resources, 0));
                op->not_before = core->now + DRAIN_INTERVAL;
                gl_op_park(op, op->not_before);
        } else {
                gl_op_start_job(core, op, gl_op_new_job(core, op, GL_JOB_GIVE_BACK, drained));
        }
}

static void exit_job_done(GlCore *core, GlOp *op, GlJob *job, GPtrArray *resources) {
        if (job->kind == GL_JOB_DRAIN) {
                drain_answered(core, op, job, resources);
        } else {
                gl_job_take_looks(job, resources);
                given_back_on_exit(core, op, resources);
        }
}

/* What was lost and unplugged may still be locked, and written to. */
static void add_ghosts(const GlGuest *guest, GPtrArray *draining) {
        GPtrArray *ghosts = guest->ghosts;

        for (guint i = 0; i < ghosts->len; i++)
                if (((GlResource *) g_ptr_array_index(ghosts, i))->lease)
                        g_ptr_array_add(draining, g_ptr_array_index(ghosts, i));
}

static void attempt_exit(GlCore *core, GlOp *op) {
        GlGuest *guest = op->guest;
        g_autoptr(GPtrArray) draining = NULL, without = NULL;

        if (op->not_before > core->now)
                return;
        if (gl_guest_any_busy(guest)) {
                gl_op_park(op, 0);
                return;
        }
        draining = gl_guest_resources_in(guest, GL_RESOURCE_DRAINING);
        add_ghosts(guest, draining);
        without = g_ptr_array_new();
        for (guint i = 0; i < draining->len; i++) {
                GlResource *resource = g_ptr_array_index(draining, i);

                if (!resource->lease)
                        g_ptr_array_add(without, resource);
        }
        if (without->len > 0)
                given_back_on_exit(core, op, without);
        else if (!gl_op_start_job_with_leases(core, op, GL_JOB_DRAIN, draining))
                finish_exit(core, op);
}

void gl_core_begin_exit(GlCore *core, GlGuest *guest) {
        GlGuestData *data = gl_guest_data(guest);
        GlOp *op;

        if (data->exiting)
                return;
        data->exiting = TRUE;
        guest->killing = FALSE;
        guest->stopped_by_us = FALSE;
        for (guint i = 0; i < guest->resources->len; i++) {
                GlResource *resource = g_ptr_array_index(guest->resources, i);

                if (resource->state == GL_RESOURCE_HELD || resource->state == GL_RESOURCE_LOST)
                        gl_resource_set_state(core, resource, GL_RESOURCE_DRAINING);
        }
        gl_guest_save(core, guest, NULL);
        op = gl_op_new(core, &gl_exit_kind, NULL, guest);
        op->audit_at = core->now + AUDIT_AFTER;
        op->slow_at = core->now + (gint64) core->limits.storage_timeout;
        /* What the images are like in the end: who brings the guest back wants to know that nobody else wrote. */
        if (guest->state == GL_GUEST_HELD)
                op->last_state = gl_state_string_begin(guest, core->host_id);
        gl_op_submit(core, op);
}

/* --- the end of a process --- */

typedef struct {
        guint32 pid;
        guint64 start_time;
} Gone;

static gboolean acquires_for_process(const GlOp *op, gconstpointer data) {
        const Gone *gone = data;

        return op->process.pid == gone->pid && op->process.start_time == gone->start_time;
}

/* Acquires that name no process are for the guest's own. */
static gboolean acquires_for_guest(const GlOp *op, gconstpointer guest) {
        return op->guest == guest && gl_op_is_acquire(op) && op->process.pid == 0;
}

static gboolean is_process(const GlProcessRef *process, const Gone *gone) {
        return process->pid == gone->pid && process->start_time == gone->start_time;
}

static void process_of_guest_gone(GlCore *core, GlGuest *guest, const Gone *gone) {
        gboolean supervisor = is_process(&guest->processes[GL_PROCESS_SUPERVISOR], gone), bound = FALSE;

        for (guint role = 0; role < GL_N_PROCESSES; role++) {
                if (is_process(&guest->processes[role], gone)) {
                        gl_guest_unbind(core, guest, role);
                        bound = TRUE;
                }
        }
        /* The leases last until it is gone, too. */
        if (supervisor && !guest->orphan_kept)
                gl_guest_signal(core, guest, GL_PROCESS_GUEST, SIGKILL);
        if (!bound || gl_guest_has_process(guest))
                return;
        gl_ops_cancel(core, acquires_for_guest, guest, "The guest has ended.");
        gl_core_begin_exit(core, guest);
}

void gl_core_process_gone(GlCore *core, guint32 pid, guint64 start_time, gint64 now, gint64 realtime) {
        GPtrArray *guests = g_hash_table_lookup(core->pids, GUINT_TO_POINTER(pid));
        g_autoptr(GPtrArray) copy = guests ? g_ptr_array_copy(guests, NULL, NULL) : NULL;
        Gone gone = {pid, start_time};

        gl_core_enter(core, now, realtime);
        gl_ops_cancel(core, acquires_for_process, &gone, "The process that the leases were for has ended.");
        for (guint i = 0; copy && i < copy->len; i++)
                process_of_guest_gone(core, g_ptr_array_index(copy, i), &gone);
        gl_core_leave(core);
}

/* Whoever waits for its end is told that nothing will come of it, and the leases last until it has ended by itself. */
void gl_core_process_refused(GlCore *core, guint32 pid, guint64 start_time, gint64 now, gint64 realtime) {
        Gone refused = {pid, start_time};

        gl_core_enter(core, now, realtime);
        for (GList *link = core->ops.head; link; link = link->next) {
                GlOp *op = link->data;

                if (op->kind != &gl_shutdown_kind ||
                    (!is_process(&op->guest->processes[GL_PROCESS_GUEST], &refused) &&
                     !is_process(&op->guest->processes[GL_PROCESS_SUPERVISOR], &refused)))
                        continue;
                op->refused = pid;
                core->again = TRUE;
        }
        gl_core_leave(core);
}
