/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "drivers/driver.h"
#include "drivers/file.h"
#include "storage/workers.h"

/* Carries out JOB, of the kind GL_JOB_AUDIT. On the loop. */
void gl_file_start_audit(GlWorkers *workers, const GlFileOptions *options, GlJob *job, GlJobDone done,
                         gpointer user_data);

/* TRUE: process PID is the service's, the keeper's or that of a guest with this lease, or a descendant of one. */
typedef gboolean (*GlAuditKnows)(guint32 pid, gpointer user_data);

/*
 * What HOLDERS (of GlHolder, those of TARGET's file) say of TARGET, as `held_open_by`; NULL: nothing. HOST_NUMBER is
 * our own host's.
 */
char *gl_file_audit_judge(const GlTarget *target, GPtrArray *holders, guint32 host_number, GlAuditKnows knows,
                          gpointer user_data);
