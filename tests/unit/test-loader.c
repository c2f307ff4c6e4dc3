/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "drivers/loader.h"

/*
 * What is loaded as a driver, and what is not. Plugins are copied from where they were built into a directory that is
 * root's, whoever the build tree belongs to.
 */

#define SOMEBODY 12345

typedef struct {
        char *base;      /* root's, in /tmp, which everybody may write to */
        char *directory; /* base/drivers */
        sd_event *event;
        GlWorkers *workers;
        GlPluginHost host;
} Fixture;

static void put(Fixture *fixture, const char *built, const char *name) {
        g_autofree char *file = g_strconcat(built, ".so", NULL), *from = g_build_filename(PLUGINS, file, NULL);
        g_autofree char *to = g_build_filename(fixture->directory, name, NULL), *text = NULL;
        gsize length;

        g_assert_true(g_file_get_contents(from, &text, &length, NULL));
        g_assert_true(g_file_set_contents_full(to, text, (gssize) length, G_FILE_SET_CONTENTS_NONE, 0644, NULL));
}

static char *path_of(Fixture *fixture, const char *name) {
        return g_build_filename(fixture->directory, name, NULL);
}

static void set_up(Fixture *fixture, gconstpointer data) {
        g_autoptr(GError) error = NULL;

        fixture->base = g_dir_make_tmp("guestlock-test-XXXXXX", NULL);
        g_assert_nonnull(fixture->base);
        fixture->directory = g_build_filename(fixture->base, "drivers", NULL);
        g_assert_cmpint(g_mkdir(fixture->directory, 0755), ==, 0);
        g_assert_cmpint(sd_event_new(&fixture->event), >=, 0);
        fixture->workers = gl_workers_new(fixture->event, NULL, &(GlWorkersLimits) {2, 2, 2, G_USEC_PER_SEC}, &error);
        g_assert_no_error(error);
        fixture->host = (GlPluginHost){fixture->event, fixture->workers, "id-of-kvm1", "kvm1", NULL};
}

static void tear_down(Fixture *fixture, gconstpointer data) {
        g_autoptr(GDir) listing = g_dir_open(fixture->directory, 0, NULL);
        const char *name;

        gl_workers_free(fixture->workers);
        sd_event_unref(fixture->event);
        while (listing && (name = g_dir_read_name(listing))) {
                g_autofree char *path = path_of(fixture, name);

                g_assert_cmpint(g_remove(path), ==, 0);
        }
        g_assert_cmpint(g_rmdir(fixture->directory), ==, 0);
        g_assert_cmpint(g_rmdir(fixture->base), ==, 0);
        g_free(fixture->directory);
        g_free(fixture->base);
}

static guint n_descriptors(void) {
        g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
        guint n = 0;

        while (g_dir_read_name(dir))
                n++;
        return n;
}

/* How often the process has the file mapped. */
static guint n_mapped(Fixture *fixture, const char *name) {
        g_autofree char *maps = NULL, *path = path_of(fixture, name), *mark = g_strconcat(path, "\n", NULL);
        g_auto(GStrv) parts = NULL;

        g_assert_true(g_file_get_contents("/proc/self/maps", &maps, NULL, NULL));
        parts = g_strsplit(maps, mark, -1);
        return g_strv_length(parts) - 1;
}

static GlLoadedDriver *have(Fixture *fixture, const char *name) {
        g_autoptr(GError) error = NULL;
        GlLoadedDriver *loaded = gl_loaded_driver_new(fixture->directory, name, &fixture->host, &error);

        g_assert_no_error(error);
        g_assert_cmpstr(loaded->driver->ops->name, ==, name);
        return loaded;
}

/* It is refused with a sentence that names it and has PART in it, and leaves nothing behind. */
static void refuse(Fixture *fixture, const char *name, int code, const char *part) {
        g_autoptr(GError) error = NULL;
        guint before = n_descriptors();

        g_assert_null(gl_loaded_driver_new(fixture->directory, name, &fixture->host, &error));
        g_assert_error(error, GL_ERROR, code);
        if (!strstr(error->message, part) || !strstr(error->message, name))
                g_error("neither \"%s\" nor \"%s\" may be missing in: %s", part, name, error->message);
        g_assert_true(g_str_has_suffix(error->message, "."));
        g_assert_cmpuint(n_descriptors(), ==, before);
}

/* The same, and it can be told without loading it. */
static void refuse_unseen(Fixture *fixture, const char *name, int code, const char *part) {
        g_autoptr(GError) error = NULL;

        refuse(fixture, name, code, part);
        g_assert_false(gl_loaded_driver_check(fixture->directory, name, &error));
        g_assert_error(error, GL_ERROR, code);
        g_assert_nonnull(strstr(error->message, part));
}

/* --- what is loaded --- */

static void test_good(Fixture *fixture, gconstpointer data) {
        guint before = n_descriptors();

        put(fixture, "good", "good.so");
        for (guint i = 0; i < 3; i++) {
                GlLoadedDriver *loaded;

                g_assert_true(gl_loaded_driver_check(fixture->directory, "good", NULL));
                g_assert_cmpuint(n_mapped(fixture, "good.so"), ==, 0);
                loaded = have(fixture, "good");
                g_assert_cmpuint(n_mapped(fixture, "good.so"), >, 0);
                g_unsetenv("guestlock-test-driver-ended");
                gl_loaded_driver_unload(loaded);
                g_assert_cmpstr(g_getenv("guestlock-test-driver-ended"), ==, "good");
                g_assert_cmpuint(n_mapped(fixture, "good.so"), ==, 0);
                g_assert_cmpuint(n_descriptors(), ==, before);
        }
}

static void note_done(GlJob *job, gpointer user_data) {
        *(gboolean *) user_data = TRUE;
}

/* It runs on the service's own workers, with the core's own words. */
static void test_uses_the_service(Fixture *fixture, gconstpointer data) {
        gint64 deadline = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
        g_autoptr(GlJob) job = gl_job_new(GL_JOB_TAKE, "good", 1);
        GlLoadedDriver *loaded;
        gboolean done = FALSE;

        put(fixture, "good", "good.so");
        loaded = have(fixture, "good");
        job->targets[0].name = g_strdup("/srv/a.img");
        loaded->driver->ops->start(loaded->driver, job, note_done, &done);
        while (!done) {
                g_assert_cmpint(g_get_monotonic_time(), <, deadline);
                g_assert_cmpint(sd_event_run(fixture->event, 100000), >=, 0);
        }
        gl_loaded_driver_unload(loaded);
        /* What it made outlives it. */
        g_assert_error(job->error, GL_ERROR, GL_ERROR_CONFLICT);
        g_assert_nonnull(strstr(job->error->message, "program \"stranger\" (pid 4242)"));
}

/* While one is loaded, another one gets nothing of it. */
static void test_several(Fixture *fixture, gconstpointer data) {
        GlLoadedDriver *good, *second;

        put(fixture, "good", "good.so");
        put(fixture, "second", "second.so");
        good = have(fixture, "good");
        second = have(fixture, "second");
        g_assert_true(good->module != second->module);
        gl_loaded_driver_unload(good);
        put(fixture, "good", "good.so"); /* an upgrade */
        good = have(fixture, "good");
        gl_loaded_driver_unload(second);
        gl_loaded_driver_unload(good);
}

static void test_left(Fixture *fixture, gconstpointer data) {
        GlLoadedDriver *loaded;

        put(fixture, "second", "second.so");
        loaded = have(fixture, "second");
        gl_loaded_driver_leave(loaded);
        g_assert_cmpuint(n_mapped(fixture, "second.so"), >, 0);
}

/* --- what is not there --- */

static void test_not_there(Fixture *fixture, gconstpointer data) {
        static const char *const names[] = {"", "A", "a.so", "..", "../good", "a/b", "a b", "good\n",
                                            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
        g_autoptr(GError) nowhere = NULL;

        put(fixture, "good", "good.so");
        refuse_unseen(fixture, "nosuch", GL_ERROR_NO_SUCH_DRIVER, "nosuch.so\" does not exist");
        for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
                g_autoptr(GError) error = NULL;

                g_assert_null(gl_loaded_driver_new(fixture->directory, names[i], &fixture->host, &error));
                g_assert_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS);
        }
        g_assert_null(gl_loaded_driver_new("/nonexistent/guestlock", "good", &fixture->host, &nowhere));
        g_assert_error(nowhere, GL_ERROR, GL_ERROR_NO_SUCH_DRIVER);
        g_assert_nonnull(strstr(nowhere->message, "\"/nonexistent/guestlock\" does not exist"));
}

/* --- what is not root's --- */

static void test_file_of_somebody(Fixture *fixture, gconstpointer data) {
        g_autofree char *path = path_of(fixture, "good.so");

        put(fixture, "good", "good.so");
        g_assert_cmpint(chown(path, SOMEBODY, 0), ==, 0);
        refuse_unseen(fixture, "good", GL_ERROR_DRIVER_FAILED, "belongs to uid 12345");
        g_assert_cmpint(chown(path, 0, SOMEBODY), ==, 0);
        g_assert_cmpint(chmod(path, 0664), ==, 0);
        refuse_unseen(fixture, "good", GL_ERROR_DRIVER_FAILED, "can be written to by others");
        g_assert_cmpint(chmod(path, 0646), ==, 0);
        refuse_unseen(fixture, "good", GL_ERROR_DRIVER_FAILED, "can be written to by others");
        g_assert_cmpint(chmod(path, 0644), ==, 0);
        gl_loaded_driver_unload(have(fixture, "good"));
}

static void test_directory_of_somebody(Fixture *fixture, gconstpointer data) {
        put(fixture, "good", "good.so");
        g_assert_cmpint(chown(fixture->directory, SOMEBODY, 0), ==, 0);
        refuse_unseen(fixture, "good", GL_ERROR_DRIVER_FAILED, "belongs to uid 12345");
        g_assert_cmpint(chown(fixture->directory, 0, 0), ==, 0);
        g_assert_cmpint(chmod(fixture->directory, 0775), ==, 0);
        refuse_unseen(fixture, "good", GL_ERROR_DRIVER_FAILED, "can be written to by others");
        /* Sticky will do above it, as /tmp is, but not here: what is new here is a new driver. */
        g_assert_cmpint(chmod(fixture->directory, 01777), ==, 0);
        refuse_unseen(fixture, "good", GL_ERROR_DRIVER_FAILED, "can be written to by others");
        g_assert_cmpint(chmod(fixture->directory, 0755), ==, 0);
        gl_loaded_driver_unload(have(fixture, "good"));
}

static void test_parent_of_somebody(Fixture *fixture, gconstpointer data) {
        put(fixture, "good", "good.so");
        g_assert_cmpint(chown(fixture->base, SOMEBODY, 0), ==, 0);
        refuse_unseen(fixture, "good", GL_ERROR_DRIVER_FAILED, fixture->base);
        g_assert_cmpint(chown(fixture->base, 0, 0), ==, 0);
        g_assert_cmpint(chmod(fixture->base, 0777), ==, 0);
        refuse_unseen(fixture, "good", GL_ERROR_DRIVER_FAILED, "can be written to by others");
        g_assert_cmpint(chmod(fixture->base, 01777), ==, 0);
        gl_loaded_driver_unload(have(fixture, "good"));
}

/* A link on the way leads to what is looked at as well. */
static void test_directory_behind_a_link(Fixture *fixture, gconstpointer data) {
        g_autofree char *link = g_build_filename(fixture->base, "link", NULL);
        g_autoptr(GError) error = NULL;
        GlLoadedDriver *loaded;

        put(fixture, "good", "good.so");
        g_assert_cmpint(symlink(fixture->directory, link), ==, 0);
        loaded = gl_loaded_driver_new(link, "good", &fixture->host, &error);
        g_assert_no_error(error);
        gl_loaded_driver_unload(loaded);
        g_assert_cmpint(chown(fixture->directory, SOMEBODY, 0), ==, 0);
        g_assert_null(gl_loaded_driver_new(link, "good", &fixture->host, &error));
        g_assert_error(error, GL_ERROR, GL_ERROR_DRIVER_FAILED);
        g_assert_cmpint(g_remove(link), ==, 0);
}

/* --- what is no such file --- */

static void test_no_regular_file(Fixture *fixture, gconstpointer data) {
        g_autofree char *link = path_of(fixture, "link.so"), *fifo = path_of(fixture, "fifo.so");
        g_autofree char *directory = path_of(fixture, "directory.so");

        put(fixture, "good", "good.so");
        g_assert_cmpint(symlink("good.so", link), ==, 0);
        g_assert_cmpint(mkfifo(fifo, 0600), ==, 0);
        g_assert_cmpint(g_mkdir(directory, 0755), ==, 0);
        refuse_unseen(fixture, "link", GL_ERROR_DRIVER_FAILED, "is a symbolic link");
        refuse_unseen(fixture, "fifo", GL_ERROR_DRIVER_FAILED, "is no regular file");
        refuse_unseen(fixture, "directory", GL_ERROR_DRIVER_FAILED, "is no regular file");
}

static void test_no_module(Fixture *fixture, gconstpointer data) {
        g_autofree char *text = path_of(fixture, "text.so"), *empty = path_of(fixture, "empty.so");
        g_autofree char *half = path_of(fixture, "half.so");

        g_autofree char *words = g_strnfill(4096, '#');

        g_assert_true(g_file_set_contents(text, words, -1, NULL));
        g_assert_true(g_file_set_contents(empty, "", 0, NULL));
        put(fixture, "good", "half.so");
        g_assert_cmpint(truncate(half, 512), ==, 0);
        refuse(fixture, "text", GL_ERROR_DRIVER_FAILED, "ELF");
        refuse(fixture, "empty", GL_ERROR_DRIVER_FAILED, "too short");
        refuse(fixture, "half", GL_ERROR_DRIVER_FAILED, "cannot be used");
}

/* --- what is wrong inside --- */

typedef struct {
        const char *name, *part;
} Wrong;

static void test_wrong(Fixture *fixture, gconstpointer data) {
        const Wrong *wrong = data;
        g_autofree char *file = g_strconcat(wrong->name, ".so", NULL);

        put(fixture, wrong->name, file);
        refuse(fixture, wrong->name, GL_ERROR_DRIVER_FAILED, wrong->part);
        g_assert_cmpuint(n_mapped(fixture, file), ==, 0);
        /* Nothing of it is in the way of a good one. */
        put(fixture, "good", "good.so");
        gl_loaded_driver_unload(have(fixture, "good"));
}

static const Wrong wrongs[] = {
        {"no-symbol", "no symbol \"guestlock_driver\""},
        {"other-abi", "version 4 of what drivers and guestlockd have in common, and this is version 3"},
        {"other-size", "another guestlockd"},
        {"other-layout", "another guestlockd"},
        {"no-make", "not complete"},
        {"other-name", "another name"},
        {"other-ops", "another driver"},
        {"no-capabilities", "names no capabilities"},
        {"misspelt", "a capability that is not known"},
        {"guest-and-disks", "guest-only"},
        {"unresolved", "undefined symbol: gl_function_that_is_not_exported"},
        {"fails", "could not begin: Its daemon does not run."},
        {"fails-silently", "could not begin: it does not say why."},
};

int main(int argc, char **argv) {
        static const struct {
                const char *name;
                void (*test)(Fixture *fixture, gconstpointer data);
        } tests[] = {
                {"good", test_good},
                {"uses-the-service", test_uses_the_service},
                {"several", test_several},
                {"left", test_left},
                {"not-there", test_not_there},
                {"file-of-somebody", test_file_of_somebody},
                {"directory-of-somebody", test_directory_of_somebody},
                {"parent-of-somebody", test_parent_of_somebody},
                {"directory-behind-a-link", test_directory_behind_a_link},
                {"no-regular-file", test_no_regular_file},
                {"no-module", test_no_module},
        };

        g_test_init(&argc, &argv, NULL);
        if (geteuid() != 0) {
                g_print("1..0 # SKIP needs root: drivers are root's\n");
                return 77;
        }
        umask(022);
        for (guint i = 0; i < G_N_ELEMENTS(tests); i++) {
                g_autofree char *path = g_strconcat("/loader/", tests[i].name, NULL);

                g_test_add(path, Fixture, NULL, set_up, tests[i].test, tear_down);
        }
        for (guint i = 0; i < G_N_ELEMENTS(wrongs); i++) {
                g_autofree char *path = g_strconcat("/loader/wrong/", wrongs[i].name, NULL);

                g_test_add(path, Fixture, &wrongs[i], set_up, test_wrong, tear_down);
        }
        return g_test_run();
}
