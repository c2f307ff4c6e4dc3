/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The guest's first process, from its fork to its exec. It waits at a pipe until the service knows it as the guest's:
 * if we end before that it reads the end of the pipe and ends too, so no guest ever runs that the service has not heard
 * of.
 *
 * PR_SET_PDEATHSIG ends it at once when we are killed. That is only the faster half: it is cleared by programs that
 * change their user, and the service kills the process that it knows on its pidfd.
 */

#include "supervisor/child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/error.h"
#include "supervisor/locks.h"

#define CANNOT_RUN 126
#define NOT_FOUND  127

/* Not SIGTSTP and SIGCONT: a guest that was stopped for a lost lease must not be set going by a shell's "fg". */
const int gl_passed_signals[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, 0};

void gl_signals_take(GlSignalsBefore *before) {
        struct sigaction normal = {.sa_handler = SIG_DFL}, ignore = {.sa_handler = SIG_IGN};
        sigset_t taken;

        /* Whoever ignores SIGCHLD never learns how his children end. */
        sigaction(SIGCHLD, &normal, &before->on_child);
        sigaction(SIGPIPE, &ignore, &before->on_pipe);
        sigemptyset(&taken);
        sigaddset(&taken, SIGCHLD);
        for (const int *one = gl_passed_signals; *one; one++)
                sigaddset(&taken, *one);
        sigprocmask(SIG_BLOCK, &taken, &before->mask);
}

static gboolean inherit_locks(const GPtrArray *locks) {
        if (syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
                return FALSE;
        for (guint i = 0; i < locks->len; i++)
                if (fcntl(((const GlHeldLock *) g_ptr_array_index(locks, i))->fd, F_SETFD, 0) < 0)
                        return FALSE;
        return TRUE;
}

static void G_GNUC_NORETURN become_guest(char **command, const GPtrArray *locks, const GlSignalsBefore *before,
                                         int gate) {
        ssize_t n;
        char byte;

        do
                n = read(gate, &byte, 1);
        while (n < 0 && errno == EINTR);
        if (n != 1)
                _exit(CANNOT_RUN);
        sigaction(SIGCHLD, &before->on_child, NULL);
        sigaction(SIGPIPE, &before->on_pipe, NULL);
        sigprocmask(SIG_SETMASK, &before->mask, NULL);
        if (inherit_locks(locks))
                execvp(command[0], command);
        n = errno == ENOENT ? NOT_FOUND : CANNOT_RUN;
        dprintf(STDERR_FILENO, "guestlock-supervisor: \"%s\" cannot be run: %s.\n", command[0], strerror(errno));
        _exit((int) n);
}

static void G_GNUC_NORETURN child_main(char **command, const GPtrArray *locks, gboolean keep_orphan,
                                       const GlSignalsBefore *before, const int gate[2], pid_t parent) {
        close(gate[1]);
        if (!keep_orphan && (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent))
                _exit(CANNOT_RUN);
        become_guest(command, locks, before, gate[0]);
}

static gboolean fail(const char *what, GError **error) {
        g_set_error(error, GL_ERROR, GL_ERROR_DRIVER_FAILED, "%s: %s.", what, g_strerror(errno));
        return FALSE;
}

gboolean gl_child_start(char **command, const GPtrArray *locks, gboolean keep_orphan, const GlSignalsBefore *before,
                        GlChild *child, GError **error) {
        GlChild made = {.pidfd = -1};
        pid_t parent = getpid();
        int gate[2];

        if (pipe2(gate, O_CLOEXEC) < 0)
                return fail("There is no pipe to the guest", error);
        made.pid = fork();
        if (made.pid == 0)
                child_main(command, locks, keep_orphan, before, gate, parent);
        close(gate[0]);
        made.go = gate[1];
        if (made.pid > 0)
                made.pidfd = (int) syscall(SYS_pidfd_open, made.pid, 0);
        if (made.pidfd < 0) {
                fail("The guest's process cannot be started", error);
                close(made.go);
                return FALSE;
        }
        *child = made;
        return TRUE;
}

gboolean gl_child_let_go(GlChild *child, GError **error) {
        if (write(child->go, "", 1) == 1)
                return TRUE;
        return fail("The guest's process has ended before it was started", error);
}

void gl_child_clear(GlChild *child) {
        close(child->pidfd);
        close(child->go);
}

int gl_exit_like(int status) {
        struct rlimit none = {0, 0};
        sigset_t set;
        int number;

        if (!WIFSIGNALED(status))
                return WEXITSTATUS(status);
        number = WTERMSIG(status);
        /* One core is enough: the guest's. */
        setrlimit(RLIMIT_CORE, &none);
        signal(number, SIG_DFL);
        sigemptyset(&set);
        sigaddset(&set, number);
        raise(number);
        sigprocmask(SIG_UNBLOCK, &set, NULL);
        return 128 + number;
}
