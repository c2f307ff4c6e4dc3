/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <sys/types.h>

#include "core/place.h"

/*
 * Who, of the processes that can be seen from here, has a file open and holds locks on it. This walks
 * over every descriptor of every process: only where somebody is in the way.
 */

typedef struct {
        guint64 first, last; /* bytes, both included */
        gboolean write;
} GlHeldRange;

typedef struct {
        guint32 pid;
        char *command; /* (nullable) what it calls itself: printable UTF-8, not to be trusted */
        GArray *locks; /* of GlHeldRange; may be empty */
        guint file;    /* of gl_holders_find_files(): which one it has open */
} GlHolder;

typedef struct {
        dev_t device;
        guint64 inode;
} GlFileId;

void gl_holder_free(gpointer holder);

/* The same for many files in one walk: every process that has one of them open, once for each. This one as well. */
GPtrArray *gl_holders_find_files(const GlFileId *files, guint n);

/* 0: it has none, or is gone. */
guint32 gl_parent_of_pid(guint32 pid);

/*
 * Of GlHolder: every process that has the file of FD open otherwise than through FD itself, this one included.
 * O_PATH descriptors do not count.
 */
GPtrArray *gl_holders_find(int fd);

/* Those that the description of FD has, of GlHeldRange; NULL if that cannot be found out. */
GArray *gl_holders_locks_of(int fd);

/* Does it hold BYTE, at all or with a write lock? */
gboolean gl_holder_has_lock(const GlHolder *holder, guint64 byte, gboolean only_write);

/*
 * What /proc/<pid>/fdinfo/<n> says: adds each lock of the description to LOCKS (of GlHeldRange). FALSE for one that can
 * do no I/O (O_PATH).
 */
gboolean gl_fdinfo_parse(const char *text, GArray *locks);

/*
 * Fetches from process PID a copy of the descriptor whose own description has BYTE of NODE locked, by whichever device
 * node that was opened, close-on-exec. -1: it has none. Whether it is the right file is the caller's to see.
 */
int gl_holder_fetch(guint32 pid, const GlNode *node, guint64 byte);

/* NULL if there is no such process. */
char *gl_command_of_pid(guint32 pid);
