/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

/*
 * Closes descriptors on threads. close() flushes a file also where another descriptor of it is left, and on storage
 * that hangs that hangs.
 */
typedef struct GlCloser GlCloser;

GlCloser *gl_closer_new(void);
void gl_closer_free(GlCloser *closer); /* what is under way goes on without it */
void gl_closer_close(GlCloser *closer, const int *fds, guint n);

/*
 * Descriptors of its own for the same files, close-on-exec and above 2, or -errno; -ENOBUFS while MAX or more than that
 * were made and not closed. They are to be closed with gl_closer_close(), which counts them out.
 */
int gl_closer_duplicate(GlCloser *closer, const int *fds, guint n, guint max, int *duplicates);
/* From elsewhere, and to be closed in the same way. */
void gl_closer_adopt(GlCloser *closer, guint n);
