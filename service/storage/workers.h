/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <systemd/sd-event.h>

#include "storage/mounts.h"

/*
 * Threads for what may block: one per storage, so that a mount that hangs stalls its own
 * guests and nobody else's. A storage is known by the longest mount point that is a
 * prefix of a path, found in the mount table without touching the mount.
 */

typedef struct GlStacks GlStacks;
typedef struct GlWorkers GlWorkers;
typedef struct GlPiece GlPiece;

typedef struct {
        guint max_threads;         /* storages that are served at a time, for everybody together */
        guint max_threads_per_uid; /* and for one uid (other than 0): what is over that waits for its turn */
        guint max_stuck_per_uid;   /* pieces of work of one uid (other than 0) that may be overdue, */
        guint64 stuck_after;       /* which is: longer under way than so many µs */
} GlWorkersLimits;

/* Runs on the storage's thread, as root. */
typedef void (*GlWork)(gpointer data);
/* Runs on the event loop's thread. */
typedef void (*GlWorkDone)(gpointer data);

/* SYSROOT is where the mount table is read (SYSROOT/proc/self/mountinfo; NULL is "/"). */
GlWorkers *gl_workers_new(sd_event *event, const char *sysroot, const GlWorkersLimits *limits, GError **error);

/*
 * Gives what is under way a fifth of a second to finish; threads that are stuck are left behind, with their data. DONE
 * is still called for work that has finished, and for no other. Not from within DONE.
 */
void gl_workers_free(GlWorkers *workers);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlWorkers, gl_workers_free)

/* The mount point that PATH, absolute, lies under by name. Touches no file system but /proc. */
char *gl_workers_storage_of(GlWorkers *workers, const char *path);

/*
 * Runs WORK(data) on the thread of STORAGE and then DONE(data) on the loop; for one uid and storage in the order
 * submitted. UID pays for it if it gets stuck. Fails with GL_ERROR_LIMIT_EXCEEDED or GL_ERROR_STORAGE_UNAVAILABLE when
 * there is no thread to be had; then neither is called. The piece is valid until DONE is called.
 */
GlPiece *gl_workers_submit(GlWorkers *workers, const char *storage, guint32 uid, GlWork work, GlWorkDone done,
                           gpointer data, GError **error);

/*
 * The same for what the service has to do of itself for UID's guests. It is not refused for what is stuck, and what is
 * stuck of it is not held against the uid's calls; it has as many threads as these, apart from them, and waits also
 * where all threads are taken. Fails only where the system has no thread left.
 */
GlPiece *gl_workers_submit_chore(GlWorkers *workers, const char *storage, guint32 uid, GlWork work, GlWorkDone done,
                                 gpointer data, GError **error);

/* TRUE: PIECE was not begun yet, and neither WORK nor DONE will be called. */
gboolean gl_workers_withdraw(GlWorkers *workers, GlPiece *piece);

/* All borrowed; the mount table only on the loop's thread. */
sd_event *gl_workers_event(GlWorkers *workers);
GlMountTable *gl_workers_mounts(GlWorkers *workers);
/* For any thread. */
GlStacks *gl_workers_stacks(GlWorkers *workers);
