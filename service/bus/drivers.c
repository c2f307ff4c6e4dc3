/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/bus-private.h"
#include "core/names.h"

/*
 * LoadDriver and UnloadDriver of the Manager. They are about no guest, and the service that owns the drivers carries
 * them out; what is loaded is what the file is when the authorisation is there.
 */

static gboolean read_driver(GlCall *call, GError **error) {
        int r = sd_bus_message_read(call->message, "s", &call->arguments.driver);

        if (r < 0)
                return gl_refuse_malformed(r, error);
        return gl_check_driver_name(call->arguments.driver, error) && gl_read_no_options(call, error);
}

static void answer(GlCall *call, gboolean done, const GError *error) {
        if (done)
                gl_call_reply(call, NULL);
        else
                gl_call_fail(call, error);
}

static void run_load(GlCall *call) {
        const GlBusParts *parts = &call->bus->parts;
        g_autoptr(GError) error = NULL;
        gboolean done = parts->load_driver(call->arguments.driver, parts->user_data, &error);

        answer(call, done, error);
}

static void run_unload(GlCall *call) {
        const GlBusParts *parts = &call->bus->parts;
        g_autoptr(GError) error = NULL;
        gboolean done = parts->unload_driver(call->arguments.driver, parts->user_data, &error);

        answer(call, done, error);
}

int gl_bus_on_load_driver(sd_bus_message *message, void *bus, sd_bus_error *error) {
        static const GlMethod method = {
                .name = "load_driver", .right = GL_RIGHT_LOAD_DRIVER, .read = read_driver, .run = run_load};

        return gl_call_begin(bus, &method, message, NULL);
}

int gl_bus_on_unload_driver(sd_bus_message *message, void *bus, sd_bus_error *error) {
        static const GlMethod method = {
                .name = "unload_driver", .right = GL_RIGHT_LOAD_DRIVER, .read = read_driver, .run = run_unload};

        return gl_call_begin(bus, &method, message, NULL);
}
