/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <systemd/sd-bus.h>

#include "core/error.h"

/* The D-Bus name of a GL_ERROR code; org.freedesktop.DBus.Error.Failed for any other number. (static) */
const char *gl_error_to_bus_name(int code);

/*
 * Answers CALL with ERROR; one that is not of GL_ERROR becomes org.freedesktop.DBus.Error.Failed. Returns 1, so
 * that a handler can return it ("handled"), or a negative errno when nothing can be sent.
 */
int gl_bus_reply_error(sd_bus_message *call, const GError *error);
