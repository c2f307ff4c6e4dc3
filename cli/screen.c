/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "screen.h"

#include <stdlib.h>
#include <unistd.h>

static gboolean out_has_colours, err_has_colours;

static gboolean has_colours(int fd) {
        const char *no_color = getenv("NO_COLOR"), *terminal = getenv("TERM");

        return isatty(fd) && !(no_color && no_color[0]) && g_strcmp0(terminal, "dumb") != 0;
}

void gl_screen_init(void) {
        out_has_colours = has_colours(STDOUT_FILENO);
        err_has_colours = has_colours(STDERR_FILENO);
}

static gboolean is_coloured(FILE *where) {
        return where == stdout ? out_has_colours : err_has_colours;
}

const char *gl_screen_begin(FILE *where, GlColour colour) {
        static const char *const sequences[] = {
                [GL_COLOUR_NONE] = "",        [GL_COLOUR_GOOD] = "\033[32m", [GL_COLOUR_WARNING] = "\033[33m",
                [GL_COLOUR_BAD] = "\033[31m", [GL_COLOUR_DIM] = "\033[2m",   [GL_COLOUR_BOLD] = "\033[1m",
        };

        return is_coloured(where) ? sequences[colour] : "";
}

const char *gl_screen_end(FILE *where) {
        return is_coloured(where) ? "\033[0m" : "";
}

/* What separates lines and paragraphs is printable for GLib. */
gboolean gl_screen_is_printable(gunichar character) {
        return g_unichar_isprint(character) && character != 0x2028 && character != 0x2029;
}

char *gl_screen_printable(const char *text) {
        g_autofree char *valid = g_utf8_make_valid(text, -1);
        GString *printable = g_string_new(NULL);

        for (const char *at = valid; *at; at = g_utf8_next_char(at)) {
                gunichar character = g_utf8_get_char(at);

                if (gl_screen_is_printable(character))
                        g_string_append_unichar(printable, character);
                else
                        g_string_append_printf(printable, character < 0x80 ? "\\x%02x" : "\\u{%x}", character);
        }
        return g_string_free(printable, FALSE);
}

static gsize width_of(gunichar character) {
        return g_unichar_iszerowidth(character) ? 0 : g_unichar_iswide(character) ? 2 : 1;
}

gsize gl_screen_width(const char *text) {
        gsize width = 0;

        for (const char *at = text; *at; at = g_utf8_next_char(at))
                width += width_of(g_utf8_get_char(at));
        return width;
}

/* What fits into so many columns of the text's beginning. */
static const char *skip_columns(const char *text, gsize columns) {
        const char *at = text;

        for (; *at && width_of(g_utf8_get_char(at)) <= columns; at = g_utf8_next_char(at))
                columns -= width_of(g_utf8_get_char(at));
        return at;
}

char *gl_screen_cut(const char *text, gsize columns) {
        const char *mark = g_get_charset(NULL) ? "…" : "~";
        const char *first_end, *last = text;
        gsize width = gl_screen_width(text), kept;

        if (width <= columns)
                return g_strdup(text);
        if (columns == 0)
                return g_strdup("");
        kept = columns - 1;
        first_end = skip_columns(text, kept / 2);
        for (; width > kept - kept / 2; last = g_utf8_next_char(last))
                width -= width_of(g_utf8_get_char(last));
        return g_strdup_printf("%.*s%s%s", (int) (first_end - text), text, mark, last);
}

static void say(GlColour colour, const char *prefix, const char *text) {
        g_autofree char *printable = gl_screen_printable(text);

        fprintf(stderr, "%s%s%s%s\n", gl_screen_begin(stderr, colour), prefix, printable, gl_screen_end(stderr));
}

void gl_screen_complain(const char *message) {
        say(GL_COLOUR_BAD, "guestlockctl: ", message);
}

void gl_screen_suggest(const char *text) {
        say(GL_COLOUR_NONE, "", text);
}

void gl_screen_remark(const char *text) {
        say(GL_COLOUR_DIM, "", text);
}
