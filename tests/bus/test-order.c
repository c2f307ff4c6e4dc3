/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "house.h"

#include <string.h>

/*
 * Calls of one connection on one guest take effect in the order sent, however long and in whichever order they are
 * authorised, looked up and carried out; nobody else is held up by that.
 */

#define ALL_HELD(n)                                                    \
        #n "_u1000 LeasesAcquired # [(disk,a.img,exclusive)]\n"        \
        #n "_u1000 PropertiesChanged Guest {State=held,Generation=#,AcquiredAt=#} [Resources]\n"
#define ALL_RELEASED(n)                                                \
        #n "_u1000 LeasesReleased released [(disk,a.img)]\n"           \
        #n "_u1000 PropertiesChanged Guest {State=released} [Resources]\n"

/* Alice's guest 1 with a.img, registered. What needs asking from now on is answered when the test says so. */
static House *house_with_slow_polkit(void) {
        House *house = house_new();

        create(house, ALICE, 1);
        register_disk(house, ALICE, ALICES(1), "a.img", "exclusive");
        create(house, ALICE, 2);
        forget_log(house);
        forget_questions(house);
        house_say(house, NULL, SAY_NOTHING, SAY_NOTHING);
        return house;
}

/* Release needs no question, and waits for the Acquire before it all the same. */
static void test_release_behind_acquire(void) {
        g_autoptr(House) house = house_with_slow_polkit();
        Call *acquire = send_call(house, ALICE_TOO, ALICES(1), "Acquire", "a{sv}", 0);
        Call *release = send_call(house, ALICE_TOO, ALICES(1), "Release", "a{sv}", 0);

        await_questions(house, 1);
        expect_no_answer(acquire);
        expect_no_answer(release);
        answer_question(house, 0, GL_ANSWER_YES, NULL);
        expect_reply(acquire, "t", "#");
        expect_reply(release, "s", NULL);
        expect_log(house, ALL_HELD(1) "<- Acquire\n" ALL_RELEASED(1) "<- Release\n");
}

static void test_long_pipeline(void) {
        g_autoptr(House) house = house_with_slow_polkit();
        Call *last;

        send_call(house, BOB, ALICES(1), "SetParameter", "sv", "name", "s", "one");
        send_call(house, BOB, ALICES(1), "Acquire", "a{sv}", 0);
        send_call(house, BOB, ALICES(1), "SetParameter", "sv", "name", "s", "two");
        send_call(house, BOB, ALICES(1), "Release", "a{sv}", 0);
        send_call(house, BOB, ALICES(1), "Free", "a{sv}", 0);
        last = send_call(house, BOB, ALICES(1), "Inquire", "a{sv}", 0);
        await_questions(house, 1); /* one at a time, and the same one is not asked twice */
        answer_question(house, 0, GL_ANSWER_YES, NULL);
        await_questions(house, 1); /* the name that polkit is shown has changed */
        answer_question(house, 0, GL_ANSWER_YES, NULL);
        await_questions(house, 1);
        answer_question(house, 0, GL_ANSWER_YES, NULL);
        expect_error(last, "UnknownObject", "00000000"); /* by itself or by sd-bus, as it came in before or after Free */
        expect_log(house, "1_u1000 PropertiesChanged Guest {Name=one} []\n"
                          "<- SetParameter\n" ALL_HELD(1) "<- Acquire\n"
                          "1_u1000 PropertiesChanged Guest {Name=two} []\n"
                          "<- SetParameter\n" ALL_RELEASED(1) "<- Release\n"
                          "/org/guestlock1 InterfacesRemoved 1_u1000 [org.freedesktop.DBus.Peer,"
                          "org.freedesktop.DBus.Introspectable,org.freedesktop.DBus.Properties,Guest]\n"
                          "<- Free\n<- Inquire: UnknownObject\n");
}

/* Also calls of the Manager are on a guest. */
static void test_create_and_use(void) {
        g_autoptr(House) house = house_with_slow_polkit();
        Call *create_it = send_call(house, ALICE, MANAGER, "CreateGuest", "ssa{sv}", UUID(5), "web5", 0);
        Call *find_it = send_call(house, ALICE, MANAGER, "GetGuest", "s", UUID(5));

        await_questions(house, 1);
        expect_no_answer(find_it);
        answer_question(house, 0, GL_ANSWER_YES, NULL);
        expect_reply(find_it, "o", "5_u1000");
        expect_reply(create_it, "o", "5_u1000");
        expect_log(house, "/org/guestlock1 InterfacesAdded 5_u1000\n<- CreateGuest\n<- GetGuest\n");
}

/* Two guests, answered in the other order: neither waits for the other. */
static void test_guests_are_independent(void) {
        g_autoptr(House) house = house_with_slow_polkit();
        Call *first = send_call(house, ALICE_TOO, ALICES(1), "Acquire", "a{sv}", 0);
        Call *second = send_call(house, ALICE_TOO, ALICES(2), "Acquire", "a{sv}", 0);

        await_questions(house, 2);
        answer_question(house, 1, GL_ANSWER_YES, NULL);
        expect_reply(second, "t", "#");
        expect_no_answer(first);
        answer_question(house, 0, GL_ANSWER_YES, NULL);
        expect_reply(first, "t", "#");
}

/* Two connections on one guest: what is ready first comes first. */
static void test_connections_are_independent(void) {
        g_autoptr(House) house = house_with_slow_polkit();
        Call *slow = send_call(house, ALICE_TOO, ALICES(1), "Acquire", "a{sv}", 0);
        Call *behind = send_call(house, ALICE_TOO, ALICES(1), "SetParameter", "sv", "name", "s", "late");

        await_questions(house, 1);
        succeed(house, ALICE, ALICES(1), "SetParameter", "", "", "sv", "name", "s", "early");
        succeed(house, ALICE, ALICES(1), "Release", "s", "", "a{sv}", 0); /* nothing is held yet */
        expect_no_answer(behind);
        answer_question(house, 0, GL_ANSWER_YES, NULL);
        expect_reply(slow, "t", "#");
        expect_reply(behind, "", "");
        expect_property(house, ALICES(1), "Name", "s", "late");
        expect_property(house, ALICES(1), "State", "s", "held");
}

/* What needs no turn is answered meanwhile. */
static void test_looking_is_never_held_up(void) {
        g_autoptr(House) house = house_with_slow_polkit();
        Call *acquire = send_call(house, ALICE_TOO, ALICES(1), "Acquire", "a{sv}", 0);

        await_questions(house, 1);
        expect_property(house, ALICES(1), "State", "s", "new");
        succeed(house, ALICE, MANAGER, "ListDrivers", "a(sas)", NULL, "");
        succeed(house, ALICE, MANAGER, "GetGuest", "o", "2_u1000", "s", UUID(2));
        expect_no_answer(acquire);
}

/* The driver takes its time with the first call; the second one's turn comes with the first one's answer. */
static void test_slow_driver(void) {
        g_autoptr(House) house = house_with_slow_polkit();
        Call *acquire, *release;

        house_say(house, NULL, SAY_YES, SAY_YES);
        gl_fake_driver_hold_jobs(house->driver, TRUE);
        acquire = send_call(house, ALICE, ALICES(1), "Acquire", "a{sv}", 0);
        release = send_call(house, ALICE, ALICES(1), "Release", "a{sv}", 0);
        expect_no_answer(acquire);
        expect_no_answer(release);
        gl_fake_driver_hold_jobs(house->driver, FALSE);
        gl_fake_driver_release_jobs(house->driver);
        expect_reply(acquire, "t", "#");
        expect_reply(release, "s", NULL);
        expect_log(house, ALL_HELD(1) "<- Acquire\n" ALL_RELEASED(1) "<- Release\n");
}

/* The storage takes its time with the first call's file. */
static void test_slow_storage(void) {
        g_autoptr(House) house = house_with_slow_polkit();
        Call *registering, *acquire;

        house_say(house, NULL, SAY_YES, SAY_YES);
        house_block_storage(house);
        registering = send_register(house, ALICE, ALICES(1), "b.img", "shared");
        acquire = send_call(house, ALICE, ALICES(1), "Acquire", "a{sv}", 0);
        succeed(house, ALICE, ALICES(2), "SetParameter", "", "", "sv", "id", "u", 4);
        expect_no_answer(registering);
        expect_no_answer(acquire);
        house_unblock_storage(house);
        expect_reply(acquire, "t", "#");
        expect_resources(house, ALICES(1), "a.img exclusive held, b.img shared held");
}

/* Freed by another connection while the file is looked for: nobody looks at the guest again. */
static void test_freed_during_look_up(void) {
        g_autoptr(House) house = house_with_slow_polkit();
        Call *registering;

        house_say(house, NULL, SAY_YES, SAY_YES);
        house_block_storage(house);
        registering = send_register(house, ALICE, ALICES(1), "b.img", "shared");
        expect_no_answer(registering);
        succeed(house, ALICE_TOO, ALICES(1), "Free", "", "", "a{sv}", 0);
        house_unblock_storage(house);
        expect_error(registering, "UnknownObject", UUID(1));
        expect_questions(house, "");
}

/* An acquire that waits for others lets the next call go on. */
static void test_behind_a_waiting_acquire(void) {
        g_autoptr(House) house = house_with_slow_polkit();
        Call *waiting, *name, *release;

        house_say(house, NULL, SAY_YES, SAY_YES);
        create_held(house, ROOT, 3, "a.img");
        forget_log(house);
        waiting = send_call(house, ALICE, ALICES(1), "Acquire", "a{sv}", 1, "wait-ms", "u", 60000);
        name = send_call(house, ALICE, ALICES(1), "SetParameter", "sv", "name", "s", "patient");
        expect_reply(name, "", "");
        expect_no_answer(waiting);
        expect_property(house, ALICES(1), "Waiting", "b", "true");
        expect_property(house, ALICES(1), "State", "s", "new");
        release = send_call(house, ALICE, ALICES(1), "Release", "a{sv}", 0);
        expect_reply(release, "s", "");
        expect_error(waiting, "Cancelled", "released");
        expect_log(house, "1_u1000 PropertiesChanged Guest {Waiting=true} []\n"
                          "1_u1000 PropertiesChanged Guest {Name=patient} []\n"
                          "<- SetParameter\n"
                          "1_u1000 PropertiesChanged Guest {Waiting=false} []\n"
                          "<- Acquire: Cancelled\n"
                          "<- Release\n");
}

static void test_waiting_is_served(void) {
        g_autoptr(House) house = house_with_slow_polkit();
        Call *waiting;

        house_say(house, NULL, SAY_YES, SAY_YES);
        create_held(house, ROOT, 3, "a.img");
        waiting = send_call(house, ALICE, ALICES(1), "Acquire", "a{sv}", 1, "wait-ms", "u", 60000);
        expect_no_answer(waiting);
        forget_log(house);
        succeed(house, ROOT, ROOTS(3), "Release", "s", NULL, "a{sv}", 0);
        expect_reply(waiting, "t", "#");
        expect_log(house, "3 LeasesReleased released [(disk,a.img)]\n"
                          "3 PropertiesChanged Guest {State=released} [Resources]\n"
                          "<- Release\n"
                          "1_u1000 LeasesAcquired # [(disk,a.img,exclusive)]\n"
                          "1_u1000 PropertiesChanged Guest {State=held,Waiting=false,Generation=#,AcquiredAt=#} "
                          "[Resources]\n"
                          "<- Acquire\n");
}

/* A bad call has no turn to wait for, but its answer is not mixed up with the others'. */
static void test_bad_call_in_between(void) {
        g_autoptr(House) house = house_with_slow_polkit();
        Call *acquire = send_call(house, ALICE_TOO, ALICES(1), "Acquire", "a{sv}", 0);
        Call *bad = send_call(house, ALICE_TOO, ALICES(1), "Release", "a{sv}", 1, "nonsense", "b", TRUE);
        Call *release = send_call(house, ALICE_TOO, ALICES(1), "Release", "a{sv}", 0);

        expect_error(bad, "InvalidArgs", "nonsense");
        await_questions(house, 1);
        answer_question(house, 0, GL_ANSWER_YES, NULL);
        expect_reply(acquire, "t", "#");
        expect_reply(release, "s", NULL);
}

/* A refusal gives the turn on as well. */
static void test_refused_in_between(void) {
        g_autoptr(House) house = house_with_slow_polkit();
        Call *acquire = send_call(house, ALICE_TOO, ALICES(1), "Acquire", "a{sv}", 0);
        Call *name = send_call(house, ALICE_TOO, ALICES(1), "SetParameter", "sv", "name", "s", "db");
        Call *free_it = send_call(house, ALICE_TOO, ALICES(1), "Free", "a{sv}", 0);

        await_questions(house, 1);
        answer_question(house, 0, GL_ANSWER_NO, NULL);
        expect_error(acquire, "AccessDenied", "org.guestlock1.acquire");
        expect_reply(name, "", "");
        expect_reply(free_it, "", "");
}

/* --- callers that leave --- */

static void test_leaving_in_the_queue(void) {
        g_autoptr(House) house = house_with_slow_polkit();
        Call *acquire = send_call(house, ALICE_TOO, ALICES(1), "Acquire", "a{sv}", 0);
        Call *name = send_call(house, ALICE_TOO, ALICES(1), "SetParameter", "sv", "name", "s", "db");

        await_questions(house, 1);
        forget_questions(house);
        house_leave(house, ALICE_TOO);
        expect_no_answer(acquire); /* nobody is there to hear it */
        expect_no_answer(name);
        expect_questions(house, ALICE_TOO " acquire dropped\n");
        expect_log(house, "");
        expect_property(house, ALICES(1), "State", "s", "new");
        expect_property(house, ALICES(1), "Name", "s", "web1");
        succeed(house, ALICE, ALICES(1), "Free", "", "", "a{sv}", 0);
}

static void test_leaving_during_look_up(void) {
        g_autoptr(House) house = house_with_slow_polkit();
        Call *registering;

        house_say(house, NULL, SAY_YES, SAY_YES);
        house_block_storage(house);
        registering = send_register(house, ALICE_TOO, ALICES(1), "b.img", "shared");
        expect_no_answer(registering);
        house_leave(house, ALICE_TOO);
        house_settle(house);
        house_unblock_storage(house);
        expect_no_answer(registering);
        expect_resources(house, ALICES(1), "a.img exclusive registered");
        expect_questions(house, "");
}

/* Its waiting acquire ends; what it holds stays. */
static void test_leaving_while_waiting(void) {
        g_autoptr(House) house = house_with_slow_polkit();

        house_say(house, NULL, SAY_YES, SAY_YES);
        create_held(house, ROOT, 3, "a.img");
        create_held(house, ALICE_TOO, 4, "c.img");
        send_call(house, ALICE_TOO, ALICES(1), "Acquire", "a{sv}", 1, "wait-ms", "u", 60000);
        house_settle(house);
        expect_property(house, ALICES(1), "Waiting", "b", "true");
        house_leave(house, ALICE_TOO);
        house_settle(house);
        expect_property(house, ALICES(1), "Waiting", "b", "false");
        succeed(house, ROOT, ROOTS(3), "Release", "s", NULL, "a{sv}", 0);
        expect_property(house, ALICES(1), "State", "s", "new");
        expect_property(house, ALICES(4), "State", "s", "held");
}

/* The driver has already been asked: what it brings is kept for the guest, who is somebody else than the caller. */
static void test_leaving_during_a_job(void) {
        g_autoptr(House) house = house_with_slow_polkit();

        house_say(house, NULL, SAY_YES, SAY_YES);
        gl_fake_driver_hold_jobs(house->driver, TRUE);
        send_call(house, ALICE_TOO, ALICES(1), "Acquire", "a{sv}", 0);
        house_settle(house);
        house_leave(house, ALICE_TOO);
        house_settle(house);
        gl_fake_driver_hold_jobs(house->driver, FALSE);
        gl_fake_driver_release_jobs(house->driver);
        house_settle(house);
        g_assert_cmpuint(gl_fake_driver_n_leases(house->driver), ==, gl_core_n_leases(gl_service_core(house->service)));
        succeed(house, ALICE, ALICES(1), "Release", "s", NULL, "a{sv}", 0);
        g_assert_cmpuint(gl_fake_driver_n_leases(house->driver), ==, 0);
}

/* Of all connections of a user together; also when they do not want an answer. */
static void test_too_many_under_way(void) {
        g_autoptr(House) house = house_with_slow_polkit();
        guint max = house->configuration.max_calls_per_uid;
        Call *first = NULL;

        for (guint i = 0; i < max; i++) {
                g_autofree char *uuid = g_strdup_printf("00000000-0000-4000-8000-%012u", i + 100);
                const char *sender = i % 2 ? ALICE_TOO : ALICE;
                Call *call = send_call(house, sender, MANAGER, "CreateGuest", "ssa{sv}", uuid, "w", 0);

                first = first ?: call;
        }
        await_questions(house, max);
        house_say(house, NULL, SAY_YES, SAY_YES);
        fail(house, ALICE, MANAGER, "CreateGuest", "LimitExceeded", "256 calls", "ssa{sv}", UUID(7), "web7", 0);
        fail(house, ALICE_TOO, ALICES(1), "Inquire", "LimitExceeded", "User 1000", "a{sv}", 0);
        /* To look is not counted, and others are others. */
        expect_property(house, ALICES(1), "State", "s", "new");
        succeed(house, ROOT, MANAGER, "CreateGuest", "o", NULL, "ssa{sv}", UUID(7), "web7", 0);
        succeed(house, BOB, MANAGER, "GetGuest", "o", NULL, "s", UUID(7));

        answer_question(house, 0, GL_ANSWER_NO, NULL);
        expect_error(first, "AccessDenied", "acquire");
        succeed(house, ALICE, ALICES(1), "Inquire", "s", NULL, "a{sv}", 0);
        /* Whoever leaves takes his calls with him. */
        house_leave(house, ALICE_TOO);
        fixture_run_until(house->event, n_open_questions(house) == max / 2 - 1);
        for (guint i = 0; i < 100; i++)
                succeed(house, ALICE, ALICES(1), "Inquire", "s", NULL, "a{sv}", 0);
}

int main(int argc, char **argv) {
        house_init(&argc, &argv);
        g_test_add_func("/order/release-behind-acquire", test_release_behind_acquire);
        g_test_add_func("/order/long-pipeline", test_long_pipeline);
        g_test_add_func("/order/create-and-use", test_create_and_use);
        g_test_add_func("/order/guests-are-independent", test_guests_are_independent);
        g_test_add_func("/order/connections-are-independent", test_connections_are_independent);
        g_test_add_func("/order/looking-is-never-held-up", test_looking_is_never_held_up);
        g_test_add_func("/order/slow-driver", test_slow_driver);
        g_test_add_func("/order/slow-storage", test_slow_storage);
        g_test_add_func("/order/freed-during-look-up", test_freed_during_look_up);
        g_test_add_func("/order/behind-a-waiting-acquire", test_behind_a_waiting_acquire);
        g_test_add_func("/order/waiting-is-served", test_waiting_is_served);
        g_test_add_func("/order/bad-call-in-between", test_bad_call_in_between);
        g_test_add_func("/order/refused-in-between", test_refused_in_between);
        g_test_add_func("/order/leaving-in-the-queue", test_leaving_in_the_queue);
        g_test_add_func("/order/leaving-during-look-up", test_leaving_during_look_up);
        g_test_add_func("/order/leaving-while-waiting", test_leaving_while_waiting);
        g_test_add_func("/order/leaving-during-a-job", test_leaving_during_a_job);
        g_test_add_func("/order/too-many-under-way", test_too_many_under_way);
        return g_test_run();
}
