/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A guest under its leases, from its command line. The disks are found and opened here, with the user's own rights, and
 * taken in this process's name; then it becomes the supervisor, which finds all held by itself, fetches the locks and
 * runs the command below it. So whoever waits sees it, and nothing stands between the terminal and the guest after
 * that.
 */

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "guests.h"
#include "json.h"
#include "lease-options.h"
#include "obstacles.h"
#include "password.h"
#include "plan.h"
#include "qemu-command-line.h"
#include "screen.h"
#include "wait.h"

static gboolean arg_dry_run, arg_quiet, arg_keep_orphan;
static char *arg_name;
static GlPlanOptions plan_options;

static const GOptionEntry options[] = {
        {"name", 'n', 0, G_OPTION_ARG_STRING, &arg_name, "The guest's name; else what COMMAND says", "NAME"},
        {"dry-run", 0, 0, G_OPTION_ARG_NONE, &arg_dry_run, "Only show what would be taken, and who is in the way",
         NULL},
        {"no-scan", 0, 0, G_OPTION_ARG_NONE, &plan_options.no_scan, "Take what --disk names, and nothing else", NULL},
        {"no-backing-chain", 0, 0, G_OPTION_ARG_NONE, &plan_options.no_backing,
         "Do not look for the layers below an image", NULL},
        {"keep-orphan", 0, 0, G_OPTION_ARG_NONE, &arg_keep_orphan, "Let the guest go on when this program is killed",
         NULL},
        {"quiet", 'q', 0, G_OPTION_ARG_NONE, &arg_quiet, "Do not show what is taken", NULL},
        {},
};

/* --- what is wanted --- */

static gboolean is_enough(const GlPlan *plan, GError **error) {
        if (plan->disks->len || !plan->remarks->len)
                return TRUE;
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED, "There is nothing to take. %s",
                    (const char *) plan->remarks->pdata[0]);
        return FALSE;
}

static void show_plan(const GlCli *cli, const GlPlan *plan, const char *name, const char *uuid) {
        g_autofree char *printable = gl_screen_printable(name);

        if (arg_quiet || cli->json)
                return;
        fprintf(stderr, "Guest \"%s\" (%s) is to have:\n", printable, uuid);
        gl_plan_print(cli, stderr, plan);
        for (guint i = 0; i < plan->remarks->len; i++)
                gl_screen_remark(plan->remarks->pdata[i]);
}

/* --- only showing it --- */

static void print_dry_run(const GlPlan *plan, const char *name, const char *uuid, GPtrArray *obstacles) {
        g_autoptr(JsonBuilder) json = gl_json_begin();

        gl_json_add_text(json, "name", name);
        gl_json_add_text(json, "uuid", uuid);
        gl_plan_add_json(json, plan);
        json_builder_set_member_name(json, "obstacles");
        json_builder_begin_array(json);
        for (guint i = 0; i < obstacles->len; i++)
                gl_json_add_obstacle(json, obstacles->pdata[i]);
        json_builder_end_array(json);
        gl_json_print(json);
}

static gboolean dry_run(GlCli *cli, const GlPlan *plan, GuestlockRequest *request, const char *name, const char *uuid,
                        GError **error) {
        GuestlockManager *manager = gl_cli_manager_who_asks(cli, error);
        g_autoptr(GPtrArray) obstacles = NULL;

        if (!manager)
                return FALSE;
        gl_plan_add_to_request(plan, request);
        obstacles = guestlock_manager_test_acquire_sync(manager, NULL, request, NULL, error);
        if (!obstacles)
                return FALSE;
        cli->status = obstacles->len ? GL_EXIT_CONFLICT : GL_EXIT_DONE;
        if (cli->json) {
                print_dry_run(plan, name, uuid, obstacles);
                return TRUE;
        }
        fputs(obstacles->len ? "Somebody is in the way:\n" : "Nobody is in the way.\n", stderr);
        gl_print_obstacles(cli, stderr, obstacles);
        return TRUE;
}

/* --- taking it --- */

/* In the name of this process, which stays the same when it becomes the supervisor. */
static GuestlockGuest *take(GlCli *cli, const GlPlan *plan, GuestlockRequest *request, const char *name,
                            const char *uuid, GError **error) {
        GuestlockManager *manager = gl_cli_manager_who_asks(cli, error);
        g_autoptr(GuestlockRequest) named = guestlock_request_new();

        if (!manager || !gl_plan_open(plan, request, error))
                return NULL;
        gl_plan_add_to_request(plan, named);
        guestlock_request_set_pid(request, (guint) getpid());
        guestlock_request_set_supervisor(request, TRUE);
        return gl_start_guest(cli, uuid, name, request, named, error);
}

/* Comes back only if that failed; with this process the guest ends, which has not begun, and its leases. */
static gboolean become_supervisor(GlCli *cli, GuestlockGuest *guest, char **command, GError **error) {
        g_auto(GStrv) words = guestlock_guest_get_supervisor_command_sync(guest, 0, arg_keep_orphan,
                                                                          (const char *const *) command, NULL, error);

        if (!words)
                return FALSE;
        gl_cli_clear(cli);
        fflush(NULL);
        execv(words[0], words);
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "The supervisor \"%s\" cannot be run: %s.", words[0],
                    g_strerror(errno));
        return FALSE;
}

static char *name_of(const GlPlan *plan, char **command) {
        return arg_name ? g_strdup(arg_name) : plan->name ? g_strdup(plan->name) : g_path_get_basename(command[0]);
}

static gboolean run(GlCli *cli, char **command, GError **error) {
        g_autoptr(GuestlockRequest) request = gl_request_of_options(error);
        g_auto(GlPlan) plan = {};
        g_autofree char *name = NULL;
        g_autofree char *uuid = NULL;
        g_autoptr(GuestlockGuest) guest = NULL;

        plan_options.disks = gl_lease_options.disks;
        if (!request || !gl_plan_make(&plan, &plan_options, (const char *const *) command, error) ||
            !is_enough(&plan, error))
                return FALSE;
        name = name_of(&plan, command);
        uuid = plan.uuid && !gl_lease_options.uuid ? g_strdup(plan.uuid) : gl_uuid_of_options();
        cli->guest = g_strdup(name);
        if (plan.disks->len)
                cli->path = g_strdup(((GlFoundDisk *) plan.disks->pdata[0])->path);
        show_plan(cli, &plan, name, uuid);
        if (arg_dry_run)
                return dry_run(cli, &plan, request, name, uuid, error);
        guest = take(cli, &plan, request, name, uuid, error);
        /* Interrupted in the same moment: then it is not begun, and the guest ends with this process. */
        return guest && (cli->interrupted_by || become_supervisor(cli, guest, command, error));
}

const GlCommand gl_command_run = {
        .name = "run",
        .arguments = "-- COMMAND [ARGUMENT…]",
        .summary = "Run a guest for as long as it has its leases",
        .description =
                "The disks are found in COMMAND where that is QEMU, as it has them in -drive, -blockdev, -hda and the\n"
                "like, with the layers below each image, readonly. --disk adds others, and changes how one is taken.\n"
                "\n"
                "Ends as COMMAND does; with 1, 2 and 3 as any command if that was not run, 125 if its supervisor "
                "fails,\n"
                "126 and 127 if it cannot be run and is not there.\n",
        .options = (const GOptionEntry *const[]){options, gl_lease_entries, gl_wait_entries, NULL},
        .min_arguments = 1,
        .max_arguments = G_MAXUINT,
        .is_wrapper = TRUE,
        .run = run,
};
