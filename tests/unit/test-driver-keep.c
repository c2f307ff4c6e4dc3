/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "driver-file-fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "core/obstacle.h"

/*
 * The file driver with somebody who keeps copies of its descriptors. What has to hold of every driver holds of it too:
 * nothing is free while a copy keeps it locked. Then the driver goes and another comes, as when the service is killed.
 */

typedef struct {
        GlKeeping keeping;
        GHashTable *kept;      /* key → GlKeptFds */
        GHashTable *recovered; /* what an earlier service had: key → GlKeptFds */
        sd_event *event;       /* (borrowed) */
        gboolean fails;
        guint n_drops;
} Keeper;

/* Answers go through the loop. */
typedef struct {
        GlKept done;
        gpointer user_data;
        gboolean kept;
} Answer;

static Keeper keeper;

static void kept_fds_free(gpointer data) {
        GlKeptFds *kept = data;

        for (guint i = 0; i < kept->n; i++)
                if (kept->fds[i] >= 0)
                        close(kept->fds[i]);
        g_free(kept->fds);
        g_free(kept->tags);
        g_free(kept);
}

static GlKeptFds *kept_fds_copy(const int *fds, const guint8 *tags, guint n) {
        GlKeptFds *kept = g_new(GlKeptFds, 1);

        *kept = (GlKeptFds){.n = n, .fds = g_new(int, n), .tags = g_memdup2(tags, n)};
        for (guint i = 0; i < n; i++) {
                kept->fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
                g_assert_cmpint(kept->fds[i], >=, 0);
        }
        return kept;
}

static int on_answer(sd_event_source *source, void *user_data) {
        Answer *answer = user_data;

        answer->done(answer->kept, answer->user_data);
        sd_event_source_disable_unref(source);
        g_free(answer);
        return 0;
}

static void answer_later(GlKept done, gpointer user_data, gboolean kept) {
        sd_event_source *source = NULL;
        Answer *answer = g_new(Answer, 1);

        *answer = (Answer){done, user_data, kept};
        g_assert_cmpint(sd_event_add_defer(keeper.event, &source, on_answer, answer), >=, 0);
        sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static guint64 *key_copy(guint64 key) {
        return g_memdup2(&key, sizeof key);
}

static GlKeptFds *keeper_recover(GlKeeping *keeping, guint64 key) {
        g_autofree guint64 *stored = NULL;
        GlKeptFds *kept = NULL;

        g_hash_table_steal_extended(keeper.recovered, &key, (gpointer *) &stored, (gpointer *) &kept);
        return kept;
}

static void keeper_keep(GlKeeping *keeping, guint64 key, const int *fds, const guint8 *tags, guint n, GlKept done,
                        gpointer user_data) {
        g_assert_cmpuint(key, !=, 0);
        g_assert_cmpuint(n, >, 0);
        if (!keeper.fails)
                g_hash_table_insert(keeper.kept, key_copy(key), kept_fds_copy(fds, tags, n));
        answer_later(done, user_data, !keeper.fails);
}

static void keeper_drop(GlKeeping *keeping, guint64 key, GlKept done, gpointer user_data) {
        g_hash_table_remove(keeper.kept, &key);
        keeper.n_drops++;
        answer_later(done, user_data, TRUE);
}

static gboolean keeper_has(GlKeeping *keeping, guint64 key) {
        return g_hash_table_contains(keeper.kept, &key);
}

static gboolean keeper_ready(GlKeeping *keeping) {
        return !keeper.fails;
}

static GHashTable *new_table(void) {
        return g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, kept_fds_free);
}

static GlFileOptions options_with(const char *lockspace) {
        return (GlFileOptions){
                .host_number = HOST,
                .host_id = "00000000000000000000000000000007",
                .host_name = "kvm1",
                .lockspaces = {[GL_LOCKSPACE_FILES] = lockspace},
                .keeping = &keeper.keeping,
        };
}

static GlDriverFixtureOps keep_ops; /* those of the images, but for two */

static GlDriverFixture *set_up_keep(void) {
        const GlFileOptions options = options_with(NULL);
        GlDriverFixture *fixture = set_up_with(&options, 8);

        keeper = (Keeper){
                .keeping = {keeper_recover, keeper_keep, keeper_drop, keeper_has, keeper_ready},
                .kept = new_table(),
                .recovered = new_table(),
                .event = ((Fixture *) fixture)->event,
        };
        fixture->ops = &keep_ops;
        return fixture;
}

static void tear_down_keep(GlDriverFixture *fixture) {
        g_assert_cmpuint(g_hash_table_size(keeper.kept), ==, 0);
        tear_down(fixture);
        g_hash_table_unref(keeper.kept);
        g_hash_table_unref(keeper.recovered);
}

static guint n_kept(guint64 key, guint8 tag) {
        const GlKeptFds *kept = g_hash_table_lookup(keeper.kept, &key);
        guint n = 0;

        for (guint i = 0; kept && i < kept->n; i++)
                n += kept->tags[i] == tag;
        return n;
}

static void new_driver(GlDriverFixture *fixture, const char *lockspace) {
        const GlFileOptions options = options_with(lockspace);
        GHashTableIter iter;
        gpointer key, value;

        fixture->driver = gl_file_driver_new(((Fixture *) fixture)->workers, &options);
        g_hash_table_iter_init(&iter, keeper.kept);
        while (g_hash_table_iter_next(&iter, &key, &value)) {
                const GlKeptFds *kept = value;

                g_hash_table_insert(keeper.recovered, key_copy(*(guint64 *) key),
                                    kept_fds_copy(kept->fds, kept->tags, kept->n));
        }
}

/* The service goes, and another comes with what was kept. */
static void restart(GlDriverFixture *fixture, const char *lockspace) {
        gl_driver_free(fixture->driver);
        new_driver(fixture, lockspace);
}

/* What the core does for each lease of a guest that it has found again. Consumes HELD. */
static GlJob *adopt(GlDriverFixture *fixture, GlJob *held) {
        GlTarget *target = &held->targets[0];
        GlJob *job = gl_fixture_new_job(fixture, GL_JOB_TAKE, 0, 1, DISK, target->mode);

        gl_handle_unref(&job->targets[0].source);
        gl_place_unref(job->targets[0].place);
        job->targets[0].source = gl_handle_ref(target->source);
        job->targets[0].place = gl_place_ref(target->place);
        job->targets[0].keep_key = target->keep_key;
        job->targets[0].generation = 1;
        job->adopting = TRUE;
        gl_job_free(held);
        return gl_fixture_run(fixture, job);
}

static void test_is_kept(void) {
        GlDriverFixture *fixture = set_up_keep();
        GlJob *job = gl_fixture_have(fixture, 0, 3, DISK, X);

        g_assert_cmpuint(g_hash_table_size(keeper.kept), ==, 3);
        for (guint i = 0; i < 3; i++) {
                g_assert_cmpint(job->targets[i].kept_by, ==, GL_KEPT_BY_KEEPER);
                g_assert_cmpuint(n_kept(job->targets[i].keep_key, 0), ==, 1);
        }
        gl_fixture_give_back(fixture, job);
        g_assert_cmpuint(keeper.n_drops, ==, 3);
        g_assert_true(is_free(fixture, 0, DISK, X));
        tear_down_keep(fixture);
}

static void test_outlives_the_service(void) {
        GlDriverFixture *fixture = set_up_keep();

        for (GlMode mode = R; mode <= X; mode++) {
                GlJob *job = gl_fixture_have(fixture, 0, 1, DISK, mode);
                guint64 key = job->targets[0].keep_key;

                gl_driver_free(fixture->driver);
                gl_fixture_assert_held(fixture, 0, DISK, mode);
                new_driver(fixture, NULL);
                job = adopt(fixture, job);
                g_assert_no_error(job->error);
                g_assert_cmpuint(job->targets[0].keep_key, ==, key);
                g_assert_cmpint(job->targets[0].kept_by, ==, GL_KEPT_BY_KEEPER);
                gl_fixture_assert_held(fixture, 0, DISK, mode);
                gl_fixture_give_back(fixture, job);
                g_assert_true(is_free(fixture, 0, DISK, X));
        }
        tear_down_keep(fixture);
}

/* Whoever else has a copy that nobody knows of. */
static void test_copies_have_no_lock(void) {
        GlDriverFixture *fixture = set_up_keep();
        GlJob *job = gl_fixture_have(fixture, 0, 1, DISK, X);
        guint64 key = job->targets[0].keep_key;
        int copy = fcntl(((const GlKeptFds *) g_hash_table_lookup(keeper.kept, &key))->fds[0], F_DUPFD_CLOEXEC, 3);

        gl_fixture_give_back(fixture, job);
        g_assert_true(is_free(fixture, 0, DISK, X));
        close(copy);
        tear_down_keep(fixture);
}

/* Wherever its path leads by now: what is kept is the lease. */
static void test_path_leads_elsewhere(void) {
        GlDriverFixture *fixture = set_up_keep();
        GlJob *job = gl_fixture_have(fixture, 0, 1, DISK, X);

        restart(fixture, NULL);
        fixture->ops->replace(fixture, 0);
        job = adopt(fixture, job);
        g_assert_no_error(job->error);
        gl_fixture_give_back(fixture, job);
        tear_down_keep(fixture);
}

/* Nobody was asked whether he kept it, or he has lost it. */
static void test_was_not_kept(void) {
        GlDriverFixture *fixture = set_up_keep();
        GlJob *job;

        keeper.fails = TRUE;
        job = gl_fixture_have(fixture, 0, 1, DISK, X);
        g_assert_cmpint(job->targets[0].kept_by, ==, GL_KEPT_BY_SERVICE);
        g_assert_cmpuint(job->targets[0].keep_key, !=, 0);
        restart(fixture, NULL);
        g_assert_true(is_free(fixture, 0, DISK, X));
        keeper.fails = FALSE;
        job = adopt(fixture, job);
        g_assert_no_error(job->error);
        g_assert_cmpint(job->targets[0].kept_by, ==, GL_KEPT_BY_KEEPER);
        gl_fixture_give_back(fixture, job);
        tear_down_keep(fixture);
}

static void test_keeper_comes_back(void) {
        GlDriverFixture *fixture = set_up_keep();
        GlJob *job = gl_fixture_have(fixture, 0, 2, DISK, X);

        g_hash_table_remove_all(keeper.kept);
        gl_file_driver_keep_again(fixture->driver);
        fixture->ops->iterate(fixture);
        fixture->ops->iterate(fixture);
        g_assert_cmpuint(g_hash_table_size(keeper.kept), ==, 2);
        g_assert_cmpuint(n_kept(job->targets[1].keep_key, 0), ==, 1);
        gl_fixture_give_back(fixture, job);
        tear_down_keep(fixture);
}

static GlKeptBy check_who_keeps(GlDriverFixture *fixture, GlJob *held) {
        g_autoptr(GlJob) check = gl_fixture_run(fixture, gl_fixture_follow(fixture, GL_JOB_CHECK, held, X));

        g_assert_cmpint(check->targets[0].found, ==, GL_FOUND_HELD);
        held->targets[0].lease = g_steal_pointer(&check->targets[0].lease);
        return check->targets[0].kept_by;
}

/* One that could not keep it is asked again with each check, and what a check says of it is so. */
static void test_kept_at_last(void) {
        GlDriverFixture *fixture = set_up_keep();
        GlJob *job;

        keeper.fails = TRUE;
        job = gl_fixture_have(fixture, 0, 1, DISK, X);
        g_assert_cmpint(check_who_keeps(fixture, job), ==, GL_KEPT_BY_SERVICE);
        keeper.fails = FALSE;
        (void) check_who_keeps(fixture, job);
        g_assert_cmpint(check_who_keeps(fixture, job), ==, GL_KEPT_BY_KEEPER);
        g_assert_cmpuint(n_kept(job->targets[0].keep_key, 0), ==, 1);
        g_hash_table_remove_all(keeper.kept);
        keeper.fails = TRUE;
        g_assert_cmpint(check_who_keeps(fixture, job), ==, GL_KEPT_BY_SERVICE);
        keeper.fails = FALSE;
        gl_fixture_give_back(fixture, job);
        tear_down_keep(fixture);
}

/* Whoever had a copy has unlocked it, and somebody else has locked it since. */
static void test_taken_meanwhile(void) {
        GlDriverFixture *fixture = set_up_keep();
        GlJob *job = gl_fixture_have(fixture, 0, 1, DISK, X);
        guint64 key = job->targets[0].keep_key;
        const GlKeptFds *kept;
        guint32 pid;

        restart(fixture, NULL);
        kept = g_hash_table_lookup(keeper.kept, &key);
        gl_locks_give_up(kept->fds[0]);
        pid = fixture->ops->occupy(fixture, 0, DISK, X);
        job = adopt(fixture, job);
        gl_assert_names_pid(job, pid);
        gl_assert_refused(job, GL_ERROR_CONFLICT);
        g_assert_cmpuint(g_hash_table_size(keeper.kept), ==, 0);
        tear_down_keep(fixture);
}

/* Unlocked, and free: it is locked again. */
static void test_unlocked_meanwhile(void) {
        GlDriverFixture *fixture = set_up_keep();
        GlJob *job = gl_fixture_have(fixture, 0, 1, DISK, X);
        guint64 key = job->targets[0].keep_key;

        restart(fixture, NULL);
        gl_locks_give_up(((const GlKeptFds *) g_hash_table_lookup(keeper.kept, &key))->fds[0]);
        g_assert_true(is_free(fixture, 0, DISK, X));
        job = adopt(fixture, job);
        g_assert_no_error(job->error);
        gl_fixture_assert_held(fixture, 0, DISK, X);
        gl_fixture_give_back(fixture, job);
        tear_down_keep(fixture);
}

/* A key that stands for something else: the lease is taken as if nothing had been kept. */
static void test_another_file(void) {
        GlDriverFixture *fixture = set_up_keep();
        GlJob *job = gl_fixture_have(fixture, 0, 1, DISK, X);
        guint64 key = job->targets[0].keep_key;
        int fd = open(path_of(fixture, 1, DISK), O_RDWR | O_CLOEXEC);

        gl_driver_free(fixture->driver);
        g_hash_table_insert(keeper.kept, key_copy(key), kept_fds_copy(&fd, (const guint8[]){0}, 1));
        close(fd);
        new_driver(fixture, NULL);
        job = adopt(fixture, job);
        g_assert_no_error(job->error);
        gl_fixture_assert_held(fixture, 0, DISK, X);
        g_assert_true(is_free(fixture, 1, DISK, X));
        gl_fixture_give_back(fixture, job);
        tear_down_keep(fixture);
}

/* The lock moves to another description: what is kept is that one, and nothing of the old. */
static void test_raise_and_lower(void) {
        GlDriverFixture *fixture = set_up_keep();
        GlJob *job = gl_fixture_have(fixture, 0, 1, DISK, R);
        static const GlMode modes[] = {X, W, R, X};

        for (guint i = 0; i < G_N_ELEMENTS(modes); i++) {
                GlJob *change = gl_fixture_change(fixture, job, modes[i]);

                g_assert_no_error(change->error);
                g_assert_cmpint(change->targets[0].kept_by, ==, GL_KEPT_BY_KEEPER);
                gl_job_free(change);
                gl_fixture_assert_held(fixture, 0, DISK, modes[i]);
        }
        restart(fixture, NULL);
        job = adopt(fixture, job);
        g_assert_no_error(job->error);
        gl_fixture_assert_held(fixture, 0, DISK, X);
        gl_fixture_give_back(fixture, job);
        g_assert_true(is_free(fixture, 0, DISK, X));
        tear_down_keep(fixture);
}

/* --- lock files --- */

static GlDriverFixture *set_up_lockspace(char **entry) {
        GlDriverFixture *fixture = set_up_keep();
        char *directory = g_mkdtemp(g_strdup("/dev/shm/guestlock-lockspace-XXXXXX"));
        g_autofree char *name = g_compute_checksum_for_string(G_CHECKSUM_SHA256, path_of(fixture, 0, DISK), -1);

        ((Fixture *) fixture)->lockspace = directory;
        restart(fixture, directory);
        *entry = g_build_filename(directory, name, NULL);
        return fixture;
}

static void test_lock_files(void) {
        g_autofree char *entry = NULL;
        GlDriverFixture *fixture = set_up_lockspace(&entry);
        GlJob *job = gl_fixture_have(fixture, 0, 1, DISK, X);

        g_assert_cmpuint(n_kept(job->targets[0].keep_key, 2), ==, 1);
        gl_driver_free(fixture->driver);
        g_assert_false(can_take(entry, 0, DISK, R));
        new_driver(fixture, ((Fixture *) fixture)->lockspace);
        job = adopt(fixture, job);
        g_assert_no_error(job->error);
        g_assert_false(can_take(entry, 0, DISK, R));
        gl_fixture_give_back(fixture, job);
        g_assert_true(can_take(entry, 0, DISK, X));
        tear_down_keep(fixture);
}

/* It is locked, whether it can be seen or not. */
static void test_lockspace_is_away(void) {
        g_autofree char *entry = NULL, *elsewhere = NULL, *moved = NULL;
        GlDriverFixture *fixture = set_up_lockspace(&entry);
        const char *directory = ((Fixture *) fixture)->lockspace;
        GlJob *job = gl_fixture_have(fixture, 0, 1, DISK, X);

        elsewhere = g_strconcat(directory, "-elsewhere", NULL);
        moved = g_strconcat(elsewhere, strrchr(entry, '/'), NULL);
        g_assert_no_errno(rename(directory, elsewhere));
        restart(fixture, directory);
        job = adopt(fixture, job);
        g_assert_no_error(job->error);
        g_assert_false(can_take(moved, 0, DISK, R));
        gl_fixture_give_back(fixture, job);
        g_assert_true(can_take(moved, 0, DISK, X));
        g_assert_no_errno(rename(elsewhere, directory));
        tear_down_keep(fixture);
}

/* The one that was locked is not the one that the next comer will find. */
static void test_lock_file_was_replaced(void) {
        g_autofree char *entry = NULL;
        GlDriverFixture *fixture = set_up_lockspace(&entry);
        GlJob *job = gl_fixture_have(fixture, 0, 1, DISK, X);

        g_assert_no_errno(unlink(entry));
        restart(fixture, ((Fixture *) fixture)->lockspace);
        job = adopt(fixture, job);
        g_assert_no_error(job->error);
        g_assert_false(can_take(entry, 0, DISK, R));
        gl_fixture_give_back(fixture, job);
        tear_down_keep(fixture);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        if (skip_without_root_and_openat2())
                return 0;

        keep_ops = file_fixture_ops;
        keep_ops.set_up = set_up_keep;
        keep_ops.tear_down = tear_down_keep;
        gl_driver_conformance_add("/driver-keep/conformance", &keep_ops);
        g_test_add_func("/driver-keep/is-kept", test_is_kept);
        g_test_add_func("/driver-keep/outlives-the-service", test_outlives_the_service);
        g_test_add_func("/driver-keep/copies-have-no-lock", test_copies_have_no_lock);
        g_test_add_func("/driver-keep/path-leads-elsewhere", test_path_leads_elsewhere);
        g_test_add_func("/driver-keep/was-not-kept", test_was_not_kept);
        g_test_add_func("/driver-keep/keeper-comes-back", test_keeper_comes_back);
        g_test_add_func("/driver-keep/kept-at-last", test_kept_at_last);
        g_test_add_func("/driver-keep/taken-meanwhile", test_taken_meanwhile);
        g_test_add_func("/driver-keep/unlocked-meanwhile", test_unlocked_meanwhile);
        g_test_add_func("/driver-keep/another-file", test_another_file);
        g_test_add_func("/driver-keep/raise-and-lower", test_raise_and_lower);
        g_test_add_func("/driver-keep/lock-files", test_lock_files);
        g_test_add_func("/driver-keep/lockspace-is-away", test_lockspace_is_away);
        g_test_add_func("/driver-keep/lock-file-was-replaced", test_lock_file_was_replaced);
        return g_test_run();
}
