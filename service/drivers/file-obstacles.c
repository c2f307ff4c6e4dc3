/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drivers/file-obstacles.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "drivers/holders.h"
#include "storage/mounts.h"

/*
 * The kernel says that a lock or a claim is refused, and hardly ever who has it. Which bytes a process
 * holds tells what it is: QEMU, virtlockd and guestlock each have theirs.
 */

/* --- locks --- */

static gboolean is_qemu_byte(guint64 byte) {
        return GL_BYTE_QEMU_FIRST <= byte && byte <= GL_BYTE_QEMU_LAST;
}

static gboolean has_whole_file(const GlHolder *holder) {
        return gl_holder_has_lock(holder, GL_BYTE_OWNER, FALSE) &&
               gl_holder_has_lock(holder, GL_BYTE_QEMU_LAST + 1, FALSE) &&
               gl_holder_has_lock(holder, GL_BYTE_NEXT, FALSE);
}

static gboolean has_host_byte(const GlHolder *holder, guint64 *number) {
        for (guint i = 0; i < holder->locks->len; i++) {
                const GlHeldRange *range = &g_array_index(holder->locks, GlHeldRange, i);

                if (range->first == range->last && range->first >= GL_BYTE_HOST &&
                    range->first <= GL_BYTE_HOST + G_MAXUINT32) {
                        *number = range->first - GL_BYTE_HOST;
                        return TRUE;
                }
        }
        return FALSE;
}

static gboolean is_in_the_way(const GlHolder *holder, const GlLockConflict *conflict) {
        if (holder->pid == (guint32) getpid())
                return FALSE;
        return gl_holder_has_lock(holder, conflict->byte, !conflict->for_writing);
}

/* What the bytes that it holds say about how it uses the image. */
static gboolean find_mode(const GlHolder *holder, const GlLockLayout *layout, guint64 byte, GlMode *mode) {
        gboolean writes = gl_holder_has_lock(holder, GL_BYTE_QEMU_WRITES, FALSE);
        gboolean no_writer = gl_holder_has_lock(holder, GL_BYTE_QEMU_NO_WRITER, FALSE);

        if (is_qemu_byte(byte) && writes)
                *mode = no_writer ? GL_MODE_EXCLUSIVE : GL_MODE_SHARED;
        else if (is_qemu_byte(byte) && no_writer)
                *mode = GL_MODE_READONLY;
        else if (gl_holder_has_lock(holder, layout->owner, TRUE))
                *mode = GL_MODE_EXCLUSIVE;
        else if (layout->disk && gl_holder_has_lock(holder, GL_BYTE_WRITER, FALSE))
                *mode = GL_MODE_SHARED;
        else if (layout->disk && gl_holder_has_lock(holder, GL_BYTE_READER, FALSE))
                *mode = GL_MODE_READONLY;
        else
                return FALSE;
        return TRUE;
}

static char *describe_holder(const GlHolder *holder, const GlLockLayout *layout, guint64 byte) {
        guint64 number;

        if (has_whole_file(holder))
                return g_strdup("it has locked the whole file");
        if (is_qemu_byte(byte))
                return g_strdup(gl_holder_has_lock(holder, GL_BYTE_QEMU_WRITES, FALSE)
                                        ? "a running QEMU has the image open for writing"
                                        : "a running QEMU has the image open and lets nobody write");
        if (!layout->disk)
                return g_strdup_printf("it has locked byte %" G_GUINT64_FORMAT " of the lease file", layout->owner);
        if (has_host_byte(holder, &number))
                return g_strdup_printf("a lease of guestlock host number %" G_GUINT64_FORMAT, number);
        if (g_strcmp0(holder->command, "virtlockd") == 0)
                return g_strdup("virtlockd has locked byte 0");
        if (byte == GL_BYTE_OWNER)
                return g_strdup("it has locked byte 0, as virtlockd does");
        return g_strdup("another guestlock is about to take it");
}

/* Nobody whom we can see: another host of shared storage, perhaps, and then its host byte says which one. */
static char *describe_unknown(int fd, const GlLockLayout *layout, const GlLockConflict *conflict) {
        guint64 own = GL_BYTE_HOST + layout->host_number, last = GL_BYTE_HOST + G_MAXUINT32, byte = 0;

        if (is_qemu_byte(conflict->byte))
                return g_strdup("a QEMU that cannot be seen from here has the image open");
        if (!layout->disk)
                return g_strdup_printf("byte %" G_GUINT64_FORMAT
                                       " of the lease file is locked by a process that cannot be seen from here",
                                       conflict->byte);
        if ((own > GL_BYTE_HOST && gl_locks_look_at_range(fd, GL_BYTE_HOST, own - 1, &byte) == -EAGAIN) ||
            (own < last && gl_locks_look_at_range(fd, own + 1, last, &byte) == -EAGAIN))
                return g_strdup_printf("a lease of guestlock host number %" G_GUINT64_FORMAT, byte - GL_BYTE_HOST);
        return g_strdup_printf("byte %" G_GUINT64_FORMAT " is locked by a process that cannot be seen from here",
                               conflict->byte);
}

void gl_file_obstacles_add_lock(GPtrArray *obstacles, int fd, const GlLockLayout *layout,
                                const GlLockConflict *conflict) {
        g_autoptr(GPtrArray) holders = gl_holders_find(fd);
        guint n_before = obstacles->len;
        GlObstacle *obstacle;

        for (guint i = 0; i < holders->len; i++) {
                GlHolder *holder = g_ptr_array_index(holders, i);

                if (!is_in_the_way(holder, conflict))
                        continue;
                obstacle = gl_obstacle_new();
                obstacle->pid = holder->pid;
                obstacle->has_mode = find_mode(holder, layout, conflict->byte, &obstacle->mode);
                obstacle->via = describe_holder(holder, layout, conflict->byte);
                obstacle->command = g_steal_pointer(&holder->command);
                g_ptr_array_add(obstacles, obstacle);
        }
        if (obstacles->len > n_before)
                return;

        obstacle = gl_obstacle_new();
        obstacle->pid = conflict->pid;
        obstacle->command = conflict->pid ? gl_command_of_pid(conflict->pid) : NULL;
        obstacle->via = describe_unknown(fd, layout, conflict);
        g_ptr_array_add(obstacles, obstacle);
}

/* --- claims --- */

static void add_words(GPtrArray *obstacles, char *via) {
        GlObstacle *obstacle = gl_obstacle_new();

        obstacle->via = via;
        g_ptr_array_add(obstacles, obstacle);
}

static void add_mounts(GPtrArray *obstacles, const char *device, const char *sysroot) {
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

                        add_words(obstacles, g_strdup_printf("it is mounted on %s", quoted));
                }
        }
}

static void add_stacked_devices(GPtrArray *obstacles, const char *device, const char *sysroot) {
        g_autofree char *path = g_build_filename(sysroot ?: "/", "sys/dev/block", device, "holders", NULL);
        g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
        const char *name;

        while (dir && (name = g_dir_read_name(dir)))
                add_words(obstacles, g_strdup_printf("the device %s is made of it", name));
}

static void add_swap(GPtrArray *obstacles, dev_t device, const char *sysroot) {
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
                        add_words(obstacles, g_strdup("the host swaps to it"));
        }
}

void gl_file_obstacles_add_claim(GPtrArray *obstacles, dev_t device, const char *sysroot) {
        g_autofree char *number = g_strdup_printf("%u:%u", major(device), minor(device));
        guint n_before = obstacles->len;

        add_mounts(obstacles, number, sysroot);
        add_stacked_devices(obstacles, number, sysroot);
        add_swap(obstacles, device, sysroot);
        if (obstacles->len == n_before)
                add_words(obstacles, g_strdup("the device, or a partition of it, is claimed by a mount or a program"));
}
