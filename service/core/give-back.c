/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/release-private.h"

/*
 * What all that give back share, and undoing: what failed acquires have brought goes back in the background. All of
 * them end in the same GIVE_BACK job; a claim goes when that is done and not before, so that whoever asks next meets a
 * free disk and not one that is just being unlocked.
 */

static void attempt_undo(GlCore *core, GlOp *op);
static void undo_job_done(GlCore *core, GlOp *op, GlJob *job, GPtrArray *resources);

const GlOpKind gl_undo_kind = {"undo", attempt_undo, undo_job_done};

/* --- shared --- */

void gl_core_mark_given_back(GlCore *core, GPtrArray *resources) {
        for (guint i = 0; i < resources->len; i++) {
                GlResource *resource = g_ptr_array_index(resources, i);

                gl_resource_drop_claim(core, resource);
                gl_resource_set_state(core, resource, GL_RESOURCE_REGISTERED);
        }
}

/* What a driver has a lease of; the rest (adopted, and not to be had again) has only its row in the table. */
static GPtrArray *with_lease(GPtrArray *resources) {
        GPtrArray *real = g_ptr_array_new();

        for (guint i = 0; i < resources->len; i++)
                if (((GlResource *) g_ptr_array_index(resources, i))->lease)
                        g_ptr_array_add(real, g_ptr_array_index(resources, i));
        return real;
}

gboolean gl_op_start_job_with_leases(GlCore *core, GlOp *op, GlJobKind kind, GPtrArray *resources) {
        g_autoptr(GPtrArray) real = with_lease(resources);

        if (real->len == 0)
                return FALSE;
        gl_op_start_job(core, op, gl_op_new_job(core, op, kind, real));
        return TRUE;
}

void gl_job_take_looks(const GlJob *job, GPtrArray *resources) {
        for (guint i = 0; i < job->n_targets && !job->error; i++) {
                GlResource *resource = g_ptr_array_index(resources, i);

                resource->size = job->targets[i].size;
                resource->mtime = job->targets[i].mtime;
        }
}

void gl_guest_released(GlCore *core, GlGuest *guest) {
        g_autoptr(GPtrArray) lost = gl_guest_resources_in(guest, GL_RESOURCE_LOST);

        if (!gl_guest_has_process(guest)) {
                gl_core_mark_given_back(core, lost);
                guest->supervised = FALSE;
        }
        gl_guest_set_state(core, guest, GL_GUEST_RELEASED);
        gl_guest_save(core, guest, NULL);
}

/* --- undoing --- */

/* What was lost before stays lost, and blocked for others. */
static void undo_job_done(GlCore *core, GlOp *op, GlJob *job, GPtrArray *resources) {
        for (guint i = 0; i < resources->len; i++) {
                GlResource *resource = g_ptr_array_index(resources, i);

                if (gl_resource_may_be_free(resource))
                        gl_resource_drop_claim(core, resource);
                else if (resource->claim)
                        resource->claim->pending = FALSE;
                if (op->brings)
                        gl_core_remove_unless_wanted(core, op, resource);
        }
        gl_op_free(core, op);
}

static void attempt_undo(GlCore *core, GlOp *op) {
        gl_op_start_job(core, op, gl_op_new_job(core, op, GL_JOB_GIVE_BACK, op->resources));
}

/* The job goes out here and now: a resource must not look idle in between. */
void gl_core_undo(GlCore *core, GlGuest *guest, GPtrArray *resources, gboolean remove) {
        GlOp *op = gl_op_new(core, &gl_undo_kind, NULL, guest);

        for (guint i = 0; i < resources->len; i++) {
                GlResource *resource = g_ptr_array_index(resources, i);

                g_ptr_array_add(op->resources, resource);
                if (resource->claim)
                        resource->claim->pending = TRUE;
        }
        op->brings = remove;
        attempt_undo(core, op);
}
