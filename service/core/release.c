/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/release-private.h"

#include <signal.h>

/* The calls that give back: Release, ReleaseResource, Shutdown and Free. How, is in give-back.c. */

static void attempt_release(GlCore *core, GlOp *op);
static void release_job_done(GlCore *core, GlOp *op, GlJob *job, GPtrArray *resources);
static void attempt_unplug(GlCore *core, GlOp *op);
static void unplug_job_done(GlCore *core, GlOp *op, GlJob *job, GPtrArray *resources);
static void attempt_shutdown(GlCore *core, GlOp *op);
static void attempt_free(GlCore *core, GlOp *op);

static const GlOpKind release_kind = {"Release", attempt_release, release_job_done};
static const GlOpKind unplug_kind = {"ReleaseResource", attempt_unplug, unplug_job_done};
const GlOpKind gl_shutdown_kind = {"Shutdown", attempt_shutdown, release_job_done};
static const GlOpKind free_kind = {"Free", attempt_free};

/* --- Release and Shutdown --- */

static gboolean acquires_of(const GlOp *op, gconstpointer guest) {
        return op->guest == guest && gl_op_is_acquire(op);
}

static gboolean waits_of(const GlOp *op, gconstpointer guest) {
        return op->guest == guest && (gl_op_is_acquire(op) || op->waiting);
}

/* A transient guest goes when it is shut down; whoever still asks something of it is answered first. */
static void end_release(GlCore *core, GlOp *op) {
        GlGuest *guest = op->guest;

        if (op->kind == &gl_shutdown_kind && guest->transient)
                gl_guest_data(guest)->removing = TRUE;
        gl_op_succeed(core, op, 0, g_strdup(guest->state == GL_GUEST_NEW ? "" : guest->state_string ?: ""), 0);
}

static void finish_release(GlCore *core, GlOp *op) {
        GlGuest *guest = op->guest;

        gl_guest_data(guest)->releasing = FALSE;
        gl_core_announce_released(core, guest, op->resources, op->reason);
        gl_core_mark_given_back(core, op->resources);
        gl_guest_released(core, guest);
        end_release(core, op);
}

static void given_back(GlCore *core, GlOp *op) {
        g_free(op->guest->state_string);
        op->guest->state_string = gl_state_string_make(op->guest, core->host_id);
        finish_release(core, op);
}

static void release_job_done(GlCore *core, GlOp *op, GlJob *job, GPtrArray *resources) {
        gl_job_take_looks(job, resources);
        given_back(core, op);
}

static gboolean release_is_done(GlCore *core, GlOp *op) {
        const GlGuest *guest = op->guest;

        if (guest->state != GL_GUEST_NEW && guest->state != GL_GUEST_RELEASED)
                return FALSE;
        end_release(core, op);
        return TRUE;
}

static void begin_release(GlCore *core, GlOp *op) {
        g_autoptr(GPtrArray) held = gl_guest_resources_in(op->guest, GL_RESOURCE_HELD);
        g_autoptr(GPtrArray) lost = gl_guest_resources_in(op->guest, GL_RESOURCE_LOST);

        gl_guest_data(op->guest)->releasing = TRUE;
        g_ptr_array_extend(op->resources, held, NULL, NULL);
        /* What is lost is blocked no longer when there is no process. */
        if (!gl_guest_has_process(op->guest))
                g_ptr_array_extend(held, lost, NULL, NULL);
        if (!gl_op_start_job_with_leases(core, op, GL_JOB_GIVE_BACK, held))
                given_back(core, op);
}

static void attempt_release(GlCore *core, GlOp *op) {
        /* Also an acquire that was cancelled is being undone: free means free. */
        if (gl_guest_any_busy(op->guest) || gl_guest_data(op->guest)->exiting)
                gl_op_settle(core, op);
        else if (!release_is_done(core, op))
                begin_release(core, op);
}

void gl_core_release(GlCore *core, const GlRequest *request, GlGuest *guest) {
        GlOp *op;

        gl_core_enter(core, request->now, request->realtime);
        op = gl_op_new(core, &release_kind, request, guest);
        op->reason = GL_RELEASE_RELEASED;
        gl_ops_cancel(core, acquires_of, guest, "The guest's leases have been released.");
        gl_op_submit(core, op);
        gl_core_leave(core);
}

static GError *error_refused(const GlOp *op) {
        g_autofree char *who = gl_guest_describe(op->guest);

        return g_error_new(GL_ERROR, GL_ERROR_ACCESS_DENIED,
                           "%s cannot be ended: its process %" G_GUINT32_FORMAT
                           " has become another user's, and user %" G_GUINT32_FORMAT
                           ", whose guest it is, may not signal it. The leases end when it has ended.",
                           who, op->refused, op->guest->owner_uid);
}

static void attempt_shutdown(GlCore *core, GlOp *op) {
        if (!gl_guest_has_process(op->guest))
                attempt_release(core, op);
        else if (op->refused)
                gl_op_fail(core, op, error_refused(op));
        else
                gl_op_settle(core, op);
}

static GError *error_running(const GlGuest *guest, const char *advice) {
        g_autofree char *who = gl_guest_describe(guest);
        guint32 pid = guest->processes[GL_PROCESS_GUEST].pid ?: guest->processes[GL_PROCESS_SUPERVISOR].pid;

        return g_error_new(GL_ERROR, GL_ERROR_GUEST_RUNNING, "%s still runs, as process %" G_GUINT32_FORMAT "; %s.",
                           who, pid, advice);
}

/* What was lost is blocked until the last process that may write is gone, whatever its owner says. */
static GError *why_not_shut_down(const GlGuest *guest, gboolean kill, gboolean leave_supervisor) {
        gboolean blocked = gl_guest_any_in(guest, GL_RESOURCE_LOST) || guest->ghosts->len > 0;

        if (guest->processes[GL_PROCESS_GUEST].pid != 0 && !kill)
                return error_running(guest, "end it first, or give the option \"kill\"");
        if (guest->processes[GL_PROCESS_SUPERVISOR].pid != 0 && leave_supervisor && blocked)
                return error_running(guest, "it has lost a lease, so its supervisor cannot be left running");
        return NULL;
}

/* One that is left is the guest's no more; and a guest without any process has ended. */
static void leave_supervisor_alone(GlCore *core, GlGuest *guest) {
        if (guest->processes[GL_PROCESS_SUPERVISOR].pid == 0)
                return;
        gl_guest_unbind(core, guest, GL_PROCESS_SUPERVISOR);
        guest->supervised = FALSE; /* whoever leaves it knows that nothing writes any more */
        if (gl_guest_has_process(guest))
                gl_guest_save(core, guest, NULL);
        else
                gl_core_begin_exit(core, guest);
}

/* A supervisor without a guest is asked first: it may have more than this one to tidy up. */
static void end_processes(GlCore *core, GlGuest *guest, gboolean kill, gboolean leave_supervisor) {
        if (leave_supervisor)
                leave_supervisor_alone(core, guest);
        if (kill) {
                gl_guest_signal(core, guest, GL_PROCESS_GUEST, SIGKILL);
                gl_guest_signal(core, guest, GL_PROCESS_SUPERVISOR, SIGKILL);
        } else if (gl_guest_has_process(guest)) {
                gl_core_ask_to_end(core, guest);
        }
}

void gl_core_shutdown(GlCore *core, const GlRequest *request, GlGuest *guest, gboolean kill,
                      gboolean leave_supervisor) {
        GError *error = why_not_shut_down(guest, kill, leave_supervisor);
        GlOp *op;

        gl_core_enter(core, request->now, request->realtime);
        op = gl_op_new(core, &gl_shutdown_kind, request, guest);
        op->reason = GL_RELEASE_SHUTDOWN;
        if (error) {
                gl_op_fail(core, op, error);
        } else {
                gl_ops_cancel(core, waits_of, guest, "The guest has been shut down.");
                end_processes(core, guest, kill, leave_supervisor);
                gl_op_submit(core, op);
        }
        gl_core_leave(core);
}

/* --- ReleaseResource --- */

static GError *error_no_resource(const GlGuest *guest, GlResourceType type, const char *name) {
        g_autofree char *who = gl_guest_describe(guest);
        g_autofree char *quoted = gl_quote(name);

        return g_error_new(GL_ERROR, GL_ERROR_NO_SUCH_RESOURCE, "%s has no %s %s.", who,
                           gl_resource_type_to_string(type), quoted);
}

static void finish_unplug(GlCore *core, GlOp *op) {
        GlGuest *guest = op->guest;
        GlResource *resource = g_ptr_array_index(op->resources, 0);

        if (resource->state == GL_RESOURCE_LOST && gl_guest_has_process(guest)) {
                gl_guest_make_ghost(core, guest, resource);
        } else {
                /* One that is draining by now: the guest has ended while the driver was at it. */
                if (resource->state == GL_RESOURCE_HELD || resource->state == GL_RESOURCE_DRAINING)
                        gl_core_announce_released(core, guest, op->resources, GL_RELEASE_RELEASED);
                gl_core_mark_given_back(core, op->resources);
                gl_core_remove_unless_wanted(core, op, resource);
        }
        if (guest->state == GL_GUEST_LOST && !gl_guest_any_in(guest, GL_RESOURCE_LOST))
                gl_guest_set_state(core, guest, GL_GUEST_HELD);
        gl_guest_save(core, guest, NULL);
        gl_op_succeed(core, op, 0, NULL, 0);
}

static void unplug_job_done(GlCore *core, GlOp *op, GlJob *job, GPtrArray *resources) {
        finish_unplug(core, op);
}

static void attempt_unplug(GlCore *core, GlOp *op) {
        GlGuest *guest = op->guest;
        GlResource *resource = g_ptr_array_index(op->resources, 0);
        GError *error = NULL;

        if (!g_ptr_array_find(guest->resources, resource, NULL)) {
                /* Unplugged by another call meanwhile. */
                gl_op_succeed(core, op, 0, NULL, 0);
        } else if (gl_resource_is_busy(resource) || resource->state == GL_RESOURCE_DRAINING ||
                   gl_guest_data(guest)->releasing) {
                gl_op_settle(core, op);
        } else if (guest->state == GL_GUEST_LOST && resource->state == GL_RESOURCE_HELD) {
                gl_guest_refuse(guest, &error,
                                "only what is lost can be released by itself; Release gives everything back");
                gl_op_fail(core, op, error);
        } else if (resource->state == GL_RESOURCE_REGISTERED ||
                   (resource->state == GL_RESOURCE_LOST && gl_guest_has_process(guest)) ||
                   !gl_op_start_job_with_leases(core, op, GL_JOB_GIVE_BACK, op->resources)) {
                finish_unplug(core, op);
        }
}

static gboolean plugs_resource(const GlOp *op, gconstpointer resource) {
        return gl_op_is_acquire(op) && op->has_mode && op->resources->pdata[0] == resource;
}

void gl_core_release_resource(GlCore *core, const GlRequest *request, GlGuest *guest, GlResourceType type,
                              const char *name) {
        GlResource *resource = gl_guest_find_resource(guest, type, name);
        GlOp *op;

        gl_core_enter(core, request->now, request->realtime);
        op = gl_op_new(core, &unplug_kind, request, guest);
        if (resource) {
                g_ptr_array_add(op->resources, resource);
                gl_ops_cancel(core, plugs_resource, resource, "The resource has been released.");
                gl_op_submit(core, op);
        } else {
                gl_op_fail(core, op, error_no_resource(guest, type, name));
        }
        gl_core_leave(core);
}

/* --- Free --- */

static gboolean others_of(const GlOp *op, gconstpointer guest) {
        return op->guest == guest && op->kind != &free_kind && op->kind != &gl_undo_kind && op->kind != &gl_exit_kind;
}

static GError *why_not_free(const GlGuest *guest) {
        GError *error = NULL;

        if (guest->state != GL_GUEST_NEW && guest->state != GL_GUEST_RELEASED)
                gl_guest_refuse(guest, &error, "it holds leases; Release them or shut it down first");
        else if (gl_guest_has_process(guest))
                error = error_running(guest, "its lock manager goes when it has ended");
        return error;
}

/* What came after it does not keep it from going, and ends with it. */
static void attempt_free(GlCore *core, GlOp *op) {
        GlGuestData *data = gl_guest_data(op->guest);
        GError *error = why_not_free(op->guest);

        if (error) {
                gl_op_fail(core, op, error);
        } else if (data->n_jobs > 0 || data->exiting) {
                gl_op_settle(core, op);
        } else {
                data->removing = TRUE;
                gl_op_succeed(core, op, 0, NULL, 0);
        }
}

void gl_core_free_guest(GlCore *core, const GlRequest *request, GlGuest *guest) {
        GError *error = why_not_free(guest);
        GlOp *op;

        gl_core_enter(core, request->now, request->realtime);
        op = gl_op_new(core, &free_kind, request, guest);
        if (error) {
                gl_op_fail(core, op, error);
        } else {
                gl_ops_cancel(core, others_of, guest, "The guest's lock manager has been freed.");
                gl_op_submit(core, op);
        }
        gl_core_leave(core);
}
