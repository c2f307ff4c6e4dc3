/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "json.h"
#include "table.h"

static char *arg_load, *arg_unload;

static const GOptionEntry options[] = {
        {"load", 0, 0, G_OPTION_ARG_STRING, &arg_load, "Load this driver first", "NAME"},
        {"unload", 0, 0, G_OPTION_ARG_STRING, &arg_unload, "Unload this driver first", "NAME"},
        {},
};

static void print_json(GPtrArray *drivers) {
        g_autoptr(JsonBuilder) json = gl_json_begin();

        json_builder_set_member_name(json, "drivers");
        json_builder_begin_array(json);
        for (guint i = 0; i < drivers->len; i++) {
                json_builder_begin_object(json);
                gl_json_add_text(json, "name", guestlock_driver_get_name(drivers->pdata[i]));
                gl_json_add_words(json, "capabilities", guestlock_driver_get_capabilities(drivers->pdata[i]));
                json_builder_end_object(json);
        }
        json_builder_end_array(json);
        gl_json_print(json);
}

static void print_table(const GlCli *cli, GPtrArray *drivers, const char *by_default) {
        static const GlColumn columns[] = {{"DRIVER", GL_COLUMN_PLAIN}, {"CAPABILITIES", GL_COLUMN_WRAPS}};
        GlTable *table = gl_table_new(cli, stdout, columns, G_N_ELEMENTS(columns));

        for (guint i = 0; i < drivers->len; i++) {
                const char *name = guestlock_driver_get_name(drivers->pdata[i]);
                g_autofree char *can = g_strjoinv(" ", (char **) guestlock_driver_get_capabilities(drivers->pdata[i]));

                gl_table_add_row(table);
                gl_table_set(table, 0, name, g_strcmp0(name, by_default) ? GL_COLOUR_NONE : GL_COLOUR_BOLD);
                gl_table_set(table, 1, can, GL_COLOUR_NONE);
        }
        gl_table_print(table, "");
        if (!cli->no_legend && by_default)
                printf("\nGuests that ask for none get \"%s\".\n", by_default);
}

static gboolean drivers(GlCli *cli, char **arguments, GError **error) {
        GuestlockManager *manager =
                arg_load || arg_unload ? gl_cli_manager_who_asks(cli, error) : gl_cli_manager(cli, error);
        g_autoptr(GPtrArray) found = NULL;

        if (!manager || (arg_load && !guestlock_manager_load_driver_sync(manager, arg_load, NULL, error)) ||
            (arg_unload && !guestlock_manager_unload_driver_sync(manager, arg_unload, NULL, error)))
                return FALSE;
        found = guestlock_manager_list_drivers_sync(manager, NULL, error);
        if (!found)
                return FALSE;
        if (cli->json)
                print_json(found);
        else
                print_table(cli, found, guestlock_manager_get_default_driver(manager));
        return TRUE;
}

const GlCommand gl_command_drivers = {
        .name = "drivers",
        .arguments = "",
        .summary = "What makes leases real, and what each of them can do",
        .options = (const GOptionEntry *const[]){options, NULL},
        .run = drivers,
};
