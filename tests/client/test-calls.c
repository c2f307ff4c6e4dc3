/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client-fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Every call of the library on the service, once blocking and once in the background. */

static void manager_knows_the_service(Fixture *f) {
        g_autofree char *version = NULL;
        gboolean running, interactive = TRUE;

        g_object_get(f->manager, "running", &running, "version", &version, "interactive", &interactive, NULL);
        g_assert_true(running);
        g_assert_false(interactive);
        g_assert_cmpstr(version, ==, guestlock_manager_get_version(f->manager));
        g_assert_cmpstr(guestlock_manager_get_host_name(f->manager), ==, g_get_host_name());
        g_assert_cmpstr(guestlock_manager_get_host_id(f->manager), !=, NULL);
        g_assert_cmpstr(guestlock_manager_get_default_driver(f->manager), ==, "file");
}

static void another_manager(Fixture *f) {
        g_autoptr(GuestlockManager) manager = NULL;

        fixture_forget_error(f);
        if (f->blocking) {
                manager = guestlock_manager_new_sync(NULL, &f->error);
        } else {
                guestlock_manager_new_async(NULL, fixture_done, f);
                manager = guestlock_manager_new_finish(fixture_result(f), &f->error);
        }
        assert_succeeded(f, manager);
        g_assert_true(guestlock_manager_get_running(manager));
        g_assert_cmpstr(guestlock_manager_get_default_driver(manager), ==, "file");
        g_assert_true(manager != f->manager);
}

static void guest_starts_and_ends(Fixture *f) {
        guint pid = fixture_spawn(f);
        g_autoptr(GuestlockRequest) request = fixture_request(f, pid);
        g_autoptr(GuestlockGuest) guest = NULL;
        g_autoptr(GuestlockGuest) again = NULL;

        guestlock_request_add_disk(request, f->other, GUESTLOCK_MODE_READONLY);
        guestlock_request_set_id(request, 7);
        guest = TWICE(guestlock_manager_start_guest, f->manager, (, UUID_1, "web1", request), ());
        assert_succeeded(f, guest);
        fixture_hear(f, guest);
        g_assert_cmpint(guestlock_guest_get_state(guest), ==, GUESTLOCK_STATE_HELD);
        g_assert_cmpstr(guestlock_guest_get_uuid(guest), ==, UUID_1);
        g_assert_cmpstr(guestlock_guest_get_name(guest), ==, "web1");
        g_assert_cmpstr(guestlock_guest_get_driver(guest), ==, "file");
        g_assert_cmpstr(guestlock_guest_get_origin(guest), ==, "started");
        g_assert_cmpuint(guestlock_guest_get_id(guest), ==, 7);
        g_assert_cmpuint(guestlock_guest_get_pid(guest), ==, pid);
        g_assert_cmpuint(guestlock_guest_get_owner_uid(guest), ==, getuid());
        g_assert_cmpuint(guestlock_guest_get_supervisor_pid(guest), ==, 0);
        g_assert_cmpuint(guestlock_guest_get_generation(guest), >, 0);
        g_assert_cmpuint(guestlock_guest_get_acquired_at(guest), >, 0);
        g_assert_cmpint(guestlock_guest_get_on_lease_lost(guest), ==, GUESTLOCK_ACTION_NOTIFY);
        g_assert_false(guestlock_guest_get_waiting(guest));
        g_assert_true(guestlock_guest_get_manager(guest) == f->manager);
        /* The same call is the same guest. */
        again = TWICE(guestlock_manager_start_guest, f->manager, (, UUID_1, "web1", request), ());
        assert_succeeded(f, again);
        g_assert_true(again == guest);

        assert_succeeded(f, !TWICE(guestlock_guest_shutdown, guest, (, GUESTLOCK_SHUTDOWN_FLAGS_NONE), ()) &&
                                    g_error_matches(f->error, GUESTLOCK_ERROR, GUESTLOCK_ERROR_GUEST_RUNNING) &&
                                    (fixture_forget_error(f), TRUE));
        fixture_end(f, pid);
        /* Each when its last writes have landed. */
        fixture_wait_heard(f, "released:guest-exited:disk ");
        fixture_wait_heard(f, "released:guest-exited:disk ");
        fixture_wait_state(f, guest, GUESTLOCK_STATE_GONE);
}

static void conflict_names_the_holder(Fixture *f) {
        g_autoptr(GuestlockGuest) holder = fixture_guest(f, UUID_1, 0);
        g_autoptr(GuestlockRequest) request = fixture_request(f, 0);

        g_assert_null(TWICE(guestlock_manager_start_guest, f->manager, (, UUID_2, "web2", request), ()));
        assert_failed(f, CONFLICT);
        g_assert_true(g_str_has_prefix(f->error->message, "Disk \""));
        g_assert_nonnull(strstr(f->error->message, "guest \"web1\" (" UUID_1));
        g_assert_null(TWICE(guestlock_manager_get_guest, f->manager, (, UUID_2), ()));
        assert_failed(f, NO_SUCH_GUEST);
        assert_succeeded(f, TWICE(guestlock_guest_shutdown, holder, (, GUESTLOCK_SHUTDOWN_FLAGS_NONE), ()));
        g_assert_cmpint(guestlock_guest_get_state(holder), ==, GUESTLOCK_STATE_GONE);
}

static void guest_begins_paused(Fixture *f) {
        guint pid = fixture_spawn(f);
        g_autoptr(GuestlockRequest) request = fixture_request(f, 0);
        g_autoptr(GuestlockGuest) guest = NULL;
        int pidfd = syscall(SYS_pidfd_open, pid, 0);

        if (pidfd >= 0)
                guestlock_request_set_pidfd(request, pidfd);
        else
                guestlock_request_set_pid(request, pid);
        guestlock_request_set_paused(request, TRUE);
        guest = TWICE(guestlock_manager_start_guest, f->manager, (, UUID_1, "web1", request), ());
        assert_succeeded(f, guest);
        if (pidfd >= 0)
                close(pidfd);
        fixture_hear(f, guest);
        g_assert_cmpint(guestlock_guest_get_state(guest), ==, GUESTLOCK_STATE_NEW);
        g_assert_cmpuint(guestlock_guest_get_pid(guest), ==, pid);
        assert_succeeded(f, TWICE(guestlock_guest_resume, guest, (, NULL), ()));
        g_assert_cmpint(guestlock_guest_get_state(guest), ==, GUESTLOCK_STATE_HELD);
        fixture_wait_heard(f, "acquired:disk:exclusive ");
        assert_succeeded(f, TWICE(guestlock_guest_pause, guest, (), ()));
        g_assert_cmpint(guestlock_guest_get_state(guest), ==, GUESTLOCK_STATE_RELEASED);
        fixture_wait_heard(f, "released:released:disk ");
        assert_succeeded(f, TWICE(guestlock_guest_resume, guest, (, NULL), ()));
        assert_succeeded(f, TWICE(guestlock_guest_pause, guest, (), ()));
        /* Somebody writes to it meanwhile. */
        assert_succeeded(f, g_file_set_contents(f->image, "written", -1, NULL));
        g_assert_false(TWICE(guestlock_guest_resume, guest, (, NULL), ()));
        assert_failed(f, STALE);
        assert_succeeded(f, TWICE(guestlock_guest_shutdown, guest, (, GUESTLOCK_SHUTDOWN_FLAGS_KILL), ()));
        /* It was started, and goes with what it was started for. */
        g_assert_cmpint(guestlock_guest_get_state(guest), ==, GUESTLOCK_STATE_GONE);
}

static void nothing_stays_of_steps_that_fail(Fixture *f) {
        g_autoptr(GuestlockGuest) holder = fixture_guest(f, UUID_1, 0);
        g_autoptr(GuestlockRequest) request = guestlock_request_new();
        g_autoptr(GuestlockResource) disk = NULL;
        int fd = open(f->image, O_RDWR | O_CLOEXEC);
        guint guests = 0, leases = 0;

        disk = guestlock_resource_new_disk_fd(f->image, fd, GUESTLOCK_MODE_EXCLUSIVE);
        close(fd);
        guestlock_request_add_resource(request, disk);
        g_assert_null(TWICE(guestlock_manager_start_guest, f->manager, (, UUID_2, "web2", request), ()));
        assert_failed(f, CONFLICT);
        g_assert_nonnull(strstr(f->error->message, guestlock_guest_get_uuid(holder)));
        assert_succeeded(f, TWICE(guestlock_manager_count, f->manager, (), (, &guests, &leases)));
        g_assert_cmpuint(guests, ==, 1);
        g_assert_cmpuint(leases, ==, 1);
}

static void descriptors(Fixture *f) {
        g_autoptr(GuestlockRequest) request = guestlock_request_new();
        g_autoptr(GPtrArray) wanted = g_ptr_array_new_with_free_func(g_object_unref);
        g_autoptr(GuestlockGuest) guest = NULL;
        g_autoptr(GUnixFDList) locks = NULL;
        g_autoptr(GUnixFDList) again = NULL;
        guint64 generation = 0;
        int fd = open(f->image, O_RDWR | O_CLOEXEC), other = open(f->other, O_RDONLY | O_CLOEXEC);

        g_ptr_array_add(wanted, guestlock_resource_new_disk_fd(f->image, fd, GUESTLOCK_MODE_EXCLUSIVE));
        guestlock_request_add_resource(request, wanted->pdata[0]);
        guest = TWICE(guestlock_manager_start_guest, f->manager, (, UUID_1, "web1", request), ());
        assert_succeeded(f, guest);
        g_ptr_array_add(wanted, guestlock_resource_new_disk_fd(f->other, other, GUESTLOCK_MODE_READONLY));
        assert_succeeded(f, TWICE(guestlock_guest_register_resource, guest, (, wanted->pdata[1]), ()));
        locks = TWICE(guestlock_guest_acquire_inherit, guest, (, NULL, wanted), (, &generation));
        assert_succeeded(f, locks);
        g_assert_cmpint(g_unix_fd_list_get_length(locks), ==, 2);
        g_assert_cmpuint(generation, ==, guestlock_guest_get_generation(guest));
        again = TWICE(guestlock_guest_acquire_inherit, guest, (, NULL, NULL), (, NULL));
        assert_succeeded(f, again);
        g_assert_cmpint(g_unix_fd_list_get_length(again), ==, 2);
        close(fd);
        close(other);
}

static void one_by_one(Fixture *f) {
        g_autoptr(GuestlockRequest) request = guestlock_request_new();
        g_autoptr(GuestlockResource) disk = guestlock_resource_new_disk(f->image, GUESTLOCK_MODE_EXCLUSIVE);
        g_autoptr(GuestlockGuest) guest = NULL;
        g_autofree char *nothing = NULL, *held = NULL, *state = NULL;
        guint64 generation = 0;

        guest = TWICE(guestlock_manager_create_guest, f->manager, (, UUID_1, "web1", request), ());
        assert_succeeded(f, guest);
        fixture_hear(f, guest);
        g_assert_cmpint(guestlock_guest_get_state(guest), ==, GUESTLOCK_STATE_NEW);
        g_assert_null(TWICE(guestlock_manager_create_guest, f->manager, (, UUID_1, "web1", NULL), ()));
        assert_failed(f, ALREADY_EXISTS);
        assert_succeeded(f, TWICE(guestlock_guest_register_resource, guest, (, disk), ()));
        g_assert_false(TWICE(guestlock_guest_register_resource, guest, (, disk), ()));
        assert_failed(f, ALREADY_REGISTERED);
        nothing = TWICE(guestlock_guest_inquire, guest, (), ());
        g_assert_cmpstr(nothing, ==, "");
        assert_succeeded(f, TWICE(guestlock_guest_acquire, guest, (, NULL), (, &generation)));
        g_assert_cmpuint(generation, ==, guestlock_guest_get_generation(guest));
        fixture_wait_heard(f, "acquired:disk:exclusive ");
        held = TWICE(guestlock_guest_inquire, guest, (), ());
        g_assert_cmpuint(strlen(held), >, 10);
        state = TWICE(guestlock_guest_release, guest, (), ());
        assert_succeeded(f, state);
        g_assert_cmpint(guestlock_guest_get_state(guest), ==, GUESTLOCK_STATE_RELEASED);
        guestlock_request_set_lease_state(request, state);
        assert_succeeded(f, TWICE(guestlock_guest_acquire, guest, (, request), (, NULL)));
        guestlock_request_add_resource(request, disk);
        g_assert_false(TWICE(guestlock_guest_acquire, guest, (, request), (, NULL)));
        assert_failed(f, INVALID_ARGS);
        g_assert_false(TWICE(guestlock_guest_remove, guest, (), ()));
        assert_failed(f, BAD_STATE);
        assert_succeeded(f, TWICE(guestlock_guest_shutdown, guest, (, GUESTLOCK_SHUTDOWN_FLAGS_NONE), ()));
        assert_succeeded(f, TWICE(guestlock_guest_remove, guest, (), ()));
        g_assert_false(TWICE(guestlock_guest_remove, guest, (), ()));
        assert_failed(f, UNKNOWN_OBJECT);
}

static void plugging(Fixture *f) {
        g_autoptr(GuestlockGuest) guest = fixture_guest(f, UUID_1, 0);
        g_autoptr(GuestlockResource) disk = guestlock_resource_new_disk(f->other, GUESTLOCK_MODE_READONLY);
        g_autoptr(GuestlockResource) raised = guestlock_resource_new_disk(f->other, GUESTLOCK_MODE_EXCLUSIVE);
        g_autoptr(GuestlockResource) lease =
                guestlock_resource_new_lease("key", "space", f->other, 7, GUESTLOCK_MODE_EXCLUSIVE);
        g_autoptr(GPtrArray) resources = NULL;
        GuestlockResource *found;
        guint64 generation = 0;

        fixture_hear(f, guest);
        assert_succeeded(f, TWICE(guestlock_guest_attach_resource, guest, (, disk, 100), (, &generation)));
        g_assert_cmpuint(generation, >, 0);
        fixture_wait_heard(f, "acquired:disk:readonly ");
        fixture_wait_heard(f, "resources-changed ");
        assert_succeeded(f, TWICE(guestlock_guest_attach_resource, guest, (, raised, 0), (, NULL)));
        resources = TWICE(guestlock_guest_list_resources, guest, (), ());
        assert_succeeded(f, resources);
        g_assert_cmpuint(resources->len, ==, 2);
        found = resources->pdata[1];
        g_assert_cmpint(guestlock_resource_get_resource_type(found), ==, GUESTLOCK_RESOURCE_TYPE_DISK);
        g_assert_cmpstr(guestlock_resource_get_name(found), ==, f->other);
        g_assert_cmpint(guestlock_resource_get_mode(found), ==, GUESTLOCK_MODE_EXCLUSIVE);
        g_assert_cmpint(guestlock_resource_get_state(found), ==, GUESTLOCK_RESOURCE_STATE_HELD);
        g_assert_cmpint(guestlock_resource_get_scope(found), ==, GUESTLOCK_SCOPE_HOST);
        g_assert_cmpstr(guestlock_resource_get_scope_reason(found), !=, NULL);
        g_assert_cmpstr(guestlock_resource_get_driver(found), ==, "file");
        g_assert_cmpstr(guestlock_resource_get_kept_by(found), !=, NULL);
        g_assert_cmpuint(guestlock_resource_get_generation(found), >=, generation);
        g_assert_cmpuint(guestlock_resource_get_since(found), >, 0);
        g_assert_cmpuint(guestlock_resource_get_registered_by(found), ==, getuid());
        g_assert_false(guestlock_resource_get_path_moved(found));
        g_assert_null(guestlock_resource_get_held_open_by(found));
        assert_succeeded(f,
                         TWICE(guestlock_guest_detach_resource, guest, (, GUESTLOCK_RESOURCE_TYPE_DISK, f->other), ()));
        g_assert_false(TWICE(guestlock_guest_detach_resource, guest, (, GUESTLOCK_RESOURCE_TYPE_DISK, f->other), ()));
        assert_failed(f, NO_SUCH_RESOURCE);
        assert_succeeded(f, TWICE(guestlock_guest_attach_resource, guest, (, lease, 0), (, NULL)));
        assert_succeeded(f,
                         TWICE(guestlock_guest_detach_resource, guest, (, GUESTLOCK_RESOURCE_TYPE_LEASE, "key"), ()));
}

static void parameters_and_children(Fixture *f) {
        guint supervisor = fixture_spawn(f), pid = fixture_spawn(f), found = 0;
        g_autoptr(GuestlockRequest) request = fixture_request(f, supervisor);
        g_autoptr(GuestlockGuest) guest = NULL;

        guestlock_request_set_supervisor(request, TRUE);
        guestlock_request_set_keep(request, TRUE);
        guest = TWICE(guestlock_manager_start_guest, f->manager, (, UUID_1, "web1", request), ());
        assert_succeeded(f, guest);
        g_assert_cmpuint(guestlock_guest_get_supervisor_pid(guest), ==, supervisor);
        g_assert_false(TWICE(guestlock_guest_get_child, guest, (, 0), (, &found)));
        assert_failed(f, NO_CHILD);
        assert_succeeded(f, TWICE(guestlock_guest_set_child, guest, (, pid, -1), ()));
        assert_succeeded(f, TWICE(guestlock_guest_get_child, guest, (, 100), (, &found)));
        g_assert_cmpuint(found, ==, pid);
        g_assert_cmpuint(guestlock_guest_get_pid(guest), ==, pid);
        assert_succeeded(f, TWICE(guestlock_guest_set_parameter, guest, (, "name", g_variant_new_string("web2")), ()));
        g_assert_cmpstr(guestlock_guest_get_name(guest), ==, "web2");
        g_assert_false(TWICE(guestlock_guest_set_parameter, guest, (, "colour", g_variant_new_string("red")), ()));
        assert_failed(f, INVALID_ARGS);
        assert_succeeded(f, TWICE(guestlock_guest_restrict, guest, (), ()));
        assert_succeeded(f, TWICE(guestlock_guest_refresh, guest, (), ()));
        assert_succeeded(f, TWICE(guestlock_guest_shutdown, guest, (, GUESTLOCK_SHUTDOWN_FLAGS_KILL), ()));
        g_assert_cmpint(guestlock_guest_get_state(guest), ==, GUESTLOCK_STATE_RELEASED);
}

/* Of two processes of a guest that has ended, the supervisor is left: it is not the guest's any more, and lives. */
static void supervisor_is_left(Fixture *f) {
        guint supervisor = fixture_spawn(f);
        g_autoptr(GuestlockRequest) request = fixture_request(f, supervisor);
        g_autoptr(GuestlockGuest) guest = NULL;

        guestlock_request_set_supervisor(request, TRUE);
        guestlock_request_set_keep(request, TRUE);
        guest = TWICE(guestlock_manager_start_guest, f->manager, (, UUID_1, "web1", request), ());
        assert_succeeded(f, guest);
        assert_succeeded(f, TWICE(guestlock_guest_shutdown, guest, (, GUESTLOCK_SHUTDOWN_FLAGS_LEAVE_SUPERVISOR), ()));
        g_assert_cmpint(guestlock_guest_get_state(guest), ==, GUESTLOCK_STATE_RELEASED);
        g_assert_cmpuint(guestlock_guest_get_supervisor_pid(guest), ==, 0);
        g_usleep(20000);
        g_assert_cmpint(kill(supervisor, 0), ==, 0);
        g_assert_true(g_subprocess_get_identifier(f->children->pdata[0]) != NULL);
}

static void revoking(Fixture *f) {
        guint pid = fixture_spawn(f);
        g_autoptr(GuestlockGuest) guest = fixture_guest(f, UUID_1, pid);

        fixture_hear(f, guest);
        assert_succeeded(
                f, TWICE(guestlock_guest_revoke, guest,
                         (, GUESTLOCK_RESOURCE_TYPE_DISK, f->image, "maintenance", GUESTLOCK_REVOKE_FLAGS_NONE), ()));
        g_assert_cmpint(guestlock_guest_get_state(guest), ==, GUESTLOCK_STATE_LOST);
        fixture_wait_heard(f, "lost:disk:revoked:notify:maintenance ");
        assert_succeeded(f, TWICE(guestlock_guest_acquire, guest, (, NULL), (, NULL)));
        g_assert_cmpint(guestlock_guest_get_state(guest), ==, GUESTLOCK_STATE_HELD);
        assert_succeeded(f,
                         TWICE(guestlock_guest_revoke, guest,
                               (, GUESTLOCK_RESOURCE_TYPE_UNKNOWN, NULL, "the end", GUESTLOCK_REVOKE_FLAGS_KILL), ()));
        fixture_wait_state(f, guest, GUESTLOCK_STATE_GONE);
}

static void finding(Fixture *f) {
        guint pid = fixture_spawn(f);
        g_autoptr(GuestlockGuest) guest = fixture_guest(f, UUID_1, pid);
        g_autoptr(GuestlockGuest) by_uuid = NULL;
        g_autoptr(GuestlockGuest) by_pid = NULL;
        g_autoptr(GuestlockGuest) attached = NULL;
        g_autoptr(GPtrArray) all = NULL;

        by_uuid = TWICE(guestlock_manager_get_guest, f->manager, (, UUID_1), ());
        g_assert_true(by_uuid == guest);
        by_pid = TWICE(guestlock_manager_get_guest_by_pid, f->manager, (, pid), ());
        g_assert_true(by_pid == guest);
        attached = TWICE(guestlock_manager_attach_guest, f->manager, (, UUID_1, pid), ());
        g_assert_true(attached == guest);
        g_assert_null(TWICE(guestlock_manager_attach_guest, f->manager, (, UUID_1, 1), ()));
        assert_failed(f, STALE);
        g_assert_null(TWICE(guestlock_manager_get_guest_by_pid, f->manager, (, 1), ()));
        assert_failed(f, NO_SUCH_GUEST);
        all = TWICE(guestlock_manager_list_guests, f->manager, (), ());
        assert_succeeded(f, all);
        g_assert_cmpuint(all->len, ==, 1);
        g_assert_true(all->pdata[0] == guest);
}

static void drivers(Fixture *f) {
        g_autoptr(GPtrArray) list = TWICE(guestlock_manager_list_drivers, f->manager, (), ());

        assert_succeeded(f, list);
        g_assert_cmpuint(list->len, ==, 1);
        g_assert_cmpstr(guestlock_driver_get_name(list->pdata[0]), ==, "file");
        g_assert_true(g_strv_contains(guestlock_driver_get_capabilities(list->pdata[0]), "hotplug"));
        assert_succeeded(f, TWICE(guestlock_manager_load_driver, f->manager, (, "guest-only"), ()));
        assert_succeeded(f, TWICE(guestlock_manager_unload_driver, f->manager, (, "guest-only"), ()));
        g_assert_false(TWICE(guestlock_manager_unload_driver, f->manager, (, "file"), ()));
        assert_failed(f, NOT_SUPPORTED);
        g_assert_false(TWICE(guestlock_manager_load_driver, f->manager, (, "nosuch"), ()));
        assert_failed(f, NO_SUCH_DRIVER);
}

static void nonsense(Fixture *f) {
        g_autoptr(GuestlockRequest) request = guestlock_request_new();
        guint guests = 1;

        g_assert_null(TWICE(guestlock_manager_start_guest, f->manager, (, "x", "web1", NULL), ()));
        assert_failed(f, INVALID_ARGS);
        guestlock_request_add_disk(request, "/\xff.img", GUESTLOCK_MODE_EXCLUSIVE);
        g_assert_null(TWICE(guestlock_manager_start_guest, f->manager, (, UUID_1, "web1", request), ()));
        assert_failed(f, INVALID_ARGS);
        g_assert_nonnull(strstr(f->error->message, ".img"));
        g_assert_null(TWICE(guestlock_manager_create_guest, f->manager, (, UUID_1, "web1", request), ()));
        assert_failed(f, INVALID_ARGS);
        assert_succeeded(f, TWICE(guestlock_manager_count, f->manager, (), (, &guests, NULL)));
        g_assert_cmpuint(guests, ==, 0);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        fixture_add_test("calls/manager-knows-the-service", manager_knows_the_service);
        fixture_add_test("calls/another-manager", another_manager);
        fixture_add_test("calls/guest-starts-and-ends", guest_starts_and_ends);
        fixture_add_test("calls/conflict-names-the-holder", conflict_names_the_holder);
        fixture_add_test("calls/guest-begins-paused", guest_begins_paused);
        fixture_add_test("calls/nothing-stays-of-steps-that-fail", nothing_stays_of_steps_that_fail);
        fixture_add_test("calls/descriptors", descriptors);
        fixture_add_test("calls/one-by-one", one_by_one);
        fixture_add_test("calls/plugging", plugging);
        fixture_add_test("calls/parameters-and-children", parameters_and_children);
        fixture_add_test("calls/supervisor-is-left", supervisor_is_left);
        fixture_add_test("calls/revoking", revoking);
        fixture_add_test("calls/finding", finding);
        fixture_add_test("calls/drivers", drivers);
        fixture_add_test("calls/nonsense", nonsense);
        return g_test_run();
}
