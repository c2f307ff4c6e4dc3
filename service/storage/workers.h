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

typedef struct GlWorkers GlWorkers;

/* Runs on the storage's thread, as root. */
typedef void (*GlWork)(gpointer data);
/* Runs on the event loop's thread. */
typedef void (*GlWorkDone)(gpointer data);

/*
 * SYSROOT is where the mount table is read (SYSROOT/proc/self/mountinfo; NULL is "/").
 * At most MAX_THREADS storages are served at a time; MAX_STUCK pieces of work of one uid
 * (other than 0) may be overdue, i.e. longer under way than STUCK_AFTER µs.
 */
GlWorkers *gl_workers_new(sd_event *event, const char *sysroot, guint max_threads, guint max_stuck, guint64 stuck_after,
                          GError **error);

/*
 * Gives what is under way a fifth of a second to finish; threads that are stuck are left behind, with their data. DONE
 * is still called for work that has finished, and for no other. Not from within DONE.
 */
void gl_workers_free(GlWorkers *workers);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlWorkers, gl_workers_free)

/* The mount point that PATH, absolute, lies under by name. Touches no file system but /proc. */
char *gl_workers_storage_of(GlWorkers *workers, const char *path);

/*
 * Runs WORK(data) on the thread of STORAGE and then DONE(data) on the loop, in the order
 * submitted per storage. UID pays for it if it gets stuck. Fails with GL_ERROR_LIMIT_EXCEEDED or
 * GL_ERROR_STORAGE_UNAVAILABLE when there is no thread to be had; then neither is called.
 */
gboolean gl_workers_submit(GlWorkers *workers, const char *storage, guint32 uid, GlWork work, GlWorkDone done,
                           gpointer data, GError **error);

/* Both borrowed; the mount table only on the loop's thread. */
sd_event *gl_workers_event(GlWorkers *workers);
GlMountTable *gl_workers_mounts(GlWorkers *workers);
