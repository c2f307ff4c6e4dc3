/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <unistd.h>

#include <guestlock.h>

/*
 * Runs a program under leases on disks: start-guest UUID NAME DISK… -- PROGRAM…
 *
 * The program is there before the leases, held back, so that it can be named as their holder; it goes on when they are
 * granted. They end by themselves when it has ended and all that it wrote has landed.
 */

static void lost(GuestlockGuest *guest, GuestlockResourceType type, const char *name, GuestlockLossReason reason,
                 GuestlockAction action, guint64 remaining, const char *message, gpointer data) {
        g_printerr("Lost \"%s\": %s\n", name, message);
}

static void ended(GPid pid, int status, gpointer loop) {
        g_main_loop_quit(loop);
}

int main(int argc, char **argv) {
        /* A shell, which becomes the program when it may read a line. */
        GPtrArray *command = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
        g_autoptr(GuestlockRequest) request = guestlock_request_new();
        g_autoptr(GuestlockManager) manager = NULL;
        g_autoptr(GuestlockGuest) guest = NULL;
        g_autoptr(GError) error = NULL;
        int i, gate;
        GPid pid;

        if (argc < 6)
                return 2;
        for (i = 3; i < argc && !g_str_equal(argv[i], "--"); i++)
                guestlock_request_add_disk(request, argv[i], GUESTLOCK_MODE_EXCLUSIVE);
        g_ptr_array_add(command, g_strdup("sh"));
        g_ptr_array_add(command, g_strdup("-c"));
        g_ptr_array_add(command, g_strdup("read -r granted && exec \"$0\" \"$@\""));
        while (++i < argc)
                g_ptr_array_add(command, g_strdup(argv[i]));
        g_ptr_array_add(command, NULL);

        manager = guestlock_manager_new_sync(NULL, &error);
        if (manager && g_spawn_async_with_pipes(NULL, (char **) command->pdata, NULL,
                                                G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL, &pid,
                                                &gate, NULL, NULL, &error)) {
                g_child_watch_add(pid, ended, loop);
                guestlock_request_set_pid(request, pid);
                guest = guestlock_manager_start_guest_sync(manager, argv[1], argv[2], request, NULL, &error);
                if (guest) {
                        g_signal_connect(guest, "lease-lost", G_CALLBACK(lost), NULL);
                        dprintf(gate, "granted\n");
                }
                close(gate);
                g_main_loop_run(loop);
        }
        g_ptr_array_unref(command);
        if (error)
                g_printerr("%s\n", error->message);
        return error ? 1 : 0;
}
