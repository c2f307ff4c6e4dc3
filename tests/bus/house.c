/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "house-private.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "core/error.h"
#include "storage/workers-private.h"

/*
 * Files are in one directory per program, which a child of it removes as soon as the program has ended, however it did.
 */

#define LITTLE 20 /* ms in which whatever could happen has happened */

static char *base_dir;

/* --- files --- */

static void remove_tree(const char *path) {
        g_autoptr(GDir) dir = g_file_test(path, G_FILE_TEST_IS_SYMLINK) ? NULL : g_dir_open(path, 0, NULL);
        const char *name;

        while (dir && (name = g_dir_read_name(dir))) {
                g_autofree char *child = g_build_filename(path, name, NULL);

                remove_tree(child);
        }
        g_remove(path);
}

static void start_janitor(const char *path) {
        int ends[2];

        g_assert_cmpint(pipe2(ends, O_CLOEXEC), ==, 0);
        if (fork() == 0) {
                char byte;

                setsid();
                close(ends[1]);
                while (read(ends[0], &byte, 1) < 0 && errno == EINTR)
                        ;
                remove_tree(path);
                _exit(0);
        }
        close(ends[0]); /* the other end is open until the program ends */
}

void house_init(int *argc, char ***argv) {
        g_autofree char *made = NULL;

        g_test_init(argc, argv, NULL);
        if (geteuid() != 0) {
                g_print("1..0 # SKIP needs root: callers of several users are played\n");
                exit(77);
        }
        umask(022); /* those users have to get at the files, whatever the tester's own umask */
        made = g_dir_make_tmp("guestlock-bus-XXXXXX", NULL);
        g_assert_nonnull(made);
        base_dir = realpath(made, NULL);
        g_assert_cmpint(chmod(base_dir, 0755), ==, 0);
        start_janitor(base_dir);
}

const char *house_keep(House *house, char *string) {
        g_ptr_array_add(house->strings, string);
        return string;
}

const char *house_path(House *house, const char *name) {
        return house_keep(house, g_build_filename(house->dir, name, NULL));
}

const char *house_file(House *house, const char *name) {
        const char *path = house_path(house, name);
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);

        g_assert_cmpint(fd, >=, 0);
        g_assert_cmpint(fchmod(fd, 0666), ==, 0);
        close(fd);
        return path;
}

static void wait_at_gate(gpointer data) {
        eventfd_t count;

        g_assert_cmpint(eventfd_read(((House *) data)->gate, &count), ==, 0);
}

static void gate_passed(gpointer data) {
        ((House *) data)->gate_passed = TRUE;
}

void house_block_storage(House *house) {
        GlWorkers *workers = gl_service_workers(house->service);
        g_autofree char *storage = gl_workers_storage_of(workers, house->dir);

        g_assert_cmpint(house->gate, <, 0);
        house->gate = eventfd(0, EFD_CLOEXEC);
        house->gate_passed = FALSE;
        g_assert_true(gl_workers_submit(workers, storage, 0, wait_at_gate, gate_passed, house, NULL));
}

void house_unblock_storage(House *house) {
        g_assert_cmpint(eventfd_write(house->gate, 1), ==, 0);
        fixture_run_until(house->event, house->gate_passed);
        close(house->gate);
        house->gate = -1;
}

/* --- system calls --- */

gboolean has_openat2(void) {
        struct open_how how = {.flags = O_PATH | O_CLOEXEC};
        long fd = syscall(SYS_openat2, AT_FDCWD, "/", &how, sizeof how);

        if (fd >= 0)
                close((int) fd);
        return fd >= 0;
}

gboolean skip_without_openat2(void) {
        if (has_openat2())
                return FALSE;
        g_test_skip("no openat2() here (valgrind 3.19 lacks it)");
        return TRUE;
}

gboolean skip_without_pidfd(void) {
        long fd = syscall(SYS_pidfd_open, getpid(), 0);

        if (fd >= 0) {
                close((int) fd);
                return FALSE;
        }
        g_test_skip("no pidfd_open() here (valgrind 3.19 lacks it)");
        return TRUE;
}

/* --- processes --- */

static void become(gpointer uid) {
        uid_t id = GPOINTER_TO_UINT(uid);

        if (setresuid(id, id, id) < 0)
                _exit(1);
        fixture_die_with_parent(NULL);
}

guint32 house_spawn(House *house, guint32 uid) {
        g_autoptr(GError) error = NULL;
        GPid pid;

        g_spawn_async("/", (char *[]){(char *) "/bin/sleep", (char *) "1000", NULL}, NULL, G_SPAWN_DO_NOT_REAP_CHILD,
                      become, GUINT_TO_POINTER(uid), &pid, &error);
        g_assert_no_error(error);
        g_array_append_val(house->children, pid);
        return (guint32) pid;
}

void house_kill(House *house, guint32 pid) {
        for (guint i = 0; i < house->children->len; i++) {
                GPid *child = &g_array_index(house->children, GPid, i);

                if (*child != (GPid) pid)
                        continue;
                kill(*child, SIGKILL);
                waitpid(*child, NULL, 0);
                *child = 0;
        }
}

static void kill_all(House *house) {
        for (guint i = 0; i < house->children->len; i++)
                if (g_array_index(house->children, GPid, i) > 0)
                        house_kill(house, (guint32) g_array_index(house->children, GPid, i));
        g_array_unref(house->children);
}

/* --- the bus --- */

guint32 house_uid_of(const char *sender) {
        return (guint32) g_ascii_strtoull(strrchr(sender, '.') + 1, NULL, 10);
}

static int answer_credentials(sd_bus_message *call) {
        const char *name;
        guint32 uid;

        fixture_must(sd_bus_message_read(call, "s", &name));
        uid = house_uid_of(name);
        return sd_bus_reply_method_return(call, "a{sv}", 2, "UnixUserID", "u", uid, "UnixGroupIDs", "au", 1, uid);
}

static int on_message(sd_bus_message *message, void *user_data, sd_bus_error *unused) {
        static const char bus[] = "org.freedesktop.DBus";
        House *house = user_data;
        guint8 type;

        fixture_must(sd_bus_message_get_type(message, &type));
        if (type == SD_BUS_MESSAGE_SIGNAL) {
                house_log_signal(house, message);
                return 1;
        }
        if (sd_bus_message_is_method_call(message, bus, "Hello"))
                return sd_bus_reply_method_return(message, "s", ":1.999");
        if (sd_bus_message_is_method_call(message, bus, "AddMatch"))
                return sd_bus_reply_method_return(message, NULL);
        if (sd_bus_message_is_method_call(message, bus, "GetConnectionCredentials"))
                return answer_credentials(message);
        g_error("The service has sent something unexpected: %s.", sd_bus_message_get_member(message));
}

void house_leave(House *house, const char *sender) {
        sd_bus_message *signal;

        fixture_must(sd_bus_message_new_signal(house->bus, &signal, "/org/freedesktop/DBus", "org.freedesktop.DBus",
                                               "NameOwnerChanged"));
        fixture_must(sd_bus_message_set_sender(signal, "org.freedesktop.DBus"));
        fixture_must(sd_bus_message_append(signal, "sss", sender, sender, ""));
        fixture_must(sd_bus_send(house->bus, signal, NULL));
        sd_bus_message_unref(signal);
}

void house_pretend(House *house, guint32 uid) {
        gl_bus_pretend_caller(gl_service_bus(house->service), uid);
}

/* What a thread is still at when the service goes is left behind, as it would be by one that hangs, and is a leak. */
static void await_workers(House *house) {
        const GlWorkers *workers = gl_service_workers(house->service);

        fixture_run_until(house->event, workers->pieces.length == 0);
}

void house_settle(House *house) {
        fixture_settle(house->event, LITTLE);
}

/* --- the house --- */

static GlService *new_service(House *house) {
        const GlServiceOptions options = {
                .configuration = &house->configuration,
                .host_id = "id-of-kvm1",
                .host_name = "kvm1",
                .supervisor = "/usr/libexec/guestlock-supervisor",
                .driver_dir = house_path(house, "drivers"),
        };
        g_autoptr(GError) error = NULL;
        GlService *service = gl_service_new(house->event, &options, &error);

        g_assert_no_error(error);
        gl_service_add_driver(service, house->driver);
        return service;
}

static void move_in(House *house) {
        g_autoptr(GError) error = NULL;
        sd_bus *services;

        fixture_pair_open(&house->pair, house->event, !house->direct);
        house->bus = house->direct ? house->pair.client : house->pair.server;
        services = house->direct ? house->pair.server : house->pair.client;
        fixture_must(sd_bus_add_filter(house->bus, NULL, on_message, house));
        gl_service_connect(house->service, services, house_polkit_new(house), &error);
        g_assert_no_error(error);
        fixture_run_until(house->event, sd_bus_is_ready(services) > 0 && sd_bus_is_ready(house->bus) > 0);
}

static House *new_house(const GlLimits *limits, gboolean direct) {
        g_autofree char *template = g_build_filename(base_dir, "XXXXXX", NULL);
        House *house = g_new0(House, 1);

        g_assert_nonnull(g_mkdtemp_full(template, 0755));
        house->dir = g_steal_pointer(&template);
        house->direct = direct;
        house->gate = -1;
        house->log = g_string_new(NULL);
        house->questions = g_string_new(NULL);
        house->says = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        house_say(house, NULL, SAY_YES, SAY_YES);
        house->open = g_ptr_array_new();
        house->calls = g_ptr_array_new_with_free_func(house_call_free);
        house->strings = g_ptr_array_new_with_free_func(g_free);
        house->children = g_array_new(FALSE, FALSE, sizeof(GPid));
        house->configuration = (GlConfiguration){.default_driver = (char *) "fake",
                                                 .limits = *limits,
                                                 .max_calls_per_uid = 256,
                                                 .max_dialogs_per_uid = 4,
                                                 .max_stuck_per_uid = 8,
                                                 .max_worker_threads = 8,
                                                 .max_worker_threads_per_uid = 8};
        fixture_must(sd_event_new(&house->event));
        house->driver = gl_fake_driver_new();
        house->service = new_service(house);
        move_in(house);
        return house;
}

House *house_new_with(const GlLimits *limits) {
        return new_house(limits, FALSE);
}

House *house_new(void) {
        GlLimits limits;

        gl_limits_set_defaults(&limits);
        return house_new_with(&limits);
}

House *house_new_direct(void) {
        GlLimits limits;

        gl_limits_set_defaults(&limits);
        return new_house(&limits, TRUE);
}

void house_free(House *house) {
        if (!house)
                return;
        if (house->gate >= 0)
                house_unblock_storage(house);
        await_workers(house);
        gl_fake_driver_hold_jobs(house->driver, FALSE);
        gl_fake_driver_release_jobs(house->driver);
        gl_service_free(house->service);
        g_assert_cmpuint(house->open->len, ==, 0); /* whoever asks polkit takes his question back */
        g_ptr_array_unref(house->calls);
        fixture_pair_close(&house->pair);
        kill_all(house);
        sd_event_unref(house->event);
        remove_tree(house->dir);
        g_string_free(house->log, TRUE);
        g_string_free(house->questions, TRUE);
        g_hash_table_unref(house->says);
        g_ptr_array_unref(house->open);
        g_ptr_array_unref(house->strings);
        g_free(house->dir);
        g_free(house);
}
