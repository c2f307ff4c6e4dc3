/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "core/error.h"
#include "supervisor/child.h"
#include "supervisor/descendants.h"
#include "supervisor/locks.h"
#include "supervisor/options.h"

#define NUMBER(array) (int) (G_N_ELEMENTS(array) - 1)

/* --- arguments --- */

static void test_options(void) {
        const char *line[] = {"s", "--guest=/a", "--wait-ms", "86400000", "--orphan=keep", "--", "--help", "x", NULL};
        const char *plain[] = {"s", "--orphan", "keep", "--guest", "/b", "--orphan=end", "qemu", "--version", NULL};
        g_auto(GlSupervisorOptions) options = {}, others = {};
        g_autoptr(GError) error = NULL;

        g_assert_true(gl_supervisor_options_parse(NUMBER(line), (char **) line, &options, &error));
        g_assert_cmpstr(options.guest, ==, "/a");
        g_assert_cmpuint(options.wait_ms, ==, 86400000);
        g_assert_true(options.keep_orphan && !options.help);
        g_assert_true(options.command == (char **) line + 6);

        /* What follows the first word that is no option is the guest's. */
        g_assert_true(gl_supervisor_options_parse(NUMBER(plain), (char **) plain, &others, &error));
        g_assert_cmpstr(others.guest, ==, "/b");
        g_assert_true(!others.keep_orphan && !others.version && others.wait_ms == 0);
        g_assert_cmpstr(others.command[0], ==, "qemu");
}

static void test_wrong_options(void) {
        static const struct {
                const char *line[5], *said;
        } wrong[] = {
                {{"s"}, "--guest is missing"},
                {{"s", "--", "qemu"}, "--guest is missing"},
                {{"s", "--guest=/a"}, "command line is missing"},
                {{"s", "--guest=/a", "--"}, "command line is missing"},
                {{"s", "--guest=web1", "qemu"}, "\"web1\""},
                {{"s", "--guest"}, "\"--guest\""},
                {{"s", "--guest=/a", "--wait-ms=86400001", "qemu"}, "\"86400001\""},
                {{"s", "--guest=/a", "--wait-ms=-1", "qemu"}, "\"-1\""},
                {{"s", "--guest=/a", "--wait-ms=", "qemu"}, "milliseconds"},
                {{"s", "--guest=/a", "--orphan=eat", "qemu"}, "\"eat\""},
                {{"s", "--guest=/a", "--colour=red", "qemu"}, "\"--colour=red\""},
                {{"s", "--help=me", "qemu"}, "\"--help=me\""},
        };

        for (guint i = 0; i < G_N_ELEMENTS(wrong); i++) {
                g_auto(GlSupervisorOptions) options = {};
                g_autoptr(GError) error = NULL;
                int n = (int) g_strv_length((char **) wrong[i].line);

                g_assert_false(gl_supervisor_options_parse(n, (char **) wrong[i].line, &options, &error));
                g_assert_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS);
                if (!strstr(error->message, wrong[i].said))
                        g_error("%s is not in: %s", wrong[i].said, error->message);
        }
}

static void test_help(void) {
        const char *line[] = {"s", "--help", "--nonsense", NULL}, *version[] = {"s", "--version", NULL};
        g_auto(GlSupervisorOptions) options = {}, others = {};

        g_assert_true(gl_supervisor_options_parse(NUMBER(line), (char **) line, &options, NULL) && options.help);
        g_assert_true(gl_supervisor_options_parse(NUMBER(version), (char **) version, &others, NULL) && others.version);
}

/* --- locks --- */

static void test_fdinfo(void) {
        static const char text[] = "pos:\t0\nflags:\t02100002\nmnt_id:\t33\nino:\t1234\n"
                                   "lock:\t1: OFDLCK ADVISORY  WRITE -1 00:2a:1234 0 0\n"
                                   "lock:\t2: OFDLCK ADVISORY  READ -1 00:2a:1234 100 200\n"
                                   "lock:\t3: POSIX  ADVISORY  WRITE 77 00:2a:1234 300 300\n"
                                   "lock:\t4: OFDLCK ADVISORY  READ -1 00:2a:1234 4611686018427387904 EOF\n";

        g_assert_true(gl_fdinfo_has_lock(text, 0, TRUE) && gl_fdinfo_has_lock(text, 0, FALSE));
        g_assert_false(gl_fdinfo_has_lock(text, 1, FALSE));
        g_assert_false(gl_fdinfo_has_lock(text, 150, TRUE));
        g_assert_true(gl_fdinfo_has_lock(text, 100, FALSE) && gl_fdinfo_has_lock(text, 200, FALSE));
        g_assert_false(gl_fdinfo_has_lock(text, 201, FALSE) || gl_fdinfo_has_lock(text, 99, FALSE));
        g_assert_false(gl_fdinfo_has_lock(text, 300, FALSE));
        g_assert_true(gl_fdinfo_has_lock(text, G_MAXUINT64, FALSE));
        g_assert_false(gl_fdinfo_has_lock("", 0, FALSE) || gl_fdinfo_has_lock("lock:\t1: OFDLCK", 0, FALSE) ||
                       gl_fdinfo_has_lock("lock:\t1: OFDLCK  ADVISORY  WRITE -1 00:2a:1234 0 x", 0, FALSE));
}

static void lock_byte(int fd, short how, gboolean works) {
        struct flock lock = {.l_type = how, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};

        g_assert_cmpint(fcntl(fd, F_OFD_SETLK, &lock), ==, works ? 0 : -1);
}

static void test_check(void) {
        g_autofree char *path = NULL;
        int ours = g_file_open_tmp("guestlock-supervisor-XXXXXX", &path, NULL), others = open(path, O_RDWR | O_CLOEXEC);
        GlHeldLock *lock = gl_held_lock_new("disk", path, GL_MODE_EXCLUSIVE, ours);

        g_unlink(path);
        g_assert_cmpint(others, >=, 0);
        g_assert_cmpint(gl_held_lock_check(lock), ==, GL_LOCK_GONE);
        lock_byte(ours, F_RDLCK, TRUE);
        g_assert_cmpint(gl_held_lock_check(lock), ==, GL_LOCK_GONE); /* not enough for a writer */
        lock->mode = GL_MODE_READONLY;
        g_assert_cmpint(gl_held_lock_check(lock), ==, GL_LOCK_HELD);
        lock_byte(others, F_RDLCK, TRUE);
        g_assert_cmpint(gl_held_lock_check(lock), ==, GL_LOCK_HELD);
        lock_byte(ours, F_UNLCK, TRUE);
        g_assert_cmpint(gl_held_lock_check(lock), ==, GL_LOCK_GONE); /* readers are in nobody's way */
        lock->mode = GL_MODE_EXCLUSIVE;
        g_assert_cmpint(gl_held_lock_check(lock), ==, GL_LOCK_TAKEN);
        lock_byte(others, F_UNLCK, TRUE);
        /* It has been looked at, and never taken. */
        lock_byte(others, F_WRLCK, TRUE);
        lock->mode = GL_MODE_SHARED;
        g_assert_cmpint(gl_held_lock_check(lock), ==, GL_LOCK_TAKEN);
        close(others);
        lock_byte(ours, F_WRLCK, TRUE);
        g_assert_cmpint(gl_held_lock_check(lock), ==, GL_LOCK_HELD);
        g_free(lock->type);
        lock->type = g_strdup("lease");
        g_assert_cmpint(gl_held_lock_check(lock), ==, GL_LOCK_UNKNOWN);
        gl_held_lock_free(lock);
}

/* --- processes --- */

static void test_stat(void) {
        guint64 start_time = 0;
        pid_t parent = 0;
        char state = 0;

        g_assert_true(gl_parse_stat("42 (a) S 1 (b)) R 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2\n",
                                    &state, &parent, &start_time));
        g_assert_cmpint(state, ==, 'R');
        g_assert_cmpint(parent, ==, 7);
        g_assert_cmpuint(start_time, ==, 98765);
        g_assert_false(gl_parse_stat("42 (a) R", &state, &parent, &start_time));
        g_assert_false(gl_parse_stat("", &state, &parent, &start_time));
}

static void test_children(void) {
        g_autoptr(GArray) none = gl_children(), two = NULL;
        pid_t pids[2];

        g_assert_cmpuint(none->len, ==, 0);
        for (guint i = 0; i < 2; i++) {
                pids[i] = fork();
                if (pids[i] == 0) {
                        alarm(60);
                        pause();
                        _exit(0);
                }
                g_usleep(20000); /* start times are counted in hundredths of a second */
        }
        two = gl_children();
        for (guint i = 0; i < 2; i++) {
                kill(pids[i], SIGKILL);
                waitpid(pids[i], NULL, 0);
        }
        g_assert_cmpuint(two->len, ==, 2);
        g_assert_cmpint(g_array_index(two, pid_t, 0), ==, pids[0]);
        g_assert_cmpint(g_array_index(two, pid_t, 1), ==, pids[1]);
}

/* How a process ends that ends like one that ended with STATUS. */
static int end_like(int status) {
        pid_t pid = fork();
        int how = -1;

        if (pid == 0) {
                GlSignalsBefore before;

                gl_signals_take(&before);
                _exit(gl_exit_like(status));
        }
        g_assert_cmpint(waitpid(pid, &how, 0), ==, pid);
        return how;
}

static void test_exit_like(void) {
        g_assert_cmpint(end_like(0), ==, 0);
        g_assert_cmpint(end_like(200 << 8), ==, 200 << 8);
        for (const int *number = gl_passed_signals; *number; number++)
                if (*number != SIGWINCH) /* nobody dies of it */
                        g_assert_cmpint(WTERMSIG(end_like(*number)), ==, *number);
        g_assert_cmpint(end_like(SIGKILL), ==, SIGKILL);
        g_assert_cmpint(end_like(SIGSEGV | 0x80), ==, SIGSEGV); /* and leaves no core of its own */
}

/* One that is not let go ends, and its command was never run. */
static void test_held_back(void) {
        int pidfd = (int) syscall(SYS_pidfd_open, getpid(), 0);

        if (pidfd < 0 && errno == ENOSYS) {
                g_test_skip("no pidfd_open() here (valgrind 3.19 lacks it)");
                return;
        }
        close(pidfd);
        for (guint let_go = 0; let_go < 2; let_go++) {
                const char *command[] = {"sh", "-c", "exit 42", NULL};
                g_autoptr(GPtrArray) locks = g_ptr_array_new();
                GlSignalsBefore before = {};
                GlChild child;
                int status;

                sigemptyset(&before.mask);
                g_assert_true(gl_child_start((char **) command, locks, FALSE, &before, &child, NULL));
                g_usleep(20000);
                g_assert_cmpint(waitpid(child.pid, &status, WNOHANG), ==, 0);
                if (let_go)
                        g_assert_true(gl_child_let_go(&child, NULL));
                gl_child_clear(&child);
                g_assert_cmpint(waitpid(child.pid, &status, 0), ==, child.pid);
                g_assert_cmpint(WEXITSTATUS(status), ==, let_go ? 42 : 126);
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/supervisor/options", test_options);
        g_test_add_func("/supervisor/wrong-options", test_wrong_options);
        g_test_add_func("/supervisor/help", test_help);
        g_test_add_func("/supervisor/fdinfo", test_fdinfo);
        g_test_add_func("/supervisor/check", test_check);
        g_test_add_func("/supervisor/stat", test_stat);
        g_test_add_func("/supervisor/children", test_children);
        g_test_add_func("/supervisor/exit-like", test_exit_like);
        g_test_add_func("/supervisor/held-back", test_held_back);
        return g_test_run();
}
