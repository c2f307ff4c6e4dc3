/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/types.h"
#include "supervisor/calls.h"
#include "supervisor/child.h"

typedef struct {
        GlCalls *calls;        /* (borrowed) */
        const GlChild *child;  /* (borrowed) has been let go */
        GPtrArray *locks;      /* (borrowed) of GlHeldLock */
        GlLossAction on_lease_lost;
        gboolean keep_orphan;
} GlWatchOptions;

/*
 * Looks after the guest until its last process has ended: passes signals on, tells the service which process is the
 * guest's, and looks after the locks while there is no service. STATUS is how the first process ended, as of wait().
 */
gboolean gl_supervisor_watch(const GlWatchOptions *options, int *status, GError **error);
