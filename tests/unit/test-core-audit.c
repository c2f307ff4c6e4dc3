/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core-fixture.h"

/* When it is looked for who else has leases open, and what comes of it. */

#define STRANGER "process 4242 (qemu-nbd) has its lock's descriptor open"

static void check_is_open(CoreFixture *f, const char *expected) {
        g_assert_cmpstr(core_resource(f, "a", "/x")->held_open_by, ==, expected);
}

/* A guest with process 7 whose checks come every second. */
static void have_checked(CoreFixture *f) {
        gl_core_set_check_interval(f->core, G_USEC_PER_SEC);
        core_have(f, "a", "/x:X /y:X", 7);
}

static void test_with_each_check(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        have_checked(f);
        core_have(f, "b", "/z:R", 0);
        core_forget_lines(f);
        core_disk(f, "/x")->held_open_by = STRANGER;
        core_advance(f, 1000);
        core_expect(f, "check /x,/y,/z", "held open a /x", "changed a resources");
        check_is_open(f, STRANGER);
        /* One for all leases together. */
        g_assert_true(f->n_audits == 1 && f->n_audited == 3);
        core_advance(f, 2000);
        core_expect(f, "check /x,/y,/z", "check /x,/y,/z");
        core_disk(f, "/x")->held_open_by = "somebody else";
        core_advance(f, 1000);
        core_expect(f, "check /x,/y,/z", "held open a /x", "changed a resources");
        core_disk(f, "/x")->held_open_by = NULL;
        core_advance(f, 1000);
        core_expect(f, "check /x,/y,/z", "changed a resources");
        check_is_open(f, NULL);
}

static void test_of_what_does_not_drain(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_disk(f, "/x")->undrained = TRUE;
        core_disk(f, "/x")->held_open_by = STRANGER;
        core_exit(f, 7);
        core_advance(f, 1999);
        g_assert_cmpuint(f->n_audits, ==, 0);
        core_forget_lines(f);
        core_advance(f, 1);
        core_expect(f, "drain a /x", "held open a /x", "changed a resources");
        check_is_open(f, STRANGER);
        core_advance(f, 60000);
        g_assert_cmpuint(f->n_audits, ==, 1);
        core_disk(f, "/x")->undrained = FALSE;
        core_advance(f, 10);
        check_is_open(f, NULL);
}

/* Nothing while nothing drains long. */
static void test_of_nothing(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_advance(f, 3600 * 1000);
        core_disk(f, "/x")->undrained = TRUE;
        core_exit(f, 7);
        core_advance(f, 1900);
        core_disk(f, "/x")->undrained = FALSE;
        core_advance(f, 3600 * 1000);
        core_assert_state(f, "a", "released /x:X registered");
        g_assert_cmpuint(f->n_audits, ==, 0);
}

/* What has changed meanwhile is not what was looked at. */
static void test_answer_is_outdated(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        f->audits_hang = TRUE;
        core_disk(f, "/x")->held_open_by = STRANGER;
        have_checked(f);
        core_advance(f, 1000);
        core_release(f, "a");
        core_answer_audits(f);
        check_is_open(f, NULL);
        core_acquire(f, "a", .pid = 7);
        core_advance(f, 1000);
        core_release(f, "a");
        core_acquire(f, "a", .pid = 7);
        core_answer_audits(f);
        check_is_open(f, NULL);
        core_advance(f, 1000);
        core_disk(f, "/x")->undrained = TRUE;
        core_exit(f, 7);
        core_answer_audits(f);
        check_is_open(f, NULL);
}

static void test_never_two_at_a_time(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        f->audits_hang = TRUE;
        have_checked(f);
        core_advance(f, 5000);
        g_assert_true(f->n_audits == 1 && f->audits->len == 1);
        f->audits_hang = FALSE;
        core_answer_audits(f);
        /* The one that was asked for meanwhile. */
        g_assert_true(f->n_audits == 2 && f->audits->len == 0);
}

static void test_driver_is_asked(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();
        g_autoptr(GError) error = NULL;

        f->driver = "little";
        f->audits_hang = TRUE;
        have_checked(f);
        core_advance(f, 1000);
        core_release(f, "a");
        g_assert_false(gl_core_remove_driver(f->core, "little", &error));
        g_assert_error(error, GL_ERROR, GL_ERROR_DRIVER_IN_USE);
        core_answer_audits(f);
        g_assert_true(gl_core_remove_driver(f->core, "little", NULL));
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/core-audit/with-each-check", test_with_each_check);
        g_test_add_func("/core-audit/of-what-does-not-drain", test_of_what_does_not_drain);
        g_test_add_func("/core-audit/of-nothing", test_of_nothing);
        g_test_add_func("/core-audit/answer-is-outdated", test_answer_is_outdated);
        g_test_add_func("/core-audit/never-two-at-a-time", test_never_two_at_a_time);
        g_test_add_func("/core-audit/driver-is-asked", test_driver_is_asked);
        return g_test_run();
}
