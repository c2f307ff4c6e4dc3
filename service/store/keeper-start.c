/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A child that has our descriptors has to close them, and closing one on storage that hangs can block for ever. So the
 * first child shares our table of descriptors, and gets one of its own into which only the first three are copied:
 * nothing of ours is ever closed there. It starts the second, which becomes the keeper, and ends. Both make system
 * calls alone, since other threads of ours may have been anywhere when they came to be.
 */

#include "store/keeper-start.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

static pid_t raw_clone(long flags) {
#ifdef __s390__
        return (pid_t) syscall(SYS_clone, NULL, flags | SIGCHLD, NULL, NULL, 0);
#else
        return (pid_t) syscall(SYS_clone, flags | SIGCHLD, NULL, NULL, NULL, 0);
#endif
}

static int leave_our_descriptors(void) {
        return syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_UNSHARE) < 0 ? -errno : 0;
}

static void __attribute__((noreturn)) become_keeper(char *const *arguments) {
        int null = open("/dev/null", O_RDWR);
        sigset_t none;

        sigemptyset(&none);
        if (null >= 0 && dup2(null, 0) >= 0 && dup2(null, 1) >= 0 && dup2(null, 2) >= 0) {
                if (null > 2)
                        close(null);
                sigprocmask(SIG_SETMASK, &none, NULL);
                execve(arguments[0], arguments, environ);
        }
        _exit(1);
}

static void __attribute__((noreturn)) first_child(char *const *arguments) {
        pid_t pid;

        if (leave_our_descriptors() < 0 || setsid() < 0)
                _exit(1);
        pid = raw_clone(0);
        if (pid == 0)
                become_keeper(arguments);
        _exit(pid < 0);
}

pid_t gl_keeper_start(const char *program, const char *socket) {
        char *const arguments[] = {(char *) program, (char *) "--socket", (char *) socket, NULL};
        sigset_t all, before;
        pid_t pid;
        int saved_errno;

        /* No handler of ours is to run in a child. */
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        pid = raw_clone(CLONE_FILES);
        if (pid == 0)
                first_child(arguments);
        saved_errno = errno;
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return pid < 0 ? -saved_errno : pid;
}
