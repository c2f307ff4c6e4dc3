/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

/*
 * Where a driver has descriptors kept that must outlive the service: somebody else holds copies of them, under a key
 * that is written down with the lease. Everything is on the loop's thread.
 */

typedef struct GlKeeping GlKeeping;

/*
 * KEPT: it is where it outlives the service. Not called before what started it has returned, but where nothing is kept
 * any more, as the service is ending.
 */
typedef void (*GlKept)(gboolean kept, gpointer user_data);

/* What one key stands for. */
typedef struct {
        guint n;
        int *fds;     /* (owned) with what they are, close-on-exec */
        guint8 *tags; /* (owned) what the driver said that each is */
} GlKeptFds;

struct GlKeeping {
        /* What an earlier service had kept under KEY, or NULL. Asked for once. Owned by the caller. */
        GlKeptFds *(*recover)(GlKeeping *keeping, guint64 key);
        /* FDS are borrowed for the call. They take the place of what KEY stood for. */
        void (*keep)(GlKeeping *keeping, guint64 key, const int *fds, const guint8 *tags, guint n, GlKept done,
                     gpointer user_data);
        /* DONE when they are closed. */
        void (*drop)(GlKeeping *keeping, guint64 key, GlKept done, gpointer user_data);
        /* Whether it has been said of what was given last for KEY that it is where it outlives the service. */
        gboolean (*has)(GlKeeping *keeping, guint64 key);
        /* Whether somebody is there who could keep more. */
        gboolean (*ready)(GlKeeping *keeping);
        /* (nullable) The process that has them now; 0: none, or it is not known. */
        guint32 (*pid)(GlKeeping *keeping);
};
