/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

/*
 * What /proc says of a process, as text. Each returns 0, or -EBADMSG (gl_proc_parse_pidfd(): -EBADF) for a text that
 * does not say it, and then its output is untouched.
 */

typedef struct {
        char state;
        guint32 flags; /* PF_… of the kernel's include/linux/sched.h */
        guint64 start_time;
} GlProcStat;

/* /proc/<pid>/stat */
int gl_proc_parse_stat(const char *text, GlProcStat *stat);
/* /proc/<pid>/status: real, effective, saved and file-system uid. */
int gl_proc_parse_uids(const char *text, guint32 uids[4]);
/* /proc/self/fdinfo/<pidfd>: the process's number here; 0 if it has none here, -1 if it was reaped. */
int gl_proc_parse_pidfd(const char *text, int *pid);
