/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drivers/holders.h"

#include <string.h>

#include "fuzz.h"

/* What /proc/<pid>/fdinfo says of a description and its locks: each lock is from a line of its own, and found again. */

static guint count_lines(const char *text) {
        guint n = g_str_has_prefix(text, "lock:");

        for (; (text = strstr(text, "\nlock:")); text++)
                n++;
        return n;
}

static char *write_locks(GArray *locks) {
        GString *text = g_string_new("pos:\t0\nflags:\t02\nmnt_id:\t30\nino:\t42\n");

        for (guint i = 0; i < locks->len; i++) {
                const GlHeldRange *range = &g_array_index(locks, GlHeldRange, i);

                g_string_append_printf(text, "lock:\t%u: OFDLCK ADVISORY  %s -1 fe:01:42 %" G_GUINT64_FORMAT " ", i + 1,
                                       range->write ? "WRITE" : "READ ", range->first);
                if (range->last == G_MAXUINT64)
                        g_string_append(text, "EOF\n");
                else
                        g_string_append_printf(text, "%" G_GUINT64_FORMAT "\n", range->last);
        }
        return g_string_free(text, FALSE);
}

static void check_holder(GArray *locks) {
        GlHolder holder = {.pid = 1, .locks = locks};

        for (guint i = 0; i < locks->len; i++) {
                const GlHeldRange *range = &g_array_index(locks, GlHeldRange, i);

                g_assert_true(range->first <= range->last);
                g_assert_true(gl_holder_has_lock(&holder, range->first, FALSE));
                g_assert_true(gl_holder_has_lock(&holder, range->last, range->write));
        }
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size) {
        g_autofree char *text = fuzz_text(data, size), *written = NULL;
        g_autoptr(GArray) locks = g_array_new(FALSE, FALSE, sizeof(GlHeldRange));
        g_autoptr(GArray) again = g_array_new(FALSE, FALSE, sizeof(GlHeldRange));

        if (!gl_fdinfo_parse(text, locks))
                return 0;
        g_assert_cmpuint(locks->len, <=, count_lines(text));
        check_holder(locks);
        written = write_locks(locks);
        g_assert_true(gl_fdinfo_parse(written, again));
        g_assert_cmpuint(locks->len, ==, again->len);
        for (guint i = 0; i < locks->len; i++) {
                const GlHeldRange *a = &g_array_index(locks, GlHeldRange, i);
                const GlHeldRange *b = &g_array_index(again, GlHeldRange, i);

                g_assert_true(a->first == b->first && a->last == b->last && a->write == b->write);
        }
        return 0;
}
