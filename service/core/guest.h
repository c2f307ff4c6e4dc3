/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/job.h"
#include "core/types.h"

/*
 * A guest and its resources, as other rooms may read them. Only the core writes them,
 * and each is valid until the next call into the core.
 */

typedef struct GlCore GlCore;
typedef struct GlGuest GlGuest;
typedef struct GlClaim GlClaim;

/* A process as the core sees it: two are the same if pid and start time are. */
typedef struct {
        guint32 pid; /* 0: none */
        guint64 start_time;
        GlHandle handle; /* (owned) process's GlProcess */
} GlProcessRef;

typedef struct {
        GlGuest *guest; /* the one it belongs to */
        GlResourceType type;
        char *name;
        GlMode mode;
        GlResourceState state;
        GlPlace *place;
        GlHandle source;
        guint32 registered_by; /* uid */
        gboolean by_descriptor; /* it was registered with one: the name is only a name */

        /* While held. */
        guint64 generation;
        GlScope scope;
        char *scope_reason; /* (owned) (nullable) also of one that is registered and that the driver ignores: why */
        GlKeptBy kept_by;
        gint64 since; /* µs, CLOCK_REALTIME */
        guint64 size, mtime;
        gboolean path_moved;

        /* The core's own. */
        GlClaim *claim; /* (nullable) its row in the lock table, also while a job is out */
        gpointer lease; /* (nullable) the driver's */
        guint64 keep_key; /* what the driver has it kept under, beyond the end of the service; 0: nothing */
        guint64 job;    /* id of the job that is out for it, 0: none */
        gboolean retaking; /* not yet taken again after a restart */
        gboolean broken;    /* lost, and what is left of `lease` holds nothing */
        gboolean unblocked; /* lost, but no process was there to write on: others may have it */
        gboolean unplugged; /* lost, and one of the guest's `ghosts` */
        char *drain_reason; /* (owned) (nullable) while draining: what still writes, in words */
        gboolean writer_seen; /* with it: that can be seen, so that nobody can say that it does not */
        gboolean insisted;  /* an administrator says that nothing else writes */
        char *held_open_by; /* (owned) (nullable) who else has its lock, or keeps it from draining, in words */
} GlResource;

typedef enum {
        GL_PROCESS_GUEST,
        GL_PROCESS_SUPERVISOR,
        GL_N_PROCESSES,
} GlProcessRole;

struct GlGuest {
        char uuid[37]; /* lower case */
        guint32 owner_uid;
        char *name;
        guint32 id; /* 0: none */
        char *driver;
        GlOrigin origin;
        GlGuestState state;
        GlLossAction on_lease_lost;
        GlScope require_scope;
        GlProcessRef processes[GL_N_PROCESSES];
        guint64 generation;
        gint64 acquired_at; /* µs, CLOCK_REALTIME; 0: never */
        char *state_string; /* (nullable) of the last release */
        GPtrArray *resources; /* of GlResource, in the order registered */
        GPtrArray *ghosts;  /* of GlResource: lost and unplugged; they block others until the process is gone */
        gboolean transient; /* made without keep: goes when its guest ends */
        guint n_waiting; /* acquires that wait */
        gboolean restricted; /* only who may manage changes its leases */
        gboolean stopped_by_us; /* because of a loss */
        gboolean killing;   /* it was asked to end because of a loss, and will be made to */
        gboolean supervised; /* a supervisor has had its locks: what that has started may have them still */
        gboolean orphan_kept; /* its process is left alone when its supervisor ends */
        gboolean hidden; /* StartGuest has not succeeded yet: nobody may see it */

        gpointer core_data; /* the core's own */
};

/* Whether any process of the guest is known to live. */
gboolean gl_guest_has_process(const GlGuest *guest);
gboolean gl_guest_has_leases(const GlGuest *guest);
GlResource *gl_guest_find_resource(const GlGuest *guest, GlResourceType type, const char *name);
GlResource *gl_guest_find_resource_at(const GlGuest *guest, const GlPlace *place);
