/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/job.h"
#include "storage/credentials.h"
#include "storage/workers.h"

/*
 * What a resource is and how to get at it: who named it, by which path or descriptor, and
 * what that led to. Made at registration by gl_source_resolve_path() or ..._fd(), carried
 * through the core as a GlHandle, and used again by the driver, which opens it anew for the grant
 * and refuses when it leads elsewhere by then. Immutable after it was resolved.
 */

typedef struct GlStacks GlStacks;

typedef enum {
        GL_STORAGE_LOCAL,   /* locks are this host's */
        GL_STORAGE_SHARED,  /* locks reach other hosts (NFS, CephFS, GFS2, OCFS2, …) */
        /* Locks cannot be trusted, or the same file has another identity elsewhere (FUSE, SMB, overlayfs). */
        GL_STORAGE_MOUNT,
} GlStorageKind;

typedef struct {
        GlCredentials *registrant; /* (owned) */
        char *path;      /* (owned) as the caller gave it; for a descriptor the name that the caller gave */
        char *canonical; /* (owned) where it led, without symlinks; "/x (deleted)" for a descriptor of a deleted file,
                          * "(unreachable)/x" for one from another mount namespace */
        char *storage;   /* (owned) key of its worker: that of the mount which the file is on */
        GPtrArray *legs; /* (owned) of GlLeg: how gl_source_open() gets there; empty for a descriptor */
        int fd;          /* -1, or for ..._fd() an O_PATH descriptor of what the caller's led to */
        gboolean fd_writable; /* the caller's was */

        GlStacks *stacks; /* (owned) what found the place, and finds it again */
        GlNode self;    /* what is opened: the file, or the device by its number */
        GlExtent extent; /* the part of that which is meant; where it really is says the place */
        GlPlace *place; /* (owned) */
        gint64 birth;   /* ns, or the number of the disk; 0 unknown: tells a number that was used again */
        const char *limit; /* (nullable) (static) what could not be told of it, in words: it reaches no further then */
        GlStorageKind kind;
        const char *kind_reason; /* (nullable) (static) why not more than MOUNT or LOCAL, in words */
        gboolean block;
        dev_t device; /* of a block device: its own number */
} GlSource;

GlHandle gl_source_handle(GlSource *source); /* takes a reference */
GlSource *gl_source_ref(GlSource *source);
void gl_source_unref(GlSource *source);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlSource, gl_source_unref)

/* SOURCE (owned by the callee) on success, else ERROR (owned by the caller of the callback). */
typedef void (*GlSourceResolved)(GlSource *source, const GError *error, gpointer user_data);

typedef struct GlResolving GlResolving;

/*
 * Finds out what PATH is, with CREDENTIALS, on the worker of its storage; where a symlink or
 * `..` leads onto another mount, the walk goes on on that one's worker, so that a link into a
 * mount that hangs stalls nobody else. Never opens anything but O_PATH, checks that the user could
 * open it for MODE, and takes only regular files and block devices. EXTENT is the part of it that
 * the resource is (whole for a disk, one byte for a lease).
 *
 * RESOLVED is called once, on the loop, never before this returned, and with
 * GL_ERROR_STORAGE_UNAVAILABLE after TIMEOUT µs; unless gl_resolving_cancel() came first.
 */
GlResolving *gl_source_resolve_path(GlWorkers *workers, GlCredentials *credentials, const char *path, GlMode mode,
                                    GlExtent extent, guint64 timeout, GlSourceResolved resolved, gpointer user_data);

/*
 * The same for a descriptor that the caller passed (borrowed; it is dup'ed). No more access
 * than the descriptor has: O_PATH, sockets, pipes, directories and so on are
 * GL_ERROR_INVALID_ARGS, a writable mode with a read-only descriptor GL_ERROR_ACCESS_DENIED.
 */
GlResolving *gl_source_resolve_fd(GlWorkers *workers, GlCredentials *credentials, const char *name, int fd, GlMode mode,
                                  GlExtent extent, guint64 timeout, GlSourceResolved resolved, gpointer user_data);

/*
 * What was registered before a restart of the service and cannot be found again now: it still says what it was, and
 * gl_source_open() says GL_ERROR_STALE. Touches no storage. PATH (nullable), CANONICAL, EXTENT, BIRTH and DEVICE (0: it
 * was none) as they were saved.
 */
GlSource *gl_source_restore(GlWorkers *workers, GlCredentials *registrant, const char *path, const char *canonical,
                            GlPlace *place, GlExtent extent, gint64 birth, dev_t device);

/* Forgets the callback. Only before it was called. */
void gl_resolving_cancel(GlResolving *resolving);

/*
 * Opens SOURCE again, for reading (and writing, unless MODE is readonly), as its registrant.
 * On a worker's thread of SOURCE's storage. GL_ERROR_STALE when it is not what it was. Returns a
 * descriptor, close-on-exec, or -1.
 */
int gl_source_open(const GlSource *source, GlMode mode, GError **error);

/* Whether FD, somebody's descriptor, is of what SOURCE is. Likewise on a worker's thread. */
gboolean gl_source_is(const GlSource *source, int fd);

/* Whether SOURCE's path still leads to it, for its registrant. Likewise on a worker's thread; what cannot be walked is
 * GL_WHEREABOUTS_UNKNOWN, and a descriptor leads to what it did. */
GlWhereabouts gl_source_find(const GlSource *source);

/*
 * The contract's code for an errno of an open or a lock: GL_ERROR_ACCESS_DENIED, _INVALID_ARGS or
 * _STORAGE_UNAVAILABLE.
 */
int gl_error_code_from_errno(int saved_errno);
