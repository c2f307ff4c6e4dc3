/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "house.h"

/* Prints what a live object says of itself: "Manager" or "Guest". For compare-introspection. */

static void print(House *house, const char *path) {
        Call *call = send_call(house, ROOT, path, "org.freedesktop.DBus.Introspectable.Introspect", "");
        const char *xml;

        fixture_must(sd_bus_message_read(await_reply(call), "s", &xml));
        g_print("%s\n", xml);
}

int main(int argc, char **argv) {
        g_autoptr(House) house = NULL;

        house_init(&argc, &argv);
        house = house_new();
        create(house, ROOT, 1);
        print(house, argc > 1 && g_str_equal(argv[1], "Guest") ? ROOTS(1) : MANAGER);
        return 0;
}
