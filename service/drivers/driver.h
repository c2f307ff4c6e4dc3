/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/job.h"

/*
 * A driver is an engine that makes leases real. The service's lock table has already
 * said yes when a driver is asked; the driver says what the rest of the world (other
 * programs, other hosts) has to say about it.
 *
 * All calls come from the thread of the event loop and return at once. `done` is
 * called exactly once for each started job, on that same thread, possibly before
 * start() returned. Until then the job belongs to the driver; with `done` it goes back.
 */

typedef struct GlDriver GlDriver;

typedef void (*GlJobDone)(GlJob *job, gpointer user_data);

typedef struct {
        /* [a-z0-9-]{1,32} */
        const char *name;

        /* See core/capabilities.h. One that is guest-only is never sent a target, and refuses whatever has any. */
        const char *const *capabilities;

        /*
         * Carries out JOB. What the capabilities do not have (a type, a mode) is GL_ERROR_NOT_SUPPORTED. Contract of
         * each kind, beyond core/job.h:
         *
         * TAKE        never blocks on another holder: what is held is GL_ERROR_CONFLICT with
         *             all obstacles that can be named. A place that is not what it was at
         *             registration is GL_ERROR_STALE. Less than `require_scope` is
         *             GL_ERROR_STORAGE_UNAVAILABLE. EACCES, EPERM, EROFS are GL_ERROR_ACCESS_DENIED;
         *             ENOENT, EIO, ESTALE are GL_ERROR_STORAGE_UNAVAILABLE. Targets are on
         *             distinct places. Sets lease, scope, scope_reason, kept_by, size, mtime of each.
         * GIVE_BACK   after `done` somebody else can take them. Sets size and mtime of each, as they were last.
         * CHANGE_MODE raising never lets go in between; a refused raise leaves the old mode.
         * DRAIN       answers how it is now; the core asks again.
         * CHECK       takes nothing that somebody else could have had in between, and finds only what is positively
         *             known to be lost. Leases of it may be given back or changed by jobs that are started before it
         *             is done; what it needs of them it looks at in the order in which jobs were started.
         * AUDIT       the leases themselves are looked at in start() alone, since they may be given back or changed by
         *             jobs that are started before it is done. A driver that cannot tell says nothing.
         * LOOK        has no effect that anybody could notice. What it meets of this service's own leases is `own`, or
         *             has the pid of a guest: the core knows those.
         */
        void (*start)(GlDriver *driver, GlJob *job, GlJobDone done, gpointer user_data);

        /*
         * (nullable: not without the capability `inherit`) The descriptor that carries the lock of LEASE, borrowed until
         * the next job on it; -1 if it has none. Never a claim, nor what is not the image's.
         */
        int (*lock_fd)(GlDriver *driver, gpointer lease);

        /* Frees the driver. Not called while a job is out. */
        void (*free)(GlDriver *driver);
} GlDriverOps;

/* Each driver's own structure begins with this. */
struct GlDriver {
        const GlDriverOps *ops;
};

void gl_driver_free(GlDriver *driver);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlDriver, gl_driver_free)
