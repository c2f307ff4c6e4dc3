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

/* The same for a block device that somebody has claimed. SYSROOT (nullable): where /proc and /sys are. */
void gl_file_obstacles_add_claim(GPtrArray *obstacles, dev_t device, const char *sysroot);
