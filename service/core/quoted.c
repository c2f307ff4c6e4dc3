/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/quoted.h"

#include <string.h>

char *gl_quoted_write(const char *text) {
        g_autofree char *escaped = g_strescape(text, NULL);

        return g_strdup_printf("\"%s\"", escaped);
}

/* A backslash and what follows it: how many characters it takes, 0 if it is none that g_strescape() makes. */
static gsize unescape_one(const char *text, gsize left, char *byte) {
        static const char letters[] = "bfnrtv\\\"", bytes[] = "\b\f\n\r\t\v\\\"";
        const char *letter;

        if (left < 2)
                return 0;
        letter = memchr(letters, text[1], sizeof(letters) - 1);
        if (letter) {
                *byte = bytes[letter - letters];
                return 2;
        }
        if (left < 4 || text[1] < '0' || text[1] > '3' || text[2] < '0' || text[2] > '7' || text[3] < '0' ||
            text[3] > '7')
                return 0;
        *byte = (char) (((text[1] - '0') << 6) | ((text[2] - '0') << 3) | (text[3] - '0'));
        return *byte ? 4 : 0;
}

char *gl_quoted_read(const char *text) {
        gsize length = strlen(text);
        g_autoptr(GString) plain = g_string_sized_new(length);

        if (length < 2 || text[0] != '"' || text[length - 1] != '"')
                return NULL;
        for (gsize at = 1, end = length - 1; at < end;) {
                char byte = text[at];
                gsize taken = 1;

                if (byte == '"')
                        return NULL;
                if (byte == '\\')
                        taken = unescape_one(text + at, end - at, &byte);
                if (taken == 0)
                        return NULL;
                g_string_append_c(plain, byte);
                at += taken;
        }
        return g_string_free(g_steal_pointer(&plain), FALSE);
}
