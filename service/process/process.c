/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who a process is. /proc knows it by a number only, and numbers are used again; so what is read there counts only if a
 * pidfd, opened before, shows afterwards that its process still lives: the number was its own all the while.
 *
 * A process lives until its last thread has ended. That is what a pidfd tells, and what decides over leases; the "Z" in
 * /proc is about the first thread alone. A caller's pidfd can be of the kind that tells only about one thread
 * (PIDFD_THREAD), so it says who is meant, and what is kept and watched is one of our own.
 */
#include "process/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <systemd/sd-id128.h>
#include <unistd.h>

#include "core/error.h"
#include "process/proc.h"

#define KERNEL_THREAD 0x00200000U /* PF_KTHREAD of the kernel's include/linux/sched.h */

static int read_proc(const char *path, char *buffer, gsize size) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;

        ssize_t n = read(fd, buffer, size - 1);
        int r = n < 0 ? -errno : 0;
        close(fd);
        if (r == 0)
                buffer[n] = '\0';
        return r;
}

static int read_stat(guint32 pid, GlProcStat *stat) {
        char path[64], text[4096];

        g_snprintf(path, sizeof(path), "/proc/%u/stat", pid);
        int r = read_proc(path, text, sizeof(text));
        return r < 0 ? r : gl_proc_parse_stat(text, stat);
}

static int read_uids(guint32 pid, guint32 uids[4]) {
        char path[64], text[4096];

        g_snprintf(path, sizeof(path), "/proc/%u/status", pid);
        int r = read_proc(path, text, sizeof(text));
        return r < 0 ? r : gl_proc_parse_uids(text, uids);
}

/* 1 if the pidfd's process has ended, 0 if it lives. */
static int has_ended(int pidfd) {
        struct pollfd look = {.fd = pidfd, .events = POLLIN};

        int r = poll(&look, 1, 0);
        return r < 0 ? -errno : r;
}

/* -ESRCH: there is no such process, or it has ended. -EINVAL: it is a thread that is not its process's first. */
static int identify(guint32 pid, GlProcess **process, GlProcStat *stat) {
        if (pid == 0 || pid > G_MAXINT32)
                return -ESRCH;

        int pidfd = (int) syscall(SYS_pidfd_open, (pid_t) pid, 0);
        if (pidfd < 0)
                return errno == ENOENT ? -EINVAL : -errno; /* Linux 6.9 changed what it says of a thread */

        g_autoptr(GlProcess) found = g_atomic_rc_box_new0(GlProcess);
        found->pid = pid;
        found->pidfd = pidfd;

        int r = read_stat(pid, stat);
        if (r == 0)
                r = read_uids(pid, found->uids);

        int ended = has_ended(pidfd);
        if (ended != 0)
                return ended > 0 ? -ESRCH : ended;
        if (r < 0)
                return r;

        found->start_time = stat->start_time;
        *process = g_steal_pointer(&found);
        return 0;
}

static void set_error(GError **error, guint32 pid, int r) {
        switch (r) {
        case -ESRCH:
                g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS, "Process %u does not exist or has ended.", pid);
                break;
        case -EINVAL:
                g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS,
                            "%u is the id of a thread; give the id of its process.", pid);
                break;
        case -EMFILE:
        case -ENFILE:
        case -ENOMEM:
                g_set_error(error, GL_ERROR, GL_ERROR_LIMIT_EXCEEDED,
                            "The service has no means left to look at process %u: %s.", pid, g_strerror(-r));
                break;
        default:
                g_set_error(error, GL_ERROR, GL_ERROR_NOT_SUPPORTED,
                            "The service cannot look at process %u: %s. Is it allowed to call pidfd_open and to read "
                            "all of /proc?",
                            pid, g_strerror(-r));
        }
}

/* Why this process can never be a guest's, or NULL. */
static const char *unfit(guint32 pid) {
        if (pid == 0)
                return "0 stands for no process";
        if (pid == 1)
                return "it is the system's first process";
        if (pid == (guint32) getpid())
                return "it is the lease service itself";
        return NULL;
}

static const char *unfit_by_stat(const GlProcStat *stat) {
        if (stat->flags & KERNEL_THREAD)
                return "it is a thread of the kernel";
        /* Other threads of it live, but nobody can tell whether they are of the same user. */
        if (stat->state == 'Z' || stat->state == 'X')
                return "its first thread has ended";
        return NULL;
}

GlProcess *gl_process_open(guint32 pid, GError **error) {
        g_autoptr(GlProcess) process = NULL;
        GlProcStat stat;

        const char *why = unfit(pid);
        if (!why) {
                int r = identify(pid, &process, &stat);
                if (r < 0) {
                        set_error(error, pid, r);
                        return NULL;
                }
                why = unfit_by_stat(&stat);
        }
        if (why) {
                g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS, "Process %u cannot be a guest's: %s.", pid, why);
                return NULL;
        }
        return g_steal_pointer(&process);
}

/* The number that PIDFD's process has here; 0 if it has none here, -1 if it was reaped. -EBADF: not a pidfd. */
static int read_pid_of(int pidfd, int *pid) {
        char path[64], text[4096];

        g_snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
        int r = read_proc(path, text, sizeof(text));
        if (r < 0)
                return r == -ENOENT ? -EBADF : r;
        return gl_proc_parse_pidfd(text, pid);
}

static gboolean check_pid_of(int r, int pid, GError **error) {
        if (r == -EBADF)
                g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS,
                            "The descriptor that was given for a process is not a pidfd.");
        else if (r < 0)
                g_set_error(error, GL_ERROR, GL_ERROR_LIMIT_EXCEEDED, "The service cannot look at the given pidfd: %s.",
                            g_strerror(-r));
        else if (pid < 0)
                g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS, "The process of the given pidfd has ended.");
        else if (pid == 0)
                g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS,
                            "The process of the given pidfd is outside the service's pid namespace.");
        else
                return TRUE;
        return FALSE;
}

GlProcess *gl_process_open_pidfd(int pidfd, GError **error) {
        int pid = 0;

        int r = read_pid_of(pidfd, &pid);
        if (!check_pid_of(r, pid, error))
                return NULL;

        g_autoptr(GlProcess) process = gl_process_open((guint32) pid, error);
        if (!process)
                return NULL;

        /* It lives: so the number was its own when the other pidfd was opened. */
        int ended = has_ended(pidfd);
        if (ended != 0) {
                set_error(error, process->pid, ended > 0 ? -ESRCH : ended);
                return NULL;
        }
        return g_steal_pointer(&process);
}

GlProcess *gl_process_find(guint32 pid, guint64 start_time, const char *boot_id, GError **error) {
        g_autoptr(GlProcess) process = NULL;
        GlProcStat stat;

        if (g_strcmp0(boot_id, gl_boot_id()) != 0)
                return NULL;

        int r = identify(pid, &process, &stat);
        if (r < 0) {
                if (r != -ESRCH && r != -EINVAL)
                        set_error(error, pid, r);
                return NULL;
        }
        return process->start_time == start_time ? g_steal_pointer(&process) : NULL;
}

GlProcess *gl_process_ref(GlProcess *process) {
        return g_atomic_rc_box_acquire(process);
}

void gl_process_unref(GlProcess *process) {
        if (process)
                g_atomic_rc_box_release_full(process, gl_process_clear);
}

void gl_process_clear(gpointer data) {
        GlProcess *process = data;

        close(process->pidfd);
}

gboolean gl_process_belongs_to(const GlProcess *process, guint32 uid) {
        for (guint i = 0; i < G_N_ELEMENTS(process->uids); i++)
                if (process->uids[i] != uid)
                        return FALSE;
        return TRUE;
}

typedef struct {
        GlProcessExited exited;
        gpointer user_data;
} Watch;

static int process_exited(sd_event_source *source, int fd, uint32_t revents, void *data) {
        const Watch *watch = data;

        watch->exited(watch->user_data);
        return 0;
}

int gl_process_watch(GlProcess *process, sd_event *event, GlProcessExited exited, gpointer user_data,
                     sd_event_source **source) {
        sd_event_source *io = NULL;

        /* A copy: epoll takes each descriptor once, and PROCESS may be watched twice, or go before its watch. */
        int fd = fcntl(process->pidfd, F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
                return -errno;

        Watch *watch = g_new(Watch, 1);
        *watch = (Watch){.exited = exited, .user_data = user_data};

        int r = sd_event_add_io(event, &io, fd, EPOLLIN, process_exited, watch);
        if (r < 0) {
                g_free(watch);
                close(fd);
                return r;
        }
        sd_event_source_set_destroy_callback(io, g_free);
        sd_event_source_set_io_fd_own(io, 1);
        sd_event_source_set_enabled(io, SD_EVENT_ONESHOT); /* a pidfd stays readable */

        *source = io;
        return 0;
}

const char *gl_boot_id(void) {
        static char text[SD_ID128_STRING_MAX];

        if (text[0] == '\0') {
                sd_id128_t id;

                int r = sd_id128_get_boot(&id);
                if (r < 0)
                        g_error("Without this boot's id no process can be told from an earlier one's, and "
                                "/proc/sys/kernel/random/boot_id cannot be read: %s.",
                                g_strerror(-r));
                sd_id128_to_string(id, text);
        }
        return text;
}
