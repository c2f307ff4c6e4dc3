/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Each system call is tried with arguments that do no harm, in a child of its own: a filter may answer with an
 * errno, but may as well kill. Where a good call would need a victim, a bad descriptor shall be refused as just that.
 */

#include "check-parts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* An exit status above each errno. */
#define NO_BIRTH_TIME 254

static int result_of(long returned) {
        return returned < 0 ? errno : 0;
}

static int try_ofd_lock(void) {
        struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_len = 1};

        return result_of(fcntl(open("/dev/null", O_RDWR | O_CLOEXEC), F_OFD_GETLK, &lock));
}

static int try_openat2(void) {
        struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_MAGICLINKS};

        return result_of(syscall(SYS_openat2, AT_FDCWD, "/", &how, sizeof(how)));
}

static int try_pidfd_open(void) {
        return result_of(syscall(SYS_pidfd_open, getpid(), 0));
}

static int try_pidfd_send_signal(void) {
        return result_of(syscall(SYS_pidfd_send_signal, -1, 0, NULL, 0));
}

static int try_pidfd_getfd(void) {
        return result_of(syscall(SYS_pidfd_getfd, -1, -1, 0));
}

static int try_birth_time(void) {
        struct statx st = {0};
        int result = result_of(statx(AT_FDCWD, "/", 0, STATX_BTIME, &st));

        return result == 0 && !(st.stx_mask & STATX_BTIME) ? NO_BIRTH_TIME : result;
}

static const struct {
        const char *name; /* as a system call filter knows it */
        const char *since;
        const char *what_for;
        int (*try)(void);
        int expected;
} calls[] = {
        {"fcntl", "3.15", "locks that belong to an open file (F_OFD_SETLK)", try_ofd_lock, 0},
        {"openat2", "5.6", "opening a path without following magic links", try_openat2, 0},
        {"pidfd_open", "5.3", "knowing a process by more than a number", try_pidfd_open, 0},
        {"pidfd_send_signal", "5.1", "stopping a guest that lost its lease", try_pidfd_send_signal, EBADF},
        {"pidfd_getfd", "5.6", "holding a lock on the descriptor that the guest has", try_pidfd_getfd, EBADF},
        {"statx", "4.11", "telling an inode number that was used again by its birth time", try_birth_time, 0},
};

/* What FUNC returned, or -1 if it did not live to. */
static int try_in_child(int (*func)(void)) {
        int status = 0;
        pid_t child = fork();

        if (child == 0) {
                /* Its death is an answer and no reason for a core dump. */
                prctl(PR_SET_DUMPABLE, 0);
                _exit(func());
        }
        if (child < 0)
                return errno;
        while (waitpid(child, &status, 0) < 0)
                if (errno != EINTR)
                        return errno;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void gl_check_kernel(GlFindings *findings) {
        for (gsize i = 0; i < G_N_ELEMENTS(calls); i++) {
                int result = try_in_child(calls[i].try);

                if (result == calls[i].expected)
                        gl_findings_ok(findings, "%s works: %s", calls[i].name, calls[i].what_for);
                else if (result == NO_BIRTH_TIME)
                        gl_findings_warning(findings, "the file system of \"/\" has no birth times: on such a one, a "
                                                      "file that got a deleted one's inode number is not told from it");
                else
                        gl_findings_problem(findings,
                                            "%s does not work (%s), which is needed for %s: it takes Linux %s, and "
                                            "in the unit SystemCallFilter=%s where calls are filtered",
                                            calls[i].name,
                                            result < 0 ? "the call ends the process" : g_strerror(result),
                                            calls[i].what_for, calls[i].since, calls[i].name);
        }
}
