/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <guestlock.h>

#include "qemu-options.h"

/* A file or device of this host that QEMU opens. */
typedef struct {
        char *path;   /* (owned) absolute */
        char *source; /* (owned) the option that names it, as -drive or -blockdev "disk0" */
        char *format; /* (owned) (nullable) as QEMU calls it; NULL: QEMU finds it out from the contents */
        GuestlockMode mode;
        gboolean has_backing;   /* the layer below, if there is one, stands in the image's header only */
        gboolean has_data_file; /* the same of files with its data; they are used in the image's own mode */
        gboolean is_snapshot;   /* what is written goes to a temporary file */
} GlFoundDisk;

void gl_found_disk_free(GlFoundDisk *disk);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlFoundDisk, gl_found_disk_free)

/* Adds the disk, or has the one of the same path get the stronger of both modes. */
void gl_found_disks_add(GPtrArray *disks, GlFoundDisk *disk /* (transfer full) */);

/* How somebody who is above a node uses it. */
typedef enum {
        GL_QEMU_USE_NONE,
        GL_QEMU_USE_READ,
        GL_QEMU_USE_SHARE,
        GL_QEMU_USE_WRITE,
} GlQemuUse;

typedef struct _GlQemuNode GlQemuNode;
typedef struct _GlQemuNodes GlQemuNodes;

/* DIRECTORY is where relative paths begin; REMARKS gets sentences (char *). Both are borrowed. */
GlQemuNodes *gl_qemu_nodes_new(const char *directory, GPtrArray *remarks);
void gl_qemu_nodes_free(GlQemuNodes *nodes);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlQemuNodes, gl_qemu_nodes_free)

/*
 * The node that these options describe, with all that are below it. FILENAME (nullable) is what -drive calls file: it
 * may begin with a protocol. Those that it refers to by name have to be there already. NULL: there is nothing to open.
 */
GlQemuNode *gl_qemu_nodes_add(GlQemuNodes *nodes, JsonObject *options, const char *filename, const char *source);
GlQemuNode *gl_qemu_nodes_find(GlQemuNodes *nodes, const char *name);
/* Nothing is written to it, whatever its options say: what is goes to a temporary file. */
void gl_qemu_node_set_snapshot(GlQemuNode *node);
/* Whether another node is above it. */
gboolean gl_qemu_node_is_below(const GlQemuNode *node);

/* Somebody who is no node (a device, say) uses the node so: adds the files of it and of those below to DISKS. */
void gl_qemu_nodes_use(GlQemuNodes *nodes, GlQemuNode *node, GlQemuUse use, GPtrArray *disks);
