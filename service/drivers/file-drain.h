/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/job.h"
#include "drivers/file.h"

/*
 * Is the I/O of the dead guest that had TARGET's lease over? Sets drained, or drain_reason. On the thread of
 * its storage's worker. SUPERVISED: a process that nobody knows of may have been left with its lock; KEEPER_PID (0: none)
 * is none of these.
 */
void gl_file_drain(GlTarget *target, const GlFileOptions *options, gboolean supervised, guint32 keeper_pid);
