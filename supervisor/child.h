/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <glib.h>

/* How signals were treated when we were started: as the guest is to treat them. */
typedef struct {
        sigset_t mask;
        struct sigaction on_child, on_pipe;
} GlSignalsBefore;

/* A process that waits to become the guest. */
typedef struct {
        pid_t pid;
        int pidfd; /* (owned) */
        int go;    /* (owned) written to lets it go; closed before, it ends */
} GlChild;

/* Signals that are passed on to the guest; ended by 0. */
extern const int gl_passed_signals[];

/* From here on those signals and SIGCHLD are blocked, for an event loop to see. */
void gl_signals_take(GlSignalsBefore *before);

/*
 * Forks COMMAND, held back. Of our descriptors it has the first three and those of LOCKS (of GlHeldLock). KEEP_ORPHAN:
 * the kernel leaves it alone when we end.
 */
gboolean gl_child_start(char **command, const GPtrArray *locks, gboolean keep_orphan, const GlSignalsBefore *before,
                        GlChild *child, GError **error);
gboolean gl_child_let_go(GlChild *child, GError **error);
void gl_child_clear(GlChild *child);

/* Ends this process as one whose wait status was STATUS. */
int gl_exit_like(int status);
