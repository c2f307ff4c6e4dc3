/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core-fixture.h"

/* Plugging and unplugging, raising and lowering. Each case says exactly what the world hears of it, in order. */

/* --- plugging --- */

static void test_plug_and_unplug(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_plug(f, "a", "/y:R", 0);
        core_expect(f, "take a /y:R", "changed a resources", "acquired a g2 /y:R",
                    "changed a generation,acquired-at,resources", "reply 2 ok g2");
        core_plug(f, "a", "/y:R", 0);
        core_expect(f, "reply 3 ok g2");
        core_unplug(f, "a", "/y");
        core_expect(f, "give-back a /y", "released a released /y", "changed a resources", "reply 4 ok");
        core_unplug(f, "a", "/y");
        core_expect(f, "reply 5 NoSuchResource");
        core_assert_state(f, "a", "held /x:X held");
        g_assert_cmpuint(gl_table_size(f->core->table), ==, 1);
}

static void test_plug_by_another_name(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_set_place(f, "/link", core_disk(f, "/x")->place);
        core_plug(f, "a", "/link:X", 0); /* it is the same disk */
        core_expect(f, "reply 2 ok g1");
        core_set_place(f, "/x", core_disk(f, "/other")->place);
        core_plug(f, "a", "/x:X", 0); /* the name, but not the disk */
        core_expect(f, "reply 3 Stale");
}

static void test_plug_refused_leaves_nothing(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_have(f, "b", "/y:X", 8);
        core_plug(f, "a", "/y:X", 0);
        core_expect(f, "changed a resources", "reply 3 Conflict");
        core_disk(f, "/z")->error = GL_ERROR_STORAGE_UNAVAILABLE;
        core_plug(f, "a", "/z:X", 0);
        core_expect(f, "take a /z:X", "changed a resources", "changed a resources", "reply 4 StorageUnavailable");
        core_disk(f, "/z")->error = -1;
        f->save_fails = TRUE;
        core_plug(f, "a", "/z:X", 0);
        core_assert_state(f, "a", "held /x:X held");
        core_assert_state(f, "b", "held /y:X held");
        g_assert_cmpint(f->code, ==, GL_ERROR_DRIVER_FAILED);
        g_assert_cmpuint(gl_table_size(f->core->table), ==, 2);
}

/* What was registered before stays registered, in its own mode. */
static void test_plug_of_what_is_registered(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_have(f, "b", "/y:X", 8);
        core_register(f, "a", "/y:X");
        core_forget_lines(f);
        core_plug(f, "a", "/y:R", 0);
        core_expect(f, "reply 3 Conflict");
        core_assert_state(f, "a", "held /x:X held /y:X registered");
        core_exit(f, 8);
        core_forget_lines(f);
        f->save_fails = TRUE;
        core_plug(f, "a", "/y:R", 0);
        core_expect(f, "take a /y:R", "give-back a /y", "changed a generation,acquired-at,resources",
                    "reply 4 DriverFailed");
        core_assert_state(f, "a", "held /x:X held /y:X registered");
        f->save_fails = FALSE;
        core_plug(f, "a", "/y:R", 0);
        core_expect(f, "take a /y:R", "acquired a g3 /y:R", "changed a generation,acquired-at,resources",
                    "reply 5 ok g3");
        core_assert_state(f, "a", "held /x:X held /y:R held");
}

static void test_plug_twice_at_once(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_disk(f, "/y")->hangs = TRUE;
        core_plug(f, "a", "/y:X", 0);
        core_plug(f, "a", "/y:R", 0);
        core_expect(f, "take a /y:X", "changed a resources");
        core_disk(f, "/y")->hangs = FALSE;
        core_answer(f);
        core_expect(f, "acquired a g2 /y:X", "changed a generation,acquired-at,resources", "reply 2 ok g2",
                    "mode a /y:R", "acquired a g3 /y:R", "changed a generation,resources", "reply 3 ok g3");
        core_assert_state(f, "a", "held /x:X held /y:R held");
}

/* The first one fails, and takes what it brought along; the second still wants it. */
static void test_plug_twice_and_the_first_fails(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_disk(f, "/y")->hangs = TRUE;
        core_plug(f, "a", "/y:X", 0);
        core_plug(f, "a", "/y:R", 0);
        core_forget_lines(f);
        core_disk(f, "/y")->error = GL_ERROR_CONFLICT;
        core_answer(f);
        core_expect(f, "reply 2 Conflict", "take a /y:R");
        core_answer(f);
        core_expect(f, "changed a resources", "reply 3 Conflict");
        core_assert_state(f, "a", "held /x:X held");
}

/* The second one gets it before the first, which then fails, and must not take it along. */
static void test_plug_twice_and_the_second_is_served_first(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_have_registered(f, "b", "/y:W");
        core_disk(f, "/y")->hangs = TRUE;
        core_acquire(f, "b");
        core_plug(f, "a", "/y:X", 0);
        core_disk(f, "/y")->hangs = FALSE;
        core_plug(f, "a", "/y:W", 0);
        core_expect(f, "take b /y:W", "changed a resources", "take a /y:W", "acquired a g2 /y:W",
                    "changed a generation,acquired-at,resources", "reply 4 ok g2");
        core_answer(f);
        core_expect(f, "acquired b g3 /y:W", "changed b state,generation,acquired-at,resources", "reply 2 ok g3",
                    "reply 3 Conflict");
        core_assert_state(f, "a", "held /x:X held /y:W held");
}

static void test_plug_while_it_is_unplugged(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_disk(f, "/x")->hangs = TRUE;
        core_unplug(f, "a", "/x");
        core_plug(f, "a", "/x:R", 0);
        core_unplug(f, "a", "/x"); /* which ends the one before */
        core_expect(f, "give-back a /x", "reply 3 Cancelled");
        core_plug(f, "a", "/x:R", 0);
        core_disk(f, "/x")->hangs = FALSE;
        core_answer(f);
        core_expect(f, "released a released /x", "changed a resources", "reply 2 ok", "reply 4 ok", "take a /x:R",
                    "acquired a g2 /x:R", "changed a generation,acquired-at,resources", "reply 5 ok g2");
}

static void test_unplug_ends_a_waiting_plug(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_have(f, "b", "/y:X", 8);
        core_plug(f, "b", "/x:X", 5000);
        core_forget_lines(f);
        core_unplug(f, "b", "/x");
        core_expect(f, "changed b waiting,resources", "reply 3 Cancelled", "reply 4 ok");
        core_register(f, "b", "/x:X"); /* and one that was registered before */
        core_plug(f, "b", "/x:X", 5000);
        core_forget_lines(f);
        core_unplug(f, "b", "/x");
        core_expect(f, "changed b waiting", "reply 5 Cancelled", "changed b resources", "reply 6 ok");
}

static void test_driver_without_hotplug(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        gl_core_set_defaults(f->core, "little", GL_LOSS_PAUSE, GL_SCOPE_MOUNT);
        core_create(f, "a"); /* in a state in which it would be wrong as well */
        core_plug(f, "a", "/x:X", 0);
        core_expect(f, "added a", "reply 1 NotSupported");
        g_assert_cmpint(core_register(f, "a", "/x:R"), ==, GL_ERROR_NOT_SUPPORTED);
        g_assert_cmpint(core_register(f, "a", "key:X"), ==, GL_ERROR_NOT_SUPPORTED);
        g_assert_cmpint(core_register(f, "a", "/x:X"), ==, -1);
}

/* --- raising and lowering --- */

static void test_raise_and_lower(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:R", 7);
        core_plug(f, "a", "/x:X", 0);
        core_expect(f, "mode a /x:X", "acquired a g2 /x:X", "changed a generation,resources", "reply 2 ok g2");
        core_have_registered(f, "b", "/x:R");
        core_acquire(f, "b");
        core_expect(f, "reply 3 Conflict");
        core_plug(f, "a", "/x:R", 0);
        core_expect(f, "mode a /x:R", "acquired a g3 /x:R", "changed a generation,resources", "reply 4 ok g3");
        core_acquire(f, "b");
        core_expect(f, "take b /x:R", "acquired b g4 /x:R", "changed b state,generation,acquired-at,resources",
                    "reply 5 ok g4");
        core_plug(f, "a", "/x:X", 5000); /* without waiting */
        core_expect(f, "reply 6 Conflict");
        g_assert_nonnull(strstr(f->message, "guest \"b\""));
        core_assert_state(f, "a", "held /x:R held");
}

static void test_raise_refused(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:R", 7);
        core_have_registered(f, "b", "/x:R");
        core_disk(f, "/x")->error = GL_ERROR_CONFLICT;
        core_plug(f, "a", "/x:X", 0);
        core_expect(f, "mode a /x:X", "reply 2 Conflict");
        core_disk(f, "/x")->error = -1;
        f->save_fails = TRUE;
        core_plug(f, "a", "/x:X", 0);
        core_expect(f, "mode a /x:X", "mode a /x:R", "reply 3 DriverFailed");
        core_assert_state(f, "a", "held /x:R held");
        f->save_fails = FALSE;
        core_acquire(f, "b"); /* neither has it become exclusive */
        core_expect(f, "take b /x:R", "acquired b g2 /x:R", "changed b state,generation,acquired-at,resources",
                    "reply 4 ok g2");
}

/* Nobody gets in while the driver is at it, whichever of the two modes would let him. */
static void test_lowering_lets_nobody_in_early(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_have_registered(f, "b", "/x:R");
        core_disk(f, "/x")->hangs = TRUE;
        core_plug(f, "a", "/x:R", 0);
        core_acquire(f, "b");
        core_expect(f, "mode a /x:R");
        core_answer(f);
        core_expect(f, "acquired a g2 /x:R", "changed a generation,resources", "reply 2 ok g2", "take b /x:R");
        core_answer(f);
        core_assert_state(f, "b", "held /x:R held");
}

static void test_raising_lets_nobody_in_any_more(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:R", 7);
        core_have_registered(f, "b", "/x:R");
        core_disk(f, "/x")->hangs = TRUE;
        core_plug(f, "a", "/x:X", 0);
        core_acquire(f, "b");
        core_expect(f, "mode a /x:X");
        core_answer(f);
        core_expect(f, "acquired a g2 /x:X", "changed a generation,resources", "reply 2 ok g2", "reply 3 Conflict");
}

static void test_raise_that_comes_late_is_undone(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:R", 7);
        core_disk(f, "/x")->hangs = TRUE;
        core_plug(f, "a", "/x:X", 0);
        core_advance(f, 10000);
        core_expect(f, "mode a /x:X", "hangs a /x", "reply 2 StorageUnavailable");
        core_answer(f);
        core_expect(f, "mode a /x:R");
        core_answer(f);
        core_expect_nothing(f);
        core_assert_state(f, "a", "held /x:R held");

        core_plug(f, "a", "/x:X", 0);
        core_advance(f, 10000);
        core_answer(f);
        core_disk(f, "/x")->error = GL_ERROR_CONFLICT; /* there is no way back */
        core_forget_lines(f);
        core_answer(f);
        core_expect(f, "acquired a g2 /x:X", "changed a generation,resources");
        core_assert_state(f, "a", "held /x:X held");
        core_disk(f, "/x")->error = -1;
}

int main(int argc, char **argv) {
        static const struct {
                const char *name;
                GTestFunc test;
        } tests[] = {
                {"plug-and-unplug", test_plug_and_unplug},
                {"plug-by-another-name", test_plug_by_another_name},
                {"plug-refused-leaves-nothing", test_plug_refused_leaves_nothing},
                {"plug-of-what-is-registered", test_plug_of_what_is_registered},
                {"plug-twice-at-once", test_plug_twice_at_once},
                {"plug-twice-and-the-first-fails", test_plug_twice_and_the_first_fails},
                {"plug-twice-and-the-second-is-served-first", test_plug_twice_and_the_second_is_served_first},
                {"plug-while-it-is-unplugged", test_plug_while_it_is_unplugged},
                {"unplug-ends-a-waiting-plug", test_unplug_ends_a_waiting_plug},
                {"driver-without-hotplug", test_driver_without_hotplug},
                {"raise-and-lower", test_raise_and_lower},
                {"raise-refused", test_raise_refused},
                {"lowering-lets-nobody-in-early", test_lowering_lets_nobody_in_early},
                {"raising-lets-nobody-in-any-more", test_raising_lets_nobody_in_any_more},
                {"raise-that-comes-late-is-undone", test_raise_that_comes_late_is_undone},
        };

        g_test_init(&argc, &argv, NULL);
        for (guint i = 0; i < G_N_ELEMENTS(tests); i++) {
                g_autofree char *path = g_strdup_printf("/core-plug/%s", tests[i].name);

                g_test_add_func(path, tests[i].test);
        }
        return g_test_run();
}
