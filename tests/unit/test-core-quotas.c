/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core-fixture.h"

/* Everything that a caller can make has a cap, per owner and in all; root is exempt from those per owner. */

/* Limits are read when the core is made. */
static void use_limits(CoreFixture *f) {
        core_restart(f);
}

static char *name_of(guint i) {
        return g_strdup_printf("guest%u", i);
}

static int create_nth(CoreFixture *f, guint i) {
        g_autofree char *name = name_of(i);

        return core_create(f, name);
}

static void test_defaults(void) {
        GlLimits limits;

        gl_limits_set_defaults(&limits);
        g_assert_cmpuint(limits.guests_per_uid, ==, 128);
        g_assert_cmpuint(limits.guests, ==, 16384);
        g_assert_cmpuint(limits.resources_per_guest, ==, 64);
        g_assert_cmpuint(limits.unbound_guests_per_uid, ==, 16);
        g_assert_cmpuint(limits.waiting_per_uid, ==, 32);
        g_assert_cmpuint(limits.string_bytes, ==, 255);
        g_assert_cmpuint(limits.path_bytes, ==, 4095);
        g_assert_cmpuint(limits.guest_bytes, ==, 64 * 1024);
        g_assert_cmpuint(limits.uid_bytes, ==, 1024 * 1024);
        g_assert_cmpuint(limits.storage_timeout, ==, 10 * G_USEC_PER_SEC);
        g_assert_cmpuint(limits.foreign_retry, ==, 250 * 1000);
}

static void test_guests_of_one_owner(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        for (guint i = 0; i < 128; i++)
                g_assert_cmpint(create_nth(f, i), ==, -1);
        g_assert_cmpint(create_nth(f, 128), ==, GL_ERROR_LIMIT_EXCEEDED);
        core_start(f, "another", "");
        g_assert_cmpint(f->code, ==, GL_ERROR_LIMIT_EXCEEDED);
        f->uid = 1001; /* is not concerned */
        g_assert_cmpint(create_nth(f, 0), ==, -1);
        f->uid = 0;
        for (guint i = 0; i < 130; i++)
                g_assert_cmpint(create_nth(f, i), ==, -1);
        f->uid = 1000;
        core_free_guest(f, "guest5");
        g_assert_cmpint(create_nth(f, 128), ==, -1);
}

static void test_guests_in_all(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        f->limits.guests = 3;
        use_limits(f);
        g_assert_cmpint(create_nth(f, 0), ==, -1);
        f->uid = 0;
        g_assert_cmpint(create_nth(f, 0), ==, -1);
        core_disk(f, "/x")->hangs = TRUE;
        core_start(f, "started", "/x:X"); /* counts, although nobody sees it */
        g_assert_cmpint(create_nth(f, 1), ==, GL_ERROR_LIMIT_EXCEEDED); /* root too */
        f->uid = 1000;
        g_assert_cmpint(create_nth(f, 1), ==, GL_ERROR_LIMIT_EXCEEDED);
        core_disk(f, "/x")->error = GL_ERROR_ACCESS_DENIED;
        core_answer(f);
        g_assert_cmpint(create_nth(f, 1), ==, -1);
}

/* The one that was released first goes, and none that holds or runs anything. */
static void test_oldest_released_goes(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        f->limits.guests_per_uid = 5;
        use_limits(f);
        core_have(f, "held", "/x:X", 7);
        core_create(f, "new");
        core_have(f, "running", "/y:X", 8);
        core_release(f, "running");
        core_have(f, "young", "/y:X", 0);
        core_have(f, "old", "/z:X", 0);
        core_advance(f, 5);
        core_release(f, "old");
        core_advance(f, 5);
        core_release(f, "young");
        core_forget_lines(f);
        f->uid = 1001; /* does not cost others theirs */
        core_create(f, "other");
        core_expect(f,
                    "added other");
        f->uid = 1000;
        core_create(f, "another");
        core_expect(f, "removed old", "added another");
        core_create(f, "yet-another");
        core_expect(f, "removed young", "added yet-another");
        g_assert_cmpint(core_create(f, "one-too-many"), ==, GL_ERROR_LIMIT_EXCEEDED);
        core_expect_nothing(f);
}

/* Nor one of which somebody is just asking something. */
static void test_oldest_released_but_busy(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        f->limits.guests_per_uid = 1;
        use_limits(f);
        core_have(f, "old", "/x:X", 0);
        core_release(f, "old");
        core_get_child(f, "old", 1000);
        g_assert_cmpint(core_create(f, "another"), ==, GL_ERROR_LIMIT_EXCEEDED);
        core_advance(f, 1000);
        g_assert_cmpint(core_create(f, "another"), ==, -1);
        g_assert_null(core_guest(f, "old"));
}

static void test_resources(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        f->uid = 0; /* a cap per guest concerns root as well */
        core_create(f, "a");
        for (guint i = 0; i < 64; i++) {
                g_autofree char *resource = g_strdup_printf("/disk%u:X", i);

                g_assert_cmpint(core_register(f, "a", resource), ==, -1);
        }
        g_assert_cmpint(core_register(f, "a", "/disk64:X"), ==, GL_ERROR_LIMIT_EXCEEDED);
        g_assert_cmpint(core_register(f, "a", "/disk0:X"), ==, GL_ERROR_ALREADY_REGISTERED); /* says what it is */
        core_acquire(f, "a");
        g_assert_cmpint(f->code, ==, -1);
        core_plug(f, "a", "/disk64:X", 0);
        g_assert_cmpint(f->code, ==, GL_ERROR_LIMIT_EXCEEDED);
        core_unplug(f, "a", "/disk7");
        core_plug(f, "a", "/disk64:X", 0);
        g_assert_cmpint(f->code, ==, -1);
        g_assert_cmpuint(gl_core_n_leases(f->core), ==, 64);
}

/* Registers paths of N bytes until that is refused; how many there are then. */
static guint fill(CoreFixture *f, const char *guest, guint n) {
        guint i;

        for (i = 0; i < 1000; i++) {
                g_autofree char *tail = g_strnfill(n - 10, 'x'), *resource = g_strdup_printf("/%09u%s:R", i, tail);

                if (core_register(f, guest, resource) != -1)
                        break;
        }
        g_assert_cmpint(f->code, ==, GL_ERROR_LIMIT_EXCEEDED);
        return i;
}

static void test_bytes_of_a_guest(void) {
        for (guint uid = 0; uid <= 1000; uid += 1000) {
                g_autoptr(CoreFixture) f = core_fixture_new();

                f->uid = uid;
                core_create(f, "a");
                g_assert_cmpuint(fill(f, "a", 4000), ==, 16); /* 64 KiB, with the name */
        }
}

static void test_bytes_of_an_owner(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();
        g_autofree char *name = g_strnfill(200, 'n');
        GlRequest request;
        GError *error = NULL;

        f->limits.uid_bytes = 10000;
        use_limits(f);
        core_create(f, "a");
        core_create(f, "b");
        g_assert_cmpuint(fill(f, "a", 1000), ==, 9);
        g_assert_cmpuint(fill(f, "b", 900), ==, 1);
        request = core_request(f);
        g_assert_false(gl_core_set_name(f->core, &request, core_guest(f, "b"), name, &error));
        g_assert_error(error, GL_ERROR, GL_ERROR_LIMIT_EXCEEDED);
        g_clear_error(&error);
        g_assert_cmpint(core_create(f, name), ==, GL_ERROR_LIMIT_EXCEEDED);
        core_start(f, "c", "/a-rather-long-path-that-does-not-fit-because-there-are-less-than-a-hundred-bytes-left-"
                           "for-everything-else:X");
        g_assert_cmpint(f->code, ==, GL_ERROR_LIMIT_EXCEEDED);
        f->uid = 0;
        core_create(f, "c");
        g_assert_cmpuint(fill(f, "c", 1000), ==, 64);
}

static void test_unbound(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        f->limits.unbound_guests_per_uid = 2;
        use_limits(f);
        core_have(f, "a", "/a:X", 0);
        core_have(f, "b", "/b:X", 0);
        core_start(f, "c", "/c:X");
        g_assert_cmpint(f->code, ==, GL_ERROR_LIMIT_EXCEEDED);
        g_assert_nonnull(strstr(f->message, "\"pid\""));
        core_start(f, "c", "/c:X", .pid = 7);
        g_assert_cmpint(f->code, ==, -1);
        core_plug(f, "a", "/d:X", 0); /* is one already */
        g_assert_cmpint(f->code, ==, -1);
        f->uid = 1001;
        core_start(f, "c", "/e:X");
        g_assert_cmpint(f->code, ==, -1);
        f->uid = 0;
        for (guint i = 0; i < 5; i++) {
                g_autofree char *name = name_of(i), *resource = g_strdup_printf("/root%u:X", i);

                core_start(f, name, resource);
                g_assert_cmpint(f->code, ==, -1);
        }
}

/* Not to be got around by asking for many at once. */
static void test_unbound_at_once(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();
        guint n_granted = 0;

        f->limits.unbound_guests_per_uid = 2;
        use_limits(f);
        f->hangs = TRUE;
        for (guint i = 0; i < 5; i++) {
                g_autofree char *name = name_of(i), *resource = g_strdup_printf("/disk%u:X", i);

                core_start(f, name, resource);
        }
        for (guint i = 0; i < 5; i++) {
                core_answer(f);
                n_granted += f->code == -1;
        }
        g_assert_cmpuint(n_granted, ==, 2);
        f->hangs = FALSE;
        core_answer_all(f);
        g_assert_cmpuint(gl_table_size(f->core->table), ==, 2);
}

/* One that has just ended is not one that was never bound. */
static void test_unbound_and_ending(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        f->limits.unbound_guests_per_uid = 1;
        use_limits(f);
        core_have(f, "a", "/a:X", 7);
        core_disk(f, "/a")->undrained = TRUE;
        core_exit(f, 7);
        core_start(f, "b", "/b:X");
        g_assert_cmpint(f->code, ==, -1);
}

static void test_waiting(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        f->limits.waiting_per_uid = 2;
        use_limits(f);
        core_have(f, "holder", "/x:X", 7);
        for (guint i = 0; i < 3; i++) {
                g_autofree char *name = name_of(i);

                core_create(f, name);
                core_register(f, name, "/x:X");
                core_forget_lines(f);
                core_acquire(f, name, .wait_ms = 1000);
        }
        core_expect(f, "reply 4 LimitExceeded");
        core_acquire(f, "guest2"); /* who does not wait is not concerned */
        core_expect(f, "reply 5 Conflict");
        f->uid = 1001;
        core_start(f, "other", "/x:X", .wait_ms = 1000);
        core_expect(f, "waits 6");
        f->uid = 0;
        for (guint i = 0; i < 5; i++) {
                g_autofree char *name = name_of(i);

                core_start(f, name, "/x:X", .wait_ms = 1000);
        }
        core_expect(f, "waits 7", "waits 8", "waits 9", "waits 10", "waits 11");
        core_advance(f, 1000);
        f->uid = 1000;
        core_forget_lines(f);
        core_acquire(f, "guest2", .wait_ms = 1000);
        core_expect(f, "waits 12", "changed guest2 waiting");
        core_advance(f, 1000);
}

/* What was there before a restart is not kept out by limits that have been lowered meanwhile. */
static void test_restore_knows_no_limits(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        f->limits.guests = 1;
        f->limits.guests_per_uid = 1;
        f->limits.string_bytes = 1;
        use_limits(f);
        core_restore(f, "first", GL_GUEST_HELD, "/x:X", GL_RESOURCE_HELD, 7);
        core_restore(f, "second", GL_GUEST_HELD, "/y:X", GL_RESOURCE_HELD, 8);
        core_restore(f, "third", GL_GUEST_RELEASED, "/z:X", GL_RESOURCE_REGISTERED, 0);
        core_retake(f, "first");
        core_retake(f, "second");
        g_assert_cmpuint(gl_core_n_guests(f->core), ==, 3);
        g_assert_cmpuint(gl_core_n_leases(f->core), ==, 2);
}

static void test_owners(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();
        GlGuestSpec spec = {.uuid = "4DEA22B3-1d52-d8f3-2516-782e98ab3fa0", .name = "web1", .owner_uid = 1001};
        GlRequest request = core_request(f);
        GError *error = NULL;

        g_assert_null(gl_core_create_guest(f->core, &request, &spec, &error));
        g_assert_error(error, GL_ERROR, GL_ERROR_ACCESS_DENIED);
        g_clear_error(&error);
        request.may_manage = TRUE;
        g_assert_nonnull(gl_core_create_guest(f->core, &request, &spec, &error));
        spec.owner_uid = 1000; /* the same uuid of another owner is another guest */
        g_assert_nonnull(gl_core_create_guest(f->core, &request, &spec, &error));
        spec.driver = "none";
        spec.uuid = "4dea22b3-1d52-d8f3-2516-782e98ab3fa1";
        g_assert_null(gl_core_create_guest(f->core, &request, &spec, &error));
        g_assert_error(error, GL_ERROR, GL_ERROR_NO_SUCH_DRIVER);
        g_clear_error(&error);
        core_drain(f);
        g_assert_nonnull(gl_core_find_guest(f->core, 1001, "4dea22b3-1d52-d8f3-2516-782E98AB3FA0"));
        g_assert_null(gl_core_find_guest(f->core, 1002, "4dea22b3-1d52-d8f3-2516-782e98ab3fa0"));
        g_assert_null(gl_core_find_guest(f->core, 1001, "nonsense"));
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/core-quotas/defaults", test_defaults);
        g_test_add_func("/core-quotas/guests-of-one-owner", test_guests_of_one_owner);
        g_test_add_func("/core-quotas/guests-in-all", test_guests_in_all);
        g_test_add_func("/core-quotas/oldest-released-goes", test_oldest_released_goes);
        g_test_add_func("/core-quotas/oldest-released-but-busy", test_oldest_released_but_busy);
        g_test_add_func("/core-quotas/resources", test_resources);
        g_test_add_func("/core-quotas/bytes-of-a-guest", test_bytes_of_a_guest);
        g_test_add_func("/core-quotas/bytes-of-an-owner", test_bytes_of_an_owner);
        g_test_add_func("/core-quotas/unbound", test_unbound);
        g_test_add_func("/core-quotas/unbound-at-once", test_unbound_at_once);
        g_test_add_func("/core-quotas/unbound-and-ending", test_unbound_and_ending);
        g_test_add_func("/core-quotas/waiting", test_waiting);
        g_test_add_func("/core-quotas/restore-knows-no-limits", test_restore_knows_no_limits);
        g_test_add_func("/core-quotas/owners", test_owners);
        return g_test_run();
}
