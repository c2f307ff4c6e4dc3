/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/table.h"

/*
 * One row a node, with the holds on it: a claim has one hold on its own node and one on each ancestor. To ask is to
 * look at the rows of the nodes involved. A device with thousands of files of one file system on it is the case that
 * must stay cheap: a row remembers whether all its holds are intentions of one allocator, and then another one of these
 * needs no look at them.
 */

typedef struct GlRow GlRow;

typedef struct GlHold {
        GlClaim *claim;
        GlRow *row;
        guint index; /* in row->holds */
        gboolean intention;
        GlExtent extent;
        guint64 allocator; /* of an intention; 0: none known */
} GlHold;

struct GlRow {
        GlNode node;
        GPtrArray *holds;   /* of GlHold (borrowed: the claims own them) */
        gboolean uniform;   /* all are intentions of `allocator` */
        guint64 allocator;
};

struct GlTable {
        GHashTable *rows; /* of GlRow, which is its own key */
        guint n_claims;
};

static void row_free(gpointer data) {
        GlRow *row = data;

        g_ptr_array_unref(row->holds);
        g_free(row);
}

GlTable *gl_table_new(void) {
        GlTable *table = g_new0(GlTable, 1);

        /* GlNode comes first in GlRow, so that a row can be looked up by a node. */
        table->rows = g_hash_table_new_full(gl_node_hash, gl_node_equal, NULL, row_free);
        return table;
}

static void claim_free(gpointer data) {
        GlClaim *claim = data;

        gl_place_unref(claim->place);
        g_free(claim->holds);
        g_free(claim);
}

static void free_claims(GlTable *table) {
        g_autoptr(GPtrArray) claims = g_ptr_array_new_with_free_func(claim_free);
        GHashTableIter iter;
        gpointer row;

        g_hash_table_iter_init(&iter, table->rows);
        while (g_hash_table_iter_next(&iter, NULL, &row)) {
                GPtrArray *holds = ((GlRow *) row)->holds;

                for (guint i = 0; i < holds->len; i++) {
                        GlHold *hold = g_ptr_array_index(holds, i);

                        if (hold == hold->claim->holds) /* the first of its holds: each claim once */
                                g_ptr_array_add(claims, hold->claim);
                }
        }
}

void gl_table_free(GlTable *table) {
        if (!table)
                return;
        free_claims(table);
        g_hash_table_unref(table->rows);
        g_free(table);
}

guint gl_table_size(GlTable *table) {
        return table->n_claims;
}

static void add_hold(GlTable *table, GlHold *hold, const GlNode *node) {
        GlRow *row = g_hash_table_lookup(table->rows, node);

        if (!row) {
                row = g_new0(GlRow, 1);
                row->node = *node;
                row->holds = g_ptr_array_new();
                row->uniform = hold->intention && hold->allocator != 0;
                row->allocator = hold->allocator;
                g_hash_table_insert(table->rows, row, row);
        }
        row->uniform = row->uniform && hold->intention && hold->allocator == row->allocator;

        hold->row = row;
        hold->index = row->holds->len;
        g_ptr_array_add(row->holds, hold);
}

static void remove_hold(GlTable *table, GlHold *hold) {
        GlRow *row = hold->row;

        g_ptr_array_remove_index_fast(row->holds, hold->index);
        if (hold->index < row->holds->len)
                ((GlHold *) g_ptr_array_index(row->holds, hold->index))->index = hold->index;
        if (row->holds->len == 0)
                g_hash_table_remove(table->rows, row);
}

GlClaim *gl_table_enter(GlTable *table, GlPlace *place, GlMode mode, gpointer owner) {
        GlClaim *claim = g_new0(GlClaim, 1);

        claim->place = gl_place_ref(place);
        claim->mode = mode;
        claim->owner = owner;
        claim->holds = g_new0(GlHold, place->n_ancestors + 1);

        claim->holds[0] = (GlHold){.claim = claim, .extent = place->extent};
        add_hold(table, &claim->holds[0], &place->node);
        for (guint i = 0; i < place->n_ancestors; i++) {
                claim->holds[i + 1] = (GlHold){
                        .claim = claim,
                        .intention = TRUE,
                        .extent = place->ancestors[i].extent,
                        .allocator = place->ancestors[i].allocator,
                };
                add_hold(table, &claim->holds[i + 1], &place->ancestors[i].node);
        }
        table->n_claims++;

        return claim;
}

void gl_table_drop(GlTable *table, GlClaim *claim) {
        if (!claim)
                return;

        for (guint i = 0; i < claim->place->n_ancestors + 1; i++)
                remove_hold(table, &claim->holds[i]);
        table->n_claims--;
        claim_free(claim);
}

void gl_table_set_mode(GlTable *table, GlClaim *claim, GlMode mode) {
        claim->mode = mode;
}

/* Readers with readers, knowing writers with knowing writers, and an exclusive one with nobody. */
static gboolean modes_compatible(GlMode a, GlMode b) {
        return a == b && a != GL_MODE_EXCLUSIVE;
}

/*
 * The matrix. Two of the node itself: their modes. An intention against the node itself: the same comparison, since
 * "something below is read" goes with "all of it is read" and nothing else does, and likewise for shared writers. Two
 * intentions: siblings.
 */
static gboolean compatible(const GlHold *asked, GlMode asked_mode, const GlHold *held) {
        if (!gl_extent_overlaps(asked->extent, held->extent))
                return TRUE;
        if (asked->intention && held->intention && asked->allocator != 0 && asked->allocator == held->allocator)
                return TRUE;
        return modes_compatible(asked_mode, held->claim->mode);
}

static gboolean row_conflicts(GlTable *table, const GlNode *node, const GlHold *asked, GlMode mode,
                              const GlClaim *except, GPtrArray *found) {
        GlRow *row = g_hash_table_lookup(table->rows, node);
        gboolean any = FALSE;

        if (!row || (row->uniform && asked->intention && asked->allocator == row->allocator))
                return FALSE;

        for (guint i = 0; i < row->holds->len; i++) {
                const GlHold *held = g_ptr_array_index(row->holds, i);

                if (held->claim == except || compatible(asked, mode, held))
                        continue;
                any = TRUE;
                if (!found)
                        break;
                if (!g_ptr_array_find(found, held->claim, NULL))
                        g_ptr_array_add(found, held->claim);
        }
        return any;
}

gboolean gl_table_conflicts(GlTable *table, const GlPlace *place, GlMode mode, const GlClaim *except,
                            GPtrArray *found) {
        GlHold asked = {.extent = place->extent};
        gboolean any = row_conflicts(table, &place->node, &asked, mode, except, found);

        for (guint i = 0; i < place->n_ancestors && (found || !any); i++) {
                asked = (GlHold){
                        .intention = TRUE,
                        .extent = place->ancestors[i].extent,
                        .allocator = place->ancestors[i].allocator,
                };
                any |= row_conflicts(table, &place->ancestors[i].node, &asked, mode, except, found);
        }
        return any;
}
