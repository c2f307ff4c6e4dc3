/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "house.h"

#include <errno.h>
#include <string.h>

/* org.guestlock1.Manager, what is to be seen of the objects as a whole, and every property. */

/* --- CreateGuest, GetGuest, ListGuests, ListDrivers --- */

static void test_create(void) {
        g_autoptr(House) house = house_new();

        succeed(house, ROOT, MANAGER, "CreateGuest", "o", "1", "ssa{sv}", UUID(1), "web", 5, "id", "u", 7, "driver",
                "s", "fake", "on-lease-lost", "s", "notify", "require-scope", "s", "host", "owner-uid", "u", 0);
        expect_log(house, "/org/guestlock1 InterfacesAdded 1\n<- CreateGuest\n");
        expect_property(house, ROOTS(1), "Name", "s", "web");
        expect_property(house, ROOTS(1), "Id", "u", "7");
        expect_property(house, ROOTS(1), "OnLeaseLost", "s", "notify");
        expect_property(house, ROOTS(1), "Origin", "s", "started");
        fail(house, ROOT, MANAGER, "CreateGuest", "AlreadyExists", ROOTS(1), "ssa{sv}", UUID(1), "web", 0);
        fail(house, ROOT, MANAGER, "CreateGuest", "AlreadyExists", "new", "ssa{sv}", UUID(1), "other", 0);
        succeed(house, ROOT, MANAGER, "CreateGuest", "o", "9_u1000", "ssa{sv}", UUID(9), "alices", 1, "owner-uid",
                "u", 1000);
        expect_property(house, ALICES(9), "OwnerUid", "u", "1000");
}

static void test_one_uuid_of_several_owners(void) {
        g_autoptr(House) house = house_new();

        create(house, ROOT, 1);
        succeed(house, ALICE, MANAGER, "GetGuest", "o", "1", "s", UUID(1)); /* root's, as she has none */
        create(house, ALICE, 1);
        succeed(house, ALICE, MANAGER, "GetGuest", "o", "1_u1000", "s", UUID(1));
        succeed(house, ALICE_TOO, MANAGER, "GetGuest", "o", "1_u1000", "s", UUID(1));
        succeed(house, ROOT, MANAGER, "GetGuest", "o", "1", "s", UUID(1));
        create(house, ALICE, 2);
        fail(house, BOB, MANAGER, "GetGuest", "NoSuchGuest", UUID(2), "s", UUID(2));
        fail(house, ROOT, MANAGER, "GetGuest", "NoSuchGuest", UUID(2), "s", UUID(2));
}

static void test_capitals(void) {
        g_autoptr(House) house = house_new();

        succeed(house, ROOT, MANAGER, "CreateGuest", "o", CONTAINER "/abcdefab_cdef_4abc_8def_abcdefabcdef", "ssa{sv}",
                "ABCDEFAB-CDEF-4ABC-8DEF-ABCDEFABCDEF", "web", 0);
        succeed(house, ROOT, MANAGER, "GetGuest", "o", CONTAINER "/abcdefab_cdef_4abc_8def_abcdefabcdef", "s",
                "abcdefab-cdef-4ABC-8def-abcdefabcdef");
        fail(house, ROOT, MANAGER, "CreateGuest", "AlreadyExists", "abcdefab", "ssa{sv}",
             "abcdefab-cdef-4abc-8def-ABCDEFABCDEF", "web", 0);
        expect_property(house, CONTAINER "/abcdefab_cdef_4abc_8def_abcdefabcdef", "Uuid", "s",
                        "abcdefab-cdef-4abc-8def-abcdefabcdef");
}

static void test_list(void) {
        g_autoptr(House) house = house_new();

        succeed(house, BOB, MANAGER, "ListGuests", "a(sssuuo)", "[]", "a{sv}", 0);
        succeed(house, BOB, MANAGER, "ListDrivers", "a(sas)", "[(fake,[disk,lease,hotplug,shared,readonly])]", "");
        create_held(house, ALICE, 1, "a.img");
        succeed(house, BOB, MANAGER, "ListGuests", "a(sssuuo)", "[(" UUID(1) ",web1,held,0,1000,1_u1000)]", "a{sv}", 0);
        expect_property(house, MANAGER, "NGuests", "u", "1");
        expect_property(house, MANAGER, "NLeases", "u", "1");
}

/* --- StartGuest --- */

static Call *send_start(House *house, const char *sender, int n, const char *name, gboolean keep, guint32 pid) {
        sd_bus_message *message = new_call(house, sender, MANAGER, "StartGuest");
        g_autofree char *uuid = g_strdup_printf(UUID_BASE "%d", n);

        fixture_must(sd_bus_message_append(message, "ssa(sssa{sv})", uuid, "started", 1, "disk", house_file(house,
                                                                                                            name),
                                           "exclusive", 0));
        fixture_must(sd_bus_message_open_container(message, 'a', "{sv}"));
        fixture_must(sd_bus_message_append(message, "{sv}", "keep", "b", keep));
        if (pid > 0)
                fixture_must(sd_bus_message_append(message, "{sv}", "pid", "u", pid));
        fixture_must(sd_bus_message_close_container(message));
        return send_message(house, message);
}

static void test_start(void) {
        g_autoptr(House) house = house_new();
        guint32 pid;

        if (skip_without_openat2() || skip_without_pidfd())
                return;
        pid = house_spawn(house, 0);
        expect_reply(send_start(house, ROOT, 1, "a.img", FALSE, pid), "ot", "1 #");
        expect_log(house, "/org/guestlock1 InterfacesAdded 1\n"
                          "1 LeasesAcquired # [(disk,a.img,exclusive)]\n"
                          "<- StartGuest\n");
        expect_reply(send_start(house, ROOT, 1, "a.img", FALSE, pid), "ot", "1 #"); /* repeated */
        expect_log(house, "<- StartGuest\n");
        expect_error(send_start(house, ROOT, 1, "b.img", FALSE, pid), "AlreadyExists", "held");
        expect_property(house, ROOTS(1), "Pid", "u", "P1");
        forget_log(house);

        house_kill(house, pid); /* and with it the object goes */
        fixture_run_until(house->event, gl_core_n_guests(gl_service_core(house->service)) == 0);
        expect_log(house, "1 PropertiesChanged Guest {Pid=0} [Resources]\n"
                          "1 LeasesReleased guest-exited [(disk,a.img)]\n"
                          "/org/guestlock1 InterfacesRemoved 1 [org.freedesktop.DBus.Peer,"
                          "org.freedesktop.DBus.Introspectable,org.freedesktop.DBus.Properties,Guest]\n");
}

static void test_start_with_keep(void) {
        g_autoptr(House) house = house_new();

        if (skip_without_openat2())
                return;
        expect_reply(send_start(house, ROOT, 1, "a.img", TRUE, 0), "ot", "1 #");
        succeed(house, ROOT, ROOTS(1), "Shutdown", "", "", "a{sv}", 0);
        expect_property(house, ROOTS(1), "State", "s", "released");
        forget_log(house);
        expect_reply(send_start(house, ROOT, 1, "a.img", FALSE, 0), "ot", "1 #"); /* used again */
        succeed(house, ROOT, ROOTS(1), "Shutdown", "", "", "a{sv}", 0);
        expect_property(house, MANAGER, "NGuests", "u", "0");
}

/* All or nothing: nobody ever sees a guest that did not start. */
static void test_start_refused(void) {
        g_autoptr(House) house = house_new();
        sd_bus_message *message;

        if (skip_without_openat2())
                return;
        create_held(house, ROOT, 1, "a.img");
        forget_log(house);
        message = new_call(house, ALICE, MANAGER, "StartGuest");
        fixture_must(sd_bus_message_append(message, "ssa(sssa{sv})a{sv}", UUID(2), "web2", 2, "disk",
                                           house_file(house, "b.img"), "exclusive", 0, "disk",
                                           house_path(house, "a.img"), "readonly", 0, 0));
        expect_error(send_message(house, message), "Conflict", "web1");
        expect_error(send_call(house, ALICE, MANAGER, "StartGuest", "ssa(sssa{sv})a{sv}", UUID(2), "web2", 1, "disk",
                               house_path(house, "missing.img"), "exclusive", 0, 0), "StorageUnavailable", "missing");
        expect_log(house, "<- StartGuest: Conflict\n<- StartGuest: StorageUnavailable\n");
        expect_property(house, MANAGER, "NGuests", "u", "1");
        expect_property(house, MANAGER, "NLeases", "u", "1");
        expect_reply(send_start(house, ALICE, 2, "b.img", FALSE, 0), "ot", "2_u1000 #");
}

/* --- GetGuestByPID --- */

static void test_by_pid(void) {
        g_autoptr(House) house = house_new();
        guint32 pid;

        fail(house, BOB, MANAGER, "GetGuestByPID", "NoSuchGuest", "0", "u", 0);
        fail(house, BOB, MANAGER, "GetGuestByPID", "NoSuchGuest", "4294967295", "u", G_MAXUINT32);
        if (skip_without_pidfd())
                return;
        pid = house_spawn(house, 1000);
        create(house, ALICE, 1);
        create(house, ALICE, 2);
        fail(house, BOB, MANAGER, "GetGuestByPID", "NoSuchGuest", "process", "u", pid);
        succeed(house, ALICE, ALICES(1), "SetChild", "", "", "a{sv}", 1, "pid", "u", pid);
        succeed(house, BOB, MANAGER, "GetGuestByPID", "o", "1_u1000", "u", pid);
        succeed(house, ALICE, ALICES(2), "SetChild", "", "", "a{sv}", 1, "pid", "u", pid);
        fail(house, BOB, MANAGER, "GetGuestByPID", "InvalidArgs", "2 guests", "u", pid);
}

/* --- properties --- */

static void test_properties(void) {
        static const struct {
                const char *path, *name, *type, *value;
        } properties[] = {
                {MANAGER, "Version", "s", GUESTLOCK_VERSION},
                {MANAGER, "HostId", "s", "id-of-kvm1"},
                {MANAGER, "HostName", "s", "kvm1"},
                {MANAGER, "DefaultDriver", "s", "fake"},
                {MANAGER, "NGuests", "u", "1"},
                {MANAGER, "NLeases", "u", "1"},
                {ALICES(1), "Uuid", "s", UUID(1)},
                {ALICES(1), "OwnerUid", "u", "1000"},
                {ALICES(1), "Origin", "s", "started"},
                {ALICES(1), "Driver", "s", "fake"},
                {ALICES(1), "Name", "s", "web1"},
                {ALICES(1), "Id", "u", "0"},
                {ALICES(1), "State", "s", "held"},
                {ALICES(1), "Waiting", "b", "false"},
                {ALICES(1), "Pid", "u", "0"},
                {ALICES(1), "SupervisorPid", "u", "0"},
                {ALICES(1), "OnLeaseLost", "s", "pause"},
                {ALICES(1), "Generation", "t", "#"},
                {ALICES(1), "AcquiredAt", "t", "#"},
        };
        g_autoptr(House) house = house_new();

        create_held(house, ALICE, 1, "a.img");
        for (guint i = 0; i < G_N_ELEMENTS(properties); i++)
                expect_property(house, properties[i].path, properties[i].name, properties[i].type, properties[i].value);
        register_disk(house, ALICE, ALICES(1), "b.img", "shared");
        expect_property(house, ALICES(1), "Resources", "aa{sv}",
                        "[{type=disk,name=a.img,mode=exclusive,state=held,driver=fake,registered-by=1000,"
                        "path-moved=false,generation=#,scope=host,scope-reason=it is made up,since-usec=#,"
                        "kept-by=service},"
                        "{type=disk,name=b.img,mode=shared,state=registered,driver=fake,registered-by=1000,"
                        "path-moved=false}]");
        fail(house, ALICE, ALICES(1), PROPERTIES "Get", "UnknownProperty", "", "ss", "org.guestlock1.Guest",
             "Nonsense");
        fail(house, ALICE, ALICES(1), PROPERTIES "Set", "PropertyReadOnly", "", "ssv", "org.guestlock1.Guest", "Name",
             "s", "x");
        expect_property(house, ALICES(1), "Name", "s", "web1");
}

/* In the order of the object; Resources is not in it. */
#define ALL_OF_NEW                                                                                                     \
        "{Uuid=" UUID(1) ",OwnerUid=1000,Origin=started,Driver=fake,Name=web1,Id=0,State=new,Waiting=false,Pid=0,"     \
        "SupervisorPid=0,OnLeaseLost=pause,Generation=0,AcquiredAt=0}"
#define STANDARD                                                                                                       \
        "org.freedesktop.DBus.Peer={},org.freedesktop.DBus.Introspectable={},org.freedesktop.DBus.Properties={}"

static void test_get_all(void) {
        g_autoptr(House) house = house_new();

        create(house, ALICE, 1);
        register_disk(house, ALICE, ALICES(1), "a.img", "shared");
        succeed(house, BOB, ALICES(1), PROPERTIES "GetAll", "a{sv}", ALL_OF_NEW, "s", "org.guestlock1.Guest");
        succeed(house, BOB, MANAGER, PROPERTIES "GetAll", "a{sv}",
                "{Version=" GUESTLOCK_VERSION ",HostId=id-of-kvm1,HostName=kvm1,DefaultDriver=fake,NGuests=1,"
                "NLeases=0}",
                "s", "org.guestlock1.Manager");
}

/* --- the tree of objects --- */

static void test_managed_objects(void) {
        g_autoptr(House) house = house_new();

        succeed(house, BOB, MANAGER, OBJECT_MANAGER "GetManagedObjects", "a{oa{sa{sv}}}", "{}", "");
        create(house, ALICE, 1);
        register_disk(house, ALICE, ALICES(1), "a.img", "shared");
        succeed(house, BOB, MANAGER, OBJECT_MANAGER "GetManagedObjects", "a{oa{sa{sv}}}",
                "{1_u1000={" STANDARD ",Guest=" ALL_OF_NEW "}}", "");
}

/* The first property of the guest's interface, which is enough to see that they are there. */
static char *read_added(sd_bus_message *signal) {
        const char *path, *interface, *key, *value;

        fixture_must(sd_bus_message_read(signal, "o", &path));
        fixture_must(sd_bus_message_enter_container(signal, 'a', "{sa{sv}}"));
        while (sd_bus_message_enter_container(signal, 'e', "sa{sv}") > 0) {
                fixture_must(sd_bus_message_read(signal, "s", &interface));
                if (g_str_equal(interface, "org.guestlock1.Guest")) {
                        fixture_must(sd_bus_message_enter_container(signal, 'a', "{sv}"));
                        fixture_must(sd_bus_message_read(signal, "{sv}", &key, "s", &value));
                        return g_strdup_printf("%s %s=%s", path, key, value);
                }
                fixture_must(sd_bus_message_skip(signal, "a{sv}"));
                fixture_must(sd_bus_message_exit_container(signal));
        }
        return NULL;
}

static int take_added(sd_bus_message *message, void *user_data, sd_bus_error *unused) {
        if (sd_bus_message_is_signal(message, "org.freedesktop.DBus.ObjectManager", "InterfacesAdded")) {
                *(char **) user_data = read_added(message);
                fixture_must(sd_bus_message_rewind(message, TRUE));
        }
        return 0;
}

static void test_added_has_properties(void) {
        g_autoptr(House) house = house_new();
        g_autofree char *added = NULL;
        sd_bus_slot *slot;

        fixture_must(sd_bus_add_filter(house->bus, &slot, take_added, &added));
        create(house, ROOT, 1);
        sd_bus_slot_unref(slot);
        g_assert_cmpstr(added, ==, ROOTS(1) " Uuid=" UUID(1));
}

static char *introspect(House *house, const char *path) {
        const char *xml;

        fixture_must(sd_bus_message_read(
                await_reply(send_call(house, BOB, path, "org.freedesktop.DBus.Introspectable.Introspect", "")), "s",
                &xml));
        return g_strdup(xml);
}

static guint count(const char *text, const char *what) {
        guint n = 0;

        for (const char *at = strstr(text, what); at; at = strstr(at + 1, what))
                n++;
        return n;
}

static void test_enumeration(void) {
        g_autoptr(House) house = house_new();
        g_autofree char *manager = NULL, *container = NULL, *leaf = NULL;

        create(house, ROOT, 1);
        create(house, ALICE, 1);
        create(house, BOB, 2);
        manager = introspect(house, MANAGER);
        container = introspect(house, CONTAINER);
        leaf = introspect(house, ROOTS(1));
        g_assert_cmpuint(count(manager, "<node name="), ==, 1);
        g_assert_nonnull(strstr(manager, "<node name=\"guest\"/>"));
        g_assert_cmpuint(count(container, "<node name="), ==, 3);
        g_assert_nonnull(strstr(container, "<node name=\"00000000_0000_4000_8000_000000000001\"/>"));
        g_assert_nonnull(strstr(container, "<node name=\"00000000_0000_4000_8000_000000000001_u1000\"/>"));
        g_assert_nonnull(strstr(container, "<node name=\"00000000_0000_4000_8000_000000000002_u1001\"/>"));
        g_assert_cmpuint(count(container, "org.guestlock1"), ==, 0);
        g_assert_cmpuint(count(leaf, "<node name="), ==, 0);
        g_assert_cmpuint(count(leaf, "<interface name=\"org.guestlock1.Guest\">"), ==, 1);
}

/* Paths that are nearly a guest's are nobody's. */
static const char *const unknown_paths[] = {
        ROOTS(2),
        ROOTS(1) "_u0",
        ROOTS(1) "_u1001",
        ROOTS(1) "_u01000",
        ROOTS(1) "_u",
        ROOTS(1) "_u1000_in",
        ROOTS(1) "_u4294967295",
        ROOTS(1) "_u4294967296",
        ROOTS(1) "_u18446744073709552616",
        ROOTS(1) "_x1000",
        ROOTS(1) "1",
        ROOTS(1) "/sub",
        CONTAINER "/00000000_0000_0000_0000_000000000000",
        CONTAINER "/ABCDEFAB_CDEF_4ABC_8DEF_ABCDEFABCDEF",
        CONTAINER "/abcdefabcdef4abc8defabcdefabcdef",
        CONTAINER "/00000000_0000_4000_8000_00000000000",
        CONTAINER "/a",
        CONTAINER "s/00000000_0000_4000_8000_000000000001",
        CONTAINER,
        MANAGER "/guests",
        "/",
};

static void test_unknown_objects(void) {
        g_autoptr(House) house = house_new();
        sd_bus_message *message;

        create(house, ROOT, 1);
        create(house, ALICE, 1);
        succeed(house, ROOT, MANAGER, "CreateGuest", "o", NULL, "ssa{sv}", "abcdefab-cdef-4abc-8def-abcdefabcdef", "x",
                0);
        forget_questions(house);
        for (guint i = 0; i < G_N_ELEMENTS(unknown_paths); i++) {
                await_error(send_call(house, ROOT, unknown_paths[i], "Free", "a{sv}", 0));
                await_error(send_call(house, ROOT, unknown_paths[i], PROPERTIES "Get", "ss", "org.guestlock1.Guest",
                                      "State"));
        }
        fail(house, ROOT, ROOTS(1) "_u0", "Free", "UnknownObject", "", "a{sv}", 0);
        fail(house, ROOT, MANAGER, "Nonsense", "UnknownMethod", "", "");
        fail(house, ROOT, ROOTS(1), "PrepareMigrate", "UnknownMethod", "", ""); /* later */
        /* sd-bus itself sends no path with "-". */
        g_assert_cmpint(sd_bus_message_new_method_call(house->bus, &message, NULL, CONTAINER "/" UUID(1),
                                                       "org.guestlock1.Guest", "Free"),
                        ==, -EINVAL);
        expect_questions(house, "");
        expect_property(house, MANAGER, "NGuests", "u", "3");
}

int main(int argc, char **argv) {
        house_init(&argc, &argv);
        g_test_add_func("/manager/create", test_create);
        g_test_add_func("/manager/one-uuid-of-several-owners", test_one_uuid_of_several_owners);
        g_test_add_func("/manager/capitals", test_capitals);
        g_test_add_func("/manager/list", test_list);
        g_test_add_func("/manager/start", test_start);
        g_test_add_func("/manager/start-with-keep", test_start_with_keep);
        g_test_add_func("/manager/start-refused", test_start_refused);
        g_test_add_func("/manager/by-pid", test_by_pid);
        g_test_add_func("/manager/properties", test_properties);
        g_test_add_func("/manager/get-all", test_get_all);
        g_test_add_func("/manager/managed-objects", test_managed_objects);
        g_test_add_func("/manager/added-has-properties", test_added_has_properties);
        g_test_add_func("/manager/enumeration", test_enumeration);
        g_test_add_func("/manager/unknown-objects", test_unknown_objects);
        return g_test_run();
}
