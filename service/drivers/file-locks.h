/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <sys/types.h>

#include "core/types.h"
#include "drivers/holders.h"

/* The bytes of an image that mean something. Nobody reads or writes data by these locks. */
#define GL_BYTE_OWNER          G_GUINT64_CONSTANT(0) /* as virtlockd has it */
#define GL_BYTE_QEMU_WRITES    G_GUINT64_CONSTANT(101)
#define GL_BYTE_QEMU_NO_WRITER G_GUINT64_CONSTANT(201)
#define GL_BYTE_QEMU_FIRST     G_GUINT64_CONSTANT(100)
#define GL_BYTE_QEMU_LAST      G_GUINT64_CONSTANT(299)
#define GL_BYTE_HOST           (G_GUINT64_CONSTANT(1) << 60) /* + host number */
#define GL_BYTE_NEXT           (G_GUINT64_CONSTANT(1) << 62)
#define GL_BYTE_READER         (GL_BYTE_NEXT + 1)
#define GL_BYTE_WRITER         (GL_BYTE_NEXT + 2)

/* Which of them one resource uses. */
typedef struct {
        guint64 owner;       /* GL_BYTE_OWNER, or the byte of a lease file that the resource is */
        gboolean disk;       /* a whole image: with NEXT, the marks and the host byte */
        guint32 host_number;
} GlLockLayout;

/* What a lock ran into. */
typedef struct {
        guint64 byte;
        gboolean for_writing; /* a write lock was wanted there, so that read locks are in the way too */
        guint32 pid;          /* 0: unknown, as with every open-file-description lock */
        gboolean brief;       /* it may well be over in a moment */
} GlLockConflict;

/*
 * Each returns 0, -EAGAIN with CONFLICT set, or another negative errno with CONFLICT untouched. None blocks on
 * a holder.
 */

/* Takes everything that MODE needs. On failure FD's description may keep some of it: close it. */
int gl_locks_take(int fd, const GlLockLayout *layout, GlMode mode, GlLockConflict *conflict);

/*
 * The same in steps, for who has more to do before anybody else may come near: gl_locks_begin() keeps everybody
 * out who is not in yet, readers too, until gl_locks_end(). FD is open for writing.
 */
int gl_locks_begin(int fd, GlLockConflict *conflict);
int gl_locks_take_begun(int fd, const GlLockLayout *layout, GlMode mode, GlLockConflict *conflict);
int gl_locks_change_begun(int fd, const GlLockLayout *layout, GlMode from, GlMode to, GlLockConflict *conflict);
void gl_locks_end(int fd);

/*
 * Turns what OLD holds in mode FROM into mode TO, held by NEW, which is OLD itself or another description of the
 * same file (a read-only one cannot carry a write lock). At no moment is the file without a lock of ours. After
 * success OLD, if it is another, is to be closed; on failure OLD holds FROM as before, and NEW is to be closed.
 */
int gl_locks_change(int old, int new, const GlLockLayout *layout, GlMode from, GlMode to, GlLockConflict *conflict);

/*
 * Has FD's description, which had the locks, take them again: it changes nothing if it still has them. What it has
 * besides, from a change that was cut short, it gives up.
 */
int gl_locks_resume(int fd, const GlLockLayout *layout, GlMode mode, GlLockConflict *conflict);

/* Whatever FD's description holds, copies of it in other processes included. */
void gl_locks_give_up(int fd);

/* Would gl_locks_take() run into somebody who stays? Takes nothing. */
int gl_locks_look(int fd, const GlLockLayout *layout, GlMode mode, GlLockConflict *conflict);

/* Does a QEMU use the image in a way that MODE does not go with? Always brief: qemu-img comes and goes. */
int gl_locks_look_for_qemu(int fd, GlMode mode, GlLockConflict *conflict);

/*
 * All that FD's description would run into in MODE, with the byte NEXT, and with a QEMU's where FOR_QEMU: sets MET to
 * it, and returns how many, or a negative errno. Takes nothing.
 */
#define GL_LOCKS_MAX_MET 8
int gl_locks_look_at_all(int fd, const GlLockLayout *layout, GlMode mode, gboolean for_qemu,
                         GlLockConflict met[GL_LOCKS_MAX_MET]);

/* Does another description than FD's hold the byte of that host? */
gboolean gl_locks_has_host(int fd, guint32 host_number);

/* Does anybody but FD's description hold a lock on [FIRST, LAST]? BYTE (nullable) is set to the first one found. */
int gl_locks_look_at_range(int fd, guint64 first, guint64 last, guint64 *byte);
/* The same, and RANGE is what of [FIRST, LAST] one of those locks has, not always the first. */
int gl_locks_find_in_range(int fd, guint64 first, guint64 last, GlHeldRange *range);
