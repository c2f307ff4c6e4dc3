/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/types.h>

#include "core/obstacle.h"
#include "drivers/file-locks.h"

/*
 * Adds to OBSTACLES (of GlObstacle) who is in the way at CONFLICT, as far as it can be found out: at least one, and
 * never the service itself.
 */
void gl_file_obstacles_add_lock(GPtrArray *obstacles, int fd, const GlLockLayout *layout,
                                const GlLockConflict *conflict);

/*
 * Everybody who is in the way of MODE, if there is anybody; 0 or a negative errno. FOR_QEMU: so is a QEMU. Processes
 * are searched once for HOLDERS (of FD), which is NULL at first and the caller's to free.
 */
int gl_file_obstacles_add_locks(GPtrArray *obstacles, int fd, const GlLockLayout *layout, GlMode mode,
                                gboolean for_qemu, GPtrArray **holders);

/*
 * Who uses it besides, those that OBSTACLES names left out: who has a device open, since whether he has claimed it
 * cannot be seen; who has locked any bytes of a file; which loop devices, and what of them, are on the file at PATH.
 */
void gl_file_obstacles_add_openers(GPtrArray *obstacles, int fd, const GlLockLayout *layout, GPtrArray **holders);
void gl_file_obstacles_add_lockers(GPtrArray *obstacles, int fd, const GlLockLayout *layout, GPtrArray **holders);
void gl_file_obstacles_add_loops(GPtrArray *obstacles, const char *path, const char *sysroot);

/* What can be seen of who has claimed a block device, or a partition of it: mounts, devices that are made of it, swap. */
void gl_file_obstacles_add_uses(GPtrArray *obstacles, dev_t device, const char *sysroot);

/* The same for a block device that somebody has claimed. SYSROOT (nullable): where /proc and /sys are. */
void gl_file_obstacles_add_claim(GPtrArray *obstacles, dev_t device, const char *sysroot);
