/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/generations.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"

/*
 * The log of generations, whatever was left in it: it says what its good lines say, the same when it is opened and
 * compacted again, and a grant that was added counts.
 */

#define LONGEST_LINE 127

static const GlNode added = {GL_NODE_FILE, 7, 0xfe01, 42};

static void collect(const GlNode *node, GlMode mode, guint64 generation, gpointer user_data) {
        g_autofree char *text = gl_node_to_string(node);

        g_assert_true(mode == GL_MODE_SHARED || mode == GL_MODE_EXCLUSIVE);
        g_assert_cmpuint(generation, >, 0);
        g_ptr_array_add(user_data, g_strdup_printf("%s %d %" G_GUINT64_FORMAT, text, mode, generation));
}

/* A line at a time, by a regular expression: what the log should say. */
static void expect_line(GHashTable *newest, const char *line) {
        static GRegex *form;
        g_auto(GStrv) words = NULL;
        g_autofree char *text = NULL, *key = NULL;
        guint64 generation, *before;
        GlNode node;

        if (!form)
                form = g_regex_new("^\\S+ (shared|exclusive) [0-9]+\\z", G_REGEX_RAW, 0, NULL);
        if (!g_regex_match(form, line, 0, NULL))
                return;
        words = g_strsplit(line, " ", -1);
        if (!gl_node_from_string(words[0], &node) ||
            !g_ascii_string_to_unsigned(words[2], 10, 1, G_MAXUINT64, &generation, NULL))
                return;
        text = gl_node_to_string(&node);
        key = g_strdup_printf("%s %d", text, words[1][0] == 's' ? GL_MODE_SHARED : GL_MODE_EXCLUSIVE);
        before = g_hash_table_lookup(newest, key);
        if (!before || *before < generation)
                g_hash_table_insert(newest, g_steal_pointer(&key), g_memdup2(&generation, sizeof generation));
}

static int compare(gconstpointer a, gconstpointer b) {
        return g_strcmp0(*(const char *const *) a, *(const char *const *) b);
}

static char *join(GPtrArray *lines) {
        g_ptr_array_sort(lines, compare);
        g_ptr_array_add(lines, NULL);
        return g_strjoinv("\n", (char **) lines->pdata);
}

static char *expect(const char *data, gsize size) {
        g_autoptr(GHashTable) newest = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);
        GHashTableIter iter;
        gpointer key, value;

        for (const char *end, *at = data; size > 0 && (end = memchr(at, '\n', size)); at = end + 1) {
                g_autofree char *line = g_strndup(at, (gsize) (end - at));

                size -= (gsize) (end - at) + 1;
                if (end - at <= LONGEST_LINE && strlen(line) == (gsize) (end - at))
                        expect_line(newest, line);
        }
        g_hash_table_iter_init(&iter, newest);
        while (g_hash_table_iter_next(&iter, &key, &value))
                g_ptr_array_add(lines, g_strdup_printf("%s %" G_GUINT64_FORMAT, (char *) key, *(guint64 *) value));
        return join(lines);
}

/* What the log says, in an order of its own. APPEND: a generation that is granted afterwards, or 0. */
static char *look(int directory, guint64 append) {
        g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(GlGenerations) generations = NULL;
        g_autoptr(GError) error = NULL;

        generations = gl_generations_open(directory, "/somewhere", &error);
        g_assert_no_error(error);
        g_assert_true(gl_generations_compact(generations, GL_GENERATIONS_MAX_NODES, collect, lines, &error));
        g_assert_no_error(error);
        if (append)
                g_assert_true(gl_generations_append(generations, &added, GL_MODE_EXCLUSIVE, append, &error));
        return join(lines);
}

static void check_added(const char *text) {
        g_autofree char *node = gl_node_to_string(&added);
        g_autofree char *line = g_strdup_printf("%s %d %" G_GUINT64_FORMAT, node, GL_MODE_EXCLUSIVE, G_MAXUINT64);

        g_assert_nonnull(g_strstr_len(text, -1, line));
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size) {
        static int directory = -1;
        g_autofree char *expected = expect((const char *) data, size);
        g_autofree char *first = NULL, *second = NULL, *third = NULL;

        fuzz_write("state/generations", (const char *) data, size);
        if (directory < 0) {
                g_autofree char *path = fuzz_path("state");

                directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        }
        first = look(directory, 0);
        /* GLib's numbers may begin with this one kind of white space. */
        if (size > 0 && !memchr(data, '\v', size))
                g_assert_cmpstr(first, ==, expected);
        second = look(directory, G_MAXUINT64);
        g_assert_cmpstr(first, ==, second);
        third = look(directory, 0);
        check_added(third);
        return 0;
}
