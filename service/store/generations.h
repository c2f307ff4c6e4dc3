/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/place.h"
#include "core/types.h"

/* The generations that were ever granted for writing, durable across reboots. The store's own. */

/* Of that many nodes, the ones granted last, generations are kept across a start. */
#define GL_GENERATIONS_MAX_NODES 65536u

typedef struct GlGenerations GlGenerations;

/* Opens DIRECTORY/generations, and makes it if it is not there. DIRECTORY is borrowed and has to stay open. */
GlGenerations *gl_generations_open(int directory, const char *directory_path, GError **error);
void gl_generations_free(GlGenerations *generations);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlGenerations, gl_generations_free)

/*
 * Adds a line for a writable MODE; a readonly one fences nobody, and is not recorded. What could not be
 * written is kept and written with the next one.
 */
gboolean gl_generations_append(GlGenerations *generations, const GlNode *node, GlMode mode, guint64 generation,
                               GError **error);

typedef void (*GlGenerationFunc)(const GlNode *node, GlMode mode, guint64 generation, gpointer user_data);

/*
 * Rewrites the file with the newest generation of each node and mode, of the MAX_NODES nodes that were granted last,
 * and calls FUNC (nullable) for each. On failure the old file stays in use, and FUNC was called all the same for what
 * was read.
 */
gboolean gl_generations_compact(GlGenerations *generations, guint max_nodes, GlGenerationFunc func, gpointer user_data,
                                GError **error);
