/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/size.h"

#include <string.h>

#include "bus/errors.h"
#include "bus/path.h"
#include "core/error.h"

/*
 * sd-bus cannot be asked how long the message will be that it makes. What one guest takes in it is known well enough
 * from above: everything but the strings has a fixed size, and is a little less than what stands here.
 */

#define MANAGED_OBJECT_BYTES  704
#define INTROSPECTED_BYTES    80
#define INTROSPECTION_BYTES   8192

gboolean gl_check_message_size(guint64 bytes, const char *what, GError **error) {
        if (bytes <= GL_MESSAGE_MAX_BYTES)
                return TRUE;
        g_set_error(error, GL_ERROR, GL_ERROR_LIMIT_EXCEEDED,
                    "%s is too long for a message on the bus: it would have about %" G_GUINT64_FORMAT " MiB. Ask for "
                    "the guests one by one.",
                    what, bytes / 1024 / 1024);
        return FALSE;
}

static void add_managed(GlGuest *guest, gpointer user_data) {
        *(guint64 *) user_data += MANAGED_OBJECT_BYTES + strlen(guest->name) + strlen(guest->driver);
}

static guint64 managed_bytes(GlCore *core) {
        guint64 bytes = 0;

        gl_core_foreach_guest(core, add_managed, &bytes);
        return bytes;
}

static int on_message(sd_bus_message *message, void *user_data, sd_bus_error *unused) {
        GlCore *core = user_data;
        g_autoptr(GError) error = NULL;

        if (sd_bus_message_is_method_call(message, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects") > 0)
                gl_check_message_size(managed_bytes(core), "The list of all objects", &error);
        else if (sd_bus_message_is_method_call(message, "org.freedesktop.DBus.Introspectable", "Introspect") > 0 &&
                 g_strcmp0(sd_bus_message_get_path(message), GL_GUESTS_PATH) == 0)
                gl_check_message_size((guint64) gl_core_n_guests(core) * INTROSPECTED_BYTES + INTROSPECTION_BYTES,
                                      "The description of " GL_GUESTS_PATH, &error);
        return error ? gl_bus_reply_error(message, error) : 0;
}

int gl_size_add_filter(sd_bus *connection, GlCore *core, sd_bus_slot **slot) {
        return sd_bus_add_filter(connection, slot, on_message, core);
}
