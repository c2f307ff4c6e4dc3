/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/acquire-private.h"

/*
 * Acquire, and the attempt that all acquires share: claims in the table first, then the driver, then the grant
 * (grant.c).
 *
 * All or nothing: claims are entered only when none of the set conflicts (contention.c), and leave together.
 */

static void attempt_acquire(GlCore *core, GlOp *op);
static void acquire_job_done(GlCore *core, GlOp *op, GlJob *job, GPtrArray *resources);

const GlOpKind gl_acquire_kind = {"Acquire", attempt_acquire, acquire_job_done};

gboolean gl_op_is_acquire(const GlOp *op) {
        return op->kind == &gl_acquire_kind || op->kind == &gl_start_kind || op->kind == &gl_plug_kind ||
               op->kind == &gl_change_mode_kind;
}

/* --- the attempt --- */

/* What Acquire takes: everything registered and not yet held; in state lost, what is lost; nothing where the driver
 * leases the guest alone. FALSE: something is under way. */
static gboolean collect_missing(GlCore *core, GlOp *op) {
        gboolean idle = !gl_guest_data(op->guest)->exiting;

        g_ptr_array_set_size(op->resources, 0);
        if (gl_guest_is_leased_alone(core, op->guest))
                return idle;
        for (guint i = 0; i < op->guest->resources->len; i++) {
                GlResource *resource = g_ptr_array_index(op->guest->resources, i);

                if (resource->state == GL_RESOURCE_REGISTERED && gl_resource_is_on_trial(core, op, resource))
                        continue;
                if (gl_resource_is_busy(resource) || resource->state == GL_RESOURCE_DRAINING)
                        idle = FALSE;
                if (resource->state != GL_RESOURCE_HELD && !gl_op_regains(op, resource))
                        g_ptr_array_add(op->resources, resource);
        }
        return idle;
}

gboolean gl_op_check_state_generations(GlCore *core, GlOp *op, GError **error) {
        gboolean same = g_str_equal(op->state->uuid, op->guest->uuid) && g_str_equal(op->state->host_id, core->host_id);

        for (guint i = 0; same && i < op->resources->len; i++) {
                const GlResource *resource = g_ptr_array_index(op->resources, i);
                GlNode key = gl_place_key(resource->place);
                const GlStateEntry *entry = gl_state_string_find(op->state, &key);
                guint64 exclusive, shared;
                gboolean known = gl_core_last_generation(core, resource->place, &exclusive, &shared);

                same = entry && entry->mode == gl_op_mode(op, resource) &&
                       (known ? exclusive <= entry->generation &&
                                         (entry->mode == GL_MODE_SHARED || shared <= entry->generation)
                              : entry->generation >= core->forgotten);
                if (!same) {
                        g_autofree char *quoted = gl_quote(resource->name);

                        g_set_error(error, GL_ERROR, GL_ERROR_STALE,
                                    "The state is outdated: somebody else may have written to %s since it was "
                                    "released.",
                                    quoted);
                        return FALSE;
                }
        }
        if (!same)
                g_set_error(error, GL_ERROR, GL_ERROR_STALE, "The state is another guest's or another host's.");
        return same;
}

static void start_taking(GlCore *core, GlOp *op) {
        GlJob *job;

        for (guint i = 0; i < op->resources->len; i++) {
                GlResource *resource = g_ptr_array_index(op->resources, i);
                GlMode mode = gl_op_mode(op, resource);

                if (!resource->claim)
                        resource->claim = gl_table_enter(core->table, resource->place, mode, resource);
                resource->claim->pending = TRUE;
        }
        job = gl_op_new_job(core, op, GL_JOB_TAKE, op->resources);
        job->generation = gl_core_next_generation(core);
        gl_op_start_job(core, op, job);
}

static gboolean overlap_each_other(GlOp *op, GError **error) {
        g_autoptr(GlTable) table = gl_table_new();
        g_autoptr(GPtrArray) found = g_ptr_array_new();

        for (guint i = 0; op->resources->len > 1 && i < op->resources->len && found->len == 0; i++) {
                GlResource *resource = g_ptr_array_index(op->resources, i);

                if (gl_table_conflicts(table, resource->place, gl_op_mode(op, resource), NULL, found)) {
                        const GlResource *other = ((GlClaim *) g_ptr_array_index(found, 0))->owner;
                        g_autofree char *quoted = gl_quote(resource->name), *other_quoted = gl_quote(other->name);

                        g_set_error(error, GL_ERROR, GL_ERROR_CONFLICT,
                                    "%s and %s of one guest overlap; they cannot be held together.", quoted,
                                    other_quoted);
                }
                gl_table_enter(table, resource->place, gl_op_mode(op, resource), resource);
        }
        return found->len > 0;
}

void gl_op_attempt_to_take(GlCore *core, GlOp *op) {
        GError *error = NULL;
        GlVerdict verdict;

        if (op->not_before > core->now) {
                if (op->deadline != 0)
                        gl_op_want_ahead(core, op);
                gl_op_park(op, op->not_before);
                return;
        }

        if (overlap_each_other(op, &error)) {
                gl_op_fail(core, op, error);
                return;
        }
        verdict = gl_op_look_at_all(core, op);
        if (verdict == GL_VERDICT_SETTLING) {
                gl_op_settle_acquire(core, op);
                return;
        }
        if (verdict != GL_VERDICT_CLEAR) {
                gl_op_stay(core, op, FALSE, verdict == GL_VERDICT_BRIEF);
                return;
        }
        if ((op->state && !gl_op_check_state_generations(core, op, &error)) || !gl_op_check_unbound_quota(core, op, &error)) {
                gl_op_fail(core, op, error);
                return;
        }
        if (op->resources->len > 0)
                start_taking(core, op);
        else
                gl_op_commit(core, op, NULL);
}

static void attempt_acquire(GlCore *core, GlOp *op) {
        if (gl_op_ends_with_guest(core, op))
                return;
        if (!op->register_only && !collect_missing(core, op))
                gl_op_settle_acquire(core, op);
        else if (op->register_only || gl_op_is_ready_to_take(core, op))
                gl_op_attempt_to_take(core, op);
}

static void acquire_job_done(GlCore *core, GlOp *op, GlJob *job, GPtrArray *resources) {
        if (job->kind == GL_JOB_TAKE)
                gl_op_taken(core, op, job, resources);
        else
                gl_op_lost_job_done(core, op, job, resources);
}

/* --- the call --- */

gboolean gl_guest_check_process(const GlGuest *guest, const GlAcquireSpec *spec, GError **error) {
        GlProcessRole role = spec->supervisor ? GL_PROCESS_SUPERVISOR : GL_PROCESS_GUEST;
        const GlProcessRef *bound = &guest->processes[role];
        g_autofree char *why = NULL;

        if (spec->process.pid == 0) {
                if (!spec->register_only)
                        return TRUE;
                g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS,
                            "The option \"register-only\" needs the process: \"pid\" or \"pidfd\".");
                return FALSE;
        }
        if (spec->register_only && guest->state == GL_GUEST_LOST)
                return gl_guest_refuse(guest, error, "no process can be bound to it; Acquire, Release or shut it down");
        if (gl_guest_data(guest)->exiting && spec->register_only)
                return gl_guest_refuse(guest, error, "its process has just ended; wait until its leases are released");
        if ((guest->state != GL_GUEST_HELD && guest->state != GL_GUEST_LOST) || bound->pid == 0 ||
            (bound->pid == spec->process.pid && bound->start_time == spec->process.start_time))
                return TRUE;
        why = g_strdup_printf("it belongs to process %" G_GUINT32_FORMAT ", which still lives", bound->pid);
        return gl_guest_refuse(guest, error, why);
}

void gl_op_set_acquire_spec(GlCore *core, GlOp *op, const GlAcquireSpec *spec) {
        const GlProcessRef *process = &spec->process;
        GlChange *change;

        op->register_only = spec->register_only;
        op->deadline = spec->wait_ms > 0 ? core->now + (gint64) spec->wait_ms * 1000 : 0;
        if (process->pid == 0)
                return;
        op->role = spec->supervisor ? GL_PROCESS_SUPERVISOR : GL_PROCESS_GUEST;
        op->process = (GlProcessRef){process->pid, process->start_time, gl_handle_ref(process->handle)};
        change = gl_core_emit(core, GL_CHANGE_WATCH_PROCESS, NULL);
        change->process = (GlProcessRef){process->pid, process->start_time, gl_handle_ref(process->handle)};
}

gboolean gl_core_note_inherited(GlCore *core, GlGuest *guest, GPtrArray *resources, gint64 now, gint64 realtime) {
        gboolean changed = FALSE;

        gl_core_enter(core, now, realtime);
        for (guint i = 0; i < resources->len && gl_guest_has_process(guest); i++) {
                GlResource *resource = g_ptr_array_index(resources, i);

                changed |= resource->kept_by != GL_KEPT_BY_HOLDER;
                resource->kept_by = GL_KEPT_BY_HOLDER;
        }
        if (changed)
                gl_guest_save(core, guest, NULL);
        gl_core_leave(core);
        return changed;
}

void gl_core_acquire(GlCore *core, const GlRequest *request, GlGuest *guest, const GlAcquireSpec *spec) {
        g_autoptr(GlStateString) state = NULL;
        GError *error = NULL;
        GlOp *op;

        gl_core_enter(core, request->now, request->realtime);
        if ((!spec->register_only && !gl_core_driver_can_lease(core, guest, &error)) ||
            (spec->state && spec->state[0] && !(state = gl_state_string_parse(spec->state, &error))) ||
            !gl_guest_check_process(guest, spec, &error)) {
                gl_core_reply_error(core, request, error);
        } else {
                op = gl_op_new(core, &gl_acquire_kind, request, guest);
                op->state = g_steal_pointer(&state);
                gl_op_set_acquire_spec(core, op, spec);
                gl_op_submit(core, op);
        }
        gl_core_leave(core);
}
