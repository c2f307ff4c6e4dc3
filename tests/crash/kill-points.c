/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Preloaded into the service and its keeper: kills one of them at the n-th of those calls that leave something behind.
 * These are: making, writing, renaming, removing and syncing files; setting and giving up locks, and closing what is
 * locked; claiming a device; sending to the bus, the keeper or the service, and what the keeper receives.
 *
 * Which one is in a file that both sides map, $GUESTLOCK_KILL_POINTS: a GlKillPoints for the service and one for the
 * keeper. While `armed`, each such call counts. The one whose number is `at` kills the process, before it is made or
 * after it, and leaves its name in `what`, and before that the number of the process in `victim`. `busy` is how many
 * threads are about to find out whether theirs is the one: when there are none after `armed` was taken away, nobody is
 * killed any more.
 */

/* Or open() and open64() would be one here. */
#undef _FILE_OFFSET_BITS

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
        _Atomic uint32_t armed;
        _Atomic uint32_t count;
        uint32_t at; /* from 1 on; 0: it only counts */
        uint32_t after;
        _Atomic uint32_t busy;
        _Atomic uint32_t victim;
        char what[48];
} GlKillPoints;

#define MAX_FDS 4096

static GlKillPoints *points;
static pid_t self;
static _Atomic bool holds[MAX_FDS]; /* a lock, or a claim */

/* Nothing happens in other programs, and in children that are not yet one. */
__attribute__((constructor)) static void begin(void) {
        const char *path = getenv("GUESTLOCK_KILL_POINTS");
        bool keeper = strcmp(program_invocation_short_name, "guestlock-keeper") == 0;
        int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
        void *mapped;

        if (fd < 0 || (!keeper && strcmp(program_invocation_short_name, "guestlockd") != 0))
                return;
        mapped = mmap(NULL, 2 * sizeof(GlKillPoints), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
        if (mapped == MAP_FAILED)
                return;
        self = getpid();
        points = (GlKillPoints *) mapped + keeper;
}

__attribute__((noreturn)) static void die(void) {
        points->armed = 0;
        kill(self, SIGKILL);
        for (;;)
                pause();
}

/* Whether it is to be killed after this call; if before it, it does not return. */
static bool reach(const char *what) {
        int saved_errno = errno;
        bool hit = false;

        if (!points || !points->armed || getpid() != self)
                return false;
        points->busy++;
        if (points->armed)
                hit = atomic_fetch_add(&points->count, 1) + 1 == points->at;
        if (hit) {
                points->victim = (uint32_t) self;
                snprintf(points->what, sizeof points->what, "%s", what);
                if (!points->after)
                        die();
        } else {
                points->busy--;
        }
        errno = saved_errno;
        return hit;
}

/* Looked up once: a child that is about to become another program must not do that. */
#define REAL(name)                                                                                                     \
        (*({                                                                                                           \
                static __typeof__(&name) real_;                                                                        \
                if (!real_)                                                                                            \
                        real_ = (__typeof__(&name)) dlsym(RTLD_NEXT, #name);                                           \
                real_;                                                                                                 \
        }))

/* Makes a call that counts. */
#define PASS(name, what, ...)                                                                                          \
        ({                                                                                                             \
                bool hit_ = reach(what);                                                                               \
                __typeof__(REAL(name)(__VA_ARGS__)) result_ = REAL(name)(__VA_ARGS__);                                 \
                if (hit_)                                                                                              \
                        die();                                                                                         \
                result_;                                                                                               \
        })

static void note_holding(int fd, bool does) {
        if (fd >= 0 && fd < MAX_FDS)
                holds[fd] = does;
}

static bool is_file(int fd) {
        struct stat st;

        return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* --- files --- */

static bool makes_something(int flags) {
        return (flags & O_CREAT) || (flags & O_EXCL);
}

#define MODE_OF(flags)                                                                                                 \
        ({                                                                                                             \
                mode_t mode_ = 0;                                                                                      \
                if ((flags) & (O_CREAT | O_TMPFILE)) {                                                                 \
                        va_list arguments_;                                                                            \
                        va_start(arguments_, flags);                                                                   \
                        mode_ = va_arg(arguments_, mode_t);                                                            \
                        va_end(arguments_);                                                                            \
                }                                                                                                      \
                mode_;                                                                                                 \
        })

static int opened(int fd, int flags) {
        note_holding(fd, (flags & O_EXCL) && !(flags & O_CREAT));
        return fd;
}

int open(const char *path, int flags, ...) {
        mode_t mode = MODE_OF(flags);

        return makes_something(flags) ? opened(PASS(open, "open", path, flags, mode), flags)
                                      : REAL(open)(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
        mode_t mode = MODE_OF(flags);

        return makes_something(flags) ? opened(PASS(open64, "open", path, flags, mode), flags)
                                      : REAL(open64)(path, flags, mode);
}

int openat(int directory, const char *path, int flags, ...) {
        mode_t mode = MODE_OF(flags);

        return makes_something(flags) ? opened(PASS(openat, "openat", directory, path, flags, mode), flags)
                                      : REAL(openat)(directory, path, flags, mode);
}

int openat64(int directory, const char *path, int flags, ...) {
        mode_t mode = MODE_OF(flags);

        return makes_something(flags) ? opened(PASS(openat64, "openat", directory, path, flags, mode), flags)
                                      : REAL(openat64)(directory, path, flags, mode);
}

ssize_t write(int fd, const void *data, size_t size) {
        return points && points->armed && is_file(fd) ? PASS(write, "write", fd, data, size)
                                                      : REAL(write)(fd, data, size);
}

int renameat(int from, const char *old, int to, const char *new) {
        return PASS(renameat, "renameat", from, old, to, new);
}

int rename(const char *old, const char *new) {
        return PASS(rename, "rename", old, new);
}

int unlinkat(int directory, const char *path, int flags) {
        return PASS(unlinkat, "unlinkat", directory, path, flags);
}

int unlink(const char *path) {
        return PASS(unlink, "unlink", path);
}

int fsync(int fd) {
        return PASS(fsync, "fsync", fd);
}

int fdatasync(int fd) {
        return PASS(fdatasync, "fdatasync", fd);
}

/* --- locks --- */

static const char *name_of_lock(const struct flock *lock) {
        return lock->l_type == F_UNLCK ? "unlock" : lock->l_type == F_RDLCK ? "read lock" : "write lock";
}

/* Every command that there is has one argument, of the size of a pointer at most. */
int fcntl(int fd, int command, ...) {
        void *argument;
        va_list arguments;
        int r;

        va_start(arguments, command);
        argument = va_arg(arguments, void *);
        va_end(arguments);
        if (command != F_OFD_SETLK)
                return REAL(fcntl)(fd, command, argument);
        r = PASS(fcntl, name_of_lock(argument), fd, command, argument);
        if (r == 0)
                note_holding(fd, true);
        return r;
}

int fcntl64(int fd, int command, ...) {
        void *argument;
        va_list arguments;

        va_start(arguments, command);
        argument = va_arg(arguments, void *);
        va_end(arguments);
        return fcntl(fd, command, argument);
}

int close(int fd) {
        if (fd < 0 || fd >= MAX_FDS || !holds[fd])
                return REAL(close)(fd);
        holds[fd] = false;
        return PASS(close, "close", fd);
}

/* --- messages --- */

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
        return PASS(sendmsg, message->msg_controllen > 0 ? "sendmsg with descriptors" : "sendmsg", fd, message, flags);
}

/* What came is there when the process is killed after it; the service has nothing by that alone. */
ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
        ssize_t n = REAL(recvmsg)(fd, message, flags);

        if (n > 0 && strcmp(program_invocation_short_name, "guestlock-keeper") == 0 && reach("recvmsg"))
                die();
        return n;
}
