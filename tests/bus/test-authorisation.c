/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "house.h"

#include <sys/stat.h>

#include "core/error.h"

/* Which question is put to polkit for which call, with which details, how often, and what comes of each answer. */

#define ABOUT(n, name) "guest-uuid=" UUID(n) ", guest-name=" name ", owner-uid=1000"
#define DISK(name, mode) "resource-type=disk, resource=" name ", resource-given=" name ", mode=" mode

/* Alice's guest 1 with a.img registered, of which nobody was asked by ALICE_TOO or BOB. */
static House *furnished(void) {
        House *house = house_new();

        create(house, ALICE, 1);
        register_disk(house, ALICE, ALICES(1), "a.img", "exclusive");
        forget_log(house);
        forget_questions(house);
        return house;
}

/* --- which action --- */

static void test_owner(void) {
        g_autoptr(House) house = house_new();

        create(house, ALICE, 1);
        expect_questions(house, ALICE " acquire: " ABOUT(1, "web1") "\n");
        register_disk(house, ALICE, ALICES(1), "a.img", "exclusive");
        expect_questions(house, ALICE " acquire: " ABOUT(1, "web1") ", " DISK("a.img", "exclusive") "\n");
        succeed(house, ALICE_TOO, ALICES(1), "Acquire", "t", "#", "a{sv}", 0);
        expect_questions(house, ALICE_TOO " acquire: " ABOUT(1, "web1") "\n");
        expect_reply(send_plug(house, ALICE, ALICES(1), "b.img", "shared", 0), "t", "#");
        expect_questions(house, ALICE " acquire: " ABOUT(1, "web1") ", " DISK("b.img", "shared") "\n");

        /* Looking and giving back is every owner's. */
        succeed(house, ALICE, ALICES(1), "Inquire", "s", NULL, "a{sv}", 0);
        succeed(house, ALICE, ALICES(1), "ReleaseResource", "", "", "ssa{sv}", "disk", house_path(house, "b.img"), 0);
        succeed(house, ALICE, ALICES(1), "SetParameter", "", "", "sv", "id", "u", 1);
        fail(house, ALICE, ALICES(1), "GetChild", "NoChild", "", "a{sv}", 0);
        succeed(house, ALICE, ALICES(1), "GetSupervisorPath", "s", NULL, "");
        succeed(house, ALICE, ALICES(1), "GetSupervisorArgs", "as", NULL, "a{sv}", 0);
        succeed(house, ALICE, ALICES(1), "Release", "s", NULL, "a{sv}", 0);
        succeed(house, ALICE, ALICES(1), "Shutdown", "", "", "a{sv}", 1, "kill", "b", TRUE);
        succeed(house, ALICE, ALICES(1), "Free", "", "", "a{sv}", 0);
        expect_questions(house, "");
}

static void test_root_is_asked_about_too(void) {
        g_autoptr(House) house = house_new();

        create(house, ROOT, 1); /* the real one says yes to uid 0 by itself */
        expect_questions(house, ROOT " acquire: guest-uuid=" UUID(1) ", guest-name=web1, owner-uid=0\n");
        create(house, ALICE, 2);
        forget_questions(house);
        succeed(house, ROOT, ALICES(2), "Free", "", "", "a{sv}", 0);
        expect_questions(house, ROOT " manage: " ABOUT(2, "web2") "\n");
}

/* Everybody may look at what is public. */
static void test_public(void) {
        g_autoptr(House) house = furnished();

        house_say(house, NULL, SAY_NO, SAY_NO);
        succeed(house, BOB, MANAGER, "ListGuests", "a(sssuuo)", NULL, "a{sv}", 0);
        succeed(house, BOB, MANAGER, "ListDrivers", "a(sas)", NULL, "");
        fail(house, BOB, MANAGER, "GetGuest", "NoSuchGuest", "", "s", UUID(1));
        fail(house, BOB, MANAGER, "GetGuestByPID", "NoSuchGuest", "", "u", 4);
        succeed(house, BOB, ALICES(1), PROPERTIES "GetAll", "a{sv}", NULL, "s", "org.guestlock1.Guest");
        expect_resources(house, ALICES(1), "a.img exclusive registered");
        expect_questions(house, "");
}

/* Whatever somebody else does with a guest is managing it, and denied it changes nothing. */
static void test_another_users_guest(void) {
        static const char *const members[] = {"Acquire", "Inquire", "Release", "GetChild", "Shutdown", "Free",
                                              "GetSupervisorArgs"};
        g_autoptr(House) house = furnished();

        house_say(house, "manage", SAY_NO, SAY_NO);
        for (guint i = 0; i < G_N_ELEMENTS(members); i++) {
                fail(house, BOB, ALICES(1), members[i], "AccessDenied", "org.guestlock1.manage", "a{sv}", 0);
                expect_questions(house, BOB " manage: " ABOUT(1, "web1") "\n");
        }
        fail(house, BOB, ALICES(1), "GetSupervisorPath", "AccessDenied", "manage", "");
        fail(house, BOB, ALICES(1), "SetParameter", "AccessDenied", "manage", "sv", "name", "s", "bobs");
        fail(house, BOB, ALICES(1), "ReleaseResource", "AccessDenied", "manage", "ssa{sv}", "disk",
             house_path(house, "a.img"), 0);
        forget_questions(house);
        expect_error(send_register(house, BOB, ALICES(1), "b.img", "shared"), "AccessDenied", "manage");
        expect_questions(house, BOB " manage: " ABOUT(1, "web1") ", " DISK("b.img", "shared") "\n");
        fail(house, BOB, MANAGER, "CreateGuest", "AccessDenied", "manage", "ssa{sv}", UUID(2), "web2", 1, "owner-uid",
             "u", 1000);
        expect_questions(house, BOB " manage: " ABOUT(2, "web2") "\n");

        g_assert_cmpstr(gl_fake_driver_log(house->driver), ==, "");
        expect_property(house, ALICES(1), "Name", "s", "web1");
        expect_resources(house, ALICES(1), "a.img exclusive registered");
        expect_property(house, MANAGER, "NGuests", "u", "1");

        house_say(house, "manage", SAY_YES, SAY_YES);
        succeed(house, BOB, ALICES(1), "Acquire", "t", "#", "a{sv}", 0);
        succeed(house, BOB, MANAGER, "CreateGuest", "o", "2_u1000", "ssa{sv}", UUID(2), "web2", 1, "owner-uid", "u",
                1000);
        expect_property(house, ALICES(2), "OwnerUid", "u", "1000");
}

/* To end another's guest is worse than to manage it. */
static void test_kill(void) {
        g_autoptr(House) house = furnished();

        succeed(house, BOB, ALICES(1), "Shutdown", "", "", "a{sv}", 1, "kill", "b", TRUE);
        expect_questions(house, BOB " revoke: " ABOUT(1, "web1") "\n");
        house_say(house, "revoke", SAY_NO, SAY_NO);
        fail(house, ROOT, ALICES(1), "Shutdown", "AccessDenied", "org.guestlock1.revoke", "a{sv}", 1, "kill", "b",
             TRUE);
        succeed(house, ROOT, ALICES(1), "Shutdown", "", "", "a{sv}", 1, "kill", "b", FALSE);
}

/* Also of one's own; a rule sees what it is about. */
static void test_revoke(void) {
        g_autoptr(House) house = furnished();
        const char *path = house_file(house, "a.img");

        house_say(house, "revoke", SAY_NO, SAY_NO);
        fail(house, ALICE, ALICES(1), "Revoke", "AccessDenied", "org.guestlock1.revoke", "sssa{sv}", "disk", path, "x",
             0);
        expect_questions(house, ALICE " revoke: " ABOUT(1, "web1") ", " DISK("a.img", "exclusive") "\n");
        fail(house, ROOT, ALICES(1), "Revoke", "AccessDenied", "org.guestlock1.revoke", "sssa{sv}", "", "", "x", 0);
        expect_questions(house, ROOT " revoke: " ABOUT(1, "web1") "\n");
        fail(house, BOB, ALICES(1), "Revoke", "InvalidArgs", "reason", "sssa{sv}", "", "", "", 0); /* unasked */
        expect_questions(house, "");
}

/* While somebody was asked for a password. */
static void test_restricted_meanwhile(void) {
        g_autoptr(House) house = furnished();
        Call *acquire;

        house_say(house, "acquire", SAY_NOTHING, SAY_NOTHING);
        acquire = send_call(house, ALICE_TOO, ALICES(1), "Acquire", "a{sv}", 0);
        await_questions(house, 1);
        succeed(house, ALICE, ALICES(1), "Restrict", "", "", "a{sv}", 0);
        answer_question(house, 0, GL_ANSWER_YES, NULL);
        expect_error(acquire, "AccessDenied", "org.guestlock1.manage");
        expect_property(house, ALICES(1), "State", "s", "new");
}

static void test_another_users_process(void) {
        g_autoptr(House) house = furnished();
        guint32 own, foreign;

        if (skip_without_pidfd())
                return;
        own = house_spawn(house, 1000);
        foreign = house_spawn(house, 1001);
        house_say(house, "manage", SAY_NO, SAY_NO);
        fail(house, ALICE, ALICES(1), "Acquire", "AccessDenied", "manage", "a{sv}", 1, "pid", "u", foreign);
        expect_questions(house, ALICE " manage: " ABOUT(1, "web1") "\n"); /* `acquire` was granted before */
        fail(house, ALICE, ALICES(1), "SetChild", "AccessDenied", "manage", "a{sv}", 1, "pid", "u", foreign);
        forget_questions(house);
        expect_property(house, ALICES(1), "Pid", "u", "0");
        expect_property(house, ALICES(1), "State", "s", "new");
        succeed(house, ALICE, ALICES(1), "SetChild", "", "", "a{sv}", 1, "pid", "u", own);
        expect_questions(house, "");
        expect_property(house, ALICES(1), "Pid", "u", "P1");
}

static void test_start(void) {
        g_autoptr(House) house = house_new();
        sd_bus_message *message;

        if (skip_without_openat2())
                return;
        g_assert_cmpint(symlink("a.img", house_path(house, "link.img")), ==, 0);
        message = new_call(house, ALICE, MANAGER, "StartGuest");
        house_file(house, "a.img");
        fixture_must(sd_bus_message_append(message, "ssa(sssa{sv})a{sv}", UUID(1), "web1", 2, "disk",
                                           house_path(house, "link.img"), "exclusive", 0, "lease", "key", "shared", 2,
                                           "path", "s", house_file(house, "leases"), "offset", "t", (guint64) 1, 0));
        expect_reply(send_message(house, message), "ot", "1_u1000 #");
        expect_questions(house,
                         ALICE " acquire: " ABOUT(1, "web1")
                               ", resource-type=disk, resource=a.img, resource-given=link.img, mode=exclusive\n"
                         ALICE " acquire: " ABOUT(1, "web1")
                               ", resource-type=lease, resource=leases, resource-given=key, mode=shared\n");
}

/* --- dialogs --- */

static Call *send_interactive(House *house, const char *sender, const char *path, const char *member) {
        sd_bus_message *message = new_call(house, sender, path, member);

        fixture_must(sd_bus_message_append(message, "a{sv}", 0));
        fixture_must(sd_bus_message_set_allow_interactive_authorization(message, TRUE));
        return send_message(house, message);
}

static void test_without_dialog(void) {
        g_autoptr(House) house = furnished();

        house_say(house, NULL, SAY_CHALLENGE, SAY_YES);
        fail(house, ALICE_TOO, ALICES(1), "Acquire", "InteractiveAuthorizationRequired", "org.guestlock1.acquire",
             "a{sv}", 0);
        expect_questions(house, ALICE_TOO " acquire: " ABOUT(1, "web1") "\n");
        expect_property(house, ALICES(1), "State", "s", "new");
        g_assert_cmpstr(gl_fake_driver_log(house->driver), ==, "");
}

static void test_dialog(void) {
        g_autoptr(House) house = furnished();

        house_say(house, NULL, SAY_CHALLENGE, SAY_YES);
        expect_reply(send_interactive(house, ALICE_TOO, ALICES(1), "Acquire"), "t", "#");
        expect_questions(house, ALICE_TOO " acquire: " ABOUT(1, "web1") "\n"
                                ALICE_TOO " acquire in a dialog: " ABOUT(1, "web1") "\n");
        succeed(house, ALICE_TOO, ALICES(1), "Acquire", "t", "#", "a{sv}", 0);
        expect_questions(house, ""); /* was granted before */
}

static void test_dialog_refused(void) {
        g_autoptr(House) house = furnished();

        house_say(house, NULL, SAY_CHALLENGE, SAY_NO);
        expect_error(send_interactive(house, ALICE_TOO, ALICES(1), "Acquire"), "AccessDenied",
                     "org.guestlock1.acquire");
        house_say(house, NULL, SAY_CHALLENGE, SAY_CHALLENGE);
        expect_error(send_interactive(house, ALICE_TOO, ALICES(1), "Acquire"), "AccessDenied",
                     "org.guestlock1.acquire");
        expect_property(house, ALICES(1), "State", "s", "new");
        forget_questions(house);
        house_say(house, NULL, SAY_NO, SAY_YES);
        expect_error(send_interactive(house, ALICE_TOO, ALICES(1), "Acquire"), "AccessDenied",
                     "org.guestlock1.acquire");
        expect_questions(house, ALICE_TOO " acquire: " ABOUT(1, "web1") "\n"); /* a no needs no dialog */
}

static Call *send_start_of_two(House *house, gboolean interactive) {
        sd_bus_message *message = new_call(house, ALICE, MANAGER, "StartGuest");

        fixture_must(sd_bus_message_append(message, "ssa(sssa{sv})a{sv}", UUID(2), "web2", 2, "disk",
                                           house_file(house, "b.img"), "exclusive", 0, "disk",
                                           house_file(house, "c.img"), "readonly", 0, 0));
        fixture_must(sd_bus_message_set_allow_interactive_authorization(message, interactive));
        return send_message(house, message);
}

/* Several disks, one dialog. */
static void test_one_dialog(void) {
        g_autoptr(House) house = furnished();
        g_autofree char *both = NULL;

        if (skip_without_openat2())
                return;
        house_say(house, NULL, SAY_CHALLENGE, SAY_YES);
        expect_error(send_start_of_two(house, FALSE), "InteractiveAuthorizationRequired", "acquire");
        forget_questions(house);
        expect_reply(send_start_of_two(house, TRUE), "ot", "2_u1000 #");
        both = g_strdup_printf(ALICE " acquire: " ABOUT(2, "web2") ", " DISK("b.img", "exclusive") "\n"
                               ALICE " acquire: " ABOUT(2, "web2") ", " DISK("c.img", "readonly") "\n"
                               ALICE " acquire in a dialog: " ABOUT(2, "web2") ", " DISK("b.img", "exclusive")
                               ", resources=b.img, %s/c.img\n", house->dir);
        expect_questions(house, both);
}

/* The dialog is about the strongest of what is asked for. */
static void test_strongest_in_dialog(void) {
        g_autoptr(House) house = furnished();
        sd_bus_message *message;

        if (skip_without_pidfd())
                return;
        house_say(house, NULL, SAY_CHALLENGE, SAY_YES);
        message = new_call(house, ALICE_TOO, ALICES(1), "Acquire");
        fixture_must(sd_bus_message_append(message, "a{sv}", 1, "pid", "u", house_spawn(house, 1001)));
        fixture_must(sd_bus_message_set_allow_interactive_authorization(message, TRUE));
        expect_reply(send_message(house, message), "t", "#");
        expect_questions(house, ALICE_TOO " acquire: " ABOUT(1, "web1") "\n"
                                ALICE_TOO " manage: " ABOUT(1, "web1") "\n"
                                ALICE_TOO " manage in a dialog: " ABOUT(1, "web1") "\n");
        expect_property(house, ALICES(1), "Pid", "u", "P1");
}

/* One of two is a no: there is no dialog for the other one, and nothing is left behind. */
static void test_one_of_two_refused(void) {
        g_autoptr(House) house = furnished();
        Call *start;

        if (skip_without_openat2())
                return;
        house_say(house, NULL, SAY_NOTHING, SAY_YES);
        start = send_start_of_two(house, TRUE);
        await_questions(house, 1);
        answer_question(house, 0, GL_ANSWER_CHALLENGE, NULL);
        await_questions(house, 1);
        answer_question(house, 0, GL_ANSWER_NO, NULL);
        expect_error(start, "AccessDenied", "acquire");
        expect_questions(house, ALICE " acquire: " ABOUT(2, "web2") ", " DISK("b.img", "exclusive") "\n"
                                ALICE " acquire: " ABOUT(2, "web2") ", " DISK("c.img", "readonly") "\n");
        expect_property(house, MANAGER, "NGuests", "u", "1");
        g_assert_cmpstr(gl_fake_driver_log(house->driver), ==, "");
}

/* --- what was granted --- */

static void test_granted_is_remembered(void) {
        g_autoptr(House) house = furnished();

        succeed(house, BOB, ALICES(1), "Inquire", "s", "", "a{sv}", 0);
        expect_questions(house, BOB " manage: " ABOUT(1, "web1") "\n");
        house_say(house, NULL, SAY_NO, SAY_NO);
        succeed(house, BOB, ALICES(1), "Release", "s", "", "a{sv}", 0); /* the same question */
        expect_questions(house, "");
        fail(house, BOB, ALICES(1), "Shutdown", "AccessDenied", "revoke", "a{sv}", 1, "kill", "b", TRUE); /* another */
        forget_questions(house);
        fail(house, ":2.1001", ALICES(1), "Inquire", "AccessDenied", "manage", "a{sv}", 0); /* another connection */
        expect_questions(house, ":2.1001 manage: " ABOUT(1, "web1") "\n");
        succeed(house, ALICE, ALICES(1), "SetParameter", "", "", "sv", "name", "s", "db");
        fail(house, BOB, ALICES(1), "Inquire", "AccessDenied", "manage", "a{sv}", 0); /* other details */
}

static void test_refused_is_asked_again(void) {
        g_autoptr(House) house = furnished();

        house_say(house, NULL, SAY_NO, SAY_NO);
        fail(house, BOB, ALICES(1), "Inquire", "AccessDenied", "manage", "a{sv}", 0);
        house_say(house, NULL, SAY_YES, SAY_YES);
        succeed(house, BOB, ALICES(1), "Inquire", "s", "", "a{sv}", 0);
}

/* Who comes back under another name has to be asked about again; unique names are never used twice. */
static void test_forgotten_with_the_connection(void) {
        g_autoptr(House) house = furnished();

        succeed(house, BOB, ALICES(1), "Inquire", "s", "", "a{sv}", 0);
        house_leave(house, BOB);
        house_say(house, NULL, SAY_NO, SAY_NO);
        fail(house, BOB, ALICES(1), "Inquire", "AccessDenied", "manage", "a{sv}", 0);
}

/*
 * Details are in part the caller's own text. Alice's rule is about mine.img. She makes a path to that which goes on as
 * the details of a question about secret.img would, and a guest's name that goes on like those before.
 */
static void test_granted_cannot_be_forged(void) {
        g_autoptr(House) house = furnished();
        const char *secret = house_file(house, "secret.img"), *mine = house_file(house, "mine.img");
        const char *stem = house_path(house, "d");
        g_autofree char *given = NULL, *dir = NULL, *name = NULL;

        if (skip_without_openat2())
                return;
        given = g_strdup_printf("%s\nowner-uid\n1000\nresource-type\ndisk\nresource\n%s\nresource-given\n%s", stem,
                                secret,
                                secret);
        name = g_strdup_printf("web1\nowner-uid\n1000\nresource-type\ndisk\nresource\n%s\nresource-given\n%s", mine,
                               stem);
        dir = g_path_get_dirname(given);
        g_assert_cmpint(g_mkdir_with_parents(dir, 0755), ==, 0);
        g_assert_cmpint(symlink(mine, given), ==, 0);
        succeed(house, ALICE, ALICES(1), "RegisterResource", "", "", "sssa{sv}", "disk", given, "exclusive", 0);
        succeed(house, ALICE, ALICES(1), "SetParameter", "", "", "sv", "name", "s", name);
        house_say(house, NULL, SAY_NO, SAY_NO);
        fail(house, ALICE, ALICES(1), "RegisterResource", "AccessDenied", "acquire", "sssa{sv}", "disk", secret,
             "exclusive", 0);
}

/* --- answers that come late --- */

static void test_freed_meanwhile(void) {
        g_autoptr(House) house = furnished();
        Call *acquire;

        house_say(house, NULL, SAY_NOTHING, SAY_NOTHING);
        acquire = send_call(house, ALICE_TOO, ALICES(1), "Acquire", "a{sv}", 0);
        await_questions(house, 1);
        succeed(house, ALICE, ALICES(1), "Free", "", "", "a{sv}", 0);
        answer_question(house, 0, GL_ANSWER_YES, NULL);
        expect_error(acquire, "UnknownObject", UUID(1));
        g_assert_cmpstr(gl_fake_driver_log(house->driver), ==, "");
}

/* Freed and made anew: the answer was about the first one, and is the owner's all the same. */
static void test_state_is_looked_at_again(void) {
        g_autoptr(House) house = furnished();
        Call *registering;

        house_say(house, NULL, SAY_NOTHING, SAY_NOTHING);
        registering = send_register(house, ALICE_TOO, ALICES(1), "b.img", "shared");
        await_questions(house, 1);
        house_say(house, NULL, SAY_YES, SAY_YES);
        register_disk(house, ALICE, ALICES(1), "b.img", "shared");
        answer_question(house, 0, GL_ANSWER_YES, NULL);
        expect_error(registering, "AlreadyRegistered", "b.img");
        expect_resources(house, ALICES(1), "a.img exclusive registered, b.img shared registered");
}

static void test_error_with_no(void) {
        g_autoptr(House) house = furnished();
        Call *acquire;

        house_say(house, NULL, SAY_NOTHING, SAY_NOTHING);
        acquire = send_call(house, ALICE_TOO, ALICES(1), "Acquire", "a{sv}", 0);
        await_questions(house, 1);
        answer_question(house, 0, GL_ANSWER_NO,
                        g_error_new_literal(GL_ERROR, GL_ERROR_LIMIT_EXCEEDED, "There are too many dialogs."));
        expect_error(acquire, "LimitExceeded", "too many dialogs");
}

int main(int argc, char **argv) {
        house_init(&argc, &argv);
        g_test_add_func("/authorisation/owner", test_owner);
        g_test_add_func("/authorisation/root-is-asked-about-too", test_root_is_asked_about_too);
        g_test_add_func("/authorisation/public", test_public);
        g_test_add_func("/authorisation/another-users-guest", test_another_users_guest);
        g_test_add_func("/authorisation/kill", test_kill);
        g_test_add_func("/authorisation/revoke", test_revoke);
        g_test_add_func("/authorisation/restricted-meanwhile", test_restricted_meanwhile);
        g_test_add_func("/authorisation/another-users-process", test_another_users_process);
        g_test_add_func("/authorisation/start", test_start);
        g_test_add_func("/authorisation/without-dialog", test_without_dialog);
        g_test_add_func("/authorisation/dialog", test_dialog);
        g_test_add_func("/authorisation/dialog-refused", test_dialog_refused);
        g_test_add_func("/authorisation/one-dialog", test_one_dialog);
        g_test_add_func("/authorisation/strongest-in-dialog", test_strongest_in_dialog);
        g_test_add_func("/authorisation/one-of-two-refused", test_one_of_two_refused);
        g_test_add_func("/authorisation/granted-is-remembered", test_granted_is_remembered);
        g_test_add_func("/authorisation/refused-is-asked-again", test_refused_is_asked_again);
        g_test_add_func("/authorisation/forgotten-with-the-connection", test_forgotten_with_the_connection);
        g_test_add_func("/authorisation/granted-cannot-be-forged", test_granted_cannot_be_forged);
        g_test_add_func("/authorisation/freed-meanwhile", test_freed_meanwhile);
        g_test_add_func("/authorisation/state-is-looked-at-again", test_state_is_looked_at_again);
        g_test_add_func("/authorisation/error-with-no", test_error_with_no);
        return g_test_run();
}
