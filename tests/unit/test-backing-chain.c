/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backing-chain.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "qemu-command-line.h"

/* What the real qemu-img says is in client/test-qemu-disks.py. Here a script takes its place. */

#define PATIENCE 60000 /* ms */

static char *directory;

/* qemu-img is from now on a shell script with this in it. */
static void pretend(const char *script) {
        g_autofree char *path = g_build_filename(directory, "qemu-img", NULL);
        g_autofree char *text = g_strdup_printf("#!/bin/sh\n%s\n", script);
        g_autoptr(GError) error = NULL;

        g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0755, &error);
        g_assert_no_error(error);
}

static char *written(const char *name) {
        g_autofree char *path = g_build_filename(directory, name, NULL), *text = NULL;

        g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
        return g_steal_pointer(&text);
}

static void check_error(const char *path, int code, const char *word, guint patience_ms, GCancellable *cancellable) {
        g_autoptr(GPtrArray) remarks = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(GError) error = NULL;

        g_assert_null(gl_backing_chain_read(path, NULL, remarks, patience_ms, cancellable, &error));
        g_assert_error(error, G_IO_ERROR, code);
        if (!strstr(error->message, word))
                g_error("\"%s\" does not say %s", error->message, word);
}

static void test_layers(void) {
        g_autoptr(GPtrArray) remarks = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(GPtrArray) layers = NULL;
        g_autofree char *arguments = NULL;
        const GlLayer *const *layer;

        pretend("printf '%s\\n' \"$@\" >\"${0%/*}/arguments\"\n"
                "echo '[{\"filename\": \"/a\", \"format-specific\": {\"type\": \"qcow2\","
                " \"data\": {\"data-file\": \"/d\"}}},"
                " {\"filename\": \"json:{\\\"driver\\\": \\\"file\\\", \\\"filename\\\": \\\"/b\\\"}\"},"
                " {\"filename\": \"nbd://host/x\"}, {\"filename\": \"file:/c\", \"format-specific\":"
                " {\"data\": {\"data-file\": \"/e\","
                " \"extents\": [{\"filename\": \"file:/c\"}, {\"filename\": \"/f\"}]}}}]'");
        layers = gl_backing_chain_read("/-x,y", "qcow2", remarks, PATIENCE, NULL, NULL);
        g_assert_nonnull(layers);
        arguments = written("arguments");
        g_assert_cmpstr(arguments, ==, "info\n-U\n--backing-chain\n--output=json\n-f\nqcow2\n--\n/-x,y\n");
        layer = (gpointer) layers->pdata;
        g_assert_cmpuint(layers->len, ==, 5);
        g_assert_true(strcmp(layer[0]->path, "/d") == 0 && layer[0]->is_data);
        g_assert_true(strcmp(layer[1]->path, "/b") == 0 && !layer[1]->is_data);
        g_assert_true(strcmp(layer[2]->path, "/c") == 0 && !layer[2]->is_data);
        g_assert_true(strcmp(layer[3]->path, "/e") == 0 && !layer[3]->is_data);
        g_assert_true(strcmp(layer[4]->path, "/f") == 0 && !layer[4]->is_data);
        g_assert_cmpuint(remarks->len, ==, 1);
        g_assert_nonnull(strstr(remarks->pdata[0], "nbd://host/x"));
}

static void test_nonsense(void) {
        static const char *const answers[] = {"",     "{}", "[1]", "[{\"filename\": 1}]", "[{\"filename\": \"/a\"}",
                                              "null"};

        for (guint i = 0; i < G_N_ELEMENTS(answers); i++) {
                g_autofree char *script = g_strdup_printf("echo '%s'", answers[i]);

                pretend(script);
                check_error("/image", G_IO_ERROR_FAILED, "\"/image\" is not understood", PATIENCE, NULL);
        }
        pretend("printf '\\377'");
        check_error("/image", G_IO_ERROR_FAILED, "cannot be read", PATIENCE, NULL);
        pretend("printf 'qemu-img: no\\nway\\n' >&2; exit 1");
        check_error("/image", G_IO_ERROR_FAILED, "has: no way. Use --no-backing-chain", PATIENCE, NULL);
        pretend("exit 3");
        check_error("/image", G_IO_ERROR_FAILED, "without a word", PATIENCE, NULL);
}

/* The script that hangs is no more, however far it had come: we have no child, not even a dead one. */
static void check_is_killed(void) {
        gint64 deadline = g_get_monotonic_time() + 30 * G_USEC_PER_SEC;
        siginfo_t child;
        int r;

        while ((r = waitid(P_ALL, 0, &child, WEXITED | WNOHANG | WNOWAIT)) == 0 && g_get_monotonic_time() < deadline)
                g_usleep(1000);
        g_assert_cmpint(r, ==, -1);
        g_assert_cmpint(errno, ==, ECHILD);
}

static gboolean cancel_when_it_runs(gpointer data) {
        g_autofree char *path = g_build_filename(directory, "runs", NULL);

        if (!g_file_test(path, G_FILE_TEST_EXISTS))
                return G_SOURCE_CONTINUE;
        g_cancellable_cancel(data);
        return G_SOURCE_REMOVE;
}

static void test_hanging_storage(void) {
        g_autofree char *runs = g_build_filename(directory, "runs", NULL);
        g_autoptr(GCancellable) cancellable = g_cancellable_new();
        gint64 start = g_get_monotonic_time();

        pretend(": >\"${0%/*}/runs\"\n"
                "exec setpriv --pdeathsig KILL sleep 1000");
        g_timeout_add(5, cancel_when_it_runs, cancellable);
        check_error("/image", G_IO_ERROR_CANCELLED, "", 100000, cancellable);
        check_is_killed();
        g_remove(runs);
        check_error("/image", G_IO_ERROR_CANCELLED, "", 100000, cancellable);
        g_assert_false(g_file_test(runs, G_FILE_TEST_EXISTS));
        check_error("/image", G_IO_ERROR_TIMED_OUT, "\"/image\" in 0.5 s", 500, NULL);
        check_is_killed();
        g_assert_cmpint(g_get_monotonic_time() - start, <, 60 * G_USEC_PER_SEC);
}

/* Which disks are asked for, and what becomes of their layers. */
static void test_disks(void) {
        const char *const command[] = {"qemu-system-x86_64", "-hda", "/top", "-drive", "file=/raw,format=raw",
                                       "-drive", "file=/ro,readonly=on,backing.file.filename=/given", NULL};
        g_autoptr(GPtrArray) remarks = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(GlQemuCommandLine) line = gl_qemu_command_line_read(command, "/", remarks, NULL);
        g_autoptr(GString) found = g_string_new(NULL);
        g_autoptr(GError) error = NULL;

        pretend("for image; do :; done\n"
                "[ \"$image\" != /raw ] || exit 1\n"
                "[ \"$image\" != /given ] || { echo '[{\"filename\": \"/given\"}]'; exit; }\n"
                "echo \"[{\\\"filename\\\": \\\"$image\\\", \\\"format-specific\\\": {\\\"data\\\":"
                " {\\\"data-file\\\": \\\"$image.data\\\"}}}, {\\\"filename\\\": \\\"$image.base\\\"}]\"");
        g_assert_true(gl_backing_chains_add(line->disks, remarks, PATIENCE, NULL, &error));
        g_assert_no_error(error);
        for (guint i = 0; i < line->disks->len; i++) {
                const GlFoundDisk *disk = line->disks->pdata[i];

                g_string_append_printf(found, "%s %s, ", disk->path,
                                       disk->mode == GUESTLOCK_MODE_EXCLUSIVE ? "X" : "R");
        }
        g_assert_cmpstr(found->str, ==,
                        "/top X, /raw X, /ro R, /given R, /top.data X, /top.base R, /ro.data R, ");
        g_assert_cmpuint(remarks->len, ==, 0);
}

static void set_up(void) {
        g_autofree char *path = NULL;

        directory = g_dir_make_tmp("guestlock-chain-XXXXXX", NULL);
        g_assert_nonnull(directory);
        path = g_strdup_printf("%s:%s", directory, g_getenv("PATH"));
        g_setenv("PATH", path, TRUE);
}

static void tidy_up(void) {
        static const char *const names[] = {"qemu-img", "arguments", "runs"};

        for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
                g_autofree char *path = g_build_filename(directory, names[i], NULL);

                g_remove(path);
        }
        g_rmdir(directory);
        g_free(directory);
}

int main(int argc, char **argv) {
        int status;

        g_test_init(&argc, &argv, NULL);
        set_up();
        g_test_add_func("/backing-chain/layers", test_layers);
        g_test_add_func("/backing-chain/nonsense", test_nonsense);
        g_test_add_func("/backing-chain/hanging-storage", test_hanging_storage);
        g_test_add_func("/backing-chain/disks", test_disks);
        status = g_test_run();
        tidy_up();
        return status;
}
