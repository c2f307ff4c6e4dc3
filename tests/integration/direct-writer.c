/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A guest that dies with a write in flight:
 *
 *     direct-writer FILE OFFSET TEXT [BYTE...]
 *
 * Opens FILE with O_DIRECT, puts read locks on the BYTEs, as QEMU does, and hands the kernel through io_uring one write
 * of a block that begins with TEXT. Says "submitted" and does nothing more, so that it can be killed.
 */

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK 4096

__attribute__((noreturn)) static void fail(const char *what, int error) {
        fprintf(stderr, "direct-writer: %s: %s\n", what, strerror(error));
        exit(1);
}

static void lock_byte(int fd, const char *byte) {
        struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = atoll(byte), .l_len = 1};

        if (fcntl(fd, F_OFD_SETLK, &lock) < 0)
                fail("cannot lock", errno);
}

static void submit_write(int fd, off_t offset, const char *text) {
        struct io_uring_sqe *entry;
        struct io_uring ring;
        void *block;
        int r;

        if (posix_memalign(&block, BLOCK, BLOCK) != 0)
                fail("no memory", ENOMEM);
        memset(block, 0, BLOCK);
        strncpy(block, text, BLOCK - 1);
        r = io_uring_queue_init(4, &ring, 0);
        if (r < 0)
                fail("no io_uring", -r);
        entry = io_uring_get_sqe(&ring);
        io_uring_prep_write(entry, fd, block, BLOCK, (uint64_t) offset);
        r = io_uring_submit(&ring);
        if (r != 1)
                fail("cannot submit", r < 0 ? -r : EIO);
}

int main(int argc, char **argv) {
        int fd;

        if (argc < 4) {
                fprintf(stderr, "usage: direct-writer FILE OFFSET TEXT [BYTE...]\n");
                return 2;
        }
        fd = open(argv[1], O_RDWR | O_DIRECT | O_CLOEXEC);
        if (fd < 0)
                fail(argv[1], errno);
        for (int i = 4; i < argc; i++)
                lock_byte(fd, argv[i]);
        submit_write(fd, atoll(argv[2]), argv[3]);
        puts("submitted");
        fflush(stdout);
        while (1)
                pause();
}
