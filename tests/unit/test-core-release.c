/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core-fixture.h"

/*
 * Giving back: released, and when a guest has ended and its writes with it. Each case says exactly what the world
 * hears of it, in order.
 */

/* --- released --- */

static void test_two_releases(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 0);
        core_disk(f, "/x")->hangs = TRUE;
        core_release(f, "a");
        core_shutdown(f, "a", FALSE);
        core_answer(f);
        core_expect(f, "give-back a /x", "released a released /x", "changed a state,resources",
                    "reply 2 ok <state>", "reply 3 ok <state>");
}

/* What comes while it is being released is done after that. */
static void test_calls_during_a_release(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 0);
        core_disk(f, "/x")->hangs = TRUE;
        core_release(f, "a");
        core_plug(f, "a", "/y:X", 0);
        core_acquire(f, "a");
        core_expect(f, "give-back a /x", "changed a resources");
        core_disk(f, "/x")->hangs = FALSE;
        core_answer(f);
        core_expect(f, "released a released /x", "changed a state,resources", "reply 2 ok <state>", "reply 3 ok g1",
                    "take a /x:X,/y:X", "acquired a g2 /x:X,/y:X", "changed a state,generation,acquired-at,resources",
                    "reply 4 ok g2");
}

static void test_storage_hangs_on_release(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 0);
        core_disk(f, "/x")->hangs = TRUE;
        core_release(f, "a");
        core_advance(f, 10000);
        core_expect(f, "give-back a /x", "hangs a /x", "reply 2 StorageUnavailable");
        core_answer(f); /* there is no way back from it */
        core_expect(f, "released a released /x", "changed a state,resources");
        core_release(f, "a");
        core_expect(f, "reply 3 ok <state>");
}

/* --- a guest's end --- */

static void test_exit_and_drain(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X /slow:X", 7);
        core_have_registered(f, "b", "/slow:X");
        core_disk(f, "/slow")->undrained = TRUE;
        core_exit(f, 7);
        core_expect(f, "drain a /x,/slow", "changed a pid,resources", "give-back a /x", "released a guest-exited /x",
                    "drain a /slow", "changed a resources");
        core_assert_state(f, "a", "held /x:X registered /slow:X draining");
        core_advance(f, 9);
        core_expect_nothing(f);
        core_advance(f, 1);
        core_expect(f, "drain a /slow");
        core_acquire(f, "b", .wait_ms = 1000);
        core_expect(f, "waits 2", "changed b waiting");
        core_advance(f, 20);
        core_expect(f, "drain a /slow", "drain a /slow");
        core_disk(f, "/slow")->undrained = FALSE;
        core_advance(f, 10);
        core_expect(f, "drain a /slow", "give-back a /slow", "released a guest-exited /slow", "take b /slow:X",
                    "changed a state,resources", "acquired b g2 /slow:X",
                    "changed b state,waiting,generation,acquired-at,resources", "reply 2 ok g2");
        core_assert_state(f, "a", "released /x:X registered /slow:X registered");
        g_assert_cmpint(gl_core_next_tick(f->core), ==, G_MAXINT64);
}

/* An operator hears once of a drain that goes on for long. */
static void test_slow_drain_is_told(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/slow:X", 7);
        core_disk(f, "/slow")->undrained = TRUE;
        core_exit(f, 7);
        core_advance(f, 9990);
        core_forget_lines(f);
        core_advance(f, 10);
        core_expect(f, "drain a /slow", "slow a /slow");
        core_advance(f, 10);
        core_expect(f, "drain a /slow");
}

/* The state of a guest that has ended says what its images were like in the end, not when they were taken. */
static void test_state_of_an_ended_guest(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();
        g_autofree char *state = NULL;

        core_have(f, "a", "/x:X /y:X", 7);
        core_disk(f, "/x")->mtime = 2;
        core_exit(f, 7);
        state = g_strdup(core_guest(f, "a")->state_string);
        core_forget_lines(f);
        core_acquire(f, "a", .state = state);
        core_expect(f, "take a /x:X,/y:X", "acquired a g2 /x:X,/y:X",
                    "changed a state,generation,acquired-at,resources", "reply 2 ok g2");
}

/* A guest that is just ending is given a second, also by who has no patience. */
static void test_draining_is_brief(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_have_registered(f, "b", "/x:X");
        core_disk(f, "/x")->undrained = TRUE;
        core_exit(f, 7);
        core_acquire(f, "b");
        core_advance(f, 999);
        g_assert_cmpuint(f->n_replies, ==, 1);
        core_advance(f, 1);
        g_assert_cmpint(f->code, ==, GL_ERROR_CONFLICT);
        g_assert_nonnull(strstr(f->message, "its process has ended, but its I/O may not be over"));
        core_acquire(f, "b");
        core_advance(f, 500);
        core_disk(f, "/x")->undrained = FALSE;
        core_advance(f, 10);
        core_assert_state(f, "b", "held /x:X held");
}

/* The leases last as long as any process of the guest does; one without its supervisor is killed. */
static void test_exit_of_guest_and_supervisor(void) {
        for (guint first = 7; first <= 8; first++) {
                g_autoptr(CoreFixture) f = core_fixture_new();

                core_have(f, "a", "/x:X", 7);
                core_acquire(f, "a", .pid = 8, .supervisor = TRUE);
                core_forget_lines(f);
                core_exit(f, first);
                if (first == 7)
                        core_expect(f, "changed a pid");
                else
                        core_expect(f, "signal 7 9", "changed a supervisor-pid");
                core_assert_state(f, "a", "held /x:X held");
                core_exit(f, first);
                core_expect_nothing(f);
                core_exit(f, 7 + 8 - first);
                core_expect(f, "drain a /x",
                            first == 7 ? "changed a supervisor-pid,resources" : "changed a pid,resources",
                            "give-back a /x", "released a guest-exited /x", "changed a state,resources");
        }
}

static void test_orphan(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have_registered(f, "a", "/x:X");
        core_acquire(f, "a", .pid = 8, .supervisor = TRUE);
        core_set_child_keeping_orphan(f, "a", 7);
        core_forget_lines(f);
        core_exit(f, 8);
        core_expect(f, "changed a supervisor-pid");
        core_assert_state(f, "a", "held /x:X held");
        core_exit(f, 7);
        core_assert_state(f, "a", "released /x:X registered");

        /* What was said last holds; a change of it alone is saved, and no event. */
        core_acquire(f, "a", .pid = 18, .supervisor = TRUE);
        core_set_child_keeping_orphan(f, "a", 17);
        f->save_fails = TRUE;
        g_assert_cmpint(core_set_child(f, "a", 17), !=, -1);
        f->save_fails = FALSE;
        g_assert_true(core_guest(f, "a")->orphan_kept);
        core_forget_lines(f);
        g_assert_cmpint(core_set_child(f, "a", 17), ==, -1);
        core_expect_nothing(f);
        core_exit(f, 18);
        core_expect(f, "signal 17 9", "changed a supervisor-pid");
}

/* What the guest has left behind is named next. */
static void test_next_child(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have_registered(f, "a", "/x:X");
        core_acquire(f, "a", .pid = 8, .supervisor = TRUE);
        core_set_child(f, "a", 7);
        g_assert_cmpint(core_set_child(f, "a", 9), ==, GL_ERROR_ALREADY_EXISTS);
        core_exit(f, 7);
        core_forget_lines(f);
        g_assert_cmpint(core_set_child(f, "a", 9), ==, -1);
        core_expect(f, "watch 9", "changed a pid");
        core_exit(f, 8);
        core_expect(f, "signal 9 9", "changed a supervisor-pid");
        core_assert_state(f, "a", "held /x:X held");
}

static void have_left_over(CoreFixture *f) {
        core_have_registered(f, "a", "/x:X");
        core_acquire(f, "a", .pid = 8, .supervisor = TRUE);
        core_set_child(f, "a", 7);
        core_exit(f, 7);
        core_forget_lines(f);
}

static void test_shutdown_of_a_supervisor(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        have_left_over(f);
        core_shutdown(f, "a", FALSE);
        core_expect(f, "signal 8 15");
        core_advance(f, 4999);
        core_expect_nothing(f);
        core_advance(f, 1);
        core_expect(f, "signal 8 9");
        core_exit(f, 8);
        core_expect(f, "drain a /x", "changed a supervisor-pid,resources", "give-back a /x", "released a shutdown /x",
                    "changed a state,resources", "reply 2 ok <state>");
}

static void test_shutdown_leaves_a_supervisor(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        have_left_over(f);
        core_shutdown_leaving_supervisor(f, "a", FALSE);
        core_expect(f, "drain a /x", "changed a supervisor-pid,resources", "give-back a /x", "released a shutdown /x",
                    "changed a state,resources", "reply 2 ok <state>");
        g_assert_null(gl_core_find_guest_by_pid(f->core, 8, NULL));
        core_exit(f, 8);
        core_expect_nothing(f);

        /* With its child. */
        core_acquire(f, "a", .pid = 18, .supervisor = TRUE);
        core_set_child(f, "a", 17);
        core_forget_lines(f);
        core_shutdown_leaving_supervisor(f, "a", FALSE);
        core_expect(f, "reply 4 GuestRunning");
        core_shutdown_leaving_supervisor(f, "a", TRUE);
        core_expect(f, "signal 17 9", "changed a supervisor-pid");
        core_exit(f, 17);
        core_expect(f, "drain a /x", "changed a pid,resources", "give-back a /x", "released a shutdown /x",
                    "changed a state,resources", "reply 5 ok <state>");
}

/* What is lost is blocked for others until nobody can write. */
static void test_shutdown_leaves_no_supervisor_with_a_loss(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        have_left_over(f);
        core_revoke(f, "a", "/x", FALSE);
        core_forget_lines(f);
        core_shutdown_leaving_supervisor(f, "a", FALSE);
        core_expect(f, "reply 2 GuestRunning");
        core_release(f, "a");
        core_forget_lines(f);
        core_shutdown_leaving_supervisor(f, "a", TRUE);
        core_expect(f, "reply 4 GuestRunning");
        core_unplug(f, "a", "/x");
        core_forget_lines(f);
        core_shutdown_leaving_supervisor(f, "a", FALSE);
        core_expect(f, "reply 6 GuestRunning");
}

static void test_one_process_in_both_roles_and_guests(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_acquire(f, "a", .pid = 7, .supervisor = TRUE);
        core_have(f, "b", "/y:X", 7);
        g_assert_null(gl_core_find_guest_by_pid(f->core, 7, NULL));
        core_exit(f, 7);
        core_assert_state(f, "a", "released /x:X registered");
        core_assert_state(f, "b", "released /y:X registered");
        g_assert_cmpuint(g_hash_table_size(f->core->pids), ==, 0);
}

static void test_exit_during_other_calls(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        f->hangs = TRUE;
        core_release(f, "a");
        core_exit(f, 7);
        core_expect(f, "give-back a /x", "changed a pid,resources");
        core_answer(f); /* whoever released it has vouched that nobody writes any more */
        core_expect(f, "released a released /x", "changed a state,resources", "reply 2 ok <state>");

        f->hangs = FALSE;
        core_have(f, "b", "/x:X", 8);
        f->hangs = TRUE;
        core_unplug(f, "b", "/x");
        core_exit(f, 8);
        core_expect(f, "give-back b /x", "changed b pid,resources");
        core_answer(f);
        core_expect(f, "released b released /x", "changed b resources", "reply 4 ok", "changed b state");

        f->hangs = FALSE;
        core_have(f, "c", "/x:X", 9);
        f->hangs = TRUE;
        core_plug(f, "c", "/y:X", 0);
        core_exit(f, 9);
        core_expect(f, "take c /y:X", "changed c resources", "changed c pid", "reply 6 Cancelled",
                    "changed c resources");
        f->hangs = FALSE;
        core_answer(f);
        core_expect(f, "give-back c /y", "drain c /x", "changed c resources", "give-back c /x",
                    "released c guest-exited /x", "changed c state,resources");
}

static void test_acquire_of_an_ended_guest(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_disk(f, "/x")->undrained = TRUE;
        core_exit(f, 7);
        core_forget_lines(f);
        core_start(f, "a", "/x:X"); /* as if it were held: but it is about to end */
        core_expect(f, "reply 2 AlreadyExists");
        core_plug(f, "a", "/y:X", 0);
        core_expect(f, "changed a resources", "reply 3 BadState");
        g_assert_cmpint(core_set_child(f, "a", 8), ==, GL_ERROR_BAD_STATE);
        core_acquire(f, "a", .pid = 8);
        core_expect(f, "watch 8");
        core_disk(f, "/x")->undrained = FALSE;
        core_advance(f, 10);
        core_expect(f, "drain a /x", "give-back a /x", "released a guest-exited /x", "take a /x:X",
                    "changed a state,resources", "acquired a g2 /x:X",
                    "changed a state,pid,generation,acquired-at,resources", "reply 4 ok g2");
}

/* What is there instead says that it is held. Nothing is better; and the right thing as soon as that works. */
static void test_release_is_not_saved(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();
        guint n_saved;

        core_have(f, "a", "/x:X /y:X", 7);
        f->save_fails = TRUE;
        core_unplug(f, "a", "/y");
        g_assert_cmpuint(f->n_forgotten, ==, 0);
        core_release(f, "a");
        g_assert_cmpuint(f->n_forgotten, ==, 1);
        g_assert_cmpuint(g_hash_table_size(f->saved), ==, 0);
        core_assert_state(f, "a", "released /x:X registered");
        core_advance(f, 5000);
        f->save_fails = FALSE;
        n_saved = f->n_saved;
        core_advance(f, 1000);
        g_assert_cmpuint(f->n_saved, ==, n_saved + 1);
        g_assert_cmpuint(g_hash_table_size(f->saved), ==, 1);
        g_assert_cmpint(gl_core_next_tick(f->core), ==, G_MAXINT64);
}

int main(int argc, char **argv) {
        static const struct {
                const char *name;
                GTestFunc test;
        } tests[] = {
                {"two-releases", test_two_releases},
                {"release-is-not-saved", test_release_is_not_saved},
                {"calls-during-a-release", test_calls_during_a_release},
                {"storage-hangs-on-release", test_storage_hangs_on_release},
                {"exit-and-drain", test_exit_and_drain},
                {"slow-drain-is-told", test_slow_drain_is_told},
                {"state-of-an-ended-guest", test_state_of_an_ended_guest},
                {"draining-is-brief", test_draining_is_brief},
                {"exit-of-guest-and-supervisor", test_exit_of_guest_and_supervisor},
                {"orphan", test_orphan},
                {"next-child", test_next_child},
                {"shutdown-of-a-supervisor", test_shutdown_of_a_supervisor},
                {"shutdown-leaves-a-supervisor", test_shutdown_leaves_a_supervisor},
                {"shutdown-leaves-no-supervisor-with-a-loss", test_shutdown_leaves_no_supervisor_with_a_loss},
                {"one-process-in-both-roles-and-guests", test_one_process_in_both_roles_and_guests},
                {"exit-during-other-calls", test_exit_during_other_calls},
                {"acquire-of-an-ended-guest", test_acquire_of_an_ended_guest},
        };

        g_test_init(&argc, &argv, NULL);
        for (guint i = 0; i < G_N_ELEMENTS(tests); i++) {
                g_autofree char *path = g_strdup_printf("/core-release/%s", tests[i].name);

                g_test_add_func(path, tests[i].test);
        }
        return g_test_run();
}
