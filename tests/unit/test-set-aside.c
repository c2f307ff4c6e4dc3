/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process/process.h"
#include "store/set-aside.h"

/* Of which guests, whose state could not be read, it is certain that they have ended. */

#define FOREIGN "ffffffffffffffffffffffffffffffff"

/* A process that is not there: this one's pid with another start time. */
static char *text_of(const char *version, const char *boot_id, gint pid, gint supervisor, const char *after) {
        return g_strdup_printf("[guestlock]\nversion=%s\nboot-id=\"%s\"\n\n[guest]\nname=\"x\"\npid=%d\nstart-time=1\n"
                               "supervisor-pid=%d\nsupervisor-start-time=1\n%s",
                               version, boot_id, pid, supervisor, after);
}

static gboolean has_ended(char *text /* owned by the callee */) {
        gboolean ended = gl_set_aside_has_ended(text, strlen(text), gl_boot_id());

        g_free(text);
        return ended;
}

static char *start_time_of(pid_t pid) {
        g_autofree char *path = g_strdup_printf("/proc/%d/stat", pid);
        g_autoptr(GError) error = NULL;
        g_autofree char *text = NULL;
        g_auto(GStrv) words = NULL;

        g_file_get_contents(path, &text, NULL, &error);
        g_assert_no_error(error);
        words = g_strsplit(strrchr(text, ')') + 2, " ", -1);
        return g_strdup(words[19]);
}

static void test_processes(void) {
        const char *rest = "\n[resource 0]\ntype=di";
        int ours = getppid();

        g_assert_true(has_ended(text_of("1", gl_boot_id(), ours, 0, rest)));
        g_assert_true(has_ended(text_of("1", gl_boot_id(), ours, ours, rest)));
        g_assert_true(has_ended(text_of("1", gl_boot_id(), 0, ours, rest)));
        /* It had none, and lasts until it is released. */
        g_assert_false(has_ended(text_of("1", gl_boot_id(), 0, 0, rest)));
        /* What is cut off in the middle may have been more. */
        g_assert_false(has_ended(text_of("1", gl_boot_id(), ours, 0, "")));
        g_assert_false(has_ended(text_of("2", gl_boot_id(), ours, 0, rest)));
        g_assert_false(has_ended(g_strdup("[guestlock]\nversion=1\n\n[guest]\npid=2\n\n[resource 0]\n")));
        g_assert_false(has_ended(g_strdup("")));
        g_assert_false(has_ended(g_strdup("\n[guest]\n\n[")));

        g_assert_true(has_ended(text_of("1", FOREIGN, 0, 0, rest)));
        g_assert_true(has_ended(text_of("2", FOREIGN, 0, 0, rest)));
        g_assert_false(has_ended(text_of("1", "0", 0, 0, rest)));
}

static void test_process_lives(void) {
        pid_t pid = fork();
        g_autofree char *start_time = NULL, *text = NULL;

        if (pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                pause();
                _exit(0);
        }
        start_time = start_time_of(pid);
        text = g_strdup_printf("[guestlock]\nversion=1\nboot-id=\"%s\"\n\n[guest]\npid=0\nstart-time=0\n"
                               "supervisor-pid=%d\nsupervisor-start-time=%s\n\n[resource 0]\n",
                               gl_boot_id(), pid, start_time);
        g_assert_false(gl_set_aside_has_ended(text, strlen(text), gl_boot_id()));
        g_assert_cmpint(kill(pid, SIGKILL), ==, 0);
        g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
        g_assert_true(gl_set_aside_has_ended(text, strlen(text), gl_boot_id()));
}

static void put(const char *directory, const char *name, char *text /* owned by the callee */) {
        g_autofree char *path = g_build_filename(directory, name, NULL);

        g_assert_true(g_file_set_contents(path, text, -1, NULL));
        g_free(text);
}

static void test_count(void) {
        g_autofree char *directory = g_dir_make_tmp("guestlock-test-XXXXXX", NULL);
        static const char *const names[] = {"ended", "garbage", "fifo", "link"};
        int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        g_autofree char *fifo = g_build_filename(directory, "fifo", NULL),
                        *link = g_build_filename(directory, "link", NULL);

        g_assert_cmpuint(gl_set_aside_count(fd, gl_boot_id()), ==, 0);
        put(directory, "ended", text_of("1", gl_boot_id(), getppid(), 0, "\n[resource 0]\n"));
        g_assert_cmpuint(gl_set_aside_count(fd, gl_boot_id()), ==, 0);
        put(directory, "garbage", g_strdup("garbage"));
        g_assert_cmpint(mkfifo(fifo, 0600), ==, 0);
        g_assert_cmpint(symlink("ended", link), ==, 0);
        g_assert_cmpuint(gl_set_aside_count(fd, gl_boot_id()), ==, 3);
        for (guint i = 0; i < G_N_ELEMENTS(names); i++)
                g_assert_cmpint(unlinkat(fd, names[i], 0), ==, 0);
        close(fd);
        g_rmdir(directory);
}

int main(int argc, char **argv) {
        int probe;

        g_test_init(&argc, &argv, NULL);
        probe = (int) syscall(SYS_pidfd_open, getpid(), 0);
        if (probe < 0 && errno == ENOSYS) {
                g_print("1..0 # SKIP no pidfd_open() here (valgrind 3.19 lacks it)\n");
                return 0;
        }
        close(probe);
        g_test_add_func("/set-aside/processes", test_processes);
        g_test_add_func("/set-aside/process-lives", test_process_lives);
        g_test_add_func("/set-aside/count", test_count);
        return g_test_run();
}
