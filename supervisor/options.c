/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The supervisor's own arguments end with "--" or with the first that is no option; the rest is the guest's. */

#include "supervisor/options.h"

#include <getopt.h>
#include <string.h>

#include "core/error.h"

#define MAX_WAIT_MS 86400000U

static gboolean refuse(GError **error, const char *what, const char *text) {
        g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS, "%s \"%s\"; see --help.", what, text);
        return FALSE;
}

static gboolean read_wait(const char *text, guint32 *wait_ms, GError **error) {
        guint64 value;

        if (!g_ascii_string_to_unsigned(text, 10, 0, MAX_WAIT_MS, &value, NULL))
                return refuse(error, "--wait-ms takes milliseconds, at most 86400000, and not", text);
        *wait_ms = (guint32) value;
        return TRUE;
}

static gboolean read_orphan(const char *text, gboolean *keep, GError **error) {
        if (!g_str_equal(text, "keep") && !g_str_equal(text, "end"))
                return refuse(error, "--orphan takes \"end\" or \"keep\", and not", text);
        *keep = g_str_equal(text, "keep");
        return TRUE;
}

static gboolean read_one(int option, GlSupervisorOptions *options, const char *word, GError **error) {
        switch (option) {
        case 'g':
                g_free(options->guest);
                options->guest = g_strdup(optarg);
                return optarg[0] == '/' || refuse(error, "--guest takes the object path of a guest, and not", optarg);
        case 'w':
                return read_wait(optarg, &options->wait_ms, error);
        case 'o':
                return read_orphan(optarg, &options->keep_orphan, error);
        case 'h':
                options->help = TRUE;
                return TRUE;
        case 'V':
                options->version = TRUE;
                return TRUE;
        default:
                return refuse(error, "There is no such option, or it has no value, or one too many:", word);
        }
}

gboolean gl_supervisor_options_parse(int argc, char **argv, GlSupervisorOptions *options, GError **error) {
        static const struct option known[] = {{"guest", required_argument, NULL, 'g'},
                                              {"wait-ms", required_argument, NULL, 'w'},
                                              {"orphan", required_argument, NULL, 'o'},
                                              {"help", no_argument, NULL, 'h'},
                                              {"version", no_argument, NULL, 'V'},
                                              {}};
        int option;

        *options = (GlSupervisorOptions){};
        optind = 0; /* begins anew, also where it was used before */
        opterr = 0;
        while ((option = getopt_long(argc, argv, "+", known, NULL)) >= 0) {
                if (!read_one(option, options, argv[optind - 1], error))
                        return FALSE;
                if (options->help || options->version)
                        return TRUE;
        }
        options->command = argv + optind;
        if (options->guest && options->command[0])
                return TRUE;
        g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS, "%s; see --help.",
                    options->guest ? "The guest's command line is missing"
                                   : "--guest is missing, the lock manager's object path");
        return FALSE;
}

void gl_supervisor_options_clear(GlSupervisorOptions *options) {
        g_clear_pointer(&options->guest, g_free);
}
