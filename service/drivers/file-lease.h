/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/job.h"
#include "drivers/file.h"
#include "drivers/file-verdict.h"
#include "storage/facts.h"

/*
 * One lease, on the thread of its storage's worker: everything here may block.
 */

/* What GlTarget.lease points to. */
typedef struct {
        gint n_refs; /* whoever has it, and a check that is under way */
        int fd;    /* carries the locks, and pins the inode so that its number is not used again */
        int claim; /* -1, or the O_EXCL descriptor of a block device: never handed out */
        int next;  /* -1, or the description to which a change is about to move the locks */
        GlMode mode;
        gint64 masked_since; /* µs, monotonic: its guest is gone, and others have it open. 0: not so */
        guint32 heir; /* who still had it when that was looked at last, 0: nobody */
        gint64 heir_seen; /* µs, monotonic */
        gboolean local; /* nobody but the kernel is asked when it is closed */
        GPtrArray *entries; /* (owned) (nullable) of GlLockspaceEntry */
        guint64 keep_key;   /* what all of these are kept under, 0: they are not */
} GlFileLease;

/*
 * LOOK_FOR_QEMU: the guest has no process, so that a QEMU on the image is somebody else's. KEPT: of the lockspace
 * directory that has it too, or NULL.
 */
gboolean gl_file_lease_take(GlTarget *target, const GlFileOptions *options, const GlFacts *kept, gboolean look_for_qemu,
                            GlFileVerdict *verdict);

/*
 * The same with what an earlier service had kept of TARGET's lease, which still has the locks if nobody else unlocked
 * it: FD and CLAIM (-1: none), which are consumed. Only a lock that somebody else has by now is a refusal; storage that
 * says nothing is none. FALSE with an empty VERDICT: they are of something else.
 */
gboolean gl_file_lease_resume(GlTarget *target, const GlFileOptions *options, const GlFacts *kept, int fd, int claim,
                              GlFileVerdict *verdict);

/* Takes nothing, and adds to VERDICT who would be in the way. */
void gl_file_lease_look(const GlTarget *target, const GlFileOptions *options, gboolean look_for_qemu,
                        GlFileVerdict *verdict);

/*
 * Whether a change to target->mode needs another description than the lease has; and opens that. What the service does
 * with it must not be lost with the service: it is to be kept beside the other before the change.
 */
gboolean gl_file_lease_needs_next(const GlTarget *target);
gboolean gl_file_lease_open_next(GlTarget *target, GlFileVerdict *verdict);

/* To target->mode, whatever it is held in. Consumes what was opened for it. */
gboolean gl_file_lease_change(GlTarget *target, const GlFileOptions *options, gboolean look_for_qemu,
                              GlFileVerdict *verdict);

/* Consumes target->lease, if there is one; its entries are somebody else's by then. Copies have no lock any more. */
void gl_file_lease_give_back(GlTarget *target);

/*
 * LEASE ends because the driver does, on the thread of the loop: frees it, and gives it back if that takes no time.
 * Otherwise its descriptor is left to the end of the process.
 */
void gl_file_lease_leave(GlFileLease *lease);

/* On any thread. What is still looked at when it is given back has no descriptors any more. */
GlFileLease *gl_file_lease_ref(GlFileLease *lease);
void gl_file_lease_unref(gpointer lease);
/* What of the lock bytes TARGET uses; whether its scope is wide enough; its size and mtime, by FD. */
GlLockLayout gl_file_lease_layout(const GlTarget *target, const GlFileOptions *options);
gboolean gl_file_lease_check_scope(const GlTarget *target, const GlFacts *kept, GError **error);
gboolean gl_file_lease_look_at_image(int fd, GlTarget *target, GError **error);

/* Sets size and mtime, of a lease or of what is not held. */
gboolean gl_file_lease_inspect(GlTarget *target, GError **error);
