/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage/stack-private.h"

#include <string.h>
#include <sys/stat.h>

/*
 * Files on btrfs have an anonymous device number, and the file system may be on several devices. A mount of it names
 * one (the kernel does, not whoever mounted it), and sysfs has all devices of the file system that this one is in.
 */

static GArray *list_devices(const char *directory) {
        g_autoptr(GArray) devices = g_array_new(FALSE, FALSE, sizeof(dev_t));
        g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
        const char *name;

        while (dir && (name = g_dir_read_name(dir))) {
                g_autofree char *path = g_build_filename(directory, name, "dev", NULL), *text = NULL;
                dev_t device;

                if (!g_file_get_contents(path, &text, NULL, NULL) || !gl_device_parse(g_strchomp(text), &device))
                        return NULL;
                g_array_append_val(devices, device);
        }
        return devices->len > 0 ? g_steal_pointer(&devices) : NULL;
}

GArray *gl_btrfs_devices(GlStacks *stacks, const char *source, guint64 *allocator) {
        g_autofree char *base = g_build_filename(stacks->sysroot ?: "/", "sys/fs/btrfs", NULL);
        g_autofree char *node = g_strconcat(stacks->sysroot ?: "", source, NULL);
        g_auto(GlDevice) device = {.fd = -1};
        g_autoptr(GDir) dir = NULL;
        const char *uuid;
        struct stat st;

        if (!g_str_has_prefix(source, "/dev/") || stat(node, &st) < 0 || !S_ISBLK(st.st_mode) ||
            !gl_device_open(stacks->sysroot, st.st_rdev, &device))
                return NULL;
        dir = g_dir_open(base, 0, NULL);
        while (dir && (uuid = g_dir_read_name(dir))) {
                g_autofree char *devices = g_build_filename(base, uuid, "devices", NULL);
                g_autofree char *member = g_build_filename(devices, device.name, NULL);

                if (g_file_test(member, G_FILE_TEST_EXISTS)) {
                        *allocator = gl_allocator_of("btrfs", uuid, strlen(uuid));
                        return list_devices(devices);
                }
        }
        return NULL;
}
