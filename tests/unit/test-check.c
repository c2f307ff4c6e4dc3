/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "check.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * A made-up installation in one directory: all in order for the user who runs the test, except that what has to
 * be root's is only when root runs it. /proc is made up as well, with the roots of two processes.
 */
typedef struct {
        char *root;
        char *configuration, *runtime, *state, *policy, *activation, *actions, *drivers, *keeper, *socket, *sysroot;
        char *supervisor;
        GlCheckOptions options;
        GString *report;
} Fixture;

static char *put(Fixture *fixture, const char *path, const char *text) {
        g_autofree char *full = g_build_filename(fixture->root, path, NULL), *directory = g_path_get_dirname(full);

        g_assert_cmpint(g_mkdir_with_parents(directory, 0755), ==, 0);
        if (text)
                g_assert_true(g_file_set_contents_full(full, text, -1, G_FILE_SET_CONTENTS_NONE, 0644, NULL));
        else
                g_assert_cmpint(g_mkdir_with_parents(full, 0755), ==, 0);
        return g_steal_pointer(&full);
}

static void make(Fixture *fixture, const char *path) {
        g_free(put(fixture, path, NULL));
}

static void point(Fixture *fixture, const char *path, const char *target) {
        g_autofree char *parent = g_path_get_dirname(path), *full = g_build_filename(fixture->root, path, NULL);

        make(fixture, parent);
        g_assert_cmpint(symlink(target, full), ==, 0);
}

static void setup(Fixture *fixture, gconstpointer data) {
        fixture->root = g_dir_make_tmp("guestlock-test-XXXXXX", NULL);
        fixture->configuration = put(fixture, "etc/guestlockd.conf", "[limits]\nMaxGuests=1\nMaxResourcesPerGuest=2\n");
        fixture->runtime = put(fixture, "run", NULL);
        fixture->state = put(fixture, "state", NULL);
        fixture->policy = put(fixture, "org.guestlock1.conf", "");
        fixture->activation = put(fixture, "org.guestlock1.service", "");
        fixture->actions = put(fixture, "org.guestlock1.policy", "");
        fixture->drivers = put(fixture, "drivers", NULL);
        fixture->keeper = put(fixture, "guestlock-keeper", "");
        g_assert_cmpint(g_chmod(fixture->keeper, 0755), ==, 0);
        fixture->supervisor = put(fixture, "guestlock-supervisor", "");
        g_assert_cmpint(g_chmod(fixture->supervisor, 0755), ==, 0);
        fixture->socket = g_build_filename(fixture->root, "keeper.sock", NULL);
        fixture->sysroot = g_build_filename(fixture->root, "sys", NULL);
        point(fixture, "sys/proc/self/ns/mnt", "mnt:[1]");
        point(fixture, "sys/proc/1/ns/mnt", "mnt:[1]");
        point(fixture, "sys/proc/self/root", "../../../files");
        point(fixture, "sys/proc/1/root", "../../../files");
        make(fixture, "files/tmp");
        fixture->report = g_string_new(NULL);
        fixture->options = (GlCheckOptions){
                .configuration = fixture->configuration,
                .runtime_dir = fixture->runtime,
                .state_dir = fixture->state,
                .bus_policy = fixture->policy,
                .bus_activation = fixture->activation,
                .polkit_actions = fixture->actions,
                .driver_dir = fixture->drivers,
                .keeper = fixture->keeper,
                .keeper_socket = fixture->socket,
                .supervisor = fixture->supervisor,
                .sysroot = fixture->sysroot,
        };
}

static void remove_tree(const char *path) {
        g_autoptr(GDir) directory = NULL;
        const char *name;

        if (!g_file_test(path, G_FILE_TEST_IS_SYMLINK))
                directory = g_dir_open(path, 0, NULL);
        while (directory && (name = g_dir_read_name(directory))) {
                g_autofree char *child = g_build_filename(path, name, NULL);

                remove_tree(child);
        }
        g_remove(path);
}

static void teardown(Fixture *fixture, gconstpointer data) {
        remove_tree(fixture->root);
        g_string_free(fixture->report, TRUE);
        g_free(fixture->sysroot);
        g_free(fixture->socket);
        g_free(fixture->supervisor);
        g_free(fixture->keeper);
        g_free(fixture->drivers);
        g_free(fixture->actions);
        g_free(fixture->activation);
        g_free(fixture->policy);
        g_free(fixture->state);
        g_free(fixture->runtime);
        g_free(fixture->configuration);
        g_free(fixture->root);
}

static guint run(Fixture *fixture) {
        g_string_truncate(fixture->report, 0);
        return gl_check_installation(&fixture->options, fixture->report);
}

/* A line that begins with KIND and has TEXT in it. */
static gboolean says(Fixture *fixture, const char *kind, const char *text) {
        g_auto(GStrv) lines = g_strsplit(fixture->report->str, "\n", -1);

        for (guint i = 0; lines[i]; i++)
                if (g_str_has_prefix(lines[i], kind) && strstr(lines[i], text))
                        return TRUE;
        return FALSE;
}

#define assert_says(fixture, kind, text)                                                                               \
        G_STMT_START {                                                                                                 \
                if (!says(fixture, kind, text))                                                                        \
                        g_error("no \"%s … %s\" in:\n%s", kind, text, (fixture)->report->str);                         \
        }                                                                                                              \
        G_STMT_END

/* Calls that the kernel has not (or valgrind). */
static guint count_unavailable(Fixture *fixture) {
        g_auto(GStrv) parts = g_strsplit(fixture->report->str, "(Function not implemented)", -1);

        return g_strv_length(parts) - 1;
}

static gboolean needs_root(void) {
        if (geteuid() == 0)
                return FALSE;
        g_test_skip("files of root's can be made by root only");
        return TRUE;
}

static void test_all_in_order(Fixture *fixture, gconstpointer data) {
        if (needs_root())
                return;
        g_assert_cmpuint(run(fixture), ==, count_unavailable(fixture));
        assert_says(fixture, "ok: ", fixture->configuration);
        assert_says(fixture, "ok: ", "the runtime directory");
        assert_says(fixture, "ok: ", "the state directory");
        if (count_unavailable(fixture) == 0)
                assert_says(fixture, "ok: ", "pidfd_getfd works");
        assert_says(fixture, "ok: ", "fcntl works");
        assert_says(fixture, "ok: ", "sees the files that its callers see");
        assert_says(fixture, "ok: ", "descriptors for 2 leases");
        assert_says(fixture, "warning: ", "no system bus");
        assert_says(fixture, "warning: ", "--prefix=/usr");
        g_assert_true(g_str_has_suffix(fixture->report->str, "\n"));
}

static void test_a_bad_configuration_hides_nothing_else(Fixture *fixture, gconstpointer data) {
        guint before = run(fixture);

        g_free(put(fixture, "etc/guestlockd.conf", "[limits]\nMaxGuests=none\n"));
        g_assert_cmpuint(run(fixture), >, 0);
        g_assert_cmpuint(before, <=, run(fixture));
        assert_says(fixture, "problem: ", "MaxGuests");
        assert_says(fixture, "ok: ", "fcntl works");
}

static void test_drivers(Fixture *fixture, gconstpointer data) {
        g_autofree char *bad = put(fixture, "drivers/bad.so", "");

        if (needs_root())
                return;
        g_free(put(fixture, "drivers/good.so", ""));
        g_free(put(fixture, "drivers/README", ""));
        g_assert_cmpuint(run(fixture), ==, count_unavailable(fixture));
        assert_says(fixture, "ok: ", "the driver \"good\" can be loaded");
        g_assert_null(strstr(fixture->report->str, "README"));
        g_assert_cmpint(chown(bad, 12345, 0), ==, 0);
        g_assert_cmpuint(run(fixture), ==, count_unavailable(fixture) + 1);
        assert_says(fixture, "problem: ", "The driver \"bad\" is not loaded");
        g_assert_cmpint(g_chmod(fixture->drivers, 0777), ==, 0);
        g_assert_cmpuint(run(fixture), ==, count_unavailable(fixture) + 2);

        /* What is built in needs none of it; another default does. */
        fixture->options.driver_dir = "/nonexistent/guestlock";
        g_assert_cmpuint(run(fixture), ==, count_unavailable(fixture));
        g_assert_cmpint(g_remove(fixture->configuration), ==, 0);
        g_free(put(fixture, "etc/guestlockd.conf", "[guestlock]\nDefaultDriver=good\n"));
        g_assert_cmpuint(run(fixture), ==, count_unavailable(fixture) + 1);
        assert_says(fixture, "problem: ", "There is no lease driver \"good\"");
}

static void test_what_others_can_change(Fixture *fixture, gconstpointer data) {
        guint before = run(fixture);

        if (needs_root())
                return;
        g_assert_cmpint(g_chmod(fixture->runtime, 0775), ==, 0);
        g_assert_cmpint(chown(fixture->state, 12345, 0), ==, 0);
        g_assert_cmpint(g_chmod(fixture->configuration, 0666), ==, 0);
        g_assert_cmpuint(run(fixture), ==, before + 3);
        assert_says(fixture, "problem: the runtime directory", fixture->runtime);
        assert_says(fixture, "problem: the state directory", "uid 12345");
        assert_says(fixture, "problem: the configuration file", "chmod go-w");
}

static void test_directories_that_are_not_there(Fixture *fixture, gconstpointer data) {
        g_autofree char *can = g_build_filename(fixture->root, "a/b/c", NULL);

        fixture->options.runtime_dir = can;
        run(fixture);
        assert_says(fixture, "ok: the runtime directory", "can be made");
        g_assert_false(g_file_test(can, G_FILE_TEST_EXISTS));

        fixture->options.runtime_dir = fixture->configuration;
        run(fixture);
        assert_says(fixture, "problem: ", "is to be the runtime directory, and is none");
}

static void test_a_directory_that_cannot_be_made(Fixture *fixture, gconstpointer data) {
        uid_t uid = getuid();

        fixture->options.state_dir = "/guestlock-test/none";
        /* Whether something may be written to is asked for the real uid. */
        g_assert_cmpint(setreuid(uid == 0 ? 12345 : uid, (uid_t) -1), ==, 0);
        run(fixture);
        g_assert_cmpint(setreuid(uid, (uid_t) -1), ==, 0);
        assert_says(fixture, "problem: the state directory", "cannot be made in \"/\"");
}

static void test_what_is_not_installed(Fixture *fixture, gconstpointer data) {
        guint before = run(fixture);

        g_assert_cmpint(g_remove(fixture->policy), ==, 0);
        g_assert_cmpint(g_remove(fixture->actions), ==, 0);
        g_assert_cmpuint(run(fixture), ==, before + 2);
        assert_says(fixture, "problem: the bus policy", fixture->policy);
        assert_says(fixture, "problem: the polkit action file", "meson install");
}

static void test_the_keeper(Fixture *fixture, gconstpointer data) {
        guint before = run(fixture);

        g_free(put(fixture, "keeper.sock", "")); /* which is none */
        g_assert_cmpuint(run(fixture), ==, before + 1);
        assert_says(fixture, "problem: the keeper's socket", fixture->socket);
        g_assert_cmpint(g_remove(fixture->socket), ==, 0);
        if (needs_root())
                return;
        assert_says(fixture, "ok: the keeper", fixture->keeper);
        g_assert_cmpint(g_chmod(fixture->keeper, 0775), ==, 0);
        g_assert_cmpuint(run(fixture), ==, before + 1);
        assert_says(fixture, "problem: the keeper", "chmod go-w");
        g_assert_cmpint(g_chmod(fixture->keeper, 0644), ==, 0);
        g_assert_cmpuint(run(fixture), ==, before + 1);
        assert_says(fixture, "problem: the keeper", "cannot be run");
        g_assert_cmpint(g_remove(fixture->keeper), ==, 0);
        g_assert_cmpuint(run(fixture), ==, before + 1);
        assert_says(fixture, "problem: the keeper", "meson install");
        assert_says(fixture, "ok: the supervisor", fixture->supervisor);
        g_assert_cmpint(g_chmod(fixture->supervisor, 0644), ==, 0);
        g_assert_cmpuint(run(fixture), ==, before + 2);
        assert_says(fixture, "problem: the supervisor", "cannot be run");
}

static void test_other_files_than_the_callers(Fixture *fixture, gconstpointer data) {
        guint before = run(fixture);
        g_autofree char *root = g_build_filename(fixture->sysroot, "proc/77/root", NULL);

        point(fixture, "sys/proc/77/ns/mnt", "mnt:[2]");
        point(fixture, "sys/proc/77/root", "../../../files");
        fixture->options.pid = 77;
        run(fixture);
        assert_says(fixture, "warning: ", "a mount namespace of its own");

        /* Its own /tmp, no /home, and a place of its own that is mounted there; what is the same is not named. */
        g_assert_cmpint(g_remove(root), ==, 0);
        make(fixture, "files/home");
        make(fixture, "files/srv/my images");
        make(fixture, "files/proc/x");
        make(fixture, "private/tmp");
        make(fixture, "private/srv");
        make(fixture, "private/srv/my images");
        point(fixture, "sys/proc/77/root", "../../../private");
        g_free(put(fixture, "sys/proc/77/mountinfo",
                   "1 0 0:1 / / rw - ext4 /dev/a rw\n2 1 0:2 / /srv/my\\040images rw - tmpfs none rw\n"
                   "3 1 0:3 / /proc/x rw - tmpfs none rw\n4 1 0:4 / /nowhere rw - tmpfs none rw\n"));
        g_assert_cmpuint(run(fixture), ==, before + 1);
        assert_says(fixture, "problem: the service sees other files", "\"/home\"");
        assert_says(fixture, "problem: the service sees other files", "\"/tmp\"");
        assert_says(fixture, "problem: the service sees other files", "\"/srv/my images\"");
        g_assert_null(strstr(fixture->report->str, "/proc/x"));
        g_assert_null(strstr(fixture->report->str, "\"/nowhere\""));
        g_assert_null(strstr(fixture->report->str, "\"/usr\""));
}

static void test_hidden_namespaces(Fixture *fixture, gconstpointer data) {
        g_autofree char *link = g_build_filename(fixture->sysroot, "proc/1/ns/mnt", NULL);

        g_assert_cmpint(g_remove(link), ==, 0);
        run(fixture);
        assert_says(fixture, "warning: ", "is hidden from this process");
}

static void test_too_few_descriptors(Fixture *fixture, gconstpointer data) {
        struct rlimit limit;

        g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
        if (limit.rlim_max >= 1000000ull * 1024) {
                g_test_skip("this process may open any number of files");
                return;
        }
        g_free(put(fixture, "etc/guestlockd.conf", "[limits]\nMaxGuests=1000000\nMaxResourcesPerGuest=1024\n"));
        run(fixture);
        assert_says(fixture, "warning: ", "LimitNOFILE=");
}

/* Has ACTION done to the calls pidfd_getfd and openat2, for the rest of this process's life. */
static void filter_calls(guint32 action) {
        struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pidfd_getfd, 1, 0),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, action),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = {.len = G_N_ELEMENTS(code), .filter = code};

        g_assert_cmpint(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), ==, 0);
        g_assert_cmpint(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), ==, 0);
}

static void test_a_filter_that_forbids(Fixture *fixture, gconstpointer data) {
        run(fixture);
        if (count_unavailable(fixture) > 0) {
                g_test_skip("no openat2() here (valgrind 3.19 lacks it)");
                return;
        }
        if (!g_test_subprocess()) {
                g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_INHERIT_STDERR);
                g_test_trap_assert_passed();
                return;
        }
        filter_calls(GPOINTER_TO_UINT(data));
        run(fixture);
        assert_says(fixture, "problem: pidfd_getfd", "SystemCallFilter=pidfd_getfd");
        assert_says(fixture, "problem: openat2",
                    GPOINTER_TO_UINT(data) == SECCOMP_RET_KILL_PROCESS ? "ends the process" : g_strerror(EPERM));
        assert_says(fixture, "ok: pidfd_open", "works");
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
#define ADD(path, data, func) g_test_add("/check/" path, Fixture, GUINT_TO_POINTER(data), setup, func, teardown)
        ADD("all-in-order", 0, test_all_in_order);
        ADD("a-bad-configuration-hides-nothing-else", 0, test_a_bad_configuration_hides_nothing_else);
        ADD("drivers", 0, test_drivers);
        ADD("what-others-can-change", 0, test_what_others_can_change);
        ADD("directories-that-are-not-there", 0, test_directories_that_are_not_there);
        ADD("a-directory-that-cannot-be-made", 0, test_a_directory_that_cannot_be_made);
        ADD("what-is-not-installed", 0, test_what_is_not_installed);
        ADD("the-keeper", 0, test_the_keeper);
        ADD("other-files-than-the-callers", 0, test_other_files_than_the_callers);
        ADD("hidden-namespaces", 0, test_hidden_namespaces);
        ADD("too-few-descriptors", 0, test_too_few_descriptors);
        ADD("a-filter-that-refuses", SECCOMP_RET_ERRNO | EPERM, test_a_filter_that_forbids);
        ADD("a-filter-that-kills", SECCOMP_RET_KILL_PROCESS, test_a_filter_that_forbids);
        return g_test_run();
}
