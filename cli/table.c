/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The layout is libsmartcols', which lsblk and findmnt have. What does not fit a terminal is left out here before,
 * since that would cut off the ends of texts without saying so: first columns that one can do without, from the right,
 * then the middles of long texts, where "…" stands. Where it is no terminal nothing is left out.
 */

#include "table.h"

#include <libsmartcols.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

/* How short texts may become for the sake of other columns (a uuid is not cut then), and when there is no other way. */
#define COMFORTABLE 36
#define SHORTEST    6

/* What is known of a column as it is filled. */
typedef struct {
        GlColumnFlags flags;
        gboolean used;
        gsize title_width, width; /* in columns of the terminal; of the longest text in it, the title being one */
} Fill;

struct GlTable {
        struct libscols_table *table; /* (owned) */
        struct libscols_line *line;   /* (nullable) the last one */
        Fill *fills;                  /* (owned) */
        guint n;
        FILE *where;
};

static int smartcols_flags(GlColumnFlags flags) {
        return (flags & GL_COLUMN_RIGHT ? SCOLS_FL_RIGHT : 0) | (flags & GL_COLUMN_WRAPS ? SCOLS_FL_WRAP : 0);
}

GlTable *gl_table_new(const GlCli *cli, FILE *where, const GlColumn *columns, guint n) {
        GlTable *self = g_new0(GlTable, 1);

        self->table = scols_new_table();
        self->fills = g_new0(Fill, n);
        self->n = n;
        self->where = where;
        if (!self->table)
                g_error("No memory for a table.");
        for (guint i = 0; i < n; i++) {
                gsize width = cli->no_legend ? 0 : gl_screen_width(columns[i].title);

                self->fills[i] = (Fill){.flags = columns[i].flags, .title_width = width, .width = width};
                /* 0.1: as narrow as what is in it, unless there is more room than that. */
                scols_table_new_column(self->table, columns[i].title, 0.1, smartcols_flags(columns[i].flags));
        }
        /* Texts are printable when they get there. */
        scols_table_enable_noencoding(self->table, TRUE);
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
        g_autofree char *printable = NULL;

        if (!text || !*text)
                return;
        printable = gl_screen_printable(text);
        self->fills[column].used = TRUE;
        self->fills[column].width = MAX(self->fills[column].width, gl_screen_width(printable));
        scols_cell_set_data(cell, printable);
        if (*sequence)
                scols_cell_set_color(cell, sequence);
}

/* --- making it fit --- */

/* Of a text that may be cut to so many columns, and of those that one long line does not decide. */
static gsize least_width(const Fill *fill, gsize limit) {
        return fill->flags & (GL_COLUMN_SHRINKS | GL_COLUMN_WRAPS) ? MIN(fill->width, MAX(limit, fill->title_width))
                                                                   : fill->width;
}

/* Of the whole table, with its columns cut so far. */
static gsize least_width_of_all(const GlTable *self, gsize limit) {
        gsize width = 0;

        for (guint i = 0; i < self->n; i++)
                if (self->fills[i].used)
                        width += least_width(&self->fills[i], limit) + (width > 0);
        return width;
}

static void drop_columns(GlTable *self, gsize room) {
        for (guint i = self->n; i > 0; i--)
                if (self->fills[i - 1].flags & GL_COLUMN_OPTIONAL && least_width_of_all(self, COMFORTABLE) > room)
                        self->fills[i - 1].used = FALSE;
}

/* The longest ones lose first. */
static gsize choose_limit(const GlTable *self, gsize room) {
        gsize limit = room;

        while (limit > SHORTEST && least_width_of_all(self, limit) > room)
                limit--;
        return limit;
}

static void cut_texts(GlTable *self, guint column, gsize limit) {
        for (gsize i = 0; i < scols_table_get_nlines(self->table); i++) {
                struct libscols_cell *cell = scols_line_get_cell(scols_table_get_line(self->table, i), column);
                g_autofree char *cut = gl_screen_cut(scols_cell_get_data(cell), limit);

                scols_cell_set_data(cell, cut);
        }
}

static void fit(GlTable *self, gsize room) {
        gsize limit;

        drop_columns(self, room);
        limit = choose_limit(self, room);
        for (guint i = 0; i < self->n; i++)
                if (self->fills[i].used && self->fills[i].flags & GL_COLUMN_SHRINKS)
                        cut_texts(self, i, MAX(limit, self->fills[i].title_width));
        scols_table_set_termwidth(self->table, room);
}

static void hide_unused(GlTable *self) {
        for (guint i = 0; i < self->n; i++) {
                struct libscols_column *column = scols_table_get_column(self->table, i);

                if (!self->fills[i].used)
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
                scols_table_set_stream(self->table, self->where);
                width = scols_table_get_termwidth(self->table);
                if (isatty(fileno(self->where)) && width > indented)
                        fit(self, width - indented);
                hide_unused(self);
                print_indented(self, indent);
        }
        scols_unref_table(self->table);
        g_free(self->fills);
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
