/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/place.h"

#include <string.h>

GlPlace *gl_place_new(const GlNode *node, GlExtent extent, const GlAncestor *ancestors, guint n_ancestors) {
        GlPlace *place = g_atomic_rc_box_alloc0(sizeof(GlPlace) + n_ancestors * sizeof(GlAncestor));

        place->node = *node;
        place->extent = extent;
        place->n_ancestors = n_ancestors;
        for (guint i = 0; i < n_ancestors; i++)
                place->ancestors[i] = ancestors[i];

        return place;
}

GlPlace *gl_place_ref(GlPlace *place) {
        return g_atomic_rc_box_acquire(place);
}

void gl_place_unref(GlPlace *place) {
        if (place)
                g_atomic_rc_box_release(place);
}

gboolean gl_place_equal(const GlPlace *a, const GlPlace *b) {
        return gl_node_equal(&a->node, &b->node) && a->extent.start == b->extent.start &&
               a->extent.end == b->extent.end;
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

static const char kind_letters[] = {[GL_NODE_FILE] = 'f', [GL_NODE_BLOCK] = 'b'};

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
