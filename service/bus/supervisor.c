/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/bus-private.h"
#include "bus/options.h"

/*
 * GetSupervisorPath and GetSupervisorArgs: what to put before a guest's command line. They change nothing and say the
 * same in every state; what the guest's leases are, the supervisor asks when it runs.
 */

static gboolean read_nothing(GlCall *call, GError **error) {
        return TRUE;
}

static gboolean read_args_options(GlCall *call, GError **error) {
        GlArguments *arguments = &call->arguments;
        const GlOption options[] = {{"orphan", 's', &arguments->orphan, &arguments->has_orphan},
                                    {"wait-ms", 'u', &arguments->wait_ms, NULL},
                                    {}};

        return gl_options_read(call->message, options, error) && gl_check_words(call, error);
}

static void run(GlCall *call) {
        gl_call_reply(call, NULL);
}

static int fill_path(GlCall *call, const GlChange *change, sd_bus_message *reply) {
        return sd_bus_message_append(reply, "s", call->bus->parts.supervisor);
}

/* The last one ends the supervisor's options, so that the guest's command line can follow whatever it begins with. */
static int fill_args(GlCall *call, const GlChange *change, sd_bus_message *reply) {
        g_autofree char *path = gl_guest_path(call->guest);
        g_autofree char *guest = g_strdup_printf("--guest=%s", path);
        g_autofree char *wait = g_strdup_printf("--wait-ms=%" G_GUINT32_FORMAT, call->arguments.wait_ms);
        const char *strings[5];
        guint n = 0;

        strings[n++] = guest;
        if (call->arguments.keep_orphan)
                strings[n++] = "--orphan=keep";
        if (call->arguments.wait_ms > 0)
                strings[n++] = wait;
        strings[n++] = "--";
        strings[n] = NULL;
        return sd_bus_message_append_strv(reply, (char **) strings);
}

int gl_bus_on_get_supervisor_path(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        static const GlMethod method = {.name = "get_supervisor_path",
                                        .right = GL_RIGHT_OWN,
                                        .read = read_nothing,
                                        .run = run,
                                        .fill = fill_path};
        const GlFound *found = userdata;

        return gl_call_begin(found->bus, &method, message, found->guest);
}

int gl_bus_on_get_supervisor_args(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        static const GlMethod method = {.name = "get_supervisor_args",
                                        .right = GL_RIGHT_OWN,
                                        .read = read_args_options,
                                        .run = run,
                                        .fill = fill_args};
        const GlFound *found = userdata;

        return gl_call_begin(found->bus, &method, message, found->guest);
}
