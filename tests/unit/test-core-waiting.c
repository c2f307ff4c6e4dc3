/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core-fixture.h"

/*
 * Waiting: in turn, and for as long as was asked; what ends it; and storage that does not answer. Each case says
 * exactly what the world hears of it, in order.
 */

/* --- in turn --- */

static void test_waits_and_gets_it(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_have_registered(f, "b", "/x:X");
        core_acquire(f, "b", .pid = 8, .wait_ms = 5000);
        core_expect(f, "watch 8", "waits 2", "changed b waiting");
        g_assert_cmpuint(gl_table_size(f->core->table), ==, 1);
        core_assert_state(f, "b", "new /x:X registered");
        core_advance(f, 4999);
        core_expect_nothing(f);
        core_release(f, "a");
        core_expect(f, "give-back a /x", "released a released /x", "changed a state,resources",
                    "reply 3 ok <state>", "take b /x:X", "acquired b g2 /x:X",
                    "changed b state,waiting,pid,generation,acquired-at,resources", "reply 2 ok g2");
}

static void test_deadline(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_have_registered(f, "b", "/x:X");
        core_acquire(f, "b", .wait_ms = 300);
        core_forget_lines(f);
        core_advance(f, 299);
        core_expect_nothing(f);
        core_advance(f, 1);
        core_expect(f, "changed b waiting", "reply 2 Timeout");
        g_assert_nonnull(strstr(f->message, "guest \"a\""));
        g_assert_cmpint(gl_core_next_tick(f->core), ==, G_MAXINT64);
}

static void test_zero_never_waits(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_have_registered(f, "b", "/x:X");
        core_acquire(f, "b", .wait_ms = 0);
        core_expect(f, "reply 2 Conflict");
        core_disk(f, "/y")->error = GL_ERROR_CONFLICT;
        core_register(f, "b", "/y:X");
        core_unplug(f, "b", "/x");
        core_forget_lines(f);
        core_acquire(f, "b");
        core_expect(f, "take b /y:X", "reply 4 Conflict");
}

/* First come, first served, also where the sets only overlap. */
static void test_fair(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_have_registered(f, "b", "/x:X /y:X");
        core_have_registered(f, "c", "/y:X");
        core_have_registered(f, "d", "/z:X");
        core_acquire(f, "b", .wait_ms = 5000);
        core_acquire(f, "c", .wait_ms = 4000); /* b was first, and wants /y as well */
        core_expect(f, "waits 2", "changed b waiting", "waits 3", "changed c waiting");
        core_acquire(f, "d", .wait_ms = 4000); /* has nothing to do with it */
        core_expect(f, "take d /z:X", "acquired d g2 /z:X", "changed d state,generation,acquired-at,resources",
                    "reply 4 ok g2");
        core_exit(f, 7);
        core_expect(f, "drain a /x", "changed a pid,resources", "give-back a /x", "released a guest-exited /x",
                    "take b /x:X,/y:X", "changed a state,resources", "acquired b g3 /x:X,/y:X",
                    "changed b state,waiting,generation,acquired-at,resources", "reply 2 ok g3");
        core_release(f, "b");
        core_expect(f, "give-back b /x,/y", "released b released /x,/y", "changed b state,resources",
                    "reply 5 ok <state>", "take c /y:X", "acquired c g4 /y:X",
                    "changed c state,waiting,generation,acquired-at,resources", "reply 3 ok g4");
}

/* Readers that come later do not starve a writer that waits; who has no patience does not queue. */
static void test_fair_to_writers(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:R", 7);
        core_have_registered(f, "b", "/x:X");
        core_have_registered(f, "c", "/x:R");
        core_have_registered(f, "d", "/x:R");
        core_acquire(f, "b", .wait_ms = 1000);
        core_acquire(f, "c", .wait_ms = 500);
        core_expect(f, "waits 2", "changed b waiting", "waits 3", "changed c waiting");
        core_acquire(f, "d");
        core_expect(f, "take d /x:R", "acquired d g2 /x:R", "changed d state,generation,acquired-at,resources",
                    "reply 4 ok g2");
        core_advance(f, 500);
        core_expect(f, "changed c waiting", "reply 3 Timeout");
        g_assert_nonnull(strstr(f->message, "Others that came earlier"));
        core_acquire(f, "c", .wait_ms = 5000);
        core_expect(f, "waits 5", "changed c waiting");
        core_advance(f, 500); /* the writer gives up: nothing is in the way any more */
        core_expect(f, "changed b waiting", "reply 2 Timeout", "take c /x:R", "acquired c g3 /x:R",
                    "changed c state,waiting,generation,acquired-at,resources", "reply 5 ok g3");
}

/* Two guests that want two disks in opposite order, of which each holds one. */
static void test_no_deadlock(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have_registered(f, "a", "/x:X /y:X");
        core_have_registered(f, "b", "/y:X /x:X");
        f->hangs = TRUE;
        core_acquire(f, "a", .wait_ms = 5000);
        core_acquire(f, "b", .wait_ms = 5000);
        core_expect(f, "take a /x:X,/y:X");
        core_answer(f);
        core_expect(f, "acquired a g1 /x:X,/y:X", "changed a state,generation,acquired-at,resources", "reply 1 ok g1",
                    "waits 2", "changed b waiting");
        f->hangs = FALSE;
        core_release(f, "a");
        core_expect(f, "give-back a /x,/y", "released a released /x,/y",
                    "changed a state,resources", "reply 3 ok <state>", "take b /y:X,/x:X", "acquired b g2 /y:X,/x:X",
                    "changed b state,waiting,generation,acquired-at,resources", "reply 2 ok g2");
}

static void test_no_deadlock_by_plugging(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_have(f, "b", "/y:X", 8);
        core_plug(f, "a", "/y:X", 1000);
        core_plug(f, "b", "/x:X", 2000);
        core_expect(f, "waits 3", "changed a waiting,resources", "waits 4", "changed b waiting,resources");
        core_advance(f, 1000); /* each has something: only time ends that */
        core_expect(f, "changed a waiting,resources", "reply 3 Timeout");
        core_assert_state(f, "a", "held /x:X held");
        core_unplug(f, "a", "/x");
        core_expect(f, "give-back a /x", "released a released /x", "changed a resources", "reply 5 ok", "take b /x:X",
                    "acquired b g3 /x:X", "changed b waiting,generation,acquired-at,resources", "reply 4 ok g3");
}

/* While it waits other calls on the guest are done as if it were not there. */
static void test_waiting_delays_nobody(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_have(f, "b", "/y:X", 8);
        core_plug(f, "b", "/x:X", 5000);
        core_expect(f, "waits 3", "changed b waiting,resources");
        core_acquire(f, "b");
        core_expect(f, "reply 4 ok g2");
        g_assert_cmpint(core_register(f, "b", "/z:R"), ==, -1);
        core_forget_lines(f);
        core_acquire(f, "b");
        core_expect(f, "take b /z:R", "acquired b g3 /z:R", "changed b generation,acquired-at,resources",
                    "reply 5 ok g3");
        core_inquire(f, "b");
        core_expect(f, "inspect b /y,/z", "reply 6 ok <state>");
        core_unplug(f, "b", "/z");
        core_expect(f, "give-back b /z", "released b released /z", "changed b resources", "reply 7 ok");
        core_assert_state(f, "b", "held /y:X held /x:X registered");
}

static void test_waiting_takes_what_is_registered_meanwhile(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_have_registered(f, "b", "/x:X");
        core_acquire(f, "b", .wait_ms = 5000);
        core_register(f, "b", "/y:R");
        core_forget_lines(f);
        core_exit(f, 7);
        core_expect(f, "drain a /x", "changed a pid,resources", "give-back a /x", "released a guest-exited /x",
                    "take b /x:X,/y:R", "changed a state,resources", "acquired b g2 /x:X,/y:R",
                    "changed b state,waiting,generation,acquired-at,resources", "reply 2 ok g2");
}

/* --- what ends a wait --- */

static void test_cancelled(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_have_registered(f, "b", "/x:X");

        core_acquire(f, "b", .wait_ms = 5000);
        core_forget_lines(f);
        core_release(f, "b");
        core_expect(f, "changed b waiting", "reply 2 Cancelled", "reply 3 ok <>");
        core_acquire(f, "b", .wait_ms = 5000);
        core_forget_lines(f);
        core_shutdown(f, "b", FALSE);
        core_expect(f, "changed b waiting", "reply 4 Cancelled", "reply 5 ok <>");
        core_acquire(f, "b", .pid = 9, .wait_ms = 5000);
        core_forget_lines(f);
        core_exit(f, 9);
        core_expect(f, "changed b waiting", "reply 6 Cancelled");
        core_acquire(f, "b", .wait_ms = 5000);
        core_forget_lines(f);
        core_leave_bus(f, ":1.9");
        core_expect_nothing(f);
        core_leave_bus(f, f->sender);
        core_expect(f, "changed b waiting", "reply 7 Cancelled");
        core_acquire(f, "b", .wait_ms = 5000);
        core_forget_lines(f);
        core_free_guest(f, "b");
        core_expect(f, "changed b waiting", "reply 8 Cancelled", "removed b", "reply 9 ok");
        core_start(f, "b", "/x:X", .pid = 9, .wait_ms = 5000);
        core_expect(f, "watch 9", "waits 10");
        core_exit(f, 9);
        core_expect(f, "reply 10 Cancelled");
        g_assert_cmpuint(g_hash_table_size(f->core->starting), ==, 0);
        g_assert_cmpuint(f->core->ops.length, ==, 0);
}

/* An acquire without a process is for the guest's own, and ends with that. */
static void test_cancelled_by_the_guests_end(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_have_registered(f, "b", "/x:X");
        core_acquire(f, "b", .pid = 9, .register_only = TRUE);
        core_acquire(f, "b", .wait_ms = 5000);
        core_forget_lines(f);
        core_exit(f, 9);
        core_expect(f, "changed b waiting,pid", "reply 3 Cancelled");
        core_assert_state(f, "b", "new /x:X registered");
}

/* A driver that is at it is not interrupted: what it brings is given back. */
static void test_cancelled_while_the_driver_is_at_it(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have_registered(f, "a", "/x:X");
        core_have_registered(f, "b", "/x:X");
        core_disk(f, "/x")->hangs = TRUE;
        core_acquire(f, "a");
        core_acquire(f, "b", .wait_ms = 5000);
        core_forget_lines(f);
        core_release(f, "a");
        core_expect(f, "reply 1 Cancelled"); /* and the release waits: free means free */
        core_answer(f);
        core_expect(f, "give-back a /x");
        core_answer(f);
        core_expect(f, "take b /x:X", "reply 3 ok <>");
        core_answer(f);
        core_expect(f, "acquired b g1 /x:X", "changed b state,generation,acquired-at,resources", "reply 2 ok g1");
        core_assert_state(f, "a", "new /x:X registered");
}

static void test_freed_while_the_driver_is_at_it(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have_registered(f, "a", "/x:X");
        core_disk(f, "/x")->hangs = TRUE;
        core_acquire(f, "a");
        core_forget_lines(f);
        core_free_guest(f, "a");
        core_free_guest(f, "a");
        core_expect(f, "reply 1 Cancelled");
        core_acquire(f, "a"); /* too late */
        core_expect_nothing(f);
        core_answer(f);
        core_expect(f, "give-back a /x");
        core_answer(f);
        core_expect(f, "reply 2 ok", "reply 3 ok", "removed a", "reply 4 Cancelled");
        g_assert_cmpuint(gl_table_size(f->core->table), ==, 0);
}

static void test_process_ends_while_the_driver_is_at_it(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_disk(f, "/x")->hangs = TRUE;
        core_start(f, "a", "/x:X", .pid = 7);
        core_exit(f, 7);
        core_expect(f, "watch 7", "take a /x:X", "reply 1 Cancelled");
        core_answer(f);
        core_expect(f, "give-back a /x");
        core_answer(f);
        core_expect_nothing(f);
        g_assert_cmpuint(g_hash_table_size(f->core->starting), ==, 0);
        g_assert_cmpuint(gl_table_size(f->core->table), ==, 0);
}

/* Who has left does not begin to wait; what is granted without that is granted. */
static void test_caller_leaves_before_it_waits(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have_registered(f, "a", "/x:X");
        core_have_registered(f, "b", "/y:X");
        f->hangs = TRUE;
        core_acquire(f, "a", .wait_ms = 5000);
        core_acquire(f, "b", .wait_ms = 5000);
        core_leave_bus(f, f->sender);
        core_expect(f, "take a /x:X", "take b /y:X");
        core_disk(f, "/x")->error = GL_ERROR_CONFLICT;
        core_answer_all(f);
        core_expect(f, "reply 1 Conflict", "acquired b g1 /y:X", "changed b state,generation,acquired-at,resources",
                    "reply 2 ok g1");
}

/* Whoever stood behind one that will not wait after all need not wait either. */
static void test_caller_leaves_the_queue(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have_registered(f, "a", "/hung:X");
        core_have_registered(f, "b", "/hung:X /y:X");
        core_have_registered(f, "c", "/y:X");
        core_disk(f, "/hung")->hangs = TRUE;
        core_acquire(f, "a");
        f->sender = ":1.2";
        core_acquire(f, "b", .wait_ms = 5000);
        f->sender = ":1.3";
        core_acquire(f, "c", .wait_ms = 5000);
        core_expect(f, "take a /hung:X", "waits 3", "changed c waiting");
        core_leave_bus(f, ":1.2");
        core_expect(f, "take c /y:X", "acquired c g1 /y:X", "changed c state,waiting,generation,acquired-at,resources",
                    "reply 3 ok g1", "reply 2 Conflict");
        core_answer(f);
        core_expect(f, "acquired a g2 /hung:X", "changed a state,generation,acquired-at,resources", "reply 1 ok g2");
}

/* The process that a guest had ends while the leases are being taken for its next one. */
static void test_old_process_ends_while_the_driver_is_at_it(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have_registered(f, "a", "/x:X");
        core_acquire(f, "a", .pid = 7, .register_only = TRUE);
        core_disk(f, "/x")->hangs = TRUE;
        core_acquire(f, "a", .pid = 8);
        core_exit(f, 7);
        core_forget_lines(f);
        core_disk(f, "/x")->hangs = FALSE;
        core_answer(f);
        core_expect(f, "give-back a /x", "reply 2 Cancelled");
        core_acquire(f, "a", .pid = 8);
        core_expect(f, "watch 8", "take a /x:X", "acquired a g1 /x:X",
                    "changed a state,pid,generation,acquired-at,resources", "reply 3 ok g1");
}

/* Two new ones: the end of the old one costs only the one that was under way. */
static void test_old_process_ends_and_another_waits(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have_registered(f, "a", "/x:X");
        core_acquire(f, "a", .pid = 7, .register_only = TRUE);
        core_disk(f, "/x")->hangs = TRUE;
        core_acquire(f, "a", .pid = 8);
        core_acquire(f, "a", .pid = 9);
        core_exit(f, 7);
        core_forget_lines(f);
        core_answer(f);
        core_expect(f, "give-back a /x", "reply 2 Cancelled");
        core_disk(f, "/x")->hangs = FALSE;
        core_answer(f);
        core_expect(f, "take a /x:X", "acquired a g1 /x:X", "changed a state,pid,generation,acquired-at,resources",
                    "reply 3 ok g1");
}

/* --- holders that are not ours --- */

static void test_foreign_is_looked_at_again(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have_registered(f, "a", "/x:X");
        core_disk(f, "/x")->error = GL_ERROR_CONFLICT;
        core_acquire(f, "a", .wait_ms = 600);
        core_expect(f, "take a /x:X", "waits 1", "changed a waiting");
        g_assert_cmpuint(gl_table_size(f->core->table), ==, 0);
        core_advance(f, 249);
        core_expect_nothing(f);
        core_advance(f, 1);
        core_expect(f, "take a /x:X");
        core_advance(f, 250);
        core_expect(f, "take a /x:X");
        core_advance(f, 99);
        core_expect_nothing(f);
        core_advance(f, 1); /* a last look */
        core_expect(f, "take a /x:X", "changed a waiting", "reply 1 Timeout");
        g_assert_nonnull(strstr(f->message, "Disk \"/x\" says so."));

        core_acquire(f, "a", .wait_ms = 600);
        core_forget_lines(f);
        core_disk(f, "/x")->error = -1;
        core_advance(f, 250);
        core_expect(f, "take a /x:X", "acquired a g1 /x:X", "changed a state,waiting,generation,acquired-at,resources",
                    "reply 2 ok g1");
}

/* What else happens to the guest neither hastens nor ends the looking. */
static void test_foreign_and_other_calls(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "", 7);
        core_register(f, "a", "/x:X");
        core_disk(f, "/x")->error = GL_ERROR_CONFLICT;
        core_acquire(f, "a", .wait_ms = 60000);
        core_forget_lines(f);
        core_disk(f, "/y")->hangs = TRUE;
        core_plug(f, "a", "/y:X", 0);
        core_expect(f, "take a /y:X", "changed a resources");
        core_answer(f);
        core_expect(f, "acquired a g2 /y:X", "changed a generation,acquired-at,resources", "reply 3 ok g2");
        core_plug(f, "a", "/y:R", 0); /* for a moment it cannot even be tried */
        core_get_child(f, "a", 0);
        core_advance(f, 100);
        core_answer(f);
        core_expect(f, "mode a /y:R", "reply 5 ok pid 7", "acquired a g3 /y:R", "changed a generation,resources",
                    "reply 4 ok g3");
        core_advance(f, 149);
        core_expect_nothing(f);
        core_advance(f, 1);
        core_expect(f, "take a /x:X");
        core_leave_bus(f, f->sender);
        core_disk(f, "/y")->hangs = FALSE;
}

/* It keeps its place in the queue between two looks. */
static void test_foreign_and_fair(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have_registered(f, "a", "/x:X /y:X");
        core_have_registered(f, "b", "/y:X");
        core_disk(f, "/x")->error = GL_ERROR_CONFLICT;
        core_acquire(f, "a", .wait_ms = 400);
        core_acquire(f, "b", .wait_ms = 1000);
        core_expect(f, "take a /x:X,/y:X", "waits 1", "changed a waiting", "waits 2", "changed b waiting");
        core_advance(f, 399);
        core_expect(f, "take a /x:X,/y:X");
        core_advance(f, 1);
        core_expect(f, "take a /x:X,/y:X", "changed a waiting", "reply 1 Timeout", "take b /y:X", "acquired b g1 /y:X",
                    "changed b state,waiting,generation,acquired-at,resources", "reply 2 ok g1");
}

/* qemu-img, udev: over in a moment, and nobody should have to ask twice. */
static void test_brief(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have_registered(f, "a", "/x:X");
        core_disk(f, "/x")->error = GL_ERROR_CONFLICT;
        core_disk(f, "/x")->brief = TRUE;
        core_acquire(f, "a");
        core_expect(f, "take a /x:X");
        core_advance(f, 500);
        core_disk(f, "/x")->error = -1;
        core_forget_lines(f);
        core_advance(f, 200);
        core_expect(f, "take a /x:X", "acquired a g1 /x:X", "changed a state,generation,acquired-at,resources",
                    "reply 1 ok g1");
}

static void test_brief_is_a_second(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have_registered(f, "a", "/x:X");
        core_disk(f, "/x")->error = GL_ERROR_CONFLICT;
        core_disk(f, "/x")->brief = TRUE;
        core_acquire(f, "a");
        core_advance(f, 999);
        g_assert_cmpuint(f->n_replies, ==, 0);
        core_forget_lines(f);
        core_advance(f, 1);
        core_expect(f, "take a /x:X", "reply 1 Conflict");

        core_acquire(f, "a");
        core_disk(f, "/x")->brief = FALSE; /* turns out to be somebody who stays */
        core_forget_lines(f);
        core_advance(f, 125);
        core_expect(f, "take a /x:X", "reply 2 Conflict");
}

/* What was found within that second may be over by the time that it is heard of: then it is looked at once more. */
static void test_brief_and_heard_late(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have_registered(f, "a", "/x:X");
        core_disk(f, "/x")->error = GL_ERROR_CONFLICT;
        core_disk(f, "/x")->brief = TRUE;
        core_acquire(f, "a");
        core_advance(f, 800);
        core_disk(f, "/x")->hangs = TRUE;
        core_advance(f, 600);
        core_forget_lines(f);
        core_disk(f, "/x")->hangs = FALSE;
        core_answer(f);
        core_expect(f, "take a /x:X", "reply 1 Conflict");
}

/* --- storage that does not answer --- */

static void test_storage_hangs(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have_registered(f, "a", "/x:X");
        core_disk(f, "/x")->hangs = TRUE;
        core_acquire(f, "a", .pid = 7);
        core_forget_lines(f);
        core_advance(f, 9999);
        core_expect_nothing(f);
        core_advance(f, 1);
        core_expect(f, "hangs a /x", "reply 1 StorageUnavailable");
        g_assert_cmpint(gl_core_next_tick(f->core), ==, G_MAXINT64);
        core_acquire(f, "a", .pid = 7);
        core_forget_lines(f);
        core_advance(f, 10000);
        core_expect(f, "reply 2 StorageUnavailable");

        core_answer(f); /* a late success is undone */
        core_expect(f, "give-back a /x");
        core_assert_state(f, "a", "new /x:X registered");
        core_answer(f);
        core_expect_nothing(f);
        g_assert_cmpuint(gl_table_size(f->core->table), ==, 0);
        g_assert_cmpuint(core_guest(f, "a")->processes[GL_PROCESS_GUEST].pid, ==, 0);
        core_acquire(f, "a", .pid = 7);
        core_answer(f);
        core_assert_state(f, "a", "held /x:X held");
}

/* One mount that hangs stalls its own guests alone. */
static void test_storage_hangs_for_others_not(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have_registered(f, "a", "/hung:X");
        core_have_registered(f, "b", "/x:X");
        core_disk(f, "/hung")->hangs = TRUE;
        core_acquire(f, "a");
        core_acquire(f, "b");
        core_expect(f, "take a /hung:X", "take b /x:X", "acquired b g1 /x:X",
                    "changed b state,generation,acquired-at,resources", "reply 2 ok g1");
        core_answer(f);
}

/* Whoever asks for what a driver is just being asked for learns what comes of it. */
static void test_pending_claim_is_waited_for(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have_registered(f, "a", "/x:X");
        core_have_registered(f, "b", "/x:X");
        core_disk(f, "/x")->hangs = TRUE;
        core_acquire(f, "a");
        core_acquire(f, "b");
        core_expect(f, "take a /x:X");
        core_disk(f, "/x")->error = GL_ERROR_STORAGE_UNAVAILABLE;
        core_answer(f);
        core_expect(f, "reply 1 StorageUnavailable", "take b /x:X");
        core_disk(f, "/x")->error = -1;
        core_acquire(f, "a");
        core_answer(f);
        core_expect(f, "acquired b g1 /x:X", "changed b state,generation,acquired-at,resources", "reply 2 ok g1",
                    "reply 3 Conflict");
        core_disk(f, "/x")->hangs = FALSE;
}

static void test_pending_claim_of_hung_storage(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have_registered(f, "a", "/x:X");
        core_have_registered(f, "b", "/x:X");
        core_disk(f, "/x")->hangs = TRUE;
        core_acquire(f, "a");
        core_advance(f, 5000);
        core_acquire(f, "b");
        core_advance(f, 5000);
        core_expect(f, "take a /x:X", "hangs a /x", "reply 1 StorageUnavailable");
        core_advance(f, 5000);
        core_expect(f, "reply 2 StorageUnavailable");
        core_acquire(f, "b", .wait_ms = 100); /* the caller's patience comes first */
        core_advance(f, 100);
        core_expect(f, "reply 3 Timeout");
        core_answer_all(f);
        core_answer_all(f);
}

/* --- for a process --- */

static void test_get_child(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "", 0);
        core_get_child(f, "a", 0);
        core_expect(f, "reply 2 NoChild");
        core_get_child(f, "a", 500);
        core_expect(f, "waits 3", "changed a waiting");
        core_advance(f, 500);
        core_expect(f, "changed a waiting", "reply 3 NoChild");
        core_get_child(f, "a", 500);
        core_get_child(f, "a", 500);
        core_forget_lines(f);
        core_set_child(f, "a", 7);
        core_expect(f, "watch 7", "changed a pid", "reply 4 ok pid 7", "changed a waiting", "reply 5 ok pid 7");
        core_get_child(f, "a", 0);
        core_expect(f, "reply 6 ok pid 7");
        core_exit(f, 7);
        core_get_child(f, "a", 500);
        core_forget_lines(f);
        core_shutdown(f, "a", FALSE);
        core_expect(f, "changed a waiting", "reply 7 Cancelled", "reply 8 ok <state>");
}

int main(int argc, char **argv) {
        static const struct {
                const char *name;
                GTestFunc test;
        } tests[] = {
                {"waits-and-gets-it", test_waits_and_gets_it},
                {"deadline", test_deadline},
                {"zero-never-waits", test_zero_never_waits},
                {"fair", test_fair},
                {"fair-to-writers", test_fair_to_writers},
                {"no-deadlock", test_no_deadlock},
                {"no-deadlock-by-plugging", test_no_deadlock_by_plugging},
                {"waiting-delays-nobody", test_waiting_delays_nobody},
                {"waiting-takes-what-is-registered-meanwhile", test_waiting_takes_what_is_registered_meanwhile},
                {"cancelled", test_cancelled},
                {"cancelled-by-the-guests-end", test_cancelled_by_the_guests_end},
                {"cancelled-while-the-driver-is-at-it", test_cancelled_while_the_driver_is_at_it},
                {"freed-while-the-driver-is-at-it", test_freed_while_the_driver_is_at_it},
                {"process-ends-while-the-driver-is-at-it", test_process_ends_while_the_driver_is_at_it},
                {"caller-leaves-before-it-waits", test_caller_leaves_before_it_waits},
                {"caller-leaves-the-queue", test_caller_leaves_the_queue},
                {"old-process-ends-while-the-driver-is-at-it", test_old_process_ends_while_the_driver_is_at_it},
                {"old-process-ends-and-another-waits", test_old_process_ends_and_another_waits},
                {"foreign-is-looked-at-again", test_foreign_is_looked_at_again},
                {"foreign-and-other-calls", test_foreign_and_other_calls},
                {"foreign-and-fair", test_foreign_and_fair},
                {"brief", test_brief},
                {"brief-is-a-second", test_brief_is_a_second},
                {"brief-and-heard-late", test_brief_and_heard_late},
                {"storage-hangs", test_storage_hangs},
                {"storage-hangs-for-others-not", test_storage_hangs_for_others_not},
                {"pending-claim-is-waited-for", test_pending_claim_is_waited_for},
                {"pending-claim-of-hung-storage", test_pending_claim_of_hung_storage},
                {"get-child", test_get_child},
        };

        g_test_init(&argc, &argv, NULL);
        for (guint i = 0; i < G_N_ELEMENTS(tests); i++) {
                g_autofree char *path = g_strdup_printf("/core-waiting/%s", tests[i].name);

                g_test_add_func(path, tests[i].test);
        }
        return g_test_run();
}
