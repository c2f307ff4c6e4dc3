/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guests.h"
#include "json.h"
#include "resources.h"
#include "screen.h"

static gboolean arg_all, arg_kill, arg_drained;
static char *arg_reason;

static const GOptionEntry options[] = {
        {"all", 'a', 0, G_OPTION_ARG_NONE, &arg_all, "Take all of the guest's leases away", NULL},
        {"kill", 'k', 0, G_OPTION_ARG_NONE, &arg_kill, "End the guest, so that others can have the disks", NULL},
        {"drained", 0, 0, G_OPTION_ARG_NONE, &arg_drained,
         "The guest has ended, and I answer for it that nothing writes any more", NULL},
        {"reason", 'r', 0, G_OPTION_ARG_STRING, &arg_reason, "For whoever looks after the guest", "TEXT"},
        {},
};

static gboolean check_arguments(char **arguments, GError **error) {
        if (arg_all != (arguments[1] != NULL) && !(arg_kill && arg_drained))
                return TRUE;
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED, "%s",
                    arg_kill && arg_drained ? "--kill is for guests that run, --drained for those that have ended."
                    : arg_all               ? "Name disks, or --all of them, but not both."
                                            : "Which disks? Name them, or say --all.");
        return FALSE;
}

static gboolean revoke_one(GuestlockGuest *guest, GuestlockResourceType type, const char *name, GError **error) {
        g_autofree char *reason =
                arg_reason ? g_strdup(arg_reason) : g_strdup_printf("taken away by %s", g_get_user_name());
        GuestlockRevokeFlags flags = (arg_kill ? GUESTLOCK_REVOKE_FLAGS_KILL : GUESTLOCK_REVOKE_FLAGS_NONE) |
                                     (arg_drained ? GUESTLOCK_REVOKE_FLAGS_DRAINED : GUESTLOCK_REVOKE_FLAGS_NONE);

        return guestlock_guest_revoke_sync(guest, type, name, reason, flags, NULL, error);
}

static gboolean has_process(GuestlockGuest *guest) {
        return guestlock_guest_get_pid(guest) || guestlock_guest_get_supervisor_pid(guest);
}

/* What is taken away first may end the guest, by --kill or by its own wish, and so take the rest away as well. */
static gboolean has_ended(GuestlockGuest *guest) {
        return guestlock_guest_refresh_sync(guest, NULL, NULL) &&
               (guestlock_guest_get_state(guest) == GUESTLOCK_STATE_GONE || !has_process(guest));
}

static gboolean revoke_named(GlCli *cli, GuestlockGuest *guest, char **paths, GError **error) {
        gboolean had_process = has_process(guest);

        for (gsize i = 0; paths[i]; i++) {
                g_autoptr(GError) trouble = NULL;

                g_free(cli->path);
                cli->path = gl_parse_path(paths[i], error);
                if (!cli->path)
                        return FALSE;
                if (revoke_one(guest, GUESTLOCK_RESOURCE_TYPE_DISK, cli->path, &trouble))
                        continue;
                if (i > 0 && had_process && has_ended(guest))
                        return TRUE;
                g_propagate_error(error, g_steal_pointer(&trouble));
                return FALSE;
        }
        return TRUE;
}

static void report(GuestlockGuest *guest) {
        g_autofree char *name = gl_text_of_guest(guest);

        if (guestlock_guest_get_state(guest) != GUESTLOCK_STATE_LOST)
                printf("Guest %s does not hold it any more.\n", name);
        else if (arg_kill || has_process(guest))
                printf("Guest %s has lost what was taken away. Others can have it when its process is gone.\n", name);
        else
                printf("Guest %s has lost what was taken away. It has no process, so others can have it now.\n", name);
}

static gboolean revoke_leases(GlCli *cli, char **arguments, GError **error) {
        GuestlockManager *manager = check_arguments(arguments, error) ? gl_cli_manager_who_asks(cli, error) : NULL;
        g_autoptr(GuestlockGuest) guest = manager ? gl_find_guest(cli, manager, arguments[0], error) : NULL;

        if (!guest || !(arg_all ? revoke_one(guest, GUESTLOCK_RESOURCE_TYPE_UNKNOWN, NULL, error)
                                : revoke_named(cli, guest, arguments + 1, error)))
                return FALSE;
        if (cli->json)
                gl_json_print_guest(guest, NULL);
        else
                report(guest);
        return TRUE;
}

const GlCommand gl_command_revoke = {
        .name = "revoke",
        .arguments = "GUEST PATH…|--all",
        .summary = "Take leases away from a guest",
        .description =
                "What becomes of the guest is what it was started with (--on-lease-lost). A disk that it may still\n"
                "write to stays blocked for others until its process is gone: to hand it over, use --kill.\n",
        .options = (const GOptionEntry *const[]){options, NULL},
        .min_arguments = 1,
        .max_arguments = G_MAXUINT,
        .run = revoke_leases,
};
