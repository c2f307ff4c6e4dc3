/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A FUSE file system whose owner means harm:
 *
 *     hostile-fs CONTROL MOUNTPOINT [OPTIONS]
 *
 * Whatever name is asked for is there, and is what the file CONTROL says at that moment, in words:
 *
 *     type=regular|directory|fifo|socket|char|block|symlink|flip    (flip: another type at each look)
 *     target=PATH     what a symlink says
 *     inode=N size=N device=N      numbers, the device's as st_rdev
 *     look=ERRNO open=ERRNO        looking at it, or opening it, fails
 *     hang=look|open|read|all      that request is not answered until CONTROL says something else
 *
 * CONTROL is to be replaced by renaming. Nothing is cached, here or in the kernel. Ends when it is unmounted.
 */

#define FUSE_USE_VERSION 31

#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define POLL_USEC 5000

static const char *control;

/* The value of KEY, "" if there is none. */
static void look_up(const char *key, char value[512]) {
        char text[4096], *at, *rest;
        int fd = open(control, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

        if (fd >= 0)
                close(fd);
        text[n < 0 ? 0 : n] = '\0';
        value[0] = '\0';
        for (at = strtok_r(text, " \n", &rest); at; at = strtok_r(NULL, " \n", &rest))
                if (strncmp(at, key, strlen(key)) == 0 && at[strlen(key)] == '=')
                        snprintf(value, 512, "%s", at + strlen(key) + 1);
}

static unsigned long long number_of(const char *key) {
        char value[512];

        look_up(key, value);
        return strtoull(value, NULL, 10);
}

static void hang_if(const char *request) {
        char value[512];

        look_up("hang", value);
        while (strcmp(value, request) == 0 || strcmp(value, "all") == 0) {
                usleep(POLL_USEC);
                look_up("hang", value);
        }
}

static mode_t type_now(void) {
        static const struct {
                const char *word;
                mode_t type;
        } types[] = {
                {"regular", S_IFREG}, {"directory", S_IFDIR}, {"fifo", S_IFIFO},   {"socket", S_IFSOCK},
                {"char", S_IFCHR},    {"block", S_IFBLK},     {"symlink", S_IFLNK},
        };
        static atomic_uint n_looks;
        char word[512];

        look_up("type", word);
        if (strcmp(word, "flip") == 0)
                return types[n_looks++ % (sizeof types / sizeof *types)].type;
        for (size_t i = 0; i < sizeof types / sizeof *types; i++)
                if (strcmp(word, types[i].word) == 0)
                        return types[i].type;
        return S_IFREG;
}

static int hostile_getattr(const char *path, struct stat *st, struct fuse_file_info *info) {
        *st = (struct stat){.st_mode = S_IFDIR | 0777, .st_nlink = 1, .st_ino = 1, .st_uid = getuid()};
        if (strcmp(path, "/") == 0)
                return 0;
        hang_if("look");
        st->st_mode = type_now() | 0666;
        st->st_ino = number_of("inode");
        st->st_size = (off_t) number_of("size");
        st->st_rdev = (dev_t) number_of("device");
        return -(int) number_of("look");
}

static int hostile_readlink(const char *path, char *buffer, size_t size) {
        char target[512];

        hang_if("look");
        look_up("target", target);
        snprintf(buffer, size, "%s", target);
        return 0;
}

static int hostile_open(const char *path, struct fuse_file_info *info) {
        hang_if("open");
        return -(int) number_of("open");
}

static int hostile_read(const char *path, char *buffer, size_t size, off_t offset, struct fuse_file_info *info) {
        hang_if("read");
        memset(buffer, 0, size);
        return (int) size;
}

static void *hostile_init(struct fuse_conn_info *connection, struct fuse_config *config) {
        config->attr_timeout = 0;
        config->entry_timeout = 0;
        config->negative_timeout = 0;
        config->use_ino = 1;
        dprintf(STDOUT_FILENO, "ready\n");
        return NULL;
}

static const struct fuse_operations operations = {
        .init = hostile_init,
        .getattr = hostile_getattr,
        .readlink = hostile_readlink,
        .open = hostile_open,
        .read = hostile_read,
};

int main(int argc, char **argv) {
        char foreground[] = "-f", option[] = "-o";
        char *arguments[] = {argv[0], foreground, argv[2], option, argv[3], NULL};

        if (argc != 3 && argc != 4) {
                fprintf(stderr, "usage: hostile-fs CONTROL MOUNTPOINT [OPTIONS]\n");
                return 2;
        }
        control = argv[1];
        return fuse_main(argc == 4 ? 5 : 3, arguments, &operations, NULL);
}
