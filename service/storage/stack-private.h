/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "storage/stack.h"
#include "storage/sysfs.h"

struct GlStacks {
        char *sysroot;  /* (owned) (nullable) */
        GMutex mutex;   /* of all below */
        GlMountTable *mounts; /* (owned) (nullable) */
        int seqnum_fd;  /* of the kernel's count of what has happened to devices, or -1 */
        guint64 seqnum; /* when `simple` was true */
        GHashTable *simple; /* (owned) of number → GlWindow, of disks and their partitions */
};

/* What a device is once windows are seen through, and no more. */
typedef struct {
        guint64 device; /* its number */
        GlNode node;
        GlExtent extent;
} GlWindow;

/* One look at a stack. */
typedef struct {
        GlStacks *stacks;
        GString *via;   /* what was seen through */
        guint depth;
        gboolean terse;  /* nobody wants to know the way: what is remembered will do */
        guint64 seqnum;  /* of the devices when it began; 0: not known yet */
        gboolean simple; /* the last device was a disk or a part of one */
        const char *limit; /* (static) (nullable) */
} GlWalk;

/* Where something turned out to be. */
typedef struct {
        GlNode node;
        GlExtent extent;
        GArray *ancestors; /* (owned) of GlAncestor */
} GlSpot;

void gl_spot_clear(GlSpot *spot);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(GlSpot, gl_spot_clear)
#define GL_SPOT_INIT {.ancestors = g_array_new(FALSE, TRUE, sizeof(GlAncestor))}

/* EXTENT of what itself is at WINDOW. */
GlExtent gl_extent_within(GlExtent window, GlExtent extent);
/* Never 0. */
guint64 gl_allocator_of(const char *kind, const void *data, gsize length);

GlPlace *gl_walk_to_place(const GlWalk *walk, const GlSpot *spot);

/* Both add to SPOT; errors are the second half of a sentence. */
gboolean gl_walk_device(GlWalk *walk, dev_t device, GlExtent extent, GlSpot *spot, GError **error);
void gl_walk_file(GlWalk *walk, const GlFacts *facts, GlExtent extent, GlSpot *spot);

/* --- kept between looks --- */
GPtrArray *gl_stacks_mounts(GlStacks *stacks); /* (owned) (nullable) of GlMount */
/* Reads *seqnum if it is 0. */
gboolean gl_stacks_recall(GlStacks *stacks, dev_t device, GlWindow *window, guint64 *seqnum);
void gl_stacks_remember(GlStacks *stacks, dev_t device, const GlWindow *window, guint64 seqnum);

/* The devices of the btrfs that is mounted from SOURCE, as its mount says, and its allocator; NULL if unknown. Of dev_t. */
GArray *gl_btrfs_devices(GlStacks *stacks, const char *source, guint64 *allocator);

/*
 * FD is a file on overlayfs: what is really read and written through it, with its FACTS, or -1. A file that no
 * writer has copied up yet has *lower set.
 */
int gl_overlay_find(GlStacks *stacks, int fd, const GlFacts *facts, GlFacts *real, gboolean *lower);
