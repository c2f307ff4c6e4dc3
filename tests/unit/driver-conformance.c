/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "driver-conformance.h"

#include <string.h>

#include "core/capabilities.h"
#include "core/error.h"
#include "core/obstacle.h"

#define DISK GL_RESOURCE_DISK
#define LEASE GL_RESOURCE_LEASE
#define R GL_MODE_READONLY
#define W GL_MODE_SHARED
#define X GL_MODE_EXCLUSIVE

/* --- verbs --- */

GlJob *gl_fixture_new_job(GlDriverFixture *fixture, GlJobKind kind, guint first, guint n, GlResourceType type,
                          GlMode mode) {
        GlJob *job = gl_job_new(kind, fixture->driver->ops->name, n);

        job->guest_uuid = g_strdup("4dea22b3-1d52-d8f3-2516-782e98ab3fa0");
        job->guest_name = g_strdup("web1");
        job->generation = 1;
        for (guint i = 0; i < n; i++) {
                job->targets[i].type = type;
                job->targets[i].mode = mode;
                fixture->ops->set_target(fixture, &job->targets[i], first + i, type);
        }
        return job;
}

GlJob *gl_fixture_follow(GlDriverFixture *fixture, GlJobKind kind, GlJob *job, GlMode mode) {
        GlJob *next = gl_job_new(kind, job->driver, job->n_targets);

        next->guest_uuid = g_strdup(job->guest_uuid);
        next->guest_name = g_strdup(job->guest_name);
        next->generation = job->generation;
        next->holder_pid = job->holder_pid;
        for (guint i = 0; i < job->n_targets; i++) {
                const GlTarget *from = &job->targets[i];

                next->targets[i] = (GlTarget){
                        .type = from->type,
                        .name = g_strdup(from->name),
                        .place = gl_place_ref(from->place),
                        .source = gl_handle_ref(from->source),
                        .mode = mode,
                        .held_mode = from->mode,
                        .lease = g_steal_pointer(&job->targets[i].lease),
                };
        }
        return next;
}

static void count_done(GlJob *job, gpointer user_data) {
        GlDriverFixture *fixture = user_data;

        fixture->n_done++;
}

void gl_fixture_start(GlDriverFixture *fixture, GlJob *job) {
        fixture->n_started++;
        fixture->driver->ops->start(fixture->driver, job, count_done, fixture);
}

void gl_fixture_wait(GlDriverFixture *fixture) {
        gint64 deadline = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;

        while (fixture->n_done < fixture->n_started) {
                g_assert_cmpint(g_get_monotonic_time(), <, deadline);
                fixture->ops->iterate(fixture);
        }
        g_assert_cmpuint(fixture->n_done, ==, fixture->n_started);
}

GlJob *gl_fixture_run(GlDriverFixture *fixture, GlJob *job) {
        gl_fixture_start(fixture, job);
        gl_fixture_wait(fixture);
        return job;
}

GlJob *gl_fixture_take(GlDriverFixture *fixture, guint first, guint n, GlResourceType type, GlMode mode) {
        return gl_fixture_run(fixture, gl_fixture_new_job(fixture, GL_JOB_TAKE, first, n, type, mode));
}

GlJob *gl_fixture_have(GlDriverFixture *fixture, guint first, guint n, GlResourceType type, GlMode mode) {
        GlJob *job = gl_fixture_take(fixture, first, n, type, mode);

        g_assert_no_error(job->error);
        for (guint i = 0; i < n; i++)
                g_assert_nonnull(job->targets[i].lease);
        return job;
}

GlJob *gl_fixture_change(GlDriverFixture *fixture, GlJob *job, GlMode mode) {
        GlJob *change = gl_fixture_run(fixture, gl_fixture_follow(fixture, GL_JOB_CHANGE_MODE, job, mode));

        job->targets[0].lease = g_steal_pointer(&change->targets[0].lease);
        g_assert_nonnull(job->targets[0].lease);
        if (!change->error)
                job->targets[0].mode = mode;
        return change;
}

void gl_fixture_give_back(GlDriverFixture *fixture, GlJob *job) {
        g_autoptr(GlJob) back = gl_fixture_run(fixture, gl_fixture_follow(fixture, GL_JOB_GIVE_BACK, job, R));

        g_assert_no_error(back->error);
        for (guint i = 0; i < back->n_targets; i++) {
                g_assert_null(back->targets[i].lease);
                g_assert_cmpuint(back->targets[i].size, >, 0);
        }
        gl_job_free(job);
}

void gl_assert_refused(GlJob *job, int code) {
        g_assert_error(job->error, GL_ERROR, code);
        g_assert_true(g_str_has_suffix(job->error->message, "."));
        if (code == GL_ERROR_CONFLICT)
                g_assert_true(job->obstacles && job->obstacles->len > 0);
        else
                g_assert_null(job->obstacles);
        for (guint i = 0; i < job->n_targets; i++)
                g_assert_null(job->targets[i].lease);
        gl_job_free(job);
}

void gl_assert_names_pid(const GlJob *job, guint32 pid) {
        g_assert_nonnull(job->obstacles);
        for (guint i = 0; i < job->obstacles->len; i++) {
                const GlObstacle *obstacle = g_ptr_array_index(job->obstacles, i);

                if (obstacle->pid == pid) {
                        g_assert_nonnull(obstacle->command);
                        return;
                }
        }
        g_error("pid %u is not among those that are in the way: %s", pid, job->error->message);
}

static gboolean goes_with(GlMode a, GlMode b) {
        return a == b && a != X;
}

void gl_fixture_assert_held(GlDriverFixture *fixture, guint nth, GlResourceType type, GlMode mode) {
        for (GlMode other = R; other <= X; other++)
                g_assert_cmpint(fixture->ops->is_free(fixture, nth, type, other), ==, goes_with(mode, other));
}

static void assert_free(GlDriverFixture *fixture, guint first, guint n) {
        for (guint i = first; i < first + n; i++)
                g_assert_true(fixture->ops->is_free(fixture, i, DISK, X));
}

/* --- cases --- */

static void test_take_and_give_back(GlDriverFixture *fixture) {
        for (guint round = 0; round < 2; round++) {
                GlJob *job = gl_fixture_have(fixture, 0, 1, DISK, X);

                g_assert_cmpint(job->targets[0].kept_by, !=, GL_KEPT_BY_HOLDER);
                g_assert_cmpint(job->targets[0].scope, ==, GL_SCOPE_HOST);
                g_assert_nonnull(job->targets[0].scope_reason);
                g_assert_cmpuint(job->targets[0].size, >, 0);
                g_assert_cmpuint(job->targets[0].mtime, >, 0);
                gl_fixture_assert_held(fixture, 0, DISK, X);
                gl_fixture_give_back(fixture, job);
                assert_free(fixture, 0, 1);
        }
}

static void test_nothing_to_do(GlDriverFixture *fixture) {
        gl_fixture_give_back(fixture, gl_fixture_have(fixture, 0, 0, DISK, X));
}

static void test_all_or_nothing(GlDriverFixture *fixture) {
        fixture->ops->occupy(fixture, 3, DISK, X);
        gl_assert_refused(gl_fixture_take(fixture, 0, 6, DISK, X), GL_ERROR_CONFLICT);
        assert_free(fixture, 0, 3);
        assert_free(fixture, 4, 2);

        fixture->ops->vacate(fixture, 3);
        gl_fixture_give_back(fixture, gl_fixture_have(fixture, 0, 6, DISK, X));
        assert_free(fixture, 0, 6);
}

static void test_conflict_names_everybody(GlDriverFixture *fixture) {
        guint32 pids[2] = {fixture->ops->occupy(fixture, 1, DISK, X), fixture->ops->occupy(fixture, 3, DISK, R)};
        GlJob *job = gl_fixture_take(fixture, 0, 5, DISK, X);

        for (guint i = 0; i < 2; i++) {
                g_autofree char *quoted = gl_quote(job->targets[1 + 2 * i].name);

                gl_assert_names_pid(job, pids[i]);
                g_assert_nonnull(strstr(job->error->message, quoted));
        }
        g_assert_cmpuint(job->obstacles->len, ==, 2);
        g_assert_false(job->brief);
        gl_assert_refused(job, GL_ERROR_CONFLICT);
}

static gboolean has_pid(GPtrArray *obstacles, guint32 pid) {
        for (guint i = 0; i < obstacles->len; i++)
                if (((const GlObstacle *) g_ptr_array_index(obstacles, i))->pid == pid)
                        return TRUE;
        return FALSE;
}

/* All that TAKE would run into, and nothing of it taken. */
static void test_look(GlDriverFixture *fixture) {
        guint32 pids[2] = {fixture->ops->occupy(fixture, 1, DISK, X), fixture->ops->occupy(fixture, 3, DISK, R)};

        for (GlMode mode = R; mode <= X; mode += X) {
                GlJob *job = gl_fixture_run(fixture, gl_fixture_new_job(fixture, GL_JOB_LOOK, 0, 5, DISK, mode));

                g_assert_no_error(job->error);
                for (guint i = 0; i < job->n_targets; i++) {
                        gboolean occupied = i == 1 || (i == 3 && mode != R);

                        g_assert_null(job->targets[i].lease);
                        g_assert_cmpuint(job->targets[i].size, >, 0);
                        g_assert_cmpuint(job->targets[i].mtime, >, 0);
                        g_assert_cmpuint(job->targets[i].obstacles->len, ==, occupied ? 1 : 0);
                        if (occupied)
                                g_assert_true(has_pid(job->targets[i].obstacles, pids[i / 2]));
                }
                gl_job_free(job);
                assert_free(fixture, 0, 1);
                assert_free(fixture, 2, 1);
                assert_free(fixture, 4, 1);
        }
        fixture->ops->replace(fixture, 0);
        gl_assert_refused(gl_fixture_run(fixture, gl_fixture_new_job(fixture, GL_JOB_LOOK, 0, 5, DISK, X)),
                          GL_ERROR_STALE);
}

/* The service's own locks are known as such, or are not told of. */
static void test_look_at_own(GlDriverFixture *fixture) {
        GlJob *held = gl_fixture_have(fixture, 0, 1, DISK, X);
        GlJob *job = gl_fixture_run(fixture, gl_fixture_new_job(fixture, GL_JOB_LOOK, 0, 1, DISK, X));

        g_assert_no_error(job->error);
        for (guint i = 0; i < job->targets[0].obstacles->len; i++)
                g_assert_true(((const GlObstacle *) job->targets[0].obstacles->pdata[i])->own);
        gl_job_free(job);
        gl_fixture_assert_held(fixture, 0, DISK, X);
        gl_fixture_give_back(fixture, held);
}

static void check_modes(GlDriverFixture *fixture, GlResourceType type) {
        for (GlMode theirs = R; theirs <= X; theirs++) {
                fixture->ops->occupy(fixture, 0, type, theirs);
                for (GlMode ours = R; ours <= X; ours++) {
                        GlJob *job;

                        /* Whether a lease tells readers from writers that know of each other is the driver's affair. */
                        if (type == LEASE && theirs != ours && theirs != X && ours != X)
                                continue;
                        job = gl_fixture_take(fixture, 0, 1, type, ours);
                        if (goes_with(theirs, ours)) {
                                g_assert_no_error(job->error);
                                gl_fixture_give_back(fixture, job);
                        } else {
                                gl_assert_refused(job, GL_ERROR_CONFLICT);
                        }
                }
                fixture->ops->vacate(fixture, 0);
        }
}

static void test_modes_against_strangers(GlDriverFixture *fixture) {
        check_modes(fixture, DISK);
}

static void test_leases(GlDriverFixture *fixture) {
        GlJob *job;

        check_modes(fixture, LEASE);
        job = gl_fixture_have(fixture, 0, 5, LEASE, X);
        for (guint i = 0; i < 5; i++)
                g_assert_false(fixture->ops->is_free(fixture, i, LEASE, R));
        g_assert_true(fixture->ops->is_free(fixture, 5, LEASE, X));
        gl_fixture_give_back(fixture, job);
}

static void test_two_guests_of_ours(GlDriverFixture *fixture) {
        for (GlMode mode = R; mode <= W; mode++) {
                GlJob *one = gl_fixture_have(fixture, 0, 1, DISK, mode);
                GlJob *two = gl_fixture_have(fixture, 0, 1, DISK, mode);

                gl_fixture_give_back(fixture, one);
                gl_fixture_assert_held(fixture, 0, DISK, mode);
                gl_fixture_give_back(fixture, two);
                assert_free(fixture, 0, 1);
        }
}

static void test_two_at_once(GlDriverFixture *fixture) {
        GlJob *jobs[2];
        guint n = 0;

        for (guint i = 0; i < 2; i++)
                gl_fixture_start(fixture, jobs[i] = gl_fixture_new_job(fixture, GL_JOB_TAKE, 0, 3, DISK, X));
        gl_fixture_wait(fixture);
        for (guint i = 0; i < 2; i++) {
                if (jobs[i]->error) {
                        gl_assert_refused(jobs[i], GL_ERROR_CONFLICT);
                } else {
                        gl_fixture_give_back(fixture, jobs[i]);
                        n++;
                }
        }
        g_assert_cmpuint(n, <=, 1);
        assert_free(fixture, 0, 3);
}

/* Every way over three modes. */
static void test_change_mode(GlDriverFixture *fixture) {
        for (guint way = 0; way < 27; way++) {
                GlMode modes[] = {way % 3, way / 3 % 3, way / 9};
                GlJob *job = gl_fixture_have(fixture, 0, 1, DISK, modes[0]);

                for (guint i = 1; i < 3; i++) {
                        g_autoptr(GlJob) change = gl_fixture_change(fixture, job, modes[i]);

                        g_assert_no_error(change->error);
                        gl_fixture_assert_held(fixture, 0, DISK, modes[i]);
                }
                gl_fixture_give_back(fixture, job);
                assert_free(fixture, 0, 1);
        }
}

static void check_change_refused(GlDriverFixture *fixture, GlMode held, GlMode to) {
        GlJob *job = gl_fixture_have(fixture, 0, 1, DISK, held);
        guint32 pid = fixture->ops->occupy(fixture, 0, DISK, held);
        g_autoptr(GlJob) change = gl_fixture_change(fixture, job, to);

        g_assert_error(change->error, GL_ERROR, GL_ERROR_CONFLICT);
        gl_assert_names_pid(change, pid);
        gl_fixture_assert_held(fixture, 0, DISK, held);

        fixture->ops->vacate(fixture, 0);
        gl_fixture_assert_held(fixture, 0, DISK, held);
        gl_job_free(g_steal_pointer(&change));
        change = gl_fixture_change(fixture, job, to);
        g_assert_no_error(change->error);
        gl_fixture_assert_held(fixture, 0, DISK, to);
        gl_fixture_give_back(fixture, job);
}

static void test_change_mode_refused(GlDriverFixture *fixture) {
        check_change_refused(fixture, R, W);
        check_change_refused(fixture, R, X);
        check_change_refused(fixture, W, R);
        check_change_refused(fixture, W, X);
}

static void test_drain(GlDriverFixture *fixture) {
        for (GlMode mode = R; mode <= X; mode++) {
                GlJob *job = gl_fixture_have(fixture, 0, 3, DISK, mode);
                GlJob *drain = gl_fixture_run(fixture, gl_fixture_follow(fixture, GL_JOB_DRAIN, job, mode));

                g_assert_no_error(drain->error);
                for (guint i = 0; i < 3; i++) {
                        g_assert_true(drain->targets[i].drained);
                        g_assert_null(drain->targets[i].drain_reason);
                        g_assert_nonnull(drain->targets[i].lease);
                        gl_fixture_assert_held(fixture, i, DISK, mode);
                }
                gl_fixture_give_back(fixture, drain);
                gl_job_free(job);
        }
}

static void test_inspect(GlDriverFixture *fixture) {
        GlJob *job = gl_fixture_have(fixture, 0, 1, DISK, X);
        guint64 size = job->targets[0].size, mtime = job->targets[0].mtime;
        g_autoptr(GlJob) held = gl_fixture_run(fixture, gl_fixture_follow(fixture, GL_JOB_INSPECT, job, X));
        g_autoptr(GlJob) free = NULL;

        g_assert_no_error(held->error);
        g_assert_cmpuint(held->targets[0].size, ==, size);
        g_assert_cmpuint(held->targets[0].mtime, ==, mtime);
        gl_fixture_assert_held(fixture, 0, DISK, X);
        gl_fixture_give_back(fixture, g_steal_pointer(&held));
        gl_job_free(job);

        free = gl_fixture_run(fixture, gl_fixture_new_job(fixture, GL_JOB_INSPECT, 0, 1, DISK, R));
        g_assert_no_error(free->error);
        g_assert_cmpuint(free->targets[0].size, ==, size);
        g_assert_null(free->targets[0].lease);
        assert_free(fixture, 0, 1);
}

static void test_check(GlDriverFixture *fixture) {
        for (GlMode mode = R; mode <= X; mode++) {
                GlJob *job = gl_fixture_have(fixture, 0, 3, DISK, mode);
                GlJob *check = gl_fixture_run(fixture, gl_fixture_follow(fixture, GL_JOB_CHECK, job, mode));

                g_assert_no_error(check->error);
                for (guint i = 0; i < 3; i++) {
                        g_assert_cmpint(check->targets[i].found, ==, GL_FOUND_HELD);
                        g_assert_cmpint(check->targets[i].whereabouts, ==, GL_WHEREABOUTS_HERE);
                        g_assert_cmpuint(check->targets[i].size, >, 0);
                        g_assert_nonnull(check->targets[i].lease);
                        gl_fixture_assert_held(fixture, i, DISK, mode);
                }
                gl_fixture_give_back(fixture, check);
                gl_job_free(job);
        }
}

/* What is checked may be given back before the answer comes. */
static void test_check_and_give_back(GlDriverFixture *fixture) {
        GlJob *job = gl_fixture_have(fixture, 0, 3, DISK, X);
        g_autoptr(GlJob) check = gl_fixture_follow(fixture, GL_JOB_CHECK, job, X);

        for (guint i = 0; i < 3; i++)
                job->targets[i].lease = check->targets[i].lease;
        gl_fixture_start(fixture, check);
        gl_fixture_give_back(fixture, job);
        gl_fixture_wait(fixture);
        for (guint i = 0; i < 3; i++)
                g_assert_cmpint(check->targets[i].found, ==, GL_FOUND_HELD);
        assert_free(fixture, 0, 3);
}

static void test_stale(GlDriverFixture *fixture) {
        GlJob *job = gl_fixture_new_job(fixture, GL_JOB_TAKE, 0, 4, DISK, X);

        fixture->ops->replace(fixture, 2);
        gl_assert_refused(gl_fixture_run(fixture, job), GL_ERROR_STALE);
        assert_free(fixture, 0, 2);
        assert_free(fixture, 3, 1);
}

/* What is no conflict matters more: waiting would not help. */
static void test_stale_beats_conflict(GlDriverFixture *fixture) {
        GlJob *job = gl_fixture_new_job(fixture, GL_JOB_TAKE, 0, 4, DISK, X);

        fixture->ops->occupy(fixture, 0, DISK, X);
        fixture->ops->replace(fixture, 2);
        gl_assert_refused(gl_fixture_run(fixture, job), GL_ERROR_STALE);
}

static void test_scope(GlDriverFixture *fixture) {
        GlJob *job = gl_fixture_new_job(fixture, GL_JOB_TAKE, 0, 3, DISK, X);

        job->targets[1].require_scope = GL_SCOPE_FENCED;
        gl_fixture_run(fixture, job);
        g_assert_nonnull(strstr(job->error->message, "host"));
        gl_assert_refused(job, GL_ERROR_STORAGE_UNAVAILABLE);
        assert_free(fixture, 0, 3);

        job = gl_fixture_new_job(fixture, GL_JOB_TAKE, 0, 1, DISK, X);
        job->targets[0].require_scope = GL_SCOPE_HOST;
        g_assert_no_error(gl_fixture_run(fixture, job)->error);
        gl_fixture_give_back(fixture, job);
}

static void test_many_targets(GlDriverFixture *fixture) {
        GlJob *job = gl_fixture_have(fixture, 0, GL_CONFORMANCE_PLACES, DISK, X);

        for (guint i = 0; i < GL_CONFORMANCE_PLACES; i++)
                g_assert_false(fixture->ops->is_free(fixture, i, DISK, R));
        gl_fixture_give_back(fixture, job);
        assert_free(fixture, 0, GL_CONFORMANCE_PLACES);
}

static void test_adopting(GlDriverFixture *fixture) {
        GlJob *job = gl_fixture_new_job(fixture, GL_JOB_TAKE, 0, 3, DISK, X);

        job->adopting = TRUE;
        g_assert_no_error(gl_fixture_run(fixture, job)->error);
        for (guint i = 0; i < 3; i++)
                gl_fixture_assert_held(fixture, i, DISK, X);
        gl_fixture_give_back(fixture, job);

        fixture->ops->occupy(fixture, 1, DISK, X);
        job = gl_fixture_new_job(fixture, GL_JOB_TAKE, 0, 3, DISK, X);
        job->adopting = TRUE;
        gl_assert_refused(gl_fixture_run(fixture, job), GL_ERROR_CONFLICT);
        assert_free(fixture, 0, 1);
}

/* --- what it cannot do --- */

static gboolean can(GlDriverFixture *fixture, const char *capability) {
        return gl_capabilities_include(fixture->driver->ops->capabilities, capability);
}

static void test_capabilities(GlDriverFixture *fixture) {
        g_assert_null(gl_capabilities_find_fault(fixture->driver->ops->capabilities));
}

/* Never done in appearance only. */
static void test_refuses_what_it_cannot(GlDriverFixture *fixture) {
        static const GlJobKind kinds[] = {GL_JOB_TAKE, GL_JOB_CHANGE_MODE, GL_JOB_INSPECT};
        const char *const modes[] = {GL_CAPABILITY_READONLY, GL_CAPABILITY_SHARED, NULL};

        for (GlResourceType type = DISK; type <= LEASE; type++) {
                gboolean takes = can(fixture, type == DISK ? GL_CAPABILITY_DISK : GL_CAPABILITY_LEASE);

                for (guint i = 0; !takes && i < G_N_ELEMENTS(kinds); i++)
                        gl_assert_refused(
                                gl_fixture_run(fixture, gl_fixture_new_job(fixture, kinds[i], 0, 1, type, X)),
                                GL_ERROR_NOT_SUPPORTED);
                for (GlMode mode = R; mode <= X; mode++)
                        if (!takes || (modes[mode] && !can(fixture, modes[mode])))
                                gl_assert_refused(gl_fixture_take(fixture, 0, 3, type, mode), GL_ERROR_NOT_SUPPORTED);
        }
}

/* --- the suite --- */

#define DISKS        {GL_CAPABILITY_DISK}
#define ALL_MODES    {GL_CAPABILITY_DISK, GL_CAPABILITY_SHARED, GL_CAPABILITY_READONLY}
#define MODE_CHANGES {GL_CAPABILITY_DISK, GL_CAPABILITY_SHARED, GL_CAPABILITY_READONLY, GL_CAPABILITY_HOTPLUG}
#define LEASES       {GL_CAPABILITY_LEASE, GL_CAPABILITY_SHARED, GL_CAPABILITY_READONLY}

typedef struct {
        const char *name;
        void (*run)(GlDriverFixture *fixture);
        const char *needs[5];
        const GlDriverFixtureOps *ops;
} Case;

static const Case cases[] = {
        {"capabilities", test_capabilities, {}},
        {"nothing-to-do", test_nothing_to_do, {}},
        {"refuses-what-it-cannot", test_refuses_what_it_cannot, {}},
        {"take-and-give-back", test_take_and_give_back, DISKS},
        {"all-or-nothing", test_all_or_nothing, DISKS},
        {"conflict-names-everybody", test_conflict_names_everybody, DISKS},
        {"look", test_look, ALL_MODES},
        {"look-at-own", test_look_at_own, DISKS},
        {"modes-against-strangers", test_modes_against_strangers, ALL_MODES},
        {"leases", test_leases, LEASES},
        {"two-guests-of-ours", test_two_guests_of_ours, ALL_MODES},
        {"two-at-once", test_two_at_once, DISKS},
        {"change-mode", test_change_mode, MODE_CHANGES},
        {"change-mode-refused", test_change_mode_refused, MODE_CHANGES},
        {"drain", test_drain, ALL_MODES},
        {"inspect", test_inspect, DISKS},
        {"check", test_check, ALL_MODES},
        {"check-and-give-back", test_check_and_give_back, DISKS},
        {"stale", test_stale, DISKS},
        {"stale-beats-conflict", test_stale_beats_conflict, DISKS},
        {"scope", test_scope, DISKS},
        {"many-targets", test_many_targets, DISKS},
        {"adopting", test_adopting, DISKS},
};

static void run_case(gconstpointer data) {
        const Case *test = data;
        GlDriverFixture *fixture = test->ops->set_up();

        test->run(fixture);
        g_assert_cmpuint(fixture->n_done, ==, fixture->n_started);
        test->ops->tear_down(fixture);
}

static gboolean applies(const Case *test, GlDriverFixture *fixture) {
        for (const char *const *capability = test->needs; *capability; capability++)
                if (!can(fixture, *capability))
                        return FALSE;
        return TRUE;
}

void gl_driver_conformance_add(const char *prefix, const GlDriverFixtureOps *ops) {
        GlDriverFixture *fixture = ops->set_up();

        for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *path = g_strdup_printf("%s/%s", prefix, cases[i].name);
                Case *test;

                if (!applies(&cases[i], fixture))
                        continue;
                test = g_memdup2(&cases[i], sizeof cases[i]);
                test->ops = ops;
                g_test_add_data_func_full(path, test, run_case, g_free);
        }
        ops->tear_down(fixture);
}
