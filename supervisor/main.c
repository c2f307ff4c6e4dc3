/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * guestlock-supervisor: takes a guest's leases as their holder, and runs the guest below itself. See
 * guestlock-supervisor(8). The order is the point: leases, fork, SetChild, exec.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/error.h"
#include "supervisor/acquire.h"
#include "supervisor/child.h"
#include "supervisor/locks.h"
#include "supervisor/options.h"
#include "supervisor/watch.h"

/* What is no guest's own; 126 and 127 are its command's that cannot be run. */
#define EXIT_CONFLICT 124
#define EXIT_FAILED   125

static const char help[] =
        "Usage: guestlock-supervisor --guest=PATH [OPTION...] -- COMMAND [ARGUMENT...]\n"
        "Takes the leases of a guest of guestlock, and runs the guest for as long as it has them.\n"
        "\n"
        "  --guest=PATH     the object path of the guest's lock manager\n"
        "  --wait-ms=N      how long to wait for disks that others hold, in milliseconds; 0\n"
        "  --orphan=WHAT    end: the guest is killed when this program is; keep: it goes on; end\n"
        "  --help, --version\n"
        "\n"
        "Ends as COMMAND does; 124 if others hold a disk, 125 if it fails itself, 126 and 127 if COMMAND cannot\n"
        "be run and is not there.\n";

static int fail(const GError *error) {
        fprintf(stderr, "guestlock-supervisor: %s\n", error->message);
        return g_error_matches(error, GL_ERROR, GL_ERROR_CONFLICT) || g_error_matches(error, GL_ERROR, GL_ERROR_TIMEOUT)
                       ? EXIT_CONFLICT
                       : EXIT_FAILED;
}

/* A lock descriptor that became the guest's stdout would be written to. */
static gboolean open_missing_stdio(void) {
        for (int fd = 0; fd <= 2; fd++)
                if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
                        return FALSE;
        return TRUE;
}

static gboolean read_action(GlCalls *calls, GlLossAction *action, GError **error) {
        __attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *reply =
                gl_calls_get(calls, "OnLeaseLost", "s", error);
        const char *word;

        if (!reply)
                return FALSE;
        if (sd_bus_message_read(reply, "s", &word) > 0 && gl_loss_action_from_string(word, action))
                return TRUE;
        g_set_error(error, GL_ERROR, GL_ERROR_DRIVER_FAILED, "The guest's property OnLeaseLost cannot be read.");
        return FALSE;
}

/* With the leases held: the guest's whole life. */
static int supervise(GlCalls *calls, const GlSupervisorOptions *options, GPtrArray *locks, GlLossAction action) {
        GlChild child;
        GlWatchOptions watch = {calls, &child, locks, action, options->keep_orphan};
        g_autoptr(GError) error = NULL;
        GlSignalsBefore before;
        int status = 0;

        gl_signals_take(&before);
        if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0) {
                error = g_error_new(GL_ERROR, GL_ERROR_DRIVER_FAILED, "It cannot become a subreaper: %s.",
                                    g_strerror(errno));
                return fail(error);
        }
        if (!gl_child_start(options->command, locks, options->keep_orphan, &before, &child, &error))
                return fail(error);
        if (!gl_supervisor_watch(&watch, &status, &error)) {
                gl_child_clear(&child);
                return fail(error);
        }
        gl_child_clear(&child);
        return gl_exit_like(status);
}

static int run(const GlSupervisorOptions *options) {
        g_autoptr(GPtrArray) locks = g_ptr_array_new_with_free_func(gl_held_lock_free);
        __attribute__((cleanup(gl_calls_clear))) GlCalls calls = {.guest = options->guest};
        GlLossAction action = GL_LOSS_PAUSE;
        g_autoptr(GError) error = NULL;

        /* It may be changed while this waits for the leases. */
        if (!gl_supervisor_acquire(&calls, options->wait_ms, locks, &error) || !read_action(&calls, &action, &error))
                return fail(error);
        return supervise(&calls, options, locks, action);
}

int main(int argc, char **argv) {
        g_auto(GlSupervisorOptions) options = {};
        g_autoptr(GError) error = NULL;

        if (!open_missing_stdio())
                return EXIT_FAILED;
        if (!gl_supervisor_options_parse(argc, argv, &options, &error))
                return fail(error);
        if (options.help || options.version) {
                fputs(options.help ? help : "guestlock-supervisor " GUESTLOCK_VERSION "\n", stdout);
                return 0;
        }
        return run(&options);
}
