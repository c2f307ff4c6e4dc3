/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "house.h"

#include <string.h>

/* WhoHolds and TestAcquire on the bus: their dictionaries, their arguments, and whom they ask whether they may. */

#define HELD(n, name_, options)                                                                                       \
        options "guest-uuid=" UUID(n) ",guest-name=web" #n ",host=kvm1,mode=exclusive,name=" name_                     \
        ",driver=fake,scope=host,object=" #n "_u1000,owner-uid=1000,since-usec=#,generation=#"

static Call *send_who(House *house, const char *sender, const char *name) {
        return send_call(house, sender, MANAGER, "WhoHolds", "ssa{sv}", "disk", house_file(house, name), 0);
}

static Call *send_test(House *house, const char *sender, const char *uuid, const char *name, const char *mode) {
        return send_call(house, sender, MANAGER, "TestAcquire", "sa(sssa{sv})a{sv}", uuid, 1, "disk",
                         house_file(house, name), mode, 0, 0);
}

static void test_dictionaries(void) {
        g_autoptr(House) house = house_new();

        if (skip_without_openat2())
                return;
        expect_reply(send_who(house, BOB, "a.img"), "aa{sv}", "[]");
        create_held(house, ALICE, 1, "a.img");
        forget_log(house);
        expect_reply(send_who(house, BOB, "a.img"), "aa{sv}", "[{" HELD(1, "a.img", "") "}]");
        expect_reply(send_test(house, BOB, "", "a.img", "readonly"), "aa{sv}",
                     "[{" HELD(1, "a.img", "resource=a.img,") "}]");
        expect_reply(send_test(house, BOB, "", "b.img", "readonly"), "aa{sv}", "[]");
        expect_reply(send_test(house, ALICE, UUID(1), "a.img", "readonly"), "aa{sv}", "[]");
        /* Nobody else hears of any of this. */
        expect_log(house, "<- WhoHolds\n<- TestAcquire\n<- TestAcquire\n<- TestAcquire\n");
}

static void test_guests(void) {
        g_autoptr(House) house = house_new();

        create(house, ROOT, 1);
        create(house, ALICE, 2);
        succeed(house, BOB, MANAGER, "WhoHolds", "aa{sv}",
                "[{guest-uuid=" UUID(2) ",guest-name=web2,host=kvm1,driver=fake,via=it exists, in state new,"
                "object=2_u1000,owner-uid=1000}]",
                "ssa{sv}", "guest", UUID(2), 0);
        succeed(house, BOB, MANAGER, "WhoHolds", "aa{sv}", "[]", "ssa{sv}", "guest", UUID(3), 0);
        fail(house, BOB, MANAGER, "WhoHolds", "InvalidArgs", "uuid", "ssa{sv}", "guest", "web1", 0);
        fail(house, BOB, MANAGER, "WhoHolds", "InvalidArgs", "mode", "ssa{sv}", "guest", UUID(1), 1, "mode", "s",
             "shared");
}

static void test_arguments(void) {
        g_autoptr(House) house = house_new();

        fail(house, BOB, MANAGER, "WhoHolds", "InvalidArgs", "type", "ssa{sv}", "network", "/x", 0);
        fail(house, BOB, MANAGER, "WhoHolds", "InvalidArgs", "\"write\"", "ssa{sv}", "disk", "/x", 1, "mode", "s",
             "write");
        fail(house, BOB, MANAGER, "WhoHolds", "InvalidArgs", "wait-ms", "ssa{sv}", "disk", "/x", 1, "wait-ms", "u", 1);
        fail(house, BOB, MANAGER, "WhoHolds", "InvalidArgs", "absolute", "ssa{sv}", "disk", "x", 0);
        fail(house, BOB, MANAGER, "WhoHolds", "InvalidArgs", "offset", "ssa{sv}", "lease", "key", 1, "path", "s", "/x");
        fail(house, BOB, MANAGER, "TestAcquire", "InvalidArgs", "uuid", "sa(sssa{sv})a{sv}", "x", 0, 0);
        fail(house, BOB, MANAGER, "TestAcquire", "InvalidArgs", "wait-ms", "sa(sssa{sv})a{sv}", "", 0, 1, "wait-ms",
             "u", 1);
        fail(house, BOB, MANAGER, "TestAcquire", "InvalidArgs", "owner-uid", "sa(sssa{sv})a{sv}", "", 0, 1,
             "owner-uid", "u", 0);
        fail(house, BOB, MANAGER, "TestAcquire", "InvalidArgs", "driver", "sa(sssa{sv})a{sv}", UUID(1), 0, 1, "driver",
             "s", "fake");
        fail(house, BOB, MANAGER, "TestAcquire", "NoSuchGuest", UUID(1), "sa(sssa{sv})a{sv}", UUID(1), 0, 0);
        fail(house, BOB, MANAGER, "TestAcquire", "NoSuchDriver", "nothing", "sa(sssa{sv})a{sv}", "", 0, 1, "driver",
             "s", "nothing");
        succeed(house, BOB, MANAGER, "TestAcquire", "aa{sv}", "[]", "sa(sssa{sv})a{sv}", "", 0, 0);
}

static void test_authorisation(void) {
        g_autoptr(House) house = house_new();

        if (skip_without_openat2())
                return;
        create_held(house, ALICE, 1, "a.img");
        forget_questions(house);
        await_reply(send_who(house, BOB, "a.img"));
        expect_questions(house, BOB " inspect: owner-uid=1001, resource-type=disk, resource=a.img, "
                                    "resource-given=a.img, mode=readonly\n");
        await_reply(send_test(house, ALICE, UUID(1), "b.img", "shared"));
        expect_questions(house, ALICE " inspect: guest-uuid=" UUID(1) ", owner-uid=1000, resource-type=disk, "
                                      "resource=b.img, resource-given=b.img, mode=shared\n");
        /* Of somebody else's guest. */
        succeed(house, BOB, MANAGER, "TestAcquire", "aa{sv}", "[]", "sa(sssa{sv})a{sv}", UUID(1), 0, 1, "owner-uid",
                "u", 1000);
        expect_questions(house, BOB " manage: guest-uuid=" UUID(1) ", owner-uid=1000\n");
        house_say(house, "inspect", SAY_NO, SAY_NO);
        expect_error(send_who(house, BOB, "b.img"), "AccessDenied", "org.guestlock1.inspect");
        expect_error(send_test(house, BOB, "", "b.img", "shared"), "AccessDenied", "org.guestlock1.inspect");
        fail(house, BOB, MANAGER, "WhoHolds", "AccessDenied", "inspect", "ssa{sv}", "guest", UUID(1), 0);
}

/* The guest may have gone while somebody was asked. */
static void test_looked_at_again(void) {
        g_autoptr(House) house = house_new();
        Call *call;

        create(house, ALICE, 1);
        house_say(house, "inspect", SAY_NOTHING, SAY_NOTHING);
        call = send_call(house, ALICE, MANAGER, "TestAcquire", "sa(sssa{sv})a{sv}", UUID(1), 0, 0);
        await_questions(house, 1);
        succeed(house, ALICE_TOO, ALICES(1), "Free", "", "", "a{sv}", 0);
        answer_question(house, 0, GL_ANSWER_YES, NULL);
        expect_error(call, "NoSuchGuest", UUID(1));
}

/* What is asked of a driver is answered when that has, and a caller who has left is not waited for. */
static void test_later(void) {
        g_autoptr(House) house = house_new();
        Call *call;

        if (skip_without_openat2())
                return;
        house_file(house, "a.img");
        gl_fake_driver_hold_jobs(house->driver, TRUE);
        call = send_who(house, ALICE, "a.img");
        send_who(house, BOB, "a.img");
        fixture_run_until(house->event, strstr(gl_fake_driver_log(house->driver), "\nlook ")); /* the second one */
        house_leave(house, BOB);
        g_assert_cmpuint(gl_fake_driver_release_jobs(house->driver), ==, 2);
        expect_reply(call, "aa{sv}", "[]");
        gl_fake_driver_hold_jobs(house->driver, FALSE);
        g_assert_cmpuint(gl_fake_driver_n_leases(house->driver), ==, 0);
}

int main(int argc, char **argv) {
        house_init(&argc, &argv);
        g_test_add_func("/who/dictionaries", test_dictionaries);
        g_test_add_func("/who/guests", test_guests);
        g_test_add_func("/who/arguments", test_arguments);
        g_test_add_func("/who/authorisation", test_authorisation);
        g_test_add_func("/who/looked-at-again", test_looked_at_again);
        g_test_add_func("/who/later", test_later);
        return g_test_run();
}
