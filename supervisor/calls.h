/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <systemd/sd-bus.h>

#define GL_SERVICE         "org.guestlock1"
#define GL_GUEST_INTERFACE "org.guestlock1.Guest"

/* Calls to one guest's lock manager that are waited for, and repeated where the service died under them. */
typedef struct {
        sd_bus *bus;       /* (owned) (nullable) */
        const char *guest; /* (borrowed) its object path */
} GlCalls;

/* Appends the arguments; called again with each repetition. */
typedef int (*GlFill)(sd_bus_message *message, gconstpointer data);

void gl_calls_clear(GlCalls *calls);

/*
 * The reply (owned by the caller), or NULL with an error of GL_ERROR whose message is the service's. PATIENCE: how long
 * the service may take beyond what every call may, in µs. FILL is NULL where there are no arguments.
 */
sd_bus_message *gl_calls_call(GlCalls *calls, const char *member, GlFill fill, gconstpointer data, guint64 patience,
                              GError **error);
/* A property; the reply stands at its value. */
sd_bus_message *gl_calls_get(GlCalls *calls, const char *property, const char *contents, GError **error);

/* What an error on the bus is in GL_ERROR; GL_ERROR_DRIVER_FAILED where it is nothing in particular. */
int gl_error_code_of(const sd_bus_error *error);
/* The service was not there, or died: the same call may succeed soon. */
gboolean gl_error_is_passing(const sd_bus_error *error);
