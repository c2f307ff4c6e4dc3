/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Of the library and of the supervisor, which speaks to the service without it. */

#include "open-disk.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * What else it might be the service refuses; O_NONBLOCK keeps a FIFO from waiting for somebody. A device that is only to
 * be read is not opened for writing: the end of a writer has udev look at it anew.
 */
int gl_open_disk(const char *path, gboolean only_read) {
        const int flags = O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
        g_autofree char *same = NULL;
        struct stat st;
        int fd, better;

        if (!only_read)
                return open(path, O_RDWR | flags);
        fd = open(path, O_RDONLY | flags);
        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
                return fd;
        same = g_strdup_printf("/proc/self/fd/%d", fd);
        better = open(same, O_RDWR | flags);
        if (better < 0)
                return fd;
        close(fd);
        return better;
}
