/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "house.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* What callers get wrong: each is refused by the right name, in a short sentence, and has changed nothing. */

#define MEBIBYTE ((gsize) 1024 * 1024)

static char *before; /* (owned) what there was in the house when it was furnished */

static char *describe(House *house) {
        GlCore *core = gl_service_core(house->service);
        g_autofree char *listed =
                in_words(house, await_reply(send_call(house, BOB, MANAGER, "ListGuests", "a{sv}", 0)));

        return g_strdup_printf("%s, %u leases, %u in the driver", listed, gl_core_n_leases(core),
                               gl_fake_driver_n_leases(house->driver));
}

/* Nothing but a refusal came of it. */
static void refused(House *house, Call *call, const char *error, const char *part) {
        g_autofree char *after = NULL;

        expect_error(call, error, part);
        g_assert_cmpuint(strlen(await_error(call)->message), <, 1024);
        g_assert_null(strstr(house->log->str, "PropertiesChanged"));
        g_assert_null(strstr(house->log->str, "Interfaces"));
        g_assert_null(strstr(house->log->str, "Leases"));
        g_assert_cmpstr(gl_fake_driver_log(house->driver), ==, "");
        after = describe(house);
        g_assert_cmpstr(after, ==, before);
}

#define refuse(error, part, ...) refused(house, send_call(house, ROOT, __VA_ARGS__), error, part)
/* Nobody is asked for a password for nonsense. */
#define refuse_unasked(error, part, ...)           \
        G_STMT_START {                             \
                refuse(error, part, __VA_ARGS__);  \
                expect_questions(house, "");       \
        }                                          \
        G_STMT_END

/* With guest 1, which holds a.img, and guest 2, which holds nothing. */
static House *furnished(void) {
        House *house = house_new();

        create_held(house, ROOT, 1, "a.img");
        create(house, ROOT, 2);
        forget_log(house);
        forget_questions(house);
        gl_fake_driver_clear_log(house->driver);
        g_free(before);
        before = describe(house);
        return house;
}

static char *huge(char fill) {
        return g_strnfill(MEBIBYTE, fill);
}

/* --- the Manager --- */

static void test_uuids(void) {
        static const char *const uuids[] = {
                "",
                "x",
                "00000000-0000-0000-0000-000000000000",
                "00000000-0000-4000-8000-00000000000",
                "00000000-0000-4000-8000-0000000000011",
                "00000000_0000_4000_8000_000000000003",
                "00000000-0000-4000-8000-00000000000g",
                "{0000000-0000-4000-8000-000000000003}",
                "0000000000004000800000000000000003",
                " 0000000-0000-4000-8000-000000000003",
                "../00000-0000-4000-8000-000000000003",
                "00000000-0000-4000-8000-00000000000\xc3\xa4",
        };
        g_autoptr(House) house = furnished();
        g_autofree char *long_one = huge('0');

        for (guint i = 0; i < G_N_ELEMENTS(uuids); i++) {
                refuse_unasked("InvalidArgs", "uuid", MANAGER, "CreateGuest", "ssa{sv}", uuids[i], "web", 0);
                refuse_unasked("InvalidArgs", "uuid", MANAGER, "StartGuest", "ssa(sssa{sv})a{sv}", uuids[i], "web", 0,
                               0);
                refuse_unasked("InvalidArgs", "uuid", MANAGER, "GetGuest", "s", uuids[i]);
        }
        refuse_unasked("InvalidArgs", "uuid", MANAGER, "CreateGuest", "ssa{sv}", long_one, "web", 0);
        refuse_unasked("InvalidArgs", "uuid", MANAGER, "GetGuest", "s", long_one);
}

static void test_names(void) {
        g_autoptr(House) house = furnished();
        g_autofree char *long_one = huge('x'), *over = g_strnfill(256, 'x'), *most = g_strnfill(255, 'x');

        refuse_unasked("InvalidArgs", "empty", MANAGER, "CreateGuest", "ssa{sv}", UUID(3), "", 0);
        refuse_unasked("InvalidArgs", "255", MANAGER, "CreateGuest", "ssa{sv}", UUID(3), over, 0);
        refuse_unasked("InvalidArgs", "255", MANAGER, "CreateGuest", "ssa{sv}", UUID(3), long_one, 0);
        refuse_unasked("InvalidArgs", "255", MANAGER, "StartGuest", "ssa(sssa{sv})a{sv}", UUID(3), long_one, 0, 0);
        refuse("InvalidArgs", "empty", ROOTS(2), "SetParameter", "sv", "name", "s", "");
        refuse("InvalidArgs", "255", ROOTS(2), "SetParameter", "sv", "name", "s", long_one);
        succeed(house, ROOT, ROOTS(2), "SetParameter", "", "", "sv", "name", "s", most);
        expect_property(house, ROOTS(2), "Name", "s", most);
}

static void test_guest_options(void) {
        g_autoptr(House) house = furnished();
        g_autofree char *long_one = huge('x');

#define CREATE(...) MANAGER, "CreateGuest", "ssa{sv}", UUID(3), "web", __VA_ARGS__
        refuse_unasked("InvalidArgs", "\"colour\"", CREATE(1, "colour", "s", "blue"));
        refuse_unasked("InvalidArgs", "There is no option", CREATE(1, "", "s", ""));
        refuse_unasked("InvalidArgs", "There is no option", CREATE(1, long_one, "s", ""));
        refuse_unasked("InvalidArgs", "\"id\"", CREATE(1, "id", "s", "7"));
        refuse_unasked("InvalidArgs", "\"id\"", CREATE(1, "id", "i", 7));
        refuse_unasked("InvalidArgs", "twice", CREATE(2, "id", "u", 7, "id", "u", 7));
        refuse_unasked("InvalidArgs", "action", CREATE(1, "on-lease-lost", "s", "explode"));
        refuse_unasked("InvalidArgs", "action", CREATE(1, "on-lease-lost", "s", ""));
        refuse_unasked("InvalidArgs", "action", CREATE(1, "on-lease-lost", "s", long_one));
        refuse_unasked("InvalidArgs", "scope", CREATE(1, "require-scope", "s", "galaxy"));
        refuse_unasked("InvalidArgs", "owner-uid", CREATE(1, "owner-uid", "u", G_MAXUINT32));
        refuse_unasked("InvalidArgs", "keep", CREATE(1, "keep", "u", 1));
        refuse_unasked("InvalidArgs", "\"pid\"", CREATE(1, "pid", "u", 1)); /* StartGuest's */
        refuse("NoSuchDriver", "magic", CREATE(1, "driver", "s", "magic"));
        refuse("NoSuchDriver", "\"\"", CREATE(1, "driver", "s", ""));
        refuse("AlreadyExists", "web1", MANAGER, "CreateGuest", "ssa{sv}", UUID(1), "web", 0);
#undef CREATE
        forget_questions(house);
        refuse_unasked("InvalidArgs", "\"x\"", MANAGER, "ListGuests", "a{sv}", 1, "x", "s", "");
}

static void test_huge_driver(void) {
        g_autoptr(House) house = furnished();
        g_autofree char *long_one = huge('x');

        refuse("NoSuchDriver", "xxx", MANAGER, "CreateGuest", "ssa{sv}", UUID(3), "web", 1, "driver", "s", long_one);
}

static void test_start_options(void) {
        g_autoptr(House) house = furnished();
        const char *a = house_path(house, "a.img");

#define START(...) MANAGER, "StartGuest", "ssa(sssa{sv})a{sv}", UUID(3), "web", __VA_ARGS__
        refuse_unasked("InvalidArgs", "type", START(1, "tape", a, "exclusive", 0, 0));
        refuse_unasked("InvalidArgs", "mode", START(1, "disk", a, "greedy", 0, 0));
        refuse_unasked("InvalidArgs", "absolute", START(1, "disk", "a.img", "exclusive", 0, 0));
        refuse_unasked("InvalidArgs", "\"path\"", START(1, "disk", a, "exclusive", 1, "path", "s", a, 0));
        refuse_unasked("InvalidArgs", "\"wait-ms\"", START(1, "disk", a, "exclusive", 1, "wait-ms", "u", 1, 0));
        refuse_unasked("InvalidArgs", "wait-ms", START(0, 1, "wait-ms", "u", 86400001));
        refuse_unasked("InvalidArgs", "keep", START(0, 1, "keep", "u", 1));
        refuse_unasked("InvalidArgs", "Only one", START(0, 2, "pid", "u", 2, "pidfd", "h", 0));
        refuse("InvalidArgs", "state", START(0, 1, "state", "s", "nonsense"));
        refuse("InvalidArgs", "register-only", START(0, 1, "register-only", "b", TRUE));
        if (skip_without_openat2())
                return;
        refuse("Conflict", "web1", START(1, "disk", a, "readonly", 0, 0));
        refuse("AlreadyRegistered", "a.img", START(2, "disk", a, "readonly", 0, "disk", a, "shared", 0, 0));
#undef START
}

static void test_too_many_resources(void) {
        g_autoptr(House) house = furnished();
        sd_bus_message *message = new_call(house, ROOT, MANAGER, "StartGuest");

        fixture_must(sd_bus_message_append(message, "ss", UUID(3), "web"));
        fixture_must(sd_bus_message_open_container(message, 'a', "(sssa{sv})"));
        for (guint i = 0; i < 65; i++)
                fixture_must(sd_bus_message_append(message, "(sssa{sv})", "disk", house_path(house, "a.img"), "shared",
                                                   0));
        fixture_must(sd_bus_message_close_container(message));
        fixture_must(sd_bus_message_append(message, "a{sv}", 0));
        refused(house, send_message(house, message), "LimitExceeded", "64");
}

/* --- signatures --- */

static void test_signatures(void) {
        static const struct {
                const char *path, *member;
                gboolean takes_nothing;
        } methods[] = {
                {MANAGER, "CreateGuest"},      {MANAGER, "StartGuest"},         {MANAGER, "GetGuest"},
                {MANAGER, "GetGuestByPID"},    {MANAGER, "ListGuests"},         {MANAGER, "ListDrivers", TRUE},
                {ROOTS(1), "SetParameter"},    {ROOTS(1), "RegisterResource"},  {ROOTS(1), "RegisterResourceFd"},
                {ROOTS(1), "Acquire"},         {ROOTS(1), "Inquire"},           {ROOTS(1), "Release"},
                {ROOTS(1), "AcquireResource"}, {ROOTS(1), "AcquireResourceFd"}, {ROOTS(1), "ReleaseResource"},
                {ROOTS(1), "SetChild"},        {ROOTS(1), "GetChild"},          {ROOTS(1), "Shutdown"},
                {ROOTS(1), "Free"},            {ROOTS(1), "Revoke"},           {ROOTS(1), "Restrict"},
                {MANAGER, "AttachGuest"},
        };
        g_autoptr(House) house = furnished();

        for (guint i = 0; i < G_N_ELEMENTS(methods); i++) {
                if (!methods[i].takes_nothing)
                        refuse_unasked("InvalidArgs", "", methods[i].path, methods[i].member, "");
                refuse_unasked("InvalidArgs", "", methods[i].path, methods[i].member, "d", 1.5);
                refuse_unasked("InvalidArgs", "", methods[i].path, methods[i].member, "a{ss}", 0);
                refuse_unasked("InvalidArgs", "", methods[i].path, methods[i].member, "a{sv}s", 0, "");
        }
}

/* Strings that are not UTF-8 do not even leave. */
static void test_not_utf8(void) {
        g_autoptr(House) house = furnished();
        sd_bus_message *message = new_call(house, ROOT, MANAGER, "CreateGuest");

        g_assert_cmpint(sd_bus_message_append(message, "ss", UUID(3), "\xff\xfe"), ==, -EINVAL);
        sd_bus_message_unref(message);
}

/* --- resources --- */

static void test_resource_words(void) {
        g_autoptr(House) house = furnished();
        g_autofree char *long_one = huge('x');
        const char *path = house_file(house, "b.img");
        static const char *const members[] = {"RegisterResource", "AcquireResource"};

        for (guint i = 0; i < G_N_ELEMENTS(members); i++) {
#define CALL(type, name, mode, ...) ROOTS(1), members[i], "sssa{sv}", type, name, mode, __VA_ARGS__
                refuse_unasked("InvalidArgs", "type", CALL("", path, "shared", 0));
                refuse_unasked("InvalidArgs", "type", CALL("Disk", path, "shared", 0));
                refuse_unasked("InvalidArgs", "type", CALL("guest", path, "shared", 0));
                refuse_unasked("InvalidArgs", "type", CALL(long_one, path, "shared", 0));
                refuse_unasked("InvalidArgs", "mode", CALL("disk", path, "", 0));
                refuse_unasked("InvalidArgs", "mode", CALL("disk", path, "X", 0));
                refuse_unasked("InvalidArgs", "mode", CALL("disk", path, long_one, 0));
                refuse_unasked("InvalidArgs", "empty", CALL("disk", "", "shared", 0));
                refuse_unasked("InvalidArgs", "absolute", CALL("disk", "b.img", "shared", 0));
                refuse_unasked("InvalidArgs", "absolute", CALL("disk", "./b.img", "shared", 0));
                refuse_unasked("InvalidArgs", "absolute", CALL("disk", "file:///b.img", "shared", 0));
                refuse_unasked("InvalidArgs", "4095", CALL("disk", long_one, "shared", 0));
                refuse_unasked("InvalidArgs", "\"path\"", CALL("disk", path, "shared", 1, "path", "s", path));
                refuse_unasked("InvalidArgs", "\"offset\"", CALL("disk", path, "shared", 1, "offset", "t",
                                                                 (guint64) 1));
                refuse_unasked("InvalidArgs", "offset", CALL("lease", "k", "shared", 1, "path", "s", path));
                refuse_unasked("InvalidArgs", "path", CALL("lease", "k", "shared", 1, "offset", "t", (guint64) 1));
                refuse_unasked("InvalidArgs", "255",
                               CALL("lease", long_one, "shared", 2, "path", "s", path, "offset", "t", (guint64) 1));
                refuse_unasked("InvalidArgs", "empty",
                               CALL("lease", "", "shared", 2, "path", "s", path, "offset", "t", (guint64) 1));
                refuse_unasked("InvalidArgs", "absolute",
                               CALL("lease", "k", "shared", 2, "path", "s", "b.img", "offset", "t", (guint64) 1));
                refuse_unasked("InvalidArgs", "\"offset\"",
                               CALL("lease", "k", "shared", 2, "path", "s", path, "offset", "u", 1));
                refuse_unasked("InvalidArgs", "twice",
                               CALL("lease", "k", "shared", 3, "path", "s", path, "path", "s", path, "offset", "t",
                                    (guint64) 1));
#undef CALL
        }
        refuse_unasked("InvalidArgs", "\"wait-ms\"", ROOTS(1), "RegisterResource", "sssa{sv}", "disk", path, "shared",
                       1, "wait-ms", "u", 1);
        refuse_unasked("InvalidArgs", "wait-ms", ROOTS(1), "AcquireResource", "sssa{sv}", "disk", path, "shared", 1,
                       "wait-ms", "u", 86400001);
        expect_resources(house, ROOTS(1), "a.img exclusive held");
}

static void test_lease_offsets(void) {
        static const guint64 offsets[] = {0, 100, 201, 299, G_GUINT64_CONSTANT(1) << 60, G_MAXUINT64};
        g_autoptr(House) house = furnished();

        for (guint i = 0; i < G_N_ELEMENTS(offsets); i++)
                refuse_unasked("InvalidArgs", "offset", ROOTS(1), "RegisterResource", "sssa{sv}", "lease", "key",
                               "exclusive", 2, "path", "s", house_file(house, "b.img"), "offset", "t", offsets[i]);
}

static void test_paths(void) {
        g_autoptr(House) house = furnished();
        const char *fifo = house_path(house, "fifo"), *dir = house_path(house, "dir"), *loop = house_path(house,
                                                                                                          "loop");
        const struct {
                const char *path, *error, *part;
        } paths[] = {
                {house_path(house, "missing.img"), "StorageUnavailable", "missing.img"},
                {house_path(house, "a.img/x"), "StorageUnavailable", "a.img/x"},
                {dir, "InvalidArgs", "a directory"},
                {"/", "InvalidArgs", "a directory"},
                {fifo, "InvalidArgs", "a FIFO"},
                {"/dev/null", "InvalidArgs", "a character device"},
                {loop, "InvalidArgs", "symbolic links"},
                {"/proc/self/exe", "InvalidArgs", "magic link"},
        };

        if (skip_without_openat2())
                return;
        g_assert_cmpint(mkfifo(fifo, 0666), ==, 0);
        g_assert_cmpint(mkdir(dir, 0755), ==, 0);
        g_assert_cmpint(symlink("loop", loop), ==, 0);
        for (guint i = 0; i < G_N_ELEMENTS(paths); i++) {
                refuse(paths[i].error, paths[i].part, ROOTS(1), "RegisterResource", "sssa{sv}", "disk", paths[i].path,
                       "exclusive", 0);
                refuse(paths[i].error, paths[i].part, ROOTS(1), "AcquireResource", "sssa{sv}", "disk", paths[i].path,
                       "exclusive", 0);
                refuse(paths[i].error, paths[i].part, MANAGER, "StartGuest", "ssa(sssa{sv})a{sv}", UUID(3), "web", 1,
                       "disk", paths[i].path, "exclusive", 0, 0);
        }
        expect_questions(house, ""); /* what cannot be opened is not asked about */
}

/* A caller opens what he may open, and no more. */
static void test_permissions(void) {
        g_autoptr(House) house = house_new();
        const char *guest = create(house, ALICE, 1), *secret = house_file(house, "secret.img");
        const char *shown = house_file(house, "shown.img");

        if (skip_without_openat2())
                return;
        g_assert_cmpint(chmod(secret, 0600), ==, 0);
        g_assert_cmpint(chmod(shown, 0644), ==, 0);
        fail(house, ALICE, guest, "RegisterResource", "AccessDenied", "secret.img", "sssa{sv}", "disk", secret,
             "readonly", 0);
        fail(house, ALICE, guest, "RegisterResource", "AccessDenied", "shown.img", "sssa{sv}", "disk", shown, "shared",
             0);
        succeed(house, ALICE, guest, "RegisterResource", "", "", "sssa{sv}", "disk", shown, "readonly", 0);
        expect_resources(house, guest, "shown.img readonly registered");
}

static void test_descriptors(void) {
        g_autoptr(House) house = furnished();
        const char *path = house_file(house, "b.img");
        int pair[2], ends[2], fd;

        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
        g_assert_cmpint(pipe2(ends, O_CLOEXEC), ==, 0);
#define FD(fd, mode) ROOTS(1), "RegisterResourceFd", "sshsa{sv}", "disk", path, fd, mode, 0
        refuse("InvalidArgs", "a socket", FD(pair[0], "shared"));
        refuse("InvalidArgs", "a FIFO", FD(ends[0], "readonly"));
        fd = open(path, O_PATH | O_CLOEXEC);
        refuse("InvalidArgs", "cannot be read", FD(fd, "readonly"));
        close(fd);
        fd = open(path, O_WRONLY | O_CLOEXEC);
        refuse("InvalidArgs", "cannot be read", FD(fd, "exclusive"));
        close(fd);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        refuse("AccessDenied", "read-only", FD(fd, "exclusive"));
        refuse_unasked("InvalidArgs", "\"path\"", ROOTS(1), "RegisterResourceFd", "sshsa{sv}", "lease", "key", fd,
                       "readonly", 2, "path", "s", path, "offset", "t", (guint64) 1);
        close(fd);
        fd = open(house->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        refuse("InvalidArgs", "a directory", FD(fd, "readonly"));
        close(fd);
#undef FD
        for (guint i = 0; i < 2; i++) {
                close(pair[i]);
                close(ends[i]);
        }
        expect_questions(house, "");
        expect_resources(house, ROOTS(1), "a.img exclusive held");
}

static void test_unregistered(void) {
        g_autoptr(House) house = furnished();
        const char *a = house_path(house, "a.img");

        refuse("NoSuchResource", "b.img", ROOTS(1), "ReleaseResource", "ssa{sv}", "disk", "/b.img", 0);
        refuse("NoSuchResource", "a.img", ROOTS(2), "ReleaseResource", "ssa{sv}", "disk", a, 0);
        refuse("NoSuchResource", "a.img", ROOTS(1), "ReleaseResource", "ssa{sv}", "lease", "a.img", 0);
        refuse_unasked("InvalidArgs", "type", ROOTS(1), "ReleaseResource", "ssa{sv}", "", a, 0);
        refuse_unasked("InvalidArgs", "absolute", ROOTS(1), "ReleaseResource", "ssa{sv}", "disk", "a.img", 0);
        refuse_unasked("InvalidArgs", "option", ROOTS(1), "ReleaseResource", "ssa{sv}", "disk", a, 1, "x", "b", TRUE);
        refused(house, send_register(house, ROOT, ROOTS(1), "a.img", "exclusive"), "AlreadyRegistered", "a.img");
        refused(house, send_register(house, ROOT, ROOTS(1), "a.img", "readonly"), "AlreadyRegistered", "a.img");
}

/* --- acquiring --- */

static void test_acquire_options(void) {
        g_autoptr(House) house = furnished();
        g_autofree char *long_one = huge('x');

#define ACQUIRE(...) ROOTS(2), "Acquire", "a{sv}", __VA_ARGS__
        refuse_unasked("InvalidArgs", "\"resources\"", ACQUIRE(1, "resources", "s", ""));
        refuse_unasked("InvalidArgs", "wait-ms", ACQUIRE(1, "wait-ms", "u", 86400001));
        refuse_unasked("InvalidArgs", "wait-ms", ACQUIRE(1, "wait-ms", "u", G_MAXUINT32));
        refuse_unasked("InvalidArgs", "wait-ms", ACQUIRE(1, "wait-ms", "t", (guint64) 1));
        refuse_unasked("InvalidArgs", "pid", ACQUIRE(1, "pid", "i", -1));
        refuse_unasked("InvalidArgs", "pidfd", ACQUIRE(1, "pidfd", "u", 1));
        refuse_unasked("InvalidArgs", "Only one", ACQUIRE(2, "pid", "u", 1, "pidfd", "h", 0));
        refuse_unasked("InvalidArgs", "supervisor", ACQUIRE(1, "supervisor", "u", 1));
        refuse_unasked("InvalidArgs", "twice", ACQUIRE(2, "wait-ms", "u", 1, "wait-ms", "u", 1));
        refuse("InvalidArgs", "register-only", ACQUIRE(1, "register-only", "b", TRUE));
        refuse("InvalidArgs", "state", ACQUIRE(1, "state", "s", "x"));
        refuse("InvalidArgs", "state", ACQUIRE(1, "state", "s", long_one));
        refuse("InvalidArgs", "state", ACQUIRE(1, "state", "s", "guestlock1;host=x;guest=y"));
#undef ACQUIRE
        refuse_unasked("InvalidArgs", "option", ROOTS(1), "Release", "a{sv}", 1, "kill", "b", TRUE);
        refuse_unasked("InvalidArgs", "option", ROOTS(1), "Inquire", "a{sv}", 1, "x", "b", TRUE);
        refuse_unasked("InvalidArgs", "option", ROOTS(1), "Free", "a{sv}", 1, "kill", "b", TRUE);
        refuse_unasked("InvalidArgs", "kill", ROOTS(1), "Shutdown", "a{sv}", 1, "kill", "s", "yes");
        refuse_unasked("InvalidArgs", "wait-ms", ROOTS(1), "GetChild", "a{sv}", 1, "wait-ms", "u", 86400001);
}

static void test_parameters(void) {
        g_autoptr(House) house = furnished();
        g_autofree char *long_one = huge('x');

#define SET(...) ROOTS(1), "SetParameter", "sv", __VA_ARGS__
        refuse_unasked("InvalidArgs", "parameter", SET("", "s", ""));
        refuse_unasked("InvalidArgs", "parameter", SET("colour", "s", "blue"));
        refuse_unasked("InvalidArgs", "parameter", SET(long_one, "s", ""));
        refuse_unasked("InvalidArgs", "name", SET("name", "u", 1));
        refuse_unasked("InvalidArgs", "id", SET("id", "s", "1"));
        refuse("InvalidArgs", "action", SET("on-lease-lost", "s", "cry"));
        refuse("InvalidArgs", "action", SET("on-lease-lost", "s", long_one));
        refuse("InvalidArgs", "uuid", SET("uuid", "s", UUID(2)));
        refuse("InvalidArgs", "uuid", SET("uuid", "s", ""));
#undef SET
}

/* --- processes --- */

static guint32 dead_pid(House *house) {
        guint32 pid = house_spawn(house, 0);

        house_kill(house, pid);
        return pid;
}

static void test_processes(void) {
        g_autoptr(House) house = furnished();
        const struct {
                guint32 pid;
                const char *part;
        } pids[] = {
                {0, "0 stands for no process"},        {1, "first process"}, {(guint32) getpid(), "service itself"},
                {dead_pid(house), "does not exist or has ended"}, {G_MAXUINT32, ""}, {G_MAXINT32, ""},
        };
        int fd;

        if (skip_without_pidfd())
                return;
        fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        for (guint i = 0; i < G_N_ELEMENTS(pids); i++) {
                refuse("InvalidArgs", pids[i].part, ROOTS(2), "Acquire", "a{sv}", 1, "pid", "u", pids[i].pid);
                refuse("InvalidArgs", pids[i].part, ROOTS(2), "SetChild", "a{sv}", 1, "pid", "u", pids[i].pid);
                refuse("InvalidArgs", pids[i].part, MANAGER, "StartGuest", "ssa(sssa{sv})a{sv}", UUID(3), "web", 0, 1,
                       "pid", "u", pids[i].pid);
        }
        refuse("InvalidArgs", "pidfd", ROOTS(2), "Acquire", "a{sv}", 1, "pidfd", "h", fd);
        refuse("InvalidArgs", "pidfd", ROOTS(2), "SetChild", "a{sv}", 1, "pidfd", "h", fd);
        refuse_unasked("InvalidArgs", "pid", ROOTS(2), "SetChild", "a{sv}", 0);
        refuse_unasked("InvalidArgs", "Only one", ROOTS(2), "SetChild", "a{sv}", 2, "pid", "u", 1, "pidfd", "h", fd);
        close(fd);
}

/* Another process cannot come in while the first one lives. */
static void test_second_process(void) {
        g_autoptr(House) house = house_new();
        const char *guest = create(house, ROOT, 1);
        guint32 first, second;

        if (skip_without_pidfd())
                return;
        first = house_spawn(house, 0);
        second = house_spawn(house, 0);
        register_disk(house, ROOT, guest, "a.img", "exclusive");
        succeed(house, ROOT, guest, "Acquire", "t", "#", "a{sv}", 1, "pid", "u", first);
        fail(house, ROOT, guest, "SetChild", "AlreadyExists", "process", "a{sv}", 1, "pid", "u", second);
        fail(house, ROOT, guest, "Acquire", "BadState", "process", "a{sv}", 1, "pid", "u", second);
        fail(house, ROOT, guest, "Acquire", "BadState", "held", "a{sv}", 2, "pid", "u", second, "register-only", "b",
             TRUE);
        expect_property(house, guest, "Pid", "u", "P1");
}

int main(int argc, char **argv) {
        int r;

        house_init(&argc, &argv);
        g_test_add_func("/bad-input/uuids", test_uuids);
        g_test_add_func("/bad-input/names", test_names);
        g_test_add_func("/bad-input/guest-options", test_guest_options);
        g_test_add_func("/bad-input/huge-driver", test_huge_driver);
        g_test_add_func("/bad-input/start-options", test_start_options);
        g_test_add_func("/bad-input/too-many-resources", test_too_many_resources);
        g_test_add_func("/bad-input/signatures", test_signatures);
        g_test_add_func("/bad-input/not-utf8", test_not_utf8);
        g_test_add_func("/bad-input/resource-words", test_resource_words);
        g_test_add_func("/bad-input/lease-offsets", test_lease_offsets);
        g_test_add_func("/bad-input/paths", test_paths);
        g_test_add_func("/bad-input/permissions", test_permissions);
        g_test_add_func("/bad-input/descriptors", test_descriptors);
        g_test_add_func("/bad-input/unregistered", test_unregistered);
        g_test_add_func("/bad-input/acquire-options", test_acquire_options);
        g_test_add_func("/bad-input/parameters", test_parameters);
        g_test_add_func("/bad-input/processes", test_processes);
        g_test_add_func("/bad-input/second-process", test_second_process);
        r = g_test_run();

        g_free(before);
        return r;
}
