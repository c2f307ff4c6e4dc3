/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/acquire-private.h"

#include <signal.h>

/*
 * From the driver's answer to the grant. What was taken is looked at once more, since the world went on meanwhile; the
 * grant is saved before anybody hears of it, and what cannot be granted or saved is given back.
 */

/* --- the grant --- */

static void grant_targets(GlCore *core, GlOp *op, GlJob *job, guint64 generation) {
        for (guint i = 0; i < job->n_targets; i++) {
                const GlTarget *target = &job->targets[i];
                GlResource *resource = g_ptr_array_index(op->resources, i);

                gl_resource_take_lease(resource, target);
                resource->mode = target->mode;
                resource->generation = generation;
                resource->since = core->realtime;
                resource->claim->pending = FALSE;
                resource->broken = resource->unblocked = FALSE;
                gl_resource_set_state(core, resource, GL_RESOURCE_HELD);
        }
}

void gl_op_note_generations(GlCore *core, GlOp *op, guint64 generation) {
        for (guint i = 0; i < op->resources->len; i++) {
                const GlResource *resource = g_ptr_array_index(op->resources, i);

                if (resource->mode == GL_MODE_READONLY)
                        continue;
                gl_core_note_generation(core, &resource->place->node, resource->place->extent, resource->mode,
                                        generation);
                if (core->hooks.record_generation)
                        core->hooks.record_generation(&resource->place->node, resource->mode, generation,
                                                      core->user_data);
        }
}

/* A guest that we stopped when it lost a lease goes on now that it has it back, unchanged. */
static void continue_guest(GlCore *core, GlGuest *guest) {
        if (!guest->stopped_by_us)
                return;
        guest->stopped_by_us = FALSE;
        gl_guest_save(core, guest, NULL);
        gl_guest_signal(core, guest, GL_PROCESS_GUEST, SIGCONT);
}

typedef struct {
        GlResourceState state;
        GlMode mode;
        guint64 generation;
        gint64 since;
} BeforeResource;

typedef struct {
        GlGuestState state;
        guint64 generation;
        gint64 acquired_at;
        GlProcessRef process; /* (owned) */
        GArray *resources;    /* (owned) of BeforeResource */
} Before;

static void note_before(const GlOp *op, Before *before) {
        const GlGuest *guest = op->guest;
        const GlProcessRef *process = &guest->processes[op->role];

        *before = (Before){
                .state = guest->state,
                .generation = guest->generation,
                .acquired_at = guest->acquired_at,
                .process = {process->pid, process->start_time, gl_handle_ref(process->handle)},
                .resources = g_array_sized_new(FALSE, FALSE, sizeof(BeforeResource), op->resources->len),
        };
        for (guint i = 0; i < op->resources->len; i++) {
                const GlResource *resource = g_ptr_array_index(op->resources, i);
                BeforeResource one = {resource->state, resource->mode, resource->generation, resource->since};

                g_array_append_val(before->resources, one);
        }
}

static void before_clear(Before *before) {
        gl_handle_unref(&before->process.handle);
        g_array_unref(before->resources);
}

/* A guest that is leased alone has been granted itself. */
static void announce_grant(GlCore *core, GlOp *op, GlJob *job, const Before *before, guint64 generation) {
        GlChange *change;

        g_autoptr(GPtrArray) granted = g_ptr_array_copy(op->resources, NULL, NULL);

        if (op->regained)
                g_ptr_array_extend(granted, op->regained, NULL, NULL);
        if (!job && granted->len == 0 &&
            (!gl_guest_is_leased_alone(core, op->guest) || op->guest->state == before->state))
                return;
        change = gl_core_emit(core, GL_CHANGE_LEASES_ACQUIRED, op->guest);
        change->generation = generation;
        change->items = gl_items_of(granted);
}

/* Puts the guest back as it was before the grant that could not be saved. */
static void take_back_grant(GlCore *core, GlOp *op, const Before *before, GError *error) {
        GlGuest *guest = op->guest;

        gl_guest_set_state(core, guest, before->state);
        gl_op_lose_again(core, op);
        guest->generation = before->generation;
        guest->acquired_at = before->acquired_at;
        if (before->process.pid != 0)
                gl_guest_bind(core, guest, op->role, &before->process);
        else
                gl_guest_unbind(core, guest, op->role);
        for (guint i = 0; i < op->resources->len; i++) {
                GlResource *resource = g_ptr_array_index(op->resources, i);
                const BeforeResource *one = &g_array_index(before->resources, BeforeResource, i);

                gl_resource_set_state(core, resource, one->state);
                resource->mode = one->mode;
                resource->generation = one->generation;
                resource->since = one->since;
        }
        if (op->resources->len > 0)
                gl_core_undo(core, guest, op->resources, op->brings);
        gl_op_fail(core, op, error);
}

static gboolean save_hidden_too(GlCore *core, GlGuest *guest, GError **error) {
        gboolean hidden = guest->hidden, saved;

        guest->hidden = FALSE;
        saved = gl_guest_save(core, guest, error);
        guest->hidden = hidden;
        return saved;
}

/* The guest as it is once it has what JOB took. Returns the generation that this is granted with. */
static guint64 grant(GlCore *core, GlOp *op, GlJob *job) {
        GlGuest *guest = op->guest;
        guint64 before = guest->generation, generation = before;

        if (job)
                generation = gl_core_generation_of_job(core, job);
        else if (guest->state != GL_GUEST_HELD && !op->register_only)
                generation = gl_core_draw_generation(core);
        /* One that was drawn later may have been granted already, to a disk that was plugged meanwhile. */
        guest->generation = MAX(before, generation);
        if (job)
                grant_targets(core, op, job, generation);
        if (op->process.pid != 0)
                gl_guest_bind(core, guest, op->role, &op->process);
        gl_op_regain(core, op);
        if (!op->register_only && !gl_guest_any_in(guest, GL_RESOURCE_LOST))
                gl_guest_set_state(core, guest, GL_GUEST_HELD);
        if (guest->generation != before) {
                guest->acquired_at = core->realtime;
                gl_core_touch(core, guest, GL_PROPERTY_GENERATION | GL_PROPERTY_ACQUIRED_AT);
        }
        return generation;
}

void gl_op_commit(GlCore *core, GlOp *op, GlJob *job) {
        GlGuest *guest = op->guest;
        GError *error = NULL;
        guint64 generation;
        Before before;

        note_before(op, &before);
        generation = grant(core, op, job);
        if (save_hidden_too(core, guest, &error)) {
                if (job)
                        gl_op_note_generations(core, op, generation);
                if (op->kind == &gl_start_kind)
                        gl_guest_show_started(core, guest);
                announce_grant(core, op, job, &before, generation);
                if (guest->state == GL_GUEST_HELD)
                        continue_guest(core, guest);
                gl_op_succeed(core, op, generation, NULL, 0);
        } else {
                take_back_grant(core, op, &before, error);
        }
        before_clear(&before);
}

/* --- the driver's answer --- */

static void unclaim(GlCore *core, GlOp *op) {
        for (guint i = 0; i < op->resources->len; i++) {
                GlResource *resource = g_ptr_array_index(op->resources, i);

                if (gl_resource_may_be_free(resource))
                        gl_resource_drop_claim(core, resource);
                else if (resource->claim)
                        resource->claim->pending = FALSE;
        }
        core->again = TRUE;
}

static void give_back_unwanted(GlCore *core, GlOp *op, GlJob *job) {
        for (guint i = 0; i < job->n_targets; i++)
                ((GlResource *) g_ptr_array_index(op->resources, i))->lease = job->targets[i].lease;
        gl_core_undo(core, op->guest, op->resources, op->brings);
}

static void acquire_failed(GlCore *core, GlOp *op, GlJob *job) {
        GError *error = g_steal_pointer(&job->error);

        unclaim(core, op);
        if (op->cancelled) {
                gl_op_fail(core, op, error);
                return;
        }
        if (error->code != GL_ERROR_CONFLICT) {
                gl_op_fail(core, op, error);
                return;
        }
        g_free(op->in_the_way);
        op->in_the_way = g_strdup(error->message);
        g_error_free(error);
        gl_op_stay(core, op, TRUE, job->brief);
}

static gboolean check_state_looks(const GlOp *op, const GlJob *job, GError **error) {
        for (guint i = 0; op->state && i < job->n_targets; i++) {
                const GlTarget *target = &job->targets[i];
                GlNode key = gl_place_key(target->place);
                const GlStateEntry *entry = gl_state_string_find(op->state, &key);
                g_autofree char *quoted = NULL;
                char look[12];

                gl_state_look(target->size, target->mtime, look);
                if (target->mode == GL_MODE_SHARED || (entry && g_str_equal(entry->look, look)))
                        continue;
                quoted = gl_quote(target->name);
                g_set_error(error, GL_ERROR, GL_ERROR_STALE,
                            "The state is outdated: %s has been changed since it was released.", quoted);
                return FALSE;
        }
        return TRUE;
}

/* A guest that goes on with a disk on which somebody else wrote meanwhile would ruin it; what is not known to be
 * unchanged counts as changed. */
static gboolean check_lost_unchanged(const GlJob *job, GPtrArray *resources, GError **error) {
        for (guint i = 0; i < job->n_targets; i++) {
                const GlResource *resource = g_ptr_array_index(resources, i);
                const GlTarget *target = &job->targets[i];
                g_autofree char *quoted = NULL;

                if (resource->state != GL_RESOURCE_LOST ||
                    (target->mtime != 0 && target->mtime == resource->mtime && target->size == resource->size))
                        continue;
                quoted = gl_quote(resource->name);
                g_set_error(error, GL_ERROR, GL_ERROR_LEASE_LOST,
                            "The lease of %s was lost, and somebody else may have written to it since; release it or "
                            "shut the guest down.",
                            quoted);
                return FALSE;
        }
        return TRUE;
}

/* Whether what has been taken is still wanted, and allowed. */
static gboolean check_taken(GlCore *core, GlOp *op, const GlJob *job, GPtrArray *resources, GError **error) {
        if (op->cancelled) {
                g_propagate_error(error, g_error_copy(op->cancelled));
                return FALSE;
        }
        if (gl_guest_data(op->guest)->exiting) {
                g_set_error(error, GL_ERROR, GL_ERROR_CANCELLED, "The guest has ended meanwhile.");
                return FALSE;
        }
        return gl_op_may_still_start(core, op, error) && gl_op_check_unbound_quota(core, op, error) &&
               (!op->state || gl_op_check_state_generations(core, op, error)) && check_state_looks(op, job, error) &&
               check_lost_unchanged(job, resources, error);
}

void gl_op_taken(GlCore *core, GlOp *op, GlJob *job, GPtrArray *resources) {
        GError *error = NULL;

        gl_core_note_job_generations(core, job);
        if (job->error) {
                acquire_failed(core, op, job);
        } else if (check_taken(core, op, job, resources, &error)) {
                gl_op_commit(core, op, job);
        } else {
                give_back_unwanted(core, op, job);
                gl_op_fail(core, op, error);
        }
}
