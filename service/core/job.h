/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

#include "core/place.h"
#include "core/types.h"

/*
 * Work that the core wants done on storage. The core hands a job out as a change; a
 * driver carries it out, on whatever thread, fills in what it found, and gives it back
 * with gl_core_job_done() on the core's thread. A job owns copies or references of
 * everything in it, so the core may change its mind meanwhile.
 */

typedef enum {
        /* Take every target in its mode, all or nothing: on failure nothing of the job stays taken. */
        GL_JOB_TAKE,
        /*
         * Give every target back. Cannot fail; `lease` of each target is consumed, `size` and `mtime` are what they
         * were last.
         */
        GL_JOB_GIVE_BACK,
        /* Change the one target, which is held in `held_mode`, to `mode`, in place. On failure it is held as before. */
        GL_JOB_CHANGE_MODE,
        /* Is the I/O of the dead guest on each target over? Sets `drained`. */
        GL_JOB_DRAIN,
        /* What do the images look like now? Sets `size` and `mtime`. Targets may be held or not. */
        GL_JOB_INSPECT,
        /*
         * Is every target, which is held, still held and by whom kept, and where does its name lead? Sets `found`,
         * `kept_by`, `whereabouts`, `size` and `mtime` of each, and for what is lost `loss` and `loss_message`. Cannot
         * fail: what cannot be found out is unknown. Targets may be of several guests, and be given back or changed by
         * another job meanwhile.
         */
        GL_JOB_CHECK,
        /*
         * Who else has what carries the lock of each target, or, of one that is `draining`, what it is? Sets
         * `held_open_by`. Cannot fail. Targets may be of several guests, and be given back or changed meanwhile.
         */
        GL_JOB_AUDIT,
        /*
         * Who would keep TAKE from each target, all of them? Takes nothing. Sets `obstacles`, `size` and `mtime` of
         * each; fails where TAKE would with anything but a conflict.
         */
        GL_JOB_LOOK,
} GlJobKind;

typedef enum {
        GL_FOUND_UNKNOWN,
        GL_FOUND_HELD,
        GL_FOUND_LOST, /* a positive answer: it is not held any more */
} GlFinding;

typedef enum {
        GL_WHEREABOUTS_UNKNOWN,
        GL_WHEREABOUTS_HERE,      /* the name leads to what is held */
        GL_WHEREABOUTS_ELSEWHERE, /* it leads to something else */
} GlWhereabouts;

/*
 * What an outer room made and the core only carries: made with g_atomic_rc_box_new(),
 * and freed by the room that made it, through `clear`, when the last reference goes.
 */
typedef struct {
        gpointer box;
        GDestroyNotify clear;
} GlHandle;

static inline GlHandle gl_handle_ref(GlHandle handle) {
        if (handle.box)
                g_atomic_rc_box_acquire(handle.box);
        return handle;
}

static inline void gl_handle_unref(GlHandle *handle) {
        if (handle->box)
                g_atomic_rc_box_release_full(handle->box, handle->clear);
        handle->box = NULL;
}

typedef struct GlJob GlJob;

/* The newest generations that somebody was granted for writing; 0: none that is known. */
typedef struct {
        guint64 exclusive;
        guint64 shared;
} GlRecorded;

typedef struct {
        /* What the core says. */
        GlResourceType type;
        char *name;      /* as registered */
        gboolean by_descriptor; /* with one: the name is only a name */
        GlPlace *place;  /* (owned) what it was when it was registered */
        GlHandle source; /* (owned) how to open it: storage's GlSource; the fake driver's tests may leave it empty */
        GlMode mode;
        GlMode held_mode;
        GlScope require_scope;
        guint64 keep_key;   /* of what outlives the service of a lease: of a TAKE that is adopting what was saved; TAKE
                             * sets it. 0: nothing does */
        guint64 generation; /* what it is held with; of a TAKE that is adopting, what it was held with. 0: not held */
        gboolean only_kept; /* of a TAKE that is adopting: what is still kept of it, and nothing that is not */
        gpointer resource; /* the core's own; nobody else looks at it */
        gboolean draining;  /* of an AUDIT: its guest is gone */
        guint32 pids[2];    /* of an AUDIT: its guest's processes; 0: none */
        gboolean insist;    /* of a DRAIN: what cannot be seen is said not to write */

        /* The driver's own record of a lease (its descriptors). TAKE sets it, GIVE_BACK
         * consumes it, the others use it. */
        gpointer lease;

        /* What the driver found. */
        GlScope scope;
        char *scope_reason; /* (owned) (nullable) why the scope is no wider, in words */
        GlKeptBy kept_by;
        guint64 size;  /* bytes */
        guint64 mtime; /* ns; 0 where it means nothing (block devices) */
        GlRecorded recorded; /* by TAKE and CHANGE_MODE: what the storage itself remembers, from before this job */
        gboolean drained;
        char *drain_reason; /* (owned) (nullable) what still writes, in words */
        gboolean writer_seen; /* with it: it is a process or a device that can be seen */
        char *held_open_by; /* (owned) (nullable) by AUDIT: who it is, in words; NULL: nobody, or not known. */
        GlFinding found;
        GlWhereabouts whereabouts;
        GlLossReason loss;  /* with GL_FOUND_LOST */
        char *loss_message; /* (owned) (nullable) a sentence, with GL_FOUND_LOST */
        GPtrArray *obstacles; /* (owned) (nullable) of GlObstacle: by LOOK */
} GlTarget;

struct GlJob {
        GlJobKind kind;
        guint64 id;
        char *driver;
        guint32 owner_uid;   /* of the guest: stuck work is counted per uid */
        char *guest_uuid;    /* (owned) */
        char *guest_name;    /* (owned) */
        guint32 holder_pid;  /* 0: the guest has no live process, so that a QEMU on the image is somebody else's */
        guint32 supervisor_pid; /* 0: none, or it is the holder itself; it may have the lock descriptors too */
        gboolean supervised; /* of a DRAIN: other processes of the guest than those that are known may have the locks */
        gboolean guest_to_come; /* the holder is a supervisor that has no guest yet: a QEMU is somebody else's, too */
        gboolean with_users; /* LOOK: also those who use it without keeping anybody from a lease */
        gboolean adopting;   /* TAKE after a restart of the service, for a guest that already runs */
        gint64 realtime;     /* µs, CLOCK_REALTIME, when it was made */
        /* TAKE that is not adopting, and CHANGE_MODE: larger than any that the core has granted. */
        guint64 generation;
        guint n_targets;
        GlTarget *targets;

        /* The driver's answer. */
        GError *error;        /* (owned) (nullable) GL_ERROR; NULL is success */
        GPtrArray *obstacles; /* (owned) (nullable) of GlObstacle, with GL_ERROR_CONFLICT */
        /*
         * Success, and the storage itself remembers now that it is granted with `generation`, which the driver has
         * made larger than what it remembered before. Otherwise the core draws one when it grants.
         */
        gboolean generation_is_recorded;
        /* With GL_ERROR_CONFLICT: it may well be over in a moment (qemu-img, udev); try again for a second. */
        gboolean brief;

        gpointer core_data; /* the core's own */
};

GlJob *gl_job_new(GlJobKind kind, const char *driver, guint n_targets);
void gl_job_free(GlJob *job);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlJob, gl_job_free)
