/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A place for state files that fails on demand:
 *
 *     fault-fs DIRECTORY CONTROL MOUNTPOINT
 *
 * Mounts DIRECTORY, as it is, on MOUNTPOINT. The file CONTROL has what fails, read anew with each request: words
 * OPERATION=ERROR, with the operations create, write, rename, unlink, fsync and read and the errors EIO, ENOSPC and
 * EROFS. "half" beside it: of each write half of the bytes land before one fails. Says "ready" when it is mounted.
 */

#define FUSE_USE_VERSION 31

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *directory, *control;

static void read_control(char words[128]) {
        int fd = open(control, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, words, 127);

        words[n < 0 ? 0 : n] = '\0';
        if (fd >= 0)
                close(fd);
}

/* 0 or a negative errno: what is to become of OPERATION now. */
static int fate_of(const char *operation) {
        char words[128], wanted[32];
        const char *at;

        read_control(words);
        snprintf(wanted, sizeof(wanted), "%s=", operation);
        at = strstr(words, wanted);
        if (!at)
                return 0;
        at += strlen(wanted);
        return strncmp(at, "ENOSPC", 6) == 0 ? -ENOSPC : strncmp(at, "EROFS", 5) == 0 ? -EROFS : -EIO;
}

static int full_path(const char *path, char full[PATH_MAX]) {
        return snprintf(full, PATH_MAX, "%s%s", directory, path) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int result_of(int r) {
        return r < 0 ? -errno : 0;
}

static int fault_getattr(const char *path, struct stat *st, struct fuse_file_info *info) {
        char full[PATH_MAX];
        int r = full_path(path, full);

        return r < 0 ? r : result_of(lstat(full, st));
}

static int fault_chmod(const char *path, mode_t mode, struct fuse_file_info *info) {
        char full[PATH_MAX];
        int r = full_path(path, full);

        return r < 0 ? r : result_of(chmod(full, mode));
}

static int fault_mkdir(const char *path, mode_t mode) {
        char full[PATH_MAX];
        int r = full_path(path, full);

        return r < 0 ? r : result_of(mkdir(full, mode));
}

static int open_file(const char *path, int flags, mode_t mode, struct fuse_file_info *info) {
        char full[PATH_MAX];
        int fd, r = full_path(path, full);

        if (r < 0)
                return r;
        fd = open(full, flags | O_CLOEXEC, mode);
        if (fd < 0)
                return -errno;
        info->fh = (uint64_t) fd;
        info->direct_io = 1;
        return 0;
}

static int fault_open(const char *path, struct fuse_file_info *info) {
        return open_file(path, info->flags & O_ACCMODE, 0, info);
}

static int fault_create(const char *path, mode_t mode, struct fuse_file_info *info) {
        int r = fate_of("create");

        return r < 0 ? r : open_file(path, (info->flags & O_ACCMODE) | O_CREAT | O_EXCL, mode, info);
}

static int fault_read(const char *path, char *buffer, size_t size, off_t offset, struct fuse_file_info *info) {
        int r = fate_of("read");
        ssize_t n = r < 0 ? 0 : pread((int) info->fh, buffer, size, offset);

        return r < 0 ? r : n < 0 ? -errno : (int) n;
}

static int fault_write(const char *path, const char *buffer, size_t size, off_t offset, struct fuse_file_info *info) {
        int r = fate_of("write");
        char words[128];
        ssize_t n;

        read_control(words);
        if (r < 0 && !(strstr(words, "half") && size > 64))
                return r;
        n = pwrite((int) info->fh, buffer, r < 0 ? size / 2 : size, offset);
        return n < 0 ? -errno : (int) n;
}

static int fault_rename(const char *from, const char *to, unsigned flags) {
        char full_from[PATH_MAX], full_to[PATH_MAX];
        int r = fate_of("rename");

        if (r < 0 || (r = full_path(from, full_from)) < 0 || (r = full_path(to, full_to)) < 0)
                return r;
        return flags ? -EINVAL : result_of(rename(full_from, full_to));
}

static int fault_unlink(const char *path) {
        char full[PATH_MAX];
        int r = fate_of("unlink");

        return r < 0 || (r = full_path(path, full)) < 0 ? r : result_of(unlink(full));
}

static int fault_rmdir(const char *path) {
        char full[PATH_MAX];
        int r = full_path(path, full);

        return r < 0 ? r : result_of(rmdir(full));
}

static int fault_fsync(const char *path, int only_data, struct fuse_file_info *info) {
        return fate_of("fsync");
}

static int fault_release(const char *path, struct fuse_file_info *info) {
        close((int) info->fh);
        return 0;
}

static int fault_readdir(const char *path, void *buffer, fuse_fill_dir_t fill, off_t offset,
                         struct fuse_file_info *info, enum fuse_readdir_flags flags) {
        char full[PATH_MAX];
        struct dirent *entry;
        DIR *entries;

        if (full_path(path, full) < 0 || !(entries = opendir(full)))
                return -errno;
        while ((entry = readdir(entries)))
                fill(buffer, entry->d_name, NULL, 0, 0);
        closedir(entries);
        return 0;
}

static void *fault_init(struct fuse_conn_info *connection, struct fuse_config *config) {
        config->attr_timeout = config->entry_timeout = config->negative_timeout = 0;
        dprintf(STDOUT_FILENO, "ready\n");
        return NULL;
}

static const struct fuse_operations operations = {
        .init = fault_init,
        .getattr = fault_getattr,
        .chmod = fault_chmod,
        .mkdir = fault_mkdir,
        .open = fault_open,
        .create = fault_create,
        .read = fault_read,
        .write = fault_write,
        .rename = fault_rename,
        .unlink = fault_unlink,
        .rmdir = fault_rmdir,
        .fsync = fault_fsync,
        .release = fault_release,
        .readdir = fault_readdir,
};

int main(int argc, char **argv) {
        char foreground[] = "-f";
        char *arguments[] = {argv[0], foreground, argv[argc - 1], NULL};

        if (argc != 4) {
                fprintf(stderr, "usage: fault-fs DIRECTORY CONTROL MOUNTPOINT\n");
                return 2;
        }
        umask(0);
        directory = argv[1];
        control = argv[2];
        return fuse_main(3, arguments, &operations, NULL);
}
