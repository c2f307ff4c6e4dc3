/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drivers/holders.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/*
 * /proc/<pid>/fdinfo/<n> has the inode number, the flags and a `lock:` line for each lock of that very description.
 * Reading it touches no file system, unlike stat() of /proc/<pid>/fd/<n>, which hangs with a mount that hangs: a FUSE
 * file system of a user's, where he gives a file any inode number he likes. So the number is taken from there, and
 * only the device asked for, which the kernel knows by itself.
 *
 * A user decides how many locks he has, and his others must not hide the one that is in the way.
 *
 * Processes come and go meanwhile: what cannot be read is not there.
 */

#define COMMAND_MAX 64

void gl_holder_free(gpointer data) {
        GlHolder *holder = data;

        g_free(holder->command);
        g_array_unref(holder->locks);
        g_free(holder);
}

/* What a process calls itself goes into sentences, logs and messages: not everything that is UTF-8 may. */
static char *make_printable(const char *name) {
        g_autofree char *valid = g_utf8_make_valid(name, (gssize) strnlen(name, COMMAND_MAX));
        GString *printable = g_string_new(NULL);

        for (const char *at = valid; *at; at = g_utf8_next_char(at)) {
                gunichar c = g_utf8_get_char(at);

                g_string_append_unichar(printable, g_unichar_isprint(c) ? c : 0xfffd);
        }
        return g_string_free(printable, FALSE);
}

char *gl_command_of_pid(guint32 pid) {
        g_autofree char *path = g_strdup_printf("/proc/%u/cmdline", pid);
        g_autofree char *comm_path = g_strdup_printf("/proc/%u/comm", pid);
        g_autofree char *command = NULL;
        const char *slash, *name;

        /* Kernel threads and zombies have no command line; the name that the kernel keeps is cut to 15 bytes. */
        if (!g_file_get_contents(path, &command, NULL, NULL) || command[0] == '\0') {
                g_clear_pointer(&command, g_free);
                if (!g_file_get_contents(comm_path, &command, NULL, NULL))
                        return NULL;
                g_strchomp(command);
        }

        slash = strrchr(command, '/');
        name = slash && slash[1] ? slash + 1 : command;
        return make_printable(name);
}

guint32 gl_parent_of_pid(guint32 pid) {
        g_autofree char *path = g_strdup_printf("/proc/%u/stat", pid);
        g_autofree char *text = NULL;
        const char *after;

        /* What it calls itself stands in parentheses, and may have any in it. */
        if (!g_file_get_contents(path, &text, NULL, NULL) || !(after = strrchr(text, ')')) || strlen(after) < 5)
                return 0;
        return (guint32) strtoul(after + 4, NULL, 10);
}

static gboolean parse_byte(const char *text, guint64 *byte) {
        return g_ascii_string_to_unsigned(text, 10, 0, G_MAXUINT64, byte, NULL);
}

/* `lock: 1: OFDLCK  ADVISORY  WRITE -1 fe:00:10952822 0 EOF` */
static void parse_lock(const char *line, GArray *locks) {
        g_auto(GStrv) words = g_strsplit_set(line, " \t", -1);
        const char *field[8] = {0};
        GlHeldRange range = {.last = G_MAXUINT64};
        guint n = 0;

        for (guint i = 0; words[i] && n < G_N_ELEMENTS(field); i++)
                if (words[i][0] != '\0')
                        field[n++] = words[i];
        if (n < G_N_ELEMENTS(field) || !(g_str_equal(field[1], "OFDLCK") || g_str_equal(field[1], "POSIX")) ||
            !parse_byte(field[6], &range.first) ||
            (!g_str_equal(field[7], "EOF") && !parse_byte(field[7], &range.last)) || range.first > range.last)
                return;

        range.write = g_str_equal(field[3], "WRITE");
        g_array_append_val(locks, range);
}

/* One line; FALSE for a description that can do no I/O. */
static gboolean parse_line(const char *line, GArray *locks) {
        if (g_str_has_prefix(line, "flags:") && strtoull(line + strlen("flags:"), NULL, 8) & O_PATH)
                return FALSE;
        if (g_str_has_prefix(line, "lock:"))
                parse_lock(line + strlen("lock:"), locks);
        return TRUE;
}

gboolean gl_fdinfo_parse(const char *text, GArray *locks) {
        g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

        for (guint i = 0; lines[i]; i++)
                if (!parse_line(lines[i], locks))
                        return FALSE;
        return TRUE;
}

/* The locks of one description, however many; FALSE for one that can do no I/O. */
static gboolean read_locks(const char *pid, const char *number, GArray *locks) {
        g_autofree char *path = g_strdup_printf("/proc/%s/fdinfo/%s", pid, number);
        FILE *file = fopen(path, "re");
        gboolean does_io = TRUE;
        char *line = NULL;
        size_t size = 0;

        if (!file)
                return FALSE;
        while (does_io && getline(&line, &size, file) > 0)
                does_io = parse_line(g_strchomp(line), locks);
        free(line);
        fclose(file);
        return does_io;
}

static gboolean is_on_device(const char *pid, const char *number, dev_t device) {
        g_autofree char *path = g_strdup_printf("/proc/%s/fd/%s", pid, number);
        struct statx st;

        return statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, 0, &st) == 0 &&
               makedev(st.stx_dev_major, st.stx_dev_minor) == device;
}

/* Its beginning, in one go and without an allocation: this is done for every descriptor there is. */
static gboolean read_fdinfo(const char *pid, const char *number, char *buffer, gsize size) {
        char path[64];
        ssize_t n;
        int fd;

        g_snprintf(path, sizeof path, "/proc/%s/fdinfo/%s", pid, number);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return FALSE;
        n = read(fd, buffer, size - 1);
        close(fd);
        if (n <= 0)
                return FALSE;

        buffer[n] = '\0';
        return TRUE;
}

/* (nullable) */
static GlHolder *look_at_process(const char *pid, const struct stat *file, int except_fd) {
        g_autofree char *path = g_strdup_printf("/proc/%s/fdinfo", pid);
        g_autofree char *wanted = g_strdup_printf("\nino:\t%" G_GUINT64_FORMAT "\n", (guint64) file->st_ino);
        g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
        g_autoptr(GArray) locks = g_array_new(FALSE, FALSE, sizeof(GlHeldRange));
        gboolean found = FALSE;
        const char *number;
        GlHolder *holder;

        while (dir && (number = g_dir_read_name(dir))) {
                char text[512];

                if (except_fd >= 0 && atoi(number) == except_fd)
                        continue;
                if (!read_fdinfo(pid, number, text, sizeof text) || !strstr(text, wanted))
                        continue;
                if (is_on_device(pid, number, file->st_dev) && read_locks(pid, number, locks))
                        found = TRUE;
        }
        if (!found)
                return NULL;

        holder = g_new0(GlHolder, 1);
        holder->pid = (guint32) atoi(pid);
        holder->command = gl_command_of_pid(holder->pid);
        holder->locks = g_steal_pointer(&locks);
        return holder;
}

static gboolean is_block_device(const char *pid, const char *number, guint64 device) {
        g_autofree char *path = g_strdup_printf("/proc/%s/fd/%s", pid, number);
        struct statx st;

        return statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, 0, &st) == 0 && S_ISBLK(st.stx_mode) &&
               makedev(st.stx_rdev_major, st.stx_rdev_minor) == device;
}

static gboolean has_byte_locked(const char *pid, const char *number, guint64 byte) {
        g_autoptr(GArray) locks = g_array_new(FALSE, FALSE, sizeof(GlHeldRange));

        if (!read_locks(pid, number, locks))
                return FALSE;
        for (guint i = 0; i < locks->len; i++) {
                const GlHeldRange *range = &g_array_index(locks, GlHeldRange, i);

                if (range->first <= byte && byte <= range->last)
                        return TRUE;
        }
        return FALSE;
}

/* The number of that descriptor in the process, or -1. A block device may have been opened by any of its nodes. */
static int find_lock(const char *pid, const GlNode *node, guint64 byte) {
        g_autofree char *path = g_strdup_printf("/proc/%s/fdinfo", pid);
        g_autofree char *wanted = g_strdup_printf("\nino:\t%" G_GUINT64_FORMAT "\n", node->inode);
        g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
        gboolean block = node->kind == GL_NODE_BLOCK;
        const char *number;

        while (dir && (number = g_dir_read_name(dir))) {
                char text[512];

                if (!block && (!read_fdinfo(pid, number, text, sizeof text) || !strstr(text, wanted)))
                        continue;
                if (has_byte_locked(pid, number, byte) && (!block || is_block_device(pid, number, node->device)))
                        return atoi(number);
        }
        return -1;
}

int gl_holder_fetch(guint32 pid, const GlNode *node, guint64 byte) {
        g_autofree char *name = g_strdup_printf("%" G_GUINT32_FORMAT, pid);
        int pidfd = (int) syscall(SYS_pidfd_open, pid, 0), number, fd = -1;

        /* Held, so that it is one process from here on. */
        if (pidfd < 0)
                return -1;
        number = find_lock(name, node, byte);
        if (number >= 0)
                fd = (int) syscall(SYS_pidfd_getfd, pidfd, number, 0);
        close(pidfd);
        return fd;
}

GPtrArray *gl_holders_find(int fd) {
        g_autoptr(GPtrArray) holders = g_ptr_array_new_with_free_func(gl_holder_free);
        g_autoptr(GDir) proc = g_dir_open("/proc", 0, NULL);
        const char *name;
        struct stat file;

        if (fstat(fd, &file) < 0)
                return g_steal_pointer(&holders);

        while (proc && (name = g_dir_read_name(proc))) {
                GlHolder *holder;

                if (!g_ascii_isdigit(name[0]))
                        continue;
                holder = look_at_process(name, &file, atoi(name) == getpid() ? fd : -1);
                if (holder)
                        g_ptr_array_add(holders, holder);
        }

        return g_steal_pointer(&holders);
}

/* --- many files --- */

/* Inode number → GArray of the numbers of FILES that have it. */
static GHashTable *index_files(const GlFileId *files, guint n) {
        GHashTable *index = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, (GDestroyNotify) g_array_unref);

        for (guint i = 0; i < n; i++) {
                GArray *same = g_hash_table_lookup(index, &files[i].inode);

                if (!same) {
                        same = g_array_new(FALSE, FALSE, sizeof(guint));
                        g_hash_table_insert(index, (gpointer) &files[i].inode, same);
                }
                g_array_append_val(same, i);
        }
        return index;
}

static GlHolder *note_holder(GPtrArray *holders, guint begin, guint32 pid, guint file) {
        GlHolder *holder;

        for (guint i = begin; i < holders->len; i++) {
                holder = g_ptr_array_index(holders, i);
                if (holder->file == file)
                        return holder;
        }
        holder = g_new0(GlHolder, 1);
        holder->pid = pid;
        holder->file = file;
        holder->locks = g_array_new(FALSE, FALSE, sizeof(GlHeldRange));
        g_ptr_array_add(holders, holder);
        return holder;
}

static void look_at_descriptor(const char *pid, const char *number, const GlFileId *files, GHashTable *index,
                               GPtrArray *holders, guint begin) {
        g_autoptr(GArray) locks = NULL;
        const char *line;
        const GArray *same;
        guint64 inode;
        char text[512];

        if (!read_fdinfo(pid, number, text, sizeof text) || !(line = strstr(text, "\nino:\t")))
                return;
        inode = g_ascii_strtoull(line + strlen("\nino:\t"), NULL, 10);
        same = g_hash_table_lookup(index, &inode);
        for (guint i = 0; same && i < same->len; i++) {
                guint file = g_array_index(same, guint, i);

                if (!is_on_device(pid, number, files[file].device))
                        continue;
                locks = g_array_new(FALSE, FALSE, sizeof(GlHeldRange));
                if (read_locks(pid, number, locks))
                        g_array_append_vals(note_holder(holders, begin, (guint32) atoi(pid), file)->locks, locks->data,
                                            locks->len);
                return;
        }
}

GPtrArray *gl_holders_find_files(const GlFileId *files, guint n) {
        GPtrArray *holders = g_ptr_array_new_with_free_func(gl_holder_free);
        g_autoptr(GHashTable) index = index_files(files, n);
        g_autoptr(GDir) proc = g_dir_open("/proc", 0, NULL);
        const char *pid, *number;

        while (proc && (pid = g_dir_read_name(proc))) {
                g_autofree char *path = g_strdup_printf("/proc/%s/fdinfo", pid);
                g_autoptr(GDir) descriptors = g_ascii_isdigit(pid[0]) ? g_dir_open(path, 0, NULL) : NULL;
                guint begin = holders->len;

                while (descriptors && (number = g_dir_read_name(descriptors)))
                        look_at_descriptor(pid, number, files, index, holders, begin);
                for (guint i = begin; i < holders->len; i++)
                        ((GlHolder *) g_ptr_array_index(holders, i))->command =
                                gl_command_of_pid((guint32) atoi(pid));
        }
        return holders;
}

gboolean gl_holder_has_lock(const GlHolder *holder, guint64 byte, gboolean only_write) {
        for (guint i = 0; i < holder->locks->len; i++) {
                const GlHeldRange *range = &g_array_index(holder->locks, GlHeldRange, i);

                if (range->first <= byte && byte <= range->last && (range->write || !only_write))
                        return TRUE;
        }
        return FALSE;
}

GArray *gl_holders_locks_of(int fd) {
        g_autofree char *path = g_strdup_printf("/proc/self/fdinfo/%d", fd);
        g_autoptr(GArray) locks = g_array_new(FALSE, FALSE, sizeof(GlHeldRange));
        g_autofree char *text = NULL;

        if (!g_file_get_contents(path, &text, NULL, NULL) || !gl_fdinfo_parse(text, locks))
                return NULL;
        return g_steal_pointer(&locks);
}
