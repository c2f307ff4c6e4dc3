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

char *gl_screen_printable(const char *text) {
        g_autofree char *valid = g_utf8_make_valid(text, -1);
        GString *printable = g_string_new(NULL);

        for (const char *at = valid; *at; at = g_utf8_next_char(at)) {
                gunichar character = g_utf8_get_char(at);

                if (g_unichar_isprint(character))
                        g_string_append_unichar(printable, character);
                else
                        g_string_append_printf(printable, character < 0x80 ? "\\x%02x" : "\\u%04x", character);
        }
        return g_string_free(printable, FALSE);
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
