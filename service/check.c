/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One finding a line, each by itself: what one part finds does not keep the others from being looked at, so that a
 * person repairs an installation in one go. check-kernel.c and check-view.c have the parts that need more words.
 */

#include "check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check-parts.h"
#include "configuration.h"
#include "core/names.h"
#include "core/obstacle.h"
#include "drivers/loader.h"

#define POLKIT_TIMEOUT_USEC (5 * G_USEC_PER_SEC)

G_GNUC_PRINTF(3, 0)
static void add(GlFindings *findings, const char *kind, const char *format, va_list arguments) {
        g_string_append(findings->report, kind);
        g_string_append_vprintf(findings->report, format, arguments);
        g_string_append_c(findings->report, '\n');
}

void gl_findings_ok(GlFindings *findings, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        add(findings, "ok: ", format, arguments);
        va_end(arguments);
}

void gl_findings_warning(GlFindings *findings, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        add(findings, "warning: ", format, arguments);
        va_end(arguments);
}

void gl_findings_problem(GlFindings *findings, const char *format, ...) {
        va_list arguments;

        findings->n_problems++;
        va_start(arguments, format);
        add(findings, "problem: ", format, arguments);
        va_end(arguments);
}

static void check_user(GlFindings *findings) {
        if (geteuid() == 0)
                gl_findings_ok(findings, "runs as root");
        else
                gl_findings_problem(findings,
                                    "runs as uid %u: the service opens files as its callers and has to be root; "
                                    "the check as well, to see what it sees",
                                    geteuid());
}

/* Of root, and nobody else can write to it. */
static gboolean is_roots_alone(const struct stat *st) {
        return st->st_uid == 0 && !(st->st_mode & (S_IWGRP | S_IWOTH));
}

static void check_configuration_file(GlFindings *findings, const char *path) {
        g_autofree char *quoted = gl_quote(path);
        struct stat st;

        if (stat(path, &st) < 0)
                gl_findings_problem(findings, "the configuration file %s cannot be looked at: %s", quoted,
                                    g_strerror(errno));
        else if (!is_roots_alone(&st))
                gl_findings_problem(findings,
                                    "the configuration file %s can be changed by others than root: chown root "
                                    "and chmod go-w it",
                                    quoted);
        else
                gl_findings_ok(findings, "the configuration file %s is in order", quoted);
}

/* NULL when it cannot be used. */
static GlConfiguration *check_configuration(GlFindings *findings, const char *path) {
        g_autoptr(GError) error = NULL;
        GlConfiguration *configuration = gl_configuration_load(path, &error);

        if (!configuration) {
                gl_findings_problem(findings, "%s", error->message);
                return NULL;
        }
        if (configuration->files->len == 0)
                gl_findings_ok(findings, "there is no configuration file; the defaults hold");
        for (guint i = 0; i < configuration->files->len; i++)
                check_configuration_file(findings, g_ptr_array_index(configuration->files, i));
        return configuration;
}

/* A directory that is not there will be made: what matters is the nearest one that is. */
static void check_parent(GlFindings *findings, const char *what, const char *path) {
        g_autofree char *parent = g_path_get_dirname(path), *quoted = gl_quote(path), *quoted_parent = NULL;
        struct stat st;

        while (stat(parent, &st) < 0 && errno == ENOENT && parent[0] == '/' && parent[1]) {
                char *next = g_path_get_dirname(parent);

                g_free(parent);
                parent = next;
        }
        quoted_parent = gl_quote(parent);
        if (access(parent, W_OK | X_OK) < 0)
                gl_findings_problem(findings, "the %s directory %s is not there and cannot be made in %s: %s", what,
                                    quoted, quoted_parent, g_strerror(errno));
        else
                gl_findings_ok(findings, "the %s directory %s is not there yet, and can be made", what, quoted);
}

static void check_directory(GlFindings *findings, const char *what, const char *path) {
        g_autofree char *quoted = gl_quote(path);
        struct stat st;

        if (stat(path, &st) < 0 && errno == ENOENT)
                check_parent(findings, what, path);
        else if (stat(path, &st) < 0)
                gl_findings_problem(findings, "the %s directory %s cannot be looked at: %s", what, quoted,
                                    g_strerror(errno));
        else if (!S_ISDIR(st.st_mode))
                gl_findings_problem(findings, "%s is to be the %s directory, and is none: remove it", quoted, what);
        else if (!is_roots_alone(&st))
                gl_findings_problem(findings,
                                    "the %s directory %s can be written to by others than root (it belongs to uid "
                                    "%u, mode %04o): what is in it cannot be trusted; remove it",
                                    what, quoted, st.st_uid, st.st_mode & 07777);
        else if (access(path, W_OK | X_OK) < 0)
                gl_findings_problem(findings, "the %s directory %s cannot be written to: %s", what, quoted,
                                    g_strerror(errno));
        else
                gl_findings_ok(findings, "the %s directory %s is in order", what, quoted);
}

/* These are not made by the service: an empty one may be the mount point of what is not mounted. */
static void check_lockspace(GlFindings *findings, const char *path) {
        g_autofree char *quoted = NULL;
        struct stat st;

        if (!path)
                return;
        quoted = gl_quote(path);
        if (stat(path, &st) < 0)
                gl_findings_problem(findings,
                                    "the lockspace directory %s cannot be looked at (%s): no disk can be leased "
                                    "without it; mount or make it",
                                    quoted, g_strerror(errno));
        else if (!S_ISDIR(st.st_mode) || st.st_uid != 0 || (st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
                gl_findings_problem(findings,
                                    "the lockspace directory %s is not a directory for root alone (it belongs to uid "
                                    "%u, mode %04o): chown root and chmod 0700 it",
                                    quoted, st.st_uid, st.st_mode & 07777);
        else
                gl_findings_ok(findings, "the lockspace directory %s is in order", quoted);
}

/* READ_IN is where the reader of such files looks for them; NULL-terminated. */
static void check_installed(GlFindings *findings, const char *what, const char *path, const char *const *read_in,
                            const char *without) {
        g_autofree char *quoted = gl_quote(path), *directory = g_path_get_dirname(path);

        if (access(path, R_OK) < 0)
                gl_findings_problem(findings, "the %s is not at %s (%s): without it %s; run \"meson install\"", what,
                                    quoted, g_strerror(errno), without);
        else if (!g_strv_contains(read_in, directory))
                gl_findings_warning(findings,
                                    "the %s is at %s, and by default is looked for in %s only: without it %s; build "
                                    "with --prefix=/usr --sysconfdir=/etc",
                                    what, quoted, read_in[0], without);
        else
                gl_findings_ok(findings, "the %s is at %s", what, quoted);
}

static void check_files(GlFindings *findings, const GlCheckOptions *options) {
        static const char *const policy[] = {"/usr/share/dbus-1/system.d", "/etc/dbus-1/system.d", NULL};
        static const char *const activation[] = {"/usr/share/dbus-1/system-services",
                                                 "/usr/local/share/dbus-1/system-services",
                                                 "/lib/dbus-1/system-services", NULL};
        static const char *const actions[] = {"/usr/share/polkit-1/actions", NULL};

        check_installed(findings, "bus policy", options->bus_policy, policy,
                        "the bus lets nobody have the name org.guestlock1, nor call it");
        check_installed(findings, "D-Bus activation file", options->bus_activation, activation,
                        "the bus does not start the service when it is called");
        check_installed(findings, "polkit action file", options->polkit_actions, actions,
                        "everybody but root is refused everything");
}

/* What is built in needs no file. The directory may be absent, and then nothing can be loaded. */
static void check_drivers(GlFindings *findings, const GlConfiguration *configuration, const char *directory) {
        g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(GDir) listing = g_dir_open(directory, 0, NULL);
        const char *file;

        if (!g_str_equal(configuration->default_driver, "file"))
                g_ptr_array_add(names, g_strdup(configuration->default_driver));
        while (listing && (file = g_dir_read_name(listing))) {
                g_autofree char *name = g_str_has_suffix(file, ".so") ? g_strndup(file, strlen(file) - 3) : NULL;

                if (name && gl_is_driver_name(name) && !g_str_equal(name, configuration->default_driver))
                        g_ptr_array_add(names, g_steal_pointer(&name));
        }
        for (guint i = 0; i < names->len; i++) {
                const char *name = g_ptr_array_index(names, i);
                g_autoptr(GError) error = NULL;

                if (gl_loaded_driver_check(directory, name, &error))
                        gl_findings_ok(findings, "the driver \"%s\" can be loaded", name);
                else
                        gl_findings_problem(findings, "%s", error->message);
        }
}

/* What else of the build is started: WHAT, and what is missing without it. */
static void check_program(GlFindings *findings, const char *what, const char *program, const char *without) {
        g_autofree char *quoted = gl_quote(program);
        struct stat st;

        if (stat(program, &st) < 0)
                gl_findings_problem(findings, "the %s %s cannot be looked at (%s): without it %s; run \"meson install\"",
                                    what, quoted, g_strerror(errno), without);
        else if (!S_ISREG(st.st_mode) || access(program, X_OK) < 0)
                gl_findings_problem(findings, "the %s %s cannot be run: without it %s; run \"meson install\"", what,
                                    quoted, without);
        else if (!is_roots_alone(&st))
                gl_findings_problem(findings, "the %s %s can be changed by others than root: chown root and chmod go-w it",
                                    what, quoted);
        else
                gl_findings_ok(findings, "the %s %s is in order", what, quoted);
}

/* Without it nothing is refused, but what the service holds by itself goes with it. */
static void check_keeper(GlFindings *findings, const char *program, const char *socket) {
        g_autofree char *quoted_socket = gl_quote(socket);
        struct stat st;

        check_program(findings, "keeper", program,
                      "locks that no guest keeps are lost while the service is restarted");
        /* It is made by systemd, or by the keeper when that is started. */
        if (stat(socket, &st) == 0 && (!S_ISSOCK(st.st_mode) || st.st_uid != 0 || (st.st_mode & (S_IRWXG | S_IRWXO))))
                gl_findings_problem(findings,
                                    "the keeper's socket %s is not a socket for root alone (it belongs to uid %u, "
                                    "mode %04o): remove it",
                                    quoted_socket, st.st_uid, st.st_mode & 07777);
}

static void check_polkit(GlFindings *findings, sd_bus *bus) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *call = NULL;
        int result;

        if (!bus) {
                gl_findings_warning(findings,
                                    "there is no system bus to be asked for polkit, or to be called on: start "
                                    "dbus");
                return;
        }
        result = sd_bus_message_new_method_call(bus, &call, "org.freedesktop.PolicyKit1",
                                                "/org/freedesktop/PolicyKit1/Authority", "org.freedesktop.DBus.Peer",
                                                "Ping");
        if (result >= 0)
                result = sd_bus_call(bus, call, POLKIT_TIMEOUT_USEC, &error, NULL);
        sd_bus_message_unref(call);
        if (result >= 0)
                gl_findings_ok(findings, "polkit answers");
        else
                gl_findings_warning(findings,
                                    "polkit does not answer (%s): without it only root may do anything; install "
                                    "polkitd",
                                    error.message ?: g_strerror(-result));
        sd_bus_error_free(&error);
}

static void check_descriptors(GlFindings *findings, const GlLimits *limits, guint32 pid) {
        guint64 leases = (guint64) limits->guests * limits->resources_per_guest;
        struct rlimit limit;

        if (prlimit((pid_t) pid, RLIMIT_NOFILE, NULL, &limit) < 0)
                gl_findings_warning(findings, "how many descriptors the service may open cannot be told: %s",
                                    g_strerror(errno));
        else if (limit.rlim_max != RLIM_INFINITY && limit.rlim_max < leases)
                gl_findings_warning(findings,
                                    "%" PRIu64 " descriptors are fewer than the %" PRIu64 " leases that the "
                                    "configuration allows: raise LimitNOFILE= in the unit, or lower MaxGuests "
                                    "or MaxResourcesPerGuest",
                                    (guint64) limit.rlim_max, leases);
        else
                gl_findings_ok(findings, "there are descriptors for %" PRIu64 " leases", leases);
}

guint gl_check_installation(const GlCheckOptions *options, GString *report) {
        GlFindings findings = {.report = report};
        g_autoptr(GlConfiguration) configuration = NULL;

        check_user(&findings);
        configuration = check_configuration(&findings, options->configuration);
        check_directory(&findings, "runtime", options->runtime_dir);
        check_directory(&findings, "state", options->state_dir);
        check_files(&findings, options);
        check_keeper(&findings, options->keeper, options->keeper_socket);
        check_program(&findings, "supervisor", options->supervisor, "callers are told to start what is not there");
        check_polkit(&findings, options->bus);
        gl_check_kernel(&findings);
        gl_check_view(&findings, options->sysroot, options->pid);
        if (configuration) {
                check_drivers(&findings, configuration, options->driver_dir);
                check_lockspace(&findings, configuration->lockspace_directory);
                check_lockspace(&findings, configuration->lvm_lockspace_directory);
                check_lockspace(&findings, configuration->scsi_lockspace_directory);
                check_descriptors(&findings, &configuration->limits, options->pid);
        }
        return findings.n_problems;
}
