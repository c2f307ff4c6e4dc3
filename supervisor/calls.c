/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Every method may be repeated, so a call that ends without a reply is: the service was killed under it, and the bus
 * starts it again. That it cannot be started for a moment passes, too.
 */

#include "supervisor/calls.h"

#include <errno.h>

#include "core/error.h"

#define PATIENCE     (120 * G_USEC_PER_SEC) /* for one call: a user may be asked for a password */
#define GIVE_UP      (20 * G_USEC_PER_SEC)  /* for repetitions */
#define PAUSE        (100 * G_USEC_PER_SEC / 1000)
#define ERROR_PREFIX "org.guestlock1.Error."
#define DBUS_PREFIX  "org.freedesktop.DBus.Error."

void gl_calls_clear(GlCalls *calls) {
        calls->bus = sd_bus_flush_close_unref(calls->bus);
}

int gl_error_code_of(const sd_bus_error *error) {
        static const struct {
                const char *name;
                int code;
        } codes[] = {
                {ERROR_PREFIX "Conflict", GL_ERROR_CONFLICT},
                {ERROR_PREFIX "Timeout", GL_ERROR_TIMEOUT},
                {ERROR_PREFIX "AlreadyRegistered", GL_ERROR_ALREADY_REGISTERED},
                {ERROR_PREFIX "AlreadyExists", GL_ERROR_ALREADY_EXISTS},
                {ERROR_PREFIX "NotSupported", GL_ERROR_NOT_SUPPORTED},
                {DBUS_PREFIX "AccessDenied", GL_ERROR_ACCESS_DENIED},
        };

        for (guint i = 0; i < G_N_ELEMENTS(codes); i++)
                if (sd_bus_error_has_name(error, codes[i].name))
                        return codes[i].code;
        return GL_ERROR_DRIVER_FAILED;
}

gboolean gl_error_is_passing(const sd_bus_error *error) {
        static const char *const names[] = {DBUS_PREFIX "NoReply", DBUS_PREFIX "Disconnected", DBUS_PREFIX "TimedOut",
                                            DBUS_PREFIX "Timeout"};

        for (guint i = 0; i < G_N_ELEMENTS(names); i++)
                if (sd_bus_error_has_name(error, names[i]))
                        return TRUE;
        return error->name && g_str_has_prefix(error->name, DBUS_PREFIX "Spawn.");
}

/* 0, or a negative errno and, where it came from the bus, ERROR. */
static int try_once(GlCalls *calls, sd_bus_message *message, guint64 patience, sd_bus_message **reply,
                    sd_bus_error *error) {
        int r = sd_bus_message_set_allow_interactive_authorization(message, TRUE);

        if (r >= 0)
                r = sd_bus_call(calls->bus, message, PATIENCE + patience, error, reply);
        return r < 0 ? r : 0;
}

static int prepare(GlCalls *calls, const char *interface, const char *member, GlFill fill, gconstpointer data,
                   sd_bus_message **message) {
        int r = 0;

        if (calls->bus && sd_bus_is_open(calls->bus) <= 0)
                gl_calls_clear(calls);
        if (!calls->bus)
                r = sd_bus_open_system_with_description(&calls->bus, "guestlock-supervisor");
        if (r >= 0)
                r = sd_bus_message_new_method_call(calls->bus, message, GL_SERVICE, calls->guest, interface, member);
        if (r >= 0 && fill)
                r = fill(*message, data);
        return r;
}

static gboolean is_passing(int r, const sd_bus_error *error) {
        return gl_error_is_passing(error) ||
               (!sd_bus_error_is_set(error) && (r == -ENOTCONN || r == -ECONNRESET || r == -ETIMEDOUT));
}

static void set_error(GError **error, int r, const char *member, const sd_bus_error *from) {
        if (sd_bus_error_is_set(from))
                g_set_error(error, GL_ERROR, gl_error_code_of(from), "%s", from->message ?: from->name);
        else
                g_set_error(error, GL_ERROR, GL_ERROR_DRIVER_FAILED,
                            "The lease service cannot be called (%s): %s.", member, g_strerror(-r));
}

static sd_bus_message *call(GlCalls *calls, const char *interface, const char *member, GlFill fill, gconstpointer data,
                            guint64 patience, GError **error) {
        gint64 give_up = 0;

        for (;;) {
                __attribute__((cleanup(sd_bus_error_free))) sd_bus_error failure = SD_BUS_ERROR_NULL;
                __attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *message = NULL;
                sd_bus_message *reply = NULL;
                int r = prepare(calls, interface, member, fill, data, &message);

                if (r >= 0)
                        r = try_once(calls, message, patience, &reply, &failure);
                if (r >= 0)
                        return reply;
                /* From the first failure on: the call itself may have waited for long. */
                if (give_up == 0)
                        give_up = g_get_monotonic_time() + GIVE_UP;
                if (!is_passing(r, &failure) || g_get_monotonic_time() >= give_up) {
                        set_error(error, r, member, &failure);
                        return NULL;
                }
                g_usleep(PAUSE);
        }
}

sd_bus_message *gl_calls_call(GlCalls *calls, const char *member, GlFill fill, gconstpointer data, guint64 patience,
                              GError **error) {
        return call(calls, GL_GUEST_INTERFACE, member, fill, data, patience, error);
}

static int fill_property(sd_bus_message *message, gconstpointer property) {
        return sd_bus_message_append(message, "ss", GL_GUEST_INTERFACE, (const char *) property);
}

sd_bus_message *gl_calls_get(GlCalls *calls, const char *property, const char *contents, GError **error) {
        sd_bus_message *reply =
                call(calls, "org.freedesktop.DBus.Properties", "Get", fill_property, property, 0, error);
        int r;

        if (!reply)
                return NULL;
        r = sd_bus_message_enter_container(reply, 'v', contents);
        if (r > 0)
                return reply;
        sd_bus_message_unref(reply);
        g_set_error(error, GL_ERROR, GL_ERROR_DRIVER_FAILED, "The lease service's property %s cannot be read: %s.",
                    property, g_strerror(r < 0 ? -r : EBADMSG));
        return NULL;
}
