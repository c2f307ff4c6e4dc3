/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/place.h"
#include "core/types.h"

/*
 * The lock table, one for all drivers: who claims which extent of which node in which mode.
 *
 * Granular locks (Gray, Lorie, Putzolu and Traiger, "Granularity of Locks and Degrees of Consistency in a Shared Data
 * Base", 1976): a claim takes its mode on its own node and an intention on every node below, so that a whole device and
 * a file on it meet without either knowing of the other. Two intentions on one node are compatible when their extents
 * are disjoint or one allocator handed both out; otherwise the modes behind them are compared.
 */

typedef struct GlTable GlTable;
typedef struct GlClaim GlClaim;

struct GlClaim {
        GlPlace *place; /* (owned) */
        GlMode mode;
        gpointer owner;   /* whoever claims; the table never looks at it */
        gboolean pending; /* a driver is still being asked */
        struct GlHold *holds; /* (owned) the table's own */
};

GlTable *gl_table_new(void);
/* With the claims that are still in it. */
void gl_table_free(GlTable *table);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlTable, gl_table_free)

/* Enters a claim without asking whether it conflicts. Dropped with gl_table_drop(), which takes NULL. */
GlClaim *gl_table_enter(GlTable *table, GlPlace *place, GlMode mode, gpointer owner);
void gl_table_drop(GlTable *table, GlClaim *claim);
void gl_table_set_mode(GlTable *table, GlClaim *claim, GlMode mode);

/*
 * Whether PLACE in MODE conflicts with any claim other than EXCEPT (nullable). Adds each that
 * it conflicts with to FOUND once (of GlClaim, nullable: the first one will do then).
 */
gboolean gl_table_conflicts(GlTable *table, const GlPlace *place, GlMode mode, const GlClaim *except,
                            GPtrArray *found);

guint gl_table_size(GlTable *table);
