/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "qemu-nodes.h"

typedef enum {
        ROLE_FILE,
        ROLE_DATA, /* guest data without tables of the format's */
        ROLE_BACKING,
} Role;

typedef struct {
        Role role;
        GlQemuNode *node; /* (borrowed) */
} Child;

struct _GlQemuNode {
        char *source;
        char *driver; /* (owned) (nullable) NULL: QEMU finds the format out */
        char *path;   /* (owned) (nullable) of a protocol node on this host */
        GArray *children;
        guint height;
        gboolean read_only, is_snapshot, is_below;
        gboolean backing_given, data_given;
        gboolean is_window; /* a raw node that is not the whole of what is below */
        GlQemuUse used;     /* how it was already */
};

struct _GlQemuNodes {
        const char *directory; /* (borrowed) */
        GPtrArray *remarks;    /* (borrowed) */
        GPtrArray *all;        /* (owned) each node */
        GHashTable *by_name;   /* (owned) name → node, borrowed from all */
};

/* It has one node below it, which it passes everything on to; `raw` too, which is as good as one. */
gboolean gl_qemu_node_is_filter(const GlQemuNode *node);
/* Adds a sentence to the remarks. */
void gl_qemu_nodes_remark(GlQemuNodes *nodes, const char *format, ...) G_GNUC_PRINTF(2, 3);
