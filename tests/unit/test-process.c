/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Real processes, made here and ended here: each dies with this program (PR_SET_PDEATHSIG), and each test ends with no
 * child and no descriptor more than it began with.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/error.h"
#include "process/process.h"

#define OTHER_UID 65534U
#define PATIENCE  (30 * G_USEC_PER_SEC)

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL
#endif

#define LOCAL_SOURCE __attribute__((cleanup(sd_event_source_unrefp))) sd_event_source

typedef struct {
        sd_event *event;
        guint n_descriptors;
        guint n_exits;
        guint n_results;
        int result;
} Fixture;

/* --- children --- */

typedef void (*ChildMain)(int ready, gpointer data);

/* Forks a child that runs MAIN, and returns when that wrote a byte to READY. */
static pid_t spawn(ChildMain child_main, gpointer data) {
        int ends[2];
        char byte;

        g_assert_no_errno(pipe2(ends, O_CLOEXEC));
        pid_t pid = fork();
        g_assert_no_errno(pid);
        if (pid == 0) {
                close(ends[0]);
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                child_main(ends[1], data);
                _exit(0);
        }
        close(ends[1]);
        g_assert_cmpint(read(ends[0], &byte, 1), ==, 1);
        close(ends[0]);
        return pid;
}

static void say_ready(int ready) {
        if (write(ready, "", 1) != 1)
                _exit(100);
        close(ready);
}

static void G_GNUC_NORETURN sleep_for_ever(void) {
        for (;;)
                pause();
}

static void G_GNUC_NORETURN sleeper_main(int ready, gpointer data) {
        say_ready(ready);
        sleep_for_ever();
}

static void G_GNUC_NORETURN named_main(int ready, gpointer data) {
        prctl(PR_SET_NAME, data);
        sleeper_main(ready, NULL);
}

static void G_GNUC_NORETURN other_user_main(int ready, gpointer data) {
        const guint32 *uids = data;

        if (syscall(SYS_setresuid, uids[0], uids[1], uids[2]) < 0)
                _exit(100);
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* the change of uid has cleared it */
        sleeper_main(ready, NULL);
}

static void G_GNUC_NORETURN *thread_main(void *data) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        *(pid_t *) data = (pid_t) syscall(SYS_gettid);
        sleep_for_ever();
}

static void G_GNUC_NORETURN end_first_thread(int signal) {
        syscall(SYS_exit, 0);
        _exit(100);
}

/* Two threads; SIGUSR1 ends the first alone. DATA is shared memory for the id of the second. */
static void G_GNUC_NORETURN two_threads_main(int ready, gpointer data) {
        volatile pid_t *tid = data;
        sigset_t mask;
        pthread_t thread;

        signal(SIGUSR1, end_first_thread);
        sigemptyset(&mask);
        sigaddset(&mask, SIGUSR1);
        pthread_sigmask(SIG_BLOCK, &mask, NULL);
        if (pthread_create(&thread, NULL, thread_main, data) != 0)
                _exit(100);
        pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
        while (*tid == 0)
                sched_yield();
        sleeper_main(ready, NULL);
}

static pid_t spawn_two_threads(pid_t *tid) {
        pid_t *shared = mmap(NULL, sizeof(pid_t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        g_assert_true(shared != MAP_FAILED);
        pid_t pid = spawn(two_threads_main, shared);
        *tid = *shared;
        munmap(shared, sizeof(pid_t));
        return pid;
}

/* Ends a child, and returns the signal that it died of. */
static int reap(pid_t pid) {
        siginfo_t info = {0};

        g_assert_no_errno(waitid(P_PID, (id_t) pid, &info, WEXITED));
        return info.si_code == CLD_EXITED ? 0 : info.si_status;
}

static void kill_and_reap(pid_t pid) {
        kill(pid, SIGKILL);
        g_assert_cmpint(reap(pid), ==, SIGKILL);
}

static void kill_without_reaping(pid_t pid) {
        siginfo_t info;

        kill(pid, SIGKILL);
        g_assert_no_errno(waitid(P_PID, (id_t) pid, &info, WEXITED | WNOWAIT));
}

/* The letter that /proc has for PID. */
static char state_of(pid_t pid) {
        g_autofree char *path = g_strdup_printf("/proc/%d/stat", pid);
        g_autofree char *text = NULL;

        g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
        return strrchr(text, ')')[2];
}

static void wait_for_state(pid_t pid, char state) {
        gint64 deadline = g_get_monotonic_time() + PATIENCE;

        while (state_of(pid) != state) {
                g_assert_cmpint(g_get_monotonic_time(), <, deadline);
                g_usleep(500);
        }
}

static int open_pidfd(pid_t pid, guint flags) {
        return (int) syscall(SYS_pidfd_open, pid, flags);
}

/* --- fixture --- */

static guint count_descriptors(void) {
        g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
        guint n = 0;

        g_assert_nonnull(dir);
        while (g_dir_read_name(dir))
                n++;
        return n;
}

static void set_up(Fixture *f, gconstpointer data) {
        f->n_descriptors = count_descriptors();
        f->result = G_MAXINT;
        g_assert_cmpint(sd_event_new(&f->event), >=, 0);
}

static void tear_down(Fixture *f, gconstpointer data) {
        siginfo_t info;

        f->event = sd_event_unref(f->event);
        g_assert_cmpuint(count_descriptors(), ==, f->n_descriptors);
        g_assert_cmpint(waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT), ==, -1);
        g_assert_cmpint(errno, ==, ECHILD);
}

static void count_exit(gpointer data) {
        Fixture *f = data;

        f->n_exits++;
}

static void note_result(int result, gpointer data) {
        Fixture *f = data;

        f->n_results++;
        f->result = result;
}

static void run_until(Fixture *f, const guint *counter, guint value) {
        gint64 deadline = g_get_monotonic_time() + PATIENCE;

        while (*counter < value) {
                g_assert_cmpint(g_get_monotonic_time(), <, deadline);
                g_assert_cmpint(sd_event_run(f->event, 100000), >=, 0);
        }
}

/* Lets the loop do whatever it has to do. */
static void run_until_idle(Fixture *f) {
        gint64 deadline = g_get_monotonic_time() + PATIENCE;
        int r;

        do
                r = sd_event_run(f->event, 20000);
        while (r > 0 && g_get_monotonic_time() < deadline);
        g_assert_cmpint(r, ==, 0);
}

static gboolean is_root(void) {
        if (geteuid() == 0)
                return TRUE;
        g_test_skip("needs root");
        return FALSE;
}

/* --- opening --- */

static void assert_refused(guint32 pid, const char *words) {
        g_autoptr(GError) error = NULL;

        g_assert_null(gl_process_open(pid, &error));
        g_assert_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS);
        g_assert_nonnull(strstr(error->message, words));
}

static void assert_pidfd_refused(int pidfd, const char *words) {
        g_autoptr(GError) error = NULL;

        g_assert_null(gl_process_open_pidfd(pidfd, &error));
        g_assert_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS);
        g_assert_nonnull(strstr(error->message, words));
}

static void test_open(Fixture *f, gconstpointer data) {
        g_autoptr(GError) error = NULL;
        pid_t pid = spawn(sleeper_main, NULL);

        g_autoptr(GlProcess) process = gl_process_open((guint32) pid, &error);
        g_assert_no_error(error);
        g_assert_cmpuint(process->pid, ==, pid);
        g_assert_cmpuint(process->start_time, >, 0);
        g_assert_cmpint(fcntl(process->pidfd, F_GETFD), ==, FD_CLOEXEC);
        for (guint i = 0; i < 4; i++)
                g_assert_cmpuint(process->uids[i], ==, getuid());
        g_assert_true(gl_process_belongs_to(process, getuid()));
        g_assert_false(gl_process_belongs_to(process, getuid() + 1));

        g_autoptr(GlProcess) again = gl_process_ref(process);
        g_assert_true(again == process);
        kill_and_reap(pid);
        /* The reference keeps the pidfd: the number cannot stand for somebody else. */
        g_assert_cmpint((int) syscall(SYS_pidfd_send_signal, process->pidfd, 0, NULL, 0), ==, -1);
        g_assert_cmpint(errno, ==, ESRCH);
}

/* A process may call itself what it likes. */
static void test_open_odd_name(Fixture *f, gconstpointer data) {
        static const char *const names[] = {"x) Z 1 1 1 1 1", "))) (", "a\nUid:\t9 9 9 9", "", "no paren"};
        pid_t first = spawn(sleeper_main, NULL);
        g_autoptr(GlProcess) earlier = gl_process_open((guint32) first, NULL);
        g_assert_nonnull(earlier);

        for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
                g_autoptr(GError) error = NULL;
                pid_t pid = spawn(named_main, (gpointer) names[i]), last = spawn(sleeper_main, NULL);
                g_autoptr(GlProcess) process = gl_process_open((guint32) pid, &error);
                g_autoptr(GlProcess) later = gl_process_open((guint32) last, NULL);
                g_assert_no_error(error);
                g_assert_nonnull(later);
                g_assert_cmpuint(process->start_time, >=, earlier->start_time);
                g_assert_cmpuint(process->start_time, <=, later->start_time);
                g_assert_true(gl_process_belongs_to(process, getuid()));
                kill_and_reap(pid);
                kill_and_reap(last);
        }
        kill_and_reap(first);
}

static void test_open_refused(Fixture *f, gconstpointer data) {
        assert_refused(0, "no process");
        assert_refused(1, "first process");
        assert_refused((guint32) getpid(), "service itself");
        assert_refused(G_MAXUINT32, "does not exist");
        assert_refused(1U << 31, "does not exist");
        assert_refused(G_MAXINT32, "does not exist"); /* above the kernel's own maximum of 2^22 */

        pid_t pid = spawn(sleeper_main, NULL);
        kill_without_reaping(pid);
        assert_refused((guint32) pid, "has ended");
        reap(pid);
        assert_refused((guint32) pid, "does not exist");
}

static void test_open_thread(Fixture *f, gconstpointer data) {
        pid_t tid;
        pid_t pid = spawn_two_threads(&tid);

        assert_refused((guint32) tid, "thread");
        kill_and_reap(pid);
}

static void test_open_kernel_thread(Fixture *f, gconstpointer data) {
        g_autofree char *text = NULL;

        if (!g_file_get_contents("/proc/2/stat", &text, NULL, NULL) || !g_str_has_prefix(text, "2 (kthreadd) ")) {
                g_test_skip("no kernel threads in this pid namespace");
                return;
        }
        assert_refused(2, "thread of the kernel");
}

static void test_open_mixed_uids(Fixture *f, gconstpointer data) {
        static const guint32 mixed[][3] = {
                {0, OTHER_UID, OTHER_UID}, {OTHER_UID, 0, OTHER_UID}, {OTHER_UID, OTHER_UID, 0}};

        if (!is_root())
                return;
        for (guint i = 0; i < G_N_ELEMENTS(mixed); i++) {
                pid_t pid = spawn(other_user_main, (gpointer) mixed[i]);
                g_autoptr(GlProcess) process = gl_process_open((guint32) pid, NULL);
                g_assert_nonnull(process);
                g_assert_cmpmem(process->uids, sizeof(mixed[i]), mixed[i], sizeof(mixed[i]));
                g_assert_cmpuint(process->uids[3], ==, mixed[i][1]);
                g_assert_false(gl_process_belongs_to(process, OTHER_UID));
                g_assert_false(gl_process_belongs_to(process, 0));
                kill_and_reap(pid);
        }
}

/* Its number is known, but there is nothing to look with: no statement about the process. */
static void test_no_descriptors(Fixture *f, gconstpointer data) {
        g_autoptr(GError) open_error = NULL;
        g_autoptr(GError) find_error = NULL;
        struct rlimit before, none;
        pid_t pid = spawn(sleeper_main, NULL);
        g_autoptr(GlProcess) process = gl_process_open((guint32) pid, NULL);
        g_assert_nonnull(process);
        g_assert_nonnull(gl_boot_id());

        g_assert_no_errno(getrlimit(RLIMIT_NOFILE, &before));
        none = before;
        none.rlim_cur = 3;
        g_assert_no_errno(setrlimit(RLIMIT_NOFILE, &none));
        g_autoptr(GlProcess) opened = gl_process_open((guint32) pid, &open_error);
        g_autoptr(GlProcess) found = gl_process_find((guint32) pid, process->start_time, gl_boot_id(), &find_error);
        g_assert_no_errno(setrlimit(RLIMIT_NOFILE, &before));

        g_assert_null(opened);
        g_assert_error(open_error, GL_ERROR, GL_ERROR_LIMIT_EXCEEDED);
        g_assert_null(found);
        g_assert_error(find_error, GL_ERROR, GL_ERROR_LIMIT_EXCEEDED);
        kill_and_reap(pid);
}

/* --- opening by descriptor --- */

static void test_pidfd(Fixture *f, gconstpointer data) {
        g_autoptr(GError) error = NULL;
        pid_t pid = spawn(sleeper_main, NULL);
        int pidfd = open_pidfd(pid, 0);
        g_assert_no_errno(pidfd);

        g_autoptr(GlProcess) by_pidfd = gl_process_open_pidfd(pidfd, &error);
        g_assert_no_error(error);
        g_autoptr(GlProcess) by_pid = gl_process_open((guint32) pid, &error);
        g_assert_no_error(error);
        g_assert_cmpuint(by_pidfd->pid, ==, pid);
        g_assert_cmpuint(by_pidfd->start_time, ==, by_pid->start_time);
        g_assert_cmpmem(by_pidfd->uids, sizeof(by_pidfd->uids), by_pid->uids, sizeof(by_pid->uids));
        g_assert_cmpint(by_pidfd->pidfd, !=, pidfd);
        g_assert_cmpint(fcntl(by_pidfd->pidfd, F_GETFD), ==, FD_CLOEXEC);

        /* The descriptor was only borrowed. */
        g_assert_no_errno(fcntl(pidfd, F_GETFD));

        kill_without_reaping(pid);
        assert_pidfd_refused(pidfd, "has ended");
        reap(pid);
        assert_pidfd_refused(pidfd, "has ended");
        close(pidfd);
}

static void test_pidfd_refused(Fixture *f, gconstpointer data) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        int self = open_pidfd(getpid(), 0);
        int first = open_pidfd(1, 0);

        assert_pidfd_refused(-1, "not a pidfd");
        assert_pidfd_refused(G_MAXINT, "not a pidfd");
        assert_pidfd_refused(null, "not a pidfd");
        assert_pidfd_refused(self, "service itself");
        assert_pidfd_refused(first, "first process");
        close(null);
        close(self);
        close(first);
}

/* A pidfd may tell about one thread alone; what counts is when the last one has ended. */
static void test_pidfd_of_thread(Fixture *f, gconstpointer data) {
        g_autoptr(GError) error = NULL;
        LOCAL_SOURCE *source = NULL;
        pid_t tid;
        pid_t pid = spawn_two_threads(&tid);
        int first = open_pidfd(pid, PIDFD_THREAD);
        int second = open_pidfd(tid, PIDFD_THREAD);

        if (first < 0) {
                kill_and_reap(pid);
                g_test_skip("this kernel has no pidfds of threads");
                return;
        }
        g_assert_no_errno(second);
        assert_pidfd_refused(second, "thread");

        g_autoptr(GlProcess) process = gl_process_open_pidfd(first, &error);
        g_assert_no_error(error);
        g_assert_cmpint(gl_process_watch(process, f->event, count_exit, f, &source), >=, 0);
        kill(pid, SIGUSR1);
        wait_for_state(pid, 'Z');
        run_until_idle(f);
        g_assert_cmpuint(f->n_exits, ==, 0);

        kill(pid, SIGKILL);
        run_until(f, &f->n_exits, 1);
        reap(pid);
        close(first);
        close(second);
}

/* In a pid namespace of its own, with the pidfd of a process outside. Its exit status says how it went. */
static void G_GNUC_NORETURN outside_main(int pidfd) {
        int status;

        if (unshare(CLONE_NEWPID | CLONE_NEWNS) < 0)
                _exit(77);
        pid_t pid = fork();
        if (pid == 0) {
                if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
                    mount("proc", "/proc", "proc", 0, NULL) < 0)
                        _exit(77);
                assert_pidfd_refused(pidfd, "outside");
                _exit(0);
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
                _exit(100);
        _exit(WEXITSTATUS(status));
}

static void test_pidfd_outside(Fixture *f, gconstpointer data) {
        int status;

        if (!is_root())
                return;
        pid_t sleeper = spawn(sleeper_main, NULL);
        int pidfd = open_pidfd(sleeper, 0);
        pid_t pid = fork();
        g_assert_no_errno(pid);
        if (pid == 0)
                outside_main(pidfd);
        g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
        kill_and_reap(sleeper);
        close(pidfd);
        g_assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == 77)
                g_test_skip("no pid namespaces here");
        else
                g_assert_cmpint(WEXITSTATUS(status), ==, 0);
}

/* --- finding again --- */

static void assert_not_found(guint32 pid, guint64 start_time, const char *boot_id) {
        g_autoptr(GError) error = NULL;

        g_assert_null(gl_process_find(pid, start_time, boot_id, &error));
        g_assert_no_error(error);
}

static void test_find(Fixture *f, gconstpointer data) {
        g_autoptr(GError) error = NULL;
        pid_t pid = spawn(sleeper_main, NULL);
        g_autoptr(GlProcess) process = gl_process_open((guint32) pid, NULL);
        g_assert_nonnull(process);
        guint64 start_time = process->start_time;

        g_autoptr(GlProcess) found = gl_process_find((guint32) pid, start_time, gl_boot_id(), &error);
        g_assert_no_error(error);
        g_assert_cmpuint(found->pid, ==, pid);
        g_assert_cmpuint(found->start_time, ==, start_time);

        assert_not_found((guint32) pid, start_time + 1, gl_boot_id());
        assert_not_found((guint32) pid, start_time - 1, gl_boot_id());
        assert_not_found((guint32) pid, start_time, "0123456789abcdef0123456789abcdef");
        assert_not_found((guint32) pid, start_time, "");
        assert_not_found((guint32) pid, start_time, NULL);
        assert_not_found(0, start_time, gl_boot_id());
        assert_not_found(G_MAXUINT32, start_time, gl_boot_id());

        kill_without_reaping(pid);
        assert_not_found((guint32) pid, start_time, gl_boot_id());
        reap(pid);
        assert_not_found((guint32) pid, start_time, gl_boot_id());
}

/* Its first thread has ended, and /proc calls it a zombie; but it lives, and can write. */
static void test_find_without_first_thread(Fixture *f, gconstpointer data) {
        g_autoptr(GError) error = NULL;
        pid_t tid;
        pid_t pid = spawn_two_threads(&tid);
        g_autoptr(GlProcess) process = gl_process_open((guint32) pid, NULL);
        g_assert_nonnull(process);

        kill(pid, SIGUSR1);
        wait_for_state(pid, 'Z');
        assert_refused((guint32) pid, "first thread has ended");
        assert_not_found((guint32) tid, process->start_time, gl_boot_id());
        g_autoptr(GlProcess) found = gl_process_find((guint32) pid, process->start_time, gl_boot_id(), &error);
        g_assert_no_error(error);
        g_assert_nonnull(found);
        kill_and_reap(pid);
}

static void test_boot_id(Fixture *f, gconstpointer data) {
        g_autofree char *text = NULL;

        g_assert_cmpuint(strlen(gl_boot_id()), ==, 32);
        g_assert_cmpuint(strspn(gl_boot_id(), "0123456789abcdef"), ==, 32);
        g_assert_true(g_file_get_contents("/proc/sys/kernel/random/boot_id", &text, NULL, NULL));
        g_auto(GStrv) parts = g_strsplit(g_strchomp(text), "-", 0);
        g_autofree char *joined = g_strjoinv("", parts);
        g_assert_cmpstr(gl_boot_id(), ==, joined);
}

/* --- watching --- */

static void test_watch(Fixture *f, gconstpointer data) {
        LOCAL_SOURCE *one = NULL;
        LOCAL_SOURCE *two = NULL;
        LOCAL_SOURCE *late = NULL;
        pid_t pid = spawn(sleeper_main, NULL);
        g_autoptr(GlProcess) process = gl_process_open((guint32) pid, NULL);
        g_assert_nonnull(process);

        g_assert_cmpint(gl_process_watch(process, f->event, count_exit, f, &one), >=, 0);
        run_until_idle(f);
        g_assert_cmpuint(f->n_exits, ==, 0);

        /* A zombie is gone: it need not be reaped first. And nobody is told twice. */
        kill_without_reaping(pid);
        run_until(f, &f->n_exits, 1);
        run_until_idle(f);
        reap(pid);
        run_until_idle(f);
        g_assert_cmpuint(f->n_exits, ==, 1);

        /* Two on one process, and on one that is gone already. */
        g_assert_cmpint(gl_process_watch(process, f->event, count_exit, f, &two), >=, 0);
        g_assert_cmpint(gl_process_watch(process, f->event, count_exit, f, &late), >=, 0);
        run_until(f, &f->n_exits, 3);
        run_until_idle(f);
        g_assert_cmpuint(f->n_exits, ==, 3);
}

static void test_watch_dropped(Fixture *f, gconstpointer data) {
        sd_event_source *dropped = NULL;
        LOCAL_SOURCE *kept = NULL;
        pid_t pid = spawn(sleeper_main, NULL);
        GlProcess *process = gl_process_open((guint32) pid, NULL);
        g_assert_nonnull(process);

        g_assert_cmpint(gl_process_watch(process, f->event, count_exit, f, &dropped), >=, 0);
        g_assert_cmpint(gl_process_watch(process, f->event, count_exit, f, &kept), >=, 0);
        sd_event_source_unref(dropped);
        gl_process_unref(process); /* the watch does not need it */
        kill_and_reap(pid);
        run_until(f, &f->n_exits, 1);
        run_until_idle(f);
        g_assert_cmpuint(f->n_exits, ==, 1);
}

typedef struct {
        Fixture *fixture;
        sd_event_source *source;
} SelfDropping;

static void drop_own_watch(gpointer data) {
        SelfDropping *dropping = data;

        dropping->source = sd_event_source_unref(dropping->source);
        dropping->fixture->n_exits++;
}

static void test_watch_dropped_inside(Fixture *f, gconstpointer data) {
        SelfDropping dropping = {.fixture = f};
        pid_t pid = spawn(sleeper_main, NULL);
        g_autoptr(GlProcess) process = gl_process_open((guint32) pid, NULL);
        g_assert_nonnull(process);

        g_assert_cmpint(gl_process_watch(process, f->event, drop_own_watch, &dropping, &dropping.source), >=, 0);
        kill_and_reap(pid);
        run_until(f, &f->n_exits, 1);
        g_assert_null(dropping.source);
}

/* --- signalling --- */

static void test_signal_as_root(Fixture *f, gconstpointer data) {
        pid_t pid = spawn(sleeper_main, NULL);
        g_autoptr(GlProcess) process = gl_process_open((guint32) pid, NULL);
        g_assert_nonnull(process);

        gl_process_signal(process, f->event, 0, SIGTERM, note_result, f);
        g_assert_cmpuint(f->n_results, ==, 1);
        g_assert_cmpint(f->result, ==, 0);
        g_assert_cmpint(reap(pid), ==, SIGTERM);

        gl_process_signal(process, f->event, 0, SIGTERM, note_result, f);
        g_assert_cmpint(f->result, ==, -ESRCH);
        gl_process_signal(process, f->event, 0, SIGTERM, NULL, NULL);
}

static int signal_and_wait(Fixture *f, GlProcess *process, guint32 uid, int signal) {
        guint before = f->n_results;

        gl_process_signal(process, f->event, uid, signal, note_result, f);
        g_assert_cmpuint(f->n_results, ==, before); /* only ever from the loop */
        run_until(f, &f->n_results, before + 1);
        run_until_idle(f);
        g_assert_cmpuint(f->n_results, ==, before + 1);
        return f->result;
}

static void test_signal_as_user(Fixture *f, gconstpointer data) {
        static const guint32 uids[] = {OTHER_UID, OTHER_UID, OTHER_UID};

        if (!is_root())
                return;
        pid_t pid = spawn(other_user_main, (gpointer) uids);
        g_autoptr(GlProcess) process = gl_process_open((guint32) pid, NULL);
        g_assert_nonnull(process);
        g_assert_true(gl_process_belongs_to(process, OTHER_UID));

        g_assert_cmpint(signal_and_wait(f, process, OTHER_UID, SIGSTOP), ==, 0);
        wait_for_state(pid, 'T');
        g_assert_cmpint(signal_and_wait(f, process, OTHER_UID, SIGCONT), ==, 0);
        wait_for_state(pid, 'S');
        g_assert_cmpint(signal_and_wait(f, process, OTHER_UID, 10000), ==, -EINVAL);
        g_assert_cmpint(signal_and_wait(f, process, OTHER_UID - 1, SIGKILL), ==, -EPERM);
        g_assert_cmpint(signal_and_wait(f, process, OTHER_UID, SIGUSR1), ==, 0);
        g_assert_cmpint(reap(pid), ==, SIGUSR1);
        g_assert_cmpint(signal_and_wait(f, process, OTHER_UID, SIGUSR1), ==, -ESRCH);
}

static void test_signal_not_permitted(Fixture *f, gconstpointer data) {
        if (!is_root())
                return;
        pid_t pid = spawn(sleeper_main, NULL);
        g_autoptr(GlProcess) process = gl_process_open((guint32) pid, NULL);
        g_assert_nonnull(process);

        g_assert_cmpint(signal_and_wait(f, process, OTHER_UID, SIGKILL), ==, -EPERM);
        /* Within our session the kernel would let everybody. */
        g_assert_cmpint(signal_and_wait(f, process, OTHER_UID, SIGCONT), ==, -EPERM);
        /* To setresuid(), -1 means "stay who you are". */
        gl_process_signal(process, f->event, G_MAXUINT32, SIGKILL, note_result, f);
        g_assert_cmpint(f->result, ==, -EINVAL);
        g_assert_no_errno(kill(pid, 0));
        wait_for_state(pid, 'S'); /* neither stopped nor dead; and what it does before it sleeps is its own */
        kill_and_reap(pid);
}

/* Nobody waits any more; the signal goes out all the same. */
static void test_signal_without_loop(Fixture *f, gconstpointer data) {
        static const guint32 uids[] = {OTHER_UID, OTHER_UID, OTHER_UID};
        siginfo_t info;

        if (!is_root())
                return;
        pid_t pid = spawn(other_user_main, (gpointer) uids);
        g_autoptr(GlProcess) process = gl_process_open((guint32) pid, NULL);
        g_assert_nonnull(process);

        gl_process_signal(process, f->event, OTHER_UID, SIGUSR2, note_result, f);
        f->event = sd_event_unref(f->event);
        g_assert_cmpint(reap(pid), ==, SIGUSR2);
        g_assert_cmpuint(f->n_results, ==, 0);
        while (waitid(P_ALL, 0, &info, WEXITED) == 0) /* the helper, if it was quicker to be left than to end: */
                gl_process_unref(process);            /* it has kept its reference */
}

static void test_signal_without_descriptors(Fixture *f, gconstpointer data) {
        static const guint32 uids[] = {OTHER_UID, OTHER_UID, OTHER_UID};
        struct rlimit before, none;

        if (!is_root())
                return;
        pid_t pid = spawn(other_user_main, (gpointer) uids);
        g_autoptr(GlProcess) process = gl_process_open((guint32) pid, NULL);
        g_assert_nonnull(process);

        g_assert_no_errno(getrlimit(RLIMIT_NOFILE, &before));
        none = before;
        none.rlim_cur = 3;
        g_assert_no_errno(setrlimit(RLIMIT_NOFILE, &none));
        gl_process_signal(process, f->event, OTHER_UID, SIGUSR2, note_result, f);
        g_assert_no_errno(setrlimit(RLIMIT_NOFILE, &before));
        g_assert_cmpint(f->result, ==, 0);
        g_assert_cmpint(reap(pid), ==, SIGUSR2);
}

/* From now on, whoever makes this system call, here or in a child, gets ACTION instead. */
static int filter_call(guint32 call, guint32 action, guint flags) {
        struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, action),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = {.len = G_N_ELEMENTS(code), .filter = code};

        return (int) syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

/* MAIN in a process of its own, because a filter cannot be taken away again; 77 is its word for "no filters here". */
static void run_filtered(ChildMain filtered_main) {
        int status;

        if (!is_root())
                return;
        pid_t pid = spawn(filtered_main, NULL);
        g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
        g_assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == 77)
                g_test_skip("no seccomp filters here");
        else
                g_assert_cmpint(WEXITSTATUS(status), ==, 0);
}

static void stuck_as_root_main(int ready, gpointer data) {
        Fixture f = {.result = G_MAXINT};

        if (filter_call(SYS_setresuid, SECCOMP_RET_ERRNO | EACCES, 0) < 0) {
                say_ready(ready);
                _exit(77);
        }
        g_assert_cmpint(sd_event_new(&f.event), >=, 0);
        pid_t pid = spawn(sleeper_main, NULL);
        g_autoptr(GlProcess) process = gl_process_open((guint32) pid, NULL);
        g_assert_nonnull(process);

        gl_process_signal(process, f.event, OTHER_UID, SIGTERM, note_result, &f);
        run_until(&f, &f.n_results, 1);
        g_assert_cmpint(f.result, ==, -EACCES);
        kill_and_reap(pid); /* of nothing else has it died */
        sd_event_unref(f.event);
        say_ready(ready);
}

/* A helper that could not become the user sends nothing. */
static void test_signal_helper_stuck_as_root(Fixture *f, gconstpointer data) {
        run_filtered(stuck_as_root_main);
}

/* What the kernel says to a user who wants to signal TARGET, from a session of his own: 0 or an errno. */
static int signal_check_as_other_user(pid_t target) {
        int status;

        pid_t pid = fork();
        g_assert_no_errno(pid);
        if (pid == 0) {
                if (setsid() < 0 || prctl(PR_SET_SECUREBITS, 0) < 0 ||
                    syscall(SYS_setresuid, OTHER_UID, OTHER_UID, OTHER_UID) < 0)
                        _exit(100);
                _exit(kill(target, 0) < 0 ? errno : 0);
        }
        g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
        g_assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static void assert_gave_up_everything(const char *status) {
        g_assert_nonnull(status);
        g_assert_nonnull(strstr(status, "\nUid:\t65535\t65534\t65535\t65534\n"));
        g_assert_nonnull(strstr(status, "\nGid:\t65535\t65535\t65535\t65535\n"));
        g_assert_nonnull(strstr(status, "\nGroups:\t \n"));
        g_assert_nonnull(strstr(status, "\nCapPrm:\t0000000000000000\n"));
        g_assert_nonnull(strstr(status, "\nCapEff:\t0000000000000000\n"));
}

static void held_helper_main(int ready, gpointer data) {
        static const gid_t group = 5;
        Fixture f = {.result = G_MAXINT};
        struct seccomp_notif held = {0};

        /* What a helper has to rid itself of. */
        g_assert_no_errno(setgroups(1, &group));
        g_assert_no_errno(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP));

        int listener = filter_call(SYS_pidfd_send_signal, SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER);
        if (listener < 0) {
                say_ready(ready);
                _exit(77);
        }
        g_assert_cmpint(sd_event_new(&f.event), >=, 0);
        pid_t pid = spawn(sleeper_main, NULL);
        g_autoptr(GlProcess) process = gl_process_open((guint32) pid, NULL);
        g_assert_nonnull(process);

        gl_process_signal(process, f.event, OTHER_UID, SIGTERM, note_result, &f);
        GPollFD call = {.fd = listener, .events = G_IO_IN};
        g_assert_cmpint(g_poll(&call, 1, PATIENCE / 1000), ==, 1);
        g_assert_no_errno(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &held));
        pid_t helper = (pid_t) held.pid;
        g_autofree char *path = g_strdup_printf("/proc/%d/status", helper);
        g_autofree char *status = NULL;
        g_file_get_contents(path, &status, NULL, NULL);
        int check = signal_check_as_other_user(helper);

        /* What we open now is open there too: it has no copies of its own, whose closing could take for ever. */
        int later = open("/dev/null", O_RDONLY | O_CLOEXEC);
        g_autofree char *there = g_strdup_printf("/proc/%d/fd/%d", helper, later);
        gboolean shared = later >= 0 && faccessat(AT_FDCWD, there, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
        close(later);

        /* One that does not get on holds up nobody; nor does one that is killed. */
        run_until_idle(&f);
        guint n_results = f.n_results;
        kill(helper, SIGKILL); /* before anything is asserted: it would outlive us */
        g_assert_cmpuint(n_results, ==, 0);
        run_until(&f, &f.n_results, 1);
        g_assert_cmpint(f.result, ==, -ECANCELED);
        g_assert_cmpint(check, ==, EPERM);
        g_assert_true(shared);
        assert_gave_up_everything(status);

        kill_and_reap(pid);
        g_assert_cmpint(waitpid(-1, NULL, WNOHANG), ==, -1);
        sd_event_unref(f.event);
        close(listener);
        say_ready(ready);
}

/* Catches the helper at its work. */
static void test_signal_helper_held(Fixture *f, gconstpointer data) {
        run_filtered(held_helper_main);
}

#define TEST(path, function) g_test_add("/process/" path, Fixture, NULL, set_up, function, tear_down)

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);

        int probe = open_pidfd(getpid(), 0);
        if (probe < 0 && errno == ENOSYS) {
                g_print("1..0 # SKIP no pidfd_open() here (valgrind 3.19 lacks it)\n");
                return 0;
        }
        close(probe);

        TEST("open", test_open);
        TEST("open/odd-name", test_open_odd_name);
        TEST("open/refused", test_open_refused);
        TEST("open/thread", test_open_thread);
        TEST("open/kernel-thread", test_open_kernel_thread);
        TEST("open/mixed-uids", test_open_mixed_uids);
        TEST("open/no-descriptors", test_no_descriptors);
        TEST("pidfd", test_pidfd);
        TEST("pidfd/refused", test_pidfd_refused);
        TEST("pidfd/of-thread", test_pidfd_of_thread);
        TEST("pidfd/outside", test_pidfd_outside);
        TEST("find", test_find);
        TEST("find/without-first-thread", test_find_without_first_thread);
        TEST("find/boot-id", test_boot_id);
        TEST("watch", test_watch);
        TEST("watch/dropped", test_watch_dropped);
        TEST("watch/dropped-inside", test_watch_dropped_inside);
        TEST("signal/as-root", test_signal_as_root);
        TEST("signal/as-user", test_signal_as_user);
        TEST("signal/not-permitted", test_signal_not_permitted);
        TEST("signal/without-loop", test_signal_without_loop);
        TEST("signal/without-descriptors", test_signal_without_descriptors);
        TEST("signal/helper-held", test_signal_helper_held);
        TEST("signal/helper-stuck-as-root", test_signal_helper_stuck_as_root);

        return g_test_run();
}
