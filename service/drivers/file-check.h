/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "drivers/driver.h"
#include "drivers/file-lease.h"
#include "drivers/file-lockspace.h"
#include "storage/workers.h"

/* Carries out JOB, of the kind GL_JOB_CHECK (file-check-run.c). On the loop. */
void gl_file_start_check(GlWorkers *workers, const GlFileOptions *options, GlJob *job, GlJobDone done,
                         gpointer user_data);

/*
 * Whether what is leased is still locked. Each of these blocks, on the thread of its storage's worker; nothing that another job
 * may change or free meanwhile is looked at anywhere else.
 */

/* The image or lease file of TARGET, whose lease is there. Sets what GL_JOB_CHECK says. */
void gl_file_check(GlTarget *target, const GlFileOptions *options);

/*
 * PROBE is an entry of the same directory and name as LEASED, which a lease has, and has its target to itself. A lock
 * file that was replaced or removed is followed: the new one is locked, if nobody was granted it meanwhile.
 */
void gl_lockspace_check(GlLockspaceEntry *probe, GlLockspaceEntry *leased, const GlJob *job,
                        const GlFileOptions *options);
