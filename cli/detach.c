/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guests.h"
#include "json.h"
#include "resources.h"
#include "screen.h"

static gboolean detach(GlCli *cli, char **arguments, GError **error) {
        GuestlockManager *manager =
                (cli->path = gl_parse_path(arguments[1], error)) ? gl_cli_manager_who_asks(cli, error) : NULL;
        g_autoptr(GuestlockGuest) guest = manager ? gl_find_guest(cli, manager, arguments[0], error) : NULL;
        g_autofree char *name = NULL;
        g_autofree char *path = NULL;

        if (!guest ||
            !guestlock_guest_detach_resource_sync(guest, GUESTLOCK_RESOURCE_TYPE_DISK, cli->path, NULL, error))
                return FALSE;
        name = gl_text_of_guest(guest);
        path = gl_screen_printable(cli->path);
        if (cli->json)
                gl_json_print_guest(guest, NULL);
        else
                printf("Guest %s does not hold \"%s\" any more.\n", name, path);
        return TRUE;
}

const GlCommand gl_command_detach = {
        .name = "detach",
        .arguments = "GUEST PATH",
        .summary = "Give a disk back, after it was unplugged",
        .min_arguments = 2,
        .max_arguments = 2,
        .run = detach,
};
