/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "resources.h"

#include <string.h>

#include <guestlock-enum-types.h>

#include "client-lib/words.h"
#include "table.h"

static void add_row(GlTable *table, GuestlockResource *resource) {
        GuestlockResourceState state = guestlock_resource_get_state(resource);
        g_autofree char *since = gl_text_of_time(guestlock_resource_get_since(resource));
        const char *texts[] = {
                guestlock_resource_get_name(resource),
                gl_word_of_value(GUESTLOCK_TYPE_RESOURCE_TYPE, guestlock_resource_get_resource_type(resource)),
                gl_word_of_value(GUESTLOCK_TYPE_MODE, guestlock_resource_get_mode(resource)),
                gl_word_of_value(GUESTLOCK_TYPE_RESOURCE_STATE, state),
                guestlock_resource_get_scope(resource)
                        ? gl_word_of_value(GUESTLOCK_TYPE_SCOPE, guestlock_resource_get_scope(resource))
                        : NULL,
                guestlock_resource_get_kept_by(resource),
                since,
        };

        gl_table_add_row(table);
        for (guint i = 0; i < G_N_ELEMENTS(texts); i++)
                gl_table_set(table, i, texts[i], i == 3 ? gl_colour_of_resource_state(state) : GL_COLOUR_NONE);
}

static void print_remark(GuestlockResource *resource, const char *before, const char *remark) {
        g_autofree char *name = gl_screen_printable(guestlock_resource_get_name(resource));
        g_autofree char *text = gl_screen_printable(remark);

        printf("  \"%s\"%s%s%s%s.\n", name, gl_screen_begin(stdout, GL_COLOUR_WARNING), before, text,
               gl_screen_end(stdout));
}

void gl_print_resources(const GlCli *cli, GPtrArray *resources) {
        static const GlColumn columns[] = {{"RESOURCE", GL_COLUMN_SHRINKS}, {"TYPE", GL_COLUMN_PLAIN},
                                           {"MODE", GL_COLUMN_PLAIN},       {"STATE", GL_COLUMN_PLAIN},
                                           {"SCOPE", GL_COLUMN_OPTIONAL},   {"KEPT BY", GL_COLUMN_OPTIONAL},
                                           {"SINCE", GL_COLUMN_OPTIONAL}};
        GlTable *table = gl_table_new(cli, stdout, columns, G_N_ELEMENTS(columns));

        for (guint i = 0; i < resources->len; i++)
                add_row(table, resources->pdata[i]);
        gl_table_print(table, "  ");
        for (guint i = 0; i < resources->len; i++) {
                const char *held_open_by = guestlock_resource_get_held_open_by(resources->pdata[i]);

                if (held_open_by)
                        print_remark(resources->pdata[i], ": its lock is also held open by ", held_open_by);
                if (guestlock_resource_get_path_moved(resources->pdata[i]))
                        print_remark(resources->pdata[i], "", " is another file now than the one that is leased");
        }
}

char *gl_parse_path(const char *text, GError **error) {
        if (*text)
                return g_canonicalize_filename(text, NULL);
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "\"\" names no disk.");
        return NULL;
}

gboolean gl_parse_disk(const char *text, char **path, GuestlockMode *mode, GError **error) {
        const char *comma = strrchr(text, ',');
        gboolean has_mode = comma && g_str_has_prefix(comma, ",mode=");
        int found = has_mode ? gl_word_to_value(GUESTLOCK_TYPE_MODE, comma + strlen(",mode="))
                             : (int) GUESTLOCK_MODE_EXCLUSIVE;
        g_autofree char *name = has_mode ? g_strndup(text, (gsize) (comma - text)) : g_strdup(text);

        if (found == GUESTLOCK_MODE_UNKNOWN) {
                g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                            "The mode of a disk is exclusive, shared or readonly, and not \"%s\".",
                            comma + strlen(",mode="));
                return FALSE;
        }
        if (!*name) {
                g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "\"%s\" names no disk.", text);
                return FALSE;
        }
        *path = g_canonicalize_filename(name, NULL);
        *mode = (GuestlockMode) found;
        return TRUE;
}
