/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>
#include <systemd/sd-id128.h>
#include <unistd.h>

/* Connections for tests: a socket pair without a bus, and a dbus-daemon of one's own. */

#define fixture_must(expression)                                                                                       \
        G_STMT_START {                                                                                                 \
                int fixture_result = (expression);                                                                     \
                if (fixture_result < 0)                                                                                \
                        g_error("%s:%d: %s: %s", __FILE__, __LINE__, #expression, g_strerror(-fixture_result));        \
        }                                                                                                              \
        G_STMT_END

/* Runs EVENT until CONDITION holds, for 30 s at most. */
#define fixture_run_until(event, condition)                                                                            \
        G_STMT_START {                                                                                                 \
                gint64 fixture_deadline = g_get_monotonic_time() + 30 * G_USEC_PER_SEC;                                \
                while (!(condition)) {                                                                                 \
                        g_assert_cmpint(g_get_monotonic_time(), <, fixture_deadline);                                  \
                        fixture_must(sd_event_run(event, 100000));                                                     \
                }                                                                                                      \
        }                                                                                                              \
        G_STMT_END

/*
 * Runs EVENT until nothing has happened for MS milliseconds. What this process does on its loop alone is done then,
 * however slow the machine; what a thread or another process does may not be.
 */
static inline void fixture_settle(sd_event *event, guint ms) {
        while (sd_event_run(event, ms * 1000) > 0)
                ;
}

typedef struct {
        sd_bus *server, *client;
} FixturePair;

/* With BUS_CLIENT the client takes the server for a bus: it says Hello, and the server has to answer. */
static inline void fixture_pair_open(FixturePair *pair, sd_event *event, gboolean bus_client) {
        sd_id128_t id;
        int fds[2];

        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), ==, 0);
        fixture_must(sd_id128_randomize(&id));
        fixture_must(sd_bus_new(&pair->server));
        fixture_must(sd_bus_set_fd(pair->server, fds[0], fds[0]));
        fixture_must(sd_bus_set_server(pair->server, TRUE, id));
        fixture_must(sd_bus_negotiate_fds(pair->server, TRUE));
        fixture_must(sd_bus_start(pair->server));
        fixture_must(sd_bus_attach_event(pair->server, event, 0));
        fixture_must(sd_bus_new(&pair->client));
        fixture_must(sd_bus_set_fd(pair->client, fds[1], fds[1]));
        fixture_must(sd_bus_set_bus_client(pair->client, bus_client));
        fixture_must(sd_bus_negotiate_fds(pair->client, TRUE));
        fixture_must(sd_bus_start(pair->client));
        fixture_must(sd_bus_attach_event(pair->client, event, 0));
}

static inline void fixture_pair_close(FixturePair *pair) {
        pair->client = sd_bus_close_unref(pair->client);
        pair->server = sd_bus_close_unref(pair->server);
}

typedef struct {
        GPid pid;
        char *address;
} FixtureDaemon;

static inline void fixture_die_with_parent(gpointer unused) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
}

/* A bus that activates nothing and allows everything. Ends with this process at the latest; its socket is abstract, so
 * that none stays behind then. */
static inline void fixture_daemon_start(FixtureDaemon *daemon) {
        g_autofree char *path = NULL, *option = NULL, *config = NULL;
        g_autoptr(GError) error = NULL;
        char address[256] = "";
        gsize length = 0;
        int fd, out;

        fd = g_file_open_tmp("guestlock-bus-XXXXXX", &path, &error);
        g_assert_no_error(error);
        config = g_strdup_printf("<busconfig><type>session</type><listen>unix:abstract=%s</listen>"
                                 "<auth>EXTERNAL</auth><policy context=\"default\"><allow own=\"*\"/>"
                                 "<allow send_destination=\"*\"/><allow receive_sender=\"*\"/></policy>"
                                 "</busconfig>", path);
        g_assert_cmpint(write(fd, config, strlen(config)), ==, strlen(config));
        close(fd);
        option = g_strconcat("--config-file=", path, NULL);
        g_spawn_async_with_pipes(
                NULL, (char *[]){(char *) "dbus-daemon", option, (char *) "--nofork", (char *) "--nopidfile",
                                 (char *) "--print-address", NULL},
                NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD, fixture_die_with_parent, NULL, &daemon->pid,
                NULL, &out, NULL, &error);
        g_assert_no_error(error);
        while (length < sizeof address - 1 && read(out, address + length, 1) == 1 && address[length] != '\n')
                length++;
        close(out);
        unlink(path);
        address[length] = '\0';
        g_assert_cmpuint(length, >, 0);
        daemon->address = g_strdup(address);
}

static inline void fixture_daemon_stop(FixtureDaemon *daemon) {
        kill(daemon->pid, SIGKILL);
        waitpid(daemon->pid, NULL, 0);
        g_clear_pointer(&daemon->address, g_free);
}

static inline sd_bus *fixture_daemon_connect(const FixtureDaemon *daemon, sd_event *event) {
        sd_bus *bus;

        fixture_must(sd_bus_new(&bus));
        fixture_must(sd_bus_set_address(bus, daemon->address));
        fixture_must(sd_bus_set_bus_client(bus, TRUE));
        fixture_must(sd_bus_start(bus));
        fixture_must(sd_bus_attach_event(bus, event, 0));
        return bus;
}
