/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core-fixture.h"

/*
 * WhoHolds and TestAcquire. Two drivers of the fixture lease disks, so a question goes to both; a guest's goes to its
 * own. What is in the way stands in the reply as in core-fixture.h.
 */

#define LOOKS(what) "look " what, "look " what

static void forget_all(CoreFixture *f) {
        core_forget_lines(f);
        f->n_calls = 0;
}

/* --- guests of ours --- */

static void test_who_is_in_the_way(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:R", 7);
        core_have(f, "b", "/x:R /y:X", 8);
        forget_all(f);
        core_who(f, "/x:X");
        core_expect(f, LOOKS("/x:X"), "reply 1 ok a:R=/x b:R=/x");
        core_who(f, "/x:R");
        core_expect(f, LOOKS("/x:R"), "reply 2 ok");
        core_who(f, "/z:X");
        core_expect(f, LOOKS("/z:X"), "reply 3 ok");
        /* One that only waits is in nobody's way. */
        core_create(f, "c");
        core_register(f, "c", "/y:X");
        core_acquire(f, "c", .wait_ms = 1000);
        forget_all(f);
        core_who(f, "/y:X");
        core_expect(f, LOOKS("/y:X"), "reply 1 ok b:X=/y");
        core_test(f, "c", "", 0);
        core_expect(f, "look /y:X", "reply 2 ok b:X=/y>/y");
}

static void check_obstacle(const GlChange *change, gpointer data) {
        const GlObstacle *obstacle;

        if (change->kind != GL_CHANGE_REPLY || !change->obstacles)
                return;
        g_assert_cmpuint(change->obstacles->len, ==, 1);
        obstacle = g_ptr_array_index(change->obstacles, 0);
        g_assert_cmpuint(strlen(obstacle->guest_uuid), ==, 36);
        g_assert_cmpstr(obstacle->host, ==, "kvm1");
        g_assert_cmpstr(obstacle->driver, ==, "test");
        g_assert_true(obstacle->has_owner && obstacle->has_object && obstacle->has_scope);
        g_assert_cmpuint(obstacle->owner_uid, ==, 1000);
        g_assert_cmpuint(obstacle->pid, ==, 7);
        g_assert_cmpint(obstacle->since, >, 0);
        g_assert_cmpuint(obstacle->generation, >, 0);
        *(guint *) data += 1;
}

static void test_what_is_known(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();
        guint n = 0;

        core_have(f, "a", "/x:X", 7);
        f->on_change = check_obstacle;
        f->on_change_data = &n;
        core_who(f, "/x:X");
        core_test(f, NULL, "/x:R", 0);
        g_assert_cmpuint(n, ==, 2);
}

static void test_states(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_disk(f, "/x")->undrained = TRUE;
        core_exit(f, 7);
        forget_all(f);
        core_who(f, "/x:X");
        core_expect(f, LOOKS("/x:X"), "reply 1 ok a:X=/x (its process has ended, but its I/O may not be over)");
        core_disk(f, "/x")->undrained = FALSE;
        core_advance(f, 100);
        core_have(f, "b", "/y:X", 8);
        core_revoke(f, "b", "/y", FALSE);
        /* Of one that is just being taken there is no more to say than who does. */
        core_disk(f, "/z")->hangs = TRUE;
        core_start(f, "c", "/z:X");
        core_disk(f, "/z")->hangs = FALSE;
        forget_all(f);
        core_who(f, "/y:X");
        core_expect(f, LOOKS("/y:X"), "reply 1 ok b:X=/y (it has lost the lease, and its process still lives)");
        core_who(f, "/z:X");
        core_expect(f, LOOKS("/z:X"), "reply 2 ok c:X=/z (its storage has not answered yet)");
}

/* --- how they meet --- */

#define DISK_NODE {.kind = GL_NODE_BLOCK, .device = 8}

static void set_extent(CoreFixture *f, const char *name, guint64 start, guint64 end) {
        const GlNode node = DISK_NODE;
        g_autoptr(GlPlace) place = gl_place_new(&node, (GlExtent){start, end}, NULL, 0);

        core_set_place(f, name, place);
}

static void set_file_on(CoreFixture *f, const char *name, guint64 inode, guint64 start, guint64 end) {
        const GlNode node = {.kind = GL_NODE_FILE, .device = 9, .inode = inode};
        const GlAncestor below = {DISK_NODE, {start, end}, 0};
        g_autoptr(GlPlace) place = gl_place_new(&node, (GlExtent){0, GL_EXTENT_END}, &below, 1);

        core_set_place(f, name, place);
}

static void check_words(CoreFixture *f, const char *held, const char *asked, const char *words) {
        g_autofree char *resource = g_strdup_printf("%s:X", held), *question = g_strdup_printf("%s:X", asked);
        g_autofree char *look = g_strdup_printf("look %s:X", asked);
        g_autofree char *reply = words ? g_strdup_printf("reply 1 ok a:X=%s (%s)", held, words)
                                       : g_strdup_printf("reply 1 ok a:X=%s", held);

        core_have(f, "a", resource, 7);
        forget_all(f);
        core_who(f, question);
        core_expect(f, look, look, reply);
        core_exit(f, 7);
        core_free_guest(f, "a");
}

#define LONG "/a-name-that-is-so-very-long-that-it-would-fill-the-line-all-by-itself-if-it-were-quoted-as-it-is"

static void test_relations(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        set_extent(f, "/sda", 0, GL_EXTENT_END);
        set_extent(f, "/sda-by-id", 0, GL_EXTENT_END);
        set_extent(f, "/sda1", 0, 1000);
        set_extent(f, "/sda2", 500, 1500);
        set_file_on(f, "/img", 1, 0, GL_EXTENT_END);
        set_file_on(f, "/other", 2, 0, GL_EXTENT_END);
        check_words(f, "/sda", "/sda-by-id", NULL);
        check_words(f, "/sda1", "/sda", "\"/sda1\" is a part of \"/sda\"");
        check_words(f, "/sda", "/sda1", "\"/sda1\" is a part of \"/sda\"");
        check_words(f, "/sda1", "/sda2", "\"/sda1\" and \"/sda2\" overlap");
        check_words(f, "/img", "/sda", "\"/img\" lies on \"/sda\"");
        check_words(f, "/sda", "/img", "\"/img\" lies on \"/sda\"");
        check_words(f, "/img", "/other", "\"/img\" and \"/other\" lie on the same storage");
        set_extent(f, LONG, 0, 10);
        check_words(f, "/sda", LONG,
                    "\"…o-very-long-that-it-would-fill-the-line-all-by-itself-if-it-were-quoted-as-it-is\" is a part of "
                    "\"/sda\"");
        /* A conflict says the same. */
        core_have(f, "a", "/img:X", 7);
        core_start(f, "b", "/sda:X");
        g_assert_nonnull(strstr(f->message, "(\"/img\" lies on \"/sda\")"));
}

/* --- others --- */

/* What a driver meets may be our own: the table knows whose, unless it has nothing there. */
static void test_strangers(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_disk(f, "/x")->stranger = 99;
        core_test(f, NULL, "/x:X", 0);
        core_expect(f, "look /x:X", "reply 1 ok 99>/x");
        core_disk(f, "/x")->stranger_is_own = TRUE;
        core_test(f, NULL, "/x:X", 0);
        core_expect(f, "look /x:X", "reply 2 ok 99>/x");
        core_disk(f, "/x")->stranger = 0;
        core_disk(f, "/x")->stranger_is_own = FALSE;
        core_have(f, "a", "/x:W", 7);
        forget_all(f);
        core_disk(f, "/x")->stranger = 7; /* the guest itself */
        core_test(f, NULL, "/x:X", 0);
        core_expect(f, "look /x:X", "reply 1 ok a:W=/x>/x");
        core_disk(f, "/x")->stranger = 98;
        core_test(f, NULL, "/x:X", 0);
        core_expect(f, "look /x:X", "reply 2 ok a:W=/x>/x 98>/x");
        core_disk(f, "/x")->stranger_is_own = TRUE; /* whoever keeps our locks */
        core_test(f, NULL, "/x:X", 0);
        core_expect(f, "look /x:X", "reply 3 ok a:W=/x>/x");
        core_disk(f, "/x")->error = GL_ERROR_ACCESS_DENIED;
        core_test(f, NULL, "/y:X /x:X", 0);
        core_expect(f, "look /y:X,/x:X", "reply 4 AccessDenied");
}

/* --- TestAcquire --- */

static void test_of_a_guest(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X /base:R", 7);
        core_have(f, "b", "/base:R", 8);
        forget_all(f);
        core_test(f, "a", "", 0);
        core_expect(f, "reply 1 ok");
        core_test(f, "a", "/x:X /base:R", 0);
        core_expect(f, "reply 2 ok");
        core_test(f, "a", "/base:X /more:X", 0);
        core_expect(f, "look /base:X,/more:X", "reply 3 ok b:R=/base>/base");
        core_test(f, "b", "/x:R", 0);
        core_expect(f, "look /x:R", "reply 4 ok a:X=/x>/x");
        core_set_place(f, "/x-too", core_disk(f, "/x")->place);
        core_test(f, "a", "/x-too:R", 0); /* it would be lowered */
        core_expect(f, "look /x:R", "reply 5 ok");
        core_set_place(f, "/x", core_disk(f, "/elsewhere")->place);
        core_test(f, "a", "/x:X", 0);
        core_expect(f, "reply 6 Stale");
        core_test(f, "a", "", 9);
        core_expect(f, "reply 7 BadState");
        core_assert_state(f, "a", "held /x:X held /base:R held");
        core_assert_state(f, "b", "held /base:R held");
}

static void test_within_the_list(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        set_extent(f, "/sda", 0, GL_EXTENT_END);
        set_extent(f, "/sda1", 0, 1000);
        core_test(f, NULL, "/sda:X /sda1:R", 0);
        core_expect(f, "look /sda:X,/sda1:R",
                    "reply 1 ok 0:X=/sda (two of one guest overlap, and cannot be held together)"
                    ">/sda1");
        core_test(f, NULL, "/x:X /x:X", 0);
        core_expect(f, "reply 2 AlreadyRegistered");
        core_set_place(f, "/x-too", core_disk(f, "/x")->place);
        core_test(f, NULL, "/x:X /x-too:R", 0);
        core_expect(f, "reply 3 AlreadyRegistered");
}

static void test_lost(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have_lost(f, "a", "/x:X", "/y:X", 7);
        core_disk(f, "/x")->error = -1;
        forget_all(f);
        core_test(f, "a", "", 0);
        core_expect(f, "look /x:X", "reply 1 ok");
        core_disk(f, "/x")->mtime = 2; /* somebody has written to it */
        core_test(f, "a", "", 0);
        core_expect(f, "look /x:X", "reply 2 LeaseLost");
        core_test(f, "a", "/more:X", 0);
        core_expect(f, "reply 3 BadState");
        core_test(f, "a", "/x:R", 0);
        core_expect(f, "reply 4 BadState");
}

static void test_limits(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        f->core->limits.unbound_guests_per_uid = 1;
        f->core->limits.guests_per_uid = 2;
        f->core->limits.resources_per_guest = 2;
        core_start(f, "a", "/x:X");
        forget_all(f);
        core_test(f, NULL, "/y:X", 0);
        core_expect(f, "reply 1 LimitExceeded");
        core_test(f, NULL, "/y:X", 7);
        core_expect(f, "look /y:X", "reply 2 ok");
        core_test(f, NULL, "/y:X /z:X /u:X", 7);
        core_expect(f, "reply 3 LimitExceeded");
        f->driver = "nothing";
        core_test(f, NULL, "/y:X", 7);
        core_expect(f, "reply 4 NoSuchDriver");
        f->driver = "little";
        core_test(f, NULL, "/y:R", 7);
        core_expect(f, "reply 5 NotSupported");
        f->driver = NULL;
        /* One that was released would make room, and is not made to go. */
        core_start(f, "b", "/y:X", .pid = 8);
        core_create(f, "b");
        core_forget_lines(f);
        f->n_calls = 0;
        core_test(f, NULL, "/z:X", 7);
        core_expect(f, "reply 1 LimitExceeded");
        core_shutdown(f, "a", FALSE);
        core_have(f, "c", "/x:X", 9);
        core_exit(f, 9);
        f->core->limits.guests_per_uid = 1;
        forget_all(f);
        core_test(f, NULL, "/z:X", 7);
        core_expect(f, "look /z:X", "reply 1 ok");
        core_assert_state(f, "c", "released /x:X registered");
}

/* --- storage that does not answer --- */

static void test_overdue(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();
        g_autoptr(GError) error = NULL;

        core_disk(f, "/x")->hangs = TRUE;
        core_who(f, "/x:X");
        core_advance(f, 9000);
        core_who(f, "/y:X");
        core_expect(f, LOOKS("/x:X"), LOOKS("/y:X"), "reply 2 ok");
        g_assert_false(gl_core_remove_driver(f->core, "little", &error));
        g_assert_error(error, GL_ERROR, GL_ERROR_DRIVER_IN_USE);
        core_advance(f, 1000);
        core_expect(f, "reply 1 StorageUnavailable");
        g_assert_nonnull(strstr(f->message, "\"/x\" has not answered for 10 s"));
        core_answer_all(f);
        core_expect_nothing(f);
        g_assert_true(gl_core_remove_driver(f->core, "little", NULL));
        /* One that nobody answered when the service ends. */
        core_who(f, "/x:X");
        core_forget_lines(f);
}

/* --- no effect --- */

static void test_nothing_changes(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();
        guint64 generation;
        guint n_saved;

        core_have(f, "a", "/x:X /base:R", 7);
        core_create(f, "b");
        core_register(f, "b", "/x:X");
        n_saved = f->n_saved;
        generation = f->core->last_generation;
        forget_all(f);
        for (guint i = 0; i < 3; i++) {
                core_who(f, "/x:X");
                core_test(f, NULL, "/x:X /y:R", 0);
                core_test(f, "b", "/base:X", 0);
        }
        /* Looks and replies alone: no signal, no property, no other job. */
        for (char *line = strtok(f->lines->str, "\n"); line; line = strtok(NULL, "\n"))
                g_assert_true(g_str_has_prefix(line, "look ") || g_str_has_prefix(line, "reply "));
        core_forget_lines(f);
        g_assert_cmpuint(f->n_saved, ==, n_saved);
        g_assert_cmpuint(f->core->last_generation, ==, generation);
        g_assert_cmpuint(gl_table_size(f->core->table), ==, 2);
        g_assert_cmpuint(gl_core_n_guests(f->core), ==, 2);
        g_assert_cmpuint(f->core->ops.length, ==, 0);
        g_assert_cmpuint(f->core->looks.length, ==, 0);
        core_assert_state(f, "a", "held /x:X held /base:R held");
        core_assert_state(f, "b", "new /x:X registered");
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/core-who/in-the-way", test_who_is_in_the_way);
        g_test_add_func("/core-who/known", test_what_is_known);
        g_test_add_func("/core-who/states", test_states);
        g_test_add_func("/core-who/relations", test_relations);
        g_test_add_func("/core-who/strangers", test_strangers);
        g_test_add_func("/core-who/of-a-guest", test_of_a_guest);
        g_test_add_func("/core-who/within-the-list", test_within_the_list);
        g_test_add_func("/core-who/lost", test_lost);
        g_test_add_func("/core-who/limits", test_limits);
        g_test_add_func("/core-who/overdue", test_overdue);
        g_test_add_func("/core-who/nothing-changes", test_nothing_changes);
        return g_test_run();
}
