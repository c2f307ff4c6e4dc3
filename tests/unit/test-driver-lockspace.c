/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "driver-file-fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/error.h"
#include "drivers/file-lease.h"
#include "drivers/lockspace-record.h"

/*
 * The file driver with a lockspace directory. What has to hold of every driver holds of it too, and then a place is
 * free only if both the image and its lock file are.
 */

#define UUID "4dea22b3-1d52-d8f3-2516-782e98ab3fa0"

static GlDriverFixtureOps lockspace_ops; /* those of the images, but for two */

static GlDriverFixture *set_up_lockspace(void) {
        char *directory = g_mkdtemp(g_strdup("/dev/shm/guestlock-lockspace-XXXXXX"));
        const GlFileOptions options = {
                .host_number = HOST,
                .host_id = "00000000000000000000000000000007",
                .host_name = "kvm1",
                .lockspaces = {[GL_LOCKSPACE_FILES] = directory},
        };
        GlDriverFixture *fixture = set_up_with(&options, 8);

        fixture->ops = &lockspace_ops;
        ((Fixture *) fixture)->lockspace = directory;
        return fixture;
}

/* Of the file of DIRECTORY that stands for PATH, with SUFFIX. */
static char *entry_of(GlDriverFixture *fixture, const char *path, const char *suffix) {
        g_autofree char *name = g_compute_checksum_for_string(G_CHECKSUM_SHA256, path, -1);

        return g_strdup_printf("%s/%s%s", ((Fixture *) fixture)->lockspace, name, suffix);
}

static char *entry_of_place(GlDriverFixture *fixture, guint nth, const char *suffix) {
        return entry_of(fixture, path_of(fixture, nth, DISK), suffix);
}

static gboolean is_entry_free(GlDriverFixture *fixture, guint nth, GlMode mode) {
        g_autofree char *path = entry_of_place(fixture, nth, "");

        return access(path, F_OK) < 0 || can_take(path, nth, DISK, mode);
}

static gboolean is_free_in_both(GlDriverFixture *fixture, guint nth, GlResourceType type, GlMode mode) {
        gboolean free = is_free(fixture, nth, type, mode);

        if (type == DISK)
                g_assert_cmpint(is_entry_free(fixture, nth, mode), ==, free);
        return free;
}

/* Somebody who has the lock file; he makes it if need be. */
static pid_t occupy_entry(GlDriverFixture *fixture, guint nth, Take take, gpointer data) {
        g_autofree char *path = entry_of_place(fixture, nth, "");

        close(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        return spawn(path, take, data);
}

static GlLockspaceRecord *read_record(GlDriverFixture *fixture, guint nth) {
        g_autofree char *path = entry_of_place(fixture, nth, ".guestlock"), *data = NULL;
        GlLockspaceRecord *record;
        GError *error = NULL;
        gsize length;

        if (!g_file_get_contents(path, &data, &length, NULL))
                return NULL;
        record = gl_lockspace_record_read(data, length, &error);
        g_assert_no_error(error);
        return record;
}

static void write_record(GlDriverFixture *fixture, guint nth, GlRecorded generations, guint32 host_number) {
        g_autofree char *path = entry_of_place(fixture, nth, ".guestlock"), *data = NULL;
        const GlLockspaceRecord record = {
                .generations = generations,
                .mode = X,
                .since = 1900000000000000,
                .pid = 4242,
                .host_number = host_number,
                .guest_uuid = (char *) UUID,
                .guest_name = (char *) "web1",
                .host_id = (char *) "00000000000000000000000000000009",
                .host_name = (char *) "kvm9",
                .path = (char *) "/srv/its-name.img",
        };
        GError *error = NULL;
        gsize length;

        data = gl_lockspace_record_write(&record, &length);
        g_file_set_contents(path, data, (gssize) length, &error);
        g_assert_no_error(error);
}

static GlJob *new_job(GlDriverFixture *fixture, guint first, guint n, GlMode mode, guint64 generation) {
        GlJob *job = gl_fixture_new_job(fixture, GL_JOB_TAKE, first, n, DISK, mode);

        g_free(job->guest_name);
        job->guest_name = g_strdup("web \"2\"");
        job->realtime = 1800000000000000;
        job->generation = generation;
        return job;
}

static GlJob *have(GlDriverFixture *fixture, guint first, guint n, GlMode mode, guint64 generation) {
        GlJob *job = gl_fixture_run(fixture, new_job(fixture, first, n, mode, generation));

        g_assert_no_error(job->error);
        return job;
}

/* --- what is locked and recorded --- */

static void test_lock_file_and_record(void) {
        GlDriverFixture *fixture = set_up_lockspace();
        GlJob *job = have(fixture, 0, 2, X, 1000);
        GlLockConflict conflict = {0};
        g_autofree char *path = entry_of_place(fixture, 1, "");
        g_autoptr(GlLockspaceRecord) record = read_record(fixture, 1);
        int fd = open(path, O_RDWR | O_CLOEXEC);

        g_assert_cmpint(gl_locks_look_at_range(fd, 0, 0, NULL), ==, -EAGAIN);
        g_assert_cmpint(gl_locks_look_at_range(fd, 1, GL_BYTE_HOST - 1, NULL), ==, 0);
        g_assert_true(gl_locks_has_host(fd, HOST));
        g_assert_cmpint(gl_locks_begin(fd, &conflict), ==, 0);
        close(fd);

        g_assert_true(job->generation_is_recorded);
        g_assert_cmpuint(job->generation, ==, 1000);
        g_assert_cmpuint(record->generations.exclusive, ==, 1000);
        g_assert_cmpuint(record->generations.shared, ==, 0);
        g_assert_cmpint(record->mode, ==, X);
        g_assert_cmpint(record->since, ==, 1800000000000000);
        g_assert_cmpuint(record->host_number, ==, HOST);
        g_assert_cmpstr(record->guest_uuid, ==, UUID);
        g_assert_cmpstr(record->guest_name, ==, "web \"2\"");
        g_assert_cmpstr(record->host_name, ==, "kvm1");
        g_assert_cmpstr(record->path, ==, path_of(fixture, 1, DISK));

        gl_fixture_give_back(fixture, job);
        g_assert_true(is_entry_free(fixture, 0, X) && is_entry_free(fixture, 1, X));
        g_assert_no_errno(access(path, F_OK));
        tear_down(fixture);
}

/* A virtlockd that knows it by either name is met. */
static void test_both_names(void) {
        GlDriverFixture *fixture = set_up_lockspace();
        g_autofree char *link = g_strconcat(path_of(fixture, 0, DISK), ".link", NULL);
        g_autofree char *by_link = entry_of(fixture, link, ""), *by_path = entry_of_place(fixture, 0, "");
        GlJob *job = gl_fixture_new_job(fixture, GL_JOB_TAKE, 0, 1, DISK, X);
        GlTarget *target = &job->targets[0];
        GlSource *source;

        g_assert_no_errno(symlink(path_of(fixture, 0, DISK), link));
        source = resolve((Fixture *) fixture, link, X, (GlExtent){0, GL_EXTENT_END});
        gl_handle_unref(&target->source);
        target->source = gl_source_handle(source);
        g_assert_no_error(gl_fixture_run(fixture, job)->error);
        g_assert_false(can_take(by_link, 0, DISK, R));
        g_assert_false(can_take(by_path, 0, DISK, R));

        gl_fixture_give_back(fixture, job);
        g_assert_true(can_take(by_link, 0, DISK, X));
        g_assert_true(can_take(by_path, 0, DISK, X));
        gl_source_unref(source);
        g_assert_no_errno(unlink(link));
        tear_down(fixture);
}

static void test_modes(void) {
        static const struct {
                GlMode ours, theirs;
                gboolean together;
        } cases[] = {{R, R, TRUE}, {R, W, FALSE}, {R, X, FALSE}, {W, R, FALSE}, {W, W, TRUE}, {X, R, FALSE}};
        GlDriverFixture *fixture = set_up_lockspace();

        for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
                Locks locks = {.layout = layout_of(0, DISK, STRANGER_HOST), .mode = cases[i].theirs};
                pid_t pid = occupy_entry(fixture, 0, take_locks, &locks);
                GlJob *job = gl_fixture_run(fixture, new_job(fixture, 0, 1, cases[i].ours, 1000));

                if (cases[i].together)
                        gl_fixture_give_back(fixture, job);
                else
                        gl_assert_refused(job, GL_ERROR_CONFLICT);
                end(pid);
        }
        tear_down(fixture);
}

static void test_leases_have_none(void) {
        GlDriverFixture *fixture = set_up_lockspace();
        GlJob *job = gl_fixture_have(fixture, 0, 3, LEASE, X);
        g_autoptr(GDir) dir = g_dir_open(((Fixture *) fixture)->lockspace, 0, NULL);

        g_assert_null(g_dir_read_name(dir));
        gl_fixture_give_back(fixture, job);
        tear_down(fixture);
}

/* --- generations --- */

static void test_generations_grow(void) {
        GlDriverFixture *fixture = set_up_lockspace();
        g_autoptr(GlLockspaceRecord) record = NULL;
        GlJob *job;

        write_record(fixture, 0, (GlRecorded){.exclusive = 5000, .shared = 4000}, STRANGER_HOST);
        write_record(fixture, 1, (GlRecorded){.exclusive = 7000, .shared = 9000}, STRANGER_HOST);
        job = have(fixture, 0, 3, W, 1000);
        g_assert_cmpuint(job->generation, ==, 9001);
        g_assert_cmpuint(job->targets[0].recorded.exclusive, ==, 5000);
        g_assert_cmpuint(job->targets[0].recorded.shared, ==, 4000);
        g_assert_cmpuint(job->targets[2].recorded.shared, ==, 0);
        record = read_record(fixture, 0);
        g_assert_cmpuint(record->generations.exclusive, ==, 5000);
        g_assert_cmpuint(record->generations.shared, ==, 9001);
        gl_fixture_give_back(fixture, job);
        tear_down(fixture);
}

/* Readers fence nobody. */
static void test_readers_are_not_recorded(void) {
        GlDriverFixture *fixture = set_up_lockspace();
        GlJob *job;

        write_record(fixture, 0, (GlRecorded){.exclusive = 5000}, STRANGER_HOST);
        job = have(fixture, 0, 2, R, 1000);
        g_assert_false(job->generation_is_recorded);
        g_assert_cmpuint(job->targets[0].recorded.exclusive, ==, 5000);
        g_assert_null(read_record(fixture, 1));
        gl_fixture_give_back(fixture, job);
        tear_down(fixture);
}

static GlJob *adopt(GlDriverFixture *fixture, GlMode mode, guint64 held_with) {
        GlJob *job = new_job(fixture, 0, 1, mode, 0);

        job->adopting = TRUE;
        job->targets[0].generation = held_with;
        return gl_fixture_run(fixture, job);
}

/* Somebody was granted it while the service was away, and has given it back since. */
static void test_adopting(void) {
        GlDriverFixture *fixture = set_up_lockspace();
        g_autoptr(GlLockspaceRecord) record = NULL;
        GlJob *job;

        write_record(fixture, 0, (GlRecorded){.exclusive = 5000, .shared = 6000}, STRANGER_HOST);
        job = adopt(fixture, X, 5500);
        g_assert_nonnull(strstr(first_obstacle(job)->via, "granted it meanwhile"));
        gl_assert_refused(job, GL_ERROR_CONFLICT);
        gl_assert_refused(adopt(fixture, W, 4999), GL_ERROR_CONFLICT);
        gl_fixture_give_back(fixture, adopt(fixture, W, 5500));

        job = adopt(fixture, X, 6000);
        g_assert_no_error(job->error);
        g_assert_false(job->generation_is_recorded);
        record = read_record(fixture, 0);
        g_assert_cmpuint(record->generations.exclusive, ==, 5000);
        g_assert_cmpstr(record->guest_name, ==, "web1");
        gl_fixture_give_back(fixture, job);
        tear_down(fixture);
}

/* --- whom it meets --- */

static void test_virtlockd(void) {
        GlDriverFixture *fixture = set_up_lockspace();
        pid_t pid = occupy_entry(fixture, 0, take_posix, GINT_TO_POINTER(1));

        write_record(fixture, 0, (GlRecorded){.exclusive = 5}, STRANGER_HOST);
        for (GlMode mode = R; mode <= X; mode++) {
                GlJob *job = gl_fixture_run(fixture, new_job(fixture, 0, 1, mode, 1000));

                g_assert_cmpuint(job->obstacles->len, ==, 1);
                gl_assert_names_pid(job, (guint32) pid);
                g_assert_null(first_obstacle(job)->guest_uuid);
                g_assert_nonnull(strstr(first_obstacle(job)->via, ((Fixture *) fixture)->lockspace));
                g_assert_false(job->brief);
                gl_assert_refused(job, GL_ERROR_CONFLICT);
                g_assert_true(is_free(fixture, 0, DISK, X));
        }
        end(pid);
        gl_fixture_give_back(fixture, have(fixture, 0, 1, X, 1000));
        tear_down(fixture);
}

/* It says who it is: the lock of the host that the record names is there. */
static void test_other_host_is_named(void) {
        GlDriverFixture *fixture = set_up_lockspace();
        Locks locks = {.layout = layout_of(0, DISK, STRANGER_HOST), .mode = X};
        pid_t pid = occupy_entry(fixture, 0, take_locks, &locks);
        const GlObstacle *obstacle;
        GlJob *job;

        write_record(fixture, 0, (GlRecorded){.exclusive = 5000}, STRANGER_HOST);
        job = gl_fixture_run(fixture, new_job(fixture, 0, 1, X, 1000));
        obstacle = first_obstacle(job);
        g_assert_cmpstr(obstacle->guest_uuid, ==, UUID);
        g_assert_cmpstr(obstacle->host, ==, "kvm9");
        g_assert_cmpuint(obstacle->pid, ==, 4242);
        g_assert_nonnull(strstr(job->error->message,
                                "guest \"web1\" (" UUID ", pid 4242, host kvm9) holds it as "
                                "\"/srv/its-name.img\", exclusive, since 2030-"));
        gl_assert_refused(job, GL_ERROR_CONFLICT);

        /* A record that is another host's says nothing about who holds it now. */
        write_record(fixture, 0, (GlRecorded){.exclusive = 5000}, STRANGER_HOST + 1);
        job = gl_fixture_run(fixture, new_job(fixture, 0, 1, X, 1000));
        g_assert_null(first_obstacle(job)->guest_uuid);
        gl_assert_refused(job, GL_ERROR_CONFLICT);
        end(pid);
        tear_down(fixture);
}

/* All that is in the way is named, also when the lock file is the first. */
static void test_everybody_is_named(void) {
        GlDriverFixture *fixture = set_up_lockspace();
        pid_t first = occupy_entry(fixture, 0, take_posix, GINT_TO_POINTER(1));
        pid_t second = occupy_entry(fixture, 1, take_posix, GINT_TO_POINTER(1));
        guint32 third = fixture->ops->occupy(fixture, 2, DISK, X);
        GlJob *job = gl_fixture_run(fixture, new_job(fixture, 0, 3, X, 1000));

        g_assert_cmpuint(job->obstacles->len, ==, 3);
        gl_assert_names_pid(job, (guint32) first);
        gl_assert_names_pid(job, (guint32) second);
        gl_assert_names_pid(job, third);
        gl_assert_refused(job, GL_ERROR_CONFLICT);
        end(first);
        end(second);
        tear_down(fixture);
}

/*
 * Removes PATH when somebody opens it, before he has it open, as virtlockd does with its own files when it lets go of
 * them. FANOTIFY tells of the opening and delays it.
 */
static void G_GNUC_NORETURN remove_when_opened(int fanotify, const char *path) {
        struct fanotify_event_metadata event;
        struct fanotify_response response = {.response = FAN_ALLOW};

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (read(fanotify, &event, sizeof event) != sizeof event || unlink(path) < 0)
                _exit(1);
        response.fd = event.fd;
        _exit(write(fanotify, &response, sizeof response) != sizeof response);
}

/* What stands under PATH now is locked. */
static void test_file_is_removed_meanwhile(void) {
        GlDriverFixture *fixture = set_up_lockspace();
        g_autofree char *path = entry_of_place(fixture, 0, "");
        int fanotify = fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, O_RDONLY), status;
        GlJob *job;
        pid_t pid;

        g_assert_no_errno(fanotify);
        g_assert_true(g_file_set_contents(path, "", 0, NULL));
        g_assert_no_errno(fanotify_mark(fanotify, FAN_MARK_ADD, FAN_OPEN_PERM, AT_FDCWD, path));
        pid = fork();
        g_assert_cmpint(pid, >=, 0);
        if (pid == 0)
                remove_when_opened(fanotify, path);
        close(fanotify);

        job = have(fixture, 0, 1, X, 1000);
        g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
        g_assert_cmpint(status, ==, 0);
        g_assert_no_errno(access(path, F_OK));
        g_assert_false(can_take(path, 0, DISK, R));
        gl_fixture_give_back(fixture, job);
        tear_down(fixture);
}

/* --- what goes wrong --- */

static void assert_nothing_is_held(GlDriverFixture *fixture, guint nth) {
        g_assert_true(is_free(fixture, nth, DISK, X));
        g_assert_true(is_entry_free(fixture, nth, X));
}

static void test_image_is_held(void) {
        GlDriverFixture *fixture = set_up_lockspace();

        fixture->ops->occupy(fixture, 1, DISK, X);
        gl_assert_refused(gl_fixture_run(fixture, new_job(fixture, 0, 2, X, 1000)), GL_ERROR_CONFLICT);
        assert_nothing_is_held(fixture, 0);
        g_assert_true(is_entry_free(fixture, 1, X));
        g_assert_null(read_record(fixture, 0));
        tear_down(fixture);
}

static void test_damaged_record(void) {
        GlDriverFixture *fixture = set_up_lockspace();
        g_autofree char *path = entry_of_place(fixture, 1, ".guestlock");
        GlJob *job;

        g_assert_true(g_file_set_contents(path, "[lease]\nversion=1\n", -1, NULL));
        job = gl_fixture_run(fixture, new_job(fixture, 0, 2, X, 1000));
        g_assert_nonnull(strstr(job->error->message, path));
        gl_assert_refused(job, GL_ERROR_STORAGE_UNAVAILABLE);
        assert_nothing_is_held(fixture, 0);
        assert_nothing_is_held(fixture, 1);
        tear_down(fixture);
}

/* In the way of the new record stands a directory. */
static char *prevent_record(GlDriverFixture *fixture, guint nth) {
        char *path = entry_of_place(fixture, nth, ".guestlock.new");

        g_assert_no_errno(mkdir(path, 0700));
        return path;
}

static void test_record_cannot_be_written(void) {
        GlDriverFixture *fixture = set_up_lockspace();
        g_autofree char *obstruction = prevent_record(fixture, 1);

        gl_assert_refused(gl_fixture_run(fixture, new_job(fixture, 0, 2, X, 1000)), GL_ERROR_STORAGE_UNAVAILABLE);
        assert_nothing_is_held(fixture, 0);
        assert_nothing_is_held(fixture, 1);
        g_assert_no_errno(rmdir(obstruction));
        gl_fixture_give_back(fixture, have(fixture, 0, 2, X, 1000));
        tear_down(fixture);
}

static void test_directory(void) {
        GlDriverFixture *fixture = set_up_lockspace();
        const char *directory = ((Fixture *) fixture)->lockspace;
        g_autofree char *elsewhere = g_strconcat(directory, "-elsewhere", NULL);

        g_assert_no_errno(chmod(directory, 0750));
        gl_assert_refused(gl_fixture_run(fixture, new_job(fixture, 0, 1, X, 1000)), GL_ERROR_STORAGE_UNAVAILABLE);
        g_assert_no_errno(chmod(directory, 0700));
        g_assert_no_errno(chown(directory, 1000, 0));
        gl_assert_refused(gl_fixture_run(fixture, new_job(fixture, 0, 1, X, 1000)), GL_ERROR_STORAGE_UNAVAILABLE);
        g_assert_no_errno(chown(directory, 0, 0));

        g_assert_no_errno(rename(directory, elsewhere));
        gl_assert_refused(gl_fixture_run(fixture, new_job(fixture, 0, 1, X, 1000)), GL_ERROR_STORAGE_UNAVAILABLE);
        g_assert_cmpint(access(directory, F_OK), <, 0);
        g_assert_no_errno(rename(elsewhere, directory));
        g_assert_true(is_free(fixture, 0, DISK, X));
        gl_fixture_give_back(fixture, have(fixture, 0, 1, X, 1000));
        tear_down(fixture);
}

static void test_lock_file_is_none(void) {
        GlDriverFixture *fixture = set_up_lockspace();
        g_autofree char *path = entry_of_place(fixture, 0, "");

        g_assert_no_errno(symlink("/dev/null", path));
        gl_assert_refused(gl_fixture_run(fixture, new_job(fixture, 0, 1, X, 1000)), GL_ERROR_STORAGE_UNAVAILABLE);
        g_assert_no_errno(unlink(path));
        g_assert_no_errno(mkfifo(path, 0600));
        gl_assert_refused(gl_fixture_run(fixture, new_job(fixture, 0, 1, X, 1000)), GL_ERROR_STORAGE_UNAVAILABLE);
        g_assert_true(is_free(fixture, 0, DISK, X));
        tear_down(fixture);
}

/* --- changing the mode --- */

static void test_raise_and_lower(void) {
        GlDriverFixture *fixture = set_up_lockspace();
        GlJob *job = have(fixture, 0, 1, R, 1000);
        static const GlMode modes[] = {X, W, R, W, X, R};

        for (guint i = 0; i < G_N_ELEMENTS(modes); i++) {
                GlJob *change = gl_fixture_change(fixture, job, modes[i]);

                g_assert_no_error(change->error);
                g_assert_cmpint(change->generation_is_recorded, ==, modes[i] != R);
                for (GlMode mode = R; mode <= X; mode++)
                        g_assert_cmpint(is_free_in_both(fixture, 0, DISK, mode), ==, mode == modes[i] && mode != X);
                gl_job_free(change);
        }
        gl_fixture_give_back(fixture, job);
        assert_nothing_is_held(fixture, 0);
        tear_down(fixture);
}

/* Whoever is at the lock file or at the image: nothing has changed. */
static void test_raise_is_refused(void) {
        GlDriverFixture *fixture = set_up_lockspace();
        Locks locks = {.layout = layout_of(0, DISK, STRANGER_HOST), .mode = R};
        GlJob *job = have(fixture, 0, 1, R, 1000), *change;
        g_autofree char *obstruction = NULL;
        pid_t pid = occupy_entry(fixture, 0, take_locks, &locks);

        change = gl_fixture_change(fixture, job, X);
        g_assert_error(change->error, GL_ERROR, GL_ERROR_CONFLICT);
        gl_job_free(change);
        end(pid);
        g_assert_true(is_free_in_both(fixture, 0, DISK, R));

        fixture->ops->occupy(fixture, 0, DISK, R);
        change = gl_fixture_change(fixture, job, X);
        g_assert_error(change->error, GL_ERROR, GL_ERROR_CONFLICT);
        gl_job_free(change);
        fixture->ops->vacate(fixture, 0);
        g_assert_true(is_free_in_both(fixture, 0, DISK, R));

        obstruction = prevent_record(fixture, 0);
        change = gl_fixture_change(fixture, job, X);
        g_assert_error(change->error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE);
        gl_job_free(change);
        g_assert_no_errno(rmdir(obstruction));
        g_assert_true(is_free_in_both(fixture, 0, DISK, R));

        change = gl_fixture_change(fixture, job, X);
        g_assert_no_error(change->error);
        gl_job_free(change);
        gl_fixture_give_back(fixture, job);
        assert_nothing_is_held(fixture, 0);
        tear_down(fixture);
}

/* --- how far it reaches --- */

static void test_scope(void) {
        GlDriverFixture *fixture = set_up_lockspace();
        const GlFileOptions options = {.host_number = HOST};
        const GlFacts shared = {.kind = GL_STORAGE_SHARED}, local = {.kind = GL_STORAGE_LOCAL};
        GlJob *job = new_job(fixture, 0, 1, X, 1000);
        GlTarget *target = &job->targets[0];
        GlFileVerdict verdict = {0};

        target->require_scope = GL_SCOPE_SHARED;
        g_assert_false(gl_file_lease_take(target, &options, NULL, FALSE, &verdict));
        g_assert_error(verdict.error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE);
        gl_file_verdict_clear(&verdict);
        g_assert_false(gl_file_lease_take(target, &options, &local, FALSE, &verdict));
        gl_file_verdict_clear(&verdict);
        g_assert_true(gl_file_lease_take(target, &options, &shared, FALSE, &verdict));
        g_assert_cmpint(target->scope, ==, GL_SCOPE_SHARED);
        g_assert_nonnull(strstr(target->scope_reason, "lockspace directory"));
        gl_file_lease_give_back(target);
        gl_job_free(job);

        job = have(fixture, 0, 1, X, 1000);
        g_assert_cmpint(job->targets[0].scope, ==, GL_SCOPE_HOST);
        gl_fixture_give_back(fixture, job);
        tear_down(fixture);
}

static void test_nothing_is_leased_without_driver(void) {
        GlDriverFixture *fixture = set_up_lockspace();
        GlJob *job = have(fixture, 0, 3, X, 1000);
        const GlFileOptions options = {.host_number = HOST};

        gl_driver_free(fixture->driver);
        for (guint i = 0; i < 3; i++)
                assert_nothing_is_held(fixture, i);
        gl_job_free(job);
        fixture->driver = gl_file_driver_new(((Fixture *) fixture)->workers, &options);
        tear_down(fixture);
}

static GlDriverFixtureOps conformance_ops(void) {
        GlDriverFixtureOps ops = file_fixture_ops;

        ops.set_up = set_up_lockspace;
        ops.is_free = is_free_in_both;
        return ops;
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        if (skip_without_root_and_openat2())
                return 0;

        lockspace_ops = conformance_ops();
        gl_driver_conformance_add("/driver-lockspace/conformance", &lockspace_ops);
        g_test_add_func("/driver-lockspace/lock-file-and-record", test_lock_file_and_record);
        g_test_add_func("/driver-lockspace/both-names", test_both_names);
        g_test_add_func("/driver-lockspace/modes", test_modes);
        g_test_add_func("/driver-lockspace/leases-have-none", test_leases_have_none);
        g_test_add_func("/driver-lockspace/generations-grow", test_generations_grow);
        g_test_add_func("/driver-lockspace/readers-are-not-recorded", test_readers_are_not_recorded);
        g_test_add_func("/driver-lockspace/adopting", test_adopting);
        g_test_add_func("/driver-lockspace/virtlockd", test_virtlockd);
        g_test_add_func("/driver-lockspace/other-host-is-named", test_other_host_is_named);
        g_test_add_func("/driver-lockspace/everybody-is-named", test_everybody_is_named);
        g_test_add_func("/driver-lockspace/file-is-removed-meanwhile", test_file_is_removed_meanwhile);
        g_test_add_func("/driver-lockspace/image-is-held", test_image_is_held);
        g_test_add_func("/driver-lockspace/damaged-record", test_damaged_record);
        g_test_add_func("/driver-lockspace/record-cannot-be-written", test_record_cannot_be_written);
        g_test_add_func("/driver-lockspace/directory", test_directory);
        g_test_add_func("/driver-lockspace/lock-file-is-none", test_lock_file_is_none);
        g_test_add_func("/driver-lockspace/raise-and-lower", test_raise_and_lower);
        g_test_add_func("/driver-lockspace/raise-is-refused", test_raise_is_refused);
        g_test_add_func("/driver-lockspace/scope", test_scope);
        g_test_add_func("/driver-lockspace/nothing-is-leased-without-driver", test_nothing_is_leased_without_driver);
        return g_test_run();
}
