/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/core-private.h"

/* What WhoHolds and TestAcquire share: a list of resources that is looked at, and answered with what is in the way. */

typedef struct {
        GlResourceType type;
        char *name;      /* (owned) */
        GlMode mode;
        GlPlace *place;  /* (owned) */
        GlHandle source; /* (owned) */
        gboolean by_descriptor;
        gboolean lost;   /* it has to look as it did then: */
        guint64 size, mtime;
        GPtrArray *foreign; /* (owned) of GlObstacle: what drivers have found */
} GlAsked;

typedef struct {
        gpointer call; /* (nullable) NULL: has been told that it takes too long */
        guint32 uid;
        guint32 owner_uid; /* the guest that asks, if it is one: its own leases are not in its way */
        char uuid[37];     /* "": none */
        guint32 holder_pid; /* as in a job */
        GlScope require_scope;
        gboolean with_users; /* as in a job */
        gboolean several;    /* an obstacle has to say what it is in the way of */
        gint64 overdue_at;
        GPtrArray *asked;     /* (owned) of GlAsked */
        GPtrArray *obstacles; /* (owned) of GlObstacle: those that are known already */
        GPtrArray *drivers;   /* (owned) of char * (owned): those that have not answered */
        GError *error;        /* (owned) (nullable) the first */
        GList link;           /* in core->looks */
} GlLook;

GlLook *gl_look_new(GlCore *core, const GlRequest *request);
void gl_look_free(GlCore *core, GlLook *look);
/* What RESOURCE is, in MODE. */
GlAsked *gl_look_ask(GlLook *look, const GlResourceSpec *resource);
/* Has the driver look at all that is asked. */
void gl_look_send(GlCore *core, GlLook *look, const char *driver);
/* Answers, if every driver has. */
void gl_look_settle(GlCore *core, GlLook *look);
