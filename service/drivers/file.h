/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "drivers/driver.h"
#include "storage/workers.h"

/*
 * The driver that is built in: image files, block devices and lease files, kept with the kernel's byte-range
 * locks and exclusive claims. Every target's `source` is a GlSource.
 */

typedef struct {
        const char *sysroot;  /* (nullable) where /proc and /sys are read to tell mounts, devices and their I/O */
        guint32 host_number;  /* of this host, in its host byte */
} GlFileOptions;

/* WORKERS is borrowed and outlives the driver. Makes the process ignore SIGIO, see file-drain.c. */
GlDriver *gl_file_driver_new(GlWorkers *workers, const GlFileOptions *options);
