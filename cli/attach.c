/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guests.h"
#include "json.h"
#include "lease-options.h"
#include "resources.h"
#include "screen.h"
#include "wait.h"

typedef struct {
        GuestlockGuest *guest;
        GuestlockResource *disk;
        guint wait_ms;
} Attach;

static void begin(gpointer data, GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data) {
        Attach *what = data;

        guestlock_guest_attach_resource_async(what->guest, what->disk, what->wait_ms, cancellable, callback, user_data);
}

static gboolean attach_disk(GlCli *cli, GuestlockGuest *guest, GuestlockMode mode, guint wait_ms, GError **error) {
        g_autoptr(GuestlockResource) disk = guestlock_resource_new_disk(cli->path, mode);
        g_autoptr(GuestlockRequest) request = guestlock_request_new();
        GlWaitsFor obstacles = {NULL, request};
        Attach what = {guest, disk, wait_ms};
        g_autoptr(GAsyncResult) result = NULL;

        guestlock_request_add_resource(request, disk);
        result = gl_wait(cli, &obstacles, begin, &what);
        return guestlock_guest_attach_resource_finish(guest, result, NULL, error);
}

/* With a guest that holds nothing the service registers a disk, for the next time, and takes nothing. */
static gboolean is_taken(GlCli *cli, GuestlockGuest *guest, GError **error) {
        if (guestlock_guest_get_state(guest) != GUESTLOCK_STATE_RELEASED)
                return TRUE;
        g_set_error(error, GUESTLOCK_ERROR, GUESTLOCK_ERROR_BAD_STATE,
                    "Guest \"%s\" (%s) is released, and holds nothing: \"%s\" is registered with it, and not taken.",
                    guestlock_guest_get_name(guest), guestlock_guest_get_uuid(guest), cli->path);
        return FALSE;
}

static gboolean attach(GlCli *cli, char **arguments, GError **error) {
        GuestlockMode mode = GUESTLOCK_MODE_UNKNOWN;
        guint wait_ms = 0;
        GuestlockManager *manager =
                gl_parse_disk(arguments[1], &cli->path, &mode, error) && gl_wait_ms_of_options(&wait_ms, error)
                        ? gl_cli_manager_who_asks(cli, error)
                        : NULL;
        g_autoptr(GuestlockGuest) guest = manager ? gl_find_guest(cli, manager, arguments[0], error) : NULL;
        g_autoptr(GPtrArray) resources = NULL;
        g_autofree char *name = NULL;
        g_autofree char *path = NULL;

        if (!guest || !attach_disk(cli, guest, mode, wait_ms, error))
                return FALSE;
        resources = guestlock_guest_list_resources_sync(guest, NULL, error);
        if (!resources || !is_taken(cli, guest, error))
                return FALSE;
        name = gl_text_of_guest(guest);
        path = gl_screen_printable(cli->path);
        if (cli->json)
                gl_json_print_guest(guest, resources);
        else
                printf("Guest %s may use \"%s\" now.\n", name, path);
        return TRUE;
}

const GlCommand gl_command_attach = {
        .name = "attach",
        .arguments = "GUEST PATH[,mode=MODE]",
        .summary = "Take a disk for a running guest, before it is plugged in",
        .description = "Of a disk that it has already, the mode is changed, to exclusive, shared or readonly.\n",
        .options = (const GOptionEntry *const[]){gl_wait_entries, NULL},
        .min_arguments = 2,
        .max_arguments = 2,
        .run = attach,
};
