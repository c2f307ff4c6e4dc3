/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/acquire-private.h"

/*
 * AcquireResource: hotplug, and the change of the mode of what is held already. A resource that the call brings along
 * is there on trial until the call is done, and goes with it if it fails, unless another call wants it too.
 */

static void attempt_plug(GlCore *core, GlOp *op);
static void change_mode_job_done(GlCore *core, GlOp *op, GlJob *job, GPtrArray *resources);
static void plug_failed(GlCore *core, GlOp *op);

const GlOpKind gl_plug_kind = {"AcquireResource", attempt_plug, gl_op_taken, plug_failed};
/* What it becomes while the driver changes the mode of what is held already. */
const GlOpKind gl_change_mode_kind = {"AcquireResource", attempt_plug, change_mode_job_done};

/* --- on trial --- */

gboolean gl_resource_is_on_trial(GlCore *core, const GlOp *asking, const GlResource *resource) {
        if (gl_guest_data(resource->guest)->n_ops == (asking ? 1 : 0))
                return FALSE;
        for (GList *link = core->ops.head; link; link = link->next) {
                const GlOp *op = link->data;

                if (op != asking && op->brings && op->kind == &gl_plug_kind && op->resources->pdata[0] == resource)
                        return TRUE;
        }
        return FALSE;
}

static void plug_failed(GlCore *core, GlOp *op) {
        GlResource *resource = g_ptr_array_index(op->resources, 0);

        /* One that is being given back is removed when that is done; one that another call has got stays. */
        if (op->brings && !gl_resource_is_busy(resource) && resource->state == GL_RESOURCE_REGISTERED)
                gl_core_remove_unless_wanted(core, op, resource);
}

void gl_core_remove_unless_wanted(GlCore *core, GlOp *op, GlResource *resource) {
        for (GList *link = core->ops.head; link; link = link->next) {
                GlOp *other = link->data;

                if (other != op && other->kind == &gl_plug_kind && !other->cancelled &&
                    other->resources->pdata[0] == resource) {
                        other->brings = TRUE;
                        return;
                }
        }
        gl_guest_remove_resource(core, op->guest, resource);
}

/* --- raising and lowering --- */

static GlJob *new_change_job(GlCore *core, GlOp *op) {
        GlJob *job = gl_op_new_job(core, op, GL_JOB_CHANGE_MODE, op->resources);

        job->generation = gl_core_next_generation(core);
        return job;
}

/* What was adopted and could not be locked again has only its row in the table: there is nothing to change. */
static void fail_without_lock(GlCore *core, GlOp *op, const GlResource *resource) {
        g_autofree char *quoted = gl_quote(resource->name);

        gl_op_fail(core, op,
                   g_error_new(GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE,
                               "The lease on %s stays as it is: %s. The next start of the service tries again.", quoted,
                               resource->scope_reason ?: "it has no lock"));
}

/*
 * While the driver is at it the claim is exclusive, so that neither the old nor the new mode lets anybody in.
 */
static void start_changing(GlCore *core, GlOp *op, GlResource *resource) {
        GlVerdict verdict;

        g_clear_pointer(&op->in_the_way, g_free);
        verdict = gl_core_look_at(core, resource, op->mode, &op->in_the_way);
        if (verdict == GL_VERDICT_SETTLING) {
                gl_op_settle_acquire(core, op);
        } else if (verdict != GL_VERDICT_CLEAR) {
                gl_op_fail_conflict(core, op);
        } else {
                op->kind = &gl_change_mode_kind;
                resource->claim->pending = TRUE;
                gl_table_set_mode(core->table, resource->claim, GL_MODE_EXCLUSIVE);
                gl_op_start_job(core, op, new_change_job(core, op));
        }
}

/* The driver has it in MODE, which cannot be kept. */
static void change_back(GlCore *core, GlOp *op, GlResource *resource, GlMode mode) {
        GlJob *job = new_change_job(core, op);

        job->targets[0].mode = resource->mode;
        job->targets[0].held_mode = mode;
        op->changing_back = TRUE;
        gl_op_start_job(core, op, job);
}

static void settle_mode(GlCore *core, GlResource *resource) {
        resource->claim->pending = FALSE;
        gl_table_set_mode(core->table, resource->claim, resource->mode);
        core->again = TRUE;
}

static void commit_mode(GlCore *core, GlOp *op, GlResource *resource, GlMode mode, guint64 granted) {
        GlGuest *guest = op->guest;
        GlMode before = resource->mode;
        guint64 generation = resource->generation, guest_generation = guest->generation;
        GlChange *change;

        resource->mode = mode;
        resource->generation = granted;
        guest->generation = MAX(guest->generation, granted);
        if (!gl_guest_save(core, guest, op->cancelled ? NULL : &op->cancelled) && !op->changing_back) {
                resource->mode = before;
                resource->generation = generation;
                guest->generation = guest_generation;
                change_back(core, op, resource, mode);
                return;
        }
        settle_mode(core, resource);
        gl_op_note_generations(core, op, resource->generation);
        change = gl_core_emit(core, GL_CHANGE_LEASES_ACQUIRED, guest);
        change->generation = resource->generation;
        change->items = gl_items_of(op->resources);
        gl_core_touch(core, guest, GL_PROPERTY_RESOURCES | GL_PROPERTY_GENERATION);
        if (op->cancelled) /* and there was no way back */
                gl_op_fail(core, op, g_error_copy(op->cancelled));
        else
                gl_op_succeed(core, op, resource->generation, NULL, 0);
}

static void change_mode_job_done(GlCore *core, GlOp *op, GlJob *job, GPtrArray *resources) {
        GlResource *resource = g_ptr_array_index(resources, 0);
        const GlTarget *target = &job->targets[0];
        GlMode mode = job->error ? target->held_mode : target->mode;

        gl_core_note_job_generations(core, job);
        resource->lease = target->lease;
        resource->kept_by = target->kept_by;
        if (mode == resource->mode) {
                settle_mode(core, resource);
                gl_op_fail(core, op, op->cancelled ? g_error_copy(op->cancelled) : g_steal_pointer(&job->error));
        } else if (op->cancelled && !op->changing_back) {
                change_back(core, op, resource, mode);
        } else {
                commit_mode(core, op, resource, mode, gl_core_generation_of_job(core, job));
        }
}

/* --- the call --- */

/* A released guest takes it with its next Acquire. */
static void register_for_later(GlCore *core, GlOp *op, GlResource *resource) {
        GlMode before = resource->mode;
        GError *error = NULL;

        if (resource->state == GL_RESOURCE_LOST && op->mode != before) {
                gl_guest_refuse(op->guest, &error, "what is lost keeps its mode until its process is gone");
                gl_op_fail(core, op, error);
                return;
        }
        resource->mode = op->mode;
        if (gl_guest_save(core, op->guest, &error)) {
                if (op->mode != before)
                        gl_core_touch(core, op->guest, GL_PROPERTY_RESOURCES);
                gl_op_succeed(core, op, op->guest->generation, NULL, 0);
        } else {
                resource->mode = before;
                gl_op_fail(core, op, error);
        }
}

static void attempt_plug(GlCore *core, GlOp *op) {
        GlResource *resource = g_ptr_array_index(op->resources, 0);
        const GlGuestData *data = gl_guest_data(op->guest);
        GError *error = NULL;

        if (gl_op_ends_with_guest(core, op))
                return;
        if (data->exiting || (op->guest->state != GL_GUEST_HELD && op->guest->state != GL_GUEST_RELEASED)) {
                gl_guest_refuse(op->guest, &error, "nothing can be plugged into it now");
                gl_op_fail(core, op, error);
        } else if (gl_resource_is_busy(resource) || data->releasing) {
                gl_op_settle_acquire(core, op);
        } else if (op->guest->state == GL_GUEST_RELEASED) {
                register_for_later(core, op, resource);
        } else if (resource->state != GL_RESOURCE_HELD) {
                gl_op_attempt_to_take(core, op);
        } else if (resource->mode == op->mode) {
                gl_op_succeed(core, op, resource->generation, NULL, 0);
        } else if (!resource->lease) {
                fail_without_lock(core, op, resource);
        } else {
                start_changing(core, op, resource);
        }
}

/* The resource that the call is about, made if need be. */
static GlResource *find_or_add(GlCore *core, const GlRequest *request, GlGuest *guest, const GlResourceSpec *spec,
                               gboolean *added, GError **error) {
        GlResource *resource = gl_guest_find_resource(guest, spec->type, spec->name);
        g_autofree char *quoted = NULL;

        *added = FALSE;
        if (resource && !gl_place_equal(resource->place, spec->place)) {
                quoted = gl_quote(spec->name);
                g_set_error(error, GL_ERROR, GL_ERROR_STALE,
                            "%s is not what it was when it was registered; release it first.", quoted);
                return NULL;
        }
        if (!resource)
                resource = gl_guest_find_resource_at(guest, spec->place);
        if (resource)
                return resource;
        if (!gl_core_add_resource(core, guest, request->uid, spec, error))
                return NULL;
        *added = TRUE;
        return g_ptr_array_index(guest->resources, guest->resources->len - 1);
}

static gboolean may_plug_now(GlCore *core, const GlGuest *guest, const GlResourceSpec *spec, GError **error) {
        if (!gl_core_may_plug(core, guest, spec->type, spec->mode, error))
                return FALSE;
        if (guest->state == GL_GUEST_NEW)
                return gl_guest_refuse(guest, error, "RegisterResource and Acquire come first");
        if (guest->state == GL_GUEST_LOST)
                return gl_guest_refuse(guest, error,
                                       "nothing can be plugged; ReleaseResource, Release and Acquire are possible");
        return TRUE;
}

static void plug(GlCore *core, const GlRequest *request, GlGuest *guest, GlResource *resource, gboolean added,
                 GlMode mode, guint32 wait_ms) {
        GlOp *op = gl_op_new(core, &gl_plug_kind, request, guest);

        g_ptr_array_add(op->resources, resource);
        op->has_mode = TRUE;
        op->mode = mode;
        op->brings = added;
        op->deadline = wait_ms > 0 ? core->now + (gint64) wait_ms * 1000 : 0;
        gl_op_submit(core, op);
}

void gl_core_acquire_resource(GlCore *core, const GlRequest *request, GlGuest *guest, const GlResourceSpec *spec,
                              guint32 wait_ms) {
        GlResource *resource = NULL;
        GError *error = NULL;
        gboolean added;

        gl_core_enter(core, request->now, request->realtime);
        if (may_plug_now(core, guest, spec, &error))
                resource = find_or_add(core, request, guest, spec, &added, &error);
        if (resource)
                plug(core, request, guest, resource, added, spec->mode, wait_ms);
        else
                gl_core_reply_error(core, request, error);
        gl_core_leave(core);
}
