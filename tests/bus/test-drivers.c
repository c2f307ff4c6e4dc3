/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "house.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>

/* LoadDriver, UnloadDriver and ListDrivers, with the plugin guest-only, and what its guests are like. */

#define FAKE  "(fake,[disk,lease,hotplug,shared,readonly])"
#define ALONE "(guest-only,[guest-only])"

#define IGNORED                                                                                                        \
        "state=registered,driver=guest-only,registered-by=1000,path-moved=false,"                                      \
        "scope-reason=the driver \"guest-only\" leases the guest alone: nobody is kept from using this"

static void install(House *house, const char *name) {
        g_autofree char *file = g_strdup_printf("drivers/%s.so", name), *plugin = NULL;
        gsize length;

        g_assert_true(g_file_get_contents(GUEST_ONLY, &plugin, &length, NULL));
        g_assert_true(g_mkdir_with_parents(house_path(house, "drivers"), 0755) == 0);
        g_assert_true(g_file_set_contents_full(house_path(house, file), plugin, (gssize) length,
                                               G_FILE_SET_CONTENTS_NONE, 0644, NULL));
}

static void load(House *house) {
        install(house, "guest-only");
        succeed(house, ROOT, MANAGER, "LoadDriver", "", "", "sa{sv}", "guest-only", 0);
        forget_log(house);
        forget_questions(house);
}

static void expect_drivers(House *house, const char *expected) {
        succeed(house, BOB, MANAGER, "ListDrivers", "a(sas)", expected, "");
}

static const char *create_alone(House *house, int n) {
        g_autofree char *uuid = g_strdup_printf("%s%d", UUID_BASE, n), *name = g_strdup_printf("web%d", n);

        expect_reply(send_call(house, ALICE, MANAGER, "CreateGuest", "ssa{sv}", uuid, name, 1, "driver", "s",
                               "guest-only"),
                     "o", NULL);
        return n == 1 ? ALICES(1) : ALICES(2);
}

/* --- loading and unloading --- */

static void test_load(void) {
        g_autoptr(House) house = house_new();

        expect_drivers(house, "[" FAKE "]");
        fail(house, ROOT, MANAGER, "LoadDriver", "NoSuchDriver", "\"guest-only\"", "sa{sv}", "guest-only", 0);
        install(house, "guest-only");
        expect_drivers(house, "[" FAKE "]");
        forget_log(house);
        for (guint i = 0; i < 2; i++) { /* repeated, it is success without effect */
                succeed(house, ROOT, MANAGER, "LoadDriver", "", "", "sa{sv}", "guest-only", 0);
                expect_drivers(house, "[" FAKE "," ALONE "]");
        }
        for (guint i = 0; i < 2; i++) {
                succeed(house, ROOT, MANAGER, "UnloadDriver", "", "", "sa{sv}", "guest-only", 0);
                expect_drivers(house, "[" FAKE "]");
        }
        succeed(house, ROOT, MANAGER, "LoadDriver", "", "", "sa{sv}", "guest-only", 0);
        expect_drivers(house, "[" FAKE "," ALONE "]");

        /* Its file goes meanwhile: it can be unloaded, and then it is known no more. */
        g_assert_cmpint(g_unlink(house_path(house, "drivers/guest-only.so")), ==, 0);
        succeed(house, ROOT, MANAGER, "LoadDriver", "", "", "sa{sv}", "guest-only", 0);
        succeed(house, ROOT, MANAGER, "UnloadDriver", "", "", "sa{sv}", "guest-only", 0);
        fail(house, ROOT, MANAGER, "UnloadDriver", "NoSuchDriver", "\"guest-only\"", "sa{sv}", "guest-only", 0);
        fail(house, ROOT, MANAGER, "LoadDriver", "NoSuchDriver", "\"guest-only\"", "sa{sv}", "guest-only", 0);
}

static void test_built_in(void) {
        g_autoptr(House) house = house_new();

        succeed(house, ROOT, MANAGER, "LoadDriver", "", "", "sa{sv}", "fake", 0);
        fail(house, ROOT, MANAGER, "UnloadDriver", "NotSupported", "\"fake\" is built into", "sa{sv}", "fake", 0);
        expect_drivers(house, "[" FAKE "]");
}

static void test_what_is_not_loaded(void) {
        g_autoptr(House) house = house_new();

        install(house, "another");
        fail(house, ROOT, MANAGER, "LoadDriver", "DriverFailed", "another name", "sa{sv}", "another", 0);
        g_assert_cmpint(chmod(house_path(house, "drivers"), 0777), ==, 0);
        install(house, "guest-only");
        fail(house, ROOT, MANAGER, "LoadDriver", "DriverFailed", "written to by others", "sa{sv}", "guest-only", 0);
        /* It is not loaded, and there is something of that name. */
        succeed(house, ROOT, MANAGER, "UnloadDriver", "", "", "sa{sv}", "guest-only", 0);
        expect_drivers(house, "[" FAKE "]");
}

static void test_bad_arguments(void) {
        static const char *const names[] = {"", "Guest-Only", "guest_only", "../guest-only", "guest-only.so", "/tmp/x",
                                            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
        static const char *const members[] = {"LoadDriver", "UnloadDriver"};
        g_autoptr(House) house = house_new();

        install(house, "guest-only");
        for (guint m = 0; m < G_N_ELEMENTS(members); m++) {
                for (guint i = 0; i < G_N_ELEMENTS(names); i++)
                        fail(house, ROOT, MANAGER, members[m], "InvalidArgs", "driver name", "sa{sv}", names[i], 0);
                fail(house, ROOT, MANAGER, members[m], "InvalidArgs", "force", "sa{sv}", "guest-only", 1, "force", "b",
                     TRUE);
        }
        expect_questions(house, "");
        expect_drivers(house, "[" FAKE "]");
}

/* --- who may --- */

static void test_authorisation(void) {
        static const char *const members[] = {"LoadDriver", "UnloadDriver"};
        g_autoptr(House) house = house_new();

        load(house);
        for (guint i = 0; i < G_N_ELEMENTS(members); i++) {
                house_say(house, "load-driver", SAY_NO, SAY_NO);
                fail(house, ALICE, MANAGER, members[i], "AccessDenied", "org.guestlock1.load-driver", "sa{sv}",
                     "guest-only", 0);
                /* What there is, nobody learns on the way. */
                fail(house, ALICE, MANAGER, members[i], "AccessDenied", "org.guestlock1.load-driver", "sa{sv}",
                     "nosuch", 0);
                house_say(house, "load-driver", SAY_CHALLENGE, SAY_YES);
                fail(house, ALICE, MANAGER, members[i], "InteractiveAuthorizationRequired", "load-driver", "sa{sv}",
                     "guest-only", 0);
                expect_questions(house, ALICE " load-driver: driver=guest-only\n" ALICE
                                              " load-driver: driver=nosuch\n" ALICE
                                              " load-driver: driver=guest-only\n");
        }
        expect_drivers(house, "[" FAKE "," ALONE "]");
        house_say(house, "load-driver", SAY_YES, SAY_YES);
        succeed(house, ALICE, MANAGER, "UnloadDriver", "", "", "sa{sv}", "guest-only", 0);
        expect_questions(house, ALICE " load-driver: driver=guest-only\n");
        expect_drivers(house, "[" FAKE "]");
}

/* The driver is in use by the time that somebody has said yes. */
static void test_looked_at_again(void) {
        g_autoptr(House) house = house_new();
        Call *call;

        load(house);
        create_alone(house, 1);
        house_say(house, "load-driver", SAY_NOTHING, SAY_NOTHING);
        call = send_call(house, BOB, MANAGER, "UnloadDriver", "sa{sv}", "guest-only", 0);
        await_questions(house, 1);
        succeed(house, ALICE, ALICES(1), "Acquire", "t", "#", "a{sv}", 0);
        answer_question(house, 0, GL_ANSWER_YES, NULL);
        expect_error(call, "DriverInUse", "\"web1\"");
}

/* --- in use --- */

static void test_in_use(void) {
        g_autoptr(House) house = house_new();

        load(house);
        create_alone(house, 1);
        register_disk(house, ALICE, ALICES(1), "a.img", "exclusive");
        succeed(house, ALICE, ALICES(1), "Acquire", "t", "#", "a{sv}", 0);
        fail(house, ROOT, MANAGER, "UnloadDriver", "DriverInUse", "\"web1\" (" UUID(1) ") holds leases", "sa{sv}",
             "guest-only", 0);
        succeed(house, ALICE, ALICES(1), "Release", "s", NULL, "a{sv}", 0);
        succeed(house, ROOT, MANAGER, "UnloadDriver", "", "", "sa{sv}", "guest-only", 0);

        fail(house, ALICE, ALICES(1), "Acquire", "NoSuchDriver", "LoadDriver", "a{sv}", 0);
        /* Before anything is looked for. */
        fail(house, ALICE, ALICES(1), "RegisterResource", "NoSuchDriver", "guest-only", "sssa{sv}", "disk",
             "/nonexistent", "exclusive", 0);
        fail(house, ALICE, ALICES(1), "AcquireResource", "NoSuchDriver", "guest-only", "sssa{sv}", "disk",
             "/nonexistent", "exclusive", 0);
        fail(house, ALICE, MANAGER, "CreateGuest", "NoSuchDriver", "LoadDriver", "ssa{sv}", UUID(2), "web2", 1,
             "driver", "s", "guest-only");
        expect_property(house, ALICES(1), "Driver", "s", "guest-only");
        expect_resources(house, ALICES(1), "a.img exclusive registered");

        succeed(house, ROOT, MANAGER, "LoadDriver", "", "", "sa{sv}", "guest-only", 0);
        succeed(house, ALICE, ALICES(1), "Acquire", "t", "#", "a{sv}", 0);
        expect_property(house, ALICES(1), "State", "s", "held");
}

/* What was still being looked up finds no driver in the end. */
static void test_unloaded_while_registering(void) {
        g_autoptr(House) house = NULL;
        Call *call;

        if (skip_without_openat2())
                return;
        house = house_new();
        load(house);
        create_alone(house, 1);
        house_block_storage(house);
        call = send_register(house, ALICE, ALICES(1), "a.img", "exclusive");
        expect_no_answer(call);
        succeed(house, ROOT, MANAGER, "UnloadDriver", "", "", "sa{sv}", "guest-only", 0);
        house_unblock_storage(house);
        expect_error(call, "NoSuchDriver", "guest-only");
        expect_resources(house, ALICES(1), "");
}

/* --- the guest alone --- */

static void test_guest_alone(void) {
        g_autoptr(House) house = house_new();

        load(house);
        create_alone(house, 1);
        register_disk(house, ALICE, ALICES(1), "a.img", "exclusive");
        register_disk(house, ALICE, ALICES(1), "b.img", "readonly");
        forget_log(house);
        succeed(house, ALICE, ALICES(1), "Acquire", "t", "#", "a{sv}", 0);
        expect_log(house, "1_u1000 LeasesAcquired # []\n"
                          "1_u1000 PropertiesChanged Guest {State=held,Generation=#,AcquiredAt=#} []\n"
                          "<- Acquire\n");
        expect_property(house, ALICES(1), "Resources", "aa{sv}",
                        "[{type=disk,name=a.img,mode=exclusive," IGNORED "},"
                        "{type=disk,name=b.img,mode=readonly," IGNORED "}]");
        expect_property(house, MANAGER, "NLeases", "u", "0");

        /* Another guest on the same disk, of the same driver and of one that leases it. */
        create_alone(house, 2);
        register_disk(house, ALICE, ALICES(2), "a.img", "exclusive");
        succeed(house, ALICE, ALICES(2), "Acquire", "t", "#", "a{sv}", 0);
        create_held(house, ALICE, 3, "a.img");

        forget_log(house);
        succeed(house, ALICE, ALICES(1), "Shutdown", "", "", "a{sv}", 0);
        expect_log(house, "1_u1000 LeasesReleased shutdown []\n"
                          "1_u1000 PropertiesChanged Guest {State=released} []\n"
                          "<- Shutdown\n");
        g_assert_nonnull(strstr(gl_fake_driver_log(house->driver), "a.img exclusive\n"));
        g_assert_cmpuint(gl_fake_driver_n_leases(house->driver), ==, 1);
}

/* Nothing is opened, and no state looked at, for what it cannot do. */
static void test_no_hotplug(void) {
        g_autoptr(House) house = house_new();

        load(house);
        create_alone(house, 1);
        for (guint i = 0; i < 2; i++) {
                forget_questions(house);
                fail(house, ALICE, ALICES(1), "AcquireResource", "NotSupported", "no hotplug", "sssa{sv}", "disk",
                     "/nonexistent", "exclusive", 0);
                expect_questions(house, "");
                succeed(house, ALICE, ALICES(1), "Acquire", "t", "#", "a{sv}", 0);
        }
        expect_error(send_plug(house, ALICE, ALICES(1), "a.img", "exclusive", 0), "NotSupported", "no hotplug");
        expect_resources(house, ALICES(1), "");
}

int main(int argc, char **argv) {
        house_init(&argc, &argv);
        g_test_add_func("/drivers/load", test_load);
        g_test_add_func("/drivers/built-in", test_built_in);
        g_test_add_func("/drivers/what-is-not-loaded", test_what_is_not_loaded);
        g_test_add_func("/drivers/bad-arguments", test_bad_arguments);
        g_test_add_func("/drivers/authorisation", test_authorisation);
        g_test_add_func("/drivers/looked-at-again", test_looked_at_again);
        g_test_add_func("/drivers/in-use", test_in_use);
        g_test_add_func("/drivers/unloaded-while-registering", test_unloaded_while_registering);
        g_test_add_func("/drivers/guest-alone", test_guest_alone);
        g_test_add_func("/drivers/no-hotplug", test_no_hotplug);
        return g_test_run();
}
