/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/acquire-private.h"

/*
 * Acquire of what is lost: in state lost, or released since while the guest runs on. What was revoked may still be
 * locked for the guest, as it is kept from others until the guest's end; it is had again as it is, if the driver finds
 * that the locks are whole. What is left of a lock that is not is given back first, and then the resource is taken like
 * any other, which only succeeds if nobody has it and nobody changed it (grant.c).
 */

/* Of what is lost and still has a lease: what is BROKEN, or what OP has not had looked at yet. */
static GPtrArray *lost_with_lease(const GlOp *op, gboolean broken) {
        GPtrArray *lost = gl_guest_resources_in(op->guest, GL_RESOURCE_LOST);

        for (guint i = lost->len; i > 0; i--) {
                const GlResource *resource = g_ptr_array_index(lost, i - 1);

                if (!resource->lease || resource->broken != broken || (!broken && gl_op_regains(op, resource)))
                        g_ptr_array_remove_index(lost, i - 1);
        }
        return lost;
}

static gboolean send_job(GlCore *core, GlOp *op, GlJobKind kind, GPtrArray *resources) {
        GlJob *job;

        if (resources->len == 0)
                return FALSE;
        job = gl_op_new_job(core, op, kind, resources);
        job->adopting = TRUE;
        gl_op_start_job(core, op, job);
        return TRUE;
}

gboolean gl_op_is_ready_to_take(GlCore *core, GlOp *op) {
        g_autoptr(GPtrArray) whole = NULL, broken = NULL;

        if (!gl_guest_any_in(op->guest, GL_RESOURCE_LOST)) {
                /* There may have been when this was asked for. */
                g_clear_pointer(&op->regained, g_ptr_array_unref);
                return TRUE;
        }
        if (op->guest->killing) {
                g_autofree char *who = gl_guest_describe(op->guest);

                gl_op_fail(core, op,
                           g_error_new(GL_ERROR, GL_ERROR_LEASE_LOST, "%s has lost a lease, and is being ended.", who));
                return FALSE;
        }
        if (!op->regained)
                op->regained = g_ptr_array_new();
        /* While some were looked at others may have been lost. */
        whole = lost_with_lease(op, FALSE);
        if (send_job(core, op, GL_JOB_CHECK, whole))
                return FALSE;
        broken = lost_with_lease(op, TRUE);
        return !send_job(core, op, GL_JOB_GIVE_BACK, broken);
}

static void checked(GlCore *core, GlOp *op, GlJob *job, GPtrArray *resources) {
        for (guint i = 0; i < job->n_targets; i++) {
                GlResource *resource = g_ptr_array_index(resources, i);
                g_autofree char *quoted = NULL;

                switch (job->targets[i].found) {
                case GL_FOUND_HELD:
                        g_ptr_array_add(op->regained, resource);
                        break;
                case GL_FOUND_LOST:
                        resource->broken = TRUE;
                        break;
                case GL_FOUND_UNKNOWN:
                        quoted = gl_quote(resource->name);
                        gl_op_fail(core, op,
                                   g_error_new(GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE,
                                               "It cannot be seen whether %s is still locked; see whether its storage "
                                               "answers, and repeat the call.",
                                               quoted));
                        return;
                }
        }
        gl_op_submit(core, op);
}

void gl_op_lost_job_done(GlCore *core, GlOp *op, GlJob *job, GPtrArray *resources) {
        for (guint i = 0; i < resources->len; i++) {
                GlResource *resource = g_ptr_array_index(resources, i);

                if (job->kind == GL_JOB_GIVE_BACK)
                        resource->broken = FALSE;
        }
        if (op->cancelled)
                gl_op_fail(core, op, g_error_copy(op->cancelled));
        else if (job->kind == GL_JOB_CHECK)
                checked(core, op, job, resources);
        else
                gl_op_submit(core, op);
}

/* The world went on since it was checked. */
static gboolean is_still_whole(const GlOp *op, gconstpointer resource) {
        const GlResource *one = resource;

        return g_ptr_array_find(op->guest->resources, one, NULL) && one->state == GL_RESOURCE_LOST && one->lease &&
               !one->broken;
}

gboolean gl_op_regains(const GlOp *op, const GlResource *resource) {
        return op->regained && g_ptr_array_find(op->regained, resource, NULL) && is_still_whole(op, resource);
}

void gl_op_regain(GlCore *core, GlOp *op) {
        for (guint i = op->regained ? op->regained->len : 0; i > 0; i--) {
                GlResource *resource = g_ptr_array_index(op->regained, i - 1);

                if (is_still_whole(op, resource))
                        gl_resource_set_state(core, resource, GL_RESOURCE_HELD);
                else
                        g_ptr_array_remove_index(op->regained, i - 1);
        }
}

void gl_op_lose_again(GlCore *core, GlOp *op) {
        for (guint i = 0; op->regained && i < op->regained->len; i++)
                gl_resource_set_state(core, g_ptr_array_index(op->regained, i), GL_RESOURCE_LOST);
}
