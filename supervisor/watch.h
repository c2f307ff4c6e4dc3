/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/types.h"
#include "supervisor/calls.h"
#include "supervisor/child.h"

typedef struct {
        GlCalls *calls;        /* (borrowed) */
        GlChild *child;        /* (borrowed) is held back */
        GPtrArray *locks;      /* (borrowed) of GlHeldLock */
        GlLossAction on_lease_lost;
        gboolean keep_orphan;
} GlWatchOptions;

/*
 * Lets the guest go when the service knows it, and looks after it until its last process has ended: passes signals on,
 * tells the service which process is the guest's, and looks after the locks while there is no service. STATUS is how the
 * first process ended, as of wait(). A guest that was not let go ends with us.
 */
gboolean gl_supervisor_watch(const GlWatchOptions *options, int *status, GError **error);
