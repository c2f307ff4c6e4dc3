/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "fuzz.h"
#include "process/proc.h"

/*
 * What /proc says of a process. The same name, whatever is in it, in a text that the kernel could have written must not
 * change what is read beside it: otherwise a process could choose its own start time or uids.
 */

static void check_stat(const char *text) {
        static const GlProcStat untouched = {'?', 1, 2};
        GlProcStat stat = untouched;
        int r = gl_proc_parse_stat(text, &stat);

        g_assert_true(r == 0 || r == -EBADMSG);
        if (r < 0)
                g_assert_true(stat.state == '?' && stat.flags == 1 && stat.start_time == 2);
}

static void check_uids(const char *text) {
        guint32 uids[4] = {1, 2, 3, 4};
        int r = gl_proc_parse_uids(text, uids);

        g_assert_true(r == 0 || r == -EBADMSG);
        if (r < 0)
                g_assert_true(uids[0] == 1 && uids[1] == 2 && uids[2] == 3 && uids[3] == 4);
}

static void check_pidfd(const char *text) {
        int pid = -7, r = gl_proc_parse_pidfd(text, &pid);

        g_assert_true(r == 0 || (r == -EBADF && pid == -7));
}

/* As the kernel writes it: at most 64 bytes, and in `status` newline and backslash escaped. */
static void check_name(const char *name) {
        g_autofree char *stat_text = NULL, *status_text = NULL;
        g_autoptr(GString) escaped = g_string_new(NULL);
        guint32 uids[4];
        GlProcStat stat;

        for (const char *at = name; *at; at++) {
                if (*at == '\n' || *at == '\\')
                        g_string_append(escaped, *at == '\n' ? "\\n" : "\\\\");
                else
                        g_string_append_c(escaped, *at);
        }
        stat_text = g_strdup_printf("4242 (%s) S 1 4242 4242 0 -1 4194560 110 0 0 0 3 1 0 0 20 0 1 0 987654 8421376 "
                                    "200 18446744073709551615 1 1 0 0 0 0 0 4096 0 0 0 0 17 1 0 0 0 0 0 0 0 0\n",
                                    name);
        g_assert_cmpint(gl_proc_parse_stat(stat_text, &stat), ==, 0);
        g_assert_true(stat.state == 'S' && stat.flags == 4194560 && stat.start_time == 987654);

        status_text = g_strdup_printf("Name:\t%s\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t4242\n"
                                      "Uid:\t1000\t1001\t1002\t1003\nGid:\t0\t0\t0\t0\n", escaped->str);
        g_assert_cmpint(gl_proc_parse_uids(status_text, uids), ==, 0);
        g_assert_true(uids[0] == 1000 && uids[1] == 1001 && uids[2] == 1002 && uids[3] == 1003);
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size) {
        g_autofree char *text = fuzz_text(data, size), *name = g_strndup(text, 64);

        check_stat(text);
        check_uids(text);
        check_pidfd(text);
        check_name(name);
        return 0;
}
