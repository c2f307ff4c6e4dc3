/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

/*
 * Where a resource really is, whatever path led to it: an extent of a node, and the
 * nodes that this node sits on. A path is not an identity; this is.
 */

typedef enum {
        GL_NODE_FILE,  /* device, inode and inode generation (0 where st_dev says it all) */
        GL_NODE_BLOCK, /* device number in `device`; inode is 0 */
} GlNodeKind;

typedef struct {
        guint32 kind; /* GlNodeKind */
        guint32 inode_generation;
        guint64 device;
        guint64 inode;
} GlNode;

/* Half open: [start, end), in bytes. GL_EXTENT_END stands for "to the end, wherever that is". */
typedef struct {
        guint64 start;
        guint64 end;
} GlExtent;

#define GL_EXTENT_END G_MAXUINT64

/*
 * A node that the place sits on, and which part of it. Two places on one ancestor
 * that name the same allocator (other than 0) never overlap there: one file system
 * or one volume group handed both out.
 */
typedef struct {
        GlNode node;
        GlExtent extent;
        guint64 allocator;
} GlAncestor;

/* Immutable once made. Reference counted; never NULL inside a resource. */
typedef struct {
        GlNode node;
        GlExtent extent;
        guint n_ancestors;
        GlAncestor ancestors[];
} GlPlace;

GlPlace *gl_place_new(const GlNode *node, GlExtent extent, const GlAncestor *ancestors, guint n_ancestors);
GlPlace *gl_place_ref(GlPlace *place);
void gl_place_unref(GlPlace *place);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlPlace, gl_place_unref)

gboolean gl_place_equal(const GlPlace *a, const GlPlace *b);

guint gl_node_hash(gconstpointer node);
gboolean gl_node_equal(gconstpointer a, gconstpointer b);
/* A total order, so that everybody who takes several takes them in the same one. */
int gl_node_compare(const GlNode *a, const GlNode *b);
/* Text of [a-z0-9-] that gl_node_from_string() reads back: for state files and state strings. */
char *gl_node_to_string(const GlNode *node);
gboolean gl_node_from_string(const char *text, GlNode *node);

static inline gboolean gl_extent_overlaps(GlExtent a, GlExtent b) {
        return a.start < b.end && b.start < a.end;
}
