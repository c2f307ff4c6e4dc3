/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/core-private.h"

/* What the operations that give back share: the calls (release.c), a guest's end (exit.c) and undoing (give-back.c). */

extern const GlOpKind gl_shutdown_kind;
extern const GlOpKind gl_exit_kind;
extern const GlOpKind gl_undo_kind;

/* Sends a job out for those of RESOURCES that a driver has a lease of. FALSE: there are none. */
gboolean gl_op_start_job_with_leases(GlCore *core, GlOp *op, GlJobKind kind, GPtrArray *resources);
/* Keeps what JOB, which is done, says of the images of RESOURCES. */
void gl_job_take_looks(const GlJob *job, GPtrArray *resources);
/* RESOURCES are registered and no more: others may have them. */
void gl_core_mark_given_back(GlCore *core, GPtrArray *resources);
/* All is given back. Only lost resources block anything now, and they until the process is gone. */
void gl_guest_released(GlCore *core, GlGuest *guest);
