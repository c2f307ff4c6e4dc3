/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

/*
 * A service that answers every call with nothing, at once: what the bus and the machine cost with whatever service
 * there is at the other end.
 */

static int answer(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        if (sd_bus_message_is_method_call(message, NULL, NULL) <= 0)
                return 0;
        return sd_bus_reply_method_return(message, NULL) < 0 ? 0 : 1;
}

int main(int argc, char **argv) {
        sd_event *event;
        sd_bus *bus;
        int r = sd_event_default(&event);

        if (r >= 0)
                r = sd_bus_open_system(&bus);
        if (r >= 0)
                r = sd_bus_attach_event(bus, event, 0);
        if (r >= 0)
                r = sd_bus_set_exit_on_disconnect(bus, 1);
        if (r >= 0)
                r = sd_bus_add_filter(bus, NULL, answer, NULL);
        if (r >= 0)
                r = sd_bus_request_name(bus, argc > 1 ? argv[1] : "org.guestlock.Echo", 0);
        if (r >= 0) {
                puts("ready");
                fflush(stdout);
                r = sd_event_loop(event);
        }
        fprintf(stderr, "echo: %s\n", strerror(-r));
        return 1;
}
