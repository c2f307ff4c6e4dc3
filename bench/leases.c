/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include <glib.h>

/*
 * A client that uses leases for tools/bench to measure: blocking calls with nothing between it and the socket.
 *
 *     leases round-trip ROUNDS         what each call takes, against an empty one; interleaved, so that whatever else
 *                                      the machine does meets all of them
 *     leases cycle ROUNDS              StartGuest with one disk and Shutdown, unmeasured
 *     leases memory GUESTS DISKS       what the service needs for GUESTS guests with DISKS disks each
 *     leases pid                       the service's process
 *
 * Images are made in the current directory. Guests have no process, and the caller is root, about whom polkit is not
 * asked.
 */

#define SERVICE "org.guestlock1"
#define MANAGER "/org/guestlock1"

static sd_bus *bus;

G_NORETURN static void die(const char *what, int r, const sd_bus_error *error) {
        fprintf(stderr, "leases: %s: %s\n", what, error && error->message ? error->message : g_strerror(-r));
        exit(1);
}

/* --- calls --- */

static sd_bus_message *new_call(const char *path, const char *interface, const char *member) {
        sd_bus_message *call;
        int r = sd_bus_message_new_method_call(bus, &call, SERVICE, path, interface, member);

        if (r < 0)
                die(member, r, NULL);
        return call;
}

/* Sends CALL and takes it over. Returns how long the answer took, in ns. */
static gint64 finish_call(sd_bus_message *call, const char *member) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *reply = NULL;
        struct timespec before, after;
        int r;

        clock_gettime(CLOCK_MONOTONIC, &before);
        r = sd_bus_call(bus, call, 0, &error, &reply);
        clock_gettime(CLOCK_MONOTONIC, &after);
        if (r < 0)
                die(member, r, &error);
        sd_bus_message_unref(reply);
        sd_bus_message_unref(call);
        return (after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec;
}

static gint64 ping(void) {
        return finish_call(new_call(MANAGER, "org.freedesktop.DBus.Peer", "Ping"), "Ping");
}

static char *uuid_of(guint guest) {
        return g_strdup_printf("00000000-0000-4000-8000-%012u", guest);
}

static char *path_of(guint guest) {
        return g_strdup_printf(MANAGER "/guest/00000000_0000_4000_8000_%012u", guest);
}

static char *image_of(guint guest, guint disk) {
        g_autofree char *directory = g_get_current_dir();

        return g_strdup_printf("%s/%u-%u.img", directory, guest, disk);
}

static void make_image(guint guest, guint disk) {
        g_autofree char *image = image_of(guest, disk);
        int fd = open(image, O_CREAT | O_RDWR | O_CLOEXEC, 0600);

        if (fd < 0 || ftruncate(fd, 1 << 20) < 0)
                die(image, -errno, NULL);
        close(fd);
}

static void append_disks(sd_bus_message *call, guint guest, guint n_disks) {
        int r = sd_bus_message_open_container(call, 'a', "(sssa{sv})");

        for (guint disk = 0; disk < n_disks && r >= 0; disk++) {
                g_autofree char *image = image_of(guest, disk);

                r = sd_bus_message_append(call, "(sssa{sv})", "disk", image, "exclusive", 0);
        }
        if (r >= 0)
                r = sd_bus_message_close_container(call);
        if (r < 0)
                die("StartGuest", r, NULL);
}

static gint64 start_guest(guint guest, guint n_disks) {
        sd_bus_message *call = new_call(MANAGER, SERVICE ".Manager", "StartGuest");
        g_autofree char *uuid = uuid_of(guest);
        int r = sd_bus_message_append(call, "ss", uuid, "bench");

        if (r < 0)
                die("StartGuest", r, NULL);
        append_disks(call, guest, n_disks);
        r = sd_bus_message_append(call, "a{sv}", 0);
        if (r < 0)
                die("StartGuest", r, NULL);
        return finish_call(call, "StartGuest");
}

/* A method of the guest that takes options, without any. */
static gint64 call_guest(guint guest, const char *member) {
        g_autofree char *path = path_of(guest);
        sd_bus_message *call = new_call(path, SERVICE ".Guest", member);
        int r = sd_bus_message_append(call, "a{sv}", 0);

        if (r < 0)
                die(member, r, NULL);
        return finish_call(call, member);
}

static void register_guest(guint guest) {
        g_autofree char *uuid = uuid_of(guest), *path = path_of(guest), *image = image_of(guest, 0);
        sd_bus_message *call = new_call(MANAGER, SERVICE ".Manager", "CreateGuest");
        int r = sd_bus_message_append(call, "ssa{sv}", uuid, "bench", 0);

        if (r < 0)
                die("CreateGuest", r, NULL);
        finish_call(call, "CreateGuest");
        call = new_call(path, SERVICE ".Guest", "RegisterResource");
        r = sd_bus_message_append(call, "sssa{sv}", "disk", image, "exclusive", 0);
        if (r < 0)
                die("RegisterResource", r, NULL);
        finish_call(call, "RegisterResource");
}

/* --- round trips --- */

enum { PING, START, SHUTDOWN, START_AND_SHUTDOWN, ACQUIRE, RELEASE, ACQUIRE_AND_RELEASE, N_ROWS };

static const char *const rows[N_ROWS] = {
        "empty call (Peer.Ping)",
        "StartGuest, one disk",
        "Shutdown",
        "  both: one lease, made and ended",
        "Acquire, one disk",
        "Release",
        "  both: one lease, taken and given back",
};

static int compare(const void *a, const void *b) {
        const gint64 *one = a, *other = b;

        return (*one > *other) - (*one < *other);
}

static void print_rows(gint64 *times[], guint n_rounds) {
        double empty = 0;

        printf("%-42s %10s %10s %10s\n", "", "median us", "99 % us", "empty = 1");
        for (guint row = 0; row < N_ROWS; row++) {
                double median, slow;

                qsort(times[row], n_rounds, sizeof(gint64), compare);
                median = (double) times[row][n_rounds / 2] / 1000;
                slow = (double) times[row][(gsize) n_rounds * 99 / 100] / 1000;
                empty = row == PING ? median : empty;
                printf("%-42s %10.1f %10.1f %10.1f\n", rows[row], median, slow, median / empty);
        }
}

static void measure_round_trips(guint n_rounds) {
        const guint passing = 1, registered = 2, n_warm_up = MIN(100, n_rounds);
        gint64 *times[N_ROWS];

        for (guint row = 0; row < N_ROWS; row++)
                times[row] = g_new(gint64, n_rounds);
        make_image(passing, 0);
        make_image(registered, 0);
        register_guest(registered);
        for (guint i = 0; i < n_warm_up + n_rounds; i++) {
                guint round = i < n_warm_up ? 0 : i - n_warm_up;

                times[PING][round] = ping();
                times[START][round] = start_guest(passing, 1);
                times[SHUTDOWN][round] = call_guest(passing, "Shutdown");
                times[START_AND_SHUTDOWN][round] = times[START][round] + times[SHUTDOWN][round];
                times[ACQUIRE][round] = call_guest(registered, "Acquire");
                times[RELEASE][round] = call_guest(registered, "Release");
                times[ACQUIRE_AND_RELEASE][round] = times[ACQUIRE][round] + times[RELEASE][round];
        }
        print_rows(times, n_rounds);
        for (guint row = 0; row < N_ROWS; row++)
                g_free(times[row]);
}

static void cycle(guint n_rounds) {
        make_image(1, 0);
        for (guint i = 0; i < n_rounds; i++) {
                start_guest(1, 1);
                call_guest(1, "Shutdown");
        }
}

/* --- memory --- */

static pid_t service_pid(void) {
        sd_bus_creds *creds;
        pid_t pid;
        int r;

        ping(); /* starts it */
        r = sd_bus_get_name_creds(bus, SERVICE, SD_BUS_CREDS_PID, &creds);
        if (r >= 0) {
                r = sd_bus_creds_get_pid(creds, &pid);
                sd_bus_creds_unref(creds);
        }
        if (r < 0)
                die("the service's pid", r, NULL);
        return pid;
}

/* Of the service, in KiB: what is its own, and its share of what it shares with others. */
static guint64 service_pss(void) {
        g_autofree char *path = g_strdup_printf("/proc/%d/smaps_rollup", service_pid());
        g_autofree char *text = NULL;
        const char *line;

        if (!g_file_get_contents(path, &text, NULL, NULL) || !(line = strstr(text, "\nPss:")))
                die(path, -EIO, NULL);
        return g_ascii_strtoull(line + strlen("\nPss:"), NULL, 10);
}

static void measure_memory(guint n_guests, guint n_disks) {
        guint64 before, after;

        /* One comes and goes first: threads and what the C library keeps are not the guests'. */
        cycle(100);
        for (guint guest = 1; guest <= n_guests; guest++)
                for (guint disk = 0; disk < n_disks; disk++)
                        make_image(guest, disk);
        before = service_pss();
        for (guint guest = 1; guest <= n_guests; guest++)
                start_guest(guest, n_disks);
        after = service_pss();
        printf("%u guests with %u disk%s each: PSS %" G_GUINT64_FORMAT " KiB before, %" G_GUINT64_FORMAT
               " KiB with them, %.2f KiB a guest\n",
               n_guests, n_disks, n_disks == 1 ? "" : "s", before, after,
               ((double) after - (double) before) / n_guests);
}

static guint to_number(const char *text) {
        guint64 number;

        if (!g_ascii_string_to_unsigned(text, 10, 1, 10000000, &number, NULL)) {
                fprintf(stderr, "leases: \"%s\" is not a number from 1 on\n", text);
                exit(2);
        }
        return (guint) number;
}

int main(int argc, char **argv) {
        int r = sd_bus_open_system(&bus);

        if (r < 0)
                die("the bus", r, NULL);
        if (argc == 3 && g_str_equal(argv[1], "round-trip")) {
                measure_round_trips(to_number(argv[2]));
        } else if (argc == 3 && g_str_equal(argv[1], "cycle")) {
                cycle(to_number(argv[2]));
        } else if (argc == 4 && g_str_equal(argv[1], "memory")) {
                measure_memory(to_number(argv[2]), to_number(argv[3]));
        } else if (argc == 2 && g_str_equal(argv[1], "pid")) {
                printf("%d\n", service_pid());
        } else {
                fputs("leases round-trip ROUNDS | cycle ROUNDS | memory GUESTS DISKS | pid\n", stderr);
                return 2;
        }
        sd_bus_flush_close_unref(bus);
        return 0;
}
