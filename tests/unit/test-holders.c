/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drivers/holders.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* The kernel closes what is close-on-exec first, and gives the new program its arguments a while later. */
static void await_arguments(pid_t pid) {
        g_autofree char *path = g_strdup_printf("/proc/%d/cmdline", pid);
        gint64 deadline = g_get_monotonic_time() + 30 * G_USEC_PER_SEC;
        gsize length = 0;

        while (length == 0) {
                g_autofree char *arguments = NULL;

                g_assert_cmpint(g_get_monotonic_time(), <, deadline);
                g_assert_true(g_file_get_contents(path, &arguments, &length, NULL));
                if (length == 0)
                        g_usleep(1000);
        }
}

/* A process that calls itself NAME, until it is killed. */
static pid_t spawn_as(const char *name) {
        int ends[2];
        char byte;
        pid_t pid;

        g_assert_cmpint(pipe2(ends, O_CLOEXEC), ==, 0);
        pid = fork();
        if (pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                execl("/bin/sleep", name, "100", NULL);
                _exit(1);
        }
        close(ends[1]);
        g_assert_cmpint(read(ends[0], &byte, 1), ==, 0); /* it has become the other program */
        close(ends[0]);
        await_arguments(pid);
        return pid;
}

static void check_command(const char *name, const char *expected) {
        pid_t pid = spawn_as(name);
        g_autofree char *command = gl_command_of_pid((guint32) pid);

        g_assert_cmpint(kill(pid, SIGKILL), ==, 0);
        g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
        g_assert_cmpstr(command, ==, expected);
}

#define REPLACED "\xef\xbf\xbd"

/* Whoever holds a lock chooses what he is called, and others are told: over a bus that takes no U+FFFE, in logs. */
static void test_commands(void) {
        check_command("/usr/bin/qemu-system-x86_64", "qemu-system-x86_64");
        check_command("gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f");
        check_command("a\nb\x1b[31m", "a" REPLACED "b" REPLACED "[31m");
        check_command("\xff\xfe", REPLACED REPLACED);
        check_command("\xef\xbf\xbe\xe2\x80\xae", REPLACED REPLACED);
        g_assert_null(gl_command_of_pid(G_MAXINT32));
}

static guint count_locks(const char *text) {
        g_autoptr(GArray) locks = g_array_new(FALSE, FALSE, sizeof(GlHeldRange));

        g_assert_true(gl_fdinfo_parse(text, locks));
        return locks->len;
}

static void test_fdinfo(void) {
        g_autoptr(GArray) locks = g_array_new(FALSE, FALSE, sizeof(GlHeldRange));
        const GlHeldRange *range;

        g_assert_false(gl_fdinfo_parse("flags:\t012000000\n", locks));
        g_assert_true(gl_fdinfo_parse("flags:\t02\nlock:\t1: OFDLCK ADVISORY  READ  -1 fe:00:42 100 101\n"
                                      "lock:\t2: POSIX  ADVISORY  WRITE 42 fe:00:42 0 EOF\n", locks));
        g_assert_cmpuint(locks->len, ==, 2);
        range = &g_array_index(locks, GlHeldRange, 0);
        g_assert_true(range->first == 100 && range->last == 101 && !range->write);
        range = &g_array_index(locks, GlHeldRange, 1);
        g_assert_true(range->first == 0 && range->last == G_MAXUINT64 && range->write);
        g_assert_cmpuint(count_locks("lock:\t1:\tOFDLCK\tADVISORY\tWRITE\t-1\tfe:00:42\t0\t0\n"), ==, 1);
        g_assert_cmpuint(count_locks("lock:\t1: FLOCK  ADVISORY  WRITE 42 fe:00:42 0 EOF\n"), ==, 0);
        g_assert_cmpuint(count_locks("lock:\t1: -> OFDLCK ADVISORY  WRITE -1 fe:00:42 0 EOF\n"), ==, 0);
        g_assert_cmpuint(count_locks("lock:\t1: OFDLCK ADVISORY  WRITE -1 fe:00:42 46\n"), ==, 0);
        g_assert_cmpuint(count_locks("lock:\t1: OFDLCK ADVISORY  WRITE -1 fe:00:42 7 5\n"), ==, 0);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/holders/commands", test_commands);
        g_test_add_func("/holders/fdinfo", test_fdinfo);
        return g_test_run();
}
