/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/place.h"

#include <string.h>

GlPlace *gl_place_new_via(const GlNode *node, GlExtent extent, const GlAncestor *ancestors, guint n_ancestors,
                          const char *via) {
        GlPlace *place = g_atomic_rc_box_alloc0(sizeof(GlPlace) + n_ancestors * sizeof(GlAncestor));

        place->node = *node;
        place->extent = extent;
        place->via = g_strdup(via);
        place->n_ancestors = n_ancestors;
        for (guint i = 0; i < n_ancestors; i++)
                place->ancestors[i] = ancestors[i];

        return place;
}

GlPlace *gl_place_new(const GlNode *node, GlExtent extent, const GlAncestor *ancestors, guint n_ancestors) {
        return gl_place_new_via(node, extent, ancestors, n_ancestors, NULL);
}

static void place_clear(gpointer data) {
        g_free(((GlPlace *) data)->via);
}

GlPlace *gl_place_ref(GlPlace *place) {
        return g_atomic_rc_box_acquire(place);
}

void gl_place_unref(GlPlace *place) {
        if (place)
                g_atomic_rc_box_release_full(place, place_clear);
}

static guint32 mix(guint32 mixed, guint64 number) {
        for (guint i = 0; i < 64; i += 8)
                mixed = (mixed ^ (guint8) (number >> i)) * 16777619u;
        return mixed;
}

GlNode gl_place_key(const GlPlace *place) {
        GlNode key = place->node;

        if (place->extent.start != 0 || place->extent.end != GL_EXTENT_END)
                key.inode_generation =
                        mix(mix(mix(2166136261u, key.inode_generation), place->extent.start), place->extent.end);
        return key;
}

static gboolean extent_equal(GlExtent a, GlExtent b) {
        return a.start == b.start && a.end == b.end;
}

gboolean gl_place_equal(const GlPlace *a, const GlPlace *b) {
        return gl_node_equal(&a->node, &b->node) && extent_equal(a->extent, b->extent);
}

gboolean gl_place_same(const GlPlace *a, const GlPlace *b) {
        if (!gl_place_equal(a, b) || a->n_ancestors != b->n_ancestors)
                return FALSE;
        for (guint i = 0; i < a->n_ancestors; i++) {
                const GlAncestor *first = &a->ancestors[i], *second = &b->ancestors[i];

                if (!gl_node_equal(&first->node, &second->node) || !extent_equal(first->extent, second->extent) ||
                    first->allocator != second->allocator)
                        return FALSE;
        }
        return TRUE;
}

gboolean gl_place_is_used(const GlPlace *asked, const GlPlace *used) {
        if (gl_node_equal(&asked->node, &used->node) && gl_extent_overlaps(asked->extent, used->extent))
                return TRUE;
        for (guint i = 0; i < used->n_ancestors; i++) {
                const GlAncestor *ancestor = &used->ancestors[i];

                if (gl_node_equal(&asked->node, &ancestor->node) && gl_extent_overlaps(asked->extent, ancestor->extent))
                        return TRUE;
        }
        return FALSE;
}

guint gl_node_hash(gconstpointer key) {
        const GlNode *node = key;
        guint64 mixed = (node->inode * 31 + node->device) * 31 + node->inode_generation * 7 + node->kind;

        return (guint) (mixed ^ (mixed >> 32));
}

gboolean gl_node_equal(gconstpointer a, gconstpointer b) {
        return gl_node_compare(a, b) == 0;
}

#define COMPARE(x, y)                      \
        do {                               \
                if ((x) != (y))            \
                        return (x) < (y) ? -1 : 1; \
        } while (0)

int gl_node_compare(const GlNode *a, const GlNode *b) {
        COMPARE(a->kind, b->kind);
        COMPARE(a->device, b->device);
        COMPARE(a->inode, b->inode);
        COMPARE(a->inode_generation, b->inode_generation);
        return 0;
}

static const char kind_letters[] = {[GL_NODE_FILE] = 'f', [GL_NODE_BLOCK] = 'b', [GL_NODE_DISK] = 'w'};

char *gl_node_to_string(const GlNode *node) {
        g_assert(node->kind < G_N_ELEMENTS(kind_letters));
        return g_strdup_printf("%c%" G_GINT64_MODIFIER "x-%" G_GINT64_MODIFIER "x-%x", kind_letters[node->kind],
                               node->device, node->inode, node->inode_generation);
}

gboolean gl_node_from_string(const char *text, GlNode *node) {
        g_auto(GStrv) parts = NULL;
        guint64 device, inode, inode_generation;
        const char *letter = text[0] ? memchr(kind_letters, text[0], sizeof(kind_letters)) : NULL;

        if (!letter)
                return FALSE;
        parts = g_strsplit(text + 1, "-", 4);
        if (g_strv_length(parts) != 3 || !g_ascii_string_to_unsigned(parts[0], 16, 0, G_MAXUINT64, &device, NULL) ||
            !g_ascii_string_to_unsigned(parts[1], 16, 0, G_MAXUINT64, &inode, NULL) ||
            !g_ascii_string_to_unsigned(parts[2], 16, 0, G_MAXUINT32, &inode_generation, NULL))
                return FALSE;

        *node = (GlNode){
                .kind = (guint32) (letter - kind_letters),
                .device = device,
                .inode = inode,
                .inode_generation = (guint32) inode_generation,
        };
        return TRUE;
}
