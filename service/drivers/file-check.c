/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drivers/file-check.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "core/obstacle.h"
#include "drivers/file-obstacles.h"
#include "drivers/holders.h"
#include "storage/source.h"

/*
 * Which locks a description has, the kernel says in its fdinfo: exactly that one's, in every mode, and without asking
 * anybody. (F_OFD_GETLK through another description says that somebody has a lock, but not who: another guest's would
 * pass for ours.) Who has what ours has not any more is then asked with F_OFD_GETLK through our own description. Nothing
 * is ever locked here, since what was free for a moment may have had another owner in it.
 *
 * On NFS the kernel's list is the client's, and says nothing of the server. There a byte is read through the lock's
 * own description: that fails with EIO when the server has forgotten the lock.
 *
 * What does not answer the question (no fdinfo, EACCES, ENOENT) is no loss.
 */

static void set_lost(GlTarget *target, GlLossReason loss, char *message) {
        target->found = GL_FOUND_LOST;
        target->loss = loss;
        g_free(target->loss_message);
        target->loss_message = message;
}

/* --- which locks there are --- */

static gboolean has_lock(const GArray *locks, guint64 byte, gboolean write) {
        for (guint i = 0; i < locks->len; i++) {
                const GlHeldRange *range = &g_array_index(locks, GlHeldRange, i);

                if (range->first <= byte && byte <= range->last && (range->write || !write))
                        return TRUE;
        }
        return FALSE;
}

static gboolean has_all(const GArray *locks, const GlLockLayout *layout, GlMode mode) {
        gboolean mark = layout->disk && mode != GL_MODE_EXCLUSIVE;

        return has_lock(locks, layout->owner, mode == GL_MODE_EXCLUSIVE) &&
               (!mark || has_lock(locks, mode == GL_MODE_READONLY ? GL_BYTE_READER : GL_BYTE_WRITER, FALSE));
}

static GlLockLayout layout_of(const GlTarget *target, const GlFileOptions *options) {
        const GlSource *source = target->source.box;

        return (GlLockLayout){
                .owner = target->type == GL_RESOURCE_DISK ? GL_BYTE_OWNER : source->extent.start,
                .disk = target->type == GL_RESOURCE_DISK,
                .host_number = options->host_number,
        };
}

/* Whoever has it now, or nobody. WHERE (nullable): of a lock file. */
static void tell_loss(GlTarget *target, int fd, const GlLockLayout *layout, GlMode mode, const char *where) {
        g_autofree char *name = gl_quote(target->name);
        g_autofree char *place = where ? g_strdup_printf(" in %s", where) : g_strdup("");
        g_autoptr(GPtrArray) obstacles = NULL;
        GlLockConflict conflict;

        if (gl_locks_look(fd, layout, mode, &conflict) != -EAGAIN) {
                set_lost(target, GL_LOST_STORAGE_LOST,
                         g_strdup_printf("The lock of %s %s%s is gone, and nobody has it now; somebody with a copy of "
                                         "its descriptor may have unlocked it.",
                                         target->type == GL_RESOURCE_DISK ? "disk" : "lease", name, place));
                return;
        }
        obstacles = g_ptr_array_new_with_free_func((GDestroyNotify) gl_obstacle_free);
        gl_file_obstacles_add_lock(obstacles, fd, layout, &conflict);
        set_lost(target, GL_LOST_TAKEN, gl_obstacles_to_sentence(target->type, target->name, obstacles));
}

/* FALSE: it was lost, and TARGET says so. */
static gboolean check_locks(GlTarget *target, int fd, const GlLockLayout *layout, GlMode mode, const char *where) {
        g_autoptr(GArray) locks = gl_holders_locks_of(fd);

        if (!locks)
                return TRUE;
        target->found = GL_FOUND_HELD;
        if (has_all(locks, layout, mode))
                return TRUE;
        tell_loss(target, fd, layout, mode, where);
        return FALSE;
}

/* --- images and lease files --- */

static gboolean check_server(GlTarget *target, int fd) {
        g_autofree char *name = NULL;
        char byte;

        (void) posix_fadvise(fd, 0, 1, POSIX_FADV_DONTNEED); /* the server's, and not the one that is remembered */
        if (pread(fd, &byte, 1, 0) >= 0 || errno != EIO)
                return TRUE;
        name = gl_quote(target->name);
        set_lost(target, GL_LOST_STORAGE_LOST,
                 g_strdup_printf("The server of %s says that its lock is gone (%s).", name, g_strerror(EIO)));
        return FALSE;
}

static void check_name(GlTarget *target) {
        g_autofree char *name = NULL;

        /* A name that came with a descriptor leads nowhere, and is not looked for. */
        if (target->by_descriptor && ((const GlSource *) target->source.box)->fd < 0)
                target->whereabouts = GL_WHEREABOUTS_UNKNOWN;
        else
                target->whereabouts = gl_source_find(target->source.box);
        /* Others go by the name, and lock what it leads to now. */
        if (target->type != GL_RESOURCE_LEASE || target->whereabouts != GL_WHEREABOUTS_ELSEWHERE)
                return;
        name = gl_quote(target->name);
        set_lost(target, GL_LOST_REPLACED,
                 g_strdup_printf("The file of lease %s was replaced by another one, in which others can have the lease.",
                                 name));
}

void gl_file_check(GlTarget *target, const GlFileOptions *options) {
        const GlSource *source = target->source.box;
        const GlFileLease *lease = target->lease;
        GlLockLayout layout = layout_of(target, options);

        if (lease->fd < 0) /* it was given back meanwhile */
                return;
        if (source->kind == GL_STORAGE_MOUNT)
                target->found = GL_FOUND_HELD; /* there are no locks that could be lost */
        else if (!check_locks(target, lease->fd, &layout, lease->mode, NULL) ||
                 (source->kind == GL_STORAGE_SHARED && !source->block && !check_server(target, lease->fd)))
                return;
        (void) gl_file_lease_inspect(target, NULL);
        check_name(target);
}

/* --- entries in lockspace directories --- */

static void tell_replaced(GlTarget *target, const GlLockspaceEntry *probe, const GlFileVerdict *verdict) {
        g_autofree char *directory = gl_quote(probe->directory);

        set_lost(target, GL_LOST_REPLACED,
                 g_strdup_printf("Its lock file in the lockspace directory %s was replaced, and the new one cannot be "
                                 "locked. %s",
                                 directory, verdict->error->message));
}

void gl_lockspace_check(GlLockspaceEntry *probe, GlLockspaceEntry *leased, const GlJob *job,
                        const GlFileOptions *options) {
        GlLockLayout layout = {.owner = GL_BYTE_OWNER, .disk = TRUE, .host_number = options->host_number};
        GlTarget *target = probe->target;
        GlFileVerdict verdict = {0};
        int old = leased->fd;

        if (old < 0) /* it was given back meanwhile */
                return;
        if (!check_locks(target, old, &layout, target->mode, probe->directory) || !gl_lockspace_is_replaced(probe, old))
                return;
        if (gl_lockspace_enter(probe, job, options, &verdict)) {
                (void) gl_lockspace_settle(probe, job, options, &verdict);
                leased->fd = probe->fd;
                probe->fd = old; /* and is closed with it */
        } else if (verdict.error->code == GL_ERROR_CONFLICT) {
                tell_replaced(target, probe, &verdict);
        } else {
                target->found = GL_FOUND_UNKNOWN;
        }
        gl_lockspace_leave(probe);
        gl_file_verdict_clear(&verdict);
}
