/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client-fixture.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

/* Calls that are cancelled, a service that is killed under them and comes back, and one that cannot be had. */

#define IN_FLIGHT_MS 50

static gpointer cancel_later(gpointer cancellable) {
        g_usleep(IN_FLIGHT_MS * 1000);
        g_cancellable_cancel(cancellable);
        return NULL;
}

static GThread *begin_cancelling(Fixture *f) {
        g_clear_object(&f->cancellable);
        f->cancellable = g_cancellable_new();
        return g_thread_new("cancel", cancel_later, f->cancellable);
}

static void assert_cancelled(Fixture *f) {
        g_assert_error(f->error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
        g_clear_object(&f->cancellable);
}

static void cancelled_before(Fixture *f) {
        g_autoptr(GuestlockGuest) guest = fixture_guest(f, UUID_1, 0);

        f->cancellable = g_cancellable_new();
        g_cancellable_cancel(f->cancellable);
        g_assert_null(TWICE(guestlock_manager_start_guest, f->manager, (, UUID_2, "web2", NULL), ()));
        g_assert_error(f->error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
        g_assert_null(TWICE(guestlock_manager_who_holds, f->manager, (, GUESTLOCK_RESOURCE_TYPE_DISK, f->image), ()));
        g_assert_error(f->error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
        g_assert_null(TWICE(guestlock_guest_release, guest, (), ()));
        assert_cancelled(f);
        g_assert_cmpint(guestlock_guest_get_state(guest), ==, GUESTLOCK_STATE_HELD);
        g_assert_null(TWICE(guestlock_manager_get_guest, f->manager, (, UUID_2), ()));
        assert_failed(f, NO_SUCH_GUEST);
}

static void cancelled_in_flight(Fixture *f) {
        g_autoptr(GuestlockGuest) guest = fixture_guest(f, UUID_1, 0);
        g_autoptr(GuestlockResource) disk = guestlock_resource_new_disk(f->other, GUESTLOCK_MODE_SHARED);
        GPid service = fixture_service(f);

        g_assert_cmpint(kill(service, SIGSTOP), ==, 0);
        for (int i = 0; i < 7; i++) {
                GThread *thread = begin_cancelling(f);

                if (i == 0)
                        g_assert_null(TWICE(guestlock_manager_start_guest, f->manager, (, UUID_2, "web2", NULL), ()));
                else if (i == 1)
                        g_assert_null(TWICE(guestlock_manager_list_guests, f->manager, (), ()));
                else if (i == 2)
                        g_assert_false(TWICE(guestlock_guest_attach_resource, guest, (, disk, 1000), (, NULL)));
                else if (i == 3)
                        g_assert_null(TWICE(guestlock_guest_inquire, guest, (), ()));
                else if (i == 4)
                        g_assert_null(TWICE(guestlock_manager_who_holds, f->manager,
                                            (, GUESTLOCK_RESOURCE_TYPE_DISK, f->image), ()));
                else if (i == 5)
                        g_assert_null(TWICE(guestlock_manager_test_acquire, f->manager, (, UUID_1, NULL), ()));
                else
                        g_assert_null(TWICE(guestlock_guest_get_supervisor_command, guest, (, 0, FALSE, NULL), ()));
                assert_cancelled(f);
                g_thread_join(thread);
        }
        g_assert_cmpint(kill(service, SIGCONT), ==, 0);
        /* What was sent was not taken back, and the service is none the worse for it. */
        fixture_wait_state(f, guest, GUESTLOCK_STATE_HELD);
        assert_succeeded(f, TWICE(guestlock_guest_shutdown, guest, (, GUESTLOCK_SHUTDOWN_FLAGS_NONE), ()));
}

/* The one who gave up is not served when it would be his turn. */
static void cancelled_in_a_queue(Fixture *f) {
        g_autoptr(GuestlockGuest) holder = fixture_guest(f, UUID_1, 0);
        g_autoptr(GuestlockRequest) request = fixture_request(f, 0);
        g_autoptr(GuestlockGuest) next = NULL;
        g_autoptr(GPtrArray) all = NULL;
        GThread *thread;

        guestlock_request_set_wait(request, 60000);
        thread = begin_cancelling(f);
        g_assert_null(TWICE(guestlock_manager_start_guest, f->manager, (, UUID_2, "web2", request), ()));
        assert_cancelled(f);
        g_thread_join(thread);
        assert_succeeded(f, TWICE(guestlock_guest_shutdown, holder, (, GUESTLOCK_SHUTDOWN_FLAGS_NONE), ()));
        guestlock_request_set_wait(request, 0);
        next = TWICE(guestlock_manager_start_guest, f->manager, (, UUID_1, "next", request), ());
        assert_succeeded(f, next);
        all = TWICE(guestlock_manager_list_guests, f->manager, (), ());
        assert_succeeded(f, all);
        g_assert_cmpuint(all->len, ==, 1);
}

static gpointer end_holder(gpointer data) {
        g_autoptr(GuestlockManager) manager = guestlock_manager_new_sync(NULL, NULL);
        g_autoptr(GuestlockGuest) holder = guestlock_manager_get_guest_sync(manager, UUID_1, NULL, NULL);

        g_usleep(IN_FLIGHT_MS * 1000);
        g_assert_true(guestlock_guest_shutdown_sync(holder, GUESTLOCK_SHUTDOWN_FLAGS_NONE, NULL, NULL));
        return NULL;
}

/* With a cancellable that nobody uses, over a connection of its own: and the guest is up to date all the same. */
static void waited(Fixture *f) {
        g_autoptr(GuestlockGuest) holder = fixture_guest(f, UUID_1, 0);
        g_autoptr(GuestlockRequest) request = guestlock_request_new();
        g_autoptr(GuestlockResource) disk = guestlock_resource_new_disk(f->image, GUESTLOCK_MODE_EXCLUSIVE);
        g_autoptr(GuestlockGuest) guest = NULL;
        GThread *thread;

        guest = TWICE(guestlock_manager_create_guest, f->manager, (, UUID_2, "web2", NULL), ());
        assert_succeeded(f, guest);
        assert_succeeded(f, TWICE(guestlock_guest_register_resource, guest, (, disk), ()));
        guestlock_request_set_wait(request, 10);
        g_assert_false(TWICE(guestlock_guest_acquire, guest, (, request), (, NULL)));
        assert_failed(f, TIMEOUT);
        g_assert_nonnull(strstr(f->error->message, guestlock_guest_get_uuid(holder)));
        guestlock_request_set_wait(request, 20000);
        f->cancellable = g_cancellable_new();
        thread = g_thread_new("end", end_holder, NULL);
        assert_succeeded(f, TWICE(guestlock_guest_acquire, guest, (, request), (, NULL)));
        g_assert_cmpint(guestlock_guest_get_state(guest), ==, GUESTLOCK_STATE_HELD);
        g_thread_join(thread);
}

/* --- the service is killed between call and reply --- */

#define KILLED(call)                                                                                                   \
        do {                                                                                                           \
                GThread *thread_ = fixture_kill_in_flight(f, IN_FLIGHT_MS);                                            \
                assert_succeeded(f, call);                                                                             \
                g_thread_join(thread_);                                                                                \
        } while (0)

static void killed_under_manager_calls(Fixture *f) {
        guint pid = fixture_spawn(f), guests = 0;
        g_autoptr(GuestlockRequest) request = fixture_request(f, pid);
        g_autoptr(GuestlockGuest) guest = NULL;
        g_autoptr(GuestlockGuest) other = NULL;
        g_autoptr(GuestlockGuest) found = NULL;
        g_autoptr(GPtrArray) list = NULL;
        g_autoptr(GPtrArray) drivers = NULL;
        g_autoptr(GPtrArray) who = NULL;
        g_autoptr(GPtrArray) would = NULL;

        KILLED((guest = TWICE(guestlock_manager_start_guest, f->manager, (, UUID_1, "web1", request), ())));
        g_assert_cmpint(guestlock_guest_get_state(guest), ==, GUESTLOCK_STATE_HELD);
        KILLED((other = TWICE(guestlock_manager_create_guest, f->manager, (, UUID_2, "web2", NULL), ())));
        KILLED((found = TWICE(guestlock_manager_get_guest, f->manager, (, UUID_1), ())));
        g_assert_true(found == guest);
        g_clear_object(&found);
        KILLED((found = TWICE(guestlock_manager_get_guest_by_pid, f->manager, (, pid), ())));
        g_clear_object(&found);
        KILLED((found = TWICE(guestlock_manager_attach_guest, f->manager, (, UUID_1, pid), ())));
        KILLED((list = TWICE(guestlock_manager_list_guests, f->manager, (), ())));
        g_assert_cmpuint(list->len, ==, 2);
        KILLED((drivers = TWICE(guestlock_manager_list_drivers, f->manager, (), ())));
        KILLED((who = TWICE(guestlock_manager_who_holds, f->manager, (, GUESTLOCK_RESOURCE_TYPE_DISK, f->image), ())));
        g_assert_cmpuint(who->len, ==, 1);
        g_assert_cmpstr(guestlock_obstacle_get_guest_uuid(who->pdata[0]), ==, UUID_1);
        KILLED((would = TWICE(guestlock_manager_test_acquire, f->manager, (, UUID_2, request), ())));
        g_assert_cmpuint(would->len, ==, 1);
        g_assert_cmpstr(guestlock_obstacle_get_resource(would->pdata[0]), ==, f->image);
        KILLED(TWICE(guestlock_manager_count, f->manager, (), (, &guests, NULL)));
        g_assert_cmpuint(guests, ==, 2);
        KILLED(TWICE(guestlock_manager_load_driver, f->manager, (, "guest-only"), ()));
        KILLED(TWICE(guestlock_manager_unload_driver, f->manager, (, "guest-only"), ()));
}

static void killed_under_guest_calls(Fixture *f) {
        guint pid = fixture_spawn(f), child = 0;
        g_autoptr(GuestlockResource) disk = guestlock_resource_new_disk(f->image, GUESTLOCK_MODE_EXCLUSIVE);
        g_autoptr(GuestlockResource) other = guestlock_resource_new_disk(f->other, GUESTLOCK_MODE_SHARED);
        g_autoptr(GuestlockRequest) process = guestlock_request_new();
        g_autoptr(GuestlockGuest) guest = NULL;
        g_autoptr(GPtrArray) resources = NULL;
        g_autoptr(GUnixFDList) locks = NULL;
        g_autofree char *state = NULL, *again = NULL;
        g_auto(GStrv) command = NULL;

        guest = TWICE(guestlock_manager_create_guest, f->manager, (, UUID_1, "web1", NULL), ());
        assert_succeeded(f, guest);
        guestlock_request_set_pid(process, pid);
        KILLED(TWICE(guestlock_guest_set_parameter, guest, (, "on-lease-lost", g_variant_new_string("notify")), ()));
        KILLED(TWICE(guestlock_guest_register_resource, guest, (, disk), ()));
        KILLED(TWICE(guestlock_guest_acquire, guest, (, process), (, NULL)));
        KILLED((locks = TWICE(guestlock_guest_acquire_inherit, guest, (, process, NULL), (, NULL))));
        KILLED(TWICE(guestlock_guest_get_child, guest, (, 1000), (, &child)));
        KILLED(TWICE(guestlock_guest_attach_resource, guest, (, other, 1000), (, NULL)));
        KILLED((resources = TWICE(guestlock_guest_list_resources, guest, (), ())));
        g_assert_cmpuint(resources->len, ==, 2);
        KILLED(TWICE(guestlock_guest_detach_resource, guest, (, GUESTLOCK_RESOURCE_TYPE_DISK, f->other), ()));
        KILLED((state = TWICE(guestlock_guest_inquire, guest, (), ())));
        KILLED((again = TWICE(guestlock_guest_release, guest, (), ())));
        g_assert_cmpint(guestlock_guest_get_state(guest), ==, GUESTLOCK_STATE_RELEASED);
        KILLED(TWICE(guestlock_guest_resume, guest, (, NULL), ()));
        KILLED(TWICE(guestlock_guest_pause, guest, (), ()));
        KILLED((command = TWICE(guestlock_guest_get_supervisor_command, guest, (, 0, TRUE, NULL), ())));
        g_assert_cmpuint(g_strv_length(command), ==, 4);
        KILLED(TWICE(guestlock_guest_acquire, guest, (, NULL), (, NULL)));
        KILLED(TWICE(guestlock_guest_revoke, guest,
                     (, GUESTLOCK_RESOURCE_TYPE_DISK, f->image, "why", GUESTLOCK_REVOKE_FLAGS_NONE), ()));
        g_assert_cmpint(guestlock_guest_get_state(guest), ==, GUESTLOCK_STATE_LOST);
        KILLED(TWICE(guestlock_guest_restrict, guest, (), ()));
        KILLED(TWICE(guestlock_guest_shutdown, guest, (, GUESTLOCK_SHUTDOWN_FLAGS_KILL), ()));
        KILLED(TWICE(guestlock_guest_remove, guest, (), ()));
        fixture_wait_state(f, guest, GUESTLOCK_STATE_GONE);
}

static void killed_while_it_waits(Fixture *f) {
        g_autoptr(GuestlockGuest) holder = fixture_guest(f, UUID_1, 0);
        g_autoptr(GuestlockRequest) request = fixture_request(f, 0);

        guestlock_request_set_wait(request, 200);
        f->cancellable = g_cancellable_new();
        for (int i = 0; i < 2; i++) {
                GThread *thread = fixture_kill_in_flight(f, IN_FLIGHT_MS);

                g_assert_null(TWICE(guestlock_manager_start_guest, f->manager, (, UUID_2, "web2", request), ()));
                assert_failed(f, TIMEOUT);
                g_assert_nonnull(strstr(f->error->message, guestlock_guest_get_uuid(holder)));
                g_thread_join(thread);
        }
}

/* --- the service goes and comes back --- */

static void running_changed(GuestlockManager *manager, GParamSpec *spec, gpointer data) {
        g_string_append(((Fixture *) data)->heard, guestlock_manager_get_running(manager) ? "running " : "away ");
}

static void restarted_with_leases(Fixture *f) {
        guint pid = fixture_spawn(f);
        g_autoptr(GuestlockGuest) guest = fixture_guest(f, UUID_1, pid);
        g_autoptr(GuestlockGuest) ends = NULL;
        guint64 generation = guestlock_guest_get_generation(guest);
        GPid service = fixture_service(f);

        ends = TWICE(guestlock_manager_create_guest, f->manager, (, UUID_2, "web2", NULL), ());
        assert_succeeded(f, ends);
        fixture_hear(f, guest);
        g_signal_connect(f->manager, "notify::running", G_CALLBACK(running_changed), f);
        g_assert_cmpint(kill(service, SIGKILL), ==, 0);
        fixture_wait_heard(f, "away ");
        g_assert_cmpint(guestlock_guest_get_state(guest), ==, GUESTLOCK_STATE_UNKNOWN);
        g_assert_cmpstr(guestlock_guest_get_uuid(guest), ==, UUID_1);
        /* Any call brings it back. */
        assert_succeeded(f, TWICE(guestlock_guest_remove, ends, (), ()));
        fixture_wait_heard(f, "running ");
        g_assert_cmpint(guestlock_guest_get_state(guest), ==, GUESTLOCK_STATE_HELD);
        g_assert_cmpint(guestlock_guest_get_state(ends), ==, GUESTLOCK_STATE_GONE);
        g_assert_cmpuint(guestlock_guest_get_generation(guest), ==, generation);
        g_assert_cmpstr(guestlock_guest_get_origin(guest), ==, "adopted");
        /* It still hears. */
        fixture_end(f, pid);
        fixture_wait_heard(f, "released:guest-exited:disk ");
        fixture_wait_state(f, guest, GUESTLOCK_STATE_GONE);
        g_signal_handlers_disconnect_by_data(f->manager, f);
}

static void guest_that_ended_meanwhile(Fixture *f) {
        guint pid = fixture_spawn(f), guests = 1;
        g_autoptr(GuestlockGuest) guest = fixture_guest(f, UUID_1, pid);

        g_assert_cmpint(kill(fixture_service(f), SIGKILL), ==, 0);
        fixture_wait_state(f, guest, GUESTLOCK_STATE_UNKNOWN);
        fixture_end(f, pid);
        assert_succeeded(f, TWICE(guestlock_manager_count, f->manager, (), (, &guests, NULL)));
        fixture_wait_state(f, guest, GUESTLOCK_STATE_GONE);
}

static void added(GuestlockManager *manager, GuestlockGuest *guest, gpointer data) {
        g_string_append_printf(((Fixture *) data)->heard, "added:%s ", guestlock_guest_get_name(guest));
}

static void removed(GuestlockManager *manager, GuestlockGuest *guest, gpointer data) {
        g_string_append_printf(((Fixture *) data)->heard, "removed:%s ", guestlock_guest_get_name(guest));
}

static void guests_of_others(Fixture *f) {
        g_autoptr(GuestlockManager) other = guestlock_manager_new_sync(NULL, &f->error);
        g_autoptr(GuestlockGuest) guest = NULL;

        g_signal_connect(f->manager, "guest-added", G_CALLBACK(added), f);
        g_signal_connect(f->manager, "guest-removed", G_CALLBACK(removed), f);
        guest = TWICE(guestlock_manager_create_guest, other, (, UUID_1, "others", NULL), ());
        assert_succeeded(f, guest);
        fixture_wait_heard(f, "added:others ");
        g_clear_object(&guest);
        guest = TWICE(guestlock_manager_get_guest, f->manager, (, UUID_1), ());
        assert_succeeded(f, guest);
        assert_succeeded(f, TWICE(guestlock_guest_remove, guest, (), ()));
        fixture_wait_heard(f, "removed:others ");
        g_signal_handlers_disconnect_by_data(f->manager, f);
}

/* --- there is none --- */

static void no_bus(Fixture *f) {
        g_autofree char *address = g_strdup(g_getenv("DBUS_SYSTEM_BUS_ADDRESS"));
        GuestlockManager *manager;

        g_setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus", TRUE);
        fixture_forget_error(f);
        if (f->blocking) {
                manager = guestlock_manager_new_sync(NULL, &f->error);
        } else {
                guestlock_manager_new_async(NULL, fixture_done, f);
                manager = guestlock_manager_new_finish(fixture_result(f), &f->error);
        }
        g_setenv("DBUS_SYSTEM_BUS_ADDRESS", address, TRUE);
        g_assert_null(manager);
        assert_failed(f, UNAVAILABLE);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        fixture_add_test("trouble/cancelled-before", cancelled_before);
        fixture_add_test("trouble/cancelled-in-flight", cancelled_in_flight);
        fixture_add_test("trouble/cancelled-in-a-queue", cancelled_in_a_queue);
        fixture_add_test("trouble/waited", waited);
        fixture_add_test("trouble/killed-under-manager-calls", killed_under_manager_calls);
        fixture_add_test("trouble/killed-under-guest-calls", killed_under_guest_calls);
        fixture_add_test("trouble/killed-while-it-waits", killed_while_it_waits);
        fixture_add_test("trouble/restarted-with-leases", restarted_with_leases);
        fixture_add_test("trouble/guest-that-ended-meanwhile", guest_that_ended_meanwhile);
        fixture_add_test("trouble/guests-of-others", guests_of_others);
        fixture_add_test("trouble/no-bus", no_bus);
        return g_test_run();
}
