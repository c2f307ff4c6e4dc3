/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * guestlock-keeper keeps descriptors for guestlockd and gives them back to the next one: a kernel's lock lives as long
 * as a descriptor of it, and so outlives the service. It is as small as can be, so that there is nothing to update and
 * nothing to crash, and knows nothing of what it keeps.
 *
 * This file: how it comes by its socket, which systemd hands to it or it makes itself, and how it ends. Two that make
 * the same one are kept apart by a lock on a file beside it, which goes with the process.
 */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "serve.h"

#define BACKLOG           64
#define DEFAULT_IDLE_MSEC 5000
#define LISTEN_FD         3 /* the first that systemd passes */
#define LOCK_TRIES        100
#define LOCK_PAUSE_USEC   10000

enum { BAD_USAGE = 2 };

static int fail(const char *what, int error) {
        fprintf(stderr, "guestlock-keeper: %s: %s\n", what, strerror(error));
        return 1;
}

/* Others must not be able to put something else in the socket's place. */
static int check_directory(const char *path) {
        char directory[PATH_MAX];
        const char *slash = strrchr(path, '/');
        struct stat st;

        if (!slash || slash[1] == '\0' || (size_t) (slash - path) >= sizeof(directory))
                return -EINVAL;
        snprintf(directory, sizeof(directory), "%.*s", slash == path ? 1 : (int) (slash - path), path);
        if (stat(directory, &st) < 0)
                return -errno;
        if (!S_ISDIR(st.st_mode))
                return -ENOTDIR;
        return (st.st_uid == 0 || st.st_uid == geteuid()) && !(st.st_mode & (S_IWGRP | S_IWOTH)) ? 0 : -EPERM;
}

/* The lock is the process's own as long as it lives. -EWOULDBLOCK: there is one that has it. */
static int take_lock(const char *path) {
        for (;;) {
                struct stat ours, there;
                int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

                if (fd < 0)
                        return -errno;
                if (flock(fd, LOCK_EX | LOCK_NB) < 0 || fstat(fd, &ours) < 0) {
                        int r = -errno;

                        close(fd);
                        return r;
                }
                if (stat(path, &there) == 0 && ours.st_ino == there.st_ino && ours.st_dev == there.st_dev)
                        return fd;
                close(fd); /* one that ended took the file away after we had opened it */
        }
}

/* Whoever listens there may have been started by other means, and then has no lock. */
static bool somebody_listens(const struct sockaddr_un *address) {
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        int r = fd < 0 ? -1 : connect(fd, (const struct sockaddr *) address, sizeof(*address));
        bool nobody = fd >= 0 && r < 0 && (errno == ECONNREFUSED || errno == ENOENT || errno == EPROTOTYPE);

        if (fd >= 0)
                close(fd);
        return !nobody;
}

/*
 * Whoever has the lock and does not listen is about to begin, or about to end: a process that is killed may lose its
 * lock after its socket, and whoever is started because nobody listens any more is not to end for that.
 */
static int take_lock_in_time(const char *path, const struct sockaddr_un *address) {
        for (int i = 0;; i++) {
                int fd = take_lock(path);

                if (fd != -EWOULDBLOCK || i == LOCK_TRIES || somebody_listens(address))
                        return fd;
                usleep(LOCK_PAUSE_USEC);
        }
}

/* A listening socket; -EADDRINUSE when somebody else has one there. */
static int make_socket(const struct sockaddr_un *address) {
        int fd, r = 0;

        if (somebody_listens(address))
                return -EADDRINUSE;
        if (unlink(address->sun_path) < 0 && errno != ENOENT)
                return -errno;
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        umask(0177);
        if (bind(fd, (const struct sockaddr *) address, sizeof(*address)) < 0 || listen(fd, BACKLOG) < 0)
                r = -errno;
        umask(0077);
        if (r == 0)
                return fd;
        close(fd);
        return r;
}

/* The one that systemd passed, or -1. */
static int take_passed_socket(void) {
        const char *pid = getenv("LISTEN_PID"), *n = getenv("LISTEN_FDS");
        int type = 0, listening = 0;
        socklen_t size = sizeof(int);

        if (!pid || !n || strtol(pid, NULL, 10) != getpid() || strcmp(n, "1") != 0 ||
            getsockopt(LISTEN_FD, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_SEQPACKET ||
            getsockopt(LISTEN_FD, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) < 0 || !listening ||
            fcntl(LISTEN_FD, F_SETFD, FD_CLOEXEC) < 0 || fcntl(LISTEN_FD, F_SETFL, O_NONBLOCK) < 0)
                return -1;
        return LISTEN_FD;
}

/* All are blocked, for the threads too, and those that could end it ignored; but SIGTERM is read. */
static int take_signals(void) {
        sigset_t all, term;

        sigfillset(&all);
        sigemptyset(&term);
        sigaddset(&term, SIGTERM);
        signal(SIGPIPE, SIG_IGN);
        signal(SIGHUP, SIG_IGN);
        signal(SIGINT, SIG_IGN);
        return sigprocmask(SIG_SETMASK, &all, NULL) < 0 ? -1 : signalfd(-1, &term, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int serve_at(const char *path, int signals, int idle_msec) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        char lock[sizeof(address.sun_path) + 8];
        int listener, lock_fd, r;

        if (strlen(path) >= sizeof(address.sun_path))
                return fail(path, ENAMETOOLONG);
        strcpy(address.sun_path, path);
        snprintf(lock, sizeof(lock), "%s.lock", path);
        r = check_directory(path);
        if (r < 0)
                return fail("the socket's directory has to be there and to be root's alone", -r);
        lock_fd = take_lock_in_time(lock, &address);
        if (lock_fd == -EWOULDBLOCK)
                return 0;
        if (lock_fd < 0)
                return fail(lock, -lock_fd);
        listener = make_socket(&address);
        if (listener >= 0) {
                r = gl_keeper_serve(listener, signals, idle_msec);
                unlink(path);
        }
        unlink(lock);
        if (listener < 0 && listener != -EADDRINUSE)
                return fail(path, -listener);
        return r < 0 ? fail("it cannot serve", -r) : 0;
}

static int usage(void) {
        fputs("usage: guestlock-keeper --socket PATH [--idle MILLISECONDS]\n"
              "or with one listening socket from systemd\n",
              stderr);
        return BAD_USAGE;
}

int main(int argc, char **argv) {
        const char *path = NULL;
        int idle_msec = DEFAULT_IDLE_MSEC, listener, signals, r;

        for (int i = 1; i < argc; i += 2) {
                if (i + 1 < argc && strcmp(argv[i], "--socket") == 0 && argv[i + 1][0] == '/')
                        path = argv[i + 1];
                else if (i + 1 < argc && strcmp(argv[i], "--idle") == 0 && atoi(argv[i + 1]) > 0)
                        idle_msec = atoi(argv[i + 1]);
                else
                        return usage();
        }
        prctl(PR_SET_NAME, "guestlock-keeper"); /* whatever file it was started from */
        signals = take_signals();
        if (signals < 0 || chdir("/") < 0)
                return fail("it cannot begin", errno);
        if (path)
                return serve_at(path, signals, idle_msec);
        listener = take_passed_socket();
        if (listener < 0)
                return usage();
        r = gl_keeper_serve(listener, signals, -1);
        return r < 0 ? fail("it cannot serve", -r) : 0;
}
