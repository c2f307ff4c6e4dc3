/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/error.h"

#define MAX_SENTENCE_BYTES 8192

static void complain(const char *domain, GLogLevelFlags level, const char *message, gpointer unused) {
        if (!(level & (G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_WARNING)))
                return;
        g_printerr("%s: %s\n", domain ?: "log", message);
        abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
        g_log_set_default_handler(complain, NULL);
        return 0;
}

char *fuzz_text(const guint8 *data, gsize size) {
        return g_strndup((const char *) data, size);
}

char *fuzz_text_after_line(const guint8 *data, gsize size, char **head) {
        const guint8 *end = size > 0 ? memchr(data, '\n', size) : NULL;
        gsize length = end ? (gsize) (end - data) : size;

        *head = fuzz_text(data, length);
        return end ? fuzz_text(end + 1, size - length - 1) : g_strdup("");
}

void fuzz_check_line(const char *text) {
        g_assert_nonnull(text);
        g_assert_true(g_utf8_validate(text, -1, NULL));
        for (; *text; text = g_utf8_next_char(text))
                g_assert_false(g_unichar_iscntrl(g_utf8_get_char(text)));
}

void fuzz_check_error(const GError *error) {
        gsize length;

        g_assert_nonnull(error);
        g_assert_true(error->domain == GL_ERROR);
        g_assert_cmpint(error->code, >=, 0);
        g_assert_cmpint(error->code, <, GL_N_ERRORS);
        fuzz_check_line(error->message);
        length = strlen(error->message);
        g_assert_cmpuint(length, <=, MAX_SENTENCE_BYTES);
        g_assert_true(g_str_has_suffix(error->message, ".") && !g_str_has_suffix(error->message, ".."));
        g_assert_true(g_ascii_isupper(error->message[0]) || g_ascii_isdigit(error->message[0]) ||
                      error->message[0] == '"');
}

char *fuzz_path(const char *name) {
        static char *base;

        if (!base) {
                base = g_dir_make_tmp("guestlock-fuzz-XXXXXX", NULL);
                g_assert_nonnull(base);
        }
        return g_build_filename(base, name, NULL);
}

void fuzz_write(const char *name, const char *data, gsize size) {
        g_autofree char *path = fuzz_path(name);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        if (fd < 0 && errno == ENOENT) {
                g_autofree char *directory = g_path_get_dirname(path);

                g_assert_cmpint(g_mkdir_with_parents(directory, 0700), ==, 0);
                fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        }
        g_assert_cmpint(fd, >=, 0);
        g_assert_cmpint(write(fd, data, size), ==, (gssize) size);
        close(fd);
}
