/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <stdio.h>

/* What a person sees: colours and cursor movements on a terminal only, and nothing that somebody else wrote raw. */

typedef enum {
        GL_COLOUR_NONE,
        GL_COLOUR_GOOD,
        GL_COLOUR_WARNING,
        GL_COLOUR_BAD,
        GL_COLOUR_DIM,
        GL_COLOUR_BOLD,
} GlColour;

void gl_screen_init(void);

/* The sequence that begins it there, and "" where that is no terminal; libsmartcols knows the same ones. (static) */
const char *gl_screen_begin(FILE *where, GlColour colour);
const char *gl_screen_end(FILE *where);

/* With what is no printable character escaped. (owned) */
char *gl_screen_printable(const char *text);

gboolean gl_screen_is_printable(gunichar character);

/* How many columns a printable text takes on a terminal. */
gsize gl_screen_width(const char *text);

/* A printable text that takes at most so many: what is too much is cut out of its middle, where "…" stands then.
 * (owned) */
char *gl_screen_cut(const char *text, gsize columns);

/* On standard error. */
void gl_screen_complain(const char *message);
void gl_screen_suggest(const char *text);
void gl_screen_remark(const char *text);
