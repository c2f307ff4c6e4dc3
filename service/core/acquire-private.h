/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/core-private.h"

/*
 * What the acquires share. Each is an operation of its own kind, whose attempt ends in gl_op_attempt_to_take(); the job
 * that this sends out comes back to gl_op_taken().
 */

extern const GlOpKind gl_acquire_kind;
extern const GlOpKind gl_start_kind;
extern const GlOpKind gl_plug_kind;
extern const GlOpKind gl_change_mode_kind; /* what gl_plug_kind becomes while a mode is being changed */

/* --- contention.c: who is in the way --- */

/* What kind of obstacle the worst one is. */
typedef enum {
        GL_VERDICT_CLEAR,
        GL_VERDICT_SETTLING, /* a job of ours is out on it: known soon */
        GL_VERDICT_BRIEF,    /* draining */
        GL_VERDICT_BEHIND,   /* an earlier waiter wants it */
        GL_VERDICT_HELD,
} GlVerdict;

/* What keeps RESOURCE from being held in MODE. Adds a sentence about it to *SENTENCES (nullable). */
GlVerdict gl_core_look_at(GlCore *core, const GlResource *resource, GlMode mode, char **sentences);
/* The same of all that OP wants, and with a look at those that wait before it; the sentences become op->in_the_way. */
GlVerdict gl_op_look_at_all(GlCore *core, GlOp *op);
/* Whoever is served after OP in this round must not overtake it. */
void gl_op_want_ahead(GlCore *core, GlOp *op);
/* Ends OP with the sentence of op->in_the_way. */
void gl_op_fail_conflict(GlCore *core, GlOp *op);
/*
 * Does not get it now: parks OP, or ends it. FOREIGN: the driver said so, and nothing will tell us when it is over.
 * BRIEF: it may well be in a moment, which is waited for even if the caller has no patience.
 */
void gl_op_stay(GlCore *core, GlOp *op, gboolean foreign, gboolean brief);
/* Something of our own is about to be over; the caller's own patience may end before. */
void gl_op_settle_acquire(GlCore *core, GlOp *op);

/* --- acquire.c: the attempt --- */

/* Takes op->resources, if nothing is in the way: claims them and sends the job out. Without any it grants at once. */
void gl_op_attempt_to_take(GlCore *core, GlOp *op);
/* Whether Acquire of GUEST may name the process that it names. */
gboolean gl_guest_check_process(const GlGuest *guest, const GlAcquireSpec *spec, GError **error);
/* What the caller wants besides resources. The process is watched from here on. */
void gl_op_set_acquire_spec(GlCore *core, GlOp *op, const GlAcquireSpec *spec);

/*
 * Nobody else may have written in between: no grant to a writer since the generation in the state string, which OP
 * has. The looks of the images are compared when they are locked.
 */
gboolean gl_op_check_state_generations(GlCore *core, GlOp *op, GError **error);

/* --- regain.c: Acquire in state lost --- */

/* FALSE: it has failed, or has a job out about what is lost, which comes back to gl_op_lost_job_done(). */
gboolean gl_op_is_ready_to_take(GlCore *core, GlOp *op);
void gl_op_lost_job_done(GlCore *core, GlOp *op, GlJob *job, GPtrArray *resources);
/* Whether RESOURCE, which is lost, has kept its lock, and needs not be taken. */
gboolean gl_op_regains(const GlOp *op, const GlResource *resource);
/* What has kept its lock is held again; and lost again, since the grant could not be saved. */
void gl_op_regain(GlCore *core, GlOp *op);
void gl_op_lose_again(GlCore *core, GlOp *op);

/* --- grant.c: the answer --- */

/*
 * Ends OP with the grant of what JOB took, or with an error and everything as before. JOB is NULL when there was
 * nothing to take.
 */
void gl_op_commit(GlCore *core, GlOp *op, GlJob *job);
/* The driver has answered a TAKE. */
void gl_op_taken(GlCore *core, GlOp *op, GlJob *job, GPtrArray *resources);
/* OP's resources are granted in their modes with GENERATION, which is remembered for each, also across reboots. */
void gl_op_note_generations(GlCore *core, GlOp *op, guint64 generation);

/* --- start.c --- */

/*
 * Of a StartGuest: the guest of that name may have come back to life while this one was being started. Other kinds may
 * always.
 */
gboolean gl_op_may_still_start(GlCore *core, const GlOp *op, GError **error);
/* Replaces the released guest of the same name on the bus, if there is one, and shows the new one. */
void gl_guest_show_started(GlCore *core, GlGuest *guest);

/* --- plug.c --- */

/* RESOURCE is there only because another AcquireResource than ASKING (nullable), which is not done yet, brought it. */
gboolean gl_resource_is_on_trial(GlCore *core, const GlOp *asking, const GlResource *resource);
