/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "house.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/stat.h>

/*
 * A thousand guests with four disks each, held: what a guest costs is printed, and not judged. When they have gone
 * there is nothing left of them. Where every call is slow (valgrind) they are fewer.
 */

#define N_DISKS 4u

static gsize bytes_in_use(void) {
        struct mallinfo2 info = mallinfo2();

        return info.uordblks + info.hblkhd; /* 0 under sanitizers */
}

static sd_bus_message *new_register(House *house, const char *guest, guint n) {
        g_autofree char *path = g_strdup_printf("%s/%u.img", house->dir, n);
        sd_bus_message *message = new_call(house, ROOT, guest, "RegisterResourceFd");
        int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

        g_assert_cmpint(fd, >=, 0);
        fixture_must(sd_bus_message_append(message, "sshsa{sv}", "disk", path, fd, "exclusive", 0));
        close(fd);
        return message;
}

static char *path_of(guint n) {
        return g_strdup_printf(CONTAINER "/00000000_0000_4000_8000_%012u", n + 1);
}

static void add_guest(House *house, guint n) {
        g_autofree char *uuid = g_strdup_printf("00000000-0000-4000-8000-%012u", n + 1), *path = path_of(n);

        succeed(house, ROOT, MANAGER, "CreateGuest", "o", NULL, "ssa{sv}", uuid, "web", 0);
        for (guint i = 0; i < N_DISKS; i++)
                send_message(house, new_register(house, path, N_DISKS * n + i));
        expect_reply(send_call(house, ROOT, path, "Acquire", "a{sv}", 0), "t", "#");
        forget_calls(house);
}

static void remove_guest(House *house, guint n) {
        g_autofree char *path = path_of(n);

        send_call(house, ROOT, path, "Release", "a{sv}", 0);
        expect_reply(send_call(house, ROOT, path, "Free", "a{sv}", 0), "", "");
        forget_calls(house);
}

static void test_thousand(void) {
        g_autoptr(House) house = house_new();
        GlCore *core = gl_service_core(house->service);
        guint n_guests = has_openat2() ? 1000 : 50;
        gsize before, full, after;

        add_guest(house, n_guests); /* what is made once is there now */
        remove_guest(house, n_guests);
        before = bytes_in_use();
        for (guint n = 0; n < n_guests; n++)
                add_guest(house, n);
        full = bytes_in_use();
        g_assert_cmpuint(gl_core_n_guests(core), ==, n_guests);
        g_assert_cmpuint(gl_core_n_leases(core), ==, N_DISKS * n_guests);
        g_assert_cmpuint(gl_fake_driver_n_leases(house->driver), ==, N_DISKS * n_guests);
        await_reply(send_call(house, BOB, MANAGER, OBJECT_MANAGER "GetManagedObjects", ""));
        forget_calls(house);

        for (guint n = 0; n < n_guests; n++)
                remove_guest(house, n);
        after = bytes_in_use();
        if (full > before)
                g_test_message("%u guests with %u disks: %zu bytes each; %zd bytes each when they are gone", n_guests,
                               N_DISKS, (full - before) / n_guests, ((gssize) after - (gssize) before) / n_guests);
        g_assert_cmpuint(gl_core_n_guests(core), ==, 0);
        g_assert_cmpuint(gl_core_n_leases(core), ==, 0);
        g_assert_cmpuint(gl_fake_driver_n_leases(house->driver), ==, 0);
        succeed(house, BOB, MANAGER, "ListGuests", "a(sssuuo)", "[]", "a{sv}", 0);
}

int main(int argc, char **argv) {
        house_init(&argc, &argv);
        g_test_add_func("/memory/thousand", test_thousand);
        return g_test_run();
}
