/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "drivers/driver.h"
#include "drivers/keeping.h"
#include "storage/workers.h"

/*
 * The driver that is built in: image files, block devices and lease files, kept with the kernel's byte-range
 * locks and exclusive claims. Every target's `source` is a GlSource.
 */

/* What virtlockd calls file_lockspace_dir, lvm_lockspace_dir and scsi_lockspace_dir. */
typedef enum {
        GL_LOCKSPACE_FILES,
        GL_LOCKSPACE_LVM,
        GL_LOCKSPACE_SCSI,
        GL_N_LOCKSPACES,
} GlLockspaceKind;

typedef struct {
        const char *sysroot;   /* (nullable) where /proc and /sys are read to tell mounts, devices and their I/O */
        guint32 host_number;   /* of this host, in its host byte */
        const char *host_id;   /* who it is, in the records of lockspace directories */
        const char *host_name;
        const char *lockspaces[GL_N_LOCKSPACES]; /* (nullable) each, an absolute path */
        GlKeeping *keeping;    /* (nullable) (borrowed) */
} GlFileOptions;

/*
 * WORKERS and the strings of OPTIONS are borrowed and outlive the driver. Makes the process ignore SIGIO, see
 * file-drain.c.
 */
GlDriver *gl_file_driver_new(GlWorkers *workers, const GlFileOptions *options);

/* What was kept is not any more: has it all kept anew. */
void gl_file_driver_keep_again(GlDriver *driver);
