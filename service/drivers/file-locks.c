/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drivers/file-locks.h"

#include <errno.h>
#include <fcntl.h>

/*
 * Single bytes, open-file-description locks, never a whole file: QEMU looks at its own bytes and stops when they are
 * locked.
 *
 * NEXT goes first and is given up last, so that whoever comes to write is alone while the marks are looked at and
 * set; readers, who may only have read-only descriptors, take it with read locks, which keeps writers out and
 * leaves readers to themselves. OWNER alone says exclusive or not, to virtlockd as well. The marks tell readers from
 * writers that know of each other, who both have a read lock on OWNER. Nobody ever takes a write lock on a
 * mark: it is looked at by asking whether one could be had.
 */

static int set_lock(int fd, short type, guint64 byte) {
        struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t) byte, .l_len = 1};

        if (fcntl(fd, F_OFD_SETLK, &lock) < 0)
                return errno == EACCES ? -EAGAIN : -errno;
        return 0;
}

/* Sets LOCK to what keeps FD's description from having TYPE on [FIRST, LAST], its l_type to F_UNLCK if nothing does. */
static int get_lock(int fd, short type, guint64 first, guint64 last, struct flock *lock) {
        *lock = (struct flock){
                .l_type = type, .l_whence = SEEK_SET, .l_start = (off_t) first, .l_len = (off_t) (last - first + 1)};
        return fcntl(fd, F_OFD_GETLK, lock) < 0 ? -errno : 0;
}

/* Is TYPE to be had on BYTE? */
static int look_at(int fd, short type, guint64 byte, GlLockConflict *conflict) {
        struct flock lock;
        int r;

        r = get_lock(fd, type, byte, byte, &lock);
        if (r < 0 || lock.l_type == F_UNLCK)
                return r;

        *conflict = (GlLockConflict){
                .byte = byte, .for_writing = type == F_WRLCK, .pid = lock.l_pid > 0 ? (guint32) lock.l_pid : 0};
        return -EAGAIN;
}

static int take(int fd, short type, guint64 byte, GlLockConflict *conflict) {
        int r;

        r = set_lock(fd, type, byte);
        if (r != -EAGAIN)
                return r;

        /* Whoever was in the way may be gone by the time we ask who it was: then trying again helps. */
        r = look_at(fd, type, byte, conflict);
        if (r == 0)
                *conflict = (GlLockConflict){.byte = byte, .for_writing = type == F_WRLCK, .brief = TRUE};
        return r == 0 ? -EAGAIN : r;
}

static short owner_type(GlMode mode) {
        return mode == GL_MODE_EXCLUSIVE ? F_WRLCK : F_RDLCK;
}

static guint64 mark_of(GlMode mode) {
        return mode == GL_MODE_READONLY ? GL_BYTE_READER : GL_BYTE_WRITER;
}

static guint64 opposite_mark_of(GlMode mode) {
        return mode == GL_MODE_READONLY ? GL_BYTE_WRITER : GL_BYTE_READER;
}

static int take_next(int fd, GlMode mode, GlLockConflict *conflict) {
        int r = take(fd, mode == GL_MODE_READONLY ? F_RDLCK : F_WRLCK, GL_BYTE_NEXT, conflict);

        if (r == -EAGAIN)
                conflict->brief = TRUE;
        return r;
}

static int take_mark(int fd, GlMode mode, GlLockConflict *conflict) {
        int r;

        if (mode == GL_MODE_EXCLUSIVE)
                return 0;

        r = look_at(fd, F_WRLCK, opposite_mark_of(mode), conflict);
        return r < 0 ? r : take(fd, F_RDLCK, mark_of(mode), conflict);
}

int gl_locks_begin(int fd, GlLockConflict *conflict) {
        return take_next(fd, GL_MODE_EXCLUSIVE, conflict);
}

void gl_locks_end(int fd) {
        (void) set_lock(fd, F_UNLCK, GL_BYTE_NEXT);
}

int gl_locks_take_begun(int fd, const GlLockLayout *layout, GlMode mode, GlLockConflict *conflict) {
        int r;

        r = take(fd, owner_type(mode), layout->owner, conflict);
        if (r == 0)
                r = take_mark(fd, mode, conflict);
        if (r == 0)
                r = take(fd, F_RDLCK, GL_BYTE_HOST + layout->host_number, conflict);
        return r;
}

int gl_locks_take(int fd, const GlLockLayout *layout, GlMode mode, GlLockConflict *conflict) {
        int r;

        if (!layout->disk)
                return take(fd, owner_type(mode), layout->owner, conflict);

        r = take_next(fd, mode, conflict);
        if (r == 0)
                r = gl_locks_take_begun(fd, layout, mode, conflict);
        if (r == 0)
                r = set_lock(fd, F_UNLCK, GL_BYTE_NEXT);

        return r;
}

/* OLD's own mark would be seen as somebody's; NEXT makes it safe to be without one for a moment. */
static int change_mark(int old, int new, GlMode from, GlMode to, GlLockConflict *conflict) {
        if (to == GL_MODE_EXCLUSIVE)
                return 0;

        if (from != GL_MODE_EXCLUSIVE)
                (void) set_lock(old, F_UNLCK, mark_of(from));
        return take_mark(new, to, conflict);
}

static void restore_mark(int old, int new, GlMode from, GlMode to) {
        if (to == GL_MODE_EXCLUSIVE)
                return;

        (void) set_lock(new, F_UNLCK, mark_of(to));
        if (from != GL_MODE_EXCLUSIVE)
                (void) set_lock(old, F_RDLCK, mark_of(from));
}

/*
 * Read locks of two descriptions go together, and one is turned into a write lock in place, where a refusal leaves it
 * a read lock: so NEW reads beside OLD, OLD lets go, NEW rises, and there is no gap into which a stranger who
 * knows only this byte could step.
 */
static int change_owner(int old, int new, guint64 byte, GlMode to, GlLockConflict *conflict) {
        int r;

        if (to != GL_MODE_EXCLUSIVE)
                return take(new, F_RDLCK, byte, conflict);
        if (new == old)
                return take(new, F_WRLCK, byte, conflict);

        r = take(new, F_RDLCK, byte, conflict);
        if (r < 0)
                return r;

        (void) set_lock(old, F_UNLCK, byte);
        r = take(new, F_WRLCK, byte, conflict);
        if (r < 0)
                (void) set_lock(old, F_RDLCK, byte);
        return r;
}

static int change_disk(int old, int new, const GlLockLayout *layout, GlMode from, GlMode to, GlLockConflict *conflict) {
        int r;

        r = take(new, F_RDLCK, GL_BYTE_HOST + layout->host_number, conflict);
        if (r < 0)
                return r;

        r = change_mark(old, new, from, to, conflict);
        if (r == 0)
                r = change_owner(old, new, layout->owner, to, conflict);
        if (r < 0) {
                restore_mark(old, new, from, to);
                return r;
        }

        if (to == GL_MODE_EXCLUSIVE && from != GL_MODE_EXCLUSIVE)
                (void) set_lock(old, F_UNLCK, mark_of(from));
        return 0;
}

int gl_locks_change(int old, int new, const GlLockLayout *layout, GlMode from, GlMode to, GlLockConflict *conflict) {
        int r;

        if (!layout->disk)
                return change_owner(old, new, layout->owner, to, conflict);

        r = take_next(new, to, conflict);
        if (r < 0)
                return r;
        r = change_disk(old, new, layout, from, to, conflict);
        (void) set_lock(new, F_UNLCK, GL_BYTE_NEXT);

        return r;
}

/* A change of the mode that was cut short leaves NEXT, and perhaps a mark. */
static void give_up_the_rest(int fd, GlMode mode) {
        if (mode != GL_MODE_READONLY)
                (void) set_lock(fd, F_UNLCK, GL_BYTE_READER);
        if (mode != GL_MODE_SHARED)
                (void) set_lock(fd, F_UNLCK, GL_BYTE_WRITER);
        (void) set_lock(fd, F_UNLCK, GL_BYTE_NEXT);
}

int gl_locks_resume(int fd, const GlLockLayout *layout, GlMode mode, GlLockConflict *conflict) {
        int r;

        if (!layout->disk)
                return take(fd, owner_type(mode), layout->owner, conflict);
        /* Without NEXT: who has that is no reason to think that ours are gone. */
        r = gl_locks_take_begun(fd, layout, mode, conflict);
        if (r == 0)
                give_up_the_rest(fd, mode);
        return r;
}

void gl_locks_give_up(int fd) {
        struct flock everything = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

        (void) fcntl(fd, F_OFD_SETLK, &everything);
}

int gl_locks_change_begun(int fd, const GlLockLayout *layout, GlMode from, GlMode to, GlLockConflict *conflict) {
        return change_disk(fd, fd, layout, from, to, conflict);
}

int gl_locks_look(int fd, const GlLockLayout *layout, GlMode mode, GlLockConflict *conflict) {
        int r;

        r = look_at(fd, owner_type(mode), layout->owner, conflict);
        if (r < 0 || !layout->disk || mode == GL_MODE_EXCLUSIVE)
                return r;

        return look_at(fd, F_WRLCK, opposite_mark_of(mode), conflict);
}

int gl_locks_look_for_qemu(int fd, GlMode mode, GlLockConflict *conflict) {
        int r = 0;

        /* Readers mind a writer, writers mind who wants no writer, and the exclusive mind both. */
        if (mode != GL_MODE_SHARED)
                r = look_at(fd, F_WRLCK, GL_BYTE_QEMU_WRITES, conflict);
        if (r == 0 && mode != GL_MODE_READONLY)
                r = look_at(fd, F_WRLCK, GL_BYTE_QEMU_NO_WRITER, conflict);
        if (r == -EAGAIN)
                conflict->brief = TRUE;

        return r;
}

int gl_locks_look_at_all(int fd, const GlLockLayout *layout, GlMode mode, gboolean for_qemu,
                         GlLockConflict met[GL_LOCKS_MAX_MET]) {
        const struct {
                guint64 byte;
                short type;
                gboolean wanted;
        } looks[] = {
                {layout->owner, owner_type(mode), TRUE},
                {opposite_mark_of(mode), F_WRLCK, layout->disk && mode != GL_MODE_EXCLUSIVE},
                {GL_BYTE_QEMU_WRITES, F_WRLCK, layout->disk && for_qemu && mode != GL_MODE_SHARED},
                {GL_BYTE_QEMU_NO_WRITER, F_WRLCK, layout->disk && for_qemu && mode != GL_MODE_READONLY},
                {GL_BYTE_NEXT, mode == GL_MODE_READONLY ? F_RDLCK : F_WRLCK, layout->disk},
        };
        int n = 0, r;

        for (guint i = 0; i < G_N_ELEMENTS(looks); i++) {
                if (!looks[i].wanted)
                        continue;
                r = look_at(fd, looks[i].type, looks[i].byte, &met[n]);
                if (r < 0 && r != -EAGAIN)
                        return r;
                n += r == -EAGAIN;
        }
        return n;
}

gboolean gl_locks_has_host(int fd, guint32 host_number) {
        guint64 byte = GL_BYTE_HOST + host_number;

        return gl_locks_look_at_range(fd, byte, byte, NULL) == -EAGAIN;
}

int gl_locks_find_in_range(int fd, guint64 first, guint64 last, GlHeldRange *range) {
        struct flock lock;
        int r;

        r = get_lock(fd, F_WRLCK, first, last, &lock);
        if (r < 0 || lock.l_type == F_UNLCK)
                return r;

        *range = (GlHeldRange){
                .first = MAX((guint64) lock.l_start, first),
                .last = lock.l_len == 0 ? last : MIN((guint64) lock.l_start + (guint64) lock.l_len - 1, last),
                .write = lock.l_type == F_WRLCK,
        };
        return -EAGAIN;
}

int gl_locks_look_at_range(int fd, guint64 first, guint64 last, guint64 *byte) {
        GlHeldRange range;
        int r = gl_locks_find_in_range(fd, first, last, &range);

        if (r == -EAGAIN && byte)
                *byte = range.first;
        return r;
}
