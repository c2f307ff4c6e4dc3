/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-id128.h>
#include <unistd.h>

#include "bus/gate.h"
#include "bus/polkit.h"
#include "check.h"
#include "core/error.h"
#include "drivers/file.h"
#include "keeping.h"
#include "log.h"
#include "service.h"

/* Arguments, wiring, loop. */

/* The bus lets a sender have 128 calls outstanding. */
#define MAX_POLKIT_QUERIES 96
#define POLKIT_TIMEOUT     (20 * G_USEC_PER_SEC)

static char *arg_config, *arg_host_id, *arg_sysroot;
static char *arg_state_dir, *arg_runtime_dir, *arg_driver_dir;
static char *arg_keeper, *arg_keeper_socket, *arg_supervisor;
static gboolean arg_check, arg_version;

static const GOptionEntry entries[] = {
        {"config", 0, 0, G_OPTION_ARG_FILENAME, &arg_config, "Read this configuration file", "FILE"},
        {"state-dir", 0, 0, G_OPTION_ARG_FILENAME, &arg_state_dir, "What outlives a reboot is kept here", "DIR"},
        {"runtime-dir", 0, 0, G_OPTION_ARG_FILENAME, &arg_runtime_dir, "What outlives the service is kept here", "DIR"},
        {"driver-dir", 0, 0, G_OPTION_ARG_FILENAME, &arg_driver_dir, "Drivers are loaded from here", "DIR"},
        {"keeper", 0, 0, G_OPTION_ARG_FILENAME, &arg_keeper, "Start this to keep locks, where nobody does", "PROGRAM"},
        {"keeper-socket", 0, 0, G_OPTION_ARG_FILENAME, &arg_keeper_socket, "Who keeps locks listens here", "PATH"},
        {"supervisor", 0, 0, G_OPTION_ARG_FILENAME, &arg_supervisor, "Callers are told to start guests with this", "PROGRAM"},
        {"host-id", 0, 0, G_OPTION_ARG_STRING, &arg_host_id, "This host's id, instead of the machine id", "ID"},
        {"sysroot", 0, 0, G_OPTION_ARG_FILENAME, &arg_sysroot, "Look for /proc and /sys below DIR", "DIR"},
        {"check", 0, 0, G_OPTION_ARG_NONE, &arg_check, "Say what is wrong with this installation", NULL},
        {"version", 0, 0, G_OPTION_ARG_NONE, &arg_version, "Print the version", NULL},
        {},
};

typedef struct {
        sd_event *event;
        sd_bus *connection;
        GlGate *gate;
        GlService *service;
        GlServiceKeeping *keeping; /* (nullable) */
        GlDriver *file;
        gboolean stopping;
} Daemon;

static int fail(const GError *error) {
        gl_log(LOG_ERR, NULL, "%s", error->message);
        return 1;
}

/* Its own status, with which systemd does not start us again and again. */
static int fail_configuration(const GError *error) {
        gl_log(LOG_ERR, NULL, "%s", error->message);
        return EX_CONFIG;
}

static int fail_errno(int r, const char *what) {
        gl_log(LOG_ERR, NULL, "%s: %s.", what, g_strerror(-r));
        return 1;
}

/* It goes into state strings: nothing there that means something in them or in XML. */
static char *find_host_id(GError **error) {
        char machine[SD_ID128_STRING_MAX];
        sd_id128_t id;
        int r;

        if (arg_host_id) {
                if (g_regex_match_simple("^[A-Za-z0-9._-]{1,64}$", arg_host_id, 0, 0))
                        return g_strdup(arg_host_id);
                g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS,
                            "The host id must be 1 to 64 letters, digits, dots, dashes and underscores.");
                return NULL;
        }
        /* Not the machine id itself, which is not to be shown to others: one made of it for us. */
        r = sd_id128_get_machine_app_specific(
                SD_ID128_MAKE(2d, 6a, 1b, 0e, 55, 0f, 4c, 6a, 9d, 3b, 7e, 4f, 90, 1c, 2a, 68), &id);
        if (r < 0)
                r = sd_id128_get_boot(&id); /* without a machine id, this boot of it is all there is to name */
        if (r < 0) {
                g_set_error(error, GL_ERROR, GL_ERROR_DRIVER_FAILED,
                            "This host has no id (%s); give one with --host-id.", g_strerror(-r));
                return NULL;
        }
        return g_strdup(sd_id128_to_string(id, machine));
}

/* Each lease keeps a descriptor or two. */
static void raise_descriptor_limit(void) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return;
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
}

static void settled(gpointer user_data) {
        sd_event_exit(((Daemon *) user_data)->event, 0);
}

/* Locks are to outlive us, and the keeper may have to be told of them first; but nobody waits for it twice. */
static int on_stop(sd_event_source *source, const struct signalfd_siginfo *info, void *user_data) {
        Daemon *daemon = user_data;

        if (!daemon->keeping || daemon->stopping)
                return sd_event_exit(daemon->event, 0);
        daemon->stopping = TRUE;
        gl_service_keeping_settle(daemon->keeping, settled, daemon);
        return 0;
}

static int add_signals(sd_event *event, Daemon *daemon) {
        sigset_t set;
        int r;

        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return -errno;
        signal(SIGPIPE, SIG_IGN);
        r = sd_event_add_signal(event, NULL, SIGTERM, on_stop, daemon);
        return r < 0 ? r : sd_event_add_signal(event, NULL, SIGINT, on_stop, daemon);
}

/* A bus that was started without systemd and with its setuid helper says only this. */
static void take_starter_address(void) {
        const char *address = g_getenv("DBUS_STARTER_ADDRESS");

        if (address && g_strcmp0(g_getenv("DBUS_STARTER_BUS_TYPE"), "system") == 0)
                g_setenv("DBUS_SYSTEM_BUS_ADDRESS", address, FALSE);
}

/*
 * Before anything else is touched: whoever has the name has the guests' leases and state files too, and a second
 * service would take the first one's locks for a stranger's.
 */
static gboolean take_name(sd_bus *connection, GError **error) {
        int r = sd_bus_request_name(connection, "org.guestlock1", 0);

        if (r >= 0)
                return TRUE;
        if (r == -EEXIST)
                g_set_error(error, GL_ERROR, GL_ERROR_ALREADY_EXISTS,
                            "Another process has the name org.guestlock1 on this bus.");
        else
                g_set_error(error, GL_ERROR, GL_ERROR_DRIVER_FAILED,
                            "The bus does not give us the name org.guestlock1: %s.", g_strerror(-r));
        return FALSE;
}

/* Everything that was there is known again: whoever asks now gets the right answer. */
static void answer_calls(gpointer user_data) {
        Daemon *daemon = user_data;

        gl_gate_open(daemon->gate);
        gl_log(LOG_INFO, GL_MESSAGE_STARTED, "guestlockd %s is on the bus.", GUESTLOCK_VERSION);
        sd_notify(FALSE, "READY=1");
}

static void adopted(gboolean complete, gpointer user_data) {
        Daemon *daemon = user_data;

        gl_service_keeping_drop_rest(daemon->keeping, complete, answer_calls, daemon);
}

static const char *find_host_name(const GlConfiguration *configuration) {
        return configuration->host_name ?: g_get_host_name();
}

/* What was kept is known, or is not to be had. */
static void keeping_loaded(gpointer user_data) {
        Daemon *daemon = user_data;

        gl_service_adopt(daemon->service, adopted, daemon);
}

static void keep_again(gpointer user_data) {
        gl_file_driver_keep_again(((Daemon *) user_data)->file);
}

/* Where systemd starts the keeper, one of ours would go with our unit. */
static GlServiceKeeping *make_keeping(sd_event *event) {
        const char *program = arg_keeper ?: sd_booted() > 0 ? NULL : KEEPER;

        return gl_service_keeping_new(event, arg_keeper_socket ?: KEEPER_SOCKET, program);
}

static int serve(GlService *service, Daemon *daemon, const GlConfiguration *configuration, const char *host_id) {
        const GlFileOptions file_options = {
                .sysroot = arg_sysroot,
                .host_number = g_str_hash(host_id),
                .host_id = host_id,
                .host_name = find_host_name(configuration),
                .lockspaces = {
                        [GL_LOCKSPACE_FILES] = configuration->lockspace_directory,
                        [GL_LOCKSPACE_LVM] = configuration->lvm_lockspace_directory,
                        [GL_LOCKSPACE_SCSI] = configuration->scsi_lockspace_directory,
                },
                .keeping = gl_service_keeping_get(daemon->keeping),
        };
        g_autoptr(GlGate) gate = NULL;
        g_autoptr(GError) error = NULL;
        GlAuthority *authority;
        int r;

        daemon->service = service;
        daemon->file = gl_file_driver_new(gl_service_workers(service), &file_options);
        gl_service_add_driver(service, daemon->file);
        if (!gl_service_load_driver(service, configuration->default_driver, &error)) {
                g_prefix_error(&error, "DefaultDriver of the configuration: ");
                return fail_configuration(error);
        }
        authority = gl_polkit_authority_new(daemon->connection, MAX_POLKIT_QUERIES, configuration->max_dialogs_per_uid,
                                            POLKIT_TIMEOUT);
        if (!gl_service_connect(service, daemon->connection, authority, &error))
                return fail(error);
        /* After the service's own filters: the last one that is added is the first that sees a call. */
        gate = daemon->gate = gl_gate_new(daemon->connection, &error);
        if (!gate)
                return fail(error);
        gl_service_keeping_set_again(daemon->keeping, keep_again, daemon);
        gl_service_keeping_load(daemon->keeping, keeping_loaded, daemon);

        r = sd_event_loop(daemon->event);
        gl_service_keeping_close(daemon->keeping);
        sd_notify(FALSE, "STOPPING=1");
        return r;
}

static int connect_bus(Daemon *daemon) {
        int r;

        take_starter_address();
        r = sd_bus_open_system_with_description(&daemon->connection, "guestlockd");
        if (r >= 0)
                r = sd_bus_attach_event(daemon->connection, daemon->event, 0);
        if (r >= 0)
                r = sd_bus_set_exit_on_disconnect(daemon->connection, TRUE);
        /* The name is to be had again only when our locks are: run() closes the connection last. */
        if (r >= 0)
                r = sd_bus_set_close_on_exit(daemon->connection, FALSE);
        return r;
}

static int run(const GlConfiguration *configuration) {
        __attribute__((cleanup(sd_event_unrefp))) sd_event *event = NULL;
        __attribute__((cleanup(sd_bus_flush_close_unrefp))) sd_bus *connection = NULL;
        g_autofree char *host_id = NULL;
        g_autoptr(GlServiceKeeping) keeping = NULL;
        g_autoptr(GlService) service = NULL;
        g_autoptr(GError) error = NULL;
        Daemon daemon;
        int r;

        raise_descriptor_limit();
        r = sd_event_default(&event);
        daemon = (Daemon){.event = event};
        if (r >= 0)
                r = add_signals(event, &daemon);
        if (r >= 0)
                r = sd_event_set_watchdog(event, TRUE);
        if (r < 0)
                return fail_errno(r, "The event loop cannot be made");
        r = connect_bus(&daemon);
        connection = daemon.connection;
        if (r < 0)
                return fail_errno(r, "The system bus cannot be reached");

        host_id = find_host_id(&error);
        if (host_id && take_name(connection, &error))
                service = gl_service_new(event,
                                         &(GlServiceOptions){
                                                 .configuration = configuration,
                                                 .host_id = host_id,
                                                 .host_name = find_host_name(configuration),
                                                 .sysroot = arg_sysroot,
                                                 .supervisor = arg_supervisor ?: SUPERVISOR,
                                                 .driver_dir = arg_driver_dir ?: DRIVER_DIR,
                                                 .runtime_dir = arg_runtime_dir ?: RUNTIME_DIR,
                                                 .state_dir = arg_state_dir ?: STATE_DIR,
                                         },
                                         &error);
        if (!service)
                return fail(error);
        keeping = daemon.keeping = make_keeping(event);
        return serve(service, &daemon, configuration, host_id);
}

static int check(void) {
        __attribute__((cleanup(sd_bus_flush_close_unrefp))) sd_bus *bus = NULL;
        g_autoptr(GString) report = g_string_new(NULL);
        GlCheckOptions options = {
                .configuration = arg_config,
                .runtime_dir = arg_runtime_dir ?: RUNTIME_DIR,
                .state_dir = arg_state_dir ?: STATE_DIR,
                .bus_policy = DATADIR "/dbus-1/system.d/org.guestlock1.conf",
                .bus_activation = DATADIR "/dbus-1/system-services/org.guestlock1.service",
                .polkit_actions = DATADIR "/polkit-1/actions/org.guestlock1.policy",
                .driver_dir = arg_driver_dir ?: DRIVER_DIR,
                .keeper = arg_keeper ?: KEEPER,
                .keeper_socket = arg_keeper_socket ?: KEEPER_SOCKET,
                .supervisor = arg_supervisor ?: SUPERVISOR,
                .sysroot = arg_sysroot,
        };
        guint n_problems;

        if (sd_bus_open_system(&bus) >= 0)
                options.bus = bus;
        n_problems = gl_check_installation(&options, report);
        fputs(report->str, stdout);
        return n_problems > 0;
}

int main(int argc, char **argv) {
        g_autoptr(GOptionContext) context = g_option_context_new("- leases on the storage of virtual machines");
        g_autoptr(GlConfiguration) configuration = NULL;
        g_autoptr(GError) error = NULL;

        g_option_context_add_main_entries(context, entries, NULL);
        if (!g_option_context_parse(context, &argc, &argv, &error) || argc > 1) {
                fprintf(stderr, "guestlockd: %s\n", error ? error->message : "it takes no arguments but options");
                return 2;
        }
        if (arg_version) {
                puts("guestlockd " GUESTLOCK_VERSION);
                return 0;
        }
        if (arg_check)
                return check();
        if (geteuid() != 0) {
                fputs("guestlockd: it has to run as root\n", stderr);
                return 1;
        }
        configuration = gl_configuration_load(arg_config, &error);
        if (!configuration)
                return fail_configuration(error);
        return run(configuration);
}
