/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "drivers/driver.h"
#include "drivers/file-lease.h"
#include "drivers/file-lockspace.h"
#include "storage/workers.h"

/*
 * A job on its way through the workers, in steps. A step does one thing to the images, or to the entries in lockspace
 * directories, of a job: what lies on one storage is a group, and one piece of work on that storage's worker; all
 * groups are under way at once, and the next step begins when the last one has reported.
 */

typedef struct GlRun GlRun;

/* What an earlier service had kept of a lease; its entries have theirs. */
typedef struct {
        GlTarget *target;
        int fd;    /* (owned) -1: used */
        int claim; /* (owned) -1: none */
        int outdated; /* (owned) -1, or what FD is in the place of: to be unlocked when that is locked */
} GlRecovered;

/* Belongs to its worker's thread from submit to done, and to the loop's otherwise. */
typedef struct {
        GlRun *run;
        const char *storage;
        GPtrArray *items; /* (owned) of GlTarget or GlLockspaceEntry (borrowed) */
        GlFileVerdict verdict;
} GlRunGroup;

typedef struct {
        /* On the worker's thread. */
        void (*work)(GlRunGroup *group);
        /* Instead of it, on the loop's, when no thread is to be had: what ERROR (owned) says. */
        void (*refused)(GlRunGroup *group, GError *error);
        /* On the loop's, when all of the step is done; what it ran into has been added to run->verdict. */
        void (*next)(GlRun *run);
        /* The service's own business, and not charged to what the guest's owner asks for if it gets stuck. */
        gboolean chore;
} GlRunStep;

struct GlRun {
        GlWorkers *workers;           /* (borrowed) */
        const GlFileOptions *options; /* (borrowed) */
        GlJob *job;
        void (*finished)(GlRun *run, gpointer user_data);
        gpointer user_data;
        GPtrArray *targets; /* (owned) of GlTarget (borrowed), in the order in which they are taken */
        GPtrArray *entries; /* (owned) of GlLockspaceEntry, in the order in which they are taken */
        GArray *recovered;  /* (owned) of GlRecovered */
        GArray *keys;       /* (owned) of guint64: what is kept, and is not to be any more in the end */
        GlFileVerdict verdict;
        guint32 keeper_pid; /* of a DRAIN: who has copies of everything, 0: nobody */
        void (*looked)(GlRun *run); /* of a LOOK: what follows */

        /* The step that is under way. */
        const GlRunStep *step;
        GPtrArray *groups; /* (owned) (nullable) of GlRunGroup */
        guint n_pending;
};

GlRun *gl_run_new(GlWorkers *workers, const GlFileOptions *options, GlJob *job,
                  void (*finished)(GlRun *run, gpointer user_data), gpointer user_data);
void gl_run_free(GlRun *run);

/* Begins a step, with the targets for which WANTED (nullable) is true, or with all entries. */
void gl_run_images(GlRun *run, const GlRunStep *step, gboolean (*wanted)(const GlTarget *target));
void gl_run_lockspaces(GlRun *run, const GlRunStep *step);

/* Makes the entries that the targets have, not opened yet; and drops them, closing what is open. */
void gl_run_add_entries(GlRun *run);
void gl_run_drop_entries(GlRun *run);
/* When the directories have been looked at: what their mounts say of the reach of locks, which the loop knows alone. */
void gl_run_heed_mounts(GlRun *run);
/* Where TARGET is kept besides: in a directory that is shared, if there is one. (nullable) */
const GlFacts *gl_run_where_kept(const GlRun *run, const GlTarget *target);

/* A refused() that makes the error the group's. */
void gl_run_refuse(GlRunGroup *group, GError *error);
