/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/core-private.h"

/*
 * After a restart of the service: guests are put back as their state files have them, and what they held is
 * taken again, each resource by itself, so that one that was lost costs only itself. Only a positive answer is a
 * loss; storage that cannot be reached leaves the lease in the table, and it says so. So does a driver that is not
 * there any more: the guest writes on, and nobody else of ours may.
 */

static void attempt_retake(GlCore *core, GlOp *op);
static void retake_job_done(GlCore *core, GlOp *op, GlJob *job, GPtrArray *resources);

/* µs between two attempts on what somebody has. */
#define RETAKE_INTERVAL (50 * 1000)

static const GlOpKind retake_kind = {"adoption", attempt_retake, retake_job_done};

/* In a record they are among the others. */
static void set_ghosts_apart(GlCore *core, GlGuest *guest) {
        for (guint i = guest->resources->len; i > 0; i--) {
                GlResource *resource = g_ptr_array_index(guest->resources, i - 1);

                if (resource->unplugged)
                        gl_guest_make_ghost(core, guest, resource);
        }
}

GlGuest *gl_core_restore_guest(GlCore *core, GlGuest *record, GError **error) {
        GlGuestSpec spec = {
                .uuid = record->uuid,
                .name = record->name,
                .owner_uid = record->owner_uid,
                .id = record->id,
                .driver = record->driver,
                .has_on_lease_lost = TRUE,
                .on_lease_lost = record->on_lease_lost,
                .has_require_scope = TRUE,
                .require_scope = record->require_scope,
        };
        GlGuest *guest;

        if (gl_core_find_guest(core, record->owner_uid, record->uuid)) {
                g_set_error(error, GL_ERROR, GL_ERROR_ALREADY_EXISTS, "Guest %s is there already.", record->uuid);
                return NULL;
        }
        guest = gl_guest_new_from_spec(core, NULL, &spec, error);
        if (!guest)
                return NULL;

        guest->origin = GL_ORIGIN_ADOPTED;
        guest->state = record->state;
        guest->generation = record->generation;
        guest->acquired_at = record->acquired_at;
        guest->transient = record->transient;
        guest->restricted = record->restricted;
        guest->stopped_by_us = record->stopped_by_us;
        guest->killing = record->killing;
        guest->supervised = record->supervised;
        guest->orphan_kept = record->orphan_kept;
        guest->state_string = g_steal_pointer(&record->state_string);
        core->last_generation = MAX(core->last_generation, guest->generation);

        g_ptr_array_unref(guest->resources);
        guest->resources = g_ptr_array_ref(record->resources);
        for (guint i = 0; i < guest->resources->len; i++) {
                GlResource *resource = g_ptr_array_index(guest->resources, i);

                resource->guest = guest;
                core->n_leases += resource->state != GL_RESOURCE_REGISTERED;
        }
        set_ghosts_apart(core, guest);
        for (guint role = 0; role < GL_N_PROCESSES; role++)
                if (record->processes[role].pid != 0)
                        gl_guest_bind(core, guest, role, &record->processes[role]);
        gl_guest_insert(core, guest);

        return guest;
}

static void lose(GlCore *core, GlResource *resource, const char *message) {
        g_autoptr(GPtrArray) one = g_ptr_array_new();

        g_ptr_array_add(one, resource);
        gl_core_lose(core, resource->guest, one, GL_LOST_TAKEN, message, FALSE);
}

static void keep_without_lock(GlCore *core, GlResource *resource, const char *why) {
        resource->scope = MIN(resource->scope, GL_SCOPE_HOST);
        g_free(resource->scope_reason);
        resource->scope_reason = g_strdup_printf("its lock could not be taken again after a restart of the service: %s",
                                                 why);
        gl_core_touch(core, resource->guest, GL_PROPERTY_RESOURCES);
}

static void regain(GlCore *core, GlResource *resource, const GlTarget *target) {
        gl_resource_take_lease(resource, target);
        gl_core_touch(core, resource->guest, GL_PROPERTY_RESOURCES);
}

/* One that was draining when the service ended goes on with that. */
static void finish_retake(GlCore *core, GlOp *op) {
        GlGuest *guest = op->guest;

        gl_guest_save(core, guest, NULL);
        for (guint i = 0; i < guest->resources->len; i++) {
                const GlResource *resource = g_ptr_array_index(guest->resources, i);

                if (resource->state == GL_RESOURCE_DRAINING && !gl_guest_has_process(guest))
                        gl_core_begin_exit(core, guest);
        }
        gl_core_resume_kill(core, guest);
        gl_op_succeed(core, op, 0, NULL, 0);
}

/*
 * The bus lets go of the name of a service that was killed before the kernel has closed all of its files: what is met
 * at first may be the locks of our own predecessor, and they are given a moment to go.
 */
static gboolean is_given_a_moment(const GlOp *op, const GlResource *resource, const GError *error) {
        return error && error->code == GL_ERROR_CONFLICT && op->asked_at < op->brief_until &&
               resource->state != GL_RESOURCE_LOST;
}

/* It keeps strangers away until the guest has ended, but what happened while it was nobody's is not known. */
static void retain_lost(GlResource *resource, const GlTarget *target) {
        resource->lease = target->lease;
        resource->kept_by = target->kept_by;
        resource->keep_key = target->keep_key;
        resource->broken = TRUE;
}

static void settle_retake(GlCore *core, GlResource *resource, const GlJob *job) {
        resource->retaking = FALSE;
        if (resource->state == GL_RESOURCE_LOST && job->error)
                return;
        if (resource->state == GL_RESOURCE_LOST)
                retain_lost(resource, &job->targets[0]);
        else if (!job->error)
                regain(core, resource, &job->targets[0]);
        else if (job->error->code != GL_ERROR_CONFLICT)
                keep_without_lock(core, resource, job->error->message);
        else if (resource->state == GL_RESOURCE_HELD) /* the end of a guest is no loss */
                lose(core, resource, job->error->message);
}

static gboolean any_left(const GlGuest *guest) {
        for (guint i = 0; i < guest->resources->len; i++)
                if (((const GlResource *) g_ptr_array_index(guest->resources, i))->retaking)
                        return TRUE;
        return FALSE;
}

static void go_on_or_finish(GlCore *core, GlOp *op) {
        if (op->n_jobs > 0)
                return;
        if (!any_left(op->guest)) {
                finish_retake(core, op);
                return;
        }
        op->not_before = core->now + RETAKE_INTERVAL;
        gl_op_park(op, op->not_before);
}

static void retake_job_done(GlCore *core, GlOp *op, GlJob *job, GPtrArray *resources) {
        gl_core_note_job_generations(core, job);
        if (!is_given_a_moment(op, g_ptr_array_index(resources, 0), job->error))
                settle_retake(core, g_ptr_array_index(resources, 0), job);
        go_on_or_finish(core, op);
}

static gboolean is_kept(const GlResource *resource) {
        return resource->keep_key != 0 || resource->kept_by == GL_KEPT_BY_HOLDER;
}

/* Enters rows in the table for all that has to be taken again, so that nobody gets in between. */
static void begin_retake(GlCore *core, GlOp *op) {
        g_autoptr(GError) missing = NULL;

        (void) gl_core_check_driver(core, op->guest, &missing);
        if (op->guest->state == GL_GUEST_LOST && !op->guest->killing)
                gl_core_act_on_loss(core, op->guest);
        op->brief_until = core->now + (gint64) core->limits.brief_patience;
        for (guint i = 0; i < op->guest->ghosts->len; i++) {
                GlResource *ghost = g_ptr_array_index(op->guest->ghosts, i);

                ghost->claim = gl_table_enter(core->table, ghost->place, ghost->mode, ghost);
        }
        for (guint i = 0; i < op->guest->resources->len; i++) {
                GlResource *resource = g_ptr_array_index(op->guest->resources, i);

                if (resource->state == GL_RESOURCE_REGISTERED || resource->unblocked)
                        continue;
                resource->claim = gl_table_enter(core->table, resource->place, resource->mode, resource);
                resource->retaking = resource->source.box && !missing;
                if (resource->state == GL_RESOURCE_LOST)
                        resource->retaking &= is_kept(resource);
                else if (missing)
                        keep_without_lock(core, resource, missing->message);
                else if (!resource->retaking)
                        keep_without_lock(core, resource, "what it was registered as is not there any more");
        }
}

static void attempt_retake(GlCore *core, GlOp *op) {
        GlGuest *guest = op->guest;

        if (op->not_before > core->now)
                return;
        if (op->brief_until == 0)
                begin_retake(core, op);
        for (guint i = 0; i < guest->resources->len; i++) {
                g_autoptr(GPtrArray) one = g_ptr_array_new();
                GlResource *resource = g_ptr_array_index(guest->resources, i);
                GlJob *job;

                if (!resource->retaking)
                        continue;
                g_ptr_array_add(one, resource);
                job = gl_op_new_job(core, op, GL_JOB_TAKE, one);
                job->adopting = TRUE;
                job->targets[0].only_kept = resource->state == GL_RESOURCE_LOST;
                gl_op_start_job(core, op, job);
        }
        go_on_or_finish(core, op);
}

void gl_core_retake(GlCore *core, GlGuest *guest, gpointer call, gint64 now, gint64 realtime) {
        GlRequest request = {.uid = 0, .call = call};

        gl_core_enter(core, now, realtime);
        for (guint role = 0; role < GL_N_PROCESSES; role++) {
                const GlProcessRef *process = &guest->processes[role];

                if (process->pid != 0 && process->handle.box)
                        gl_core_emit(core, GL_CHANGE_WATCH_PROCESS, NULL)->process =
                                (GlProcessRef){process->pid, process->start_time, gl_handle_ref(process->handle)};
        }
        gl_op_submit(core, gl_op_new(core, &retake_kind, &request, guest));
        gl_core_leave(core);
}
