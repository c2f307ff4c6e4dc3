/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drivers/file-lockspace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "core/obstacle.h"
#include "drivers/file-obstacles.h"
#include "drivers/lockspace-record.h"

/*
 * The lock files have the same locks as an image has, byte 0 as virtlockd, and nobody's data. virtlockd makes them, and
 * removes them when it lets go: whoever has got a lock may have it on a file that is not in the directory any more,
 * looks, and tries again. We never remove one, since others may be about to lock it.
 *
 * Who takes or changes one keeps everybody else away (the byte NEXT, held for writing) until the image is locked as
 * well and the record is written: two hosts never write one record, and a change that the image's locks refuse can
 * always be taken back.
 */

/* So often a lock file may be removed just when we have locked it. */
#define MAX_ATTEMPTS 50

static void close_fd(int *fd) {
        if (*fd >= 0)
                close(*fd);
        *fd = -1;
}

GlLockspaceEntry *gl_lockspace_entry_new(const char *directory, const char *storage, const char *name,
                                         GlTarget *target) {
        GlLockspaceEntry *entry = g_new0(GlLockspaceEntry, 1);

        *entry = (GlLockspaceEntry){.n_refs = 1, .directory = directory, .storage = g_strdup(storage),
                                    .name = g_strdup(name), .target = target, .fd = -1, .directory_fd = -1,
                                    .met = g_ptr_array_new_with_free_func((GDestroyNotify) gl_obstacle_free)};
        return entry;
}

GlLockspaceEntry *gl_lockspace_entry_ref(GlLockspaceEntry *entry) {
        g_atomic_int_inc(&entry->n_refs);
        return entry;
}

void gl_lockspace_entry_unref(gpointer data) {
        GlLockspaceEntry *entry = data;

        if (!g_atomic_int_dec_and_test(&entry->n_refs))
                return;
        gl_lockspace_leave(entry);
        g_ptr_array_unref(entry->met);
        g_free(entry->storage);
        g_free(entry->name);
        g_free(entry);
}

static GlLockLayout layout_of(const GlFileOptions *options) {
        return (GlLockLayout){.owner = GL_BYTE_OWNER, .disk = TRUE, .host_number = options->host_number};
}

/* --- the directory --- */

static gboolean fail(GError **error, const char *path, const char *what) {
        g_autofree char *quoted = gl_quote(path);

        g_set_error(error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE, "The lockspace directory %s %s.", quoted, what);
        return FALSE;
}

static gboolean fail_errno(GError **error, const char *path, const char *what, int saved_errno) {
        g_autofree char *text = g_strdup_printf("%s: %s", what, g_strerror(saved_errno));

        return fail(error, path, text);
}

/* Whoever else could write there could make locks and records of his own. */
static gboolean check_directory(int fd, const char *path, GlFacts *facts, GError **error) {
        struct stat st;
        int r = gl_facts_read(fd, facts);

        if (r < 0 || fstat(fd, &st) < 0)
                return fail_errno(error, path, "cannot be looked at", r < 0 ? -r : errno);
        if (st.st_uid != geteuid() || (st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
                return fail(error, path, "is open to others than root; chown root and chmod 0700 it");
        if (facts->kind == GL_STORAGE_MOUNT)
                return fail(error, path, facts->kind_reason ?: "is on a file system whose locks cannot be relied on");
        return TRUE;
}

/* It is not made: an empty one may well be the mount point of what is not mounted yet. */
static gboolean open_directory(GlLockspaceEntry *entry, GError **error) {
        int fd;

        if (entry->directory_fd >= 0)
                return TRUE;
        fd = open(entry->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return fail_errno(error, entry->directory, "cannot be opened", errno);
        if (!check_directory(fd, entry->directory, &entry->facts, error)) {
                close(fd);
                return FALSE;
        }
        entry->directory_fd = fd;
        return TRUE;
}

/* --- the lock file --- */

static GError *new_file_error(const GlLockspaceEntry *entry, const char *suffix, const char *what, const char *why) {
        g_autofree char *path = g_strdup_printf("%s/%s%s", entry->directory, entry->name, suffix);
        g_autofree char *file = gl_quote(path);
        g_autofree char *disk = gl_quote(entry->target->name);

        return g_error_new(GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE,
                           "Disk %s cannot be locked in the lockspace directory: %s cannot be %s (%s).", disk, file,
                           what, why);
}

static gboolean open_file(GlLockspaceEntry *entry, int flags, GError **error) {
        struct stat st;
        int fd = openat(entry->directory_fd, entry->name,
                        flags | O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600);

        if (fd < 0) {
                if (error)
                        *error = new_file_error(entry, "", "opened", g_strerror(errno));
                return FALSE;
        }
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
                if (error)
                        *error = new_file_error(entry, "", "used", "it is no regular file");
                close(fd);
                return FALSE;
        }
        entry->fd = fd;
        return TRUE;
}

/* What is locked is what the next one will open. */
static gboolean is_still_there(const GlLockspaceEntry *entry) {
        struct stat ours, theirs;

        return fstat(entry->fd, &ours) == 0 &&
               fstatat(entry->directory_fd, entry->name, &theirs, AT_SYMLINK_NOFOLLOW) == 0 &&
               ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

/* --- the record --- */

static char *record_name(const GlLockspaceEntry *entry) {
        return g_strconcat(entry->name, ".guestlock", NULL);
}

/* At most MAX + 1 bytes, so that too many are seen. NULL with errno. */
static char *read_some(int fd, gsize max, gsize *length) {
        g_autofree char *data = g_malloc(max + 1);
        gsize done = 0;

        while (done <= max) {
                ssize_t n = read(fd, data + done, max + 1 - done);

                if (n == 0)
                        break;
                if (n < 0 && errno != EINTR)
                        return NULL;
                if (n > 0)
                        done += (gsize) n;
        }
        *length = done;
        return g_steal_pointer(&data);
}

/* RECORD is NULL where there is none yet. One that is damaged is refused: it is what fences the other hosts. */
static gboolean read_record(const GlLockspaceEntry *entry, GlLockspaceRecord **record, GError **error) {
        g_autofree char *name = record_name(entry), *data = NULL;
        g_autoptr(GError) why = NULL;
        gsize length = 0;
        int fd = openat(entry->directory_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

        *record = NULL;
        if (fd < 0 && errno == ENOENT)
                return TRUE;
        if (fd >= 0)
                data = read_some(fd, GL_LOCKSPACE_RECORD_MAX_BYTES, &length);
        if (!data)
                g_set_error(&why, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE, "%s", g_strerror(errno));
        close_fd(&fd);
        if (data)
                *record = gl_lockspace_record_read(data, length, &why);
        if (!*record)
                *error = new_file_error(entry, ".guestlock", "read", why->message);
        return *record != NULL;
}

static gboolean write_whole(int fd, const char *data, gsize length) {
        while (length > 0) {
                ssize_t n = write(fd, data, length);

                if (n < 0 && errno != EINTR)
                        return FALSE;
                if (n > 0) {
                        data += n;
                        length -= (gsize) n;
                }
        }
        return fsync(fd) == 0;
}

/* Aside, renamed, and on the disk before it returns. */
static gboolean replace_record(const GlLockspaceEntry *entry, const char *data, gsize length, GError **error) {
        g_autofree char *name = record_name(entry), *aside = g_strconcat(name, ".new", NULL);
        int fd = openat(entry->directory_fd, aside, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC,
                        0600);
        gboolean done = fd >= 0 && write_whole(fd, data, length) &&
                        renameat(entry->directory_fd, aside, entry->directory_fd, name) == 0 &&
                        fsync(entry->directory_fd) == 0;

        if (!done)
                *error = new_file_error(entry, ".guestlock", "written", g_strerror(errno));
        close_fd(&fd);
        return done;
}

static gboolean write_record(const GlLockspaceEntry *entry, const GlJob *job, const GlFileOptions *options,
                             GError **error) {
        const GlTarget *target = entry->target;
        const GlLockspaceRecord record = {
                .generations = {.exclusive = entry->recorded.exclusive, .shared = entry->recorded.shared},
                .mode = target->mode,
                .since = job->realtime,
                .pid = job->holder_pid,
                .host_number = options->host_number,
                .guest_uuid = job->guest_uuid,
                .guest_name = job->guest_name,
                .host_id = (char *) options->host_id,
                .host_name = (char *) options->host_name,
                .path = target->name,
        };
        GlLockspaceRecord written = record;
        g_autofree char *data = NULL;
        gsize length;

        if (target->mode == GL_MODE_EXCLUSIVE)
                written.generations.exclusive = job->generation;
        else
                written.generations.shared = job->generation;
        data = gl_lockspace_record_write(&written, &length);
        return replace_record(entry, data, length, error);
}

/* --- who is in the way --- */

static gboolean is_of_record(const GlLockspaceEntry *entry, const GlObstacle *obstacle,
                             const GlLockspaceRecord *record) {
        if (obstacle->has_host_number)
                return obstacle->host_number == record->host_number;
        return obstacle->pid == 0 && gl_locks_has_host(entry->fd, record->host_number);
}

/* The record says who it is, if the lock of its host is there; more is not to be had from another host's kernel. */
static void name_holder(const GlLockspaceEntry *entry, GlObstacle *obstacle) {
        g_autofree char *directory = gl_quote(entry->directory), *via = g_steal_pointer(&obstacle->via);
        g_autoptr(GlLockspaceRecord) record = NULL;
        g_autoptr(GError) error = NULL;

        if (!read_record(entry, &record, &error) || !record || !is_of_record(entry, obstacle, record)) {
                obstacle->via = g_strdup_printf("in the lockspace directory %s, %s", directory,
                                                via ?: "its lock file is locked");
                return;
        }
        obstacle->via = g_strdup_printf("the record in the lockspace directory %s says so", directory);
        obstacle->guest_uuid = g_steal_pointer(&record->guest_uuid);
        obstacle->guest_name = g_steal_pointer(&record->guest_name);
        obstacle->host = g_steal_pointer(&record->host_name);
        obstacle->name = g_steal_pointer(&record->path);
        obstacle->pid = record->pid;
        obstacle->has_mode = TRUE;
        obstacle->mode = record->mode;
        obstacle->since = record->since;
        obstacle->generation = MAX(record->generations.exclusive, record->generations.shared);
        g_clear_pointer(&obstacle->command, g_free);
}

/* R is what a function of file-locks.h returned. */
static gboolean heed_locks(const GlLockspaceEntry *entry, int r, const GlFileOptions *options,
                           const GlLockConflict *conflict, GlFileVerdict *verdict) {
        GlLockLayout layout = layout_of(options);
        g_autoptr(GPtrArray) holders = NULL;
        GPtrArray *obstacles;

        if (r == 0)
                return TRUE;
        if (r != -EAGAIN) {
                gl_file_verdict_add_error(verdict, new_file_error(entry, "", "locked", g_strerror(-r)));
                return FALSE;
        }
        obstacles = g_ptr_array_new_with_free_func((GDestroyNotify) gl_obstacle_free);
        (void) gl_file_obstacles_add_locks(obstacles, entry->fd, &layout, entry->target->mode, FALSE, &holders);
        if (obstacles->len == 0)
                gl_file_obstacles_add_lock(obstacles, entry->fd, &layout, conflict);
        for (guint i = 0; i < obstacles->len; i++)
                name_holder(entry, g_ptr_array_index(obstacles, i));
        gl_file_verdict_add_conflict(verdict, entry->target, obstacles, conflict->brief);
        return FALSE;
}

/* --- taking --- */

static gboolean begin(GlLockspaceEntry *entry, GlLockConflict *conflict, int *r) {
        *r = gl_locks_begin(entry->fd, conflict);
        entry->is_begun = *r == 0;
        return entry->is_begun;
}

static void end(GlLockspaceEntry *entry) {
        if (entry->is_begun)
                gl_locks_end(entry->fd);
        entry->is_begun = FALSE;
        close_fd(&entry->directory_fd);
}

/* One attempt. AGAIN is set when the file was removed meanwhile. */
static gboolean try_to_lock(GlLockspaceEntry *entry, const GlFileOptions *options, gboolean *again,
                            GlFileVerdict *verdict) {
        GlLockLayout layout = layout_of(options);
        GlLockConflict conflict = {0};
        GError *error = NULL;
        int r;

        *again = FALSE;
        if (!open_file(entry, O_CREAT, &error)) {
                gl_file_verdict_add_error(verdict, error);
                return FALSE;
        }
        if (begin(entry, &conflict, &r))
                r = gl_locks_take_begun(entry->fd, &layout, entry->target->mode, &conflict);
        if (r != 0)
                return heed_locks(entry, r, options, &conflict, verdict);
        *again = !is_still_there(entry);
        return !*again;
}

/* What was kept of it still has its locks, if nobody else has unlocked it and it is what the name stands for. */
static gboolean resume(GlLockspaceEntry *entry, const GlFileOptions *options) {
        GlLockLayout layout = layout_of(options);
        GlLockConflict conflict;

        if (entry->fd < 0)
                return FALSE;
        if (is_still_there(entry) && gl_locks_resume(entry->fd, &layout, entry->target->mode, &conflict) == 0)
                return TRUE;
        close_fd(&entry->fd);
        return FALSE;
}

static gboolean lock_file(GlLockspaceEntry *entry, const GlFileOptions *options, GlFileVerdict *verdict) {
        gboolean again = TRUE;

        if (resume(entry, options))
                return TRUE;
        for (guint i = 0; again && i < MAX_ATTEMPTS; i++) {
                if (try_to_lock(entry, options, &again, verdict))
                        return TRUE;
                entry->is_begun = FALSE;
                close_fd(&entry->fd);
        }
        if (again)
                gl_file_verdict_add_error(
                        verdict, new_file_error(entry, "", "kept", "somebody removes it whenever it is locked"));
        return FALSE;
}

/* Of a lease that was held before the service was restarted: has anybody been granted it since? */
static gboolean check_still_ours(const GlLockspaceEntry *entry, const GlJob *job, GlFileVerdict *verdict) {
        const GlTarget *target = entry->target;
        guint64 newest = entry->recorded.exclusive;
        GPtrArray *obstacles;
        GlObstacle *obstacle;

        if (target->mode != GL_MODE_SHARED)
                newest = MAX(newest, entry->recorded.shared);
        if (!job->adopting || newest <= target->generation)
                return TRUE;

        obstacle = gl_obstacle_new();
        obstacle->via = g_strdup("the record in the lockspace directory says that somebody was granted it meanwhile");
        obstacle->generation = newest;
        obstacles = g_ptr_array_new_with_free_func((GDestroyNotify) gl_obstacle_free);
        g_ptr_array_add(obstacles, obstacle);
        gl_file_verdict_add_conflict(verdict, target, obstacles, FALSE);
        return FALSE;
}

static gboolean heed_record(GlLockspaceEntry *entry, GlFileVerdict *verdict) {
        g_autoptr(GlLockspaceRecord) record = NULL;
        GError *error = NULL;

        if (!read_record(entry, &record, &error)) {
                gl_file_verdict_add_error(verdict, error);
                return FALSE;
        }
        entry->recorded = record ? record->generations : (GlRecorded){0};
        return TRUE;
}

gboolean gl_lockspace_enter(GlLockspaceEntry *entry, const GlJob *job, const GlFileOptions *options,
                            GlFileVerdict *verdict) {
        GError *error = NULL;

        if (!open_directory(entry, &error)) {
                /* What is kept is locked as long as it is kept, whatever can be seen of it. */
                if (entry->fd >= 0) {
                        g_error_free(error);
                        return TRUE;
                }
                gl_file_verdict_add_error(verdict, error);
        } else if (lock_file(entry, options, verdict) && heed_record(entry, verdict) &&
                 check_still_ours(entry, job, verdict))
                return TRUE;
        gl_lockspace_leave(entry);
        return FALSE;
}

void gl_lockspace_look(GlLockspaceEntry *entry, const GlFileOptions *options, GlFileVerdict *verdict) {
        GlLockLayout layout = layout_of(options);
        GlLockConflict conflict = {0};

        if (open_directory(entry, NULL) && open_file(entry, 0, NULL))
                (void) heed_locks(entry, gl_locks_look(entry->fd, &layout, entry->target->mode, &conflict), options,
                                  &conflict, verdict);
        gl_lockspace_leave(entry);
}

gboolean gl_lockspace_look_at_all(GlLockspaceEntry *entry, const GlFileOptions *options, GError **error) {
        GlLockLayout layout = layout_of(options);
        g_autoptr(GPtrArray) holders = NULL;
        gboolean done = open_directory(entry, error);
        int r = 0;

        if (done && open_file(entry, 0, NULL))
                r = gl_file_obstacles_add_locks(entry->met, entry->fd, &layout, entry->target->mode, FALSE, &holders);
        for (guint i = 0; i < entry->met->len; i++)
                name_holder(entry, g_ptr_array_index(entry->met, i));
        if (r < 0) {
                g_propagate_error(error, new_file_error(entry, "", "looked at", g_strerror(-r)));
                done = FALSE;
        }
        gl_lockspace_leave(entry);
        return done;
}

/* --- changing, and the ends --- */

gboolean gl_lockspace_change(GlLockspaceEntry *entry, const GlFileOptions *options, GlFileVerdict *verdict) {
        const GlTarget *target = entry->target;
        GlLockLayout layout = layout_of(options);
        GlLockConflict conflict = {0};
        GError *error = NULL;
        int r;

        if (!open_directory(entry, &error)) {
                gl_file_verdict_add_error(verdict, error);
                return FALSE;
        }
        entry->is_changed = FALSE;
        if (begin(entry, &conflict, &r) && heed_record(entry, verdict)) {
                r = gl_locks_change_begun(entry->fd, &layout, target->held_mode, target->mode, &conflict);
                entry->is_changed = r == 0;
        }
        if (entry->is_changed)
                return TRUE;
        (void) heed_locks(entry, r, options, &conflict, verdict);
        end(entry);
        return FALSE;
}

gboolean gl_lockspace_settle(GlLockspaceEntry *entry, const GlJob *job, const GlFileOptions *options,
                             GlFileVerdict *verdict) {
        GError *error = NULL;

        if (entry->target->mode != GL_MODE_READONLY && !job->adopting && !write_record(entry, job, options, &error)) {
                gl_file_verdict_add_error(verdict, error);
                return FALSE;
        }
        end(entry);
        return TRUE;
}

void gl_lockspace_revert(GlLockspaceEntry *entry, const GlFileOptions *options) {
        const GlTarget *target = entry->target;
        GlLockLayout layout = layout_of(options);
        GlLockConflict conflict;
        int r;

        /* Another of the lease's names could not be settled, after this one was. */
        if (entry->is_changed && !entry->is_begun)
                (void) begin(entry, &conflict, &r);
        if (entry->is_changed && entry->is_begun)
                (void) gl_locks_change_begun(entry->fd, &layout, target->mode, target->held_mode, &conflict);
        entry->is_changed = FALSE;
        end(entry);
}

void gl_lockspace_leave(GlLockspaceEntry *entry) {
        if (entry->is_kept && entry->fd >= 0)
                gl_locks_give_up(entry->fd);
        entry->is_begun = entry->is_kept = FALSE;
        close_fd(&entry->fd);
        close_fd(&entry->directory_fd);
}

/* A directory on another device is another one: the right one is not mounted, say. */
gboolean gl_lockspace_is_replaced(GlLockspaceEntry *entry, int fd) {
        struct stat ours, directory, theirs;

        if (!open_directory(entry, NULL) || fstat(fd, &ours) < 0 || fstat(entry->directory_fd, &directory) < 0 ||
            directory.st_dev != ours.st_dev)
                return FALSE;
        if (fstatat(entry->directory_fd, entry->name, &theirs, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT;
        return theirs.st_dev != ours.st_dev || theirs.st_ino != ours.st_ino;
}
