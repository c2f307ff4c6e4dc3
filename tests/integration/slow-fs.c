/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A FUSE file system whose storage is slow, hangs or fails, as a file says from one request to the next:
 *
 *     slow-fs DIRECTORY CONTROL MOUNTPOINT
 *
 * It passes the files of DIRECTORY through. CONTROL holds one of "ok", "slow N" (writes take N milliseconds), "hold"
 * (writes wait until CONTROL says something else), "hang" (every request does) and "eio" (reading, writing and syncing
 * fail); it is to be replaced by renaming, because what is read must be whole. Nothing is cached here, and as little as
 * possible in the kernel. For each write a line goes to standard output when it comes in, and one when it has landed.
 * Ends when it is unmounted.
 */

#define FUSE_USE_VERSION 31

#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define POLL_USEC 5000

static const char *directory, *control;

static void read_control(char mode[32]) {
        int fd = open(control, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, mode, 31);

        mode[n < 0 ? 0 : n] = '\0';
        if (fd >= 0)
                close(fd);
}

/* Waits while everything hangs, or writes are held; then 0, or -EIO for a request that touches data. */
static int wait_for_storage(int touches_data, int writes) {
        unsigned milliseconds;
        char mode[32];

        read_control(mode);
        while (strncmp(mode, "hang", strlen("hang")) == 0 || (writes && strncmp(mode, "hold", strlen("hold")) == 0)) {
                usleep(POLL_USEC);
                read_control(mode);
        }
        if (touches_data && strncmp(mode, "eio", strlen("eio")) == 0)
                return -EIO;
        if (writes && sscanf(mode, "slow %u", &milliseconds) == 1)
                usleep(milliseconds * 1000);
        return 0;
}

static int full_path(const char *path, char full[PATH_MAX]) {
        return snprintf(full, PATH_MAX, "%s%s", directory, path) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int slow_getattr(const char *path, struct stat *st, struct fuse_file_info *info) {
        char full[PATH_MAX];
        int r = full_path(path, full);

        wait_for_storage(0, 0);
        if (r < 0)
                return r;
        return lstat(full, st) < 0 ? -errno : 0;
}

static int slow_open(const char *path, struct fuse_file_info *info) {
        char full[PATH_MAX];
        int fd, r = full_path(path, full);

        wait_for_storage(0, 0);
        if (r < 0)
                return r;
        fd = open(full, (info->flags & O_ACCMODE) | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        info->fh = (uint64_t) fd;
        info->direct_io = 1;
        return 0;
}

static int slow_read(const char *path, char *buffer, size_t size, off_t offset, struct fuse_file_info *info) {
        int r = wait_for_storage(1, 0);
        ssize_t n;

        if (r < 0)
                return r;
        n = pread((int) info->fh, buffer, size, offset);
        return n < 0 ? -errno : (int) n;
}

static int slow_write(const char *path, const char *buffer, size_t size, off_t offset, struct fuse_file_info *info) {
        ssize_t n;
        int r;

        dprintf(STDOUT_FILENO, "write %s begins\n", path);
        r = wait_for_storage(1, 1);
        if (r < 0)
                return r;
        n = pwrite((int) info->fh, buffer, size, offset);
        if (n < 0)
                return -errno;
        dprintf(STDOUT_FILENO, "write %s has landed\n", path);
        return (int) n;
}

static int slow_fsync(const char *path, int only_data, struct fuse_file_info *info) {
        return wait_for_storage(1, 0);
}

static int slow_release(const char *path, struct fuse_file_info *info) {
        close((int) info->fh);
        return 0;
}

static void *slow_init(struct fuse_conn_info *connection, struct fuse_config *config) {
        config->attr_timeout = 0;
        config->entry_timeout = 0;
        config->negative_timeout = 0;
        /* So that an image has here the inode number that it has below. */
        config->use_ino = 1;
        dprintf(STDOUT_FILENO, "ready\n");
        return NULL;
}

static const struct fuse_operations operations = {
        .init = slow_init,
        .getattr = slow_getattr,
        .open = slow_open,
        .read = slow_read,
        .write = slow_write,
        .fsync = slow_fsync,
        .release = slow_release,
};

int main(int argc, char **argv) {
        char foreground[] = "-f";
        char *arguments[] = {argv[0], foreground, argv[argc - 1], NULL};

        if (argc != 4) {
                fprintf(stderr, "usage: slow-fs DIRECTORY CONTROL MOUNTPOINT\n");
                return 2;
        }
        directory = argv[1];
        control = argv[2];
        return fuse_main(3, arguments, &operations, NULL);
}
