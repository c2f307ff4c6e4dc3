/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core-fixture.h"

/*
 * Losing leases: revoked, and found by the periodic check; what is done to the guest, who is kept out, and how it gets
 * them back. Each case says exactly what the world hears of it, in order.
 */

#define MINUTE (60 * 1000)

static CoreFixture *with_checks(void) {
        CoreFixture *f = core_fixture_new();

        gl_core_set_check_interval(f->core, 60 * G_USEC_PER_SEC);
        return f;
}

/* Whether another guest is kept from NAME. */
static gboolean is_blocked(CoreFixture *f, const char *name) {
        g_autofree char *resource = g_strconcat(name, ":X", NULL);
        GString *lines = f->lines;
        gboolean blocked;

        f->lines = g_string_new(NULL);
        core_start(f, "other", resource);
        blocked = f->code == GL_ERROR_CONFLICT;
        if (!blocked) {
                g_assert_cmpint(f->code, ==, -1);
                core_shutdown(f, "other", FALSE);
        }
        g_string_free(f->lines, TRUE);
        f->lines = lines;
        return blocked;
}

/* --- Revoke --- */

static void test_revoke(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X /y:X", 7);
        core_revoke(f, "a", "/x", FALSE);
        core_expect(f, "lost a revoked /x", "signal 7 19", "changed a state,resources");
        core_assert_state(f, "a", "lost /x:X lost /y:X held");
        g_assert_true(is_blocked(f, "/x"));
        core_revoke(f, "a", "/x", FALSE); /* repeated */
        core_expect_nothing(f);
        core_revoke(f, "a", "", FALSE); /* the rest */
        core_expect(f, "lost a revoked /y", "signal 7 19", "changed a resources");
        core_exit(f, 7);
        core_expect(f, "drain a /x,/y", "changed a pid,resources", "give-back a /x,/y", "released a guest-exited /x,/y",
                    "changed a state,resources");
        g_assert_false(is_blocked(f, "/x"));
}

/* Its lock was never let go, so that whatever the guest wrote itself does not matter. */
static void test_regain_what_was_revoked(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X /y:X", 7);
        core_revoke(f, "a", "/x", FALSE);
        core_disk(f, "/x")->mtime = 99;
        core_forget_lines(f);
        core_acquire(f, "a");
        core_expect(f, "check a /x", "acquired a g2 /x:X", "signal 7 18",
                    "changed a state,generation,acquired-at,resources", "reply 2 ok g2");
        core_assert_state(f, "a", "held /x:X held /y:X held");
        core_acquire(f, "a");
        core_expect(f, "reply 3 ok g2");
}

static void test_regain_fails_to_be_saved(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_revoke(f, "a", "/x", FALSE);
        core_forget_lines(f);
        f->save_fails = TRUE;
        core_acquire(f, "a");
        core_assert_state(f, "a", "lost /x:X lost");
        g_assert_cmpint(f->code, ==, GL_ERROR_DRIVER_FAILED);
        f->save_fails = FALSE;
        core_acquire(f, "a");
        core_assert_state(f, "a", "held /x:X held");
}

/* Revoked, and then somebody has the lock after all. */
static void test_regain_what_is_broken(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X /y:X", 7);
        core_revoke(f, "a", "", FALSE);
        core_disk(f, "/x")->lost = TRUE;
        core_disk(f, "/x")->error = GL_ERROR_CONFLICT;
        core_forget_lines(f);
        core_acquire(f, "a");
        core_expect(f, "check a /x,/y", "give-back a /x", "take a /x:X", "reply 2 LeaseLost");
        core_assert_state(f, "a", "lost /x:X lost /y:X lost");
        g_assert_true(is_blocked(f, "/x"));
        core_disk(f, "/x")->lost = FALSE;
        core_disk(f, "/x")->error = -1;
        core_disk(f, "/x")->mtime++;
        core_acquire(f, "a");
        core_expect(f, "check a /y", "take a /x:X", "give-back a /x", "reply 4 LeaseLost");
        core_disk(f, "/x")->mtime--;
        core_acquire(f, "a");
        core_expect(f, "check a /y", "take a /x:X", "acquired a g2 /x:X,/y:X", "signal 7 18",
                    "changed a state,generation,acquired-at,resources", "reply 5 ok g2");
}

/* What was lost is kept from others until the process is gone, also when the rest is released. */
static void test_regain_what_was_released(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X /y:X", 7);
        core_revoke(f, "a", "/x", FALSE);
        core_release(f, "a");
        core_assert_state(f, "a", "released /x:X lost /y:X registered");
        core_forget_lines(f);
        core_acquire(f, "a");
        core_expect(f, "check a /x", "take a /y:X", "acquired a g2 /y:X,/x:X", "signal 7 18",
                    "changed a state,generation,acquired-at,resources", "reply 3 ok g2");
        core_assert_state(f, "a", "held /x:X held /y:X held");
}

/* One is lost while the other is being looked at. */
static void test_regain_while_more_is_lost(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        gl_core_set_check_interval(f->core, 5 * G_USEC_PER_SEC);
        core_have(f, "a", "/x:X /y:X", 7);
        core_revoke(f, "a", "/x", FALSE);
        core_forget_lines(f);
        f->hangs = TRUE;
        core_acquire(f, "a");
        core_disk(f, "/y")->lost = TRUE;
        core_disk(f, "/y")->loss = GL_LOST_TAKEN;
        core_advance(f, 5000);
        core_expect(f, "check a /x", "check /y");
        core_answer_nth(f, 1);
        core_expect(f, "lost a taken /y", "signal 7 19", "changed a resources");
        core_disk(f, "/y")->lost = FALSE;
        f->hangs = FALSE;
        core_answer_all(f);
        core_expect(f, "give-back a /y", "take a /y:X", "acquired a g2 /y:X,/x:X", "signal 7 18",
                    "changed a state,generation,acquired-at,resources", "reply 2 ok g2");
}

/* Whoever has lost a lease does not queue behind others, and is told why at once. */
static void test_regain_does_not_wait(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_disk(f, "/x")->error = GL_ERROR_CONFLICT;
        core_disk(f, "/x")->lost = TRUE;
        core_revoke(f, "a", "/x", FALSE);
        core_create(f, "b");
        core_register(f, "b", "/x:X");
        core_acquire(f, "b", .wait_ms = 60000);
        core_forget_lines(f);
        core_acquire(f, "a", .wait_ms = 60000);
        core_expect(f, "check a /x", "give-back a /x", "take a /x:X", "reply 3 LeaseLost");
        g_assert_nonnull(f->message);
}

static void test_regain_on_unknown_storage(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_revoke(f, "a", "", FALSE);
        core_disk(f, "/x")->unknown = TRUE;
        core_forget_lines(f);
        core_acquire(f, "a");
        core_expect(f, "check a /x", "reply 2 StorageUnavailable");
        core_assert_state(f, "a", "lost /x:X lost");
}

static void test_revoke_and_kill(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_revoke(f, "a", "/x", TRUE);
        core_expect(f, "lost a revoked /x in 5 s", "signal 7 15", "changed a state,resources");
        core_advance(f, 4999);
        core_expect_nothing(f);
        core_acquire(f, "a"); /* too late */
        core_expect(f, "reply 2 LeaseLost");
        core_advance(f, 1);
        core_expect(f, "signal 7 9");
        core_advance(f, MINUTE);
        core_expect_nothing(f);
        core_exit(f, 7);
        core_assert_state(f, "a", "released /x:X registered");
}

static void test_killed_in_time(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_revoke(f, "a", "/x", TRUE);
        core_exit(f, 7);
        core_forget_lines(f);
        core_advance(f, MINUTE);
        core_expect_nothing(f);
        g_assert_true(g_queue_is_empty(&f->core->ops));
}

/* One that is stopped would not hear of SIGTERM. */
static void test_kill_what_was_stopped(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_revoke(f, "a", "/x", FALSE);
        core_forget_lines(f);
        core_revoke(f, "a", "/x", TRUE);
        core_expect(f, "signal 7 9");
}

static void test_kill_supervisor_too(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_start(f, "a", "/x:X", .pid = 6, .supervisor = TRUE);
        core_set_child(f, "a", 7);
        core_forget_lines(f);
        core_revoke(f, "a", "", TRUE);
        core_expect(f, "lost a revoked /x in 5 s", "signal 7 15", "signal 6 15", "changed a state,resources");
        core_advance(f, 5000);
        core_expect(f, "signal 7 9", "signal 6 9");
}

/* Nobody's end could be waited for. */
static void test_revoke_unbound(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X /y:X", 0);
        core_disk(f, "/x")->hangs = TRUE;
        core_revoke(f, "a", "/x", FALSE);
        core_expect(f, "lost a revoked /x", "give-back a /x", "changed a state,resources");
        core_start(f, "b", "/x:X");
        core_expect_nothing(f); /* it is about to be free */
        core_disk(f, "/x")->hangs = FALSE;
        core_answer(f);
        core_expect(f, "take b /x:X", "added b", "acquired b g2 /x:X", "reply 2 ok g2");
        core_acquire(f, "a");
        core_expect(f, "reply 3 LeaseLost");
        core_shutdown(f, "b", FALSE);
        core_forget_lines(f);
        core_disk(f, "/x")->error = GL_ERROR_CONFLICT; /* not had again, it is as free as before */
        core_acquire(f, "a");
        core_expect(f, "take a /x:X", "reply 5 LeaseLost");
        core_disk(f, "/x")->error = -1;
        g_assert_false(is_blocked(f, "/x"));
        core_acquire(f, "a");
        core_assert_state(f, "a", "held /x:X held /y:X held");
        core_revoke(f, "a", "", FALSE);
        core_shutdown(f, "a", FALSE);
        core_assert_state(f, "a", "released /x:X registered /y:X registered");
        g_assert_cmpuint(gl_table_size(f->core->table), ==, 0);
}

static void test_revoke_ends_waits(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "b", "/y:X", 0);
        core_have(f, "a", "/x:X", 7);
        core_plug(f, "a", "/y:X", 1000);
        core_forget_lines(f);
        core_revoke(f, "a", "/x", FALSE);
        core_expect(f, "changed a waiting,resources", "reply 3 Cancelled", "lost a revoked /x", "signal 7 19",
                    "changed a state,resources");
}

/* It does not wait for storage that does not answer. */
static void test_revoke_on_hanging_storage(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_disk(f, "/x")->hangs = TRUE;
        core_plug(f, "a", "/x:R", 0);
        core_forget_lines(f);
        core_revoke(f, "a", "/x", FALSE);
        core_expect(f, "reply 2 Cancelled", "lost a revoked /x", "signal 7 19", "changed a state,resources");
        core_answer(f);
        core_answer(f); /* and back */
        core_assert_state(f, "a", "lost /x:X lost");
        g_assert_true(is_blocked(f, "/x"));
}

static void test_revoke_of_a_dying_guest(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_disk(f, "/x")->undrained = core_disk(f, "/x")->writer_seen = TRUE;
        core_exit(f, 7);
        core_forget_lines(f);
        /* It gives back by itself, when it is time: a call may be repeated. */
        g_assert_cmpint(core_revoke(f, "a", "/x", TRUE), ==, -1);
        core_advance(f, 10);
        core_expect(f, "drain a /x");
        f->says_drained = TRUE;
        /* What is seen to write cannot be wished away. */
        g_assert_cmpint(core_revoke(f, "a", "/x", TRUE), ==, GL_ERROR_GUEST_RUNNING);
        g_assert_cmpint(core_revoke(f, "a", "", FALSE), ==, GL_ERROR_GUEST_RUNNING);
        core_expect_nothing(f);
        core_disk(f, "/x")->writer_seen = FALSE;
        core_advance(f, 10);
        core_forget_lines(f);
        g_assert_cmpint(core_revoke(f, "a", "/y", FALSE), ==, GL_ERROR_NO_SUCH_RESOURCE);
        g_assert_cmpint(core_revoke(f, "a", "/x", FALSE), ==, -1);
        core_expect(f, "held open a /x");
        core_advance(f, 10);
        core_expect(f, "drain a /x", "give-back a /x", "released a guest-exited /x", "changed a state,resources");
        /* The next one has not been spoken of. */
        core_acquire(f, "a", .pid = 8);
        core_exit(f, 8);
        core_assert_state(f, "a", "held /x:X draining");
}

static void test_release_what_was_revoked(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X /y:X", 7);
        core_revoke(f, "a", "/x", FALSE);
        core_unplug(f, "a", "/x");
        core_forget_lines(f);
        core_assert_state(f, "a", "held /y:X held /x:X lost and unplugged");
        g_assert_true(is_blocked(f, "/x"));
        core_disk(f, "/x")->undrained = TRUE;
        core_exit(f, 7);
        core_expect(f, "drain a /y,/x", "changed a pid,resources", "give-back a /y", "released a guest-exited /y",
                    "drain a /x", "changed a resources");
        g_assert_true(is_blocked(f, "/x"));
        core_disk(f, "/x")->undrained = FALSE;
        core_advance(f, 10);
        core_expect(f, "drain a /x", "give-back a /x", "changed a state");
        g_assert_false(is_blocked(f, "/x"));
}

static void test_restrict_is_kept(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        f->save_fails = TRUE;
        g_assert_cmpint(core_restrict(f, "a"), ==, GL_ERROR_DRIVER_FAILED);
        g_assert_false(core_guest(f, "a")->restricted);
        f->save_fails = FALSE;
        g_assert_cmpint(core_restrict(f, "a"), ==, -1);
        g_assert_true(core_guest(f, "a")->restricted);
}

static void test_reasons(void) {
        static const char *const bad[] = {"", "two\nlines", "\xff\xfe", "\x7f"};
        g_autoptr(CoreFixture) f = core_fixture_new();
        g_autofree char *longest = g_strnfill(255, 'x'), *too_long = g_strnfill(256, 'x');
        GError *error = NULL;

        for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
                g_assert_false(gl_check_reason(&f->limits, bad[i], &error));
                g_assert_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS);
                g_clear_error(&error);
        }
        g_assert_false(gl_check_reason(&f->limits, too_long, NULL));
        g_assert_true(gl_check_reason(&f->limits, longest, NULL));
}

/* --- the check --- */

static void test_check(void) {
        g_autoptr(CoreFixture) f = with_checks();

        g_assert_cmpint(gl_core_next_tick(f->core), ==, G_MAXINT64); /* nothing is held: nobody wakes up */
        core_have(f, "a", "/x:X /y:X", 7);
        core_have(f, "b", "/z:X", 8);
        core_have_registered(f, "c", "/u:X");
        core_advance(f, MINUTE - 1);
        core_expect_nothing(f);
        core_advance(f, 1);
        g_assert_true(g_str_equal(f->lines->str, "check /x,/y,/z\n") || g_str_equal(f->lines->str, "check /z,/x,/y\n"));
        core_forget_lines(f);
        core_release(f, "a");
        core_release(f, "b");
        core_forget_lines(f);
        core_advance(f, 10 * MINUTE);
        core_expect_nothing(f);
        g_assert_cmpint(gl_core_next_tick(f->core), ==, G_MAXINT64);
}

static void test_check_finds_a_loss(void) {
        static const char *const actions[] = {[GL_LOSS_PAUSE] = "signal 7 19", [GL_LOSS_KILL] = "signal 7 9"};
        static const char *const words[] = {"revoked", "replaced", "storage-lost", "lockspace-lost", "taken"};

        for (GlLossReason reason = GL_LOST_REPLACED; reason <= GL_LOST_TAKEN; reason++) {
                for (GlLossAction action = GL_LOSS_PAUSE; action <= GL_LOSS_KILL; action++) {
                        g_autoptr(CoreFixture) f = with_checks();
                        g_autofree char *lost = g_strdup_printf("lost a %s /x", words[reason]);

                        core_have(f, "a", "/x:X /y:X", 7);
                        core_guest(f, "a")->on_lease_lost = action;
                        core_disk(f, "/x")->lost = TRUE;
                        core_disk(f, "/x")->loss = reason;
                        core_advance(f, MINUTE);
                        core_expect(f, "check /x,/y", lost, actions[action], "changed a state,resources");
                        core_advance(f, MINUTE); /* what is known needs no look */
                        core_expect(f, "check /y");
                        g_assert_true(is_blocked(f, "/x"));
                        core_exit(f, 7);
                        core_assert_state(f, "a", "released /x:X registered /y:X registered");
                        g_assert_false(is_blocked(f, "/x"));
                }
        }
}

/* What is lost is locked still when the guest was released: it is not taken a second time beside that. */
static void test_acquire_after_the_release_of_what_was_lost(void) {
        for (guint broken = 0; broken < 2; broken++) {
                g_autoptr(CoreFixture) f = core_fixture_new();

                core_have(f, "a", "/x:W /y:X", 7);
                core_revoke(f, "a", "/x", FALSE);
                core_release(f, "a");
                core_assert_state(f, "a", "released /x:W lost /y:X registered");
                core_disk(f, "/x")->lost = broken;
                core_forget_lines(f);
                core_acquire(f, "a");
                if (broken)
                        core_expect(f, "check a /x", "give-back a /x", "take a /x:W,/y:X", "acquired a g2 /x:W,/y:X",
                                    "signal 7 18", "changed a state,generation,acquired-at,resources", "reply 3 ok g2");
                else
                        core_expect(f, "check a /x", "take a /y:X", "acquired a g2 /y:X,/x:W", "signal 7 18",
                                    "changed a state,generation,acquired-at,resources", "reply 3 ok g2");
                core_assert_state(f, "a", "held /x:W held /y:X held");
                g_assert_cmpuint(f->leases->len, ==, 2);
        }
}

/* What was lost is taken again only if nobody wrote since it was seen held; the check keeps track of that. */
static void test_regain_what_was_lost(void) {
        g_autoptr(CoreFixture) f = with_checks();

        core_have(f, "a", "/x:X", 7);
        core_disk(f, "/x")->mtime = 50; /* by the guest itself */
        core_advance(f, MINUTE);
        core_disk(f, "/x")->lost = TRUE;
        core_disk(f, "/x")->loss = GL_LOST_STORAGE_LOST;
        core_advance(f, MINUTE);
        core_forget_lines(f);
        core_acquire(f, "a");
        core_expect(f, "give-back a /x", "take a /x:X", "acquired a g2 /x:X", "signal 7 18",
                    "changed a state,generation,acquired-at,resources", "reply 2 ok g2");
        core_disk(f, "/x")->mtime = 51;
        core_advance(f, MINUTE);
        core_disk(f, "/x")->lost = FALSE;
        core_forget_lines(f);
        core_acquire(f, "a");
        core_expect(f, "give-back a /x", "take a /x:X", "give-back a /x", "reply 3 LeaseLost");
}

static void test_check_without_an_answer(void) {
        g_autoptr(CoreFixture) f = with_checks();

        core_have(f, "a", "/x:X", 7);
        core_disk(f, "/x")->unknown = TRUE;
        core_advance(f, MINUTE);
        core_expect(f, "check /x");
        core_assert_state(f, "a", "held /x:X held");
}

/* One that hangs is not repeated, and holds up nobody: neither other storage nor calls. */
static void test_check_hangs(void) {
        g_autoptr(CoreFixture) f = with_checks();
        gpointer lease;

        core_disk(f, "/x")->storage = "slow";
        core_have(f, "a", "/x:X /y:X", 7);
        core_disk(f, "/x")->hangs = TRUE;
        core_advance(f, MINUTE);
        g_assert_nonnull(strstr(f->lines->str, "check /x\n"));
        g_assert_nonnull(strstr(f->lines->str, "check /y\n"));
        core_forget_lines(f);
        core_disk(f, "/y")->lost = TRUE;
        core_advance(f, MINUTE);
        core_expect(f, "check /y", "lost a revoked /y", "signal 7 19", "changed a state,resources");
        core_start(f, "b", "/x:X");
        core_expect(f, "reply 2 Conflict");
        core_disk(f, "/x")->hangs = FALSE;
        core_release(f, "a");
        core_expect(f, "give-back a /x", "released a released /x", "changed a state,resources", "reply 3 ok <state>");
        g_assert_cmpuint(f->jobs->len, ==, 1);
        /* It comes back when nothing is as it was. (The driver keeps the order in which jobs were started.) */
        lease = ((GlJob *) f->jobs->pdata[0])->targets[0].lease;
        g_ptr_array_add(f->leases, lease);
        core_disk(f, "/x")->lost = TRUE;
        core_answer(f);
        g_ptr_array_remove_fast(f->leases, lease);
        core_expect_nothing(f);
        core_assert_state(f, "a", "released /x:X registered /y:X lost");
        core_exit(f, 7);
}

static void test_check_is_not_repeated(void) {
        g_autoptr(CoreFixture) f = with_checks();

        core_have(f, "a", "/x:X", 7);
        core_disk(f, "/x")->hangs = TRUE;
        core_advance(f, MINUTE);
        core_expect(f, "check /x");
        core_advance(f, 5 * MINUTE);
        core_expect_nothing(f);
        core_disk(f, "/x")->hangs = FALSE;
        core_answer(f);
        core_expect_nothing(f);
        core_advance(f, MINUTE);
        core_expect(f, "check /x");
}

static void test_check_of_very_many(void) {
        g_autoptr(CoreFixture) f = with_checks();

        for (guint i = 0; i < 50; i++) {
                g_autofree char *guest = g_strdup_printf("g%u", i);
                g_autofree char *resources = g_strdup_printf("/a%u:X /b%u:X /c%u:X", i, i, i);

                core_have(f, guest, resources, i + 2);
        }
        f->hangs = TRUE;
        core_advance(f, MINUTE);
        for (guint left = 150; left > 0;) {
                g_assert_cmpuint(f->jobs->len, ==, 1); /* a few at a time */
                left -= MIN(left, 64);
                core_answer(f);
        }
        g_assert_cmpuint(f->jobs->len, ==, 0);
        g_assert_cmpuint(g_hash_table_size(f->core->lanes), ==, 0);
}

static void test_path_moved(void) {
        g_autoptr(CoreFixture) f = with_checks();

        core_have(f, "a", "/x:X", 7);
        core_disk(f, "/x")->whereabouts = GL_WHEREABOUTS_ELSEWHERE;
        core_advance(f, MINUTE);
        core_expect(f, "check /x", "moved a /x", "changed a resources");
        g_assert_true(core_resource(f, "a", "/x")->path_moved);
        core_disk(f, "/x")->whereabouts = GL_WHEREABOUTS_UNKNOWN;
        core_advance(f, MINUTE);
        core_expect(f, "check /x"); /* told once */
        g_assert_true(core_resource(f, "a", "/x")->path_moved);
        core_disk(f, "/x")->whereabouts = GL_WHEREABOUTS_HERE;
        core_advance(f, MINUTE);
        core_expect(f, "check /x", "changed a resources");
        g_assert_false(core_resource(f, "a", "/x")->path_moved);
        core_assert_state(f, "a", "held /x:X held");
}

static void test_kept_by_another(void) {
        g_autoptr(CoreFixture) f = with_checks();

        core_have(f, "a", "/x:X", 7);
        core_disk(f, "/x")->kept_by = GL_KEPT_BY_KEEPER;
        core_advance(f, MINUTE);
        core_expect(f, "check /x", "changed a resources");
        g_assert_cmpint(core_resource(f, "a", "/x")->kept_by, ==, GL_KEPT_BY_KEEPER);
        core_advance(f, MINUTE);
        core_expect(f, "check /x"); /* told once */
        core_disk(f, "/x")->kept_by = GL_KEPT_BY_SERVICE;
        core_advance(f, MINUTE);
        core_expect(f, "check /x", "changed a resources");
        core_resource(f, "a", "/x")->kept_by = GL_KEPT_BY_HOLDER;
        core_advance(f, MINUTE);
        core_expect(f, "check /x"); /* whoever has inherited it has it */
        g_assert_cmpint(core_resource(f, "a", "/x")->kept_by, ==, GL_KEPT_BY_HOLDER);
}

/* No driver goes while its code may be running. */
static void test_driver_of_a_check(void) {
        g_autoptr(CoreFixture) f = with_checks();
        g_autoptr(GError) error = NULL;

        f->driver = "little";
        core_have(f, "a", "/x:X", 0);
        core_disk(f, "/x")->hangs = TRUE;
        core_advance(f, MINUTE);
        core_disk(f, "/x")->hangs = FALSE;
        core_release(f, "a");
        g_assert_false(gl_core_remove_driver(f->core, "little", &error));
        g_assert_error(error, GL_ERROR, GL_ERROR_DRIVER_IN_USE);
        g_ptr_array_add(f->leases, ((GlJob *) f->jobs->pdata[0])->targets[0].lease);
        core_answer(f);
        g_ptr_array_set_size(f->leases, 0);
        g_assert_true(gl_core_remove_driver(f->core, "little", NULL));
}

int main(int argc, char **argv) {
        static const struct {
                const char *name;
                GTestFunc test;
        } tests[] = {
                {"revoke", test_revoke},
                {"regain-what-was-revoked", test_regain_what_was_revoked},
                {"regain-fails-to-be-saved", test_regain_fails_to_be_saved},
                {"regain-what-is-broken", test_regain_what_is_broken},
                {"regain-what-was-released", test_regain_what_was_released},
                {"regain-while-more-is-lost", test_regain_while_more_is_lost},
                {"regain-does-not-wait", test_regain_does_not_wait},
                {"regain-on-unknown-storage", test_regain_on_unknown_storage},
                {"revoke-and-kill", test_revoke_and_kill},
                {"killed-in-time", test_killed_in_time},
                {"kill-what-was-stopped", test_kill_what_was_stopped},
                {"kill-supervisor-too", test_kill_supervisor_too},
                {"revoke-unbound", test_revoke_unbound},
                {"revoke-ends-waits", test_revoke_ends_waits},
                {"revoke-on-hanging-storage", test_revoke_on_hanging_storage},
                {"revoke-of-a-dying-guest", test_revoke_of_a_dying_guest},
                {"release-what-was-revoked", test_release_what_was_revoked},
                {"restrict-is-kept", test_restrict_is_kept},
                {"reasons", test_reasons},
                {"check", test_check},
                {"check-finds-a-loss", test_check_finds_a_loss},
                {"acquire-after-release", test_acquire_after_the_release_of_what_was_lost},
                {"regain-what-was-lost", test_regain_what_was_lost},
                {"check-without-an-answer", test_check_without_an_answer},
                {"check-hangs", test_check_hangs},
                {"check-is-not-repeated", test_check_is_not_repeated},
                {"check-of-very-many", test_check_of_very_many},
                {"path-moved", test_path_moved},
                {"kept-by-another", test_kept_by_another},
                {"driver-of-a-check", test_driver_of_a_check},
        };

        g_test_init(&argc, &argv, NULL);
        for (guint i = 0; i < G_N_ELEMENTS(tests); i++) {
                g_autofree char *path = g_strdup_printf("/core-loss/%s", tests[i].name);

                g_test_add_func(path, tests[i].test);
        }
        return g_test_run();
}
