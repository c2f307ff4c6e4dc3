/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client-fixture.h"

#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Who is in the way, asked once blocking and once in the background; and what runs a guest under the supervisor. */

/* A process that has a disk as virtlockd has it, until it is ended. */
static guint lock_as_virtlockd(Fixture *f, const char *path) {
        static const char script[] = "import fcntl, sys\n"
                                     "disk = open(sys.argv[1], 'r+')\n"
                                     "fcntl.lockf(disk, fcntl.LOCK_EX, 1)\n"
                                     "print('.', flush=True)\n"
                                     "sys.stdin.read()\n";
        GError *error = NULL;
        GSubprocess *child = g_subprocess_new(G_SUBPROCESS_FLAGS_STDIN_PIPE | G_SUBPROCESS_FLAGS_STDOUT_PIPE, &error,
                                              "python3", "-c", script, path, NULL);
        char ready;

        g_assert_no_error(error);
        g_ptr_array_add(f->children, child);
        g_assert_cmpint(g_input_stream_read(g_subprocess_get_stdout_pipe(child), &ready, 1, NULL, NULL), ==, 1);
        return (guint) g_ascii_strtoull(g_subprocess_get_identifier(child), NULL, 10);
}

static GuestlockObstacle *only(Fixture *f, GPtrArray *obstacles) {
        assert_succeeded(f, obstacles);
        g_assert_cmpuint(obstacles->len, ==, 1);
        return obstacles->pdata[0];
}

static void assert_nobody(Fixture *f, GPtrArray *obstacles) {
        assert_succeeded(f, obstacles);
        g_assert_cmpuint(obstacles->len, ==, 0);
        g_ptr_array_unref(obstacles);
}

static void assert_count(Fixture *f, guint wanted_guests, guint wanted_leases) {
        guint guests = G_MAXUINT, leases = G_MAXUINT;

        assert_succeeded(f, TWICE(guestlock_manager_count, f->manager, (), (, &guests, &leases)));
        g_assert_cmpuint(guests, ==, wanted_guests);
        g_assert_cmpuint(leases, ==, wanted_leases);
}

/* --- who holds it --- */

static void guest_has_a_disk(Fixture *f) {
        guint pid = fixture_spawn(f);
        g_autoptr(GuestlockGuest) guest = fixture_guest(f, UUID_1, pid);
        g_autoptr(GPtrArray) who = NULL;
        g_autoptr(GPtrArray) resources = guestlock_guest_list_resources_sync(guest, NULL, NULL);
        GuestlockObstacle *found;

        who = TWICE(guestlock_manager_who_holds, f->manager, (, GUESTLOCK_RESOURCE_TYPE_DISK, f->image), ());
        found = only(f, who);
        g_assert_cmpstr(guestlock_obstacle_get_guest_uuid(found), ==, UUID_1);
        g_assert_cmpstr(guestlock_obstacle_get_guest_name(found), ==, "web1");
        g_assert_cmpuint(guestlock_obstacle_get_owner_uid(found), ==, getuid());
        g_assert_cmpstr(guestlock_obstacle_get_object_path(found), ==, guestlock_guest_get_object_path(guest));
        g_assert_cmpstr(guestlock_obstacle_get_host(found), ==, guestlock_manager_get_host_name(f->manager));
        g_assert_cmpuint(guestlock_obstacle_get_pid(found), ==, pid);
        g_assert_null(guestlock_obstacle_get_command(found));
        g_assert_cmpint(guestlock_obstacle_get_mode(found), ==, GUESTLOCK_MODE_EXCLUSIVE);
        g_assert_cmpstr(guestlock_obstacle_get_name(found), ==, f->image);
        g_assert_cmpuint(guestlock_obstacle_get_since(found), ==, guestlock_resource_get_since(resources->pdata[0]));
        g_assert_cmpuint(guestlock_obstacle_get_generation(found), ==, guestlock_guest_get_generation(guest));
        g_assert_cmpstr(guestlock_obstacle_get_driver(found), ==, "file");
        g_assert_cmpint(guestlock_obstacle_get_scope(found), ==, GUESTLOCK_SCOPE_HOST);
        g_assert_null(guestlock_obstacle_get_via(found));
        g_assert_null(guestlock_obstacle_get_resource(found));
        assert_nobody(f,
                      TWICE(guestlock_manager_who_holds, f->manager, (, GUESTLOCK_RESOURCE_TYPE_DISK, f->other), ()));
        assert_count(f, 1, 1);
}

static void guest_is_there(Fixture *f) {
        g_autoptr(GuestlockGuest) guest = fixture_guest(f, UUID_1, 0);
        g_autofree char *upper = g_ascii_strup(UUID_1, -1);
        g_autoptr(GPtrArray) who = NULL;
        GuestlockObstacle *found;

        who = TWICE(guestlock_manager_who_holds, f->manager, (, GUESTLOCK_RESOURCE_TYPE_GUEST, upper), ());
        found = only(f, who);
        g_assert_cmpstr(guestlock_obstacle_get_object_path(found), ==, guestlock_guest_get_object_path(guest));
        g_assert_cmpstr(guestlock_obstacle_get_via(found), ==, "it exists, in state held");
        g_assert_cmpuint(guestlock_obstacle_get_since(found), ==, guestlock_guest_get_acquired_at(guest));
        g_assert_cmpuint(guestlock_obstacle_get_pid(found), ==, 0);
        g_assert_cmpint(guestlock_obstacle_get_mode(found), ==, GUESTLOCK_MODE_UNKNOWN);
        g_assert_cmpint(guestlock_obstacle_get_scope(found), ==, GUESTLOCK_SCOPE_UNKNOWN);
        g_assert_null(guestlock_obstacle_get_name(found));
        assert_nobody(f, TWICE(guestlock_manager_who_holds, f->manager, (, GUESTLOCK_RESOURCE_TYPE_GUEST, UUID_2), ()));
}

static void assert_is_process(GuestlockObstacle *found, guint pid) {
        g_assert_cmpstr(guestlock_obstacle_get_via(found), ==, "it has locked byte 0, as virtlockd does");
        g_assert_cmpuint(guestlock_obstacle_get_pid(found), ==, pid);
        g_assert_cmpstr(guestlock_obstacle_get_command(found), ==, "python3");
        g_assert_cmpint(guestlock_obstacle_get_mode(found), ==, GUESTLOCK_MODE_EXCLUSIVE);
        g_assert_cmpuint(guestlock_obstacle_get_owner_uid(found), ==, G_MAXUINT);
        g_assert_cmpuint(guestlock_obstacle_get_since(found), ==, 0);
        g_assert_cmpuint(guestlock_obstacle_get_generation(found), ==, 0);
        g_assert_cmpint(guestlock_obstacle_get_scope(found), ==, GUESTLOCK_SCOPE_UNKNOWN);
        g_assert_null(guestlock_obstacle_get_guest_uuid(found));
        g_assert_null(guestlock_obstacle_get_guest_name(found));
        g_assert_null(guestlock_obstacle_get_object_path(found));
        g_assert_null(guestlock_obstacle_get_name(found));
        g_assert_null(guestlock_obstacle_get_driver(found));
}

static void another_lock_manager_has_it(Fixture *f) {
        g_autoptr(GuestlockRequest) request = guestlock_request_new();
        g_autoptr(GPtrArray) who = NULL;
        g_autoptr(GPtrArray) would = NULL;
        guint pid = lock_as_virtlockd(f, f->other);
        GuestlockObstacle *found;

        guestlock_request_add_disk(request, f->other, GUESTLOCK_MODE_EXCLUSIVE);
        who = TWICE(guestlock_manager_who_holds, f->manager, (, GUESTLOCK_RESOURCE_TYPE_DISK, f->other), ());
        found = only(f, who);
        assert_is_process(found, pid);
        g_assert_null(guestlock_obstacle_get_resource(found));
        would = TWICE(guestlock_manager_test_acquire, f->manager, (, NULL, request), ());
        found = only(f, would);
        assert_is_process(found, pid);
        g_assert_cmpstr(guestlock_obstacle_get_resource(found), ==, f->other);
        /* Which is what a start runs into. */
        g_assert_null(TWICE(guestlock_manager_start_guest, f->manager, (, UUID_1, "web1", request), ()));
        assert_failed(f, CONFLICT);
        g_assert_nonnull(strstr(f->error->message, guestlock_obstacle_get_via(found)));
        fixture_end(f, pid);
        assert_nobody(f, TWICE(guestlock_manager_test_acquire, f->manager, (, NULL, request), ()));
}

/* --- what would be in the way --- */

static const char *in_the_way_of(GPtrArray *obstacles, guint i) {
        return guestlock_obstacle_get_resource(obstacles->pdata[i]);
}

static void all_that_is_in_the_way(Fixture *f) {
        g_autoptr(GuestlockGuest) holder = fixture_guest(f, UUID_1, 0);
        g_autoptr(GuestlockResource) lease =
                guestlock_resource_new_lease("key", "space", f->other, 7, GUESTLOCK_MODE_EXCLUSIVE);
        g_autoptr(GuestlockRequest) request = fixture_request(f, 0);
        g_autoptr(GuestlockRequest) leases = guestlock_request_new();
        g_autoptr(GPtrArray) would = NULL;
        guint pid = lock_as_virtlockd(f, f->other);

        guestlock_request_add_disk(request, f->other, GUESTLOCK_MODE_READONLY);
        would = TWICE(guestlock_manager_test_acquire, f->manager, (, NULL, request), ());
        assert_succeeded(f, would);
        g_assert_cmpuint(would->len, ==, 2);
        g_assert_cmpstr(in_the_way_of(would, 0), ==, f->image);
        g_assert_cmpstr(guestlock_obstacle_get_guest_uuid(would->pdata[0]), ==, UUID_1);
        g_assert_cmpstr(in_the_way_of(would, 1), ==, f->other);
        g_assert_cmpuint(guestlock_obstacle_get_pid(would->pdata[1]), ==, pid);
        fixture_end(f, pid);
        g_clear_pointer(&would, g_ptr_array_unref);
        assert_succeeded(f, TWICE(guestlock_guest_attach_resource, holder, (, lease, 0), (, NULL)));
        guestlock_request_add_resource(leases, lease);
        would = TWICE(guestlock_manager_test_acquire, f->manager, (, NULL, leases), ());
        g_assert_cmpstr(guestlock_obstacle_get_resource(only(f, would)), ==, "key");
        assert_count(f, 1, 2);
}

static void of_a_guest_that_is_there(Fixture *f) {
        g_autoptr(GuestlockGuest) holder = fixture_guest(f, UUID_1, 0);
        g_autoptr(GuestlockRequest) request = fixture_request(f, 0);
        g_autoptr(GuestlockRequest) more = guestlock_request_new();
        g_autoptr(GuestlockGuest) guest = NULL;
        g_autoptr(GPtrArray) would = NULL;

        /* What it holds is its own. */
        assert_nobody(f, TWICE(guestlock_manager_test_acquire, f->manager, (, UUID_1, request), ()));
        assert_nobody(f, TWICE(guestlock_manager_test_acquire, f->manager, (, UUID_1, NULL), ()));
        guest = TWICE(guestlock_manager_create_guest, f->manager, (, UUID_2, "web2", request), ());
        assert_succeeded(f, guest);
        /* What is registered is looked at besides what is asked about. */
        guestlock_request_add_disk(more, f->other, GUESTLOCK_MODE_EXCLUSIVE);
        guestlock_request_set_owner_uid(more, getuid());
        would = TWICE(guestlock_manager_test_acquire, f->manager, (, UUID_2, more), ());
        g_assert_cmpstr(guestlock_obstacle_get_resource(only(f, would)), ==, f->image);
        g_assert_cmpstr(guestlock_obstacle_get_object_path(only(f, would)), ==,
                        guestlock_guest_get_object_path(holder));
        guestlock_request_set_owner_uid(more, 12345);
        g_assert_null(TWICE(guestlock_manager_test_acquire, f->manager, (, UUID_2, more), ()));
        assert_failed(f, NO_SUCH_GUEST);
        g_assert_nonnull(strstr(f->error->message, "12345"));
        assert_succeeded(f, TWICE(guestlock_guest_remove, guest, (), ()));
        g_assert_null(TWICE(guestlock_manager_test_acquire, f->manager, (, UUID_2, NULL), ()));
        assert_failed(f, NO_SUCH_GUEST);
}

/* A request for starting a guest does for asking first, whatever is in it. */
static void with_all_of_a_request(Fixture *f) {
        guint pid = fixture_spawn(f);
        g_autoptr(GuestlockRequest) request = fixture_request(f, 0);
        g_autoptr(GuestlockGuest) guest = NULL;
        int pidfd = syscall(SYS_pidfd_open, pid, 0);

        if (pidfd >= 0)
                guestlock_request_set_pidfd(request, pidfd);
        else
                guestlock_request_set_pid(request, pid);
        guestlock_request_set_id(request, 7);
        guestlock_request_set_driver(request, "file");
        guestlock_request_set_require_scope(request, GUESTLOCK_SCOPE_HOST);
        guestlock_request_set_keep(request, TRUE);
        guestlock_request_set_wait(request, 60000);
        guestlock_request_set_supervisor(request, TRUE);
        guestlock_request_set_lease_state(request, "whatever");
        guestlock_request_set_paused(request, TRUE);
        f->cancellable = g_cancellable_new();
        assert_nobody(f, TWICE(guestlock_manager_test_acquire, f->manager, (, NULL, request), ()));
        assert_nobody(f, TWICE(guestlock_manager_test_acquire, f->manager, (, NULL, NULL), ()));
        assert_count(f, 0, 0);
        /* Nothing has gone from it. */
        guestlock_request_set_lease_state(request, NULL);
        guestlock_request_set_paused(request, FALSE);
        guest = TWICE(guestlock_manager_start_guest, f->manager, (, UUID_1, "web1", request), ());
        assert_succeeded(f, guest);
        g_assert_cmpuint(guestlock_guest_get_supervisor_pid(guest), ==, pid);
        if (pidfd >= 0)
                close(pidfd);
}

static void what_else_a_start_would_fail_with(Fixture *f) {
        g_autoptr(GuestlockRequest) scope = fixture_request(f, 0);
        g_autoptr(GuestlockRequest) driver = fixture_request(f, 0);
        g_autoptr(GuestlockRequest) process = fixture_request(f, 1 << 30);
        g_autoptr(GuestlockRequest) owner = fixture_request(f, 0);
        g_autoptr(GuestlockRequest) absent = guestlock_request_new();

        guestlock_request_set_require_scope(scope, GUESTLOCK_SCOPE_FENCED);
        g_assert_null(TWICE(guestlock_manager_test_acquire, f->manager, (, NULL, scope), ()));
        assert_failed(f, STORAGE_UNAVAILABLE);
        guestlock_request_set_driver(driver, "nosuch");
        g_assert_null(TWICE(guestlock_manager_test_acquire, f->manager, (, NULL, driver), ()));
        assert_failed(f, NO_SUCH_DRIVER);
        /* A guest that is there has one. */
        g_assert_null(TWICE(guestlock_manager_test_acquire, f->manager, (, UUID_1, driver), ()));
        assert_failed(f, INVALID_ARGS);
        g_assert_null(TWICE(guestlock_manager_test_acquire, f->manager, (, NULL, process), ()));
        assert_failed(f, INVALID_ARGS);
        guestlock_request_set_owner_uid(owner, getuid());
        g_assert_null(TWICE(guestlock_manager_test_acquire, f->manager, (, NULL, owner), ()));
        assert_failed(f, INVALID_ARGS);
        guestlock_request_add_disk(absent, "/nonexistent/disk.img", GUESTLOCK_MODE_EXCLUSIVE);
        g_assert_null(TWICE(guestlock_manager_test_acquire, f->manager, (, NULL, absent), ()));
        assert_failed(f, STORAGE_UNAVAILABLE);
        g_assert_nonnull(strstr(f->error->message, "/nonexistent/disk.img"));
}

/* --- under the supervisor --- */

/* Takes what was answered. */
static void assert_command(Fixture *f, char **answered, GuestlockGuest *guest, const char *joined) {
        g_autofree char *expected = g_strdup_printf("--guest=%s%s", guestlock_guest_get_object_path(guest), joined);
        g_autofree char *arguments = NULL;
        g_auto(GStrv) command = answered;

        assert_succeeded(f, command);
        arguments = g_strjoinv("|", command + 1);
        g_assert_cmpstr(arguments, ==, expected);
        g_assert_true(g_path_is_absolute(command[0]));
        g_assert_true(g_str_has_suffix(command[0], "/guestlock-supervisor"));
        g_assert_true(g_file_test(command[0], G_FILE_TEST_IS_EXECUTABLE));
}

static void supervisor_command(Fixture *f) {
        /* A file need not be called by UTF-8. */
        static const char *const qemu[] = {"qemu", "-hda", "/srv/a \xff.img", "", NULL}, *const empty[] = {NULL};
        g_autoptr(GuestlockGuest) guest = NULL;

        guest = TWICE(guestlock_manager_create_guest, f->manager, (, UUID_1, "web1", NULL), ());
        assert_succeeded(f, guest);
        assert_command(f, TWICE(guestlock_guest_get_supervisor_command, guest, (, 0, FALSE, qemu), ()), guest,
                       "|--|qemu|-hda|/srv/a \xff.img|");
        assert_command(f, TWICE(guestlock_guest_get_supervisor_command, guest, (, 1500, TRUE, qemu), ()), guest,
                       "|--orphan=keep|--wait-ms=1500|--|qemu|-hda|/srv/a \xff.img|");
        assert_command(f, TWICE(guestlock_guest_get_supervisor_command, guest, (, 0, FALSE, NULL), ()), guest, "|--");
        assert_command(f, TWICE(guestlock_guest_get_supervisor_command, guest, (, 0, FALSE, empty), ()), guest, "|--");
        g_assert_null(TWICE(guestlock_guest_get_supervisor_command, guest, (, G_MAXUINT, FALSE, qemu), ()));
        assert_failed(f, INVALID_ARGS);
        assert_succeeded(f, TWICE(guestlock_guest_remove, guest, (), ()));
        g_assert_null(TWICE(guestlock_guest_get_supervisor_command, guest, (, 0, FALSE, qemu), ()));
        assert_failed(f, UNKNOWN_OBJECT);
}

/* --- what nobody can mean --- */

static void nonsense_about_holders(Fixture *f) {
        static const struct {
                GuestlockResourceType type;
                const char *name;
                GuestlockError code;
        } questions[] = {
                {GUESTLOCK_RESOURCE_TYPE_DISK, "disk.img", GUESTLOCK_ERROR_INVALID_ARGS},
                {GUESTLOCK_RESOURCE_TYPE_DISK, "", GUESTLOCK_ERROR_INVALID_ARGS},
                {GUESTLOCK_RESOURCE_TYPE_DISK, "/srv", GUESTLOCK_ERROR_INVALID_ARGS},
                {GUESTLOCK_RESOURCE_TYPE_DISK, "/\xff.img", GUESTLOCK_ERROR_INVALID_ARGS},
                {GUESTLOCK_RESOURCE_TYPE_DISK, "/nonexistent/disk.img", GUESTLOCK_ERROR_STORAGE_UNAVAILABLE},
                {GUESTLOCK_RESOURCE_TYPE_GUEST, "web1", GUESTLOCK_ERROR_INVALID_ARGS},
                {GUESTLOCK_RESOURCE_TYPE_LEASE, "key", GUESTLOCK_ERROR_INVALID_ARGS},
                {GUESTLOCK_RESOURCE_TYPE_UNKNOWN, "/srv/disk.img", GUESTLOCK_ERROR_INVALID_ARGS},
        };

        for (gsize i = 0; i < G_N_ELEMENTS(questions); i++) {
                g_assert_null(
                        TWICE(guestlock_manager_who_holds, f->manager, (, questions[i].type, questions[i].name), ()));
                g_assert_error(f->error, GUESTLOCK_ERROR, (int) questions[i].code);
                g_assert_cmpuint(strlen(f->error->message), >, 10);
        }
}

static void nonsense_about_a_trial(Fixture *f) {
        g_autoptr(GuestlockRequest) descriptor = fixture_request(f, 0);
        g_autoptr(GuestlockRequest) bytes = guestlock_request_new();
        g_autoptr(GuestlockRequest) no_process = fixture_request(f, 0);
        int fd = open(f->other, O_RDWR | O_CLOEXEC);
        g_autoptr(GuestlockResource) disk = guestlock_resource_new_disk_fd(f->other, fd, GUESTLOCK_MODE_EXCLUSIVE);

        g_assert_null(TWICE(guestlock_manager_test_acquire, f->manager, (, "x", NULL), ()));
        assert_failed(f, INVALID_ARGS);
        g_assert_null(TWICE(guestlock_manager_test_acquire, f->manager, (, "\xff", NULL), ()));
        assert_failed(f, INVALID_ARGS);
        guestlock_request_add_disk(bytes, "/\xff.img", GUESTLOCK_MODE_EXCLUSIVE);
        g_assert_null(TWICE(guestlock_manager_test_acquire, f->manager, (, NULL, bytes), ()));
        assert_failed(f, INVALID_ARGS);
        guestlock_request_add_resource(descriptor, disk);
        g_assert_null(TWICE(guestlock_manager_test_acquire, f->manager, (, NULL, descriptor), ()));
        assert_failed(f, INVALID_ARGS);
        g_assert_nonnull(strstr(f->error->message, f->other));
        /* A descriptor of a process has to be that. */
        guestlock_request_set_pidfd(no_process, fd);
        g_assert_null(TWICE(guestlock_manager_test_acquire, f->manager, (, NULL, no_process), ()));
        assert_failed(f, INVALID_ARGS);
        close(fd);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        fixture_add_test("who/guest-has-a-disk", guest_has_a_disk);
        fixture_add_test("who/guest-is-there", guest_is_there);
        fixture_add_test("who/another-lock-manager-has-it", another_lock_manager_has_it);
        fixture_add_test("who/all-that-is-in-the-way", all_that_is_in_the_way);
        fixture_add_test("who/of-a-guest-that-is-there", of_a_guest_that_is_there);
        fixture_add_test("who/with-all-of-a-request", with_all_of_a_request);
        fixture_add_test("who/what-else-a-start-would-fail-with", what_else_a_start_would_fail_with);
        fixture_add_test("who/supervisor-command", supervisor_command);
        fixture_add_test("who/nonsense-about-holders", nonsense_about_holders);
        fixture_add_test("who/nonsense-about-a-trial", nonsense_about_a_trial);
        return g_test_run();
}
