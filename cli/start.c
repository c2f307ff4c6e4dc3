/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guests.h"
#include "json.h"
#include "lease-options.h"
#include "resources.h"
#include "screen.h"
#include "wait.h"

static int arg_pid;
static gboolean arg_keep;

static const GOptionEntry options[] = {
        {"pid", 'p', 0, G_OPTION_ARG_INT, &arg_pid, "The guest's process, which must not use the disks yet", "PID"},
        {"keep", 0, 0, G_OPTION_ARG_NONE, &arg_keep, "Keep the guest when its process has ended, without its leases",
         NULL},
        {},
};

static gboolean add_disks(GlCli *cli, GuestlockRequest *request, GError **error) {
        for (gsize i = 0; gl_lease_options.disks && gl_lease_options.disks[i]; i++) {
                g_autofree char *path = NULL;
                GuestlockMode mode;

                if (!gl_parse_disk(gl_lease_options.disks[i], &path, &mode, error))
                        return FALSE;
                guestlock_request_add_disk(request, path, mode);
                if (!cli->path)
                        cli->path = g_steal_pointer(&path);
        }
        return TRUE;
}

static GuestlockRequest *make_request(GlCli *cli, GError **error) {
        g_autoptr(GuestlockRequest) request = gl_request_of_options(error);

        if (!request || !add_disks(cli, request, error))
                return NULL;
        if (arg_pid < 0) {
                g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "--pid takes the pid of a process.");
                return NULL;
        }
        if (arg_pid)
                guestlock_request_set_pid(request, (guint) arg_pid);
        guestlock_request_set_keep(request, arg_keep);
        return g_steal_pointer(&request);
}

static gboolean report(const GlCli *cli, GuestlockGuest *guest, GError **error) {
        g_autoptr(GPtrArray) resources = guestlock_guest_list_resources_sync(guest, NULL, error);
        g_autofree char *name = gl_text_of_guest(guest);

        if (!resources)
                return FALSE;
        if (cli->json) {
                gl_json_print_guest(guest, resources);
                return TRUE;
        }
        printf("Guest %s has its leases.\n", name);
        gl_print_resources(cli, resources);
        if (!guestlock_guest_get_pid(guest) && !cli->no_legend)
                printf("They are bound to no process, and last until: guestlockctl stop %s\n",
                       guestlock_guest_get_uuid(guest));
        return TRUE;
}

static gboolean start(GlCli *cli, char **arguments, GError **error) {
        g_autofree char *uuid = gl_uuid_of_options();
        g_autoptr(GuestlockRequest) request = make_request(cli, error);
        GuestlockManager *manager = request ? gl_cli_manager_who_asks(cli, error) : NULL;
        g_autoptr(GuestlockGuest) guest = NULL;

        if (!manager)
                return FALSE;
        cli->guest = g_strdup(gl_lease_options.uuid ?: arguments[0]);
        guest = gl_start_guest(cli, uuid, arguments[0], request, request, error);
        return guest && report(cli, guest, error);
}

const GlCommand gl_command_start = {
        .name = "start",
        .arguments = "NAME",
        .summary = "Take leases for a guest that something else runs",
        .description = "Without --pid nothing is known of the guest's process: the leases last until \"stop\".\n"
                       "To run a guest under its leases, see \"run\".\n",
        .options = (const GOptionEntry *const[]){options, gl_lease_entries, gl_wait_entries, NULL},
        .min_arguments = 1,
        .max_arguments = 1,
        .run = start,
};
