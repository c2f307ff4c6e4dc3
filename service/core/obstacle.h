/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

#include "core/types.h"

/*
 * Somebody or something that stands in the way of a lease. What is not known is NULL
 * or 0, and `has_mode` says whether `mode` is known.
 */
typedef struct {
        char *guest_uuid;
        char *guest_name;
        char *host;
        char *command;
        char *name;   /* as the holder registered it */
        char *driver; /* the driver of the lease that is in the way */
        char *via;    /* in words, what else makes it stand in the way */
        char *wanted; /* where several resources were asked about: the one that it is in the way of */
        guint32 pid;
        gboolean has_owner; /* it is a guest of this service, */
        guint32 owner_uid;
        gboolean has_object; /* and to be seen on the bus */
        gboolean has_mode;
        GlMode mode;
        gboolean has_scope;
        GlScope scope;
        gint64 since; /* µs, CLOCK_REALTIME */
        guint64 generation;
        gboolean has_host_number; /* by a lock of another service, or of an earlier life of this one */
        guint32 host_number;
        gboolean own; /* a lock of this service's host: if the table has the place, it knows better whose it is */
} GlObstacle;

GlObstacle *gl_obstacle_new(void);
void gl_obstacle_free(GlObstacle *obstacle);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlObstacle, gl_obstacle_free)

/*
 * The sentence of a Conflict: what was asked for, and everything in `obstacles`
 * (of GlObstacle) that is in its way. Paths are escaped. Never NULL.
 */
char *gl_obstacles_to_sentence(GlResourceType type, const char *name, GPtrArray *obstacles);

/* TEXT in double quotes with control characters, quotes and backslashes escaped. */
char *gl_quote(const char *text);
