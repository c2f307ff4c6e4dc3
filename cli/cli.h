/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <guestlock.h>

/* Exit statuses; of `run`, once its command runs, that command's. */
typedef enum {
        GL_EXIT_DONE = 0,
        GL_EXIT_FAILED = 1,
        GL_EXIT_USAGE = 2,
        GL_EXIT_CONFLICT = 3,
} GlExit;

/* One call of guestlockctl: what all commands share. */
typedef struct {
        GuestlockManager *manager; /* (owned) (nullable) see gl_cli_manager() */
        gboolean json, no_legend, no_ask_password;
        gboolean agent_asked_for;
        int interrupted_by; /* a signal that ended a wait; 0: none */
        GlExit status;      /* of a command that has done what it had to, where that is not GL_EXIT_DONE */
        /* What the command is about, as the user calls it, to suggest a next command. */
        char *guest, *path; /* (owned) (nullable) */
} GlCli;

typedef struct {
        const char *name;
        const char *arguments; /* as the usage line shows them */
        const char *summary;
        const char *description;            /* (nullable) below the options in --help */
        const GOptionEntry *const *options; /* (nullable) groups of them, the last one NULL */
        guint min_arguments, max_arguments;
        /*
         * The first argument that is no option ends the options: what follows is another program's. Errors of
         * G_OPTION_ERROR are the user's, in how it was called.
         */
        gboolean is_wrapper;
        gboolean (*run)(GlCli *cli, char **arguments, GError **error);
} GlCommand;

/* Connected when it is first asked for, so that a mistake in the arguments is told also without a service. (borrowed)
 */
GuestlockManager *gl_cli_manager(GlCli *cli, GError **error);

/*
 * The same, for what polkit may want a password for: then somebody asks for it on this terminal, if there is one.
 * (borrowed)
 */
GuestlockManager *gl_cli_manager_who_asks(GlCli *cli, GError **error);

void gl_cli_clear(GlCli *cli);

extern const GlCommand gl_command_attach, gl_command_detach, gl_command_drivers, gl_command_list, gl_command_monitor,
        gl_command_revoke, gl_command_run, gl_command_start, gl_command_status, gl_command_stop, gl_command_who;
