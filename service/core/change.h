/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/guest.h"

/*
 * What a call into the core has changed, in the order in which the world has to hear of
 * it. The outer rooms take changes with gl_core_take_change() until there are none, after
 * every call into the core.
 */
typedef enum {
        GL_CHANGE_GUEST_ADDED,
        GL_CHANGE_GUEST_REMOVED,   /* the guest is still there to be read, and freed with the change */
        GL_CHANGE_PROPERTIES,      /* `properties`: which of the guest's */
        GL_CHANGE_LEASES_ACQUIRED, /* `generation`, `items` */
        GL_CHANGE_LEASES_RELEASED, /* `reason`, `items` */
        /*
         * One item, or none where the guest was leased alone; `text` is the reason, `message` a sentence, `action` what
         * is done to the guest, `remaining` the time until then.
         */
        GL_CHANGE_LEASE_LOST,
        GL_CHANGE_PATH_MOVED,      /* for an operator: `text` is the resource, `message` a sentence */
        GL_CHANGE_STORAGE_HANGS,   /* for an operator: `text` is the resource, `message` a sentence */
        GL_CHANGE_DRAINS_SLOWLY,   /* likewise */
        GL_CHANGE_HELD_OPEN,       /* likewise */
        GL_CHANGE_WATCH_PROCESS,   /* `process`: tell gl_core_process_gone() when it is */
        GL_CHANGE_SIGNAL_PROCESS,  /* `process`, `signal` */
        GL_CHANGE_JOB,             /* `job` (owned by whoever takes the change) */
        GL_CHANGE_WAITS,           /* `call` has been put into the queue: the caller's next call may go on */
        GL_CHANGE_REPLY,           /* `call`; `error`, or the results */
} GlChangeKind;

typedef enum {
        GL_PROPERTY_NAME = 1 << 0,
        GL_PROPERTY_ID = 1 << 1,
        GL_PROPERTY_STATE = 1 << 2,
        GL_PROPERTY_WAITING = 1 << 3,
        GL_PROPERTY_PID = 1 << 4,
        GL_PROPERTY_SUPERVISOR_PID = 1 << 5,
        GL_PROPERTY_ON_LEASE_LOST = 1 << 6,
        GL_PROPERTY_GENERATION = 1 << 7,
        GL_PROPERTY_ACQUIRED_AT = 1 << 8,
        GL_PROPERTY_RESOURCES = 1 << 9,
} GlProperty;

typedef struct {
        GlResourceType type;
        char *name;
        GlMode mode;
} GlItem;

typedef struct {
        GlChangeKind kind;
        GlGuest *guest; /* (nullable) */
        gpointer call;  /* (nullable) */
        guint properties;
        guint64 generation;
        GlReleaseReason reason;
        char *text;
        char *message;
        GArray *items; /* of GlItem */
        GlProcessRole role;
        GlProcessRef process;
        int signal;
        GlLossAction action;
        guint64 remaining; /* µs */
        GlJob *job;
        GError *error;
        guint32 pid; /* GetChild's result */
        GPtrArray *obstacles; /* (owned) (nullable) of GlObstacle: WhoHolds's and TestAcquire's */
} GlChange;

void gl_change_free(GlChange *change);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlChange, gl_change_free)
