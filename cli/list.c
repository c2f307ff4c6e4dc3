/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <guestlock-enum-types.h>

#include "client-lib/words.h"
#include "guests.h"
#include "json.h"
#include "table.h"

static gboolean arg_quiet;

static const GOptionEntry options[] = {
        {"quiet", 'q', 0, G_OPTION_ARG_NONE, &arg_quiet, "Only what finds each: its name, or else its uuid", NULL},
        {},
};

static void print_json(GPtrArray *guests) {
        g_autoptr(JsonBuilder) json = gl_json_begin();

        json_builder_set_member_name(json, "guests");
        json_builder_begin_array(json);
        for (guint i = 0; i < guests->len; i++)
                gl_json_add_guest(json, guests->pdata[i], NULL);
        json_builder_end_array(json);
        gl_json_print(json);
}

static void add_row(GlTable *table, GuestlockGuest *guest) {
        GuestlockState state = guestlock_guest_get_state(guest);
        g_autofree char *pid = gl_text_of_pid(guestlock_guest_get_pid(guest));
        g_autofree char *owner = gl_text_of_uid(guestlock_guest_get_owner_uid(guest));
        g_autofree char *since = gl_text_of_time(guestlock_guest_get_acquired_at(guest));
        const char *word = gl_word_of_value(GUESTLOCK_TYPE_STATE, state);
        g_autofree char *waiting = g_strdup_printf("%s, waits", word);

        gl_table_add_row(table);
        gl_table_set(table, 0, guestlock_guest_get_name(guest), GL_COLOUR_NONE);
        gl_table_set(table, 1, guestlock_guest_get_uuid(guest), GL_COLOUR_NONE);
        gl_table_set(table, 2, guestlock_guest_get_waiting(guest) ? waiting : word, gl_colour_of_state(state));
        gl_table_set(table, 3, pid, GL_COLOUR_NONE);
        gl_table_set(table, 4, owner, GL_COLOUR_NONE);
        gl_table_set(table, 5, since, GL_COLOUR_NONE);
}

static void print_table(const GlCli *cli, GPtrArray *guests) {
        static const GlColumn columns[] = {{"NAME", GL_COLUMN_SHRINKS},   {"UUID", GL_COLUMN_SHRINKS},
                                           {"STATE", GL_COLUMN_PLAIN},    {"PID", GL_COLUMN_RIGHT},
                                           {"OWNER", GL_COLUMN_OPTIONAL}, {"SINCE", GL_COLUMN_OPTIONAL}};
        GlTable *table = gl_table_new(cli, stdout, columns, G_N_ELEMENTS(columns));

        for (guint i = 0; i < guests->len; i++)
                add_row(table, guests->pdata[i]);
        gl_table_print(table, "");
        if (!cli->no_legend && guests->len)
                printf("\n%u guest%s.\n", guests->len, guests->len == 1 ? "" : "s");
        else if (!cli->no_legend)
                printf("There are no guests.\n");
}

static gboolean is_unique(GPtrArray *guests, guint index) {
        const char *name = guestlock_guest_get_name(guests->pdata[index]);

        for (guint i = 0; i < guests->len; i++)
                if (i != index && g_str_equal(guestlock_guest_get_name(guests->pdata[i]), name))
                        return FALSE;
        return TRUE;
}

/* A line each, whatever the name is; one that looks like an option is none to type. */
static void print_names(GPtrArray *guests) {
        for (guint i = 0; i < guests->len; i++) {
                const char *name = guestlock_guest_get_name(guests->pdata[i]);
                g_autofree char *printable = gl_screen_printable(name);
                gboolean by_name =
                        gl_is_name(name) && name[0] != '-' && is_unique(guests, i) && g_str_equal(printable, name);

                puts(by_name ? name : guestlock_guest_get_uuid(guests->pdata[i]));
        }
}

static gboolean list(GlCli *cli, char **arguments, GError **error) {
        GuestlockManager *manager = gl_cli_manager(cli, error);
        g_autoptr(GPtrArray) guests = manager ? guestlock_manager_list_guests_sync(manager, NULL, error) : NULL;

        if (!guests)
                return FALSE;
        g_ptr_array_sort(guests, gl_compare_guests);
        if (cli->json)
                print_json(guests);
        else if (arg_quiet)
                print_names(guests);
        else
                print_table(cli, guests);
        return TRUE;
}

const GlCommand gl_command_list = {
        .name = "list",
        .arguments = "",
        .summary = "All guests, whoever owns them",
        .options = (const GOptionEntry *const[]){options, NULL},
        .run = list,
};
