/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core-fixture.h"

/*
 * Drivers that are taken away, are not there, or lease the guest alone. Each case says exactly what the world hears of
 * it, in order.
 */

static const char *const guest_only[] = {"guest-only", NULL};

static CoreFixture *with_guest_only(void) {
        CoreFixture *f = core_fixture_new();

        gl_core_add_driver(f->core, "alone", guest_only);
        f->driver = "alone";
        return f;
}

static void assert_removed(CoreFixture *f, const char *driver) {
        g_autoptr(GError) error = NULL;
        gboolean removed = gl_core_remove_driver(f->core, driver, &error);

        g_assert_no_error(error);
        g_assert_true(removed);
        g_assert_false(gl_core_has_driver(f->core, driver));
}

/* It is refused, and the sentence names GUEST and has PART in it. */
static void assert_in_use(CoreFixture *f, const char *driver, const char *guest, const char *part) {
        g_autofree char *quoted = g_strdup_printf("Guest \"%s\"", guest);
        g_autoptr(GError) error = NULL;

        g_assert_false(gl_core_remove_driver(f->core, driver, &error));
        g_assert_error(error, GL_ERROR, GL_ERROR_DRIVER_IN_USE);
        if (!strstr(error->message, quoted) || !strstr(error->message, part) || !strstr(error->message, driver))
                g_error("%s and \"%s\" should be in: %s", quoted, part, error->message);
        g_assert_true(gl_core_has_driver(f->core, driver));
        core_expect_nothing(f);
}

/* --- taking one away --- */

static void test_remove_unused(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        assert_removed(f, "little");
        assert_removed(f, "little"); /* nor twice */
        assert_removed(f, "test");
        g_assert_cmpstr(core_code_name(core_create(f, "a")), ==, "NoSuchDriver");
        core_start(f, "a", "/x:X");
        core_expect(f, "reply 1 NoSuchDriver");
}

static void test_remove_held(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 0);
        assert_in_use(f, "test", "a", "holds leases");
        assert_removed(f, "little");
        core_have(f, "b", "/y:X", 0);
        core_release(f, "a");
        core_forget_lines(f);
        assert_in_use(f, "test", "b", "holds leases");
        core_shutdown(f, "b", FALSE);
        core_forget_lines(f);
        assert_removed(f, "test");
}

/* It has leases in the sense of its state, whatever it has of resources. */
static void test_remove_held_without_resources(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 0);
        core_unplug(f, "a", "/x");
        core_forget_lines(f);
        assert_in_use(f, "test", "a", "holds leases");
}

static void test_remove_counts(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();
        g_autoptr(GError) error = NULL;

        core_have(f, "a", "/x:X", 0);
        core_have(f, "b", "/y:X", 0);
        core_have(f, "c", "/z:X", 0);
        g_assert_false(gl_core_remove_driver(f->core, "test", &error));
        g_assert_nonnull(strstr(error->message, ", and 2 more."));
}

static void test_remove_lost(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have_lost(f, "a", "/x:X", "", 7);
        assert_in_use(f, "test", "a", "holds leases");
        core_disk(f, "/x")->error = -1;
        /* Released, what was lost is blocked on until the process is gone. */
        core_release(f, "a");
        core_forget_lines(f);
        assert_in_use(f, "test", "a", "holds leases");
        core_exit(f, 7);
        core_forget_lines(f);
        assert_removed(f, "test");
}

/* Lost and unplugged: nothing to be seen, but it blocks others. */
static void test_remove_ghosts(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have_lost(f, "a", "/x:X", "", 7);
        core_unplug(f, "a", "/x");
        core_release(f, "a");
        core_forget_lines(f);
        core_assert_state(f, "a", "released /x:X lost and unplugged");
        assert_in_use(f, "test", "a", "holds leases");
        core_exit(f, 7);
        core_forget_lines(f);
        assert_removed(f, "test");
}

static void test_remove_taking(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have_registered(f, "a", "/x:X");
        f->hangs = TRUE;
        core_acquire(f, "a");
        core_forget_lines(f);
        assert_in_use(f, "test", "a", "has work under way");
        /* The caller has been told that it takes too long, and still the driver is at it. */
        core_advance(f, 10000);
        core_forget_lines(f);
        assert_in_use(f, "test", "a", "has work under way");
        f->hangs = FALSE;
        core_answer_all(f);
        core_forget_lines(f);
        assert_removed(f, "test");
}

static void test_remove_starting(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        f->hangs = TRUE;
        core_start(f, "a", "/x:X");
        core_forget_lines(f);
        assert_in_use(f, "test", "a", "has work under way");
        f->hangs = FALSE;
        core_answer_all(f);
        core_shutdown(f, "a", FALSE);
        core_forget_lines(f);
        assert_removed(f, "test");
}

static void test_remove_waiting(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        f->driver = "little";
        core_have(f, "a", "/x:X", 0);
        f->driver = NULL;
        core_have_registered(f, "b", "/x:X");
        core_acquire(f, "b", .wait_ms = 60000);
        core_forget_lines(f);
        assert_in_use(f, "test", "b", "waits for leases");
        assert_in_use(f, "little", "a", "holds leases");
        core_release(f, "a");
        core_shutdown(f, "b", FALSE);
        core_forget_lines(f);
        assert_removed(f, "test");
}

static void test_remove_giving_back(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 0);
        f->hangs = TRUE;
        core_release(f, "a");
        core_forget_lines(f);
        assert_in_use(f, "test", "a", "has work under way");
        f->hangs = FALSE;
        core_answer_all(f);
        core_forget_lines(f);
        assert_removed(f, "test");
}

static void test_remove_undoing(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have_registered(f, "a", "/x:X");
        f->save_fails = TRUE;
        core_disk(f, "/x")->hangs = TRUE;
        core_acquire(f, "a");
        core_answer(f); /* taken, and not to be saved: it goes back */
        core_forget_lines(f);
        assert_in_use(f, "test", "a", "has work under way");
        core_answer(f);
        core_forget_lines(f);
        assert_removed(f, "test");
}

static void test_remove_draining(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_disk(f, "/x")->undrained = TRUE;
        core_exit(f, 7);
        core_forget_lines(f);
        assert_in_use(f, "test", "a", "has work under way");
        core_disk(f, "/x")->undrained = FALSE;
        core_advance(f, 10);
        core_forget_lines(f);
        assert_removed(f, "test");
}

static void test_remove_retaking(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_disk(f, "/x")->error = GL_ERROR_CONFLICT;
        core_restore(f, "a", GL_GUEST_HELD, "/x:X", GL_RESOURCE_HELD, 7);
        assert_in_use(f, "test", "a", "holds leases");
        core_retake(f, "a");
        core_forget_lines(f);
        assert_in_use(f, "test", "a", "has work under way");
        core_disk(f, "/x")->error = -1;
        core_advance(f, 50);
        core_exit(f, 7);
        core_forget_lines(f);
        assert_removed(f, "test");
}

static void test_remove_plugging(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 0);
        core_disk(f, "/y")->hangs = TRUE;
        core_plug(f, "a", "/y:X", 0);
        core_forget_lines(f);
        assert_in_use(f, "test", "a", "has work under way");
        core_answer(f);
        core_disk(f, "/y")->hangs = FALSE;
        core_shutdown(f, "a", FALSE);
        core_forget_lines(f);
        assert_removed(f, "test");
}

/* Who waits for a child waits for no driver. */
static void test_remove_while_a_child_is_waited_for(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have_registered(f, "a", "/x:X");
        core_get_child(f, "a", 1000);
        core_forget_lines(f);
        assert_removed(f, "test");
}

/* --- without it --- */

static void test_calls_without(void) {
        static const char *const just_disks[] = {"disk", NULL};
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have_registered(f, "a", "/x:X /y:R");
        core_have(f, "b", "/z:X", 0);
        core_release(f, "b");
        core_forget_lines(f);
        assert_removed(f, "test");

        g_assert_cmpstr(core_code_name(core_register(f, "a", "/w:X")), ==, "NoSuchDriver");
        g_assert_nonnull(strstr(f->message, "Guest \"a\""));
        g_assert_nonnull(strstr(f->message, "LoadDriver"));
        core_acquire(f, "a");
        core_plug(f, "a", "/w:X", 0);
        core_acquire(f, "b");
        core_plug(f, "b", "/w:X", 0);
        core_expect(f, "reply 3 NoSuchDriver", "reply 4 NoSuchDriver", "reply 5 NoSuchDriver", "reply 6 NoSuchDriver");
        /* The rest asks nothing of a driver. */
        core_acquire(f, "a", .pid = 7, .register_only = TRUE);
        core_unplug(f, "a", "/y");
        core_inquire(f, "b");
        core_release(f, "b");
        core_shutdown(f, "b", FALSE);
        core_free_guest(f, "b");
        g_assert_cmpstr(core_code_name(f->code), ==, "ok");
        core_exit(f, 7);
        core_assert_state(f, "a", "new /x:X registered");
        core_forget_lines(f);

        gl_core_add_driver(f->core, "test", just_disks);
        core_acquire(f, "a");
        g_assert_cmpstr(core_code_name(f->code), ==, "ok");
        core_assert_state(f, "a", "held /x:X held");
}

/* A service that comes back without it keeps others off, and takes the guest's end for what it is. */
static void test_restored_without(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        f->driver = "nosuch";
        core_restore(f, "a", GL_GUEST_HELD, "/x:X /y:R", GL_RESOURCE_HELD, 7);
        core_retake(f, "a");
        core_expect(f, "watch 7", "changed a resources", "reply 1 ok");
        core_assert_state(f, "a", "held /x:X held /y:R held");
        g_assert_nonnull(strstr(core_resource(f, "a", "/x")->scope_reason, "\"nosuch\", which is not loaded"));
        f->driver = NULL;
        core_have_registered(f, "b", "/x:R");
        core_acquire(f, "b");
        core_acquire(f, "a");
        core_plug(f, "a", "/x:R", 0);
        core_expect(f, "reply 2 Conflict", "reply 3 NoSuchDriver", "reply 4 NoSuchDriver");
        core_inquire(f, "a");
        g_assert_cmpstr(core_code_name(f->code), ==, "ok");
        core_forget_lines(f);
        core_exit(f, 7);
        core_expect(f, "released a guest-exited /x,/y", "changed a state,pid,resources");
        g_assert_cmpuint(gl_table_size(f->core->table), ==, 0);
}

/* What has no lock cannot be raised or lowered: there is nothing that a driver could change. */
static void test_mode_of_what_has_no_lock(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_disk(f, "/x")->error = GL_ERROR_STORAGE_UNAVAILABLE;
        core_restore(f, "a", GL_GUEST_HELD, "/x:X", GL_RESOURCE_HELD, 7);
        core_retake(f, "a");
        core_disk(f, "/x")->error = -1;
        core_forget_lines(f);
        core_plug(f, "a", "/x:R", 0);
        core_plug(f, "a", "/x:X", 0);
        core_expect(f, "reply 2 StorageUnavailable", "reply 3 ok g1");
        core_assert_state(f, "a", "held /x:X held");
        core_release(f, "a");
        core_acquire(f, "a");
        core_plug(f, "a", "/x:R", 0);
        g_assert_cmpstr(core_code_name(f->code), ==, "ok");
}

/* --- the guest alone --- */

static void test_alone(void) {
        g_autoptr(CoreFixture) f = with_guest_only();

        core_have_registered(f, "a", "/x:X key:W /y:R");
        g_assert_nonnull(strstr(core_resource(f, "a", "/x")->scope_reason, "\"alone\" leases the guest alone"));
        core_acquire(f, "a", .pid = 7);
        core_expect(f, "watch 7", "acquired a g1 ", "changed a state,pid,generation,acquired-at", "reply 1 ok g1");
        core_assert_state(f, "a", "held /x:X registered key:W registered /y:R registered");
        g_assert_cmpuint(gl_core_n_leases(f->core), ==, 0);
        g_assert_cmpuint(gl_table_size(f->core->table), ==, 0);
        assert_in_use(f, "alone", "a", "holds leases");
        /* Repeated, it is success without effect; what is registered later is ignored as well. */
        core_acquire(f, "a");
        g_assert_cmpstr(core_code_name(core_register(f, "a", "/z:X")), ==, "ok");
        core_acquire(f, "a");
        core_expect(f, "reply 2 ok g1", "changed a resources", "reply 3 ok g1");
        core_unplug(f, "a", "/z");
        core_expect(f, "changed a resources", "reply 4 ok");
        core_exit(f, 7);
        core_expect(f, "released a guest-exited ", "changed a state,pid");
        core_assert_state(f, "a", "released /x:X registered key:W registered /y:R registered");
        g_assert_nonnull(core_resource(f, "a", "/x")->scope_reason);
        assert_removed(f, "alone");
}

/* Disks are no concern of it: not between two of its guests, nor between it and a driver that leases them. */
static void test_alone_on_one_disk(void) {
        g_autoptr(CoreFixture) f = with_guest_only();

        core_have(f, "a", "/x:X", 0);
        core_have(f, "b", "/x:X", 0);
        f->driver = NULL;
        core_have(f, "c", "/x:X", 0);
        core_assert_state(f, "c", "held /x:X held");
        core_assert_state(f, "a", "held /x:X registered");
}

static void test_alone_started(void) {
        g_autoptr(CoreFixture) f = with_guest_only();

        core_start(f, "a", "/x:X /y:R", .pid = 7);
        core_expect(f, "watch 7", "added a", "acquired a g1 ", "reply 1 ok g1");
        core_start(f, "a", "/x:X /y:R", .pid = 7);
        core_start(f, "a", "/x:X", .pid = 7);
        core_expect(f, "reply 2 ok g1", "reply 3 AlreadyExists");
        core_shutdown(f, "a", TRUE);
        core_exit(f, 7);
        core_expect(f, "signal 7 9", "released a shutdown ", "changed a state,pid", "removed a", "reply 4 ok <state>");
}

static void test_alone_released(void) {
        g_autoptr(CoreFixture) f = with_guest_only();

        core_have(f, "a", "/x:X", 0);
        core_release(f, "a");
        core_expect(f, "released a released ", "changed a state", "reply 2 ok <state>");
        core_release(f, "a");
        core_expect(f, "reply 3 ok <state>");
        core_acquire(f, "a", .state = f->text);
        core_expect(f, "acquired a g2 ", "changed a state,generation,acquired-at", "reply 4 ok g2");
        core_shutdown(f, "a", FALSE);
        core_expect(f, "released a shutdown ", "changed a state", "reply 5 ok <state>");
        core_free_guest(f, "a");
        core_expect(f, "removed a", "reply 6 ok");
}

/* Before its state is looked at. */
static void test_alone_has_no_hotplug(void) {
        g_autoptr(CoreFixture) f = with_guest_only();

        core_have_registered(f, "a", "/x:X");
        core_plug(f, "a", "/y:X", 0); /* new */
        core_acquire(f, "a");
        core_forget_lines(f);
        core_plug(f, "a", "/y:X", 0);
        core_plug(f, "a", "/x:X", 0);
        core_release(f, "a");
        core_plug(f, "a", "/y:X", 0);
        core_expect(f, "reply 3 NotSupported", "reply 4 NotSupported", "released a released ", "changed a state",
                    "reply 5 ok <state>", "reply 6 NotSupported");
        core_assert_state(f, "a", "released /x:X registered");
}

/* More than this host's is never given in silence. */
static void test_alone_with_a_scope(void) {
        g_autoptr(CoreFixture) f = with_guest_only();

        core_have_registered(f, "a", "/x:X");
        core_guest(f, "a")->require_scope = GL_SCOPE_SHARED;
        core_acquire(f, "a");
        core_expect(f, "reply 1 StorageUnavailable");
        g_assert_nonnull(strstr(f->message, "\"shared\""));
        core_guest(f, "a")->require_scope = GL_SCOPE_HOST;
        core_acquire(f, "a");
        g_assert_cmpstr(core_code_name(f->code), ==, "ok");
        gl_core_set_defaults(f->core, "alone", GL_LOSS_PAUSE, GL_SCOPE_FENCED);
        core_forget_lines(f);
        core_start(f, "b", "/x:X");
        core_expect(f, "reply 3 StorageUnavailable");
        g_assert_null(core_guest(f, "b"));
}

static void test_alone_cannot_be_saved(void) {
        g_autoptr(CoreFixture) f = with_guest_only();

        core_have_registered(f, "a", "/x:X");
        f->save_fails = TRUE;
        core_acquire(f, "a");
        core_expect(f, "changed a state,generation,acquired-at", "reply 1 DriverFailed");
        core_assert_state(f, "a", "new /x:X registered");
        f->save_fails = FALSE;
        core_acquire(f, "a");
        core_expect(f, "acquired a g1 ", "changed a state,generation,acquired-at", "reply 2 ok g1");
}

static void test_alone_unbound_quota(void) {
        g_autoptr(CoreFixture) f = with_guest_only();

        for (guint i = 0; i < f->limits.unbound_guests_per_uid; i++) {
                g_autofree char *name = g_strdup_printf("guest%u", i);

                core_have(f, name, "/x:X", 0);
        }
        core_start(f, "more", "/x:X");
        g_assert_cmpstr(core_code_name(f->code), ==, "LimitExceeded");
}

static void test_alone_restored(void) {
        g_autoptr(CoreFixture) f = with_guest_only();

        core_restore(f, "a", GL_GUEST_HELD, "/x:X", GL_RESOURCE_REGISTERED, 7);
        core_retake(f, "a");
        core_expect(f, "watch 7", "reply 1 ok");
        core_assert_state(f, "a", "held /x:X registered");
        assert_in_use(f, "alone", "a", "holds leases");
        core_acquire(f, "a");
        g_assert_cmpstr(core_code_name(f->code), ==, "ok");
        core_forget_lines(f);
        core_exit(f, 7);
        core_expect(f, "released a guest-exited ", "changed a state,pid");
}

int main(int argc, char **argv) {
        static const struct {
                const char *name;
                GTestFunc test;
        } tests[] = {
                {"remove-unused", test_remove_unused},
                {"remove-held", test_remove_held},
                {"remove-held-without-resources", test_remove_held_without_resources},
                {"remove-counts", test_remove_counts},
                {"remove-lost", test_remove_lost},
                {"remove-ghosts", test_remove_ghosts},
                {"remove-taking", test_remove_taking},
                {"remove-starting", test_remove_starting},
                {"remove-waiting", test_remove_waiting},
                {"remove-giving-back", test_remove_giving_back},
                {"remove-undoing", test_remove_undoing},
                {"remove-draining", test_remove_draining},
                {"remove-retaking", test_remove_retaking},
                {"remove-plugging", test_remove_plugging},
                {"remove-while-a-child-is-waited-for", test_remove_while_a_child_is_waited_for},
                {"calls-without", test_calls_without},
                {"restored-without", test_restored_without},
                {"mode-of-what-has-no-lock", test_mode_of_what_has_no_lock},
                {"alone", test_alone},
                {"alone-on-one-disk", test_alone_on_one_disk},
                {"alone-started", test_alone_started},
                {"alone-released", test_alone_released},
                {"alone-has-no-hotplug", test_alone_has_no_hotplug},
                {"alone-with-a-scope", test_alone_with_a_scope},
                {"alone-cannot-be-saved", test_alone_cannot_be_saved},
                {"alone-unbound-quota", test_alone_unbound_quota},
                {"alone-restored", test_alone_restored},
        };

        g_test_init(&argc, &argv, NULL);
        for (guint i = 0; i < G_N_ELEMENTS(tests); i++) {
                g_autofree char *path = g_strdup_printf("/core-drivers/%s", tests[i].name);

                g_test_add_func(path, tests[i].test);
        }
        return g_test_run();
}
