/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "qemu-nodes-private.h"

/*
 * Who uses a node, and how, comes down from the devices. That follows what QEMU locks (bdrv_default_perms() in its
 * block.c): a filter passes it on; a format that is not read-only writes to its file in any case, since it may change
 * its own tables, and tolerates no other writer there; nobody writes to what is only somebody's backing file, unless a
 * format node that forgot to be read-only is that backing file.
 */

/* What an image is, as the nodes above its file say. */
typedef struct {
        const char *format; /* (nullable) (borrowed) */
        gboolean has_backing, has_data_file;
        gboolean is_said; /* a format is above it, also one that QEMU has to find out */
} Image;

/* Formats of which one file is all. */
static const char *const single_file_formats[] = {"raw", "luks", "vpc", "vdi", "vhdx", "bochs", "cloop", "dmg", NULL};

void gl_found_disk_free(GlFoundDisk *disk) {
        if (!disk)
                return;
        g_free(disk->path);
        g_free(disk->source);
        g_free(disk->format);
        g_free(disk);
}

void gl_found_disks_add(GPtrArray *disks, GlFoundDisk *disk) {
        for (guint i = 0; i < disks->len; i++) {
                GlFoundDisk *other = disks->pdata[i];

                if (strcmp(other->path, disk->path) != 0)
                        continue;
                /* The stronger mode is the smaller one. */
                other->mode = MIN(other->mode, disk->mode);
                other->is_snapshot = other->is_snapshot && disk->is_snapshot;
                other->has_backing = other->has_backing || disk->has_backing;
                other->has_data_file = other->has_data_file || disk->has_data_file;
                gl_found_disk_free(disk);
                return;
        }
        g_ptr_array_add(disks, disk);
}

static void find_file(GlQemuNodes *nodes, GlQemuNode *node, GlQemuUse use, const Image *image, GPtrArray *disks) {
        static const GuestlockMode modes[] = {
                [GL_QEMU_USE_NONE] = GUESTLOCK_MODE_READONLY,
                [GL_QEMU_USE_READ] = GUESTLOCK_MODE_READONLY,
                [GL_QEMU_USE_SHARE] = GUESTLOCK_MODE_SHARED,
                [GL_QEMU_USE_WRITE] = GUESTLOCK_MODE_EXCLUSIVE,
        };
        GlFoundDisk *disk = g_new(GlFoundDisk, 1);

        *disk = (GlFoundDisk){
                .path = g_strdup(node->path),
                .source = g_strdup(node->source),
                .format = g_strdup(image->format),
                .mode = modes[use],
                .has_backing = image->has_backing,
                .has_data_file = image->has_data_file,
                .is_snapshot = node->is_snapshot && use <= GL_QEMU_USE_READ,
        };
        gl_found_disks_add(disks, disk);
}

/* What is below it is what it is. `raw` is not quite so: it says that below is no format. */
static gboolean is_transparent(const GlQemuNode *node) {
        return gl_qemu_node_is_filter(node) && !g_strv_contains(single_file_formats, node->driver);
}

/* What the file below the node is, if it is nothing but that. */
static Image image_below(GlQemuNodes *nodes, const GlQemuNode *node, const Image *above) {
        gboolean has_layers;

        if (node->is_window && above->has_backing)
                gl_qemu_nodes_remark(nodes, "%s: an image in a part of a file; name with --disk what lies below it.",
                                     node->source);
        if (node->is_window)
                return (Image){.format = "raw", .is_said = TRUE};
        if (above->is_said || is_transparent(node))
                return *above;
        has_layers = !node->driver || !g_strv_contains(single_file_formats, node->driver);
        return (Image){
                .format = node->driver,
                .has_backing = has_layers && !node->backing_given,
                .has_data_file = has_layers && !node->data_given,
                .is_said = TRUE,
        };
}

/* How a node that is used so uses what is below it. */
static GlQemuUse use_below(GlQemuNodes *nodes, const GlQemuNode *node, Role role, GlQemuUse use) {
        if (role == ROLE_BACKING || use == GL_QEMU_USE_NONE || node->read_only)
                return GL_QEMU_USE_READ;
        if (role == ROLE_DATA || gl_qemu_node_is_filter(node))
                return use;
        if (use == GL_QEMU_USE_SHARE && node->used < GL_QEMU_USE_SHARE)
                gl_qemu_nodes_remark(nodes, "%s: share-rw=on has no effect on images that are not raw%s.", node->source,
                                     node->driver ? "" : ", and no format is given");
        return GL_QEMU_USE_WRITE;
}

static void walk(GlQemuNodes *nodes, GlQemuNode *node, GlQemuUse use, const Image *above, GPtrArray *disks) {
        Image image;

        if (node->read_only && use > GL_QEMU_USE_READ)
                use = GL_QEMU_USE_READ;
        /* Also what keeps a graph whose branches meet again from being walked along each of them. */
        if (node->used >= use)
                return;
        if (node->path)
                find_file(nodes, node, use, above, disks);
        if (node->children->len > 0)
                image = image_below(nodes, node, above);
        for (guint i = 0; i < node->children->len; i++) {
                const Child *child = &g_array_index(node->children, Child, i);
                const Image unknown = {.is_said = child->role == ROLE_DATA};

                walk(nodes, child->node, use_below(nodes, node, child->role, use),
                     child->role == ROLE_FILE ? &image : &unknown, disks);
        }
        node->used = use;
}

void gl_qemu_nodes_use(GlQemuNodes *nodes, GlQemuNode *node, GlQemuUse use, GPtrArray *disks) {
        const Image nothing = {0};

        if (node->is_snapshot) {
                for (guint i = 0; i < node->children->len; i++)
                        g_array_index(node->children, Child, i).node->is_snapshot = TRUE;
        }
        walk(nodes, node, use, &nothing, disks);
}
