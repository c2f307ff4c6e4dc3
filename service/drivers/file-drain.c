/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drivers/file-drain.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "drivers/file-lease.h"
#include "drivers/file-locks.h"
#include "drivers/holders.h"
#include "storage/source.h"

/*
 * A process that is gone may still write: the kernel finishes what it had given to io_uring, and keeps the file's
 * description open until then. Nothing in /proc shows such a description. Three things tell of it:
 *
 * - QEMU's locks on it stay until it is closed;
 * - a block device counts what it has in flight;
 * - a write lease (F_SETLEASE, nothing to do with ours) on a regular file is refused while any other description of
 *   it is open, seen or not. If a process or a loop device that can be seen has it open, the refusal says nothing;
 *   if none has, the kernel itself does.
 *
 * Where the refusal says nothing, since some program has the image open to read it, say, the device below the file
 * system is asked: what the guest had on its way has landed once there is a moment without writes. A busy device may
 * have none for long; after half a minute, the time that the kernel gives a request, it is taken for granted.
 *
 * Whoever opens the file while we have that write lease waits until we give it up, which we do at once, and
 * the kernel sends us SIGIO, whose default is to end the process: the driver makes the process ignore it.
 */

static void still_writing(GlTarget *target, char *reason) {
        target->drained = FALSE;
        g_free(target->drain_reason);
        target->drain_reason = reason;
}

/* µs */
#define MASKED_PATIENCE (30 * (gint64) G_USEC_PER_SEC)
#define HEIR_INTERVAL   (G_USEC_PER_SEC / 2)

static gboolean is_other_process(const GlHolder *holder) {
        return holder->pid != (guint32) getpid();
}

/* Of a lease's own description, as guestlock-keeper has and heirs: it is not another one. We have more than copies. */
static gboolean has_copy_of_ours(const GlHolder *holder, guint32 host_number) {
        return is_other_process(holder) && gl_holder_has_lock(holder, GL_BYTE_HOST + host_number, FALSE);
}

static char *describe_process(const GlHolder *holder, const char *what) {
        return g_strdup_printf("process %u (%s) %s", holder->pid, holder->command ?: "unknown", what);
}

/* --- heirs --- */

static gboolean is_alive(guint32 pid) {
        return kill((pid_t) pid, 0) == 0 || errno == EPERM;
}

/*
 * A supervisor hands its locks to nobody but what it starts. Where it was killed, and the guest's process with it, a
 * helper of the guest's may have been left, and write: it has inherited our description. That this is somebody else's
 * copy can be told of an exclusive lease alone, since with the others each guest has locked the same bytes. One that was
 * found is asked after often, and the others are searched for now and then.
 */
static gboolean has_heir(GlTarget *target, GlFileLease *lease, const GlFileOptions *options, guint32 keeper_pid) {
        gint64 now = g_get_monotonic_time();
        g_autoptr(GPtrArray) holders = NULL;

        if (target->kept_by != GL_KEPT_BY_HOLDER || lease->mode != GL_MODE_EXCLUSIVE)
                return FALSE;
        if (lease->heir == 0 || now - lease->heir_seen >= HEIR_INTERVAL || !is_alive(lease->heir)) {
                holders = gl_holders_find(lease->fd);
                lease->heir = 0;
                lease->heir_seen = now;
        }
        for (guint i = 0; holders && i < holders->len && lease->heir == 0; i++) {
                const GlHolder *holder = g_ptr_array_index(holders, i);

                if (holder->pid != keeper_pid && has_copy_of_ours(holder, options->host_number))
                        lease->heir = holder->pid;
        }
        if (lease->heir == 0)
                return FALSE;
        still_writing(target, g_strdup_printf("process %u of it is left, and has inherited the lock", lease->heir));
        return TRUE;
}

/* --- QEMU's bytes --- */

static gboolean has_qemu_byte(const GlHolder *holder) {
        for (guint64 byte = GL_BYTE_QEMU_FIRST; byte <= GL_BYTE_QEMU_LAST; byte++)
                if (gl_holder_has_lock(holder, byte, FALSE))
                        return TRUE;
        return FALSE;
}

/* With a shared lease other guests rightly use the image: one that can be seen is not the dead one. */
static gboolean is_qemu_gone(GlTarget *target, const GlFileLease *lease) {
        g_autoptr(GPtrArray) holders = NULL;
        int r;

        r = gl_locks_look_at_range(lease->fd, GL_BYTE_QEMU_FIRST, GL_BYTE_QEMU_LAST, NULL);
        if (r == 0)
                return TRUE;
        if (r != -EAGAIN) {
                still_writing(target, g_strdup_printf("it cannot be seen whether QEMU has it open: %s",
                                                      g_strerror(-r)));
                return FALSE;
        }

        holders = gl_holders_find(lease->fd);
        for (guint i = 0; i < holders->len; i++) {
                const GlHolder *holder = g_ptr_array_index(holders, i);

                if (!is_other_process(holder) || !has_qemu_byte(holder))
                        continue;
                if (lease->mode == GL_MODE_SHARED)
                        return TRUE;
                target->writer_seen = TRUE;
                still_writing(target, describe_process(holder, "has QEMU's locks on it"));
                return FALSE;
        }

        still_writing(target, g_strdup("QEMU's locks on it have not been given up yet"));
        return FALSE;
}

/* --- block devices --- */

static gboolean read_in_flight(dev_t device, const char *sysroot, guint64 *reads, guint64 *writes, GError **error) {
        g_autofree char *number = g_strdup_printf("%u:%u", major(device), minor(device));
        g_autofree char *path = g_build_filename(sysroot ?: "/", "sys/dev/block", number, "inflight", NULL);
        g_autofree char *text = NULL;

        if (!g_file_get_contents(path, &text, NULL, error))
                return FALSE;
        if (sscanf(text, "%" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT, reads, writes) != 2)
                *reads = *writes = G_MAXUINT64; /* whatever it says, it is not that there is nothing */
        return TRUE;
}

static gboolean is_device_idle(GlTarget *target, dev_t device, const char *sysroot) {
        g_autoptr(GError) error = NULL;
        guint64 reads, writes;

        if (!read_in_flight(device, sysroot, &reads, &writes, &error)) {
                /* A device that is gone takes no more writes. */
                if (g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT))
                        return TRUE;
                still_writing(target, g_strdup(error->message));
                return FALSE;
        }
        if (reads == 0 && writes == 0)
                return TRUE;

        target->writer_seen = TRUE;
        still_writing(target, g_strdup("the device has requests in flight"));
        return FALSE;
}

/* --- regular files --- */

/* Elsewhere the kernel refuses also for reasons of the protocol, and what it says is about this host alone. */
static gboolean can_ask_with_lease(const GlSource *source, int fd) {
        struct statfs fs;
        guint32 type;

        if (source->kind == GL_STORAGE_SHARED || fstatfs(fd, &fs) < 0)
                return FALSE;

        type = (guint32) fs.f_type;
        return type != SMB_SUPER_MAGIC && type != CIFS_SUPER_MAGIC && type != SMB2_SUPER_MAGIC;
}

/* TRUE when a loop device has the file of FD; by the paths, since looking at the file itself may hang. */
static gboolean is_behind_loop_device(int fd, const char *canonical, const char *sysroot) {
        g_autofree char *blocks = g_build_filename(sysroot ?: "/", "sys/block", NULL);
        g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", fd);
        g_autofree char *path = g_file_read_link(link, NULL);
        g_autoptr(GDir) dir = g_dir_open(blocks, 0, NULL);
        const char *name;

        while (dir && (name = g_dir_read_name(dir))) {
                g_autofree char *backing = g_build_filename(blocks, name, "loop", "backing_file", NULL);
                g_autofree char *text = NULL;

                if (!g_str_has_prefix(name, "loop") || !g_file_get_contents(backing, &text, NULL, NULL))
                        continue;
                g_strchomp(text);
                if (g_strcmp0(text, path) == 0 || g_strcmp0(text, canonical) == 0)
                        return TRUE;
        }
        return FALSE;
}

static gboolean is_open_visibly(int fd, const GlSource *source, const GlFileOptions *options) {
        g_autoptr(GPtrArray) holders = gl_holders_find(fd);

        for (guint i = 0; i < holders->len; i++)
                if (!has_copy_of_ours(g_ptr_array_index(holders, i), options->host_number))
                        return TRUE;
        return is_behind_loop_device(fd, source->canonical, options->sysroot);
}

/* TRUE where there is no such device to ask: memory, or a file system that hides its own. */
static gboolean is_idle_below(GlTarget *target, int fd, const char *sysroot) {
        GlFileLease *lease = target->lease;
        gint64 now = g_get_monotonic_time();
        guint64 reads, writes;
        struct stat st;

        if (fstat(fd, &st) < 0 || !read_in_flight(st.st_dev, sysroot, &reads, &writes, NULL) || writes == 0)
                return TRUE;
        if (lease->masked_since == 0)
                lease->masked_since = now;
        if (now - lease->masked_since >= MASKED_PATIENCE)
                return TRUE;
        still_writing(target, g_strdup("others have it open, and the device below has writes in flight"));
        return FALSE;
}

static gboolean is_file_closed(GlTarget *target, int fd, const GlFileOptions *options) {
        const GlSource *source = target->source.box;

        if (!can_ask_with_lease(source, fd))
                return TRUE;
        if (fcntl(fd, F_SETLEASE, F_WRLCK) == 0) {
                (void) fcntl(fd, F_SETLEASE, F_UNLCK);
                return TRUE;
        }
        switch (errno) {
        case EAGAIN:
                if (is_open_visibly(fd, source, options))
                        return is_idle_below(target, fd, options->sysroot);
                still_writing(target, g_strdup("the kernel still has it open for a process that is gone"));
                return FALSE;
        case EINVAL:
        case EOPNOTSUPP:
                /* A file system without such leases. */
                return TRUE;
        default:
                still_writing(target, g_strdup_printf("it cannot be seen whether it is still open: %s",
                                                      g_strerror(errno)));
                return FALSE;
        }
}

/* What nobody can see an administrator may know; what can be seen he cannot wish away. */
static gboolean has_drained(const GlTarget *target, gboolean drained) {
        return drained || (target->insist && !target->writer_seen);
}

void gl_file_drain(GlTarget *target, const GlFileOptions *options, gboolean supervised, guint32 keeper_pid) {
        const GlSource *source = target->source.box;
        GlFileLease *lease = target->lease;
        gboolean drained;

        /* A guest writes neither through a readonly lease nor into a lease file. */
        target->writer_seen = FALSE;
        drained = !lease || target->type != GL_RESOURCE_DISK || lease->mode == GL_MODE_READONLY;
        if (!drained && supervised && has_heir(target, lease, options, keeper_pid)) {
                target->writer_seen = TRUE;
                target->drained = FALSE;
                return;
        }
        if (!drained) {
                drained = has_drained(target, source->kind == GL_STORAGE_MOUNT || is_qemu_gone(target, lease));
                if (drained)
                        drained = source->block ? is_device_idle(target, source->device, options->sysroot)
                                                : is_file_closed(target, lease->fd, options);
                drained = has_drained(target, drained);
        }

        if (drained)
                g_clear_pointer(&target->drain_reason, g_free);
        target->drained = drained;
}
