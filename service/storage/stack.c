/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage/stack-private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "core/error.h"

/*
 * What is asked for, put together: device.c walks down devices, overlay.c looks below overlayfs, and here is what a file
 * lies on, and what is kept between two looks.
 *
 * A file's own node is its inode; below it are the devices of its file system, of which the file system is the
 * allocator: its files never overlap there. A file system whose device number is anonymous has its devices
 * elsewhere (btrfs) or none on this host.
 *
 * To know what a plain file lies on must not cost more than to open it. Disks and partitions are remembered, as long as
 * the kernel's count of events (uevent_seqnum) stays the same: none of them comes, goes or changes without one. Of
 * loop devices, maps and arrays that is not so, and they are looked at each time.
 */

#define LIMIT_DEVICE "what its file system lies on cannot be told"

static void stacks_clear(gpointer data) {
        GlStacks *stacks = data;

        g_free(stacks->sysroot);
        gl_mount_table_free(stacks->mounts);
        g_hash_table_unref(stacks->simple);
        if (stacks->seqnum_fd >= 0)
                close(stacks->seqnum_fd);
        g_mutex_clear(&stacks->mutex);
}

GlStacks *gl_stacks_new(const char *sysroot) {
        GlStacks *stacks = g_atomic_rc_box_new0(GlStacks);
        g_autofree char *path = g_build_filename(sysroot ?: "/", "sys/kernel/uevent_seqnum", NULL);

        stacks->sysroot = g_strdup(sysroot);
        g_mutex_init(&stacks->mutex);
        stacks->mounts = gl_mount_table_new(sysroot, NULL);
        stacks->seqnum_fd = open(path, O_RDONLY | O_CLOEXEC);
        stacks->simple = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
        return stacks;
}

GlStacks *gl_stacks_ref(GlStacks *stacks) {
        return g_atomic_rc_box_acquire(stacks);
}

void gl_stacks_unref(GlStacks *stacks) {
        if (stacks)
                g_atomic_rc_box_release_full(stacks, stacks_clear);
}

/* --- kept between looks --- */

GPtrArray *gl_stacks_mounts(GlStacks *stacks) {
        GPtrArray *mounts;

        g_mutex_lock(&stacks->mutex);
        mounts = stacks->mounts ? gl_mount_table_get(stacks->mounts) : NULL;
        g_mutex_unlock(&stacks->mutex);
        return mounts;
}

static guint64 read_seqnum(const GlStacks *stacks) {
        char text[32];
        ssize_t n = stacks->seqnum_fd < 0 ? -1 : pread(stacks->seqnum_fd, text, sizeof text - 1, 0);

        return n <= 0 ? 0 : g_ascii_strtoull((text[n] = '\0', text), NULL, 10);
}

gboolean gl_stacks_recall(GlStacks *stacks, dev_t device, GlWindow *window, guint64 *seqnum) {
        guint64 number = device;
        const GlWindow *known = NULL;

        g_mutex_lock(&stacks->mutex);
        if (*seqnum == 0)
                *seqnum = read_seqnum(stacks);
        if (*seqnum != stacks->seqnum)
                g_hash_table_remove_all(stacks->simple);
        stacks->seqnum = *seqnum;
        if (*seqnum != 0)
                known = g_hash_table_lookup(stacks->simple, &number);
        if (known)
                *window = *known;
        g_mutex_unlock(&stacks->mutex);
        return known != NULL;
}

/* SEQNUM is from before it was looked at. */
void gl_stacks_remember(GlStacks *stacks, dev_t device, const GlWindow *window, guint64 seqnum) {
        GlWindow *kept = g_memdup2(window, sizeof *window);

        kept->device = device;
        g_mutex_lock(&stacks->mutex);
        if (seqnum != 0 && seqnum == stacks->seqnum) {
                g_hash_table_replace(stacks->simple, &kept->device, kept);
                kept = NULL;
        }
        g_mutex_unlock(&stacks->mutex);
        g_free(kept);
}

/* --- files --- */

void gl_spot_clear(GlSpot *spot) {
        g_clear_pointer(&spot->ancestors, g_array_unref);
}

guint64 gl_allocator_of(const char *kind, const void *data, gsize length) {
        g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
        guint8 digest[32];
        gsize n = sizeof digest;
        guint64 allocator;

        g_checksum_update(sum, (const guchar *) kind, (gssize) strlen(kind) + 1);
        g_checksum_update(sum, data, (gssize) length);
        g_checksum_get_digest(sum, digest, &n);
        memcpy(&allocator, digest, sizeof allocator);
        return allocator ?: 1;
}

static const GlMount *find_mount(GPtrArray *mounts, guint64 id) {
        for (guint i = 0; mounts && i < mounts->len; i++) {
                const GlMount *mount = mounts->pdata[i];

                if (mount->id == id)
                        return mount;
        }
        return NULL;
}

/* The devices below the file's file system; NULL if there are some and it cannot be told which. */
static GArray *find_devices(GlWalk *walk, const GlFacts *facts, guint64 *allocator) {
        g_autoptr(GPtrArray) mounts = NULL;
        const GlMount *mount;
        GArray *devices;

        if (facts->magic == BTRFS_SUPER_MAGIC) {
                mounts = gl_stacks_mounts(walk->stacks);
                mount = find_mount(mounts, facts->mount_id);
                return mount ? gl_btrfs_devices(walk->stacks, mount->source, allocator) : NULL;
        }
        devices = g_array_new(FALSE, FALSE, sizeof(dev_t));
        if (major(facts->fs_device) != 0) {
                *allocator = gl_allocator_of("fs", &facts->fs_device, sizeof facts->fs_device);
                g_array_append_val(devices, facts->fs_device);
        }
        return devices;
}

static void add_below(GlSpot *spot, const GlSpot *below, guint64 allocator) {
        GlAncestor direct = {below->node, below->extent, allocator};

        g_array_append_val(spot->ancestors, direct);
        g_array_append_vals(spot->ancestors, below->ancestors->data, below->ancestors->len);
}

void gl_walk_file(GlWalk *walk, const GlFacts *facts, GlExtent extent, GlSpot *spot) {
        gboolean terse = walk->terse;
        guint64 allocator = 0;
        g_autoptr(GArray) devices = find_devices(walk, facts, &allocator);

        spot->node = facts->node;
        spot->extent = extent;
        if (!devices)
                walk->limit = LIMIT_DEVICE;
        /* How the file is named has nothing to do with what is below it. */
        walk->terse = TRUE;
        for (guint i = 0; devices && i < devices->len && spot->ancestors->len < GL_PLACE_MAX_ANCESTORS / 2; i++) {
                g_auto(GlSpot) below = GL_SPOT_INIT;
                dev_t device = g_array_index(devices, dev_t, i);
                gsize said = walk->via->len;

                if (!gl_walk_device(walk, device, (GlExtent){0, GL_EXTENT_END}, &below, NULL)) {
                        walk->limit = LIMIT_DEVICE;
                        g_array_set_size(below.ancestors, 0);
                        below.node = (GlNode){.kind = GL_NODE_BLOCK, .device = device};
                        below.extent = (GlExtent){0, GL_EXTENT_END};
                }
                g_string_truncate(walk->via, said);
                add_below(spot, &below, allocator);
        }
        if (spot->ancestors->len >= GL_PLACE_MAX_ANCESTORS / 2)
                walk->limit = LIMIT_DEVICE;
        walk->terse = terse;
}

/* --- what is asked for --- */

GlPlace *gl_walk_to_place(const GlWalk *walk, const GlSpot *spot) {
        return gl_place_new_via(&spot->node, spot->extent, (gconstpointer) spot->ancestors->data,
                                spot->ancestors->len, walk->via->len > 0 ? walk->via->str : NULL);
}

GlPlace *gl_stacks_find_device(GlStacks *stacks, dev_t device, GlExtent extent, GError **error) {
        g_autoptr(GString) via = g_string_new(NULL);
        GlWalk walk = {.stacks = stacks, .via = via};
        g_auto(GlSpot) spot = GL_SPOT_INIT;

        return gl_walk_device(&walk, device, extent, &spot, error) ? gl_walk_to_place(&walk, &spot) : NULL;
}

static gboolean may_stay_overlaid(GlMode mode, gboolean lower, const char *what, GError **error) {
        if (mode == GL_MODE_READONLY)
                return TRUE;
        g_set_error(error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE,
                    lower ? "%s cannot be leased for writing: it is on an overlay and not copied up yet, and to open it "
                            "for writing would make another file of it. Copy it up (touch it) first."
                          : "%s cannot be leased for writing: it is on an overlay, and which file below that it is "
                            "cannot be told from here. Use the path below.",
                    what);
        return FALSE;
}

/* FALSE: as it is, with the reach that overlayfs has. */
static gboolean look_below_overlay(GlWalk *walk, int fd, GlFacts *facts, GlMode mode, GlExtent extent, const char *what,
                                   GlSpot *spot, GError **error) {
        gboolean lower = FALSE;
        GlFacts real;
        int found = gl_overlay_find(walk->stacks, fd, facts, &real, &lower);

        if (found >= 0 && (!lower || mode == GL_MODE_READONLY)) {
                gl_walk_file(walk, &real, extent, spot);
                facts->kind = GL_STORAGE_LOCAL;
                facts->kind_reason = "on overlayfs, locks of those who use the file below it are not seen";
                close(found);
                return TRUE;
        }
        if (found >= 0)
                close(found);
        if (!may_stay_overlaid(mode, lower, what, error))
                return FALSE;
        gl_walk_file(walk, facts, extent, spot);
        return TRUE;
}

static gboolean look_at_device(GlWalk *walk, const GlFacts *facts, GlExtent extent, const char *what, GlSpot *spot,
                               GError **error) {
        g_autoptr(GError) reason = NULL;

        if (gl_walk_device(walk, facts->device, extent, spot, &reason))
                return TRUE;
        g_set_error(error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE, "%s cannot be leased: %s.", what, reason->message);
        return FALSE;
}

GlPlace *gl_stacks_find(GlStacks *stacks, int fd, GlFacts *facts, GlMode mode, GlExtent extent, const char *what,
                        const char **limit, GError **error) {
        g_autoptr(GString) via = g_string_new(NULL);
        GlWalk walk = {.stacks = stacks, .via = via};
        g_auto(GlSpot) spot = GL_SPOT_INIT;
        gboolean done = TRUE;

        if (facts->type == S_IFBLK)
                done = look_at_device(&walk, facts, extent, what, &spot, error);
        else if (facts->magic == OVERLAYFS_SUPER_MAGIC)
                done = look_below_overlay(&walk, fd, facts, mode, extent, what, &spot, error);
        else
                gl_walk_file(&walk, facts, extent, &spot);
        if (!done)
                return NULL;
        *limit = walk.limit;
        return gl_walk_to_place(&walk, &spot);
}

gint64 gl_stacks_sequence(GlStacks *stacks, dev_t device) {
        g_auto(GlDevice) found = {.fd = -1};
        guint64 sequence = 0;

        if (gl_device_open(stacks->sysroot, device, &found) && !gl_device_read_number(&found, "diskseq", &sequence))
                /* A partition has its disk's. */
                (void) gl_device_read_number(&found, "../diskseq", &sequence);
        return (gint64) sequence;
}
