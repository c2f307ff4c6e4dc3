/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "cli.h"
#include "screen.h"

/* A table, as wide as the terminal; elsewhere as wide as it needs to be. */
typedef struct GlTable GlTable;

typedef enum {
        GL_COLUMN_PLAIN = 0,
        GL_COLUMN_RIGHT = 1 << 0,
        GL_COLUMN_SHRINKS = 1 << 1,  /* is cut in the middle where the terminal is too narrow, the longest first */
        GL_COLUMN_WRAPS = 1 << 2,    /* goes on in the next line there */
        GL_COLUMN_OPTIONAL = 1 << 3, /* is left out there before others are cut to less than a uuid, the last first */
} GlColumnFlags;

typedef struct {
        const char *title;
        GlColumnFlags flags;
} GlColumn;

/* n columns, of which one that has no text in any row is left out. It is for stdout or stderr. */
GlTable *gl_table_new(const GlCli *cli, FILE *where, const GlColumn *columns, guint n);

/* A row; gl_table_set() fills it. Texts are copied; NULL and "" are shown as a dash. */
void gl_table_add_row(GlTable *table);
void gl_table_set(GlTable *table, guint column, const char *text, GlColour colour);

/* Takes the table. indent is put before each line. */
void gl_table_print(GlTable *table, const char *indent);

/* Of an owner, the user's name, or the uid where there is none. (owned) */
char *gl_text_of_uid(guint uid);

/* Local time, or NULL for 0. (owned) (nullable) */
char *gl_text_of_time(guint64 usec);

/* "" for 0. (owned) */
char *gl_text_of_pid(guint pid);

GlColour gl_colour_of_state(GuestlockState state);
GlColour gl_colour_of_resource_state(GuestlockResourceState state);
