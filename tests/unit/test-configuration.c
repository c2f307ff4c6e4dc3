/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "configuration.h"

#include <glib/gstdio.h>
#include <string.h>

#include "core/error.h"

typedef struct {
        char *directory, *more, *path;
} Fixture;

static void setup(Fixture *fixture, gconstpointer data) {
        fixture->directory = g_dir_make_tmp("guestlock-test-XXXXXX", NULL);
        fixture->more = g_build_filename(fixture->directory, "conf.d", NULL);
        fixture->path = g_build_filename(fixture->directory, "guestlockd.conf", NULL);
        g_assert_cmpint(g_mkdir(fixture->more, 0700), ==, 0);
}

static void empty_directory(const char *path) {
        g_autoptr(GDir) directory = g_dir_open(path, 0, NULL);
        const char *name;

        while (directory && (name = g_dir_read_name(directory))) {
                g_autofree char *file = g_build_filename(path, name, NULL);

                g_remove(file);
        }
}

static void teardown(Fixture *fixture, gconstpointer data) {
        empty_directory(fixture->more);
        empty_directory(fixture->directory);
        g_rmdir(fixture->directory);
        g_free(fixture->path);
        g_free(fixture->more);
        g_free(fixture->directory);
}

static void put(Fixture *fixture, const char *text) {
        g_assert_true(g_file_set_contents(fixture->path, text, -1, NULL));
}

static void put_more(Fixture *fixture, const char *name, const char *text) {
        g_autofree char *path = g_build_filename(fixture->more, name, NULL);

        g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

static GlConfiguration *load(Fixture *fixture) {
        g_autoptr(GError) error = NULL;
        GlConfiguration *configuration = gl_configuration_load(fixture->path, &error);

        g_assert_no_error(error);
        return configuration;
}

static void expect_refused(Fixture *fixture, const char *const *words) {
        g_autoptr(GError) error = NULL;

        g_assert_null(gl_configuration_load(fixture->path, &error));
        g_assert_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS);
        for (guint i = 0; words[i]; i++)
                if (!strstr(error->message, words[i]))
                        g_error("\"%s\" does not say \"%s\"", error->message, words[i]);
        g_assert_true(g_str_has_suffix(error->message, "."));
}

static void assert_defaults(const GlConfiguration *configuration) {
        GlLimits limits;

        gl_limits_set_defaults(&limits);
        g_assert_cmpstr(configuration->default_driver, ==, "file");
        g_assert_cmpint(configuration->on_lease_lost, ==, GL_LOSS_PAUSE);
        g_assert_cmpint(configuration->require_scope, ==, GL_SCOPE_MOUNT);
        g_assert_cmpuint(configuration->check_interval, ==, 60 * G_USEC_PER_SEC);
        g_assert_null(configuration->host_name);
        g_assert_cmpuint(configuration->limits.guests_per_uid, ==, limits.guests_per_uid);
        g_assert_cmpuint(configuration->limits.guests, ==, limits.guests);
        g_assert_cmpuint(configuration->limits.resources_per_guest, ==, limits.resources_per_guest);
        g_assert_cmpuint(configuration->limits.unbound_guests_per_uid, ==, limits.unbound_guests_per_uid);
        g_assert_cmpuint(configuration->limits.waiting_per_uid, ==, limits.waiting_per_uid);
        g_assert_cmpuint(configuration->limits.string_bytes, ==, limits.string_bytes);
        g_assert_cmpuint(configuration->limits.path_bytes, ==, limits.path_bytes);
        g_assert_cmpuint(configuration->limits.guest_bytes, ==, limits.guest_bytes);
        g_assert_cmpuint(configuration->limits.uid_bytes, ==, limits.uid_bytes);
        g_assert_cmpuint(configuration->limits.storage_timeout, ==, limits.storage_timeout);
        g_assert_cmpuint(configuration->max_calls_per_uid, ==, 256);
        g_assert_cmpuint(configuration->max_dialogs_per_uid, ==, 4);
        g_assert_cmpuint(configuration->max_stuck_per_uid, ==, 8);
        g_assert_cmpuint(configuration->max_worker_threads, ==, 64);
        g_assert_cmpuint(configuration->max_worker_threads_per_uid, ==, 8);
}

static void test_empty_is_the_defaults(Fixture *fixture, gconstpointer data) {
        g_autoptr(GlConfiguration) configuration = NULL;

        put(fixture, "# nothing\n");
        configuration = load(fixture);
        assert_defaults(configuration);
        g_assert_cmpuint(configuration->files->len, ==, 1);
}

/* The file that is installed has every key in a comment, with its default. */
static void test_documented_defaults_are_the_defaults(Fixture *fixture, gconstpointer data) {
        g_autoptr(GlConfiguration) configuration = NULL;
        g_autoptr(GRegex) commented = g_regex_new("^#([A-Za-z]+=)", G_REGEX_MULTILINE, 0, NULL);
        g_autofree char *text = NULL, *active = NULL;
        guint n = 0;

        g_assert_true(g_file_get_contents(SOURCE_ROOT "/policy/guestlockd.conf", &text, NULL, NULL));
        active = g_regex_replace(commented, text, -1, 0, "\\1", 0, NULL);
        for (const char *at = active; (at = strchr(at, '=')); at++)
                n++;
        g_assert_cmpuint(n, >=, 19);
        put(fixture, active);
        configuration = load(fixture);
        assert_defaults(configuration);
}

static void test_every_key(Fixture *fixture, gconstpointer data) {
        g_autoptr(GlConfiguration) configuration = NULL;

        put(fixture, "[guestlock]\nDefaultDriver = sanlock \nOnLeaseLost=kill\nRequireScope=shared\nCheckIntervalSec=86400\nHostName=kvm1.lan\n"
                     "LockspaceDirectory=/srv/files\nLvmLockspaceDirectory=/srv/lvm\nScsiLockspaceDirectory=/srv/scsi\n"
                     "[limits]\nMaxGuestsPerUid=1\nMaxGuests=2\nMaxResourcesPerGuest=3\nMaxUnboundGuestsPerUid=0\n"
                     "MaxWaitingPerUid=5\nMaxDialogsPerUid=6\nMaxStringBytes=7\nMaxPathBytes=4095\n"
                     "MaxBytesPerGuest=4096\nMaxBytesPerUid=1073741824\nMaxStuckPerUid=9\nMaxWorkerThreads=10\n"
                     "MaxWorkerThreadsPerUid=12\nMaxCallsPerUid=13\nStorageTimeoutSec=11\n");
        configuration = load(fixture);
        g_assert_cmpstr(configuration->default_driver, ==, "sanlock");
        g_assert_cmpint(configuration->on_lease_lost, ==, GL_LOSS_KILL);
        g_assert_cmpint(configuration->require_scope, ==, GL_SCOPE_SHARED);
        g_assert_cmpuint(configuration->check_interval, ==, 86400 * G_GUINT64_CONSTANT(1000000));
        g_assert_cmpstr(configuration->host_name, ==, "kvm1.lan");
        g_assert_cmpstr(configuration->lockspace_directory, ==, "/srv/files");
        g_assert_cmpstr(configuration->lvm_lockspace_directory, ==, "/srv/lvm");
        g_assert_cmpstr(configuration->scsi_lockspace_directory, ==, "/srv/scsi");
        g_assert_cmpuint(configuration->limits.guests_per_uid, ==, 1);
        g_assert_cmpuint(configuration->limits.guests, ==, 2);
        g_assert_cmpuint(configuration->limits.resources_per_guest, ==, 3);
        g_assert_cmpuint(configuration->limits.unbound_guests_per_uid, ==, 0);
        g_assert_cmpuint(configuration->limits.waiting_per_uid, ==, 5);
        g_assert_cmpuint(configuration->max_dialogs_per_uid, ==, 6);
        g_assert_cmpuint(configuration->limits.string_bytes, ==, 7);
        g_assert_cmpuint(configuration->limits.path_bytes, ==, 4095);
        g_assert_cmpuint(configuration->limits.guest_bytes, ==, 4096);
        g_assert_cmpuint(configuration->limits.uid_bytes, ==, 1073741824);
        g_assert_cmpuint(configuration->max_stuck_per_uid, ==, 9);
        g_assert_cmpuint(configuration->max_worker_threads, ==, 10);
        g_assert_cmpuint(configuration->max_worker_threads_per_uid, ==, 12);
        g_assert_cmpuint(configuration->max_calls_per_uid, ==, 13);
        g_assert_cmpuint(configuration->limits.storage_timeout, ==, 11 * G_USEC_PER_SEC);
        g_assert_cmpuint(configuration->limits.foreign_retry, ==, 250000);
}

static void test_later_files_win_key_by_key(Fixture *fixture, gconstpointer data) {
        g_autoptr(GlConfiguration) configuration = NULL;

        put(fixture, "[guestlock]\nHostName=main\nOnLeaseLost=kill\n[limits]\nMaxGuests=5\n");
        put_more(fixture, "20-b.conf", "[limits]\nMaxGuests=20\n[guestlock]\nHostName=\n");
        put_more(fixture, "10-a.conf", "[limits]\nMaxGuests=10\nMaxStuckPerUid=2\n");
        put_more(fixture, "30-c.conf.dpkg-old", "nonsense");
        put_more(fixture, ".40-d.conf", "nonsense");
        configuration = load(fixture);
        g_assert_cmpuint(configuration->limits.guests, ==, 20);
        g_assert_cmpuint(configuration->max_stuck_per_uid, ==, 2);
        g_assert_cmpint(configuration->on_lease_lost, ==, GL_LOSS_KILL);
        g_assert_null(configuration->host_name);
        g_assert_cmpuint(configuration->files->len, ==, 3);
}

/* However the file system lists them. */
static void test_the_order_is_that_of_the_names(Fixture *fixture, gconstpointer data) {
        static const char *const names[] = {"5", "2", "8", "1", "7", "3", "6", "4"};
        g_autoptr(GlConfiguration) configuration = NULL;

        put(fixture, "");
        for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
                g_autofree char *name = g_strdup_printf("%s.conf", names[i]);
                g_autofree char *text = g_strdup_printf("[guestlock]\nHostName=%s\n", names[i]);

                put_more(fixture, name, text);
        }
        configuration = load(fixture);
        g_assert_cmpstr(configuration->host_name, ==, "8");
        g_assert_cmpuint(configuration->files->len, ==, 9);
        for (guint i = 1; i < 8; i++)
                g_assert_cmpstr(configuration->files->pdata[i], <, configuration->files->pdata[i + 1]);
}

static void test_a_named_file_must_be_there(Fixture *fixture, gconstpointer data) {
        expect_refused(fixture, (const char *const[]){fixture->path, "cannot be read", NULL});
}

static void test_what_is_wrong_is_named(Fixture *fixture, gconstpointer data) {
        static const struct {
                const char *text, *group, *what;
        } wrong[] = {
                {"[guestlock]\nDefaultDrivr=file\n", "[guestlock]", "\"DefaultDrivr\""},
                {"[guestlock]\nMaxGuests=1\n", "[guestlock]", "\"MaxGuests\""},
                {"[guestlock]\nHostName[de]=x\n", "[guestlock]", "\"HostName[de]\""},
                {"[limit]\nMaxGuests=1\n", "\"limit\"", "group"},
                {"[guestlock]\nDefaultDriver=\n", "[guestlock]", "DefaultDriver=\"\""},
                {"[guestlock]\nDefaultDriver=../x\n", "[guestlock]", "DefaultDriver=\"../x\""},
                {"[guestlock]\nDefaultDriver=abcdefghijklmnopqrstuvwxyz-012345\n", "[guestlock]", "1 to 32"},
                {"[guestlock]\nOnLeaseLost=Pause\n", "[guestlock]", "pause, kill or notify"},
                {"[guestlock]\nRequireScope=\n", "[guestlock]", "RequireScope=\"\""},
                {"[guestlock]\nHostName=a<b\n", "[guestlock]", "HostName=\"a<b\""},
                {"[guestlock]\nLockspaceDirectory=files\n", "[guestlock]", "LockspaceDirectory=\"files\""},
                {"[guestlock]\nLvmLockspaceDirectory=./x\n", "[guestlock]", "an absolute path"},
                {"[limits]\nMaxGuests=\n", "[limits]", "MaxGuests=\"\""},
                {"[limits]\nMaxGuests=0\n", "[limits]", "from 1 to 1000000"},
                {"[limits]\nMaxGuests=-1\n", "[limits]", "MaxGuests=\"-1\""},
                {"[limits]\nMaxGuests=1e3\n", "[limits]", "MaxGuests=\"1e3\""},
                {"[limits]\nMaxGuests=0x10\n", "[limits]", "MaxGuests=\"0x10\""},
                {"[limits]\nMaxGuests=99999999999999999999999\n", "[limits]", "MaxGuests="},
                {"[limits]\nMaxPathBytes=4096\n", "[limits]", "from 1 to 4095"},
                {"[guestlock]\nCheckIntervalSec=0\n", "[guestlock]", "from 1 to 86400"},
                {"[limits]\nStorageTimeoutSec=3601\n", "[limits]", "from 1 to 3600"},
                {"[limits]\nMaxGuests=1\nMaxGuests 2\n", "MaxGuests 2", "cannot be read"},
                {"MaxGuests=1\n", "group", "cannot be read"},
        };

        for (gsize i = 0; i < G_N_ELEMENTS(wrong); i++) {
                put(fixture, wrong[i].text);
                expect_refused(fixture, (const char *const[]){fixture->path, wrong[i].group, wrong[i].what, NULL});
        }
        put(fixture, "");
        put_more(fixture, "50-x.conf", "[limits]\nMaxGuests=many\n");
        expect_refused(fixture, (const char *const[]){"/conf.d/50-x.conf", "[limits]", "MaxGuests=\"many\"", NULL});
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
#define ADD(path, func) g_test_add("/configuration/" path, Fixture, NULL, setup, func, teardown)
        ADD("empty-is-the-defaults", test_empty_is_the_defaults);
        ADD("documented-defaults-are-the-defaults", test_documented_defaults_are_the_defaults);
        ADD("every-key", test_every_key);
        ADD("later-files-win-key-by-key", test_later_files_win_key_by_key);
        ADD("the-order-is-that-of-the-names", test_the_order_is_that_of_the_names);
        ADD("a-named-file-must-be-there", test_a_named_file_must_be_there);
        ADD("what-is-wrong-is-named", test_what_is_wrong_is_named);
        return g_test_run();
}
