/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/names.h"

#include <string.h>

#include "core/obstacle.h"
#include "fuzz.h"

/* What callers call things, and how that is quoted in a sentence: a quotation says which bytes they were. */

static void check_uuid(const char *text) {
        g_autoptr(GError) error = NULL;
        char lower[37] = "untouched", again[37];

        if (!gl_uuid_parse(text, lower, &error)) {
                fuzz_check_error(error);
                g_assert_cmpstr(lower, ==, "untouched");
                return;
        }
        g_assert_no_error(error);
        g_assert_cmpint(g_ascii_strcasecmp(text, lower), ==, 0);
        g_assert_true(gl_uuid_parse(lower, again, NULL));
        g_assert_cmpstr(lower, ==, again);
}

static void check_names(const char *text) {
        g_autoptr(GError) of_guest = NULL, of_disk = NULL, of_lease = NULL;
        gsize length = strlen(text);
        GlLimits limits = {};

        gl_limits_set_defaults(&limits);
        if (!gl_check_guest_name(&limits, text, &of_guest))
                fuzz_check_error(of_guest);
        g_assert_true(!of_guest == (length > 0 && length <= limits.string_bytes));
        if (!gl_check_resource_name(&limits, GL_RESOURCE_DISK, text, &of_disk))
                fuzz_check_error(of_disk);
        g_assert_true(!of_disk == (text[0] == '/' && length <= limits.path_bytes));
        if (!gl_check_resource_name(&limits, GL_RESOURCE_LEASE, text, &of_lease))
                fuzz_check_error(of_lease);
        g_assert_true(!of_lease == !of_guest);
}

/* Back again, byte by byte. */
static char *unquote(const char *quoted) {
        GString *plain = g_string_new(NULL);
        const char *at = quoted + 1;

        g_assert_true(quoted[0] == '"' && g_str_has_suffix(at, "\""));
        while (at[1]) {
                char *end;

                if (at[0] != '\\') {
                        g_assert_true(at[0] != '"');
                        g_string_append_c(plain, *at++);
                } else if (at[1] == 'x') {
                        char digits[3] = {at[2], at[3], '\0'};

                        g_string_append_c(plain, (char) g_ascii_strtoull(digits, NULL, 16));
                        at += 4;
                } else if (at[1] == 'u') {
                        g_string_append_unichar(plain, (gunichar) g_ascii_strtoull(at + 3, &end, 16));
                        at = end + 1;
                } else {
                        g_string_append_c(plain, at[1]);
                        at += 2;
                }
        }
        return g_string_free(plain, FALSE);
}

static void check_quotation(const char *text) {
        g_autofree char *quoted = gl_quote(text), *plain = NULL;

        fuzz_check_line(quoted);
        plain = unquote(quoted);
        g_assert_cmpstr(plain, ==, text);
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size) {
        g_autofree char *text = fuzz_text(data, size);

        check_uuid(text);
        check_names(text);
        check_quotation(text);
        return 0;
}
