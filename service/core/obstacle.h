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
        guint32 pid;
        guint32 owner_uid;
        gboolean has_mode;
        GlMode mode;
        gint64 since; /* µs, CLOCK_REALTIME */
        guint64 generation;
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
