/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A guest that trusts its lease: it increments a counter in the first block of each disk that it is told to use, by
 * reading it, waiting, and writing it, with no lock of its own, and writes down what it did.
 *
 *     crash-guest LOGS NUMBER LIFETIME SEED
 *
 * NUMBER tells it from all others, LIFETIME is in milliseconds. Standard input is a SOCK_SEQPACKET socket; each message
 * is answered with "ok" or what went wrong:
 *
 *     use INDEX exclusive|shared|readonly GENERATION plain|uring PATH
 *     drop INDEX     it does not touch this disk any more
 *     keep           it has the descriptors that come with this open for as long as it lives
 *     end            it drops everything and ends
 *
 * Who told it may go: it then goes on until its life is over. It writes by io_uring where it is told to, since such
 * writes can land after its death.
 *
 * The log of a disk, LOGS/INDEX, has records of RECORD bytes, so that none is ever torn, each appended by one write():
 * KIND NOW BEGAN GUEST SESSION GENERATION MODE, who wrote the counter that it found (COUNTER GUEST WRITE), and the
 * counter that it writes with the number of this write. KIND is "open" and "close" for a session; "begin" and "end" of
 * a write; "see" for a counter that was only looked at, and "moved" for one that changed while nobody else may write.
 * Times are CLOCK_MONOTONIC in ns.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifdef HAVE_LIBURING
#include <liburing.h>
#endif

#define BLOCK       4096
#define RECORD      256
#define MAX_DISKS   16
#define MAX_FDS     16
#define OWN_BLOCKS  64
#define PAUSE_USEC  6000
#define MAX_MESSAGE 4200

/* Who wrote the counter: the first block of each disk begins with it. */
typedef struct {
        uint64_t counter;
        uint64_t guest;
        uint64_t write;
} Stamp;

typedef struct {
        bool used;
        bool uring;
        char mode; /* x, w, r */
        int fd, log;
        uint64_t session, generation;
} Disk;

static Disk disks[MAX_DISKS];
static const char *logs;
static uint64_t number, n_sessions, n_writes;
static uint64_t random_state;
static void *block;
#ifdef HAVE_LIBURING
static struct io_uring ring;
#endif

__attribute__((noreturn)) static void fail(const char *what, int error) {
        fprintf(stderr, "crash-guest %" PRIu64 ": %s: %s\n", number, what, strerror(error));
        exit(1);
}

static uint64_t now(void) {
        struct timespec time;

        clock_gettime(CLOCK_MONOTONIC, &time);
        return (uint64_t) time.tv_sec * 1000000000 + (uint64_t) time.tv_nsec;
}

/* xorshift64 */
static uint64_t draw(uint64_t below) {
        random_state ^= random_state << 13;
        random_state ^= random_state >> 7;
        random_state ^= random_state << 17;
        return random_state % below;
}

/* --- the log --- */

static void note(const Disk *disk, const char *kind, uint64_t began, const Stamp *found, const Stamp *made) {
        char record[RECORD];
        int n = snprintf(record, sizeof record,
                         "%s %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %c %" PRIu64 " %" PRIu64
                         " %" PRIu64 " %" PRIu64 " %" PRIu64,
                         kind, now(), began, number, disk->session, disk->generation, disk->mode, found->counter,
                         found->guest, found->write, made->counter, made->write);

        if (n < 0 || n >= RECORD)
                fail("a record is too long", EOVERFLOW);
        memset(record + n, ' ', (size_t) (RECORD - n));
        record[RECORD - 1] = '\n';
        if (write(disk->log, record, RECORD) != RECORD)
                fail("the log", errno);
}

/* --- the disk --- */

static void look(const Disk *disk, Stamp *found) {
        if (pread(disk->fd, block, BLOCK, 0) != BLOCK)
                fail("reading a disk", errno);
        memcpy(found, block, sizeof *found);
}

static void put_by_uring(const Disk *disk, off_t offset) {
#ifdef HAVE_LIBURING
        struct io_uring_sqe *entry = io_uring_get_sqe(&ring);
        struct io_uring_cqe *done;
        int r;

        io_uring_prep_write(entry, disk->fd, block, BLOCK, (uint64_t) offset);
        r = io_uring_submit(&ring);
        if (r != 1)
                fail("handing a write to io_uring", r < 0 ? -r : EIO);
        do
                r = io_uring_wait_cqe(&ring, &done);
        while (r == -EINTR);
        if (r < 0 || done->res != BLOCK)
                fail("writing a disk by io_uring", r < 0 ? -r : EIO);
        io_uring_cqe_seen(&ring, done);
#else
        fail("it was built without io_uring", ENOSYS);
#endif
}

static void put(const Disk *disk, off_t offset, const Stamp *made) {
        memset(block, 0, BLOCK);
        memcpy(block, made, sizeof *made);
        if (disk->uring)
                put_by_uring(disk, offset);
        else if (pwrite(disk->fd, block, BLOCK, offset) != BLOCK)
                fail("writing a disk", errno);
}

static bool is_same(const Stamp *a, const Stamp *b) {
        return memcmp(a, b, sizeof *a) == 0;
}

/* Those who share a disk each have a block of their own there, and look at the counter that none of them writes. */
static void step(const Disk *disk) {
        static const Stamp nothing;
        uint64_t began = now();
        Stamp found, again, made;

        look(disk, &found);
        usleep((useconds_t) draw(PAUSE_USEC));
        look(disk, &again);
        if (!is_same(&found, &again))
                note(disk, "moved", began, &found, &again);
        if (disk->mode != 'x')
                note(disk, "see", began, &again, &nothing);
        if (disk->mode == 'w')
                put(disk, (off_t) (BLOCK * (1 + number % OWN_BLOCKS)), &again);
        if (disk->mode != 'x')
                return;
        made = (Stamp){again.counter + 1, number, ++n_writes};
        note(disk, "begin", began, &again, &made);
        put(disk, 0, &made);
        note(disk, "end", began, &again, &made);
}

/* --- what it is told --- */

static int open_disk(const char *path, int flags) {
        int fd = open(path, flags | O_DIRECT | O_CLOEXEC);

        /* Before Linux 6.6 a tmpfs has no O_DIRECT. */
        return fd < 0 && errno == EINVAL ? open(path, flags | O_CLOEXEC) : fd;
}

static int use(const char *arguments) {
        char mode[16], how[8], path[MAX_MESSAGE], log[MAX_MESSAGE];
        static const Stamp nothing;
        unsigned index;
        uint64_t generation;
        Disk *disk;

        if (sscanf(arguments, "%u %15s %" SCNu64 " %7s %4100[^\n]", &index, mode, &generation, how, path) != 5 ||
            index >= MAX_DISKS || disks[index].used)
                return -EINVAL;
        disk = &disks[index];
        *disk = (Disk){.uring = strcmp(how, "uring") == 0,
                       .mode = mode[0] == 'e' ? 'x' : mode[0] == 's' ? 'w' : 'r',
                       .session = ++n_sessions,
                       .generation = generation};
        snprintf(log, sizeof log, "%s/%u", logs, index);
        disk->log = open(log, O_WRONLY | O_APPEND | O_CLOEXEC);
        if (disk->log < 0)
                fail(log, errno);
        note(disk, "open", now(), &nothing, &nothing);
        disk->fd = open_disk(path, disk->mode == 'r' ? O_RDONLY : O_RDWR);
        if (disk->fd < 0)
                fail(path, errno);
        disk->used = true;
        return 0;
}

static void drop(Disk *disk) {
        static const Stamp nothing;

        if (!disk->used)
                return;
        close(disk->fd);
        note(disk, "close", now(), &nothing, &nothing);
        close(disk->log);
        disk->used = false;
}

static void drop_all(void) {
        for (unsigned i = 0; i < MAX_DISKS; i++)
                drop(&disks[i]);
}

static int carry_out(const char *message) {
        unsigned index;

        if (strncmp(message, "use ", 4) == 0)
                return use(message + 4);
        if (sscanf(message, "drop %u", &index) == 1 && index < MAX_DISKS) {
                drop(&disks[index]);
                return 0;
        }
        if (strcmp(message, "end") == 0)
                drop_all();
        else if (strcmp(message, "keep") != 0)
                return -EINVAL;
        return 0;
}

/* False when nobody is there any more. What comes with a message stays open. */
static bool listen_to(int control) {
        union {
                char space[CMSG_SPACE(sizeof(int) * MAX_FDS)];
                struct cmsghdr header;
        } descriptors;
        char text[MAX_MESSAGE] = "", reply[64];
        struct iovec vector = {.iov_base = text, .iov_len = sizeof text - 1};
        struct msghdr message = {.msg_iov = &vector,
                                 .msg_iovlen = 1,
                                 .msg_control = &descriptors,
                                 .msg_controllen = sizeof descriptors};
        ssize_t n = recvmsg(control, &message, MSG_CMSG_CLOEXEC);
        int r;

        if (n <= 0)
                return false;
        r = carry_out(text);
        snprintf(reply, sizeof reply, "%s", r < 0 ? strerror(-r) : "ok");
        if (send(control, reply, strlen(reply), MSG_NOSIGNAL) < 0)
                return false;
        if (strcmp(text, "end") == 0)
                exit(0);
        return true;
}

/* --- its life --- */

static Disk *choose(void) {
        unsigned first = (unsigned) draw(MAX_DISKS);

        for (unsigned i = 0; i < MAX_DISKS; i++)
                if (disks[(first + i) % MAX_DISKS].used)
                        return &disks[(first + i) % MAX_DISKS];
        return NULL;
}

static void live(uint64_t until) {
        struct pollfd control = {.fd = STDIN_FILENO, .events = POLLIN};

        for (uint64_t time = now(); time < until; time = now()) {
                const Disk *disk = choose();
                int left = (int) ((until - time) / 1000000) + 1;

                if (!disk && control.fd < 0)
                        break;
                if (poll(&control, 1, disk ? (int) draw(4) : left) > 0 && !listen_to(STDIN_FILENO))
                        control.fd = -1;
                disk = choose();
                if (disk)
                        step(disk);
        }
        drop_all();
}

int main(int argc, char **argv) {
        if (argc != 5) {
                fprintf(stderr, "usage: crash-guest LOGS NUMBER LIFETIME SEED\n");
                return 2;
        }
        logs = argv[1];
        number = strtoull(argv[2], NULL, 10);
        random_state = strtoull(argv[4], NULL, 10) | 1;
        if (posix_memalign(&block, BLOCK, BLOCK) != 0)
                fail("no memory", ENOMEM);
#ifdef HAVE_LIBURING
        int r = io_uring_queue_init(4, &ring, 0);

        if (r < 0)
                fail("no io_uring", -r);
#endif
        live(now() + strtoull(argv[3], NULL, 10) * 1000000);
        return 0;
}
