/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage/workers.h"

#include <glib/gstdio.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include "core/error.h"

#define PATIENCE (5 * G_USEC_PER_SEC)

/* --- the mount table --- */

static const char table[] =
        "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n"
        "24 27 0:6 / /dev rw - devtmpfs devtmpfs rw\n"
        "30 27 0:40 / /srv/with\\040space\\134\\043 rw shared:3 master:1 - nfs4 host:/x rw,local_lock=none\n"
        "31 27 0:41 / /srv rw - tmpfs  rw\n"
        "this is no line\n"
        "32 31 8:1 /a /srv/deep/er rw - xfs /dev/sda1 rw\n"
        "33 27 0:42 / /mnt rw - tmpfs one rw\n"
        "34 33 0:43 / /mnt rw - tmpfs two rw\n"
        "35 27 0:44 / /home rw - xfs /dev/sdb rw\n"
        "36 27 0:45 / /data\\040dir rw - fuse.sshfs a:b rw,user_id=1000\n"
        "37 27 0:46 / x - broken\n";

static guint64 mount_of(GPtrArray *mounts, const char *path) {
        const GlMount *mount = gl_mounts_find(mounts, path);

        return mount ? mount->id : 0;
}

static void test_mounts_are_found_by_name(void) {
        g_autoptr(GPtrArray) mounts = gl_mounts_parse(table);

        g_assert_cmpuint(mounts->len, ==, 9);
        g_assert_cmpuint(mount_of(mounts, "/"), ==, 27);
        g_assert_cmpuint(mount_of(mounts, "/etc/passwd"), ==, 27);
        g_assert_cmpuint(mount_of(mounts, "/dev"), ==, 24);
        g_assert_cmpuint(mount_of(mounts, "/dev/sda"), ==, 24);
        g_assert_cmpuint(mount_of(mounts, "/devices"), ==, 27);
        g_assert_cmpuint(mount_of(mounts, "/home/alice/a.img"), ==, 35);
        g_assert_cmpuint(mount_of(mounts, "/srv/deep/er/b.img"), ==, 32);
        g_assert_cmpuint(mount_of(mounts, "/srv/deep"), ==, 31);
        g_assert_cmpuint(mount_of(mounts, "/data dir/x"), ==, 36);
}

static void test_later_mounts_cover_earlier_ones(void) {
        g_autoptr(GPtrArray) mounts = gl_mounts_parse(table);

        /* Stacked on one point. */
        g_assert_cmpuint(mount_of(mounts, "/mnt/x"), ==, 34);
        /* Mounted on the root's directory before /srv was mounted over it. */
        g_assert_cmpuint(mount_of(mounts, "/srv/with space\\#/x"), ==, 31);
}

static void test_mount_lines_are_unescaped(void) {
        g_autoptr(GPtrArray) mounts = gl_mounts_parse(table);
        const GlMount *mount = mounts->pdata[2];

        g_assert_cmpstr(mount->point, ==, "/srv/with space\\#");
        g_assert_cmpstr(mount->type, ==, "nfs4");
        g_assert_cmpstr(mount->options, ==, "rw,local_lock=none");
        g_assert_cmpstr(((GlMount *) mounts->pdata[3])->options, ==, "rw");
}

static void test_odd_tables(void) {
        g_autoptr(GPtrArray) none = gl_mounts_parse("");
        g_autoptr(GPtrArray) chroot = gl_mounts_parse("9 5 0:1 / /srv rw - tmpfs t rw\n");
        g_autoptr(GPtrArray) ring = gl_mounts_parse("1 1 0:1 / / rw - tmpfs t rw\n1 1 0:1 / / rw - tmpfs t rw\n"
                                                    "2 3 0:1 / / rw - tmpfs t rw\n3 2 0:1 / / rw - tmpfs t rw\n");

        g_assert_null(gl_mounts_find(none, "/x"));
        g_assert_null(gl_mounts_find(chroot, "/x"));
        g_assert_cmpuint(mount_of(chroot, "/srv/x"), ==, 9);
        g_assert_cmpuint(mount_of(ring, "/x"), ==, 1);
}

static void assert_tidy(const char *path, const char *expected) {
        g_autofree char *tidy = gl_path_tidy(path);

        g_assert_cmpstr(tidy, ==, expected);
}

static void test_paths_are_tidied(void) {
        assert_tidy("/", "/");
        assert_tidy("//a/./b", "/a/b");
        assert_tidy("/a//../b", "/a/../b");
        assert_tidy("/a/b/", "/a/b/");
        assert_tidy("/a/b/.", "/a/b/");
        assert_tidy("/.a/..b/c.", "/.a/..b/c.");
}

/* --- workers --- */

typedef struct {
        sd_event *event;
        GlWorkers *workers;
        int gate[2]; /* work waits until something is written, or the end for writing is closed */
} Fixture;

static void set_up(Fixture *fixture, gconstpointer data) {
        g_autoptr(GError) error = NULL;

        g_assert_cmpint(sd_event_new(&fixture->event), >=, 0);
        fixture->workers = gl_workers_new(fixture->event, NULL, 2, 2, 20 * 1000, &error);
        g_assert_no_error(error);
        g_assert_cmpint(pipe(fixture->gate), ==, 0);
}

static void open_gate(Fixture *fixture) {
        if (fixture->gate[1] >= 0)
                close(fixture->gate[1]);
        fixture->gate[1] = -1;
}

static void tear_down(Fixture *fixture, gconstpointer data) {
        open_gate(fixture);
        gl_workers_free(fixture->workers);
        sd_event_unref(fixture->event);
        close(fixture->gate[0]);
}

typedef struct {
        int gate; /* -1: does not wait */
        GThread *worked_on, *done_on;
        gint worked; /* atomic */
        gboolean done;
        GString *log;
        char letter;
} Task;

static void work(gpointer data) {
        Task *task = data;
        char byte;

        if (task->gate >= 0 && read(task->gate, &byte, 1) < 0)
                g_error("the gate is broken");
        task->worked_on = g_thread_self();
        g_atomic_int_set(&task->worked, TRUE);
}

static void done(gpointer data) {
        Task *task = data;

        task->done_on = g_thread_self();
        task->done = TRUE;
        if (task->log)
                g_string_append_c(task->log, task->letter);
}

static void submit(Fixture *fixture, const char *storage, guint32 uid, Task *task) {
        g_autoptr(GError) error = NULL;

        g_assert_true(gl_workers_submit(fixture->workers, storage, uid, work, done, task, &error));
        g_assert_no_error(error);
}

static void assert_refused(Fixture *fixture, const char *storage, guint32 uid, GlError code, const char *pattern) {
        g_autoptr(GError) error = NULL;
        Task task = {.gate = -1};

        g_assert_false(gl_workers_submit(fixture->workers, storage, uid, work, done, &task, &error));
        g_assert_error(error, GL_ERROR, (int) code);
        g_assert_true(g_pattern_match_simple(pattern, error->message));
        g_assert_false(task.done);
}

static void wait_for(Fixture *fixture, gboolean *flag) {
        gint64 deadline = g_get_monotonic_time() + PATIENCE;

        while (!*flag && g_get_monotonic_time() < deadline)
                g_assert_cmpint(sd_event_run(fixture->event, PATIENCE), >=, 0);
        g_assert_true(*flag);
}

static void test_work_runs_on_a_thread_and_done_on_the_loop(Fixture *fixture, gconstpointer data) {
        Task one = {.gate = -1}, two = {.gate = -1}, other = {.gate = -1};

        submit(fixture, "/a", 0, &one);
        submit(fixture, "/a", 0, &two);
        submit(fixture, "/b", 0, &other);
        g_assert_false(one.done);
        wait_for(fixture, &one.done);
        wait_for(fixture, &two.done);
        wait_for(fixture, &other.done);
        g_assert_true(one.done_on == g_thread_self());
        g_assert_true(one.worked_on != g_thread_self());
        g_assert_true(one.worked_on == two.worked_on);
        g_assert_true(one.worked_on != other.worked_on);
}

static void test_one_storage_keeps_its_order(Fixture *fixture, gconstpointer data) {
        g_autoptr(GString) log = g_string_new(NULL);
        Task tasks[20];

        for (guint i = 0; i < G_N_ELEMENTS(tasks); i++) {
                tasks[i] = (Task) {.gate = -1, .log = log, .letter = (char) ('a' + i)};
                submit(fixture, "/a", 1000, &tasks[i]);
        }
        wait_for(fixture, &tasks[G_N_ELEMENTS(tasks) - 1].done);
        g_assert_cmpstr(log->str, ==, "abcdefghijklmnopqrst");
}

static void test_a_storage_that_hangs_stalls_no_other(Fixture *fixture, gconstpointer data) {
        Task hanging = {.gate = fixture->gate[0]}, behind = {.gate = -1}, other = {.gate = -1};

        submit(fixture, "/hangs", 1000, &hanging);
        submit(fixture, "/hangs", 1000, &behind);
        submit(fixture, "/lives", 1000, &other);
        wait_for(fixture, &other.done);
        g_assert_false(hanging.done);
        g_assert_false(behind.done);
        open_gate(fixture);
        wait_for(fixture, &behind.done);
        g_assert_true(hanging.done);
}

static void test_stuck_work_is_counted_per_uid(Fixture *fixture, gconstpointer data) {
        Task tasks[3] = {{.gate = fixture->gate[0]}, {.gate = -1}, {.gate = -1}};
        Task others = {.gate = -1}, roots = {.gate = -1}, later = {.gate = -1};

        submit(fixture, "/hangs", 1000, &tasks[0]);
        submit(fixture, "/hangs", 1000, &tasks[1]);
        submit(fixture, "/lives", 1000, &tasks[2]); /* not overdue yet */
        wait_for(fixture, &tasks[2].done);
        g_usleep(25 * 1000);
        assert_refused(fixture, "/lives", 1000, GL_ERROR_STORAGE_UNAVAILABLE, "*\"/lives\"*2 operations of uid 1000*");
        submit(fixture, "/lives", 1001, &others);
        submit(fixture, "/lives", 0, &roots);
        wait_for(fixture, &others.done);
        wait_for(fixture, &roots.done);
        open_gate(fixture);
        wait_for(fixture, &tasks[1].done);
        submit(fixture, "/lives", 1000, &later);
        wait_for(fixture, &later.done);
}

static void test_root_is_never_too_stuck(Fixture *fixture, gconstpointer data) {
        Task tasks[3] = {{.gate = fixture->gate[0]}, {.gate = -1}, {.gate = -1}};
        Task another = {.gate = -1};

        for (guint i = 0; i < G_N_ELEMENTS(tasks); i++)
                submit(fixture, "/hangs", 0, &tasks[i]);
        g_usleep(25 * 1000);
        submit(fixture, "/lives", 0, &another);
        wait_for(fixture, &another.done);
        open_gate(fixture);
        wait_for(fixture, &tasks[2].done);
}

static void test_idle_threads_make_room(Fixture *fixture, gconstpointer data) {
        Task hanging = {.gate = fixture->gate[0]}, busy = {.gate = fixture->gate[0]};
        Task first = {.gate = -1}, second = {.gate = -1}, third = {.gate = -1};

        submit(fixture, "/hangs", 0, &hanging);
        submit(fixture, "/a", 0, &first);
        wait_for(fixture, &first.done);
        submit(fixture, "/b", 0, &second);
        wait_for(fixture, &second.done);
        submit(fixture, "/c", 0, &busy);
        assert_refused(fixture, "/d", 0, GL_ERROR_LIMIT_EXCEEDED, "*\"/d\"*2 others*");
        open_gate(fixture);
        wait_for(fixture, &busy.done);
        wait_for(fixture, &hanging.done);
        submit(fixture, "/d", 0, &third);
        wait_for(fixture, &third.done);
}

static void test_nothing_is_waited_for_at_the_end(Fixture *fixture, gconstpointer data) {
        Task hanging = {.gate = fixture->gate[0]}, finished = {.gate = -1};
        gint64 start;

        submit(fixture, "/hangs", 0, &hanging);
        submit(fixture, "/lives", 0, &finished);
        while (!g_atomic_int_get(&finished.worked))
                g_usleep(1000);
        g_usleep(5 * 1000); /* on its way from the work into the mailbox */
        start = g_get_monotonic_time();
        g_clear_pointer(&fixture->workers, gl_workers_free);
        g_assert_cmpint(g_get_monotonic_time() - start, <, G_USEC_PER_SEC);
        g_assert_true(finished.done);

        open_gate(fixture);
        while (!g_atomic_int_get(&hanging.worked))
                g_usleep(1000);
        g_usleep(5 * 1000); /* whatever it does now, it must not do to what is freed */
        g_assert_false(hanging.done);
}

/* --- the live table --- */

static void assert_storage(GlWorkers *workers, const char *path, const char *expected) {
        g_autofree char *storage = gl_workers_storage_of(workers, path);

        g_assert_cmpstr(storage, ==, expected);
}

static void test_the_table_can_be_made_up(void) {
        g_autofree char *root = g_dir_make_tmp("guestlock-sysroot-XXXXXX", NULL);
        g_autofree char *self = g_build_filename(root, "proc", "self", NULL), *proc = g_path_get_dirname(self);
        g_autofree char *file = g_build_filename(self, "mountinfo", NULL);
        sd_event *event = NULL;
        GlWorkers *workers;
        g_autoptr(GError) error = NULL;

        g_assert_cmpint(sd_event_new(&event), >=, 0);
        g_assert_null(gl_workers_new(event, root, 1, 1, 1, &error));
        g_assert_error(error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE);
        g_assert_cmpint(g_mkdir_with_parents(self, 0700), ==, 0);
        g_assert_true(g_file_set_contents(file, table, -1, NULL));
        workers = gl_workers_new(event, root, 1, 1, 1, NULL);
        g_assert_nonnull(workers);

        assert_storage(workers, "/srv//deep/./er/b.img", "/srv/deep/er");
        assert_storage(workers, "/srv/deep/er/../../x", "/srv/deep/er");
        assert_storage(workers, "/..", "/");
        assert_storage(workers, "/nowhere/in/particular", "/");
        gl_workers_free(workers);
        sd_event_unref(event);
        g_unlink(file);
        g_rmdir(self);
        g_rmdir(proc);
        g_rmdir(root);
}

static void test_new_mounts_are_noticed(Fixture *fixture, gconstpointer data) {
        g_autofree char *point = NULL, *file = NULL;

        if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0) {
                g_test_skip("needs leave to mount");
                return;
        }
        gl_workers_free(fixture->workers);
        fixture->workers = gl_workers_new(fixture->event, NULL, 2, 2, 1, NULL);
        point = g_dir_make_tmp("guestlock mount-XXXXXX", NULL);
        file = g_build_filename(point, "a.img", NULL);

        {
                g_autofree char *before = gl_workers_storage_of(fixture->workers, file);

                g_assert_cmpint(mount("none", point, "tmpfs", 0, NULL), ==, 0);
                assert_storage(fixture->workers, file, point);
                g_assert_cmpint(umount(point), ==, 0);
                assert_storage(fixture->workers, file, before);
        }
        g_rmdir(point);
}

#define ADD(name, func) g_test_add("/workers/" name, Fixture, NULL, set_up, func, tear_down)

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/mounts/are-found-by-name", test_mounts_are_found_by_name);
        g_test_add_func("/mounts/later-ones-cover-earlier-ones", test_later_mounts_cover_earlier_ones);
        g_test_add_func("/mounts/lines-are-unescaped", test_mount_lines_are_unescaped);
        g_test_add_func("/mounts/odd-tables", test_odd_tables);
        g_test_add_func("/mounts/paths-are-tidied", test_paths_are_tidied);
        g_test_add_func("/mounts/the-table-can-be-made-up", test_the_table_can_be_made_up);
        ADD("work-runs-on-a-thread-and-done-on-the-loop", test_work_runs_on_a_thread_and_done_on_the_loop);
        ADD("one-storage-keeps-its-order", test_one_storage_keeps_its_order);
        ADD("a-storage-that-hangs-stalls-no-other", test_a_storage_that_hangs_stalls_no_other);
        ADD("stuck-work-is-counted-per-uid", test_stuck_work_is_counted_per_uid);
        ADD("root-is-never-too-stuck", test_root_is_never_too_stuck);
        ADD("idle-threads-make-room", test_idle_threads_make_room);
        ADD("nothing-is-waited-for-at-the-end", test_nothing_is_waited_for_at_the_end);
        ADD("new-mounts-are-noticed", test_new_mounts_are_noticed);
        return g_test_run();
}
