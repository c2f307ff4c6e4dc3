/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/acquire-private.h"

/*
 * Who is in the way of an acquire, and what it does then.
 *
 * Waiting acquires are served first come, first served over overlapping sets: one that stays parked enters what it
 * wants into core->ahead for the rest of the round, and whoever waits behind it must not conflict with that. Nothing is
 * held while parked, so two guests that want two disks in opposite order cannot block each other.
 */

/* --- who is in the way --- */

static void append_sentence(char **sentences, const char *sentence) {
        char *joined = *sentences ? g_strdup_printf("%s %s", *sentences, sentence) : g_strdup(sentence);

        g_free(*sentences);
        *sentences = joined;
}

static GlVerdict verdict_of(const GlClaim *claim) {
        const GlResource *resource = claim->owner;

        if (resource->state == GL_RESOURCE_DRAINING)
                return GL_VERDICT_BRIEF;
        return claim->pending || gl_resource_is_busy(resource) ? GL_VERDICT_SETTLING : GL_VERDICT_HELD;
}

GlVerdict gl_core_look_at(GlCore *core, const GlResource *resource, GlMode mode, char **sentences) {
        g_autoptr(GPtrArray) claims = g_ptr_array_new();
        g_autoptr(GPtrArray) obstacles = NULL;
        g_autofree char *sentence = NULL;
        GlVerdict worst = GL_VERDICT_CLEAR;

        if (!gl_table_conflicts(core->table, resource->place, mode, resource->claim, claims))
                return GL_VERDICT_CLEAR;

        obstacles = g_ptr_array_new_with_free_func((GDestroyNotify) gl_obstacle_free);
        for (guint i = 0; i < claims->len; i++) {
                worst = MAX(worst, verdict_of(g_ptr_array_index(claims, i)));
                g_ptr_array_add(obstacles, gl_core_obstacle_of(core, g_ptr_array_index(claims, i), resource->place,
                                                               resource->name));
        }
        sentence = gl_obstacles_to_sentence(resource->type, resource->name, obstacles);
        append_sentence(sentences, sentence);
        return worst;
}

/* A guest that has lost a lease is told at once whether it can have it back: it may have been stopped. */
static gboolean is_patient(const GlOp *op) {
        return op->deadline != 0 && op->guest->state != GL_GUEST_LOST;
}

GlVerdict gl_op_look_at_all(GlCore *core, GlOp *op) {
        GlVerdict worst = GL_VERDICT_CLEAR;

        g_clear_pointer(&op->in_the_way, g_free);
        for (guint i = 0; i < op->resources->len; i++) {
                const GlResource *resource = g_ptr_array_index(op->resources, i);
                GlMode mode = gl_op_mode(op, resource);
                GlVerdict verdict = gl_core_look_at(core, resource, mode, &op->in_the_way);

                if (verdict == GL_VERDICT_CLEAR && is_patient(op) &&
                    gl_table_conflicts(core->ahead, resource->place, mode, NULL, NULL))
                        verdict = GL_VERDICT_BEHIND;
                worst = MAX(worst, verdict);
        }
        return worst;
}

/* --- staying parked --- */

static guint count_waiting(GlCore *core, guint32 uid) {
        guint n = 0;

        for (GList *link = core->ops.head; link; link = link->next) {
                const GlOp *op = link->data;

                n += op->waiting && op->uid == uid;
        }
        return n;
}

static gboolean begin_waiting(GlCore *core, GlOp *op) {
        if (op->waiting)
                return TRUE;
        if (op->uid != 0 && count_waiting(core, op->uid) >= core->limits.waiting_per_uid) {
                gl_op_fail(core, op,
                           g_error_new(GL_ERROR, GL_ERROR_LIMIT_EXCEEDED,
                                       "User %" G_GUINT32_FORMAT " has %u acquires waiting already, the most that is "
                                       "allowed.",
                                       op->uid, core->limits.waiting_per_uid));
                return FALSE;
        }
        op->waiting = TRUE;
        if (op->guest->n_waiting++ == 0)
                gl_core_touch(core, op->guest, GL_PROPERTY_WAITING);
        gl_core_emit(core, GL_CHANGE_WAITS, NULL)->call = op->call;
        return TRUE;
}

void gl_op_want_ahead(GlCore *core, GlOp *op) {
        for (guint i = 0; core->ahead && i < op->resources->len; i++) {
                GlResource *resource = g_ptr_array_index(op->resources, i);

                gl_table_enter(core->ahead, resource->place, gl_op_mode(op, resource), op);
        }
}

static void fail_timeout(GlCore *core, GlOp *op) {
        gl_op_fail(core, op,
                   g_error_new(GL_ERROR, GL_ERROR_TIMEOUT, "Waited as long as was asked, in vain. %s",
                               op->in_the_way ?: "Others that came earlier wait for the same."));
}

void gl_op_fail_conflict(GlCore *core, GlOp *op) {
        GlError code = op->guest->state == GL_GUEST_LOST ? GL_ERROR_LEASE_LOST : GL_ERROR_CONFLICT;

        gl_op_fail(core, op, g_error_new_literal(GL_ERROR, code, op->in_the_way));
}

void gl_op_stay(GlCore *core, GlOp *op, gboolean foreign, gboolean brief) {
        gint64 pause = foreign ? (gint64) core->limits.foreign_retry : 0;
        gboolean patient = is_patient(op);

        if (!patient)
                op->deadline = 0;
        if (brief && !patient) {
                if (op->brief_until == 0)
                        op->brief_until = core->now + core->limits.brief_patience;
                if ((foreign ? op->asked_at : core->now) >= op->brief_until) {
                        gl_op_fail_conflict(core, op);
                        return;
                }
                op->not_before = foreign ? MIN(core->now + pause / 2, op->brief_until) : 0;
                gl_op_park(op, foreign ? op->not_before : op->brief_until);
                return;
        }
        if (!patient) {
                gl_op_fail_conflict(core, op);
        } else if (core->now >= op->deadline) {
                fail_timeout(core, op);
        } else if (begin_waiting(core, op)) {
                gl_op_want_ahead(core, op);
                op->not_before = foreign ? MIN(core->now + pause, op->deadline) : 0;
                gl_op_park(op, op->not_before);
        }
}

void gl_op_settle_acquire(GlCore *core, GlOp *op) {
        if (op->deadline != 0 && core->now >= op->deadline) {
                fail_timeout(core, op);
                return;
        }
        if (op->deadline != 0)
                gl_op_want_ahead(core, op);
        gl_op_settle(core, op);
}
