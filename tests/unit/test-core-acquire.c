/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core-fixture.h"

/*
 * Taking: all or nothing, the proof that nobody was there in between, and generations. Each case says exactly what the
 * world hears of it, in order.
 */

/* --- all or nothing --- */

static void test_grant(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();
        const GlResource *resource;

        core_have_registered(f, "a", "/x:X /y:R key:W");
        core_acquire(f, "a", .pid = 7);
        core_expect(f, "watch 7", "take a /x:X,/y:R,key:W", "acquired a g1 /x:X,/y:R,key:W",
                    "changed a state,pid,generation,acquired-at,resources",
                    "reply 1 ok g1");
        resource = core_resource(f, "a", "/y");
        g_assert_cmpuint(resource->generation, ==, core_guest(f, "a")->generation);
        g_assert_cmpint(resource->since, ==, f->realtime);
        g_assert_cmpint(resource->scope, ==, GL_SCOPE_HOST);
        g_assert_cmpuint(gl_core_n_leases(f->core), ==, 3);
        g_assert_true(gl_core_find_guest_by_pid(f->core, 7, NULL) == core_guest(f, "a"));

        core_register(f, "a", "/z:X");
        core_forget_lines(f);
        core_acquire(f, "a", .pid = 7); /* what is missing, and only that */
        core_expect(f, "watch 7", "take a /z:X", "acquired a g2 /z:X", "changed a generation,acquired-at,resources",
                    "reply 2 ok g2");
}

static void test_all_or_nothing(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/y:X", 7);
        core_have_registered(f, "b", "/x:X /y:X");
        core_acquire(f, "b");
        core_expect(f, "reply 2 Conflict");
        g_assert_nonnull(strstr(f->message, "Disk \"/y\" is in use: guest \"a\""));
        g_assert_nonnull(strstr(f->message, "pid 7, host kvm1"));
        g_assert_cmpuint(gl_table_size(f->core->table), ==, 1);

        core_unplug(f, "a", "/y");
        core_disk(f, "/y")->error = GL_ERROR_ACCESS_DENIED;
        core_forget_lines(f);
        core_acquire(f, "b");
        core_expect(f, "take b /x:X,/y:X", "reply 4 AccessDenied");
        core_assert_state(f, "b", "new /x:X registered /y:X registered");
        g_assert_cmpuint(gl_table_size(f->core->table), ==, 0);
}

static void test_names_everybody(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:R", 7);
        core_have(f, "b", "/x:R /y:X", 8);
        core_have_registered(f, "c", "/x:X /y:X");
        core_acquire(f, "c");
        core_expect(f, "reply 3 Conflict");
        g_assert_nonnull(strstr(f->message, "Disk \"/x\" is in use: guest \"a\""));
        g_assert_nonnull(strstr(f->message, "; guest \"b\""));
        g_assert_nonnull(strstr(f->message, "Disk \"/y\" is in use: guest \"b\""));
}

static void test_overlap_within_one_guest(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();
        GlNode device = {.kind = GL_NODE_BLOCK, .device = 8};
        g_autoptr(GlPlace) whole = gl_place_new(&device, (GlExtent){0, GL_EXTENT_END}, NULL, 0);
        g_autoptr(GlPlace) part = gl_place_new(&device, (GlExtent){0, 5}, NULL, 0);

        core_set_place(f, "/whole", whole);
        core_set_place(f, "/part", part);
        core_have_registered(f, "a", "/whole:X /part:R");
        core_acquire(f, "a", .wait_ms = 1000); /* waiting would not help */
        core_expect(f, "reply 1 Conflict");
        core_unplug(f, "a", "/part");
        core_acquire(f, "a");
        core_forget_lines(f);
        core_plug(f, "a", "/part:R", 0);
        core_expect(f, "changed a resources", "reply 4 Conflict");
        core_assert_state(f, "a", "held /whole:X held");
}

static void test_save_fails(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have_registered(f, "a", "/x:X");
        core_acquire(f, "a", .pid = 7, .register_only = TRUE);
        core_forget_lines(f);
        f->save_fails = TRUE;
        core_acquire(f, "a", .pid = 8);
        core_expect(f, "watch 8", "take a /x:X", "give-back a /x",
                    "changed a state,pid,generation,acquired-at,resources", "reply 2 DriverFailed");
        core_assert_state(f, "a", "new /x:X registered");
        g_assert_cmpuint(core_guest(f, "a")->processes[GL_PROCESS_GUEST].pid, ==, 7);
        g_assert_cmpuint(core_guest(f, "a")->generation, ==, 0);
        g_assert_cmpuint(gl_table_size(f->core->table), ==, 0);
        g_assert_true(gl_core_find_guest_by_pid(f->core, 7, NULL) == core_guest(f, "a"));
        g_assert_null(gl_core_find_guest_by_pid(f->core, 8, NULL));
}

/* What was lost stays lost, and blocked, when getting it back cannot be saved. */
static void test_save_fails_when_lost(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have_lost(f, "a", "/x:X", "", 7);
        core_disk(f, "/x")->error = -1;
        f->save_fails = TRUE;
        core_acquire(f, "a");
        core_expect(f, "take a /x:X", "give-back a /x", "changed a state,generation,acquired-at,resources",
                    "reply 2 DriverFailed");
        core_assert_state(f, "a", "lost /x:X lost");
        f->save_fails = FALSE;
        core_have_registered(f, "b", "/x:R");
        core_acquire(f, "b");
        core_expect(f, "reply 3 Conflict");
}

static void test_two_acquires_of_one_guest(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have_registered(f, "a", "/x:X");
        core_disk(f, "/x")->hangs = TRUE;
        core_acquire(f, "a");
        core_acquire(f, "a");
        core_expect(f, "take a /x:X");
        core_answer(f);
        core_expect(f, "acquired a g1 /x:X", "changed a state,generation,acquired-at,resources", "reply 1 ok g1",
                    "reply 2 ok g1");
}

/* --- the state string --- */

static void have_released(CoreFixture *f, const char *guest, const char *resources, char **state) {
        core_have(f, guest, resources, 0);
        core_release(f, guest);
        *state = g_strdup(f->text);
        core_forget_lines(f);
}

static void test_state_is_good(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();
        g_autofree char *state = NULL;

        have_released(f, "a", "/x:X /y:R key:W", &state);
        core_start(f, "b", "/y:R key:W"); /* who reads, and who writes with others, is no reason */
        core_release(f, "b");
        core_forget_lines(f);
        core_disk(f, "key")->mtime++; /* that is what `shared` is for */
        core_acquire(f, "a", .state = state);
        core_expect(f, "take a /x:X,/y:R,key:W", "acquired a g3 /x:X,/y:R,key:W",
                    "changed a state,generation,acquired-at,resources", "reply 5 ok g3");
}

static void remember_others(CoreFixture *f, guint n, guint64 generation) {
        for (guint i = 0; i < n; i++) {
                GlNode node = {.device = 4711, .inode = i};

                gl_core_set_last_generation(f->core, &node, GL_MODE_EXCLUSIVE, generation + i);
        }
}

static void assert_stale(CoreFixture *f, const char *state, gboolean driver_is_asked) {
        guint call = f->n_calls + 1;
        g_autofree char *reply = g_strdup_printf("reply %u Stale", call);

        core_forget_lines(f);
        core_acquire(f, "a", .state = state);
        if (driver_is_asked)
                core_expect(f, "take a /x:X", "give-back a /x", reply);
        else
                core_expect(f, reply);
        core_assert_state(f, "a", "released /x:X registered");
        g_assert_cmpuint(gl_table_size(f->core->table), ==, 0);
}

static void test_state_is_stale(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();
        g_autofree char *state = NULL, *other = NULL;
        GlNode node;

        have_released(f, "a", "/x:X", &state);
        core_disk(f, "/x")->mtime = 5;
        assert_stale(f, state, TRUE);
        core_disk(f, "/x")->mtime = 1;
        core_disk(f, "/x")->size++;
        assert_stale(f, state, TRUE);
        core_disk(f, "/x")->size--;

        core_start(f, "b", "/x:X", .keep = TRUE); /* looks the same again, but somebody had it */
        core_release(f, "b");
        assert_stale(f, state, FALSE);
        g_assert_nonnull(strstr(f->message, "\"/x\""));
        core_inquire(f, "b");
        other = g_strdup(f->text);
        assert_stale(f, other, FALSE);

        core_acquire(f, "a");
        core_release(f, "a");
        g_free(state);
        state = g_strdup(f->text);
        node = core_disk(f, "/x")->place->node;
        gl_core_set_last_generation(f->core, &node, GL_MODE_EXCLUSIVE, core_guest(f, "a")->generation);
        core_acquire(f, "a", .state = state);
        g_assert_cmpint(f->code, ==, -1);
        core_release(f, "a");
        gl_core_set_last_generation(f->core, &node, GL_MODE_SHARED, core_guest(f, "a")->generation + 1);
        assert_stale(f, f->text, FALSE);
}

/* --- generations --- */

/* Generations grow although the clock is set back, and past what was there before a restart. */
static void test_generations_grow(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();
        guint64 before;

        core_have(f, "a", "/x:X", 0);
        before = core_guest(f, "a")->generation;
        g_assert_cmpuint(before, ==, (guint64) f->realtime);
        f->realtime -= 1000 * G_USEC_PER_SEC;
        core_plug(f, "a", "/y:X", 0);
        g_assert_cmpuint(core_guest(f, "a")->generation, ==, before + 1);

        core_restart(f);
        gl_core_set_last_generation(f->core, &core_disk(f, "/x")->place->node, GL_MODE_EXCLUSIVE, before + 7);
        core_have(f, "b", "/z:X", 0);
        g_assert_cmpuint(core_guest(f, "b")->generation, ==, before + 8);
}

/* What the storage has recorded is what is granted, and what is granted is past it; the rest goes on from there. */
static void test_generations_that_are_recorded(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();
        guint64 later = (guint64) f->realtime + 1000;

        core_disk(f, "/x")->remembers = TRUE;
        core_disk(f, "/x")->recorded.shared = later;
        core_have(f, "a", "/x:R", 0);
        g_assert_cmpuint(core_guest(f, "a")->generation, ==, later + 1);
        core_plug(f, "a", "/x:X", 0);
        g_assert_cmpint(f->code, ==, -1);
        g_assert_cmpuint(core_guest(f, "a")->generation, ==, core_disk(f, "/x")->recorded.exclusive);
        g_assert_cmpuint(core_resource(f, "a", "/x")->generation, ==, core_disk(f, "/x")->recorded.exclusive);
        core_have(f, "b", "/y:X", 0);
        g_assert_cmpuint(core_guest(f, "b")->generation, >, core_guest(f, "a")->generation);
}

/* A disk that was plugged meanwhile was granted later: the guest's own generation never falls. */
static void test_generations_of_calls_that_cross(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();
        guint64 plugged;

        core_disk(f, "/y")->remembers = TRUE;
        core_have(f, "a", "/x:X", 0);
        core_disk(f, "/y")->hangs = TRUE;
        core_plug(f, "a", "/y:X", 0);
        core_plug(f, "a", "/z:X", 0);
        plugged = core_guest(f, "a")->generation;
        core_answer(f);
        g_assert_cmpint(f->code, ==, -1);
        g_assert_cmpuint(core_guest(f, "a")->generation, ==, plugged);
        g_assert_cmpuint(core_resource(f, "a", "/y")->generation, ==, core_disk(f, "/y")->recorded.exclusive);
}

/* Only its storage knows of the other host's guest. */
static void test_state_is_stale_by_record(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();
        g_autofree char *state = NULL;

        core_disk(f, "/x")->remembers = TRUE;
        have_released(f, "a", "/x:X", &state);
        core_acquire(f, "a", .state = state);
        g_assert_cmpint(f->code, ==, -1);
        core_release(f, "a");
        g_free(state);
        state = g_strdup(f->text);

        core_disk(f, "/x")->recorded.exclusive++;
        core_disk(f, "/x")->remembers = FALSE;
        assert_stale(f, state, TRUE);
        assert_stale(f, state, FALSE); /* now we know it too */
}

/* Who is not remembered any more may have written until the moment when he was forgotten. */
static void test_state_is_forgotten(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();
        g_autofree char *state = NULL;
        guint64 later;

        have_released(f, "a", "/x:X", &state);
        later = core_guest(f, "a")->generation + 1;
        remember_others(f, 65536, later);
        assert_stale(f, state, FALSE);

        /* Nor does a grant of another mode that is remembered say that there was none of this one. */
        gl_core_set_last_generation(f->core, &core_disk(f, "/x")->place->node, GL_MODE_SHARED, 1);
        assert_stale(f, state, FALSE);

        core_acquire(f, "a");
        core_release(f, "a");
        g_free(state);
        state = g_strdup(f->text);
        core_forget_lines(f);
        core_acquire(f, "a", .state = state);
        g_assert_cmpint(core_guest(f, "a")->state, ==, GL_GUEST_HELD);
}

int main(int argc, char **argv) {
        static const struct {
                const char *name;
                GTestFunc test;
        } tests[] = {
                {"grant", test_grant},
                {"generations-that-are-recorded", test_generations_that_are_recorded},
                {"generations-of-calls-that-cross", test_generations_of_calls_that_cross},
                {"state-is-stale-by-record", test_state_is_stale_by_record},
                {"all-or-nothing", test_all_or_nothing},
                {"names-everybody", test_names_everybody},
                {"overlap-within-one-guest", test_overlap_within_one_guest},
                {"save-fails", test_save_fails},
                {"save-fails-when-lost", test_save_fails_when_lost},
                {"two-acquires-of-one-guest", test_two_acquires_of_one_guest},
                {"state-is-good", test_state_is_good},
                {"state-is-stale", test_state_is_stale},
                {"state-is-forgotten", test_state_is_forgotten},
                {"generations-grow", test_generations_grow},
        };

        g_test_init(&argc, &argv, NULL);
        for (guint i = 0; i < G_N_ELEMENTS(tests); i++) {
                g_autofree char *path = g_strdup_printf("/core-acquire/%s", tests[i].name);

                g_test_add_func(path, tests[i].test);
        }
        return g_test_run();
}
