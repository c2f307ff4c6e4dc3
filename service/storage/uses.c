/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage/stack-private.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "core/obstacle.h"

/*
 * What the host itself does with its devices: what is mounted here, what it swaps to, what has been made of a device.
 * Each of these is placed as anything else is, so that the file behind a loop device that is mounted is known to be in
 * use, and the disk under a volume.
 *
 * Mounts of other mount namespaces do not show; the claim of an exclusive lease meets them.
 */

typedef struct {
        GlStacks *stacks;
        const GlPlace *asked;
        dev_t self;
        guint64 seqnum;   /* of the devices, see GlWalk */
        GHashTable *seen; /* of device number → whether it is what was asked for */
        GPtrArray *uses;
} Search;

/* Whether what is at DEVICE is what was asked for. What cannot be placed is only known by its number. */
static gboolean is_asked(Search *search, dev_t device) {
        gpointer known, key = GUINT_TO_POINTER((guint) device);
        g_autoptr(GString) via = NULL;
        g_auto(GlSpot) spot = {.ancestors = NULL};
        GlWalk walk;
        gboolean is;

        if (g_hash_table_lookup_extended(search->seen, key, NULL, &known))
                return GPOINTER_TO_INT(known);
        via = g_string_new(NULL);
        walk = (GlWalk){.stacks = search->stacks, .via = via, .terse = TRUE, .seqnum = search->seqnum};
        spot.ancestors = g_array_new(FALSE, TRUE, sizeof(GlAncestor));
        is = device == search->self;
        if (!is && gl_walk_device(&walk, device, (GlExtent){0, GL_EXTENT_END}, &spot, NULL)) {
                g_autoptr(GlPlace) used = gl_walk_to_place(&walk, &spot);

                is = gl_place_is_used(search->asked, used);
        }
        search->seqnum = walk.seqnum;
        g_hash_table_insert(search->seen, key, GINT_TO_POINTER(is));
        return is;
}

static void add_use(Search *search, dev_t device, const char *what) {
        g_auto(GlDevice) found = {.fd = -1};

        if (device == search->self || !gl_device_open(search->stacks->sysroot, device, &found))
                g_ptr_array_add(search->uses, g_strdup_printf("it is %s", what));
        else
                g_ptr_array_add(search->uses,
                                g_strdup_printf("the device %s, which shares storage with it, is %s", found.name, what));
}

/* --- mounts and swap --- */

static void look_at_mount(Search *search, const GlMount *mount) {
        g_autofree char *quoted = NULL, *what = NULL;
        g_autoptr(GArray) devices = NULL;
        guint64 allocator;

        if (major(mount->number) != 0) {
                devices = g_array_new(FALSE, FALSE, sizeof(dev_t));
                g_array_append_val(devices, mount->number);
        } else if (g_str_equal(mount->type, "btrfs")) {
                devices = gl_btrfs_devices(search->stacks, mount->source, &allocator);
        }
        for (guint i = 0; devices && i < devices->len; i++) {
                dev_t device = g_array_index(devices, dev_t, i);

                if (!is_asked(search, device))
                        continue;
                quoted = gl_quote(mount->point);
                what = g_strdup_printf("mounted on %s", quoted);
                add_use(search, device, what);
                return;
        }
}

static void look_at_mounts(Search *search) {
        g_autoptr(GPtrArray) mounts = gl_stacks_mounts(search->stacks);

        for (guint i = 0; mounts && i < mounts->len; i++)
                look_at_mount(search, mounts->pdata[i]);
}

/* Only what is under /dev: a swap file may be on storage that hangs. */
static void look_at_swap(Search *search) {
        g_autofree char *path = g_build_filename(search->stacks->sysroot ?: "/", "proc/swaps", NULL);
        g_autofree char *text = NULL;
        g_auto(GStrv) lines = NULL;

        if (!g_file_get_contents(path, &text, NULL, NULL))
                return;
        lines = g_strsplit(text, "\n", -1);
        for (guint i = 0; lines[i]; i++) {
                g_autofree char *node = NULL;
                struct stat st;

                lines[i][strcspn(lines[i], " \t")] = '\0';
                if (!g_str_has_prefix(lines[i], "/dev/"))
                        continue;
                node = g_strconcat(search->stacks->sysroot ?: "", lines[i], NULL);
                if (stat(node, &st) == 0 && S_ISBLK(st.st_mode) && is_asked(search, st.st_rdev))
                        add_use(search, st.st_rdev, "swapped to by the host");
        }
}

/* --- what is made of it --- */

/* A multipath map and its partitions are the disk itself, for whoever uses them. */
static gboolean is_the_same(const GlDevice *device, const char *holder) {
        g_autofree char *attribute = g_strdup_printf("holders/%s/dm/uuid", holder);
        g_autofree char *uuid = gl_device_read(device, attribute);

        return uuid && (g_str_has_prefix(uuid, "mpath-") || g_str_has_prefix(uuid, "part"));
}

static void look_at_holders(Search *search, const GlDevice *device) {
        g_autoptr(GPtrArray) holders = gl_device_list(device, "holders");

        for (guint i = 0; holders && i < holders->len; i++) {
                const char *name = holders->pdata[i];

                if (is_the_same(device, name))
                        continue;
                if (device->number == search->self)
                        g_ptr_array_add(search->uses, g_strdup_printf("the device %s is made of it", name));
                else
                        g_ptr_array_add(search->uses,
                                        g_strdup_printf("the device %s is made of %s", name, device->name));
        }
}

static void look_at_relative(Search *search, const GlDevice *device, const char *attribute) {
        g_auto(GlDevice) relative = {.fd = -1};
        dev_t number;

        if (gl_device_read_device(device, attribute, &number) &&
            gl_device_open(search->stacks->sysroot, number, &relative))
                look_at_holders(search, &relative);
}

/* The device, the disk that it is part of, and its own partitions. */
static void look_at_family(Search *search) {
        g_auto(GlDevice) device = {.fd = -1};
        g_autoptr(GPtrArray) names = NULL;
        guint64 number;

        if (!gl_device_open(search->stacks->sysroot, search->self, &device))
                return;
        look_at_holders(search, &device);
        if (gl_device_read_number(&device, "partition", &number)) {
                look_at_relative(search, &device, "../dev");
                return;
        }
        names = gl_device_list(&device, ".");
        for (guint i = 0; names && i < names->len; i++) {
                g_autofree char *attribute = g_strdup_printf("%s/dev", (const char *) names->pdata[i]);

                if (g_str_has_prefix(names->pdata[i], device.name))
                        look_at_relative(search, &device, attribute);
        }
}

GPtrArray *gl_stacks_find_uses(GlStacks *stacks, const GlPlace *place, dev_t self) {
        g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);
        Search search = {.stacks = stacks, .asked = place, .self = self, .seen = seen,
                         .uses = g_ptr_array_new_with_free_func(g_free)};

        look_at_mounts(&search);
        if (self != 0) {
                look_at_swap(&search);
                look_at_family(&search);
        }
        return search.uses;
}
