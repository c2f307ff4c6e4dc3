/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core-fixture.h"

/*
 * After a restart of the service: put back, and taken again. Each case says exactly what the world hears of it, in
 * order.
 */

static void test_restore(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_restart(f);
        core_restore(f, "a", GL_GUEST_HELD, "/x:X /y:R", GL_RESOURCE_HELD, 7);
        core_expect_nothing(f);
        g_assert_cmpint(core_guest(f, "a")->origin, ==, GL_ORIGIN_ADOPTED);
        core_retake(f, "a");
        core_expect(f, "watch 7", "take a /x:X", "take a /y:R", "changed a resources", "changed a resources",
                    "reply 1 ok");
        core_assert_state(f, "a", "held /x:X held /y:R held");
        g_assert_cmpuint(core_resource(f, "a", "/x")->generation, ==, 1000);
        g_assert_cmpuint(gl_core_n_leases(f->core), ==, 2);
        g_assert_true(gl_core_find_guest_by_pid(f->core, 7, NULL) == core_guest(f, "a"));
        core_have_registered(f, "b", "/x:X");
        core_acquire(f, "b");
        core_expect(f, "reply 2 Conflict");
        core_exit(f, 7);
        core_expect(f, "drain a /x,/y", "changed a pid,resources", "give-back a /x,/y", "released a guest-exited /x,/y",
                    "changed a state,resources");
}

/* Nothing is given to others before it is known what has become of it. */
static void test_restore_keeps_others_out_at_once(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_disk(f, "/x")->hangs = TRUE;
        core_restore(f, "a", GL_GUEST_HELD, "/x:X", GL_RESOURCE_HELD, 7);
        core_retake(f, "a");
        core_have_registered(f, "b", "/x:X");
        core_acquire(f, "b");
        core_expect_nothing(f);
        core_answer(f);
        core_expect(f, "changed a resources", "reply 1 ok", "reply 2 Conflict");
}

/* Only a positive answer is a loss. */
static void test_restore_without_storage(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_disk(f, "/x")->error = GL_ERROR_STORAGE_UNAVAILABLE;
        core_restore(f, "a", GL_GUEST_HELD, "/x:X", GL_RESOURCE_HELD, 7);
        core_retake(f, "a");
        core_expect(f, "watch 7", "take a /x:X", "changed a resources", "reply 1 ok");
        core_assert_state(f, "a", "held /x:X held");
        g_assert_nonnull(strstr(core_resource(f, "a", "/x")->scope_reason, "could not be taken again"));
        core_disk(f, "/x")->error = -1;
        core_have_registered(f, "b", "/x:R");
        core_acquire(f, "b");
        core_expect(f, "reply 2 Conflict");
        core_exit(f, 7);
        core_expect(f, "released a guest-exited /x", "changed a state,pid,resources");
        g_assert_cmpuint(gl_table_size(f->core->table), ==, 0);
}

/* What only the table has is given back with the rest, and not pulled away from under that. */
static void test_release_without_storage(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_disk(f, "/x")->error = GL_ERROR_STORAGE_UNAVAILABLE;
        core_restore(f, "a", GL_GUEST_HELD, "/x:X /y:X", GL_RESOURCE_HELD, 7);
        core_retake(f, "a");
        core_forget_lines(f);
        core_disk(f, "/y")->hangs = TRUE;
        core_release(f, "a");
        core_unplug(f, "a", "/x");
        core_answer(f);
        core_expect(f, "give-back a /y", "released a released /x,/y", "changed a state,resources",
                    "reply 2 ok <state>", "changed a resources", "reply 3 ok");
        core_assert_state(f, "a", "released /y:X registered");
        g_assert_cmpuint(gl_table_size(f->core->table), ==, 0);
}

static void test_restore_and_lost(void) {
        static const struct {
                GlLossAction action;
                const char *signal;
        } cases[] = {{GL_LOSS_PAUSE, "signal 7 19"}, {GL_LOSS_KILL, "signal 7 9"}, {GL_LOSS_NOTIFY, NULL}};

        for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(CoreFixture) f = core_fixture_new();

                core_disk(f, "/x")->error = GL_ERROR_CONFLICT;
                core_restore(f, "a", GL_GUEST_HELD, "/x:X /y:X", GL_RESOURCE_HELD, 7);
                core_guest(f, "a")->on_lease_lost = cases[i].action;
                core_retake_at_last(f, "a");
                if (cases[i].signal)
                        core_expect(f, "take a /x:X", "lost a taken /x", cases[i].signal, "changed a state,resources",
                                    "reply 1 ok");
                else
                        core_expect(f, "take a /x:X", "lost a taken /x", "changed a state,resources", "reply 1 ok");
                core_assert_state(f, "a", "lost /x:X lost /y:X held");
                core_exit(f, 7);
                core_assert_state(f, "a", "released /x:X registered /y:X registered");
        }
}

/* Our predecessor was killed, and the kernel has not closed all of its files yet. */
static void test_restore_meets_its_predecessor(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_disk(f, "/x")->error = GL_ERROR_CONFLICT;
        core_restore(f, "a", GL_GUEST_HELD, "/x:X /y:X", GL_RESOURCE_HELD, 7);
        core_retake(f, "a");
        core_expect(f, "watch 7", "take a /x:X", "take a /y:X", "changed a resources");
        core_advance(f, 49);
        core_expect_nothing(f);
        core_disk(f, "/x")->error = -1;
        core_advance(f, 1);
        core_expect(f, "take a /x:X", "changed a resources", "reply 1 ok");
        core_assert_state(f, "a", "held /x:X held /y:X held");
}

/* The same, and that it was met is heard of when the moment that it is given is over: it is looked once more. */
static void test_restore_hears_late_of_its_predecessor(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_disk(f, "/x")->error = GL_ERROR_CONFLICT;
        core_disk(f, "/x")->hangs = TRUE;
        core_restore(f, "a", GL_GUEST_HELD, "/x:X", GL_RESOURCE_HELD, 7);
        core_retake(f, "a");
        core_advance(f, 1500);
        core_forget_lines(f);
        core_answer(f);
        core_expect_nothing(f);
        core_disk(f, "/x")->hangs = FALSE;
        core_disk(f, "/x")->error = -1;
        core_advance(f, 50);
        core_expect(f, "take a /x:X", "changed a resources", "reply 1 ok");
        core_assert_state(f, "a", "held /x:X held");
}

/* The guest ends while the service is still finding out. */
static void test_restore_and_exit(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_disk(f, "/x")->hangs = TRUE;
        core_disk(f, "/x")->error = GL_ERROR_CONFLICT;
        core_restore(f, "a", GL_GUEST_HELD, "/x:X", GL_RESOURCE_HELD, 7);
        core_retake(f, "a");
        core_forget_lines(f);
        core_exit(f, 7);
        core_expect(f, "changed a pid,resources");
        core_answer(f);
        core_expect_nothing(f);
        core_disk(f, "/x")->hangs = FALSE;
        core_advance(f, 999);
        core_forget_lines(f);
        core_advance(f, 1); /* no loss: nobody is there to lose it */
        core_expect(f, "take a /x:X", "reply 1 ok", "released a guest-exited /x", "changed a state,resources");
        g_assert_cmpuint(gl_table_size(f->core->table), ==, 0);
}

/* What was draining when the service ended goes on draining. */
static void test_restore_draining(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_disk(f, "/x")->undrained = TRUE;
        core_restore(f, "a", GL_GUEST_HELD, "/x:X", GL_RESOURCE_DRAINING, 0);
        core_retake(f, "a");
        core_expect(f, "take a /x:X", "changed a resources", "reply 1 ok", "drain a /x");
        core_disk(f, "/x")->undrained = FALSE;
        core_advance(f, 10);
        core_expect(f, "drain a /x", "give-back a /x", "released a guest-exited /x", "changed a state,resources");
}

static void test_restore_lost(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_restore(f, "a", GL_GUEST_LOST, "/x:X", GL_RESOURCE_LOST, 7);
        core_retake(f, "a");
        /* The service before may not have come to stop it. */
        core_expect(f, "watch 7", "signal 7 19", "reply 1 ok");
        core_assert_state(f, "a", "lost /x:X lost");
        core_have_registered(f, "b", "/x:R");
        core_acquire(f, "b");
        core_expect(f, "reply 2 Conflict");
        core_exit(f, 7);
        core_expect(f, "released a guest-exited /x", "changed a state,pid,resources");
}

/* What is still kept of a lost lease is had again, and given back in the end; if there is nothing, that is no news. */
static void check_restore_lost_and_kept(int error) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_restore(f, "a", GL_GUEST_LOST, "/x:X", GL_RESOURCE_LOST, 7);
        core_resource(f, "a", "/x")->keep_key = 5;
        core_disk(f, "/x")->error = error;
        core_retake(f, "a");
        core_expect(f, "watch 7", "signal 7 19", "take a /x:X", "reply 1 ok");
        core_assert_state(f, "a", "lost /x:X lost");
        core_exit(f, 7);
        if (error == -1)
                core_expect(f, "drain a /x", "changed a pid,resources", "give-back a /x",
                            "released a guest-exited /x", "changed a state,resources");
        else
                core_expect(f, "released a guest-exited /x", "changed a state,pid,resources");
}

static void test_restore_lost_and_kept(void) {
        check_restore_lost_and_kept(-1);
        check_restore_lost_and_kept(GL_ERROR_CONFLICT);
        check_restore_lost_and_kept(GL_ERROR_STORAGE_UNAVAILABLE);
}

static void test_restore_released(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_restore(f, "a", GL_GUEST_RELEASED, "/x:X", GL_RESOURCE_REGISTERED, 0);
        core_retake(f, "a");
        core_expect(f, "reply 1 ok");
        core_acquire(f, "a");
        core_expect(f, "take a /x:X", "acquired a g1 /x:X", "changed a state,generation,acquired-at,resources",
                    "reply 2 ok g1");
}

/* It is not listed, and nobody else gets it before the guest has ended. */
static void test_restore_what_was_unplugged(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        f->unplugged = "/x";
        core_restore(f, "a", GL_GUEST_HELD, "/x:X /y:X", GL_RESOURCE_HELD, 7);
        core_retake(f, "a");
        core_expect(f, "watch 7", "take a /y:X", "changed a resources", "reply 1 ok");
        core_assert_state(f, "a", "held /y:X held /x:X lost and unplugged");
        g_assert_cmpuint(gl_core_n_leases(f->core), ==, 1);
        core_have_registered(f, "b", "/x:R");
        core_acquire(f, "b");
        core_expect(f, "reply 2 Conflict");
        core_exit(f, 7);
        core_forget_lines(f);
        core_acquire(f, "b");
        core_assert_state(f, "b", "held /x:R held");
}

/* Asked to end before the restart: it has had its time. */
static void test_restore_what_was_being_ended(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        f->killing = TRUE;
        core_restore(f, "a", GL_GUEST_LOST, "/x:X", GL_RESOURCE_LOST, 7);
        core_retake(f, "a");
        core_expect(f, "watch 7", "reply 1 ok", "signal 7 9");
        g_assert_false(core_guest(f, "a")->killing);
        core_restart(f);
        core_restore(f, "a", GL_GUEST_LOST, "/x:X", GL_RESOURCE_LOST, 7);
        core_exit(f, 7);
        core_forget_lines(f);
        core_retake(f, "a");
        core_advance(f, 10000);
        core_expect(f, "reply 2 ok");
}

int main(int argc, char **argv) {
        static const struct {
                const char *name;
                GTestFunc test;
        } tests[] = {
                {"restore", test_restore},
                {"restore-keeps-others-out-at-once", test_restore_keeps_others_out_at_once},
                {"restore-without-storage", test_restore_without_storage},
                {"release-without-storage", test_release_without_storage},
                {"restore-and-lost", test_restore_and_lost},
                {"restore-meets-its-predecessor", test_restore_meets_its_predecessor},
                {"restore-hears-late-of-its-predecessor", test_restore_hears_late_of_its_predecessor},
                {"restore-and-exit", test_restore_and_exit},
                {"restore-draining", test_restore_draining},
                {"restore-lost", test_restore_lost},
                {"restore-lost-and-kept", test_restore_lost_and_kept},
                {"restore-released", test_restore_released},
                {"restore-what-was-unplugged", test_restore_what_was_unplugged},
                {"restore-what-was-being-ended", test_restore_what_was_being_ended},
        };

        g_test_init(&argc, &argv, NULL);
        for (guint i = 0; i < G_N_ELEMENTS(tests); i++) {
                g_autofree char *path = g_strdup_printf("/core-restore/%s", tests[i].name);

                g_test_add_func(path, tests[i].test);
        }
        return g_test_run();
}
