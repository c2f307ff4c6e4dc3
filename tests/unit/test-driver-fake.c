/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "driver-conformance.h"

#include "core/error.h"
#include "core/obstacle.h"
#include "drivers/fake.h"

#define STRANGER 4242

typedef struct {
        GlDriverFixture fixture;
        GlPlace *places[2][GL_CONFORMANCE_PLACES];
} Fixture;

static GlPlace *place_of(GlDriverFixture *fixture, guint nth, GlResourceType type) {
        return ((Fixture *) fixture)->places[type][nth];
}

static GlDriverFixture *set_up(void);

static void tear_down(GlDriverFixture *fixture) {
        for (guint type = GL_RESOURCE_DISK; type <= GL_RESOURCE_LEASE; type++)
                for (guint i = 0; i < GL_CONFORMANCE_PLACES; i++)
                        gl_place_unref(place_of(fixture, i, type));
        g_assert_cmpuint(gl_fake_driver_n_leases(fixture->driver), ==, 0);
        gl_driver_free(fixture->driver);
        g_free(fixture);
}

static void set_target(GlDriverFixture *fixture, GlTarget *target, guint nth, GlResourceType type) {
        target->name = g_strdup_printf("%s-%u", gl_resource_type_to_string(type), nth);
        target->place = gl_place_ref(place_of(fixture, nth, type));
}

static gboolean is_free(GlDriverFixture *fixture, guint nth, GlResourceType type, GlMode mode) {
        return gl_fake_driver_is_free(fixture->driver, place_of(fixture, nth, type), mode);
}

static guint32 occupy(GlDriverFixture *fixture, guint nth, GlResourceType type, GlMode mode) {
        gl_fake_driver_occupy(fixture->driver, place_of(fixture, nth, type), mode, STRANGER + nth, "stranger");
        return STRANGER + nth;
}

static void vacate(GlDriverFixture *fixture, guint nth) {
        gl_fake_driver_vacate(fixture->driver, place_of(fixture, nth, GL_RESOURCE_DISK));
        gl_fake_driver_vacate(fixture->driver, place_of(fixture, nth, GL_RESOURCE_LEASE));
}

static void replace(GlDriverFixture *fixture, guint nth) {
        gl_fake_driver_replace(fixture->driver, place_of(fixture, nth, GL_RESOURCE_DISK));
}

/* No job ever takes time. */
G_NORETURN static void iterate(GlDriverFixture *fixture) {
        g_assert_not_reached();
}

static const GlDriverFixtureOps ops = {
        .set_up = set_up,
        .tear_down = tear_down,
        .set_target = set_target,
        .is_free = is_free,
        .occupy = occupy,
        .vacate = vacate,
        .replace = replace,
        .iterate = iterate,
};

static GlDriverFixture *set_up(void) {
        Fixture *fixture = g_new0(Fixture, 1);

        fixture->fixture.ops = &ops;
        fixture->fixture.driver = gl_fake_driver_new();
        for (guint i = 0; i < GL_CONFORMANCE_PLACES; i++) {
                GlNode disk = {.kind = GL_NODE_FILE, .device = 1, .inode = 100 + i};
                GlNode file = {.kind = GL_NODE_FILE, .device = 1, .inode = 1};

                fixture->places[GL_RESOURCE_DISK][i] = gl_place_new(&disk, (GlExtent){0, GL_EXTENT_END}, NULL, 0);
                fixture->places[GL_RESOURCE_LEASE][i] = gl_place_new(&file, (GlExtent){400 + i, 401 + i}, NULL, 0);
        }
        return &fixture->fixture;
}

static GlJob *new_take(GlDriverFixture *fixture) {
        return gl_fixture_new_job(fixture, GL_JOB_TAKE, 0, 2, GL_RESOURCE_DISK, GL_MODE_EXCLUSIVE);
}

static void test_fails_as_told(void) {
        GlDriverFixture *fixture = set_up();
        GPtrArray *obstacles = g_ptr_array_new_with_free_func((GDestroyNotify) gl_obstacle_free);
        GlJob *job;

        g_ptr_array_add(obstacles, gl_obstacle_new());
        gl_fake_driver_fail_next(fixture->driver, g_error_new_literal(GL_ERROR, GL_ERROR_CONFLICT, "No."), obstacles,
                                 TRUE);
        job = gl_fixture_run(fixture, new_take(fixture));
        g_assert_true(job->brief);
        g_assert_true(job->obstacles == obstacles);
        gl_assert_refused(job, GL_ERROR_CONFLICT);

        gl_fixture_give_back(fixture, gl_fixture_run(fixture, new_take(fixture)));
        g_assert_cmpstr(gl_fake_driver_log(fixture->driver), ==,
                        "take disk-0 exclusive, disk-1 exclusive\n"
                        "take disk-0 exclusive, disk-1 exclusive\n"
                        "give-back disk-0 readonly, disk-1 readonly\n");
        gl_fake_driver_clear_log(fixture->driver);
        g_assert_cmpstr(gl_fake_driver_log(fixture->driver), ==, "");
        tear_down(fixture);
}

static void test_holds_jobs_back(void) {
        GlDriverFixture *fixture = set_up();
        GlJob *job = new_take(fixture);

        gl_fake_driver_hold_jobs(fixture->driver, TRUE);
        gl_fixture_start(fixture, job);
        g_assert_cmpuint(fixture->n_done, ==, 0);
        g_assert_cmpuint(gl_fake_driver_n_leases(fixture->driver), ==, 0);
        g_assert_cmpuint(gl_fake_driver_release_jobs(fixture->driver), ==, 1);
        g_assert_cmpuint(fixture->n_done, ==, 1);
        g_assert_cmpuint(gl_fake_driver_n_leases(fixture->driver), ==, 2);

        gl_fake_driver_hold_jobs(fixture->driver, FALSE);
        gl_fixture_give_back(fixture, job);
        tear_down(fixture);
}

static void test_drains_after_some_asks(void) {
        GlDriverFixture *fixture = set_up();
        GlJob *job = gl_fixture_run(fixture, new_take(fixture));

        gl_fake_driver_drain_after(fixture->driver, 3);
        for (guint i = 0; i < 3; i++) {
                GlJob *drain = gl_fixture_follow(fixture, GL_JOB_DRAIN, job, GL_MODE_EXCLUSIVE);

                gl_fixture_run(fixture, drain);
                g_assert_cmpint(drain->targets[0].drained, ==, i == 2);
                g_assert_cmpint(drain->targets[1].drained, ==, i >= 1);
                gl_job_free(job);
                job = drain;
        }
        gl_fixture_give_back(fixture, job);
        tear_down(fixture);
}

static void test_scope_as_told(void) {
        GlDriverFixture *fixture = set_up();
        GlJob *job;

        gl_fake_driver_set_scope(fixture->driver, GL_SCOPE_FENCED);
        job = gl_fixture_run(fixture, new_take(fixture));
        g_assert_cmpint(job->targets[0].scope, ==, GL_SCOPE_FENCED);
        gl_fixture_give_back(fixture, job);
        tear_down(fixture);
}

static GlJob *follow_check(GlDriverFixture *fixture, GlJob *job) {
        GlJob *check = gl_fixture_run(fixture, gl_fixture_follow(fixture, GL_JOB_CHECK, job, GL_MODE_EXCLUSIVE));

        gl_job_free(job);
        return check;
}

static void test_loses_as_told(void) {
        GlDriverFixture *fixture = set_up();
        GlJob *job = gl_fixture_run(fixture, new_take(fixture));
        GlPlace *place = gl_place_ref(job->targets[0].place);

        gl_fake_driver_move_paths(fixture->driver, GL_WHEREABOUTS_ELSEWHERE);
        gl_fake_driver_lose(fixture->driver, place);
        job = follow_check(fixture, job);
        g_assert_cmpint(job->targets[0].found, ==, GL_FOUND_LOST);
        g_assert_cmpint(job->targets[0].loss, ==, GL_LOST_STORAGE_LOST);
        g_assert_cmpint(job->targets[1].found, ==, GL_FOUND_HELD);
        g_assert_cmpint(job->targets[1].whereabouts, ==, GL_WHEREABOUTS_ELSEWHERE);
        gl_fake_driver_occupy(fixture->driver, place, GL_MODE_EXCLUSIVE, STRANGER, "stranger");
        job = follow_check(fixture, job);
        g_assert_cmpint(job->targets[0].loss, ==, GL_LOST_TAKEN);
        g_assert_nonnull(job->targets[0].loss_message);
        gl_place_unref(place);
        gl_fixture_give_back(fixture, job);
        tear_down(fixture);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        gl_driver_conformance_add("/driver-fake/conformance", &ops);
        g_test_add_func("/driver-fake/fails-as-told", test_fails_as_told);
        g_test_add_func("/driver-fake/holds-jobs-back", test_holds_jobs_back);
        g_test_add_func("/driver-fake/drains-after-some-asks", test_drains_after_some_asks);
        g_test_add_func("/driver-fake/scope-as-told", test_scope_as_told);
        g_test_add_func("/driver-fake/loses-as-told", test_loses_as_told);
        return g_test_run();
}
