/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guests.h"
#include "json.h"
#include "screen.h"

static gboolean arg_kill, arg_keep;

static const GOptionEntry options[] = {
        {"kill", 'k', 0, G_OPTION_ARG_NONE, &arg_kill, "End a guest that still runs", NULL},
        {"keep", 0, 0, G_OPTION_ARG_NONE, &arg_keep, "Give the leases back, and keep what is registered", NULL},
        {},
};

static gboolean stop(GlCli *cli, char **arguments, GError **error) {
        GuestlockManager *manager = gl_cli_manager_who_asks(cli, error);
        g_autoptr(GuestlockGuest) guest = manager ? gl_find_guest(cli, manager, arguments[0], error) : NULL;
        g_autofree char *name = NULL;

        if (!guest ||
            !guestlock_guest_shutdown_sync(
                    guest, arg_kill ? GUESTLOCK_SHUTDOWN_FLAGS_KILL : GUESTLOCK_SHUTDOWN_FLAGS_NONE, NULL, error))
                return FALSE;
        /* What has no owner but its guest goes by itself. */
        if (!arg_keep && guestlock_guest_get_state(guest) != GUESTLOCK_STATE_GONE &&
            !guestlock_guest_remove_sync(guest, NULL, error))
                return FALSE;
        name = gl_text_of_guest(guest);
        if (cli->json)
                gl_json_print_guest(guest, NULL);
        else
                printf("Guest %s has ended, and holds nothing any more.\n", name);
        return TRUE;
}

const GlCommand gl_command_stop = {
        .name = "stop",
        .arguments = "GUEST",
        .summary = "Give back what a guest that has ended still holds",
        .description = "A guest that runs is ended only with --kill: that is a power cut for it.\n",
        .options = (const GOptionEntry *const[]){options, NULL},
        .min_arguments = 1,
        .max_arguments = 1,
        .run = stop,
};
