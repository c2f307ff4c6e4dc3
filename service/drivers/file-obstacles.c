/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drivers/file-obstacles.h"

#include <errno.h>
#include <unistd.h>


/*
 * The kernel says that a lock is refused, and hardly ever who has it. Which bytes a process holds tells what it is:
 * QEMU, virtlockd and guestlock each have theirs. All processes are searched once, for all the bytes that are in the
 * way; what none of them explains is somebody's who cannot be seen from here, and with luck his host byte tells whose.
 */

/* Of other hosts that have locks on one image, so many are named. */
#define MAX_HOSTS 64

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

/* Nobody whom we can see. */
static char *describe_unknown(const GlLockLayout *layout, guint64 byte) {
        if (is_qemu_byte(byte))
                return g_strdup("a QEMU that cannot be seen from here has the image open");
        return g_strdup_printf("byte %" G_GUINT64_FORMAT " %sis locked by a process that cannot be seen from here",
                               byte, layout->disk ? "" : "of the lease file ");
}

/* What is in the way at a few bytes, and which of that is explained by somebody who was found. */
typedef struct {
        GPtrArray *obstacles; /* (borrowed) */
        guint n_before;
        const GlLockLayout *layout;
        const GlLockConflict *met;
        guint n_met;
        gboolean explained[GL_LOCKS_MAX_MET];
} Search;

/* The byte by which it is known best what HOLDER does; FALSE: it is in nobody's way. */
static gboolean find_byte(Search *search, const GlHolder *holder, guint64 *byte) {
        gboolean found = FALSE;

        for (guint i = 0; i < search->n_met; i++) {
                const GlLockConflict *met = &search->met[i];

                if (!gl_holder_has_lock(holder, met->byte, !met->for_writing))
                        continue;
                search->explained[i] = TRUE;
                if (!found || is_qemu_byte(met->byte))
                        *byte = met->byte;
                found = TRUE;
        }
        return found;
}

static GlObstacle *find_host(const Search *search, guint64 number) {
        for (guint i = search->n_before; i < search->obstacles->len; i++) {
                GlObstacle *obstacle = g_ptr_array_index(search->obstacles, i);

                if (obstacle->has_host_number && obstacle->host_number == number)
                        return obstacle;
        }
        return NULL;
}

static gboolean is_keeper(const GlHolder *holder) {
        return g_strcmp0(holder->command, "guestlock-keeper") == 0;
}

static void add_holder(Search *search, GlHolder *holder) {
        GlObstacle *obstacle;
        guint64 byte = 0, number = 0;
        gboolean has_number = has_host_byte(holder, &number);

        if (!find_byte(search, holder, &byte) || holder->pid == (guint32) getpid())
                return;
        /* What a service has its keeper has too, and is named once. */
        if (has_number && !is_qemu_byte(byte) && is_keeper(holder) && find_host(search, number))
                return;
        obstacle = gl_obstacle_new();
        obstacle->pid = holder->pid;
        obstacle->has_mode = find_mode(holder, search->layout, byte, &obstacle->mode);
        obstacle->via = describe_holder(holder, search->layout, byte);
        obstacle->has_host_number = has_number;
        obstacle->host_number = (guint32) number;
        obstacle->own = has_number ? number == search->layout->host_number
                                   : !search->layout->disk && is_keeper(holder);
        obstacle->command = g_steal_pointer(&holder->command);
        g_ptr_array_add(search->obstacles, obstacle);
}

static void add_host(Search *search, guint64 number) {
        GlObstacle *obstacle;

        if (find_host(search, number))
                return;
        obstacle = gl_obstacle_new();
        obstacle->has_host_number = TRUE;
        obstacle->host_number = (guint32) number;
        obstacle->via = g_strdup_printf("a lease of guestlock host number %" G_GUINT64_FORMAT, number);
        g_ptr_array_add(search->obstacles, obstacle);
}

/* The kernel names one lock in a range, and not the first: what is left and right of it is asked about again. BUDGET is
 * how many more are asked about: anybody who can open the file can lock as many bytes as he likes. */
static void add_hosts_between(Search *search, int fd, guint64 first, guint64 last, guint *budget) {
        GlHeldRange range;

        while (first <= last && *budget > 0 && gl_locks_find_in_range(fd, first, last, &range) == -EAGAIN) {
                (*budget)--;
                if (range.first == range.last)
                        add_host(search, range.first - GL_BYTE_HOST);
                if (range.first > first)
                        add_hosts_between(search, fd, first, range.first - 1, budget);
                if (range.last >= last)
                        return;
                first = range.last + 1;
        }
}

/* Other hosts of shared storage cannot be seen, and say by a byte each who they are. */
static void add_hosts(Search *search, int fd) {
        guint64 own = GL_BYTE_HOST + search->layout->host_number, last = GL_BYTE_HOST + G_MAXUINT32;
        guint n = search->obstacles->len, budget = MAX_HOSTS;
        gboolean wanted = FALSE;

        for (guint i = 0; i < search->n_met; i++)
                wanted |= search->layout->disk && !is_qemu_byte(search->met[i].byte) &&
                          search->met[i].byte != GL_BYTE_NEXT;
        if (!wanted)
                return;
        if (own > GL_BYTE_HOST)
                add_hosts_between(search, fd, GL_BYTE_HOST, own - 1, &budget);
        add_hosts_between(search, fd, own + 1, last, &budget);
        for (guint i = 0; i < search->n_met && search->obstacles->len > n; i++)
                search->explained[i] |= !is_qemu_byte(search->met[i].byte);
}

/* Once for QEMU's bytes and once for the others. */
static void add_unknown(Search *search) {
        gboolean told[2] = {FALSE, FALSE};

        for (guint i = 0; i < search->n_met; i++) {
                const GlLockConflict *met = &search->met[i];
                gboolean *already = &told[is_qemu_byte(met->byte)];
                GlObstacle *obstacle;

                if (search->explained[i] || *already)
                        continue;
                *already = TRUE;
                obstacle = gl_obstacle_new();
                obstacle->pid = met->pid;
                obstacle->command = met->pid ? gl_command_of_pid(met->pid) : NULL;
                obstacle->via = describe_unknown(search->layout, met->byte);
                g_ptr_array_add(search->obstacles, obstacle);
        }
}

static GPtrArray *search_once(GPtrArray **holders, int fd) {
        if (!*holders)
                *holders = gl_holders_find(fd);
        return *holders;
}

static void add_met(GPtrArray *obstacles, int fd, const GlLockLayout *layout, const GlLockConflict *met, guint n_met,
                    GPtrArray *holders) {
        Search search = {.obstacles = obstacles, .n_before = obstacles->len, .layout = layout, .met = met,
                         .n_met = n_met};

        for (guint i = 0; i < holders->len; i++)
                add_holder(&search, g_ptr_array_index(holders, i));
        add_hosts(&search, fd);
        add_unknown(&search);
}

void gl_file_obstacles_add_lock(GPtrArray *obstacles, int fd, const GlLockLayout *layout,
                                const GlLockConflict *conflict) {
        g_autoptr(GPtrArray) holders = gl_holders_find(fd);
        guint n_before = obstacles->len;

        add_met(obstacles, fd, layout, conflict, 1, holders);
        /* It was a lock of this service itself, or is gone. */
        if (obstacles->len == n_before) {
                GlObstacle *obstacle = gl_obstacle_new();

                obstacle->via = describe_unknown(layout, conflict->byte);
                g_ptr_array_add(obstacles, obstacle);
        }
}

int gl_file_obstacles_add_locks(GPtrArray *obstacles, int fd, const GlLockLayout *layout, GlMode mode,
                                gboolean for_qemu, GPtrArray **holders) {
        GlLockConflict met[GL_LOCKS_MAX_MET];
        int n = gl_locks_look_at_all(fd, layout, mode, for_qemu, met);

        /* Who it is is looked for in all processes, and only where there is somebody. */
        if (n > 0)
                add_met(obstacles, fd, layout, met, (guint) n, search_once(holders, fd));
        return MIN(n, 0);
}

/* --- users that are in nobody's way --- */

static gboolean is_named(GPtrArray *obstacles, guint32 pid) {
        for (guint i = 0; i < obstacles->len; i++)
                if (((const GlObstacle *) g_ptr_array_index(obstacles, i))->pid == pid)
                        return TRUE;
        return FALSE;
}

static void add_user(GPtrArray *obstacles, const GlLockLayout *layout, GlHolder *holder, const char *via) {
        GlObstacle *obstacle = gl_obstacle_new();
        guint64 number;

        obstacle->pid = holder->pid;
        obstacle->own = has_host_byte(holder, &number) && number == layout->host_number;
        obstacle->via = g_strdup(via);
        obstacle->command = g_steal_pointer(&holder->command);
        g_ptr_array_add(obstacles, obstacle);
}

void gl_file_obstacles_add_openers(GPtrArray *obstacles, int fd, const GlLockLayout *layout, GPtrArray **holders) {
        GPtrArray *found = search_once(holders, fd);

        for (guint i = 0; i < found->len; i++) {
                GlHolder *holder = g_ptr_array_index(found, i);

                if (holder->pid != (guint32) getpid() && !is_named(obstacles, holder->pid))
                        add_user(obstacles, layout, holder, "it has the device open, and may have claimed it");
        }
}

void gl_file_obstacles_add_lockers(GPtrArray *obstacles, int fd, const GlLockLayout *layout, GPtrArray **holders) {
        GPtrArray *found = search_once(holders, fd);

        for (guint i = 0; i < found->len; i++) {
                GlHolder *holder = g_ptr_array_index(found, i);
                const GlHeldRange *range = (const GlHeldRange *) (gpointer) holder->locks->data;
                g_autofree char *via = NULL;

                if (holder->locks->len == 0 || holder->pid == (guint32) getpid() || is_named(obstacles, holder->pid))
                        continue;
                via = g_strdup_printf("it has locked %sbyte %" G_GUINT64_FORMAT " of it, which hinders no lease",
                                      range->first < range->last || holder->locks->len > 1 ? "more than " : "",
                                      range->first);
                add_user(obstacles, layout, holder, via);
        }
}
