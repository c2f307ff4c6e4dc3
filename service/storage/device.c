/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage/stack-private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "core/error.h"
#include "core/obstacle.h"
#include "storage/dm.h"

/*
 * Down the devices. A window is replaced by the part of the lower device that it shows. A disk is a node: by its
 * world-wide name where it has one, so that its paths and the multipath map over them are one, and else by its number
 * and the kernel's count of disks. Whatever else is made of devices is a node on them: on the parts that its table
 * names, or, where that is not known, on all of each.
 *
 * Which child of a node has a part of it is the allocator there: what reaches the node by the same child has met at
 * that child already. For those whose parts the node itself hands out (thin volumes of one pool, snapshots of one
 * origin) it is the node.
 *
 * What cannot be read ends the walk: to go on without it would make a different disk of the same one.
 */

#define SECTOR 512
#define DEEPEST 32
/* What a file has on top of that is its file system. */
#define MOST_PARTS (GL_PLACE_MAX_ANCESTORS / 2)

static gboolean fail(GError **error, const GlDevice *device, const char *what) {
        g_set_error(error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE, "%s of device %s cannot be read: %s", what,
                    device->name, g_strerror(errno));
        return FALSE;
}

GlExtent gl_extent_within(GlExtent window, GlExtent extent) {
        guint64 length = window.end - window.start;
        GlExtent within = {window.start + MIN(extent.start, length), window.end};

        if (extent.end < length)
                within.end = window.start + extent.end;
        return within;
}

static void say(GlWalk *walk, const char *format, ...) G_GNUC_PRINTF(2, 3);
static void say(GlWalk *walk, const char *format, ...) {
        va_list arguments;

        if (walk->via->len > 0)
                g_string_append(walk->via, ", ");
        va_start(arguments, format);
        g_string_append_vprintf(walk->via, format, arguments);
        va_end(arguments);
}

/* --- partitions --- */

static gboolean walk_partition(GlWalk *walk, const GlDevice *device, GlExtent extent, GlSpot *spot, GError **error) {
        g_auto(GlDevice) whole = {.fd = -1};
        guint64 start, size;
        GlExtent window;
        dev_t parent;

        if (!gl_device_read_number(device, "start", &start) || !gl_device_read_number(device, "size", &size))
                return fail(error, device, "the place of partition");
        if (!gl_device_read_device(device, "../dev", &parent) ||
            !gl_device_open(walk->stacks->sysroot, parent, &whole))
                return fail(error, device, "the disk");
        if (start > G_MAXINT64 / SECTOR || size > G_MAXINT64 / SECTOR) {
                errno = ERANGE;
                return fail(error, device, "the place of partition");
        }
        window = (GlExtent){start * SECTOR, (start + size) * SECTOR};
        say(walk, "%s is part of %s", device->name, whole.name);
        return gl_walk_device(walk, parent, gl_extent_within(window, extent), spot, error);
}

/* --- disks --- */

/* Hexadecimal digits of which not all are 0; targets that have no name say so with zeros. */
static gboolean is_name(const char *digits) {
        return strlen(digits) >= 16 && strlen(digits) <= 32 && strspn(digits, "0123456789abcdef") == strlen(digits) &&
               strspn(digits, "0") < strlen(digits);
}

/* "naa.…" or "eui.…"; other kinds have the vendor's serial number in them, which is nobody's identity. */
static char *normalize(const char *prefix, char *text) {
        g_autofree char *given = text, *digits = NULL;
        const char *at = given;
        GString *plain;

        if (!given)
                return NULL;
        if (!prefix && (g_str_has_prefix(given, "naa.") || g_str_has_prefix(given, "eui.")))
                at += 4;
        else if (!prefix)
                return NULL;
        plain = g_string_new(NULL);
        for (; *at; at++)
                if (*at != '-' && *at != ' ')
                        g_string_append_c(plain, g_ascii_tolower(*at));
        digits = g_string_free(plain, FALSE);
        return is_name(digits) ? g_strdup_printf("%s%s", prefix ?: given[0] == 'n' ? "naa." : "eui.", digits) : NULL;
}

static char *find_name(const GlDevice *device) {
        char *name = NULL;

        if (g_str_has_prefix(device->name, "nvme")) {
                name = normalize(NULL, gl_device_read(device, "wwid"));
                if (!name)
                        name = normalize("eui.", gl_device_read(device, "nguid"));
                if (!name)
                        name = normalize("eui.", gl_device_read(device, "eui"));
        } else {
                name = normalize(NULL, gl_device_read(device, "device/wwid"));
        }
        return name;
}

static void walk_disk(const GlDevice *device, GlExtent extent, GlSpot *spot) {
        g_autofree char *name = find_name(device);
        guint64 sequence = 0;

        spot->extent = extent;
        if (name) {
                spot->node = (GlNode){.kind = GL_NODE_DISK,
                                      .device = gl_allocator_of("disk", name, strlen(name)),
                                      .inode = gl_allocator_of("disk again", name, strlen(name))};
                return;
        }
        (void) gl_device_read_number(device, "diskseq", &sequence);
        spot->node = (GlNode){.kind = GL_NODE_BLOCK, .device = device->number, .inode = sequence};
}

/* --- loop devices --- */

typedef struct {
        dev_t fs_device; /* of the file behind it */
        guint64 inode;
        GlExtent window;
} Loop;

/* What the kernel itself has: the name in sysfs may lead elsewhere by now. */
static gboolean ask_loop(const GlDevice *device, Loop *loop) {
        g_autofree char *node = g_strconcat("/dev/", device->name, NULL);
        int fd = open(node, O_RDONLY | O_NONBLOCK | O_CLOEXEC), r;
        struct loop_info64 info = {};
        struct stat st;

        if (fd < 0)
                return FALSE;
        r = fstat(fd, &st);
        if (r == 0 && (!S_ISBLK(st.st_mode) || st.st_rdev != device->number)) {
                r = -1;
                errno = ESTALE;
        }
        if (r == 0)
                r = ioctl(fd, LOOP_GET_STATUS64, &info);
        int saved_errno = errno;
        close(fd);
        errno = saved_errno;
        if (r < 0)
                return FALSE;
        loop->fs_device = info.lo_device;
        loop->inode = info.lo_inode;
        loop->window = (GlExtent){info.lo_offset, GL_EXTENT_END};
        if (info.lo_sizelimit > 0 && info.lo_sizelimit < GL_EXTENT_END - info.lo_offset)
                loop->window.end = info.lo_offset + info.lo_sizelimit;
        return TRUE;
}

static gboolean read_loop(const GlDevice *device, Loop *loop) {
        guint64 offset, limit;

        if (!gl_device_read_number(device, "loop/offset", &offset) ||
            !gl_device_read_number(device, "loop/sizelimit", &limit))
                return FALSE;
        loop->window = (GlExtent){offset, GL_EXTENT_END};
        if (limit > 0 && limit < GL_EXTENT_END - offset)
                loop->window.end = offset + limit;
        return TRUE;
}

/* The file that BACKING names, if it is the one that is meant; -1 if not. */
static int open_backing(GlWalk *walk, const char *backing, const Loop *loop, GlFacts *facts) {
        g_autofree char *path = g_strconcat(walk->stacks->sysroot ?: "", backing, NULL);
        int fd = open(path, O_PATH | O_CLOEXEC);

        if (fd < 0)
                return -1;
        if (gl_facts_read(fd, facts) < 0 ||
            (!walk->stacks->sysroot && (facts->fs_device != loop->fs_device || facts->inode != loop->inode))) {
                close(fd);
                return -1;
        }
        return fd;
}

/* Otherwise it could let the thread hang that all block devices share. */
static gboolean is_patient(GlWalk *walk, const char *backing) {
        g_autoptr(GPtrArray) mounts = gl_stacks_mounts(walk->stacks);
        const GlMount *mount = mounts ? gl_mounts_find(mounts, backing) : NULL;

        return walk->stacks->sysroot || (mount && gl_storage_is_patient(mount->type));
}

/* FD and FACTS are replaced by those of the file below, if that can be told. */
static void look_below(GlWalk *walk, int *fd, GlFacts *facts) {
        gboolean lower;
        GlFacts real;
        int found = gl_overlay_find(walk->stacks, *fd, facts, &real, &lower);

        if (found < 0) {
                walk->limit = "the file behind its loop device is on an overlay, and the one below cannot be told";
                return;
        }
        close(*fd);
        *fd = found;
        *facts = real;
}

static gboolean walk_loop(GlWalk *walk, const GlDevice *device, const char *backing, GlExtent extent, GlSpot *spot,
                          GError **error) {
        g_autofree char *quoted = gl_quote(backing);
        Loop loop = {};
        GlFacts facts = {.type = S_IFREG};
        int fd;

        if (!is_patient(walk, backing)) {
                walk->limit = "the file behind its loop device is on storage that may not answer, and not looked at";
                walk_disk(device, extent, spot);
                return TRUE;
        }
        if (!(walk->stacks->sysroot ? read_loop(device, &loop) : ask_loop(device, &loop)))
                return fail(error, device, "the file behind loop");
        fd = open_backing(walk, backing, &loop, &facts);
        if (fd < 0 && (walk->stacks->sysroot || major(loop.fs_device) == 0)) {
                errno = ENOENT;
                return fail(error, device, "the file behind loop");
        }
        say(walk, "%s is backed by %s", device->name, quoted);
        extent = gl_extent_within(loop.window, extent);
        if (fd >= 0 && facts.type == S_IFBLK) {
                gboolean done = gl_walk_device(walk, facts.device, extent, spot, error);

                close(fd);
                walk->simple = FALSE;
                return done;
        }
        if (fd >= 0 && facts.magic == OVERLAYFS_SUPER_MAGIC)
                look_below(walk, &fd, &facts);
        if (fd < 0) {
                /* Deleted, or not to be seen from here: device and inode say what it is all the same. */
                facts.fs_device = loop.fs_device;
                facts.node = (GlNode){.kind = GL_NODE_FILE, .device = loop.fs_device, .inode = loop.inode};
        }
        gl_walk_file(walk, &facts, extent, spot);
        if (fd >= 0)
                close(fd);
        walk->simple = FALSE;
        return TRUE;
}

/* --- what is made of devices --- */

static gboolean add_piece(GlWalk *walk, const GlDmPiece *piece, GlSpot *spot, GError **error) {
        g_auto(GlSpot) below = GL_SPOT_INIT;
        gsize said = walk->via->len;
        GlAncestor direct;

        if (!gl_walk_device(walk, piece->number, (GlExtent){piece->start, piece->end}, &below, error))
                return FALSE;
        g_string_truncate(walk->via, said);
        direct = (GlAncestor){below.node, below.extent,
                              piece->handed_out
                                      ? gl_allocator_of("origin", &piece->number, sizeof piece->number)
                                      : gl_allocator_of("node", &spot->node, sizeof spot->node)};
        g_array_append_val(spot->ancestors, direct);
        g_array_append_vals(spot->ancestors, below.ancestors->data, below.ancestors->len);
        if (spot->ancestors->len < MOST_PARTS)
                return TRUE;
        g_set_error(error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE, "its devices have more than %d parts", MOST_PARTS);
        return FALSE;
}

static gboolean walk_composite(GlWalk *walk, const GlDevice *device, const GArray *pieces, GlExtent extent,
                               GlSpot *spot, GError **error) {
        guint64 sequence = 0;

        (void) gl_device_read_number(device, "diskseq", &sequence);
        spot->node = (GlNode){.kind = GL_NODE_BLOCK, .device = device->number, .inode = sequence};
        spot->extent = extent;
        for (guint i = 0; i < pieces->len; i++)
                if (!add_piece(walk, &g_array_index(pieces, GlDmPiece, i), spot, error))
                        return FALSE;
        return TRUE;
}

/* All of each device that sysfs has below it; NULL with ERROR. */
static GArray *find_slaves(const GlDevice *device, GError **error) {
        g_autoptr(GPtrArray) names = gl_device_list(device, "slaves");
        g_autoptr(GArray) pieces = g_array_new(FALSE, TRUE, sizeof(GlDmPiece));

        if (!names) {
                fail(error, device, "what is below it, \"slaves\",");
                return NULL;
        }
        for (guint i = 0; i < names->len; i++) {
                g_autofree char *attribute = g_strdup_printf("slaves/%s/dev", (const char *) names->pdata[i]);
                GlDmPiece piece = {.end = GL_EXTENT_END};

                if (!gl_device_read_device(device, attribute, &piece.number)) {
                        fail(error, device, attribute);
                        return NULL;
                }
                g_array_append_val(pieces, piece);
        }
        return g_steal_pointer(&pieces);
}

/* The paths of a multipath map are one disk, and so is the map, if all have the same name. */
static gboolean walk_paths(GlWalk *walk, const GArray *pieces, GlExtent extent, GlSpot *spot, gboolean *one,
                           GError **error) {
        gsize said = walk->via->len;

        *one = FALSE;
        for (guint i = 0; i < pieces->len; i++) {
                g_auto(GlSpot) path = GL_SPOT_INIT;

                if (!gl_walk_device(walk, g_array_index(pieces, GlDmPiece, i).number, extent, &path, error))
                        return FALSE;
                g_string_truncate(walk->via, said);
                if (i > 0 && !gl_node_equal(&path.node, &spot->node))
                        return TRUE;
                if (i == 0) {
                        spot->node = path.node;
                        spot->extent = path.extent;
                        g_array_append_vals(spot->ancestors, path.ancestors->data, path.ancestors->len);
                }
        }
        *one = pieces->len > 0;
        return TRUE;
}

static gboolean walk_map(GlWalk *walk, const GlDevice *device, GlExtent extent, GlSpot *spot, GError **error) {
        g_autofree char *uuid = gl_device_read(device, "dm/uuid"), *text = NULL;
        g_autoptr(GArray) slaves = NULL;
        g_autoptr(GlDmTable) table = NULL;
        gboolean one;

        if (!uuid)
                return fail(error, device, "dm/uuid");
        if (g_str_has_prefix(uuid, "mpath-")) {
                slaves = find_slaves(device, error);
                if (!slaves || !walk_paths(walk, slaves, extent, spot, &one, error))
                        return FALSE;
                g_array_set_size(spot->ancestors, one ? spot->ancestors->len : 0);
                return one || walk_composite(walk, device, slaves, extent, spot, error);
        }
        text = gl_dm_table_read(walk->stacks->sysroot, device->number);
        table = text ? gl_dm_table_parse(text) : NULL;
        if (table && table->window) {
                const GlDmPiece *piece = &g_array_index(table->pieces, GlDmPiece, 0);

                say(walk, "%s is a map of part of %u:%u", device->name, major(piece->number), minor(piece->number));
                return gl_walk_device(walk, piece->number,
                                      gl_extent_within((GlExtent){piece->start, piece->end}, extent), spot, error);
        }
        if (table)
                return walk_composite(walk, device, table->pieces, extent, spot, error);
        slaves = find_slaves(device, error);
        return slaves && walk_composite(walk, device, slaves, extent, spot, error);
}

/* --- each of them --- */

static gboolean walk_opened(GlWalk *walk, const GlDevice *device, GlExtent extent, GlSpot *spot, GError **error) {
        g_autofree char *backing = NULL;
        g_autoptr(GArray) slaves = NULL;
        guint64 partition;

        walk->simple = FALSE;
        if (gl_device_read_number(device, "partition", &partition))
                return walk_partition(walk, device, extent, spot, error);
        if (errno != ENOENT)
                return fail(error, device, "\"partition\"");
        if (g_str_has_prefix(device->name, "dm-")) {
                gboolean done = walk_map(walk, device, extent, spot, error);

                walk->simple = FALSE;
                return done;
        }
        if (g_str_has_prefix(device->name, "loop")) {
                backing = gl_device_read(device, "loop/backing_file");
                if (backing)
                        return walk_loop(walk, device, backing, extent, spot, error);
                if (errno != ENOENT)
                        return fail(error, device, "the file behind loop");
        }
        slaves = find_slaves(device, error);
        if (!slaves)
                return FALSE;
        if (slaves->len > 0) {
                gboolean done = walk_composite(walk, device, slaves, extent, spot, error);

                walk->simple = FALSE;
                return done;
        }
        walk->simple = !g_str_has_prefix(device->name, "loop") && !g_str_has_prefix(device->name, "md");
        walk_disk(device, extent, spot);
        return TRUE;
}

gboolean gl_walk_device(GlWalk *walk, dev_t number, GlExtent extent, GlSpot *spot, GError **error) {
        g_auto(GlDevice) device = {.fd = -1};
        GlWindow window;

        if (walk->depth >= DEEPEST) {
                g_set_error(error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE, "its devices are stacked more than %d deep",
                            DEEPEST);
                return FALSE;
        }
        if (gl_stacks_recall(walk->stacks, number, &window, &walk->seqnum) && walk->terse) {
                spot->node = window.node;
                spot->extent = gl_extent_within(window.extent, extent);
                walk->simple = TRUE;
                return TRUE;
        }
        if (!gl_device_open(walk->stacks->sysroot, number, &device)) {
                g_set_error(error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE,
                            "block device %u:%u cannot be found in /sys: %s", major(number), minor(number),
                            g_strerror(errno));
                return FALSE;
        }
        walk->depth++;
        if (!walk_opened(walk, &device, extent, spot, error))
                return FALSE;
        walk->depth--;
        if (walk->simple && extent.start == 0 && extent.end == GL_EXTENT_END) {
                window = (GlWindow){.node = spot->node, .extent = spot->extent};
                gl_stacks_remember(walk->stacks, number, &window, walk->seqnum);
        }
        return TRUE;
}
