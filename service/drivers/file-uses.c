/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "drivers/file-obstacles.h"
#include "storage/mounts.h"

/*
 * What the host itself does with a block device or an image: nobody tells who has claimed a device, but most of those
 * who do show in /proc or /sys.
 */

/* --- one device --- */

static void add_words(GPtrArray *obstacles, char *via) {
        GlObstacle *obstacle = gl_obstacle_new();

        obstacle->via = via;
        g_ptr_array_add(obstacles, obstacle);
}

static void add_mounts(GPtrArray *obstacles, const char *who, const char *device, const char *sysroot) {
        g_autofree char *path = g_build_filename(sysroot ?: "/", "proc/self/mountinfo", NULL);
        g_autofree char *text = NULL;
        g_autoptr(GPtrArray) mounts = NULL;

        if (!g_file_get_contents(path, &text, NULL, NULL))
                return;

        mounts = gl_mounts_parse(text);
        for (guint i = 0; i < mounts->len; i++) {
                const GlMount *mount = mounts->pdata[i];

                if (g_str_equal(mount->device, device)) {
                        g_autofree char *quoted = gl_quote(mount->point);

                        add_words(obstacles, g_strdup_printf("%s is mounted on %s", who, quoted));
                }
        }
}

static void add_stacked_devices(GPtrArray *obstacles, const char *who, const char *device, const char *sysroot) {
        g_autofree char *path = g_build_filename(sysroot ?: "/", "sys/dev/block", device, "holders", NULL);
        g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
        const char *name;

        while (dir && (name = g_dir_read_name(dir)))
                add_words(obstacles, g_strdup_printf("the device %s is made of %s", name, who));
}

static void add_swap(GPtrArray *obstacles, const char *who, dev_t device, const char *sysroot) {
        g_autofree char *path = g_build_filename(sysroot ?: "/", "proc/swaps", NULL);
        g_autofree char *text = NULL;
        g_auto(GStrv) lines = NULL;

        if (!g_file_get_contents(path, &text, NULL, NULL))
                return;

        lines = g_strsplit(text, "\n", -1);
        for (guint i = 0; lines[i]; i++) {
                char *end = strpbrk(lines[i], " \t");
                struct stat st;

                /* Only what is under /dev: a swap file may be on storage that hangs. */
                if (!end || !g_str_has_prefix(lines[i], "/dev/"))
                        continue;
                *end = '\0';
                if (stat(lines[i], &st) == 0 && S_ISBLK(st.st_mode) && st.st_rdev == device)
                        add_words(obstacles, g_strdup_printf("the host swaps to %s", who));
        }
}

static void add_uses(GPtrArray *obstacles, const char *who, dev_t device, const char *sysroot) {
        g_autofree char *number = g_strdup_printf("%u:%u", major(device), minor(device));

        add_mounts(obstacles, who, number, sysroot);
        add_stacked_devices(obstacles, who, number, sysroot);
        add_swap(obstacles, who, device, sysroot);
}

static gboolean read_device(const char *directory, const char *name, dev_t *device) {
        g_autofree char *path = g_build_filename(directory, name, "dev", NULL), *text = NULL;
        unsigned int first, second;

        if (!g_file_get_contents(path, &text, NULL, NULL) || sscanf(text, "%u:%u", &first, &second) != 2)
                return FALSE;
        *device = makedev(first, second);
        return TRUE;
}

/* The directory of a disk has one for each of its partitions. */
static void add_uses_of_partitions(GPtrArray *obstacles, dev_t device, const char *sysroot) {
        g_autofree char *number = g_strdup_printf("%u:%u", major(device), minor(device));
        g_autofree char *path = g_build_filename(sysroot ?: "/", "sys/dev/block", number, NULL);
        g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
        const char *name;

        while (dir && (name = g_dir_read_name(dir))) {
                g_autofree char *mark = g_build_filename(path, name, "partition", NULL);
                g_autofree char *who = g_strdup_printf("its partition %s", name);
                dev_t partition;

                if (g_file_test(mark, G_FILE_TEST_EXISTS) && read_device(path, name, &partition))
                        add_uses(obstacles, who, partition, sysroot);
        }
}

void gl_file_obstacles_add_uses(GPtrArray *obstacles, dev_t device, const char *sysroot) {
        add_uses(obstacles, "it", device, sysroot);
        add_uses_of_partitions(obstacles, device, sysroot);
}

void gl_file_obstacles_add_claim(GPtrArray *obstacles, dev_t device, const char *sysroot) {
        guint n_before = obstacles->len;

        gl_file_obstacles_add_uses(obstacles, device, sysroot);
        if (obstacles->len == n_before)
                add_words(obstacles, g_strdup("the device, or a partition of it, is claimed by a mount or a program"));
}

/* --- loop devices --- */

/* The kernel's own words for where it is, which are compared and never walked. */
static gboolean is_backed_by(const char *directory, const char *path) {
        g_autofree char *attribute = g_build_filename(directory, "loop", "backing_file", NULL);
        g_autofree char *text = NULL;
        gsize length;

        if (!g_file_get_contents(attribute, &text, &length, NULL))
                return FALSE;
        if (length > 0 && text[length - 1] == '\n')
                text[length - 1] = '\0';
        return g_str_equal(text, path);
}

void gl_file_obstacles_add_loops(GPtrArray *obstacles, const char *path, const char *sysroot) {
        g_autofree char *block = g_build_filename(sysroot ?: "/", "sys/block", NULL);
        g_autoptr(GDir) dir = g_dir_open(block, 0, NULL);
        const char *name;

        while (dir && (name = g_dir_read_name(dir))) {
                g_autofree char *directory = g_build_filename(block, name, NULL);
                dev_t device;

                if (!g_str_has_prefix(name, "loop") || !is_backed_by(directory, path))
                        continue;
                add_words(obstacles, g_strdup_printf("%s is backed by it", name));
                if (read_device(block, name, &device))
                        add_uses(obstacles, name, device, sysroot);
        }
}
