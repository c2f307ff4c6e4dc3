/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "drivers/file-verdict.h"
#include "drivers/file.h"
#include "storage/facts.h"

/*
 * A lease's entry in a lockspace directory: the lock file of one of its names. Everything here may block, on the
 * thread of the directory's worker, unless it says otherwise.
 */

typedef struct {
        gint n_refs;
        const char *directory; /* (borrowed) its path, an option of the driver */
        char *storage;         /* (owned) key of the directory's worker */
        char *name;            /* (owned) of the lock file */
        GlTarget *target;      /* (borrowed) only while a job is under way */

        int fd;          /* -1, or carries the locks; the service's alone, never handed out */
        gboolean local;  /* nobody but the kernel is asked when it is closed */
        gboolean is_kept; /* somebody else has it too: it is unlocked, and not only closed */

        /* From the beginning of taking or changing to the end of it. */
        int directory_fd;    /* -1 */
        gboolean is_begun;   /* nobody else comes near */
        gboolean is_changed; /* from held_mode to mode */
        GlFacts facts;       /* of the directory */
        GlRecorded recorded; /* what its record said */
        GPtrArray *met;      /* (owned) of GlObstacle: whom a look has met */
} GlLockspaceEntry;

GlLockspaceEntry *gl_lockspace_entry_new(const char *directory, const char *storage, const char *name,
                                         GlTarget *target);
/* On any thread. */
GlLockspaceEntry *gl_lockspace_entry_ref(GlLockspaceEntry *entry);
/* The last one closes what is open: at once, if the entry is local or has nothing open. */
void gl_lockspace_entry_unref(gpointer entry);

/*
 * Takes the lock for JOB's target; on success it is begun, and to be settled or left. One that has a descriptor already,
 * from an earlier service, goes on with that; then only somebody else's lock is a refusal.
 */
gboolean gl_lockspace_enter(GlLockspaceEntry *entry, const GlJob *job, const GlFileOptions *options,
                            GlFileVerdict *verdict);
/* Takes nothing, and adds to VERDICT who would be in the way. */
void gl_lockspace_look(GlLockspaceEntry *entry, const GlFileOptions *options, GlFileVerdict *verdict);

/* Likewise, adds everybody who is to entry->met. FALSE: nobody could take it at all. */
gboolean gl_lockspace_look_at_all(GlLockspaceEntry *entry, const GlFileOptions *options, GError **error);

/* Turns target->held_mode into target->mode; on success it is begun, and to be settled or reverted. */
gboolean gl_lockspace_change(GlLockspaceEntry *entry, const GlFileOptions *options, GlFileVerdict *verdict);

/*
 * The end of what was begun: has JOB's generation remembered, if its target may be written to. On failure it is
 * still begun.
 */
gboolean gl_lockspace_settle(GlLockspaceEntry *entry, const GlJob *job, const GlFileOptions *options,
                             GlFileVerdict *verdict);
/* The other end, of a change: to held_mode again, if it has been changed. */
void gl_lockspace_revert(GlLockspaceEntry *entry, const GlFileOptions *options);
/* Whether FD, open on a lock file of ENTRY's name, is not what is in the directory now; opens that. */
gboolean gl_lockspace_is_replaced(GlLockspaceEntry *entry, int fd);
/* Gives the lock back. */
void gl_lockspace_leave(GlLockspaceEntry *entry);
