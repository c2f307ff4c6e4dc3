/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "core/core.h"

/*
 * A bus throws off who sends a message that is longer than it takes: 32 MiB with dbus-daemon as it is for the system.
 * So what grows with the number of guests is measured before it is sent, and refused with LimitExceeded instead. (What
 * a single guest has is bounded by its own limits, and errors by gl_bus_reply_error().)
 */
#define GL_MESSAGE_MAX_BYTES (31 * 1024 * 1024)

/* WHAT is the beginning of a sentence: "The list of guests". */
gboolean gl_check_message_size(guint64 bytes, const char *what, GError **error);

/* A filter for the lists that sd-bus itself makes: GetManagedObjects and Introspect. */
int gl_size_add_filter(sd_bus *connection, GlCore *core, sd_bus_slot **slot);
