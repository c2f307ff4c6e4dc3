/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "house.h"

#include <fcntl.h>
#include <sys/syscall.h>

#include "drivers/file.h"

/* org.guestlock1.Guest: the good path of every method and option, its reply, and what is announced before it. */

#define HELD "1 PropertiesChanged Guest {State=held,Generation=#,AcquiredAt=#} [Resources]\n"

/* Two jobs were given to the driver, and no more; TEXT has the names without the directory. */
static void expect_jobs(House *house, const char *text) {
        g_autofree char *dir = g_strconcat(house->dir, "/", NULL);
        g_autoptr(GString) log = g_string_new(gl_fake_driver_log(house->driver));

        g_string_replace(log, dir, "", 0);
        g_assert_cmpstr(log->str, ==, text);
        gl_fake_driver_clear_log(house->driver);
}

static char *take_string(Call *call) {
        const char *text;

        fixture_must(sd_bus_message_read(await_reply(call), "s", &text));
        return g_strdup(text);
}

static guint64 take_generation(Call *call) {
        guint64 generation;

        fixture_must(sd_bus_message_read(await_reply(call), "t", &generation));
        return generation;
}

/* --- registering, acquiring, releasing --- */

static void test_life(void) {
        g_autoptr(House) house = house_new();
        const char *guest = create(house, ROOT, 1);

        expect_log(house, "/org/guestlock1 InterfacesAdded 1\n"
                          "<- CreateGuest\n");
        register_disk(house, ROOT, guest, "a.img", "exclusive");
        expect_log(house, has_openat2() ? "1 PropertiesChanged Guest {} [Resources]\n<- RegisterResource\n"
                                        : "1 PropertiesChanged Guest {} [Resources]\n<- RegisterResourceFd\n");
        register_disk(house, ROOT, guest, "b.img", "readonly");
        forget_log(house);
        expect_resources(house, guest, "a.img exclusive registered, b.img readonly registered");
        succeed(house, ROOT, guest, "Inquire", "s", "", "a{sv}", 0);
        succeed(house, ROOT, guest, "Release", "s", "", "a{sv}", 0); /* in state new: nothing to do */
        expect_log(house, "<- Inquire\n<- Release\n");
        expect_jobs(house, "");

        succeed(house, ROOT, guest, "Acquire", "t", "#", "a{sv}", 0);
        expect_log(house, "1 LeasesAcquired # [(disk,a.img,exclusive),(disk,b.img,readonly)]\n" HELD "<- Acquire\n");
        expect_jobs(house, "take a.img exclusive, b.img readonly\n");
        expect_resources(house, guest, "a.img exclusive held, b.img readonly held");
        succeed(house, ROOT, guest, "Acquire", "t", "#", "a{sv}", 0); /* nothing left to take */
        expect_log(house, "<- Acquire\n");
        expect_jobs(house, "");

        succeed(house, ROOT, guest, "Release", "s", NULL, "a{sv}", 0);
        expect_log(house, "1 LeasesReleased released [(disk,a.img),(disk,b.img)]\n"
                          "1 PropertiesChanged Guest {State=released} [Resources]\n"
                          "<- Release\n");
        expect_resources(house, guest, "a.img exclusive registered, b.img readonly registered");
        g_assert_cmpuint(gl_fake_driver_n_leases(house->driver), ==, 0);

        succeed(house, ROOT, guest, "Free", "", "", "a{sv}", 0);
        expect_log(house, "/org/guestlock1 InterfacesRemoved 1 [org.freedesktop.DBus.Peer,"
                          "org.freedesktop.DBus.Introspectable,org.freedesktop.DBus.Properties,Guest]\n"
                          "<- Free\n");
        fail(house, ROOT, guest, "Free", "UnknownObject", "", "a{sv}", 0);
}

static void test_state_string(void) {
        g_autoptr(House) house = house_new();
        const char *guest = create_held(house, ROOT, 1, "a.img"), *other = create(house, ROOT, 2);
        g_autofree char *inquired = take_string(send_call(house, ROOT, guest, "Inquire", "a{sv}", 0));
        g_autofree char *state = take_string(send_call(house, ROOT, guest, "Release", "a{sv}", 0));

        g_assert_true(g_str_has_prefix(state, "guestlock1;"));
        g_assert_cmpstr(state, ==, inquired);
        succeed(house, ROOT, guest, "Inquire", "s", state, "a{sv}", 0);
        succeed(house, ROOT, guest, "Release", "s", state, "a{sv}", 0); /* repeated */
        succeed(house, ROOT, guest, "Acquire", "t", "#", "a{sv}", 1, "state", "s", state);
        succeed(house, ROOT, guest, "Release", "s", NULL, "a{sv}", 0);

        register_disk(house, ROOT, other, "a.img", "exclusive");
        succeed(house, ROOT, other, "Acquire", "t", "#", "a{sv}", 0);
        succeed(house, ROOT, other, "Release", "s", NULL, "a{sv}", 0);
        fail(house, ROOT, guest, "Acquire", "Stale", "a.img", "a{sv}", 1, "state", "s", state);
        expect_property(house, guest, "State", "s", "released");
}

static void test_by_descriptor(void) {
        g_autoptr(House) house = house_new();
        const char *guest = create(house, ROOT, 1), *path = house_path(house, "elsewhere.img");
        int writable = open(house_file(house, "a.img"), O_RDWR | O_CLOEXEC);
        int readable = open(house_file(house, "b.img"), O_RDONLY | O_CLOEXEC);

        succeed(house, ROOT, guest, "RegisterResourceFd", "", "", "sshsa{sv}", "disk", path, writable, "exclusive", 0);
        succeed(house, ROOT, guest, "RegisterResourceFd", "", "", "sshsa{sv}", "lease", "key", writable, "exclusive", 2,
                "offset", "t", (guint64) 7, "lockspace", "s", "space");
        fail(house, ROOT, guest, "RegisterResourceFd", "AccessDenied", "read-only", "sshsa{sv}", "disk", "/b", readable,
             "shared", 0);
        expect_resources(house, guest, "elsewhere.img exclusive registered, key exclusive registered");
        close(writable);
        fail(house, ROOT, guest, "Acquire", "Conflict", "overlap", "a{sv}", 0);
        succeed(house, ROOT, guest, "ReleaseResource", "", "", "ssa{sv}", "lease", "key", 0);
        succeed(house, ROOT, guest, "Acquire", "t", "#", "a{sv}", 0);
        succeed(house, ROOT, guest, "AcquireResourceFd", "t", "#", "sshsa{sv}", "disk", "/b", readable, "readonly", 0);
        expect_resources(house, guest, "elsewhere.img exclusive held, /b readonly held");
        close(readable);
}

static void test_leases(void) {
        g_autoptr(House) house = house_new();
        const char *guest = create(house, ROOT, 1), *path;

        if (skip_without_openat2())
                return;
        path = house_file(house, "leases");
        for (guint64 offset = 1; offset <= 3; offset++) {
                g_autofree char *key = g_strdup_printf("key%" G_GUINT64_FORMAT, offset);

                succeed(house, ROOT, guest, "RegisterResource", "", "", "sssa{sv}", "lease", key, "exclusive", 2,
                        "path", "s", path, "offset", "t", offset);
        }
        forget_log(house);
        succeed(house, ROOT, guest, "Acquire", "t", "#", "a{sv}", 0); /* three bytes of one file */
        expect_log(house,
                   "1 LeasesAcquired # [(lease,key1,exclusive),(lease,key2,exclusive),(lease,key3,exclusive)]\n" HELD
                   "<- Acquire\n");
        succeed(house, ROOT, guest, "AcquireResource", "t", "#", "sssa{sv}", "lease", "key4", "shared", 3, "path", "s",
                path, "offset", "t", (guint64) 4, "wait-ms", "u", 5);
        succeed(house, ROOT, guest, "ReleaseResource", "", "", "ssa{sv}", "lease", "key2", 0);
        expect_resources(house, guest, "key1 exclusive held, key3 exclusive held, key4 shared held");
}

/* --- hotplug --- */

static void test_hotplug(void) {
        g_autoptr(House) house = house_new();
        const char *guest = create_held(house, ROOT, 1, "a.img"), *b = house_path(house, "b.img");
        guint64 first, second;

        forget_log(house);
        first = take_generation(send_plug(house, ROOT, guest, "b.img", "readonly", 0));
        expect_log(house, has_openat2() ? "1 PropertiesChanged Guest {} [Resources]\n" /* registered */
                                          "1 LeasesAcquired # [(disk,b.img,readonly)]\n"
                                          "1 PropertiesChanged Guest {Generation=#,AcquiredAt=#} [Resources]\n"
                                          "<- AcquireResource\n"
                                        : "1 PropertiesChanged Guest {} [Resources]\n"
                                          "1 LeasesAcquired # [(disk,b.img,readonly)]\n"
                                          "1 PropertiesChanged Guest {Generation=#,AcquiredAt=#} [Resources]\n"
                                          "<- AcquireResourceFd\n");
        g_assert_cmpuint(take_generation(send_plug(house, ROOT, guest, "b.img", "readonly", 0)), ==, first);
        forget_log(house);
        gl_fake_driver_clear_log(house->driver);

        second = take_generation(send_plug(house, ROOT, guest, "b.img", "exclusive", 0)); /* raised */
        g_assert_cmpuint(second, >, first);
        expect_jobs(house, "change-mode b.img exclusive\n");
        expect_resources(house, guest, "a.img exclusive held, b.img exclusive held");
        take_generation(send_plug(house, ROOT, guest, "b.img", "shared", 10)); /* lowered */
        expect_resources(house, guest, "a.img exclusive held, b.img shared held");
        forget_log(house);

        succeed(house, ROOT, guest, "ReleaseResource", "", "", "ssa{sv}", "disk", b, 0);
        expect_log(house, "1 LeasesReleased released [(disk,b.img)]\n"
                          "1 PropertiesChanged Guest {} [Resources]\n"
                          "<- ReleaseResource\n");
        fail(house, ROOT, guest, "ReleaseResource", "NoSuchResource", "b.img", "ssa{sv}", "disk", b, 0);
        expect_property(house, guest, "State", "s", "held");
        expect_resources(house, guest, "a.img exclusive held");
}

/* --- parameters --- */

static void test_parameters(void) {
        g_autoptr(House) house = house_new();
        const char *guest = create(house, ROOT, 1);

        forget_log(house);
        succeed(house, ROOT, guest, "SetParameter", "", "", "sv", "name", "s", "db");
        expect_log(house, "1 PropertiesChanged Guest {Name=db} []\n<- SetParameter\n");
        succeed(house, ROOT, guest, "SetParameter", "", "", "sv", "id", "u", 17);
        expect_log(house, "1 PropertiesChanged Guest {Id=17} []\n<- SetParameter\n");
        succeed(house, ROOT, guest, "SetParameter", "", "", "sv", "on-lease-lost", "s", "kill");
        expect_log(house, "1 PropertiesChanged Guest {OnLeaseLost=kill} []\n<- SetParameter\n");
        succeed(house, ROOT, guest, "SetParameter", "", "", "sv", "uuid", "s", UUID(1));
        succeed(house, ROOT, guest, "SetParameter", "", "", "sv", "name", "s", "db");
        succeed(house, ROOT, guest, "SetParameter", "", "", "sv", "id", "u", 17);
        expect_log(house, "<- SetParameter\n<- SetParameter\n<- SetParameter\n"); /* repeated: nothing changes */
        expect_property(house, guest, "Name", "s", "db");
        expect_property(house, guest, "Id", "u", "17");
}

/* --- processes --- */

static void test_holder(void) {
        g_autoptr(House) house = house_new();
        const char *guest = create(house, ROOT, 1);
        guint32 pid;

        if (skip_without_pidfd())
                return;
        pid = house_spawn(house, 0);
        register_disk(house, ROOT, guest, "a.img", "exclusive");
        forget_log(house);
        succeed(house, ROOT, guest, "Acquire", "t", "#", "a{sv}", 1, "pid", "u", pid);
        expect_log(house, "1 LeasesAcquired # [(disk,a.img,exclusive)]\n"
                          "1 PropertiesChanged Guest {State=held,Pid=P1,Generation=#,AcquiredAt=#} [Resources]\n"
                          "<- Acquire\n");
        succeed(house, ROOT, guest, "GetChild", "u", "P1", "a{sv}", 0);
        succeed(house, BOB, MANAGER, "GetGuestByPID", "o", "1", "u", pid);
        succeed(house, ROOT, guest, "SetChild", "", "", "a{sv}", 1, "pid", "u", pid); /* the same again */
        fail(house, ROOT, guest, "Shutdown", "GuestRunning", "process", "a{sv}", 0);
        succeed(house, ROOT, guest, "Release", "s", NULL, "a{sv}", 0);
        fail(house, ROOT, guest, "Free", "GuestRunning", "process", "a{sv}", 0);
        succeed(house, ROOT, guest, "Acquire", "t", "#", "a{sv}", 0);
        forget_log(house);

        gl_fake_driver_drain_after(house->driver, 1);
        house_kill(house, pid);
        fixture_run_until(house->event, gl_fake_driver_n_leases(house->driver) == 0);
        expect_log(house, "1 PropertiesChanged Guest {Pid=0} [Resources]\n"
                          "1 LeasesReleased guest-exited [(disk,a.img)]\n"
                          "1 PropertiesChanged Guest {State=released} [Resources]\n");
        fail(house, ROOT, guest, "GetChild", "NoChild", "web1", "a{sv}", 0);
        succeed(house, ROOT, guest, "Shutdown", "", "", "a{sv}", 0); /* nothing is held any more */
}

static int open_pidfd(guint32 pid) {
        int fd = (int) syscall(SYS_pidfd_open, pid, 0);

        g_assert_cmpint(fd, >=, 0);
        return fd;
}

static void test_supervisor(void) {
        g_autoptr(House) house = house_new();
        const char *guest = create(house, ROOT, 1);
        guint32 supervisor, child;
        Call *waiting;
        int fd;

        if (skip_without_pidfd())
                return;
        supervisor = house_spawn(house, 0);
        child = house_spawn(house, 0);
        register_disk(house, ROOT, guest, "a.img", "exclusive");
        fd = open_pidfd(supervisor);
        succeed(house, ROOT, guest, "Acquire", "t", "0", "a{sv}", 3, "pidfd", "h", fd, "supervisor", "b", TRUE,
                "register-only", "b", TRUE);
        close(fd);
        expect_property(house, guest, "State", "s", "new");
        expect_property(house, guest, "SupervisorPid", "u", "P1");
        succeed(house, BOB, MANAGER, "ListGuests", "a(sssuuo)", "[(" UUID(1) ",web1,new,0,0,1)]", "a{sv}", 0);
        succeed(house, ROOT, guest, "Acquire", "t", "#", "a{sv}", 0);
        forget_log(house);

        waiting = send_call(house, ROOT, guest, "GetChild", "a{sv}", 1, "wait-ms", "u", 60000);
        expect_no_answer(waiting);
        fd = open_pidfd(child);
        succeed(house, ROOT, guest, "SetChild", "", "", "a{sv}", 2, "pidfd", "h", fd, "orphan", "s", "keep");
        close(fd);
        expect_reply(waiting, "u", "P2");
        forget_log(house);
        expect_property(house, guest, "Waiting", "b", "false");
        expect_property(house, guest, "Pid", "u", "P2");
        succeed(house, BOB, MANAGER, "ListGuests", "a(sssuuo)", "[(" UUID(1) ",web1,held,P2,0,1)]", "a{sv}", 0);
        succeed(house, BOB, MANAGER, "GetGuestByPID", "o", "1", "u", supervisor);
        forget_log(house);

        house_kill(house, supervisor);
        house_settle(house);
        expect_log(house, "1 PropertiesChanged Guest {SupervisorPid=0} []\n"); /* the guest lives on */
        house_kill(house, child);
        fixture_run_until(house->event, gl_fake_driver_n_leases(house->driver) == 0);
        expect_property(house, guest, "State", "s", "released");
}

/* What to put before a guest's command line; the same in every state. */
static void test_supervisor_command(void) {
        g_autoptr(House) house = house_new();
        const char *guest = create(house, ROOT, 1);

        succeed(house, ROOT, guest, "GetSupervisorPath", "s", "/usr/libexec/guestlock-supervisor", "");
        succeed(house, ROOT, guest, "GetSupervisorArgs", "as",
                "[--guest=/org/guestlock1/guest/00000000_0000_4000_8000_000000000001,--]", "a{sv}", 0);
        succeed(house, ROOT, guest, "GetSupervisorArgs", "as",
                "[--guest=/org/guestlock1/guest/00000000_0000_4000_8000_000000000001,--orphan=keep,--wait-ms=1500,--]",
                "a{sv}", 2, "orphan", "s", "keep", "wait-ms", "u", 1500);
        fail(house, ROOT, guest, "GetSupervisorArgs", "InvalidArgs", "eat", "a{sv}", 1, "orphan", "s", "eat");
        fail(house, ROOT, guest, "GetSupervisorArgs", "InvalidArgs", "86400000", "a{sv}", 1, "wait-ms", "u", 86400001);
        fail(house, ROOT, guest, "GetSupervisorArgs", "InvalidArgs", "colour", "a{sv}", 1, "colour", "s", "red");
        fail(house, ROOT, guest, "Shutdown", "InvalidArgs", "eat", "a{sv}", 1, "supervisor", "s", "eat");
}

static void test_shutdown(void) {
        g_autoptr(House) house = house_new();
        const char *guest;
        guint32 pid;

        guest = create_held(house, ROOT, 1, "a.img");
        forget_log(house);
        succeed(house, ROOT, guest, "Shutdown", "", "", "a{sv}", 0);
        expect_log(house, "1 LeasesReleased shutdown [(disk,a.img)]\n"
                          "1 PropertiesChanged Guest {State=released} [Resources]\n"
                          "<- Shutdown\n");

        if (skip_without_pidfd())
                return;
        pid = house_spawn(house, 0);
        succeed(house, ROOT, guest, "Acquire", "t", "#", "a{sv}", 1, "pid", "u", pid);
        forget_log(house);
        succeed(house, ROOT, guest, "Shutdown", "", "", "a{sv}", 1, "kill", "b", TRUE);
        expect_log(house, "1 PropertiesChanged Guest {Pid=0} [Resources]\n"
                          "1 LeasesReleased shutdown [(disk,a.img)]\n"
                          "1 PropertiesChanged Guest {State=released} [Resources]\n"
                          "<- Shutdown\n");
}

/* --- losing --- */

/* Only a restart of the service finds losses so far; what it announces is tried here by itself. */
static void test_lease_lost(void) {
        g_autoptr(House) house = house_new();
        GlItem item = {GL_RESOURCE_DISK, (char *) "/srv/a.img", GL_MODE_EXCLUSIVE};
        g_autoptr(GArray) items = g_array_new(FALSE, FALSE, sizeof item);
        GlChange change = {.kind = GL_CHANGE_LEASE_LOST, .text = (char *) "taken",
                           .message = (char *) "Somebody has it."};

        create(house, ALICE, 1);
        forget_log(house);
        g_array_append_val(items, item);
        change.guest = gl_core_find_guest(gl_service_core(house->service), 1000, UUID(1));
        change.items = items;
        gl_bus_announce(gl_service_bus(house->service), &change);
        expect_log(house, "1_u1000 LeaseLost disk /srv/a.img taken {action=pause,remaining-usec=0,message=Somebody has it.}\n");
}

/* --- callers --- */

static void test_no_reply_expected(void) {
        g_autoptr(House) house = house_new();
        const char *guest = create_held(house, ROOT, 1, "a.img");
        sd_bus_message *release = new_call(house, ROOT, guest, "Release");
        sd_bus_message *nonsense = new_call(house, ROOT, guest, "Release");

        forget_log(house);
        fixture_must(sd_bus_message_append(release, "a{sv}", 0));
        fixture_must(sd_bus_message_append(nonsense, "a{sv}", 1, "nonsense", "b", TRUE));
        fixture_must(sd_bus_message_set_expect_reply(release, FALSE));
        fixture_must(sd_bus_message_set_expect_reply(nonsense, FALSE));
        fixture_must(sd_bus_send(house->bus, nonsense, NULL));
        fixture_must(sd_bus_send(house->bus, release, NULL));
        sd_bus_message_unref(release);
        sd_bus_message_unref(nonsense);
        house_settle(house);
        expect_log(house, "1 LeasesReleased released [(disk,a.img)]\n"
                          "1 PropertiesChanged Guest {State=released} [Resources]\n");
}

static void test_direct_peer(void) {
        g_autoptr(House) house = house_new_direct();

        create(house, "whoever", 1); /* the peer of the socket is who we are */
        expect_property(house, ROOTS(1), "OwnerUid", "u", "0");
        house_pretend(house, 1000);
        create(house, "whoever", 2);
        expect_property(house, ALICES(2), "OwnerUid", "u", "1000");
        succeed(house, "whoever", MANAGER, "GetGuest", "o", "1", "s", UUID(1));
        house_pretend(house, 1001);
        fail(house, "whoever", MANAGER, "GetGuest", "NoSuchGuest", UUID(2), "s", UUID(2));
}

/* --- the end of the service --- */

static void test_end_with_calls_under_way(void) {
        g_autoptr(House) house = house_new();
        const char *first = create_held(house, ROOT, 1, "a.img"), *second = create(house, ALICE, 2);

        register_disk(house, ALICE, second, "a.img", "exclusive");
        send_call(house, ALICE, second, "Acquire", "a{sv}", 1, "wait-ms", "u", 60000); /* waits in the core */
        house_settle(house);
        house_say(house, NULL, SAY_NOTHING, SAY_NOTHING);
        send_call(house, BOB, first, "Release", "a{sv}", 0); /* is with polkit, and the next one behind it */
        send_call(house, BOB, first, "Inquire", "a{sv}", 0);
        await_questions(house, 1);
}

static gboolean is_locked(int fd) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};

        g_assert_cmpint(fcntl(fd, F_OFD_GETLK, &lock), ==, 0);
        return lock.l_type != F_UNLCK;
}

/* What the service still has when it ends is given back, and nobody's leak. */
static void test_end_with_leases(void) {
        House *house = house_new();
        const GlFileOptions options = {.host_number = 1};
        int fd = open(house_file(house, "a.img"), O_RDWR | O_CLOEXEC);

        gl_service_add_driver(house->service, gl_file_driver_new(gl_service_workers(house->service), &options));
        succeed(house, ROOT, MANAGER, "CreateGuest", "o", "1", "ssa{sv}", UUID(1), "web1", 1, "driver", "s", "file");
        succeed(house, ROOT, ROOTS(1), "RegisterResourceFd", "", "", "sshsa{sv}", "disk", "/a.img", fd, "exclusive", 0);
        succeed(house, ROOT, ROOTS(1), "Acquire", "t", "#", "a{sv}", 0);
        create_held(house, ROOT, 2, "b.img");
        g_assert_true(is_locked(fd));
        house_free(house);
        g_assert_false(is_locked(fd));
        close(fd);
}

/* The signal comes before the reply, and says what is done. */
static void test_revoke(void) {
        g_autoptr(House) house = house_new();
        const char *guest = create_held(house, ROOT, 1, "a.img");

        gl_fake_driver_hold_jobs(house->driver, TRUE);
        forget_log(house);
        succeed(house, ROOT, guest, "Revoke", "", "", "sssa{sv}", "disk", house_file(house, "a.img"), "It moves.", 1,
                "kill", "b", TRUE);
        expect_log(house, "1 LeaseLost disk a.img revoked {action=kill,remaining-usec=0,message=It moves.}\n"
                          "1 PropertiesChanged Guest {State=lost} [Resources]\n"
                          "<- Revoke\n");
        expect_resources(house, guest, "a.img exclusive lost");
        fail(house, ROOT, guest, "Revoke", "NoSuchResource", "b.img", "sssa{sv}", "disk", house_path(house, "b.img"),
             "It moves.", 0);
        gl_fake_driver_hold_jobs(house->driver, FALSE);
        gl_fake_driver_release_jobs(house->driver);
        succeed(house, ROOT, guest, "Acquire", "t", "#", "a{sv}", 0);
        succeed(house, ROOT, guest, "Revoke", "", "", "sssa{sv}", "", "", "All of it.", 0);
        expect_property(house, guest, "State", "s", "lost");
}

static void test_restrict(void) {
        g_autoptr(House) house = house_new();
        const char *guest = create_held(house, ALICE, 1, "a.img");

        succeed(house, ALICE, guest, "Restrict", "", "", "a{sv}", 0);
        house_say(house, "manage", SAY_NO, SAY_NO);
        fail(house, ALICE, guest, "Release", "AccessDenied", "manage", "a{sv}", 0);
        fail(house, ALICE, guest, "Acquire", "AccessDenied", "manage", "a{sv}", 0);
        succeed(house, ALICE, guest, "Inquire", "s", NULL, "a{sv}", 0);
        succeed(house, ALICE, guest, "Restrict", "", "", "a{sv}", 0);
        house_say(house, "manage", SAY_YES, SAY_YES);
        succeed(house, ALICE, guest, "Release", "s", NULL, "a{sv}", 0);
        house_say(house, "manage", SAY_NO, SAY_NO);
        succeed(house, ALICE_TOO, guest, "Shutdown", "", "", "a{sv}", 0);
        succeed(house, ALICE_TOO, guest, "Free", "", "", "a{sv}", 0);
}

static void test_attach(void) {
        g_autoptr(House) house = house_new();

        create_held(house, ALICE, 1, "a.img");
        create(house, ALICE, 2);
        succeed(house, ALICE, MANAGER, "AttachGuest", "o", "1_u1000", "sa{sv}", UUID(1), 0);
        fail(house, ALICE, MANAGER, "AttachGuest", "Stale", "process 7", "sa{sv}", UUID(1), 1, "pid", "u", 7);
        fail(house, ALICE, MANAGER, "AttachGuest", "BadState", "new", "sa{sv}", UUID(2), 0);
        fail(house, BOB, MANAGER, "AttachGuest", "NoSuchGuest", UUID(1), "sa{sv}", UUID(1), 0);
        fail(house, ALICE, MANAGER, "AttachGuest", "InvalidArgs", "uuid", "sa{sv}", "web1", 0);
}

int main(int argc, char **argv) {
        house_init(&argc, &argv);
        g_test_add_func("/guest/life", test_life);
        g_test_add_func("/guest/state-string", test_state_string);
        g_test_add_func("/guest/by-descriptor", test_by_descriptor);
        g_test_add_func("/guest/leases", test_leases);
        g_test_add_func("/guest/hotplug", test_hotplug);
        g_test_add_func("/guest/parameters", test_parameters);
        g_test_add_func("/guest/holder", test_holder);
        g_test_add_func("/guest/supervisor", test_supervisor);
        g_test_add_func("/guest/supervisor-command", test_supervisor_command);
        g_test_add_func("/guest/shutdown", test_shutdown);
        g_test_add_func("/guest/lease-lost", test_lease_lost);
        g_test_add_func("/guest/no-reply-expected", test_no_reply_expected);
        g_test_add_func("/guest/direct-peer", test_direct_peer);
        g_test_add_func("/guest/end-with-calls-under-way", test_end_with_calls_under_way);
        g_test_add_func("/guest/end-with-leases", test_end_with_leases);
        g_test_add_func("/guest/revoke", test_revoke);
        g_test_add_func("/guest/restrict", test_restrict);
        g_test_add_func("/guest/attach", test_attach);
        return g_test_run();
}
