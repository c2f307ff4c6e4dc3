/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/core-private.h"

/* Inquire and GetChild: they change nothing, but may have to wait for an answer. */

static void attempt_inquire(GlCore *core, GlOp *op);
static void inquire_job_done(GlCore *core, GlOp *op, GlJob *job, GPtrArray *resources);
static void attempt_get_child(GlCore *core, GlOp *op);

static const GlOpKind inquire_kind = {"Inquire", attempt_inquire, inquire_job_done};
static const GlOpKind get_child_kind = {"GetChild", attempt_get_child, .without_driver = TRUE};

static GPtrArray *held_with_lease(const GlGuest *guest) {
        GPtrArray *held = g_ptr_array_new();

        for (guint i = 0; i < guest->resources->len; i++) {
                GlResource *resource = g_ptr_array_index(guest->resources, i);

                if (resource->state == GL_RESOURCE_HELD && resource->lease)
                        g_ptr_array_add(held, resource);
        }
        return held;
}

static gboolean any_held_busy(const GlGuest *guest) {
        for (guint i = 0; i < guest->resources->len; i++) {
                const GlResource *resource = g_ptr_array_index(guest->resources, i);

                if (resource->state != GL_RESOURCE_REGISTERED && gl_resource_is_busy(resource))
                        return TRUE;
        }
        return FALSE;
}

static void attempt_inquire(GlCore *core, GlOp *op) {
        const GlGuest *guest = op->guest;
        g_autoptr(GPtrArray) held = NULL;

        if (guest->state == GL_GUEST_NEW || guest->state == GL_GUEST_RELEASED) {
                gl_op_succeed(core, op, 0, g_strdup(guest->state_string ?: ""), 0);
                return;
        }
        if (any_held_busy(guest)) {
                gl_op_settle(core, op);
                return;
        }
        held = held_with_lease(guest);
        if (held->len > 0)
                gl_op_start_job(core, op, gl_op_new_job(core, op, GL_JOB_INSPECT, held));
        else
                gl_op_succeed(core, op, 0, gl_state_string_make(guest, core->host_id), 0);
}

static void inquire_job_done(GlCore *core, GlOp *op, GlJob *job, GPtrArray *resources) {
        if (job->error) {
                gl_op_fail(core, op, g_steal_pointer(&job->error));
                return;
        }
        for (guint i = 0; i < resources->len; i++) {
                GlResource *resource = g_ptr_array_index(resources, i);

                resource->size = job->targets[i].size;
                resource->mtime = job->targets[i].mtime;
        }
        gl_op_succeed(core, op, 0, gl_state_string_make(op->guest, core->host_id), 0);
}

void gl_core_inquire(GlCore *core, const GlRequest *request, GlGuest *guest) {
        gl_core_enter(core, request->now, request->realtime);
        gl_op_submit(core, gl_op_new(core, &inquire_kind, request, guest));
        gl_core_leave(core);
}

static void attempt_get_child(GlCore *core, GlOp *op) {
        guint32 pid = op->guest->processes[GL_PROCESS_GUEST].pid;
        g_autofree char *who = NULL;

        if (gl_op_ends_with_guest(core, op))
                return;
        if (pid != 0) {
                gl_op_succeed(core, op, 0, NULL, pid);
                return;
        }
        if (op->deadline > core->now) {
                if (!op->waiting) {
                        op->waiting = TRUE;
                        if (op->guest->n_waiting++ == 0)
                                gl_core_touch(core, op->guest, GL_PROPERTY_WAITING);
                        gl_core_emit(core, GL_CHANGE_WAITS, NULL)->call = op->call;
                }
                gl_op_park(op, 0);
                return;
        }
        who = gl_guest_describe(op->guest);
        gl_op_fail(core, op, g_error_new(GL_ERROR, GL_ERROR_NO_CHILD, "%s has no process.", who));
}

void gl_core_get_child(GlCore *core, const GlRequest *request, GlGuest *guest, guint32 wait_ms) {
        GlOp *op;

        gl_core_enter(core, request->now, request->realtime);
        op = gl_op_new(core, &get_child_kind, request, guest);
        op->deadline = wait_ms > 0 ? core->now + (gint64) wait_ms * 1000 : 0;
        gl_op_submit(core, op);
        gl_core_leave(core);
}
