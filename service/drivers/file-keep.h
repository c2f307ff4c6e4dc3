/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "drivers/file-run.h"

/* What of leases outlives the service, by way of a GlKeeping; each does nothing where there is none. On the loop. */

/* Looks up what an earlier service had kept of RUN's targets, for run->recovered and the entries that it has. */
void gl_file_recover(GlRun *run);
/* Whatever nobody has used of that is closed. */
void gl_file_recover_end(GlRun *run);

/* Has the leases of RUN's targets kept, says for each by whom it is, and then calls NEXT. */
void gl_file_keep(GlRun *run, void (*next)(GlRun *run));
/* Has run->keys kept no more, and then calls NEXT. */
void gl_file_drop(GlRun *run, void (*next)(GlRun *run));

/* LEASE, which has been kept before, once more. */
void gl_file_keep_again(GlKeeping *keeping, const GlFileLease *lease);
/* The same where it is not kept now, and there is somebody who could. */
void gl_file_keep_at_last(GlKeeping *keeping, const GlFileLease *lease);
/* By whom TARGET's lease is kept now. */
void gl_file_see_who_keeps(GlKeeping *keeping, GlTarget *target);
