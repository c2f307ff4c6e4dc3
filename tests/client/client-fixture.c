/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client-fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <glib/gstdio.h>

/* Under valgrind, where others want the processor too, everything takes long. */
#define PATIENCE_S 120

/* --- waiting --- */

static gboolean out_of_patience(gpointer data) {
        g_error("waited %d s in vain", PATIENCE_S);
        return G_SOURCE_REMOVE;
}

static GSource *begin_patience(Fixture *f) {
        GSource *source = g_timeout_source_new_seconds(PATIENCE_S);

        g_source_set_callback(source, out_of_patience, NULL, NULL);
        g_source_attach(source, f->context);
        return source;
}

static void end_patience(GSource *source) {
        g_source_destroy(source);
        g_source_unref(source);
}

void fixture_wait(Fixture *f, const gboolean *flag) {
        GSource *patience = begin_patience(f);

        while (!*flag)
                g_main_context_iteration(f->context, TRUE);
        end_patience(patience);
}

void fixture_wait_state(Fixture *f, GuestlockGuest *guest, GuestlockState state) {
        GSource *patience = begin_patience(f);

        while (guestlock_guest_get_state(guest) != state)
                g_main_context_iteration(f->context, TRUE);
        end_patience(patience);
}

void fixture_wait_heard(Fixture *f, const char *word) {
        GSource *patience = begin_patience(f);
        char *found;

        while (!(found = strstr(f->heard->str, word)))
                g_main_context_iteration(f->context, TRUE);
        end_patience(patience);
        g_string_erase(f->heard, found - f->heard->str, strlen(word));
}

void fixture_forget_error(Fixture *f) {
        g_clear_error(&f->error);
        g_clear_object(&f->result);
}

void fixture_done(GObject *source, GAsyncResult *result, gpointer data) {
        Fixture *f = data;

        g_assert_null(f->result);
        /* It comes from the loop, never from inside the call. */
        g_assert_true(g_main_context_is_owner(f->context));
        f->result = g_object_ref(result);
}

GAsyncResult *fixture_result(Fixture *f) {
        GSource *patience = begin_patience(f);

        g_assert_null(f->result);
        while (!f->result)
                g_main_context_iteration(f->context, TRUE);
        end_patience(patience);
        return f->result;
}

/* --- signals --- */

static const char *nick(GType type, int value) {
        g_autoptr(GEnumClass) class = g_type_class_ref(type);

        return g_enum_get_value(class, value)->value_nick;
}

static void acquired(GuestlockGuest *guest, guint64 generation, GPtrArray *leases, gpointer data) {
        Fixture *f = data;

        for (guint i = 0; i < leases->len; i++)
                g_string_append_printf(
                        f->heard, "acquired:%s:%s ",
                        nick(GUESTLOCK_TYPE_RESOURCE_TYPE, guestlock_resource_get_resource_type(leases->pdata[i])),
                        nick(GUESTLOCK_TYPE_MODE, guestlock_resource_get_mode(leases->pdata[i])));
}

static void released(GuestlockGuest *guest, GuestlockReleaseReason reason, GPtrArray *leases, gpointer data) {
        Fixture *f = data;

        for (guint i = 0; i < leases->len; i++)
                g_string_append_printf(
                        f->heard, "released:%s:%s ", nick(GUESTLOCK_TYPE_RELEASE_REASON, reason),
                        nick(GUESTLOCK_TYPE_RESOURCE_TYPE, guestlock_resource_get_resource_type(leases->pdata[i])));
}

static void lost(GuestlockGuest *guest, GuestlockResourceType type, const char *name, GuestlockLossReason reason,
                 GuestlockAction action, guint64 remaining, const char *message, gpointer data) {
        Fixture *f = data;

        g_assert_cmpstr(name, ==, f->image);
        g_string_append_printf(f->heard, "lost:%s:%s:%s:%s ", nick(GUESTLOCK_TYPE_RESOURCE_TYPE, type),
                               nick(GUESTLOCK_TYPE_LOSS_REASON, reason), nick(GUESTLOCK_TYPE_ACTION, action), message);
}

static void resources_changed(GuestlockGuest *guest, gpointer data) {
        g_string_append(((Fixture *) data)->heard, "resources-changed ");
}

void fixture_hear(Fixture *f, GuestlockGuest *guest) {
        g_signal_connect(guest, "leases-acquired", G_CALLBACK(acquired), f);
        g_signal_connect(guest, "leases-released", G_CALLBACK(released), f);
        g_signal_connect(guest, "lease-lost", G_CALLBACK(lost), f);
        g_signal_connect(guest, "resources-changed", G_CALLBACK(resources_changed), f);
}

/* --- processes --- */

guint fixture_spawn(Fixture *f) {
        GError *error = NULL;
        GSubprocess *child = g_subprocess_new(G_SUBPROCESS_FLAGS_STDIN_PIPE, &error, "cat", NULL);

        g_assert_no_error(error);
        g_ptr_array_add(f->children, child);
        return atoi(g_subprocess_get_identifier(child));
}

void fixture_end(Fixture *f, guint pid) {
        for (guint i = 0; i < f->children->len; i++) {
                const char *identifier = g_subprocess_get_identifier(f->children->pdata[i]);

                if (identifier && (guint) atoi(identifier) == pid) {
                        g_subprocess_force_exit(f->children->pdata[i]);
                        g_subprocess_wait(f->children->pdata[i], NULL, NULL);
                        return;
                }
        }
        g_assert_not_reached();
}

static void end_child(gpointer child) {
        g_subprocess_force_exit(child);
        g_subprocess_wait(child, NULL, NULL);
        g_object_unref(child);
}

GPid fixture_service(Fixture *f) {
        g_autofree char *output = NULL;
        g_autoptr(GError) error = NULL;
        int status;

        g_spawn_command_line_sync(
                "busctl --system call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus "
                "GetConnectionUnixProcessID s org.guestlock1",
                &output, NULL, &status, &error);
        g_assert_no_error(error);
        g_assert_cmpint(status, ==, 0);
        return atoi(output + strlen("u "));
}

typedef struct {
        GPid pid;
        guint milliseconds;
} Kill;

static gpointer kill_later(gpointer data) {
        g_autofree Kill *kill_this = data;

        g_usleep(kill_this->milliseconds * 1000);
        kill(kill_this->pid, SIGKILL);
        return NULL;
}

GThread *fixture_kill_in_flight(Fixture *f, guint milliseconds) {
        Kill *data = g_new(Kill, 1);

        *data = (Kill){.pid = fixture_service(f), .milliseconds = milliseconds};
        g_assert_cmpint(kill(data->pid, SIGSTOP), ==, 0);
        return g_thread_new("kill", kill_later, data);
}

/* --- a test --- */

GuestlockRequest *fixture_request(Fixture *f, guint pid) {
        GuestlockRequest *request = guestlock_request_new();

        guestlock_request_add_disk(request, f->image, GUESTLOCK_MODE_EXCLUSIVE);
        guestlock_request_set_on_lease_lost(request, GUESTLOCK_ACTION_NOTIFY);
        guestlock_request_set_pid(request, pid);
        return request;
}

GuestlockGuest *fixture_guest(Fixture *f, const char *uuid, guint pid) {
        g_autoptr(GuestlockRequest) request = fixture_request(f, pid);
        g_autoptr(GError) error = NULL;
        GuestlockGuest *guest = guestlock_manager_start_guest_sync(f->manager, uuid, "web1", request, NULL, &error);

        g_assert_no_error(error);
        return guest;
}

static char *make_image(const char *directory, const char *name) {
        char *path = g_build_filename(directory, name, NULL);
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

        g_assert_cmpint(fd, >=, 0);
        g_assert_cmpint(ftruncate(fd, 1 << 20), ==, 0);
        close(fd);
        return path;
}

static void set_up(Fixture *f, gconstpointer data) {
        g_autoptr(GError) error = NULL;

        f->context = g_main_context_new();
        g_main_context_push_thread_default(f->context);
        f->manager = guestlock_manager_new_sync(NULL, &error);
        g_assert_no_error(error);
        f->directory = g_build_filename(g_getenv("GUESTLOCK_TMP"), "client-XXXXXX", NULL);
        g_assert_nonnull(g_mkdtemp(f->directory));
        f->image = make_image(f->directory, "disk.img");
        f->other = make_image(f->directory, "other.img");
        f->children = g_ptr_array_new_with_free_func(end_child);
        f->heard = g_string_new(NULL);
}

/* Whatever the test has left: its guests end with their processes, or by root's word. */
static void end_guests(Fixture *f) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GPtrArray) guests = guestlock_manager_list_guests_sync(f->manager, NULL, &error);

        g_assert_no_error(error);
        for (guint i = 0; i < guests->len; i++) {
                g_signal_handlers_disconnect_by_data(guests->pdata[i], f);
                guestlock_guest_shutdown_sync(guests->pdata[i], GUESTLOCK_SHUTDOWN_FLAGS_KILL, NULL, NULL);
                guestlock_guest_remove_sync(guests->pdata[i], NULL, NULL);
        }
}

static void tear_down(Fixture *f, gconstpointer data) {
        gint64 deadline;

        fixture_forget_error(f);
        end_guests(f);
        g_ptr_array_unref(f->children);
        /* Nothing keeps the manager alive: no operation that is still under way, no guest. */
        g_object_add_weak_pointer(G_OBJECT(f->manager), (gpointer *) &f->manager);
        g_object_unref(f->manager);
        deadline = g_get_monotonic_time() + PATIENCE_S * G_USEC_PER_SEC;
        while (f->manager && g_get_monotonic_time() < deadline) {
                g_main_context_iteration(f->context, FALSE);
                g_usleep(1000);
        }
        g_assert_null(f->manager);
        g_clear_object(&f->cancellable);
        g_unlink(f->image);
        g_unlink(f->other);
        g_rmdir(f->directory);
        g_free(f->image);
        g_free(f->other);
        g_free(f->directory);
        g_string_free(f->heard, TRUE);
        g_main_context_pop_thread_default(f->context);
        while (g_main_context_iteration(f->context, FALSE))
                ;
        g_main_context_unref(f->context);
}

static void run_blocking(Fixture *f, gconstpointer test) {
        f->blocking = TRUE;
        ((FixtureTest) test)(f);
}

static void run_in_background(Fixture *f, gconstpointer test) {
        ((FixtureTest) test)(f);
}

void fixture_add_test(const char *name, FixtureTest test) {
        g_autofree char *blocking = g_strdup_printf("/%s/blocking", name);
        g_autofree char *background = g_strdup_printf("/%s/background", name);

        g_test_add(blocking, Fixture, test, set_up, run_blocking, tear_down);
        g_test_add(background, Fixture, test, set_up, run_in_background, tear_down);
}
