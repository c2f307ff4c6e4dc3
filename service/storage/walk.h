/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "storage/mounts.h"

/*
 * The way from a path to a file, cut into legs that each stay on one mount, so that each can be
 * walked on the thread of its own storage.
 */
typedef struct {
        char *path;      /* (owned) absolute, tidy */
        gsize base;      /* so many bytes of it are where the leg starts: no symlink, no ".." there; 0: not known yet */
        char *storage;   /* (owned) (nullable) key of the worker that may walk it */
        gboolean patient; /* its file system answers by itself: no server and no user's process can let it hang */
} GlLeg;

GlLeg *gl_leg_new(const char *path, gsize base);
void gl_leg_free(GlLeg *leg);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlLeg, gl_leg_free)

/*
 * Walks LEG as whoever the calling thread is, on the thread of LEG's storage, without leaving the mount that
 * its base is on. Magic links of /proc (/proc/<pid>/root, /proc/<pid>/fd/<n>) are ELOOP, always.
 *
 * Returns 0 with *fd (O_PATH, close-on-exec), or 0 with *next where the way goes on on another mount (*fd is
 * -1 then, and next->base is 0 where only the mount table can say which one that is), or a negative errno.
 */
int gl_leg_walk(const GlLeg *leg, int *fd, GlLeg **next);

/* Where the open descriptor FD is by name now, or NULL with errno. Touches no file system but /proc. */
char *gl_path_of_fd(int fd);
