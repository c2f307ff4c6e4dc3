/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/job.h"
#include "drivers/file-locks.h"

/* What several targets ran into, together. Zeroed is "nothing". */
typedef struct {
        GError *error;        /* (owned) (nullable) */
        GPtrArray *obstacles; /* (owned) (nullable) of GlObstacle, with GL_ERROR_CONFLICT */
        gboolean brief;       /* all of it may be over in a moment */
} GlFileVerdict;

/* Moves FROM into INTO: conflicts add up, and any other error matters more than they do. */
void gl_file_verdict_merge(GlFileVerdict *into, GlFileVerdict *from);
void gl_file_verdict_clear(GlFileVerdict *verdict);

/* Each adds one thing; ERROR and OBSTACLES (of GlObstacle) are consumed. */
void gl_file_verdict_add_error(GlFileVerdict *verdict, GError *error);
void gl_file_verdict_add_conflict(GlFileVerdict *verdict, const GlTarget *target, GPtrArray *obstacles, gboolean brief);

/* Disk "/srv/a.img" cannot be WHAT. */
GError *gl_file_error_from_errno(const GlTarget *target, const char *what, int saved_errno);
/* "Disk" or "Lease", as a sentence about it begins. */
const char *gl_file_noun(const GlTarget *target);

/*
 * TRUE if R, which a function of file-locks.h returned for FD, is success. Otherwise adds what it was: who has the
 * lock, and whoever else is in the way (a QEMU too, if FOR_QEMU), or why there is none to be had.
 */
gboolean gl_file_verdict_heed_locks(GlFileVerdict *verdict, int r, int fd, const GlTarget *target,
                                    const GlLockLayout *layout, gboolean for_qemu, const GlLockConflict *conflict);
