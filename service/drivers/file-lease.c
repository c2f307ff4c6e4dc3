/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drivers/file-lease.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "core/obstacle.h"
#include "drivers/file-locks.h"
#include "drivers/file-lockspace.h"
#include "drivers/file-obstacles.h"
#include "storage/source.h"

/*
 * A lease is a description of the file, opened as its registrant, with locks on it; for an exclusive one of a block
 * device also a claim, which keeps out whoever comes by another device node. Readonly leases are opened for
 * reading only, so that they need no more rights than that; the price is that raising one needs a second
 * description.
 *
 * On storage whose locks cannot be trusted none are taken: there the service's own table is all there is, and the
 * scope says so.
 */

static void close_fd(int *fd) {
        if (*fd >= 0)
                close(*fd);
        *fd = -1;
}

/* --- locks and claims --- */

GlLockLayout gl_file_lease_layout(const GlTarget *target, const GlFileOptions *options) {
        const GlSource *source = target->source.box;

        return (GlLockLayout){
                .owner = target->type == GL_RESOURCE_DISK ? GL_BYTE_OWNER : source->extent.start,
                .disk = target->type == GL_RESOURCE_DISK,
                .host_number = options->host_number,
        };
}

static gboolean check_qemu(int fd, const GlTarget *target, const GlLockLayout *layout, GlFileVerdict *verdict) {
        GlLockConflict conflict;
        int r = 0;

        if (layout->disk)
                r = gl_locks_look_for_qemu(fd, target->mode, &conflict);
        return gl_file_verdict_heed_locks(verdict, r, fd, target, layout, TRUE, &conflict);
}

static gboolean needs_claim(const GlTarget *target) {
        const GlSource *source = target->source.box;

        return source->block && target->type == GL_RESOURCE_DISK && target->mode == GL_MODE_EXCLUSIVE;
}

/* Sets CLAIM to a descriptor. It needs no more rights than FD has, and is opened as root. */
static gboolean claim(int fd, const GlTarget *target, const GlFileOptions *options, int *claimed,
                      GlFileVerdict *verdict) {
        g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
        const GlSource *source = target->source.box;
        int new;

        new = open(path, O_RDONLY | O_EXCL | O_CLOEXEC | O_NONBLOCK);
        if (new >= 0) {
                *claimed = new;
                return TRUE;
        }

        if (errno == EBUSY) {
                GPtrArray *obstacles = g_ptr_array_new_with_free_func((GDestroyNotify) gl_obstacle_free);

                /* multipathd, LVM and blkid claim devices for moments. */
                gl_file_obstacles_add_claim(obstacles, source->device, options->sysroot);
                gl_file_verdict_add_conflict(verdict, target, obstacles, TRUE);
        } else {
                gl_file_verdict_add_error(verdict, gl_file_error_from_errno(target, "claimed", errno));
        }
        return FALSE;
}

/* --- what it is --- */

gboolean gl_file_lease_look_at_image(int fd, GlTarget *target, GError **error) {
        struct stat st;
        guint64 size;

        if (fstat(fd, &st) < 0 || (S_ISBLK(st.st_mode) && ioctl(fd, BLKGETSIZE64, &size) < 0)) {
                g_propagate_error(error, gl_file_error_from_errno(target, "examined", errno));
                return FALSE;
        }

        target->size = S_ISBLK(st.st_mode) ? size : (guint64) st.st_size;
        target->mtime = S_ISBLK(st.st_mode) ? 0
                                            : (guint64) st.st_mtim.tv_sec * 1000000000 + (guint64) st.st_mtim.tv_nsec;
        return TRUE;
}

/* REASON is set to why it reaches no further. */
static GlScope scope_of(const GlSource *source, const GlFacts *kept, const char **reason) {
        gboolean is_kept = kept && kept->kind == GL_STORAGE_SHARED;

        if (source->limit) {
                *reason = source->limit;
                return GL_SCOPE_MOUNT;
        }
        switch (source->kind) {
        case GL_STORAGE_SHARED:
                *reason = source->kind_reason;
                return GL_SCOPE_SHARED;
        case GL_STORAGE_MOUNT:
                *reason = source->kind_reason ?: "locks on this file system cannot be trusted";
                return GL_SCOPE_MOUNT;
        case GL_STORAGE_LOCAL:
        default:
                if (is_kept) {
                        *reason = "its file system keeps locks on this host; the lockspace directory is shared, with "
                                  "hosts that call it by the same name";
                        return GL_SCOPE_SHARED;
                }
                *reason = source->kind_reason ?: "a local file system";
                return GL_SCOPE_HOST;
        }
}

gboolean gl_file_lease_check_scope(const GlTarget *target, const GlFacts *kept, GError **error) {
        const char *reason;
        GlScope scope = scope_of(target->source.box, kept, &reason);
        g_autofree char *name = NULL;

        if (scope >= target->require_scope)
                return TRUE;

        name = gl_quote(target->name);
        g_set_error(error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE,
                    "%s %s can only be leased with scope \"%s\" (%s), and scope \"%s\" is required.", gl_file_noun(target),
                    name, gl_scope_to_string(scope), reason ?: "nothing fences the hosts that share it",
                    gl_scope_to_string(target->require_scope));
        return FALSE;
}

/* --- the operations --- */

static gboolean has_locks(const GlTarget *target) {
        const GlSource *source = target->source.box;

        return source->kind != GL_STORAGE_MOUNT;
}

/* Everything between opening and having it. FD stays the caller's to close; the claim comes last. */
static gboolean lock_and_claim(int fd, int *claimed, GlTarget *target, const GlFileOptions *options,
                               gboolean look_for_qemu, GlFileVerdict *verdict) {
        GlLockLayout layout = gl_file_lease_layout(target, options);
        GlLockConflict conflict;
        GError *error = NULL;
        int r;

        if (has_locks(target)) {
                r = gl_locks_take(fd, &layout, target->mode, &conflict);
                if (!gl_file_verdict_heed_locks(verdict, r, fd, target, &layout, look_for_qemu, &conflict))
                        return FALSE;
                if (look_for_qemu && !check_qemu(fd, target, &layout, verdict))
                        return FALSE;
        }
        if (!gl_file_lease_look_at_image(fd, target, &error)) {
                gl_file_verdict_add_error(verdict, error);
                return FALSE;
        }
        return !needs_claim(target) || claim(fd, target, options, claimed, verdict);
}

static void set_lease(GlTarget *target, const GlFacts *kept, int fd, int claimed) {
        GlFileLease *lease = g_new(GlFileLease, 1);
        const char *reason;

        *lease = (GlFileLease){
                .n_refs = 1,
                .fd = fd,
                .claim = claimed,
                .next = -1,
                .mode = target->mode,
                .local = ((const GlSource *) target->source.box)->kind == GL_STORAGE_LOCAL,
        };
        target->lease = lease;
        target->scope = scope_of(target->source.box, kept, &reason);
        g_free(target->scope_reason);
        target->scope_reason = g_strdup(reason);
        target->kept_by = GL_KEPT_BY_SERVICE;
}

gboolean gl_file_lease_take(GlTarget *target, const GlFileOptions *options, const GlFacts *kept, gboolean look_for_qemu,
                            GlFileVerdict *verdict) {
        GError *error = NULL;
        int fd = -1, claimed = -1;

        if (gl_file_lease_check_scope(target, kept, &error))
                fd = gl_source_open(target->source.box, target->mode, &error);
        if (fd < 0) {
                gl_file_verdict_add_error(verdict, error);
                return FALSE;
        }
        if (!lock_and_claim(fd, &claimed, target, options, look_for_qemu, verdict)) {
                close_fd(&fd);
                return FALSE;
        }

        set_lease(target, kept, fd, claimed);
        return TRUE;
}

gboolean gl_file_lease_resume(GlTarget *target, const GlFileOptions *options, const GlFacts *kept, int fd, int claimed,
                              GlFileVerdict *verdict) {
        GlLockLayout layout = gl_file_lease_layout(target, options);
        GlLockConflict conflict = {0};
        gboolean done = gl_source_is(target->source.box, fd), with_holder = target->kept_by == GL_KEPT_BY_HOLDER;
        int r = 0;

        if (done && has_locks(target))
                r = gl_locks_resume(fd, &layout, target->mode, &conflict);
        if (r == -EAGAIN)
                done = gl_file_verdict_heed_locks(verdict, r, fd, target, &layout, FALSE, &conflict);
        if (!done) {
                close_fd(&claimed);
                close_fd(&fd);
                return FALSE;
        }
        (void) gl_file_lease_look_at_image(fd, target, NULL);
        if (needs_claim(target) && claimed < 0)
                (void) claim(fd, target, options, &claimed, verdict);
        gl_file_verdict_clear(verdict);
        set_lease(target, kept, fd, claimed);
        if (with_holder)
                target->kept_by = GL_KEPT_BY_HOLDER;
        return TRUE;
}

void gl_file_lease_look(const GlTarget *target, const GlFileOptions *options, gboolean look_for_qemu,
                        GlFileVerdict *verdict) {
        GlLockLayout layout = gl_file_lease_layout(target, options);
        GlLockConflict conflict;
        GError *error = NULL;
        int fd, r;

        if (!has_locks(target))
                return;
        fd = gl_source_open(target->source.box, target->mode, &error);
        if (fd < 0) {
                gl_file_verdict_add_error(verdict, error);
                return;
        }

        r = gl_locks_look(fd, &layout, target->mode, &conflict);
        if (gl_file_verdict_heed_locks(verdict, r, fd, target, &layout, look_for_qemu, &conflict) && look_for_qemu)
                (void) check_qemu(fd, target, &layout, verdict);
        close_fd(&fd);
}

gboolean gl_file_lease_needs_next(const GlTarget *target) {
        const GlFileLease *lease = target->lease;

        return target->mode != GL_MODE_READONLY && (fcntl(lease->fd, F_GETFL) & O_ACCMODE) != O_RDWR;
}

gboolean gl_file_lease_open_next(GlTarget *target, GlFileVerdict *verdict) {
        GlFileLease *lease = target->lease;
        GError *error = NULL;

        lease->next = gl_source_open(target->source.box, target->mode, &error);
        if (lease->next < 0)
                gl_file_verdict_add_error(verdict, error);
        return lease->next >= 0;
}

static gboolean change_locks(int new, int *claimed, const GlTarget *target, const GlFileOptions *options,
                             gboolean look_for_qemu, GlFileVerdict *verdict) {
        const GlFileLease *lease = target->lease;
        GlLockLayout layout = gl_file_lease_layout(target, options);
        GlLockConflict conflict;
        int r;

        if (needs_claim(target) && lease->claim < 0 && !claim(new, target, options, claimed, verdict))
                return FALSE;
        if (!has_locks(target))
                return TRUE;
        if (look_for_qemu && target->mode > lease->mode && !check_qemu(new, target, &layout, verdict))
                return FALSE;

        r = gl_locks_change(lease->fd, new, &layout, lease->mode, target->mode, &conflict);
        return gl_file_verdict_heed_locks(verdict, r, new, target, &layout, look_for_qemu, &conflict);
}

gboolean gl_file_lease_change(GlTarget *target, const GlFileOptions *options, gboolean look_for_qemu,
                              GlFileVerdict *verdict) {
        GlFileLease *lease = target->lease;
        int claimed = -1;

        if (!change_locks(lease->next >= 0 ? lease->next : lease->fd, &claimed, target, options, look_for_qemu,
                          verdict)) {
                close_fd(&claimed);
                close_fd(&lease->next);
                return FALSE;
        }

        if (lease->next >= 0) {
                gl_locks_give_up(lease->fd); /* the holder may have a copy */
                close_fd(&lease->fd);
                lease->fd = lease->next;
                lease->next = -1;
                target->kept_by = GL_KEPT_BY_SERVICE;
        }
        if (claimed >= 0)
                lease->claim = claimed;
        else if (target->mode != GL_MODE_EXCLUSIVE)
                close_fd(&lease->claim);
        lease->mode = target->mode;
        return TRUE;
}

static void close_lease(GlFileLease *lease) {
        /* Whoever gets the lock next must not run into our claim. */
        close_fd(&lease->claim);
        close_fd(&lease->fd);
}

void gl_file_lease_give_back(GlTarget *target) {
        GlFileLease *lease = g_steal_pointer(&target->lease);

        if (!lease)
                return;

        /* The holder may have a copy, and who keeps it. */
        gl_locks_give_up(lease->fd);
        close_lease(lease);
        gl_file_lease_unref(lease);
}

GlFileLease *gl_file_lease_ref(GlFileLease *lease) {
        g_atomic_int_inc(&lease->n_refs);
        return lease;
}

void gl_file_lease_unref(gpointer data) {
        GlFileLease *lease = data;

        if (g_atomic_int_dec_and_test(&lease->n_refs))
                g_free(lease);
}

void gl_file_lease_leave(GlFileLease *lease) {
        if (lease->local)
                close_lease(lease);
        for (guint i = 0; lease->entries && i < lease->entries->len; i++) {
                GlLockspaceEntry *entry = g_ptr_array_index(lease->entries, i);

                /* Others may keep it, locked. */
                entry->is_kept = FALSE;
                if (!entry->local)
                        entry->fd = -1;
        }
        g_clear_pointer(&lease->entries, g_ptr_array_unref);
        gl_file_lease_unref(lease);
}

gboolean gl_file_lease_inspect(GlTarget *target, GError **error) {
        const GlFileLease *lease = target->lease;
        gboolean done;
        int fd;

        if (lease)
                return gl_file_lease_look_at_image(lease->fd, target, error);

        fd = gl_source_open(target->source.box, GL_MODE_READONLY, error);
        if (fd < 0)
                return FALSE;
        done = gl_file_lease_look_at_image(fd, target, error);
        close_fd(&fd);
        return done;
}
