/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <guestlock-enum-types.h>

#include "client-lib/words.h"
#include "guests.h"
#include "json.h"
#include "resources.h"
#include "table.h"

/* --- the service --- */

static void print_service_json(GuestlockManager *manager, guint guests, guint leases) {
        g_autoptr(JsonBuilder) json = gl_json_begin();

        json_builder_set_member_name(json, "service");
        json_builder_begin_object(json);
        gl_json_add_text(json, "version", guestlock_manager_get_version(manager));
        gl_json_add_text(json, "host-id", guestlock_manager_get_host_id(manager));
        gl_json_add_text(json, "host-name", guestlock_manager_get_host_name(manager));
        gl_json_add_text(json, "default-driver", guestlock_manager_get_default_driver(manager));
        json_builder_set_member_name(json, "guests");
        json_builder_add_int_value(json, guests);
        json_builder_set_member_name(json, "leases");
        json_builder_add_int_value(json, leases);
        json_builder_end_object(json);
        gl_json_print(json);
}

static void print_line(const char *key, const char *text, GlColour colour) {
        g_autofree char *printable = text ? gl_screen_printable(text) : NULL;

        if (printable)
                printf("%14s: %s%s%s\n", key, gl_screen_begin(stdout, colour), printable, gl_screen_end(stdout));
}

static gboolean show_service(GlCli *cli, GuestlockManager *manager, GError **error) {
        guint guests = 0, leases = 0;

        if (!guestlock_manager_count_sync(manager, &guests, &leases, NULL, error))
                return FALSE;
        if (cli->json) {
                print_service_json(manager, guests, leases);
        } else {
                g_autofree char *held = g_strdup_printf("%u, of %u guest%s", leases, guests, guests == 1 ? "" : "s");

                print_line("Version", guestlock_manager_get_version(manager), GL_COLOUR_NONE);
                print_line("Host", guestlock_manager_get_host_name(manager), GL_COLOUR_NONE);
                print_line("Host id", guestlock_manager_get_host_id(manager), GL_COLOUR_NONE);
                print_line("Default driver", guestlock_manager_get_default_driver(manager), GL_COLOUR_NONE);
                print_line("Leases", held, GL_COLOUR_NONE);
        }
        return TRUE;
}

/* --- a guest --- */

/* Its pid, and what the process calls itself. */
static char *text_of_process(guint pid) {
        g_autofree char *file = g_strdup_printf("/proc/%u/comm", pid);
        g_autofree char *command = NULL;

        if (!pid)
                return NULL;
        if (!g_file_get_contents(file, &command, NULL, NULL))
                return g_strdup_printf("%u", pid);
        return g_strdup_printf("%u (%s)", pid, g_strchomp(command));
}

static char *text_of_state(GuestlockGuest *guest) {
        g_autofree char *since = gl_text_of_time(guestlock_guest_get_acquired_at(guest));
        GuestlockState state = guestlock_guest_get_state(guest);

        return g_strdup_printf("%s%s%s%s", gl_word_of_value(GUESTLOCK_TYPE_STATE, state),
                               since && state == GUESTLOCK_STATE_HELD ? " since " : "",
                               since && state == GUESTLOCK_STATE_HELD ? since : "",
                               guestlock_guest_get_waiting(guest) ? ", waits for what others hold" : "");
}

static void print_guest(const GlCli *cli, GuestlockGuest *guest, GPtrArray *resources) {
        g_autofree char *title = gl_text_of_guest(guest);
        g_autofree char *state = text_of_state(guest);
        g_autofree char *process = text_of_process(guestlock_guest_get_pid(guest));
        g_autofree char *supervisor = text_of_process(guestlock_guest_get_supervisor_pid(guest));
        g_autofree char *owner = gl_text_of_uid(guestlock_guest_get_owner_uid(guest));
        g_autofree char *generation = g_strdup_printf("%" G_GUINT64_FORMAT, guestlock_guest_get_generation(guest));

        printf("%s%s%s\n", gl_screen_begin(stdout, GL_COLOUR_BOLD), title, gl_screen_end(stdout));
        print_line("State", state, gl_colour_of_state(guestlock_guest_get_state(guest)));
        print_line("Process", process, GL_COLOUR_NONE);
        print_line("Supervisor", supervisor, GL_COLOUR_NONE);
        print_line("Owner", owner, GL_COLOUR_NONE);
        print_line("Origin", guestlock_guest_get_origin(guest), GL_COLOUR_NONE);
        print_line("Driver", guestlock_guest_get_driver(guest), GL_COLOUR_NONE);
        print_line("On lease lost", gl_word_of_value(GUESTLOCK_TYPE_ACTION, guestlock_guest_get_on_lease_lost(guest)),
                   GL_COLOUR_NONE);
        if (guestlock_guest_get_generation(guest))
                print_line("Generation", generation, GL_COLOUR_NONE);
        gl_print_resources(cli, resources);
}

static gboolean show_guest(GlCli *cli, GuestlockManager *manager, const char *word, gboolean is_next, GError **error) {
        g_autoptr(GuestlockGuest) guest = gl_find_guest(cli, manager, word, error);
        g_autoptr(GPtrArray) resources = guest ? guestlock_guest_list_resources_sync(guest, NULL, error) : NULL;

        if (!resources)
                return FALSE;
        if (cli->json) {
                gl_json_print_guest(guest, resources);
        } else {
                if (is_next)
                        putchar('\n');
                print_guest(cli, guest, resources);
        }
        return TRUE;
}

static gboolean status(GlCli *cli, char **arguments, GError **error) {
        GuestlockManager *manager = gl_cli_manager(cli, error);

        if (!manager)
                return FALSE;
        if (!arguments[0])
                return show_service(cli, manager, error);
        for (gsize i = 0; arguments[i]; i++)
                if (!show_guest(cli, manager, arguments[i], i > 0, error))
                        return FALSE;
        return TRUE;
}

const GlCommand gl_command_status = {
        .name = "status",
        .arguments = "[GUEST…]",
        .summary = "What guests have; without one, what the service is",
        .max_arguments = G_MAXUINT,
        .run = status,
};
