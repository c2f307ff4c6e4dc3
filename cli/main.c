/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * guestlockctl: what people type. The first argument that is no option is the command; what all commands understand may
 * stand before it and after it. A command is a GlCommand, in the file of its name.
 */

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "complaint.h"
#include "screen.h"

static const GlCommand *const commands[] = {
        &gl_command_list,   &gl_command_status,  &gl_command_who,     &gl_command_run,
        &gl_command_start,  &gl_command_stop,    &gl_command_attach,  &gl_command_detach,
        &gl_command_revoke, &gl_command_monitor, &gl_command_drivers,
};

static GlCli cli;
static gboolean arg_version;

static const GOptionEntry common_options[] = {
        {"json", 'j', 0, G_OPTION_ARG_NONE, &cli.json, "Say it as JSON", NULL},
        {"no-legend", 0, 0, G_OPTION_ARG_NONE, &cli.no_legend, "Tables without headings and totals", NULL},
        {"no-ask-password", 0, 0, G_OPTION_ARG_NONE, &cli.no_ask_password, "Ask nobody for a password", NULL},
        {},
};

static const GOptionEntry main_options[] = {
        {"version", 0, 0, G_OPTION_ARG_NONE, &arg_version, "Print the version", NULL},
        {},
};

static char *list_of_commands(void) {
        GString *text = g_string_new("Commands:\n");

        for (gsize i = 0; i < G_N_ELEMENTS(commands); i++) {
                g_autofree char *usage = g_strdup_printf("%s %s", commands[i]->name, commands[i]->arguments);

                int width = (int) (strlen(usage) - (gsize) g_utf8_strlen(usage, -1)) + 30; /* printf counts bytes */

                g_string_append_printf(text, "  %-*s %s\n", width, usage, commands[i]->summary);
        }
        g_string_append(text,
                        "\nguestlockctl COMMAND --help says more of one. A GUEST is its name, its uuid or its pid.\n"
                        "Ends with 0: done; 1: failed; 2: called wrongly; 3: somebody else holds a disk.\n");
        return g_string_free(text, FALSE);
}

/* Of the program where there is no command. */
static GOptionContext *new_context(const GlCommand *command) {
        g_autofree char *usage =
                command ? g_strdup_printf("%s %s", command->name, command->arguments) : g_strdup("COMMAND [ARGUMENT…]");
        GOptionContext *context = g_option_context_new(usage);

        g_option_context_add_main_entries(context, common_options, NULL);
        for (gsize i = 0; command && command->options && command->options[i]; i++)
                g_option_context_add_main_entries(context, command->options[i], NULL);
        if (!command)
                g_option_context_add_main_entries(context, main_options, NULL);
        g_option_context_set_strict_posix(context, !command || command->is_wrapper);
        if (command) {
                g_option_context_set_summary(context, command->summary);
                g_option_context_set_description(context, command->description);
        } else {
                g_autofree char *description = list_of_commands();

                g_option_context_set_summary(context, "Leases on the storage of virtual machines");
                g_option_context_set_description(context, description);
        }
        return context;
}

static const GlCommand *find_command(const char *name, GError **error) {
        for (gsize i = 0; i < G_N_ELEMENTS(commands); i++)
                if (g_str_equal(commands[i]->name, name))
                        return commands[i];
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED, "There is no command \"%s\".", name);
        return NULL;
}

/* A "--" that the parser left, since it stood between options and arguments. */
static char **skip_dashes(char **arguments) {
        return arguments[0] && g_str_equal(arguments[0], "--") ? arguments + 1 : arguments;
}

static gboolean parse(const GlCommand *command, char ***words, GError **error) {
        g_autoptr(GOptionContext) context = new_context(command);

        return g_option_context_parse_strv(context, words, error);
}

static gboolean run_command(const GlCommand *command, char **arguments, GError **error) {
        const char *gap = *command->arguments ? " " : "";
        guint n = g_strv_length(arguments);

        if (n >= command->min_arguments && n <= command->max_arguments)
                return command->run(&cli, arguments, error);
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                    n < command->min_arguments ? "\"%s\" needs more arguments: %s%s%s"
                                               : "These are too many arguments for \"%s\": %s%s%s",
                    command->name, command->name, gap, command->arguments);
        return FALSE;
}

static gboolean run(char ***words, const GlCommand **command, GError **error) {
        g_auto(GStrv) rest = NULL;

        if (!parse(NULL, words, error))
                return FALSE;
        if (arg_version) {
                puts("guestlockctl " GUESTLOCK_VERSION);
                return TRUE;
        }
        if (!skip_dashes(*words + 1)[0]) {
                g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED, "Which command?");
                return FALSE;
        }
        *command = find_command(skip_dashes(*words + 1)[0], error);
        if (!*command)
                return FALSE;
        /* What is left of them begins with the command, in the place of the program's name. */
        rest = g_strdupv(skip_dashes(*words + 1));
        return parse(*command, &rest, error) && run_command(*command, skip_dashes(rest + 1), error);
}

/*
 * The next descriptor that is opened, the bus, would become standard output where that is closed. What stands in for it
 * is open the wrong way round: to use it fails, as it did.
 */
static void fill_closed_descriptors(void) {
        for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
                if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
                        open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

/* However it ends: after --help GLib does that. */
static void check_written(int status, void *unused) {
        if ((fflush(stdout) || ferror(stdout)) && status == GL_EXIT_DONE)
                _exit(GL_EXIT_FAILED);
}

int main(int argc, char **argv) {
        g_auto(GStrv) words = NULL;
        const GlCommand *command = NULL;
        g_autoptr(GError) error = NULL;
        GlExit status;

        fill_closed_descriptors();
        on_exit(check_written, NULL);
        setlocale(LC_ALL, "");
        g_set_prgname("guestlockctl");
        gl_screen_init();
        words = g_strdupv(argv);
        status = run(&words, &command, &error) ? cli.status : gl_complain(&cli, command, error);
        gl_cli_clear(&cli);
        if (cli.interrupted_by) {
                signal(cli.interrupted_by, SIG_DFL);
                raise(cli.interrupted_by);
        }
        return (int) status;
}
