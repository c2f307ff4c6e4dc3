/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <systemd/sd-event.h>

/*
 * A process, known by its pidfd and not by a number that may be somebody else's tomorrow;
 * across restarts of the service by pid, start time and boot id.
 *
 * Reference counted (g_atomic_rc_box), so that the core can carry it as a GlHandle.
 */
typedef struct {
        guint32 pid;
        guint64 start_time; /* field 22 of /proc/<pid>/stat, clock ticks since boot */
        int pidfd;          /* close-on-exec */
        /* Real, effective, saved and file-system uid, read between two looks at the pidfd. */
        guint32 uids[4];
} GlProcess;

/*
 * Both fail with GL_ERROR_INVALID_ARGS for a pid that is not there or already dead, pid 0 and 1, the service itself, a
 * kernel thread, a thread that is not its process's first, and a zombie. The descriptor is borrowed.
 */
GlProcess *gl_process_open(guint32 pid, GError **error);
GlProcess *gl_process_open_pidfd(int pidfd, GError **error);

/*
 * The process that had this pid and start time, if it still lives and this is still the same boot; else NULL without an
 * error. NULL with ERROR is no answer (no descriptors left, /proc unreadable): it may live and write.
 */
GlProcess *gl_process_find(guint32 pid, guint64 start_time, const char *boot_id, GError **error);

GlProcess *gl_process_ref(GlProcess *process);
void gl_process_unref(GlProcess *process);
void gl_process_clear(gpointer process); /* for GlHandle */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlProcess, gl_process_unref)

/* Whether all four uids are UID: then its owner may name it without an administrator's leave. */
gboolean gl_process_belongs_to(const GlProcess *process, guint32 uid);

/* Calls EXITED(user_data) once, on the loop, when the process is gone. Unreffing *source stops it. */
typedef void (*GlProcessExited)(gpointer user_data);
int gl_process_watch(GlProcess *process, sd_event *event, GlProcessExited exited, gpointer user_data,
                     sd_event_source **source);

/*
 * Sends SIGNAL from a short-lived helper process that has UID's identity, so that the kernel
 * checks once more whether that user may. Does not wait; DONE (nullable) gets 0 or a
 * negative errno on the loop: -ECANCELED when the helper was killed; nothing when the loop is freed before. For uid 0
 * the service sends it itself, and DONE is called before this returns, as when no helper can be started.
 */
typedef void (*GlProcessSignalled)(int result, gpointer user_data);
void gl_process_signal(GlProcess *process, sd_event *event, guint32 uid, int signal, GlProcessSignalled done,
                       gpointer user_data);

/* This boot's id, 32 hexadecimal digits. (static) */
const char *gl_boot_id(void);
