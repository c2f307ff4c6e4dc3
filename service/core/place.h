/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

/*
 * Where a resource really is, whatever path led to it: an extent of a node, and the
 * nodes that this node sits on. A path is not an identity; this is.
 */

typedef enum {
        GL_NODE_FILE,  /* device, inode and inode generation (0 where st_dev says it all) */
        GL_NODE_BLOCK, /* device number in `device`; in `inode` what tells this disk from another one of that number */
        GL_NODE_DISK,  /* known by its world-wide name, of which `device` and `inode` are a digest */
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

/* A stack of more parts is refused. */
#define GL_PLACE_MAX_ANCESTORS 1024

/* Immutable once made. Reference counted; never NULL inside a resource. */
typedef struct {
        GlNode node;
        GlExtent extent;
        char *via; /* (owned) (nullable) how one comes from the name to the node, in words */
        guint n_ancestors;
        GlAncestor ancestors[];
} GlPlace;

GlPlace *gl_place_new(const GlNode *node, GlExtent extent, const GlAncestor *ancestors, guint n_ancestors);
GlPlace *gl_place_new_via(const GlNode *node, GlExtent extent, const GlAncestor *ancestors, guint n_ancestors,
                          const char *via);
GlPlace *gl_place_ref(GlPlace *place);
void gl_place_unref(GlPlace *place);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlPlace, gl_place_unref)

/* A name for the extent of the node: the node itself for all of it, and for a part one that no other part has. */
GlNode gl_place_key(const GlPlace *place);

/* The same extent of the same node. */
gboolean gl_place_equal(const GlPlace *a, const GlPlace *b);
/* And on the same parts of the same nodes below. */
gboolean gl_place_same(const GlPlace *a, const GlPlace *b);

/*
 * The matrix's column M: whether a claim of ASKED, in whichever mode, meets what the host itself uses (has mounted,
 * swaps to), which is at USED. It does where it is a claim of what the host uses or of what that sits on; something that
 * only lies on the same nodes, as a file on the mounted file system does, is fine.
 */
gboolean gl_place_is_used(const GlPlace *asked, const GlPlace *used);

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
