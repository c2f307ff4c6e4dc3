/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/types.h"

/* A lock descriptor that the service has handed out. */
typedef struct {
        char *type, *name; /* (owned) of the resource */
        GlMode mode;
        int fd;
        guint n_gone; /* checks in a row that have not found the lock */
} GlHeldLock;

typedef enum {
        GL_LOCK_HELD,
        GL_LOCK_UNKNOWN,
        GL_LOCK_GONE,  /* nobody has it */
        GL_LOCK_TAKEN, /* somebody else has */
} GlLockFinding;

/* FD is owned by the lock from now on. */
GlHeldLock *gl_held_lock_new(const char *type, const char *name, GlMode mode, int fd);
void gl_held_lock_free(gpointer lock);
/* Of GlHeldLock (owned). NULL: there is none of that name. */
GlHeldLock *gl_held_locks_find(GPtrArray *locks, const char *type, const char *name);

/* Whether the description of the descriptor still has its lock. Takes nothing. */
GlLockFinding gl_held_lock_check(const GlHeldLock *lock);

/* What /proc/self/fdinfo/… says: whether the description has a lock on BYTE, for writing if WRITE. */
gboolean gl_fdinfo_has_lock(const char *text, guint64 byte, gboolean write);
