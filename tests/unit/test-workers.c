/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage/workers.h"

#include <glib/gstdio.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

#include "core/error.h"

#define PATIENCE    (30 * G_USEC_PER_SEC)
#define STUCK_AFTER (1000 * G_USEC_PER_SEC) /* no machine is that slow: nothing is stuck until pass_time() */

static gint64 passed;

/* The program's own definition goes before GLib's: what is stuck, and what is not, is not for the machine to say. */
gint64 g_get_monotonic_time(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return passed + now.tv_sec * G_USEC_PER_SEC + now.tv_nsec / 1000;
}

static void pass_time(void) {
        passed += STUCK_AFTER + 1;
}

/* --- workers --- */

typedef struct {
        sd_event *event;
        GlWorkers *workers;
        GlWorkersLimits limits;
        int gate[2]; /* work waits until something is written, or the end for writing is closed */
} Fixture;

static void set_up(Fixture *fixture, gconstpointer data) {
        g_autoptr(GError) error = NULL;

        g_assert_cmpint(sd_event_new(&fixture->event), >=, 0);
        fixture->limits = (GlWorkersLimits){
                .max_threads = 2, .max_threads_per_uid = 2, .max_stuck_per_uid = 2, .stuck_after = STUCK_AFTER};
        fixture->workers = gl_workers_new(fixture->event, NULL, &fixture->limits, &error);
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

static int time_is_up(sd_event_source *source, uint64_t usec, void *user_data) {
        g_string_append_c(user_data, 't');
        return 0;
}

static int something_comes(sd_event_source *source, int fd, uint32_t revents, void *user_data) {
        char byte;

        g_assert_cmpint(read(fd, &byte, 1), ==, 1);
        g_string_append_c(user_data, 's');
        return 0;
}

static void test_what_has_answered_comes_before_a_timeout(Fixture *fixture, gconstpointer data) {
        g_autoptr(GString) log = g_string_new(NULL);
        Task one = {.gate = -1, .log = log, .letter = 'a'}, two = {.gate = -1, .log = log, .letter = 'b'};

        g_assert_cmpint(write(fixture->gate[1], "", 1), ==, 1);
        g_assert_cmpint(sd_event_add_io(fixture->event, NULL, fixture->gate[0], EPOLLIN, something_comes, log), >=, 0);
        g_assert_cmpint(sd_event_add_time(fixture->event, NULL, CLOCK_MONOTONIC, 1, 1, time_is_up, log), >=, 0);
        submit(fixture, "/a", 0, &one);
        submit(fixture, "/a", 0, &two);
        /* The loop does not run meanwhile. The first one has been delivered when the second one's turn has come. */
        while (!g_atomic_int_get(&two.worked))
                g_usleep(100);
        g_assert_cmpstr(log->str, ==, "");
        while (log->len < 4)
                g_assert_cmpint(sd_event_run(fixture->event, PATIENCE), >, 0);
        g_assert_nonnull(strchr(strchr(log->str, 'a'), 't'));
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
        pass_time();
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
        pass_time();
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

/* --- many users --- */

/* Threads for everybody, and for one. Nothing counts as stuck. */
static void allow(Fixture *fixture, guint max_threads, guint max_threads_per_uid) {
        fixture->limits = (GlWorkersLimits){max_threads, max_threads_per_uid, 100, STUCK_AFTER};
        gl_workers_free(fixture->workers);
        fixture->workers = gl_workers_new(fixture->event, NULL, &fixture->limits, NULL);
        g_assert_nonnull(fixture->workers);
}

static void submit_chore(Fixture *fixture, const char *storage, guint32 uid, Task *task) {
        g_autoptr(GError) error = NULL;

        g_assert_true(gl_workers_submit_chore(fixture->workers, storage, uid, work, done, task, &error));
        g_assert_no_error(error);
}

static void settle(Fixture *fixture) {
        while (sd_event_run(fixture->event, 20 * 1000) > 0)
                ;
}

static void test_one_user_cannot_have_all_threads(Fixture *fixture, gconstpointer data) {
        Task hanging[4] = {}, own = {.gate = -1}, others = {.gate = -1}, roots[4] = {}, later = {.gate = -1};

        allow(fixture, 4, 2);
        for (guint i = 0; i < 4; i++) {
                g_autofree char *storage = g_strdup_printf("/hangs%u", i);

                hanging[i].gate = fixture->gate[0];
                submit(fixture, storage, 1000, &hanging[i]);
        }
        submit(fixture, "/lives", 1000, &own);
        submit(fixture, "/lives", 1001, &others);
        wait_for(fixture, &others.done);
        for (guint i = 0; i < 4; i++) {
                g_autofree char *storage = g_strdup_printf("/roots%u", i);

                roots[i].gate = -1;
                submit(fixture, storage, 0, &roots[i]);
                wait_for(fixture, &roots[i].done);
        }
        settle(fixture);
        g_assert_false(own.done);

        open_gate(fixture);
        wait_for(fixture, &own.done);
        for (guint i = 0; i < 4; i++)
                wait_for(fixture, &hanging[i].done);
        submit(fixture, "/lives", 1000, &later);
        wait_for(fixture, &later.done);
}

typedef struct {
        gint n_now, n_most;
} Crowd;

typedef struct {
        Crowd *crowd;
        gboolean done;
} Visit;

static void visit(gpointer data) {
        gint64 deadline = g_get_monotonic_time() + PATIENCE;
        Crowd *crowd = ((Visit *) data)->crowd;
        gint n = g_atomic_int_add(&crowd->n_now, 1) + 1, most;

        while (n > (most = g_atomic_int_get(&crowd->n_most)))
                g_atomic_int_compare_and_exchange(&crowd->n_most, most, n);
        do /* the first stays until it has met another, however late that one's thread comes */
                g_usleep(1000);
        while (g_atomic_int_get(&crowd->n_most) < 2 && g_get_monotonic_time() < deadline);
        g_atomic_int_add(&crowd->n_now, -1);
}

static void visited(gpointer data) {
        ((Visit *) data)->done = TRUE;
}

static void test_many_healthy_mounts_are_all_served(Fixture *fixture, gconstpointer data) {
        Crowd crowd = {};
        Visit visits[40];

        allow(fixture, 8, 3);
        for (guint i = 0; i < G_N_ELEMENTS(visits); i++) {
                g_autofree char *storage = g_strdup_printf("/mnt/%u", i % 20);

                visits[i] = (Visit) {.crowd = &crowd};
                g_assert_true(gl_workers_submit(fixture->workers, storage, 1000, visit, visited, &visits[i], NULL));
        }
        for (guint i = 0; i < G_N_ELEMENTS(visits); i++)
                wait_for(fixture, &visits[i].done);
        g_assert_cmpint(crowd.n_most, <=, 3);
        g_assert_cmpint(crowd.n_most, >, 1);
}

/* What one user has asked of a disk is not all in the way of what another asks of it. */
static void test_users_take_turns(Fixture *fixture, gconstpointer data) {
        g_autoptr(GString) log = g_string_new(NULL);
        Task alices[20], bobs[2], carols = {.gate = -1, .log = log, .letter = 'C'};

        for (guint i = 0; i < G_N_ELEMENTS(alices); i++) {
                alices[i] = (Task) {.gate = i == 0 ? fixture->gate[0] : -1, .log = log, .letter = 'a'};
                submit(fixture, "/disk", 1000, &alices[i]);
        }
        for (guint i = 0; i < G_N_ELEMENTS(bobs); i++) {
                bobs[i] = (Task) {.gate = -1, .log = log, .letter = 'B'};
                submit(fixture, "/disk", 1001, &bobs[i]);
        }
        submit(fixture, "/disk", 1002, &carols);
        open_gate(fixture);
        wait_for(fixture, &alices[G_N_ELEMENTS(alices) - 1].done);
        g_assert_cmpstr(log->str, ==, "aaaaBBCaaaaaaaaaaaaaaaa");
}

static void test_chores_are_apart(Fixture *fixture, gconstpointer data) {
        Task hanging[2] = {{.gate = fixture->gate[0]}, {.gate = fixture->gate[0]}};
        Task stuck[3] = {}, chore = {.gate = -1}, late = {.gate = -1};

        fixture->limits.max_threads = 8;
        gl_workers_free(fixture->workers);
        fixture->workers = gl_workers_new(fixture->event, NULL, &fixture->limits, NULL);
        submit(fixture, "/hangs0", 1000, &hanging[0]);
        submit(fixture, "/hangs1", 1000, &hanging[1]);
        pass_time();
        assert_refused(fixture, "/lives", 1000, GL_ERROR_STORAGE_UNAVAILABLE, "*2 operations of uid 1000*");
        submit_chore(fixture, "/lives", 1000, &chore);
        wait_for(fixture, &chore.done);

        /* They have an end as well, and wait for it. */
        for (guint i = 0; i < 3; i++) {
                g_autofree char *storage = g_strdup_printf("/stuck%u", i);

                stuck[i].gate = fixture->gate[0];
                submit_chore(fixture, storage, 1000, &stuck[i]);
        }
        submit_chore(fixture, "/lives", 1000, &late);
        settle(fixture);
        g_assert_false(late.done);
        open_gate(fixture);
        wait_for(fixture, &late.done);
        for (guint i = 0; i < 3; i++)
                wait_for(fixture, &stuck[i].done);
        for (guint i = 0; i < 2; i++)
                wait_for(fixture, &hanging[i].done);
}

static void test_chores_wait_for_a_thread(Fixture *fixture, gconstpointer data) {
        Task hanging[2] = {{.gate = fixture->gate[0]}, {.gate = fixture->gate[0]}}, chore = {.gate = -1};

        submit(fixture, "/hangs0", 0, &hanging[0]);
        submit(fixture, "/hangs1", 0, &hanging[1]);
        submit_chore(fixture, "/lives", 1000, &chore);
        assert_refused(fixture, "/lives", 1001, GL_ERROR_LIMIT_EXCEEDED, "*2 others*");
        settle(fixture);
        g_assert_false(chore.done);
        open_gate(fixture);
        wait_for(fixture, &chore.done);
        for (guint i = 0; i < 2; i++)
                wait_for(fixture, &hanging[i].done);
}

static void test_what_waits_can_be_withdrawn(Fixture *fixture, gconstpointer data) {
        Task hanging = {.gate = fixture->gate[0]}, behind[5] = {}, elsewhere = {.gate = -1}, other = {.gate = -1};
        GlPiece *pieces[5], *alone;

        allow(fixture, 4, 1);
        submit(fixture, "/hangs", 1000, &hanging);
        for (guint i = 0; i < 5; i++) {
                behind[i].gate = -1;
                pieces[i] = gl_workers_submit(fixture->workers, "/hangs", 1000, work, done, &behind[i], NULL);
        }
        alone = gl_workers_submit(fixture->workers, "/elsewhere", 1000, work, done, &elsewhere, NULL);
        g_assert_true(gl_workers_withdraw(fixture->workers, alone));
        g_assert_true(gl_workers_withdraw(fixture->workers, pieces[4]));
        g_assert_false(gl_workers_withdraw(fixture->workers, pieces[0])); /* the thread has it already */
        submit(fixture, "/elsewhere", 1001, &other);
        wait_for(fixture, &other.done);
        open_gate(fixture);
        wait_for(fixture, &behind[3].done);
        settle(fixture);
        g_assert_false(behind[4].done || elsewhere.done);
}

static void test_nothing_is_waited_for_at_the_end(Fixture *fixture, gconstpointer data) {
        Task hanging = {.gate = fixture->gate[0]}, finished = {.gate = -1}, behind[6] = {};
        GPollFD mailbox = {.fd = sd_event_get_fd(fixture->event), .events = G_IO_IN};
        gint64 start;

        submit(fixture, "/hangs", 0, &hanging);
        for (guint i = 0; i < 6; i++) {
                behind[i].gate = -1;
                submit(fixture, "/hangs", 0, &behind[i]);
        }
        submit(fixture, "/lives", 0, &finished);
        g_assert_cmpint(g_poll(&mailbox, 1, PATIENCE / 1000), ==, 1); /* what has run wakes the loop */
        start = g_get_monotonic_time();
        g_clear_pointer(&fixture->workers, gl_workers_free);
        /* A fifth of a second, and what a loaded machine makes of that; what hangs would be waited for without end. */
        g_assert_cmpint(g_get_monotonic_time() - start, <, 5 * G_USEC_PER_SEC);
        g_assert_true(finished.done);

        open_gate(fixture);
        while (!g_atomic_int_get(&hanging.worked))
                g_usleep(1000);
        g_usleep(5 * 1000); /* whatever it does now, it must not do to what is freed */
        g_assert_false(hanging.done);
        for (guint i = 0; i < 6; i++)
                g_assert_false(behind[i].done);
}

/* --- the live table --- */

static const char table[] =
        "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n"
        "31 27 0:41 / /srv rw - tmpfs  rw\n"
        "32 31 8:1 /a /srv/deep/er rw - xfs /dev/sda1 rw\n";

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
        g_assert_null(gl_workers_new(event, root, &(GlWorkersLimits) {1, 1, 1, 1}, &error));
        g_assert_error(error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE);
        g_assert_cmpint(g_mkdir_with_parents(self, 0700), ==, 0);
        g_assert_true(g_file_set_contents(file, table, -1, NULL));
        workers = gl_workers_new(event, root, &(GlWorkersLimits) {1, 1, 1, 1}, NULL);
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
        fixture->workers = gl_workers_new(fixture->event, NULL, &fixture->limits, NULL);
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
        g_test_add_func("/workers/the-table-can-be-made-up", test_the_table_can_be_made_up);
        ADD("work-runs-on-a-thread-and-done-on-the-loop", test_work_runs_on_a_thread_and_done_on_the_loop);
        ADD("what-has-answered-comes-before-a-timeout", test_what_has_answered_comes_before_a_timeout);
        ADD("one-storage-keeps-its-order", test_one_storage_keeps_its_order);
        ADD("a-storage-that-hangs-stalls-no-other", test_a_storage_that_hangs_stalls_no_other);
        ADD("stuck-work-is-counted-per-uid", test_stuck_work_is_counted_per_uid);
        ADD("root-is-never-too-stuck", test_root_is_never_too_stuck);
        ADD("idle-threads-make-room", test_idle_threads_make_room);
        ADD("one-user-cannot-have-all-threads", test_one_user_cannot_have_all_threads);
        ADD("many-healthy-mounts-are-all-served", test_many_healthy_mounts_are_all_served);
        ADD("users-take-turns", test_users_take_turns);
        ADD("chores-are-apart", test_chores_are_apart);
        ADD("chores-wait-for-a-thread", test_chores_wait_for_a_thread);
        ADD("what-waits-can-be-withdrawn", test_what_waits_can_be_withdrawn);
        ADD("nothing-is-waited-for-at-the-end", test_nothing_is_waited_for_at_the_end);
        ADD("new-mounts-are-noticed", test_new_mounts_are_noticed);
        return g_test_run();
}
