/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "drivers/file.h"
#include "storage/source.h"

/* Where a resource is kept in a lockspace directory. */
typedef struct {
        GlLockspaceKind kind;
        char *name; /* (owned) of the file */
} GlLockspaceName;

/*
 * Of GlLockspaceName, in an order that everybody has, no two the same: those under which virtlockd keeps SOURCE if it
 * is told its path as registered or its canonical one (BY_DESCRIPTOR: that alone). None where no directory is set, or where it has no
 * name that means the same to others. Reads nothing but /sys.
 */
GPtrArray *gl_lockspace_names(const GlSource *source, gboolean by_descriptor, const GlFileOptions *options);
