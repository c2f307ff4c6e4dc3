/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli.h"

#include <signal.h>

#include "password.h"

GuestlockManager *gl_cli_manager(GlCli *cli, GError **error) {
        struct sigaction on_pipe;

        if (cli->manager)
                return cli->manager;
        /*
         * With its first socket GIO ignores SIGPIPE, and needs that for none. We should end when our reader has, and a
         * guest has to begin as it would without us.
         */
        sigaction(SIGPIPE, NULL, &on_pipe);
        cli->manager = guestlock_manager_new_sync(NULL, error);
        sigaction(SIGPIPE, &on_pipe, NULL);
        return cli->manager;
}

GuestlockManager *gl_cli_manager_who_asks(GlCli *cli, GError **error) {
        GuestlockManager *manager = gl_cli_manager(cli, error);

        if (!manager || cli->no_ask_password)
                return manager;
        guestlock_manager_set_interactive(manager, TRUE);
        if (!cli->agent_asked_for)
                gl_password_agent_start();
        cli->agent_asked_for = TRUE;
        return manager;
}

void gl_cli_clear(GlCli *cli) {
        gl_password_agent_end();
        g_clear_object(&cli->manager);
        g_clear_pointer(&cli->guest, g_free);
        g_clear_pointer(&cli->path, g_free);
}
