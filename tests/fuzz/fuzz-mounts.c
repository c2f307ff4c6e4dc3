/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage/mounts.h"

#include <string.h>

#include "fuzz.h"

/*
 * A path, and after it a mount table. What was read from the table can be written and read again; the mount of a path
 * is one that the path lies under; a tidy path stays as it is.
 */

static void append_escaped(GString *line, const char *text) {
        for (; *text; text++) {
                if (strchr(" \t\n\\#", *text))
                        g_string_append_printf(line, "\\%03o", (guint8) *text);
                else
                        g_string_append_c(line, *text);
        }
}

static char *write_table(GPtrArray *mounts) {
        GString *text = g_string_new(NULL);

        for (guint i = 0; i < mounts->len; i++) {
                const GlMount *mount = mounts->pdata[i];

                g_string_append_printf(text, "%" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT " %s / ", mount->id,
                                       mount->parent, mount->device);
                append_escaped(text, mount->point);
                g_string_append(text, " rw shared:1 - ");
                append_escaped(text, mount->type);
                g_string_append(text, " none ");
                append_escaped(text, mount->options);
                g_string_append_c(text, '\n');
        }
        return g_string_free(text, FALSE);
}

static void check_table(GPtrArray *mounts) {
        g_autofree char *text = write_table(mounts);
        g_autoptr(GPtrArray) again = gl_mounts_parse(text);

        g_assert_cmpuint(mounts->len, ==, again->len);
        for (guint i = 0; i < mounts->len; i++) {
                const GlMount *mount = mounts->pdata[i], *other = again->pdata[i];

                g_assert_true(mount->point[0] == '/');
                g_assert_true(mount->id == other->id && mount->parent == other->parent && mount->top == other->top);
                g_assert_cmpstr(mount->device, ==, other->device);
                g_assert_cmpstr(mount->point, ==, other->point);
                g_assert_cmpstr(mount->type, ==, other->type);
                g_assert_cmpstr(mount->options, ==, other->options);
        }
}

static char *check_tidy(const char *path) {
        g_autofree char *tidy = gl_path_tidy(path), *again = gl_path_tidy(tidy);

        g_assert_cmpstr(tidy, ==, again);
        g_assert_cmpuint(strlen(tidy), <=, strlen(path) + 1); /* a relative one gets a slash */
        g_assert_true(tidy[0] == '/' || tidy[0] == '\0');
        g_assert_null(strstr(tidy, "//"));
        g_assert_null(strstr(tidy, "/./"));
        return g_steal_pointer(&tidy);
}

static void check_live_table(const char *path, const char *text) {
        g_autofree char *sysroot = fuzz_path("sysroot");
        g_autoptr(GlMountTable) table = NULL;
        g_autoptr(GError) error = NULL;
        const GlMount *mount;

        fuzz_write("sysroot/proc/self/mountinfo", text, strlen(text));
        table = gl_mount_table_new(sysroot, &error);
        g_assert_no_error(error);
        mount = gl_mount_table_find(table, path);
        if (mount) {
                guint64 id = mount->id;

                mount = gl_mount_table_find_id(table, id);
                g_assert_true(mount && mount->id == id);
        }
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size) {
        g_autofree char *path = NULL, *tidy = NULL;
        g_autofree char *text = fuzz_text_after_line(data, size, &path);
        g_autoptr(GPtrArray) mounts = gl_mounts_parse(text);
        const GlMount *mount;

        check_table(mounts);
        tidy = check_tidy(path);
        mount = gl_mounts_find(mounts, tidy);
        g_assert_true(!mount || gl_path_is_under(tidy, mount->point));
        if (path[0] == '/')
                check_live_table(path, text);
        return 0;
}
