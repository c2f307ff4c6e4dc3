/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The layout is libsmartcols', which lsblk and findmnt have; it escapes what would upset a terminal. */

#include "table.h"

#include <libsmartcols.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

struct GlTable {
        struct libscols_table *table; /* (owned) */
        struct libscols_line *line;   /* (nullable) the last one */
        gboolean *used;               /* (owned) */
        guint n;
        FILE *where;
};

static int smartcols_flags(GlColumnFlags flags) {
        return (flags & GL_COLUMN_RIGHT ? SCOLS_FL_RIGHT : 0) | (flags & GL_COLUMN_SHRINKS ? SCOLS_FL_TRUNC : 0) |
               (flags & GL_COLUMN_WRAPS ? SCOLS_FL_WRAP : 0);
}

GlTable *gl_table_new(const GlCli *cli, FILE *where, const GlColumn *columns, guint n) {
        GlTable *self = g_new0(GlTable, 1);

        self->table = scols_new_table();
        self->used = g_new0(gboolean, n);
        self->n = n;
        self->where = where;
        if (!self->table)
                g_error("No memory for a table.");
        for (guint i = 0; i < n; i++)
                /* 0.1: as narrow as what is in it, unless there is more room than that. */
                scols_table_new_column(self->table, columns[i].title, 0.1, smartcols_flags(columns[i].flags));
        scols_table_enable_noheadings(self->table, cli->no_legend);
        scols_table_enable_colors(self->table, *gl_screen_end(where) != '\0');
        return self;
}

void gl_table_add_row(GlTable *self) {
        self->line = scols_table_new_line(self->table, NULL);
        for (guint i = 0; i < self->n; i++)
                scols_line_set_data(self->line, i, "-");
}

void gl_table_set(GlTable *self, guint column, const char *text, GlColour colour) {
        struct libscols_cell *cell = scols_line_get_cell(self->line, column);
        const char *sequence = gl_screen_begin(self->where, colour);

        if (!text || !*text)
                return;
        self->used[column] = TRUE;
        scols_cell_set_data(cell, text);
        if (*sequence)
                scols_cell_set_color(cell, sequence);
}

static void hide_unused(GlTable *self) {
        for (guint i = 0; i < self->n; i++) {
                struct libscols_column *column = scols_table_get_column(self->table, i);

                if (!self->used[i])
                        scols_column_set_flags(column, scols_column_get_flags(column) | SCOLS_FL_HIDDEN);
        }
}

static void print_indented(GlTable *self, const char *indent) {
        g_auto(GStrv) lines = NULL;
        char *printed = NULL;

        if (scols_print_table_to_string(self->table, &printed) < 0)
                return;
        lines = g_strsplit(printed, "\n", -1);
        free(printed);
        for (gsize i = 0; lines[i]; i++)
                if (*lines[i])
                        fprintf(self->where, "%s%s\n", indent, lines[i]);
}

void gl_table_print(GlTable *self, const char *indent) {
        gsize indented = strlen(indent), width;

        if (scols_table_get_nlines(self->table) > 0) {
                hide_unused(self);
                scols_table_set_stream(self->table, self->where);
                width = scols_table_get_termwidth(self->table);
                if (isatty(fileno(self->where)) && width > indented)
                        scols_table_set_termwidth(self->table, width - indented);
                print_indented(self, indent);
        }
        scols_unref_table(self->table);
        g_free(self->used);
        g_free(self);
}

/* --- what stands in tables --- */

char *gl_text_of_uid(guint uid) {
        struct passwd *entry = getpwuid(uid);

        return entry ? g_strdup(entry->pw_name) : g_strdup_printf("%u", uid);
}

char *gl_text_of_time(guint64 usec) {
        g_autoptr(GDateTime) time = usec ? g_date_time_new_from_unix_local((gint64) (usec / G_USEC_PER_SEC)) : NULL;

        return time ? g_date_time_format(time, "%F %T") : NULL;
}

char *gl_text_of_pid(guint pid) {
        return pid ? g_strdup_printf("%u", pid) : g_strdup("");
}

GlColour gl_colour_of_state(GuestlockState state) {
        switch (state) {
        case GUESTLOCK_STATE_HELD:
                return GL_COLOUR_GOOD;
        case GUESTLOCK_STATE_LOST:
                return GL_COLOUR_BAD;
        case GUESTLOCK_STATE_MIGRATING:
        case GUESTLOCK_STATE_INCOMING:
                return GL_COLOUR_WARNING;
        default:
                return GL_COLOUR_DIM;
        }
}

GlColour gl_colour_of_resource_state(GuestlockResourceState state) {
        switch (state) {
        case GUESTLOCK_RESOURCE_STATE_HELD:
                return GL_COLOUR_GOOD;
        case GUESTLOCK_RESOURCE_STATE_LOST:
                return GL_COLOUR_BAD;
        case GUESTLOCK_RESOURCE_STATE_REGISTERED:
                return GL_COLOUR_DIM;
        default:
                return GL_COLOUR_WARNING;
        }
}
