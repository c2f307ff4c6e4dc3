/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core-fixture.h"

#include <signal.h>

/*
 * The state tables of the contract, cell by cell: each call in each state, and the same call again. The guest "a" has
 * the disk /x exclusively (in state lost: has lost it).
 */

#define N_STATES 4

/* --- the states --- */

static void reach_new(CoreFixture *f, guint32 pid) {
        core_create(f, "a");
        core_register(f, "a", "/x:X");
        if (pid != 0)
                core_acquire(f, "a", .pid = pid, .register_only = TRUE);
}

static void reach_held(CoreFixture *f, guint32 pid) {
        core_have(f, "a", "/x:X", pid);
}

static void reach_released(CoreFixture *f, guint32 pid) {
        core_have(f, "a", "/x:X", pid);
        core_release(f, "a");
}

static void reach_lost(CoreFixture *f, guint32 pid) {
        core_have_lost(f, "a", "/x:X", "", pid);
}

static void (*const reach[N_STATES])(CoreFixture *, guint32) = {reach_new, reach_held, reach_released, reach_lost};

/* --- the calls --- */

static GError *take_error(gboolean done, GError *error) {
        g_assert_true(done == !error);
        return error;
}

static void answered(CoreFixture *f, GError *error) {
        f->code = error ? error->code : -1;
        g_clear_error(&error);
        core_drain(f);
}

static void set_name(CoreFixture *f) {
        GlRequest request = core_request(f);
        GError *error = NULL;

        answered(f, take_error(gl_core_set_name(f->core, &request, core_guest(f, "a"), "other", &error), error));
}

static void set_id(CoreFixture *f) {
        GlRequest request = core_request(f);
        GError *error = NULL;

        answered(f, take_error(gl_core_set_id(f->core, &request, core_guest(f, "a"), 5, &error), error));
}

static void set_on_lease_lost(CoreFixture *f) {
        GlRequest request = core_request(f);
        GError *error = NULL;
        gboolean done = gl_core_set_on_lease_lost(f->core, &request, core_guest(f, "a"), GL_LOSS_NOTIFY, &error);

        answered(f, take_error(done, error));
}

static void register_another(CoreFixture *f) {
        core_register(f, "a", "/y:X");
}

static void register_same_name(CoreFixture *f) {
        core_register(f, "a", "/x:R");
}

static void register_same_file(CoreFixture *f) {
        core_set_place(f, "/link", core_disk(f, "/x")->place);
        core_register(f, "a", "/link:R");
}

static void may_register_another(CoreFixture *f) {
        GError *error = NULL;
        gboolean may = gl_core_may_register(f->core, core_guest(f, "a"), GL_RESOURCE_DISK, GL_MODE_EXCLUSIVE, "/y",
                                             FALSE, &error);

        answered(f, take_error(may, error));
}

static void acquire(CoreFixture *f) {
        core_acquire(f, "a");
}

static void acquire_with_patience(CoreFixture *f) {
        core_acquire(f, "a", .wait_ms = 1000);
}

static void acquire_when_free(CoreFixture *f) {
        core_disk(f, "/x")->error = -1;
        core_acquire(f, "a");
}

static void acquire_when_changed(CoreFixture *f) {
        core_disk(f, "/x")->error = -1;
        core_disk(f, "/x")->mtime = 99;
        core_acquire(f, "a");
}

static void acquire_when_unknown(CoreFixture *f) {
        core_disk(f, "/x")->error = -1;
        core_disk(f, "/x")->mtime = 0;
        core_acquire(f, "a");
}

static void acquire_outdated(CoreFixture *f) {
        core_acquire(f, "a", .state = "guestlock1;host=hostid1;guest=0002b606-0000-4000-8000-000000000001");
}

static void acquire_nonsense(CoreFixture *f) {
        core_acquire(f, "a", .state = "nonsense");
}

static void acquire_for_7(CoreFixture *f) {
        core_acquire(f, "a", .pid = 7);
}

static void acquire_for_8(CoreFixture *f) {
        core_acquire(f, "a", .pid = 8);
}

static void bind_7(CoreFixture *f) {
        core_acquire(f, "a", .pid = 7, .register_only = TRUE);
}

static void bind_8(CoreFixture *f) {
        core_acquire(f, "a", .pid = 8, .register_only = TRUE);
}

static void bind_nothing(CoreFixture *f) {
        core_acquire(f, "a", .register_only = TRUE);
}

static void inquire(CoreFixture *f) {
        core_inquire(f, "a");
}

static void release(CoreFixture *f) {
        core_release(f, "a");
}

static void plug_another(CoreFixture *f) {
        core_plug(f, "a", "/y:X", 0);
}

static void plug_same(CoreFixture *f) {
        core_plug(f, "a", "/x:X", 0);
}

static void plug_lower(CoreFixture *f) {
        core_plug(f, "a", "/x:R", 0);
}

static void unplug(CoreFixture *f) {
        core_unplug(f, "a", "/x");
}

static void unplug_unknown(CoreFixture *f) {
        core_unplug(f, "a", "/z");
}

static void set_child_7(CoreFixture *f) {
        core_set_child(f, "a", 7);
}

static void set_child_8(CoreFixture *f) {
        core_set_child(f, "a", 8);
}

static void get_child(CoreFixture *f) {
        core_get_child(f, "a", 0);
}

static void shut_down(CoreFixture *f) {
        core_shutdown(f, "a", FALSE);
}

static void shut_down_kill(CoreFixture *f) {
        core_shutdown(f, "a", TRUE);
}

static void free_it(CoreFixture *f) {
        core_free_guest(f, "a");
}

static void take_away(CoreFixture *f) {
        core_revoke(f, "a", "/x", FALSE);
}

static void revoke_all(CoreFixture *f) {
        core_revoke(f, "a", "", FALSE);
}

static void revoke_kill(CoreFixture *f) {
        core_revoke(f, "a", "/x", TRUE);
}

static void revoke_unknown(CoreFixture *f) {
        core_revoke(f, "a", "/z", FALSE);
}

static void restrict_it(CoreFixture *f) {
        core_restrict(f, "a");
}

static void attach(CoreFixture *f) {
        core_attach(f, "a", 0);
}

static void attach_7(CoreFixture *f) {
        core_attach(f, "a", 7);
}

static void attach_8(CoreFixture *f) {
        core_attach(f, "a", 8);
}

static void create(CoreFixture *f) {
        core_create(f, "a");
}

static void start_same(CoreFixture *f) {
        core_start(f, "a", "/x:X", .pid = 0);
}

static void start_same_for_7(CoreFixture *f) {
        core_start(f, "a", "/x:X", .pid = 7);
}

static void start_other_list(CoreFixture *f) {
        core_start(f, "a", "/x:X /y:X", .pid = 0);
}

static void start_other_mode(CoreFixture *f) {
        core_start(f, "a", "/x:R", .pid = 0);
}

static void start_other_holder(CoreFixture *f) {
        core_start(f, "a", "/x:X", .pid = 8);
}

static void exit_7(CoreFixture *f) {
        core_exit(f, 7);
        f->code = -1;
}

static void exit_stranger(CoreFixture *f) {
        gl_core_process_gone(f->core, 7, 71, f->now, f->realtime); /* the pid, but not the process */
        core_exit(f, 70);
        f->code = -1;
}

static void leave_bus(CoreFixture *f) {
        core_leave_bus(f, f->sender);
        f->code = -1;
}

/* --- the tables --- */

typedef struct {
        const char *name;
        void (*call)(CoreFixture *f);
        /* What it ends with, what it ends with the second time, the state then. */
        const char *cells[N_STATES];
} Row;

static const Row without_process[] = {
        {"set-name", set_name, {"ok ok new", "ok ok held", "ok ok released", "ok ok lost"}},
        {"set-id", set_id, {"ok ok new", "ok ok held", "ok ok released", "ok ok lost"}},
        {"set-on-lease-lost", set_on_lease_lost,
         {"ok ok new", "ok ok held", "ok ok released", "BadState BadState lost"}},
        {"register-another", register_another,
         {"ok AlreadyRegistered new", "ok AlreadyRegistered held", "ok AlreadyRegistered released",
          "BadState BadState lost"}},
        {"register-same-name", register_same_name,
         {"AlreadyRegistered AlreadyRegistered new", "AlreadyRegistered AlreadyRegistered held",
          "AlreadyRegistered AlreadyRegistered released", "BadState BadState lost"}},
        {"register-same-file", register_same_file,
         {"AlreadyRegistered AlreadyRegistered new", "AlreadyRegistered AlreadyRegistered held",
          "AlreadyRegistered AlreadyRegistered released", "BadState BadState lost"}},
        {"may-register", may_register_another,
         {"ok ok new", "ok ok held", "ok ok released", "BadState BadState lost"}},
        {"acquire", acquire, {"ok ok held", "ok ok held", "ok ok held", "LeaseLost LeaseLost lost"}},
        {"acquire-with-patience", acquire_with_patience,
         {"ok ok held", "ok ok held", "ok ok held", "LeaseLost LeaseLost lost"}},
        {"acquire-when-free", acquire_when_free, {"ok ok held", "ok ok held", "ok ok held", "ok ok held"}},
        {"acquire-when-changed", acquire_when_changed,
         {"ok ok held", "ok ok held", "ok ok held", "LeaseLost LeaseLost lost"}},
        {"acquire-when-unknown", acquire_when_unknown,
         {"ok ok held", "ok ok held", "ok ok held", "LeaseLost LeaseLost lost"}},
        {"acquire-outdated", acquire_outdated,
         {"Stale Stale new", "ok ok held", "Stale Stale released", "Stale Stale lost"}},
        {"acquire-nonsense", acquire_nonsense,
         {"InvalidArgs InvalidArgs new", "InvalidArgs InvalidArgs held", "InvalidArgs InvalidArgs released",
          "InvalidArgs InvalidArgs lost"}},
        {"acquire-for-7", acquire_for_7, {"ok ok held", "ok ok held", "ok ok held", "LeaseLost LeaseLost lost"}},
        {"bind-7", bind_7, {"ok ok new", "ok ok held", "ok ok released", "BadState BadState lost"}},
        {"bind-nothing", bind_nothing,
         {"InvalidArgs InvalidArgs new", "InvalidArgs InvalidArgs held", "InvalidArgs InvalidArgs released",
          "InvalidArgs InvalidArgs lost"}},
        {"inquire", inquire, {"ok ok new", "ok ok held", "ok ok released", "ok ok lost"}},
        {"release", release, {"ok ok new", "ok ok released", "ok ok released", "ok ok released"}},
        {"plug-another", plug_another,
         {"BadState BadState new", "ok ok held", "ok ok released", "BadState BadState lost"}},
        {"plug-same", plug_same, {"BadState BadState new", "ok ok held", "ok ok released", "BadState BadState lost"}},
        {"plug-lower", plug_lower,
         {"BadState BadState new", "ok ok held", "ok ok released", "BadState BadState lost"}},
        {"unplug", unplug,
         {"ok NoSuchResource new", "ok NoSuchResource held", "ok NoSuchResource released", "ok NoSuchResource held"}},
        {"unplug-unknown", unplug_unknown,
         {"NoSuchResource NoSuchResource new", "NoSuchResource NoSuchResource held",
          "NoSuchResource NoSuchResource released", "NoSuchResource NoSuchResource lost"}},
        {"set-child-7", set_child_7, {"ok ok new", "ok ok held", "ok ok released", "BadState BadState lost"}},
        {"get-child", get_child,
         {"NoChild NoChild new", "NoChild NoChild held", "NoChild NoChild released", "NoChild NoChild lost"}},
        {"shutdown", shut_down, {"ok ok new", "ok ok released", "ok ok released", "ok ok released"}},
        {"shutdown-kill", shut_down_kill, {"ok ok new", "ok ok released", "ok ok released", "ok ok released"}},
        {"free", free_it, {"ok none", "BadState BadState held", "ok none", "BadState BadState lost"}},
        {"create", create,
         {"AlreadyExists AlreadyExists new", "AlreadyExists AlreadyExists held",
          "AlreadyExists AlreadyExists released", "AlreadyExists AlreadyExists lost"}},
        {"start-same", start_same,
         {"AlreadyExists AlreadyExists new", "ok ok held", "ok ok held", "AlreadyExists AlreadyExists lost"}},
        {"start-other-list", start_other_list,
         {"AlreadyExists AlreadyExists new", "AlreadyExists AlreadyExists held", "ok ok held",
          "AlreadyExists AlreadyExists lost"}},
        {"start-other-mode", start_other_mode,
         {"AlreadyExists AlreadyExists new", "AlreadyExists AlreadyExists held", "ok ok held",
          "AlreadyExists AlreadyExists lost"}},
        {"start-other-holder", start_other_holder,
         {"AlreadyExists AlreadyExists new", "AlreadyExists AlreadyExists held", "ok ok held",
          "AlreadyExists AlreadyExists lost"}},
        {"revoke", take_away,
         {"NoSuchResource NoSuchResource new", "ok ok lost", "NoSuchResource NoSuchResource released",
          "ok ok lost"}},
        {"revoke-all", revoke_all,
         {"NoSuchResource NoSuchResource new", "ok ok lost", "NoSuchResource NoSuchResource released",
          "ok ok lost"}},
        {"revoke-unknown", revoke_unknown,
         {"NoSuchResource NoSuchResource new", "NoSuchResource NoSuchResource held",
          "NoSuchResource NoSuchResource released", "NoSuchResource NoSuchResource lost"}},
        {"restrict", restrict_it, {"ok ok new", "ok ok held", "ok ok released", "ok ok lost"}},
        {"attach", attach,
         {"BadState BadState new", "ok ok held", "BadState BadState released", "ok ok lost"}},
        {"attach-7", attach_7, {"Stale Stale new", "Stale Stale held", "Stale Stale released", "Stale Stale lost"}},
        {"caller-leaves", leave_bus, {"ok ok new", "ok ok held", "ok ok released", "ok ok lost"}},
};

static const Row with_process[] = {
        {"acquire", acquire, {"ok ok held", "ok ok held", "ok ok held", "LeaseLost LeaseLost lost"}},
        {"acquire-for-7", acquire_for_7, {"ok ok held", "ok ok held", "ok ok held", "LeaseLost LeaseLost lost"}},
        {"acquire-for-8", acquire_for_8,
         {"ok ok held", "BadState BadState held", "ok ok held", "BadState BadState lost"}},
        {"acquire-when-free", acquire_when_free, {"ok ok held", "ok ok held", "ok ok held", "ok ok held"}},
        {"bind-7", bind_7, {"ok ok new", "ok ok held", "ok ok released", "BadState BadState lost"}},
        {"bind-8", bind_8, {"ok ok new", "BadState BadState held", "ok ok released", "BadState BadState lost"}},
        {"release", release, {"ok ok new", "ok ok released", "ok ok released", "ok ok released"}},
        {"unplug", unplug,
         {"ok NoSuchResource new", "ok NoSuchResource held", "ok NoSuchResource released", "ok NoSuchResource held"}},
        {"set-child-7", set_child_7, {"ok ok new", "ok ok held", "ok ok released", "BadState BadState lost"}},
        {"set-child-8", set_child_8,
         {"AlreadyExists AlreadyExists new", "AlreadyExists AlreadyExists held",
          "AlreadyExists AlreadyExists released", "BadState BadState lost"}},
        {"get-child", get_child, {"ok ok new", "ok ok held", "ok ok released", "ok ok lost"}},
        {"shutdown", shut_down,
         {"GuestRunning GuestRunning new", "GuestRunning GuestRunning held", "GuestRunning GuestRunning released",
          "GuestRunning GuestRunning lost"}},
        {"free", free_it,
         {"GuestRunning GuestRunning new", "BadState BadState held", "GuestRunning GuestRunning released",
          "BadState BadState lost"}},
        {"start-same", start_same,
         {"AlreadyExists AlreadyExists new", "AlreadyExists AlreadyExists held",
          "AlreadyExists AlreadyExists released", "AlreadyExists AlreadyExists lost"}},
        {"start-same-for-7", start_same_for_7,
         {"AlreadyExists AlreadyExists new", "ok ok held", "AlreadyExists AlreadyExists released",
          "AlreadyExists AlreadyExists lost"}},
        {"revoke", take_away,
         {"NoSuchResource NoSuchResource new", "ok ok lost", "NoSuchResource NoSuchResource released",
          "ok ok lost"}},
        {"revoke-kill", revoke_kill,
         {"NoSuchResource NoSuchResource new", "ok ok lost", "NoSuchResource NoSuchResource released",
          "ok ok lost"}},
        {"attach", attach, {"ok ok new", "ok ok held", "ok ok released", "ok ok lost"}},
        {"attach-7", attach_7, {"ok ok new", "ok ok held", "ok ok released", "ok ok lost"}},
        {"attach-8", attach_8, {"Stale Stale new", "Stale Stale held", "Stale Stale released", "Stale Stale lost"}},
        {"exit", exit_7, {"ok ok new", "ok ok released", "ok ok released", "ok ok released"}},
        {"exit-of-a-stranger", exit_stranger, {"ok ok new", "ok ok held", "ok ok released", "ok ok lost"}},
};

static void check_cell(const Row *row, guint state, guint32 pid) {
        g_autoptr(CoreFixture) f = core_fixture_new();
        const char *first, *second = NULL, *after = "none";
        g_autofree char *got = NULL;

        reach[state](f, pid);
        f->code = GL_N_ERRORS - 1;
        row->call(f);
        first = core_code_name(f->code);
        if (core_guest(f, "a")) {
                row->call(f);
                second = core_code_name(f->code);
        }
        if (core_guest(f, "a"))
                after = gl_guest_state_to_string(core_guest(f, "a")->state);
        got = g_strjoin(" ", first, second ?: after, second ? after : NULL, NULL);
        g_assert_cmpstr(got, ==, row->cells[state]);
        g_assert_cmpuint(g_hash_table_size(f->saved), ==, core_guest(f, "a") ? 1 : 0);
}

static void test_row_without_process(gconstpointer row) {
        for (guint state = 0; state < N_STATES; state++)
                check_cell(row, state, 0);
}

static void test_row_with_process(gconstpointer row) {
        for (guint state = 0; state < N_STATES; state++)
                check_cell(row, state, 7);
}

/* --- what does not fit into a cell --- */

static void test_none(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        g_assert_cmpint(core_create(f, "a"), ==, -1);
        core_expect(f,
                    "added a");
        core_start(f, "b", "/x:X key:R", .pid = 7, .supervisor = TRUE);
        core_expect(f, "watch 7", "take b /x:X,key:R", "added b", "acquired b g1 /x:X,key:R", "reply 1 ok g1");
        core_assert_state(f, "b", "held /x:X held key:R held");
        g_assert_cmpuint(core_guest(f, "b")->processes[GL_PROCESS_SUPERVISOR].pid, ==, 7);
}

static void test_start_leaves_nothing_behind(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 0);
        core_start(f, "b", "/y:X /x:R", .pid = 7);
        core_expect(f, "watch 7", "reply 2 Conflict");
        core_start(f, "b", "/y:X /y:R", .pid = 7);
        core_expect(f, "reply 3 AlreadyRegistered");
        core_disk(f, "/z")->error = GL_ERROR_ACCESS_DENIED;
        core_start(f, "b", "/y:X /z:R", .pid = 7);
        core_expect(f, "watch 7", "take b /y:X,/z:R", "reply 4 AccessDenied");
        core_start(f, "b", "/y:X", .register_only = TRUE, .pid = 7);
        core_expect(f, "reply 5 InvalidArgs");
        core_start(f, "b", "/y:X", .state = "nonsense");
        core_expect(f, "reply 6 InvalidArgs");
        f->save_fails = TRUE;
        core_start(f, "b", "/y:X", .pid = 7);
        core_expect(f, "watch 7", "take b /y:X", "give-back b /y", "reply 7 DriverFailed");
        g_assert_null(core_guest(f, "b"));
        g_assert_null(gl_core_find_guest_by_pid(f->core, 7, NULL));
        g_assert_cmpuint(g_hash_table_size(f->core->starting), ==, 0);
        g_assert_cmpuint(gl_table_size(f->core->table), ==, 1);
        g_assert_cmpuint(g_hash_table_size(f->saved), ==, 1);
}

/* Made by StartGuest without `keep`: goes with its guest, however that ends. */
static void test_transient(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_start(f, "a", "/x:X", .pid = 7);
        core_get_child(f, "a", 0);
        core_forget_lines(f);
        core_exit(f, 7);
        core_expect(f, "drain a /x", "changed a pid,resources", "give-back a /x", "released a guest-exited /x",
                    "removed a");

        core_start(f, "a", "/x:X");
        core_forget_lines(f);
        core_shutdown(f, "a", FALSE);
        core_expect(f, "give-back a /x", "released a shutdown /x", "changed a state,resources",
                    "removed a", "reply 4 ok <state>");

        core_start(f, "a", "/x:X");
        core_release(f, "a"); /* the guest may go on without its disk */
        core_assert_state(f, "a", "released /x:X registered");
        core_forget_lines(f);
        core_shutdown(f, "a", FALSE);
        core_expect(f, "removed a", "reply 7 ok <state>");

        core_start(f, "a", "/x:X", .pid = 7, .keep = TRUE);
        core_exit(f, 7);
        core_assert_state(f, "a", "released /x:X registered");
        g_assert_cmpuint(f->n_forgotten, ==, 3);
}

/* Its process has become another user's. */
static void test_shutdown_refused(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_shutdown(f, "a", TRUE);
        core_forget_lines(f);
        core_refuse(f, 8);
        core_expect_nothing(f);
        core_refuse(f, 7);
        core_expect(f, "reply 2 AccessDenied");
        core_assert_state(f, "a", "held /x:X held");
        core_exit(f, 7);
        core_assert_state(f, "a", "released /x:X registered");
}

/* The same where the guest was created so, whatever was done with it before. */
static void test_created_transient(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        g_assert_cmpstr(core_code_name(core_create_transient(f, "a")), ==, "ok");
        g_assert_cmpstr(core_code_name(core_register(f, "a", "/x:X")), ==, "ok");
        core_acquire(f, "a", .pid = 7);
        core_assert_state(f, "a", "held /x:X held");
        core_forget_lines(f);
        core_exit(f, 7);
        core_expect(f, "drain a /x", "changed a pid,resources", "give-back a /x", "released a guest-exited /x",
                    "removed a");
}

/* Whoever still asks something of a guest that goes is answered. */
static void test_transient_with_callers(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "b", "/y:X", 0);
        core_start(f, "a", "/x:X", .pid = 7, .supervisor = TRUE);
        core_get_child(f, "a", 1000);
        core_forget_lines(f);
        core_disk(f, "/x")->hangs = TRUE;
        core_exit(f, 7);
        core_acquire(f, "a", .pid = 8, .wait_ms = 1000);
        core_inquire(f, "a");
        core_unplug(f, "a", "/x");
        core_expect(f, "drain a /x", "changed a supervisor-pid,resources", "watch 8");
        core_answer(f);
        core_answer(f);
        core_expect(f, "give-back a /x", "released a guest-exited /x", "changed a state,resources", "reply 4 Cancelled",
                    "reply 5 ok <state>", "changed a resources", "reply 6 ok", "changed a waiting", "removed a",
                    "reply 3 Cancelled");
}

static void test_reuse_of_a_released_guest(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 0);
        core_release(f, "a");
        core_disk(f, "/y")->hangs = TRUE;
        core_start(f, "a", "/y:X");
        core_forget_lines(f);
        core_answer(f);
        core_expect(f, "removed a", "added a", "acquired a g2 /y:X", "reply 3 ok g2");
        core_assert_state(f, "a", "held /y:X held");
        g_assert_cmpuint(f->n_forgotten, ==, 0); /* the state file is the new one's */
}

/* The old one comes back to life while the new one is being started. */
static void test_reuse_comes_too_late(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 0);
        core_release(f, "a");
        core_disk(f, "/y")->hangs = TRUE;
        core_start(f, "a", "/y:X");
        core_acquire(f, "a");
        core_forget_lines(f);
        core_answer(f);
        core_expect(f, "give-back a /y", "reply 3 AlreadyExists");
        core_assert_state(f, "a", "held /x:X held");
        core_answer(f);
        core_expect_nothing(f);
}

static void test_one_start_at_a_time(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_disk(f, "/x")->hangs = TRUE;
        core_start(f, "a", "/x:X");
        core_start(f, "a", "/x:X");
        g_assert_cmpint(core_create(f, "a"), ==, GL_ERROR_ALREADY_EXISTS);
        core_expect(f, "take a /x:X", "reply 2 AlreadyExists");
        g_assert_null(core_guest(f, "a"));
        core_answer(f);
        core_expect(f, "added a", "acquired a g1 /x:X", "reply 1 ok g1");
}

/* Ends the processes first, and answers when their I/O is over. */
static void test_shutdown_kill(void) {
        static const char *const after[N_STATES] = {"new /x:X registered", "released /x:X registered",
                                                    "released /x:X registered", "released /x:X registered"};

        for (guint state = 0; state < N_STATES; state++) {
                g_autoptr(CoreFixture) f = core_fixture_new();
                guint n;

                reach[state](f, 7);
                core_forget_lines(f);
                n = f->n_replies;
                core_shutdown(f, "a", TRUE);
                core_expect(f, "signal 7 9");
                core_shutdown(f, "a", TRUE);
                core_expect(f, "signal 7 9");
                core_exit(f, 7);
                g_assert_cmpuint(f->n_replies, ==, n + 2);
                g_assert_cmpint(f->code, ==, -1);
                core_assert_state(f, "a", after[state]);
                g_assert_cmpuint(gl_table_size(f->core->table), ==, 0);
        }
}

static void test_shutdown_of_what_does_not_die(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have(f, "a", "/x:X", 7);
        core_shutdown(f, "a", TRUE);
        core_forget_lines(f);
        core_advance(f, 11000);
        core_expect(f, "reply 2 StorageUnavailable");
        core_exit(f, 7);
        core_assert_state(f, "a", "released /x:X registered");
}

static void test_inquire(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();
        g_autofree char *held = NULL;

        core_create(f, "a");
        core_register(f, "a", "/x:X");
        core_inquire(f, "a");
        core_expect(f, "added a", "changed a resources", "reply 1 ok <>");
        core_acquire(f, "a");
        core_forget_lines(f);
        core_inquire(f, "a");
        core_expect(f, "inspect a /x", "reply 3 ok <state>");
        held = g_strdup(f->text);
        core_release(f, "a");
        g_assert_cmpstr(f->text, ==, held);
        core_forget_lines(f);
        core_inquire(f, "a");
        core_expect(f, "reply 5 ok <state>");
        g_assert_cmpstr(f->text, ==, held);
}

static void test_inquire_what_is_left(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();
        g_autoptr(GlStateString) state = NULL;

        core_have_lost(f, "a", "/x:X", "/y:X", 7);
        core_inquire(f, "a");
        state = gl_state_string_parse(f->text, NULL);
        g_assert_cmpuint(state->entries->len, ==, 1);
        g_assert_nonnull(gl_state_string_find(state, &core_disk(f, "/y")->place->node));
}

/* Part of what it has is lost. */
static void test_partly_lost(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have_lost(f, "a", "/x:X", "/y:X", 7);
        core_assert_state(f, "a", "lost /x:X lost /y:X held");
        core_unplug(f, "a", "/y");
        core_expect(f, "reply 2 BadState");
        core_unplug(f, "a", "/x"); /* which stays blocked: the process can write to it */
        core_expect(f, "changed a state,resources", "reply 3 ok");
        core_assert_state(f, "a", "held /y:X held /x:X lost and unplugged");
        g_assert_cmpuint(gl_core_n_leases(f->core), ==, 1);
        core_disk(f, "/x")->error = -1;
        core_create(f, "b");
        core_register(f, "b", "/x:X");
        core_forget_lines(f);
        core_acquire(f, "b");
        core_expect(f, "reply 4 Conflict");
        g_assert_nonnull(strstr(f->message, "guest \"a\""));
        core_exit(f, 7);
        core_expect(f, "drain a /y", "changed a pid,resources", "give-back a /y", "released a guest-exited /y",
                    "changed a state,resources");
        core_acquire(f, "b");
        core_expect(f, "take b /x:X", "acquired b g1 /x:X", "changed b state,generation,acquired-at,resources",
                    "reply 5 ok g1");
        g_assert_cmpuint(gl_core_n_leases(f->core), ==, 1);
}

/* Released, a lost resource stays blocked until the process is gone. */
static void test_lost_and_released(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have_lost(f, "a", "/x:X", "/y:X", 7);
        core_release(f, "a");
        core_expect(f, "give-back a /y", "released a released /y", "changed a state,resources",
                    "reply 2 ok <state>");
        core_assert_state(f, "a", "released /x:X lost /y:X registered");
        core_disk(f, "/x")->error = -1;
        core_start(f, "b", "/x:R");
        core_expect(f, "reply 3 Conflict");
        core_plug(f, "a", "/x:R", 0);
        core_expect(f, "reply 4 BadState");
        core_exit(f, 7);
        core_expect(f, "released a guest-exited /x", "changed a pid,resources");
        core_start(f, "b", "/x:R");
        core_expect(f, "take b /x:R", "added b", "acquired b g1 /x:R", "reply 5 ok g1");
}

/* Without a process nobody writes any more. */
static void test_lost_without_process(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_have_lost(f, "a", "/x:X", "", 0);
        core_shutdown(f, "a", FALSE);
        core_expect(f, "changed a state,resources", "reply 2 ok <state>");
        core_assert_state(f, "a", "released /x:X registered");
        g_assert_cmpuint(gl_table_size(f->core->table), ==, 0);
        g_assert_cmpuint(gl_core_n_leases(f->core), ==, 0);
}

/* What the service has stopped goes on when it has its lease again, and not before. */
static void test_stopped_and_continued(void) {
        g_autoptr(CoreFixture) f = core_fixture_new();

        core_disk(f, "/x")->error = GL_ERROR_CONFLICT;
        core_disk(f, "/y")->error = GL_ERROR_CONFLICT;
        core_restore(f, "a", GL_GUEST_HELD, "/x:X /y:X", GL_RESOURCE_HELD, 7);
        core_retake_at_last(f, "a");
        core_expect(f, "take a /x:X", "take a /y:X", "lost a taken /x", "signal 7 19", "changed a state,resources",
                    "lost a taken /y", "signal 7 19", "changed a resources", "reply 1 ok");
        core_disk(f, "/x")->error = -1;
        core_acquire(f, "a");
        core_expect(f, "take a /x:X,/y:X", "reply 2 LeaseLost");
        core_disk(f, "/y")->error = -1;
        core_disk(f, "/y")->size++;
        core_acquire(f, "a");
        core_expect(f, "take a /x:X,/y:X", "give-back a /x,/y", "reply 3 LeaseLost");
        core_assert_state(f, "a", "lost /x:X lost /y:X lost");
        core_disk(f, "/y")->size--;
        core_acquire(f, "a");
        core_expect(f, "take a /x:X,/y:X", "acquired a g1 /x:X,/y:X", "signal 7 18",
                    "changed a state,generation,acquired-at,resources", "reply 4 ok g1");
        core_acquire(f, "a");
        core_expect(f, "reply 5 ok g1");
}

static void add_rows(const char *suite, const Row *rows, gsize n, GTestDataFunc test) {
        for (gsize i = 0; i < n; i++) {
                g_autofree char *path = g_strdup_printf("/core-states/%s/%s", suite, rows[i].name);

                g_test_add_data_func(path, &rows[i], test);
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        add_rows("without-process", without_process, G_N_ELEMENTS(without_process), test_row_without_process);
        add_rows("with-process", with_process, G_N_ELEMENTS(with_process), test_row_with_process);
        g_test_add_func("/core-states/none", test_none);
        g_test_add_func("/core-states/start-leaves-nothing-behind", test_start_leaves_nothing_behind);
        g_test_add_func("/core-states/transient", test_transient);
        g_test_add_func("/core-states/shutdown-refused", test_shutdown_refused);
        g_test_add_func("/core-states/created-transient", test_created_transient);
        g_test_add_func("/core-states/transient-with-callers", test_transient_with_callers);
        g_test_add_func("/core-states/reuse-of-a-released-guest", test_reuse_of_a_released_guest);
        g_test_add_func("/core-states/reuse-comes-too-late", test_reuse_comes_too_late);
        g_test_add_func("/core-states/one-start-at-a-time", test_one_start_at_a_time);
        g_test_add_func("/core-states/shutdown-kill", test_shutdown_kill);
        g_test_add_func("/core-states/shutdown-of-what-does-not-die", test_shutdown_of_what_does_not_die);
        g_test_add_func("/core-states/inquire", test_inquire);
        g_test_add_func("/core-states/inquire-what-is-left", test_inquire_what_is_left);
        g_test_add_func("/core-states/partly-lost", test_partly_lost);
        g_test_add_func("/core-states/lost-and-released", test_lost_and_released);
        g_test_add_func("/core-states/lost-without-process", test_lost_without_process);
        g_test_add_func("/core-states/stopped-and-continued", test_stopped_and_continued);
        return g_test_run();
}
