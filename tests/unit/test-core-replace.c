/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core-fixture.h"

#include "core/core-private.h"
#include "core/error.h"

/* A registration that takes the place of another: in one step, and never of what is held or about to be. */

/* RESOURCE as for core_register(). The error's code, or -1. */
static int replace(CoreFixture *f, const char *guest, const char *resource) {
        GlRequest request = core_request(f);
        g_autofree char *name = NULL;
        g_autoptr(GError) error = NULL;
        GlResourceSpec spec = core_parse_resource(f, resource, &name);
        gboolean done;

        spec.replace = spec.by_descriptor = TRUE;
        done = gl_core_register(f->core, &request, core_guest(f, guest), &spec, &error);
        g_assert_true(done == !error);
        core_drain(f);
        return done ? -1 : error->code;
}

static void test_in_place(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();
        const GlResource *resource;

        core_have_registered(f, "a", "/x:X /y:R");
        resource = core_resource(f, "a", "/x");
        g_assert_false(resource->by_descriptor);
        g_assert_cmpint(replace(f, "a", "/x:W"), ==, -1);
        core_expect(f, "changed a resources");
        core_assert_state(f, "a", "new /x:W registered /y:R registered");
        g_assert_true(core_resource(f, "a", "/x") == resource && resource->by_descriptor);
        g_assert_cmpint(replace(f, "a", "/x:X"), ==, -1);
        core_acquire(f, "a");
        core_assert_state(f, "a", "held /x:X held /y:R held");
        /* One that is not there comes to be. */
        g_assert_cmpint(replace(f, "a", "/z:X"), ==, -1);
        core_assert_state(f, "a", "held /x:X held /y:R held /z:X registered");
}

/* Another file by the same name: that is what is taken. */
static void test_other_storage(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have_registered(f, "a", "/x:X /y:R");
        core_have(f, "b", "/old:X", 0);
        core_set_place(f, "/x", core_disk(f, "/old")->place);
        g_assert_cmpint(replace(f, "a", "/x:X"), ==, -1);
        core_acquire(f, "a");
        g_assert_cmpint(f->code, ==, GL_ERROR_CONFLICT);
        core_set_place(f, "/x", core_disk(f, "/y")->place);
        g_assert_cmpint(replace(f, "a", "/x:X"), ==, GL_ERROR_ALREADY_REGISTERED);
        core_assert_state(f, "a", "new /x:X registered /y:R registered");
}

static void test_what_is_held(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        g_assert_cmpint(replace(f, "a", "/x:X"), ==, GL_ERROR_ALREADY_REGISTERED);
        core_revoke(f, "a", "/x", FALSE);
        g_assert_cmpint(replace(f, "a", "/x:X"), ==, GL_ERROR_BAD_STATE);

        core_have_registered(f, "b", "/y:X");
        core_disk(f, "/y")->hangs = TRUE;
        core_acquire(f, "b");
        g_assert_cmpint(replace(f, "b", "/y:R"), ==, GL_ERROR_ALREADY_REGISTERED);
        core_answer(f);
        core_assert_state(f, "b", "held /y:X held");

        /* One that waits to be plugged is another call's. */
        core_plug(f, "b", "/x:X", 1000);
        g_assert_cmpint(replace(f, "b", "/x:R"), ==, GL_ERROR_ALREADY_REGISTERED);
}

/* A waiting acquire gets what is registered when its turn comes. */
static void test_while_it_is_waited_for(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "b", "/x:X", 0);
        core_have_registered(f, "a", "/x:X");
        core_acquire(f, "a", .wait_ms = 1000);
        core_set_place(f, "/x", core_disk(f, "/free")->place);
        g_assert_cmpint(replace(f, "a", "/x:R"), ==, -1);
        core_assert_state(f, "a", "held /x:R held");
}

static void test_cannot_be_saved(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();
        GlPlace *before;

        core_have_registered(f, "a", "/x:X");
        before = core_resource(f, "a", "/x")->place;
        f->save_fails = TRUE;
        core_set_place(f, "/x", core_disk(f, "/free")->place);
        g_assert_cmpint(replace(f, "a", "/x:R"), !=, -1);
        core_expect_nothing(f);
        core_assert_state(f, "a", "new /x:X registered");
        g_assert_true(core_resource(f, "a", "/x")->place == before && !core_resource(f, "a", "/x")->by_descriptor);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/core-replace/in-place", test_in_place);
        g_test_add_func("/core-replace/other-storage", test_other_storage);
        g_test_add_func("/core-replace/what-is-held", test_what_is_held);
        g_test_add_func("/core-replace/while-it-is-waited-for", test_while_it_is_waited_for);
        g_test_add_func("/core-replace/cannot-be-saved", test_cannot_be_saved);
        return g_test_run();
}
