/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "house.h"

#include <string.h>

#include "core/error.h"

/* Every error by its name on the wire, and every call in a state that does not allow it. */

/* The fake driver fails with each code once; the core hands it on, and the bus names it. */
static void test_names(void) {
        static const char *const names[GL_N_ERRORS] = {
                [GL_ERROR_CONFLICT] = "org.guestlock1.Error.Conflict",
                [GL_ERROR_BAD_STATE] = "org.guestlock1.Error.BadState",
                [GL_ERROR_NO_SUCH_GUEST] = "org.guestlock1.Error.NoSuchGuest",
                [GL_ERROR_NO_SUCH_RESOURCE] = "org.guestlock1.Error.NoSuchResource",
                [GL_ERROR_ALREADY_EXISTS] = "org.guestlock1.Error.AlreadyExists",
                [GL_ERROR_ALREADY_REGISTERED] = "org.guestlock1.Error.AlreadyRegistered",
                [GL_ERROR_NOT_SUPPORTED] = "org.guestlock1.Error.NotSupported",
                [GL_ERROR_TIMEOUT] = "org.guestlock1.Error.Timeout",
                [GL_ERROR_CANCELLED] = "org.guestlock1.Error.Cancelled",
                [GL_ERROR_STALE] = "org.guestlock1.Error.Stale",
                [GL_ERROR_LEASE_LOST] = "org.guestlock1.Error.LeaseLost",
                [GL_ERROR_GUEST_RUNNING] = "org.guestlock1.Error.GuestRunning",
                [GL_ERROR_NO_CHILD] = "org.guestlock1.Error.NoChild",
                [GL_ERROR_LIMIT_EXCEEDED] = "org.guestlock1.Error.LimitExceeded",
                [GL_ERROR_NO_SUCH_DRIVER] = "org.guestlock1.Error.NoSuchDriver",
                [GL_ERROR_DRIVER_IN_USE] = "org.guestlock1.Error.DriverInUse",
                [GL_ERROR_DRIVER_FAILED] = "org.guestlock1.Error.DriverFailed",
                [GL_ERROR_STORAGE_UNAVAILABLE] = "org.guestlock1.Error.StorageUnavailable",
                [GL_ERROR_INVALID_ARGS] = "org.freedesktop.DBus.Error.InvalidArgs",
                [GL_ERROR_ACCESS_DENIED] = "org.freedesktop.DBus.Error.AccessDenied",
                [GL_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED] =
                        "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
                [GL_ERROR_UNKNOWN_OBJECT] = "org.freedesktop.DBus.Error.UnknownObject",
        };
        g_autoptr(House) house = house_new();
        const char *guest = create(house, ROOT, 1);

        register_disk(house, ROOT, guest, "a.img", "exclusive");
        for (int code = 0; code < GL_N_ERRORS; code++) {
                Call *call;

                gl_fake_driver_fail_next(house->driver, g_error_new(GL_ERROR, code, "The number is %d.", code), NULL,
                                         FALSE);
                call = send_call(house, ROOT, guest, "Acquire", "a{sv}", 0);
                g_assert_true(g_str_has_prefix(await_error(call)->message, "The number is "));
                g_assert_cmpstr(await_error(call)->name, ==, names[code]);
        }
        expect_property(house, guest, "State", "s", "new");
        expect_resources(house, guest, "a.img exclusive registered");
}

/* What a file system says may be any bytes; the message arrives all the same. */
static void test_message_is_valid(void) {
        g_autoptr(House) house = house_new();
        const char *guest = create(house, ROOT, 1);

        register_disk(house, ROOT, guest, "a.img", "exclusive");
        gl_fake_driver_fail_next(house->driver, g_error_new_literal(GL_ERROR, GL_ERROR_STALE, "It is \xff now."), NULL,
                                 FALSE);
        fail(house, ROOT, guest, "Acquire", "Stale", "It is \xef\xbf\xbd now.", "a{sv}", 0);
}

static void test_conflict_names_the_holder(void) {
        g_autoptr(House) house = house_new();
        const char *guest = create(house, ALICE, 2);

        create_held(house, ROOT, 1, "a.img");
        register_disk(house, ALICE, guest, "a.img", "readonly");
        forget_log(house);
        fail(house, ALICE, guest, "Acquire", "Conflict", "web1", "a{sv}", 0);
        fail(house, ALICE, guest, "Acquire", "Conflict", UUID(1), "a{sv}", 0);
        fail(house, ALICE, guest, "Acquire", "Conflict", "kvm1", "a{sv}", 0);
        fail(house, ALICE, guest, "Acquire", "Conflict", "exclusive", "a{sv}", 0);
        expect_log(house, "<- Acquire: Conflict\n<- Acquire: Conflict\n<- Acquire: Conflict\n<- Acquire: Conflict\n");
        expect_resources(house, guest, "a.img readonly registered");
        fail(house, ALICE, guest, "Acquire", "Timeout", "web1", "a{sv}", 1, "wait-ms", "u", 20);
        expect_property(house, guest, "State", "s", "new");
}

/* --- states --- */

typedef struct {
        const char *member, *error;
} Refusal;

#define PLUG "AcquireResource"

static Call *send_any(House *house, const char *guest, const char *member) {
        const char *path = house_path(house, "a.img");

        if (g_str_equal(member, PLUG))
                return send_plug(house, ROOT, guest, "b.img", "exclusive", 0);
        if (g_str_equal(member, "RegisterResource"))
                return send_register(house, ROOT, guest, "a.img", "exclusive");
        if (g_str_equal(member, "ReleaseResource"))
                return send_call(house, ROOT, guest, member, "ssa{sv}", "disk", path, 0);
        if (g_str_equal(member, "SetParameter"))
                return send_call(house, ROOT, guest, member, "sv", "on-lease-lost", "s", "kill");
        return send_call(house, ROOT, guest, member, "a{sv}", 0);
}

/* Puts a guest into STATE by what only a restart does otherwise. */
static void make_lost(House *house, const char *uuid) {
        GlGuest *guest = gl_core_find_guest(gl_service_core(house->service), 0, uuid);

        guest->state = GL_GUEST_LOST;
        ((GlResource *) g_ptr_array_index(guest->resources, 0))->state = GL_RESOURCE_LOST;
}

static void check_refused(House *house, const char *guest, const char *state, const Refusal *refusals) {
        forget_log(house);
        gl_fake_driver_clear_log(house->driver);
        for (; refusals->member; refusals++) {
                g_test_message("%s in state %s", refusals->member, state);
                expect_error(send_any(house, guest, refusals->member), refusals->error, "");
                if (g_str_equal(refusals->error, "BadState"))
                        expect_error(send_any(house, guest, refusals->member), "BadState", state);
        }
        expect_property(house, guest, "State", "s", state);
        g_assert_cmpstr(gl_fake_driver_log(house->driver), ==, "");
        g_assert_null(strstr(house->log->str, "PropertiesChanged"));
        g_assert_null(strstr(house->log->str, "Leases"));
}

static void test_state_new(void) {
        static const Refusal refusals[] = {{PLUG, "BadState"}, {"GetChild", "NoChild"}, {}};
        g_autoptr(House) house = house_new();

        check_refused(house, create(house, ROOT, 1), "new", refusals);
        expect_resources(house, ROOTS(1), "");
}

static void test_state_held(void) {
        static const Refusal refusals[] = {
                {"Free", "BadState"}, {"RegisterResource", "AlreadyRegistered"}, {"GetChild", "NoChild"}, {}};
        g_autoptr(House) house = house_new();

        check_refused(house, create_held(house, ROOT, 1, "a.img"), "held", refusals);
        expect_resources(house, ROOTS(1), "a.img exclusive held");
}

static void test_state_released(void) {
        static const Refusal refusals[] = {{"RegisterResource", "AlreadyRegistered"}, {"GetChild", "NoChild"}, {}};
        g_autoptr(House) house = house_new();
        const char *guest = create_held(house, ROOT, 1, "a.img");

        succeed(house, ROOT, guest, "Release", "s", NULL, "a{sv}", 0);
        check_refused(house, guest, "released", refusals);
        expect_reply(send_plug(house, ROOT, guest, "b.img", "shared", 0), "t", NULL); /* registers */
        expect_resources(house, guest, "a.img exclusive registered, b.img shared registered");
}

static void test_state_lost(void) {
        static const Refusal refusals[] = {
                {"SetParameter", "BadState"}, {PLUG, "BadState"}, {"RegisterResource", "BadState"}, {"Free",
                                                                                                     "BadState"}, {}};
        g_autoptr(House) house = house_new();
        const char *guest = create_held(house, ROOT, 1, "a.img");

        make_lost(house, UUID(1));
        check_refused(house, guest, "lost", refusals);
        expect_resources(house, guest, "a.img exclusive lost");
}

int main(int argc, char **argv) {
        house_init(&argc, &argv);
        g_test_add_func("/errors/names", test_names);
        g_test_add_func("/errors/message-is-valid", test_message_is_valid);
        g_test_add_func("/errors/conflict-names-the-holder", test_conflict_names_the_holder);
        g_test_add_func("/errors/state-new", test_state_new);
        g_test_add_func("/errors/state-held", test_state_held);
        g_test_add_func("/errors/state-released", test_state_released);
        g_test_add_func("/errors/state-lost", test_state_lost);
        return g_test_run();
}
