/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "qemu-nodes.h"

/* A file that an image needs besides itself. */
typedef struct {
        char *path;       /* (owned) absolute */
        gboolean is_data; /* the topmost image's data: it is written to as the image is; else it is only read */
} GlLayer;

void gl_layer_free(GlLayer *layer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlLayer, gl_layer_free)

/* How long storage usually may take: patience_ms below. */
#define GL_BACKING_CHAIN_PATIENCE_MS 30000

/*
 * The layers of the image, nearest first, as qemu-img finds them. PATH is absolute. FORMAT (nullable) is the image's;
 * without it qemu-img looks. REMARKS gets a sentence (char *) about each layer that is no file of this host.
 *
 * Returns when qemu-img has ended, PATIENCE_MS are over, or CANCELLABLE is cancelled, and runs the calling thread's
 * main context until then. Errors are G_IO_ERROR's, with a sentence that says how to go on.
 */
GPtrArray *gl_backing_chain_read(const char *path, const char *format, GPtrArray *remarks, guint patience_ms,
                                 GCancellable *cancellable, GError **error);

/* Reads the chain of each disk that has one, and adds its layers to DISKS (GlFoundDisk *). */
gboolean gl_backing_chains_add(GPtrArray *disks, GPtrArray *remarks, guint patience_ms, GCancellable *cancellable,
                               GError **error);
