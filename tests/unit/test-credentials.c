/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage/credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SOMEBODY 65534
#define THEIR_GROUP 4242

static gboolean is_root(void) {
        if (geteuid() == 0)
                return TRUE;
        g_test_skip("needs root");
        return FALSE;
}

static char *make_file(mode_t mode, gid_t gid) {
        g_autofree char *path = NULL;
        int fd = g_file_open_tmp("guestlock-credentials-XXXXXX", &path, NULL);

        g_assert_cmpint(fd, >=, 0);
        g_assert_cmpint(fchown(fd, 0, gid), ==, 0);
        g_assert_cmpint(fchmod(fd, mode), ==, 0);
        close(fd);
        return g_steal_pointer(&path);
}

/* 0, or the errno of opening PATH as CREDENTIALS. */
static int try_open(const GlCredentials *credentials, const char *path, int flags) {
        int fd, result;

        gl_credentials_assume(credentials);
        fd = open(path, flags | O_CLOEXEC);
        result = fd < 0 ? errno : 0;
        gl_credentials_drop();
        if (fd >= 0)
                close(fd);
        return result;
}

static void test_keeps_what_the_bus_said(void) {
        const gid_t groups[] = {30, 10, 20};
        g_autoptr(GlCredentials) credentials = gl_credentials_new(1000, groups, 3), other = NULL;

        g_assert_cmpuint(credentials->uid, ==, 1000);
        g_assert_cmpuint(credentials->gid, ==, 30);
        g_assert_cmpuint(credentials->n_groups, ==, 3);
        g_assert_cmpuint(credentials->groups[1], ==, 10);
        other = gl_credentials_ref(credentials);
        g_assert_true(other == credentials);
}

static void test_files_are_seen_as_the_user_does(void) {
        const gid_t groups[] = {SOMEBODY, THEIR_GROUP, 7};
        g_autoptr(GlCredentials) member = gl_credentials_new(SOMEBODY, groups, 3);
        g_autoptr(GlCredentials) nobody = gl_credentials_new(SOMEBODY, groups, 1);
        g_autoptr(GlCredentials) groupless = gl_credentials_new(SOMEBODY, NULL, 0);
        g_autofree char *roots = NULL, *shared = NULL;

        if (!is_root())
                return;
        roots = make_file(0600, 0);
        shared = make_file(0640, THEIR_GROUP);

        g_assert_cmpint(try_open(nobody, roots, O_RDONLY), ==, EACCES);
        g_assert_cmpint(try_open(nobody, shared, O_RDONLY), ==, EACCES);
        g_assert_cmpint(try_open(groupless, shared, O_RDONLY), ==, EACCES);
        g_assert_cmpint(try_open(member, shared, O_RDONLY), ==, 0);
        g_assert_cmpint(try_open(member, shared, O_RDWR), ==, EACCES);
        g_assert_cmpint(try_open(NULL, roots, O_RDWR), ==, 0);
        g_unlink(roots);
        g_unlink(shared);
}

static guint64 effective_capabilities(void) {
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};

        g_assert_cmpint(syscall(SYS_capget, &header, data), ==, 0);
        return data[0].effective | (guint64) data[1].effective << 32;
}

/* Runs while the main thread looks on: what it takes must be its alone. */
static gpointer be_somebody(gpointer data) {
        const gid_t groups[] = {SOMEBODY, THEIR_GROUP};
        g_autoptr(GlCredentials) credentials = gl_credentials_new(SOMEBODY, groups, 2);
        guint64 before = effective_capabilities(), during;
        gid_t present[8];

        gl_credentials_assume(credentials);
        during = effective_capabilities();
        g_assert_cmpint(getgroups(G_N_ELEMENTS(present), present), ==, 2);
        g_assert_cmpuint(geteuid(), ==, 0);
        g_async_queue_push(((GAsyncQueue **) data)[0], GINT_TO_POINTER(1));
        g_async_queue_pop(((GAsyncQueue **) data)[1]);
        gl_credentials_drop();

        g_assert_cmphex(during & (1U << CAP_DAC_OVERRIDE | 1U << CAP_DAC_READ_SEARCH | 1U << CAP_FOWNER), ==, 0);
        g_assert_cmphex(effective_capabilities(), ==, before);
        g_assert_cmpint(getgroups(0, NULL), ==, 0);
        return NULL;
}

static void test_other_threads_stay_root(void) {
        g_autoptr(GAsyncQueue) to_us = g_async_queue_new(), to_it = g_async_queue_new();
        GAsyncQueue *queues[] = {to_us, to_it};
        guint64 capabilities;
        int n_groups;
        GThread *thread;

        if (!is_root())
                return;
        capabilities = effective_capabilities();
        n_groups = getgroups(0, NULL);
        thread = g_thread_new("somebody", be_somebody, queues);
        g_async_queue_pop(to_us);
        g_assert_cmphex(effective_capabilities(), ==, capabilities);
        g_assert_cmpint(getgroups(0, NULL), ==, n_groups);
        g_async_queue_push(to_it, GINT_TO_POINTER(1));
        g_thread_join(thread);
}

static void test_root_is_left_alone(void) {
        g_autoptr(GlCredentials) root = gl_credentials_new(0, NULL, 0);
        int n_groups = getgroups(0, NULL);
        guint64 capabilities = effective_capabilities();

        gl_credentials_assume(NULL);
        gl_credentials_drop();
        gl_credentials_assume(root);
        g_assert_cmphex(effective_capabilities(), ==, capabilities);
        gl_credentials_drop();
        g_assert_cmpint(getgroups(0, NULL), ==, n_groups);
        g_assert_cmpuint(root->gid, ==, 0);
}

static void drop_capability(guint32 capability) {
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};

        g_assert_cmpint(syscall(SYS_capget, &header, data), ==, 0);
        data[0].effective &= ~(1U << capability);
        g_assert_cmpint(syscall(SYS_capset, &header, data), ==, 0);
}

static void become_somebody_or_die(void) {
        const struct rlimit no_core = {0, 0};
        const gid_t groups[] = {SOMEBODY};
        g_autoptr(GlCredentials) credentials = gl_credentials_new(SOMEBODY, groups, 1);

        setrlimit(RLIMIT_CORE, &no_core);
        gl_credentials_assume(credentials);
}

/* Without the capability to change groups the thread would keep root's. */
static void test_a_refusal_aborts(void) {
        if (!is_root())
                return;
        if (g_test_subprocess()) {
                drop_capability(CAP_SETGID);
                become_somebody_or_die();
                return;
        }
        g_test_trap_subprocess(NULL, 0, 0);
        g_test_trap_assert_failed();
        g_test_trap_assert_stderr("*could not take the groups of uid 65534*");
}

/* setfsuid() itself never says that it has failed. */
static void test_an_identity_that_stays_aborts(void) {
        if (!is_root())
                return;
        if (g_test_subprocess()) {
                drop_capability(CAP_SETUID);
                become_somebody_or_die();
                return;
        }
        g_test_trap_subprocess(NULL, 0, 0);
        g_test_trap_assert_failed();
        g_test_trap_assert_stderr("*could not take the identity of uid 65534*");
}

/* A thread that stays somebody would open the next one's files as him. */
static void test_no_way_back_aborts(void) {
        if (!is_root())
                return;
        if (g_test_subprocess()) {
                become_somebody_or_die();
                drop_capability(CAP_SETGID);
                gl_credentials_drop();
                return;
        }
        g_test_trap_subprocess(NULL, 0, 0);
        g_test_trap_assert_failed();
        g_test_trap_assert_stderr("*could not take the groups of uid 0*");
}

/* With this bit the kernel leaves the capabilities in place, and files would be opened as by root. */
static void test_capabilities_that_stay_abort(void) {
        if (!is_root())
                return;
        if (g_test_subprocess()) {
                g_assert_cmpint(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP), ==, 0);
                become_somebody_or_die();
                return;
        }
        g_test_trap_subprocess(NULL, 0, 0);
        g_test_trap_assert_failed();
        g_test_trap_assert_stderr("*has file capabilities*");
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/credentials/keeps-what-the-bus-said", test_keeps_what_the_bus_said);
        g_test_add_func("/credentials/files-are-seen-as-the-user-does", test_files_are_seen_as_the_user_does);
        g_test_add_func("/credentials/other-threads-stay-root", test_other_threads_stay_root);
        g_test_add_func("/credentials/root-is-left-alone", test_root_is_left_alone);
        g_test_add_func("/credentials/a-refusal-aborts", test_a_refusal_aborts);
        g_test_add_func("/credentials/an-identity-that-stays-aborts", test_an_identity_that_stays_aborts);
        g_test_add_func("/credentials/no-way-back-aborts", test_no_way_back_aborts);
        g_test_add_func("/credentials/capabilities-that-stay-abort", test_capabilities_that_stay_abort);
        return g_test_run();
}
