/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/stat.h>

#include "storage/mounts.h"
#include "storage/source.h"

/* What an open descriptor leads to, and how far locks on it reach. */
typedef struct {
        GlNode node;   /* of a file; of a block device its number alone */
        gint64 birth;  /* ns, 0 unknown */
        mode_t type;   /* S_IFREG, … */
        guint n_links;
        dev_t device;  /* of a block device: its own number */
        dev_t fs_device; /* what its file system calls its device */
        guint64 inode;
        guint64 mount_id;
        guint32 magic; /* of the file system: statfs's f_type */
        gboolean nodev; /* device nodes cannot be opened there */
        gboolean made_up; /* no file on storage: the kernel makes it up (/proc, /sys and the like) */
        GlStorageKind kind;
        const char *kind_reason; /* (nullable) (static) */
} GlFacts;

/* FD may be O_PATH. 0 or a negative errno. May block: on a worker's thread. */
int gl_facts_read(int fd, GlFacts *facts);

/* What else its mount says of the reach of locks; MOUNT is NULL for one that is not in the table. */
void gl_facts_heed_mount(GlFacts *facts, const GlMount *mount);

/* Whether a file system of this type (a mount's `type`) needs nobody's answer but the kernel's and the disk's. */
gboolean gl_storage_is_patient(const char *type);

/* GL_ERROR_INVALID_ARGS unless it is a regular file on storage or a block device. WHAT begins the sentence. */
gboolean gl_facts_check(const GlFacts *facts, const char *what, GError **error);
/* The same of what has a type and no more. */
gboolean gl_facts_check_type(mode_t type, const char *what, GError **error);

/* "Disk "/srv/a.img"", as a sentence begins. */
char *gl_source_describe(const char *name, GlExtent extent);
/* Sets ERROR: WHAT cannot be opened, because of SAVED_ERRNO. */
void gl_source_set_error(GError **error, const char *what, int saved_errno);

/* O_PATH descriptor FD, opened in earnest for MODE as whoever the calling thread is; -1 with errno. */
int gl_source_reopen(int fd, GlMode mode);
