/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Signals that go out with a user's rights and no more: from a helper process that lives for a few system calls.
 *
 * Its effective uid is the user's, which is what the kernel looks at in a sender. Its real and saved uids, which are
 * what the kernel looks at in a receiver, are nobody's, so that the user can neither stop nor kill nor trace it.
 *
 * It shares our table of descriptors instead of having a copy of it. Of a copy, its end would close each descriptor,
 * and closing a file on storage that hangs (or on a FUSE mount whose server is some user's) can block for ever: helpers
 * would pile up, those for other users too. So nothing of what one does can wait for anybody.
 */
#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process/process.h"

/* 65535 is "no user" in 16 bits and therefore given to none. */
#define NO_ID 65535U

#define PARTING_PATIENCE 200 /* ms */

/* Raw: the C library's take locks, which fork() may have copied taken. On 32 bits the plain ones take 16-bit ids. */
#ifdef SYS_setresuid32
#define RAW(call) SYS_##call##32
#else
#define RAW(call) SYS_##call
#endif

typedef struct {
        pid_t pid;               /* 0: reaped */
        GlProcess *process;      /* (owned) the helper knows it by the number of our descriptor */
        GlProcessSignalled done; /* (nullable) */
        gpointer user_data;
} Helper;

static int send_signal(int pidfd, int signal) {
        return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) < 0 ? -errno : 0;
}

/* In the helper: system calls alone. 0 or a negative errno. */
static int become(guint32 uid) {
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

        /* Within a session everybody may send SIGCONT to everybody: into one of its own. */
        if (syscall(SYS_setsid) < 0 || syscall(RAW(setgroups), 0, NULL) < 0 ||
            syscall(RAW(setresgid), NO_ID, NO_ID, NO_ID) < 0 || syscall(RAW(setresuid), NO_ID, uid, NO_ID) < 0 ||
            /* The change of uid has dropped them already, unless securebits say that it does not. */
            syscall(SYS_capset, &header, none) < 0)
                return -errno;
        return 0;
}

static void G_GNUC_NORETURN helper_main(int pidfd, guint32 uid, int signal) {
        int r = become(uid);
        if (r == 0)
                r = send_signal(pidfd, signal);
        _exit(-r);
}

/*
 * fork(), but for the descriptors. The C library knows nothing of it: the child makes system calls alone. Not clone3(),
 * which systemd's RestrictNamespaces= takes away.
 */
static pid_t fork_with_our_files(void) {
        long flags = CLONE_FILES | SIGCHLD;

#ifdef __s390__
        return (pid_t) syscall(SYS_clone, NULL, flags, NULL, NULL, 0);
#else
        return (pid_t) syscall(SYS_clone, flags, NULL, NULL, NULL, 0);
#endif
}

/* With every signal blocked, so that no handler of ours ever runs in the helper. */
static pid_t fork_helper(int pidfd, guint32 uid, int signal) {
        sigset_t all, before;

        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        pid_t pid = fork_with_our_files();
        if (pid == 0)
                helper_main(pidfd, uid, signal);
        int saved_errno = errno;
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        errno = saved_errno;
        return pid;
}

/* What the helper has to say. Waits for it. */
static int reap(pid_t pid) {
        siginfo_t info = {0};
        int r;

        do
                r = waitid(P_PID, (id_t) pid, &info, WEXITED);
        while (r < 0 && errno == EINTR);
        if (r < 0)
                return -errno;
        return info.si_code == CLD_EXITED ? -info.si_status : -ECANCELED;
}

/* The loop has ended before the helper has. */
static gboolean ends_soon(pid_t pid) {
        for (guint ms = 0; ms < PARTING_PATIENCE; ms++) {
                siginfo_t info = {0};

                if (waitid(P_PID, (id_t) pid, &info, WEXITED | WNOHANG) < 0 || info.si_pid != 0)
                        return TRUE;
                g_usleep(1000);
        }
        return FALSE;
}

static void helper_free(gpointer data) {
        Helper *helper = data;

        /* One that does not end keeps the descriptor, whose number must not come to be another process's. */
        if (helper->pid == 0 || ends_soon(helper->pid))
                gl_process_unref(helper->process);
        g_free(helper);
}

static int helper_ended(sd_event_source *source, int fd, uint32_t revents, void *data) {
        Helper *helper = data;

        int result = reap(helper->pid);
        helper->pid = 0;
        if (helper->done)
                helper->done(result, helper->user_data);

        sd_event_source_set_floating(source, 0); /* the loop's was the last reference */
        return 0;
}

static int await_helper(GlProcess *process, sd_event *event, pid_t pid, GlProcessSignalled done, gpointer user_data) {
        sd_event_source *source = NULL;

        int fd = (int) syscall(SYS_pidfd_open, pid, 0);
        if (fd < 0)
                return -errno;

        Helper *helper = g_new(Helper, 1);
        *helper = (Helper){.pid = pid, .process = gl_process_ref(process), .done = done, .user_data = user_data};

        int r = sd_event_add_io(event, &source, fd, EPOLLIN, helper_ended, helper);
        if (r < 0) {
                gl_process_unref(helper->process);
                g_free(helper);
                close(fd);
                return r;
        }
        sd_event_source_set_destroy_callback(source, helper_free);
        sd_event_source_set_io_fd_own(source, 1);
        sd_event_source_set_floating(source, 1);
        sd_event_source_unref(source);
        return 0;
}

void gl_process_signal(GlProcess *process, sd_event *event, guint32 uid, int signal, GlProcessSignalled done,
                       gpointer user_data) {
        int result;

        if (uid == 0) {
                result = send_signal(process->pidfd, signal);
        } else if (uid == G_MAXUINT32) {
                result = -EINVAL; /* setresuid() would leave everything as it is */
        } else {
                pid_t pid = fork_helper(process->pidfd, uid, signal);
                if (pid < 0)
                        result = -errno;
                else if (await_helper(process, event, pid, done, user_data) < 0)
                        result = reap(pid); /* no descriptor left: rather a moment's wait than a zombie */
                else
                        return;
        }
        if (done)
                done(result, user_data);
}
