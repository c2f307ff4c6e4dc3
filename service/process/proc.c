/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The texts are the kernel's, but parts of them are a process's own: its name can hold parentheses, spaces and whatever
 * looks like another field.
 */
#include "process/proc.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int gl_proc_parse_stat(const char *text, GlProcStat *stat) {
        /* The second field is the process's own text in parentheses, and may hold anything, ") " too. */
        const char *rest = strrchr(text, ')');
        GlProcStat found;

        if (!rest || sscanf(rest,
                            ") %c %*d %*d %*d %*d %*d %" G_GUINT32_FORMAT
                            " %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %" G_GUINT64_FORMAT,
                            &found.state, &found.flags, &found.start_time) != 3)
                return -EBADMSG;

        *stat = found;
        return 0;
}

int gl_proc_parse_uids(const char *text, guint32 uids[4]) {
        /* The kernel escapes newlines in the name, so no process can make up such a line. */
        const char *line = strstr(text, "\nUid:");
        guint32 found[4];

        if (!line || sscanf(line, "\nUid: %u %u %u %u", &found[0], &found[1], &found[2], &found[3]) != 4)
                return -EBADMSG;
        memcpy(uids, found, sizeof(found));
        return 0;
}

int gl_proc_parse_pidfd(const char *text, int *pid) {
        const char *line = strstr(text, "\nPid:");
        int found;

        if (!line || sscanf(line, "\nPid: %d", &found) != 1)
                return -EBADF;
        *pid = found;
        return 0;
}
