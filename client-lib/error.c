/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "error.h"

/*
 * Errors of the service's own names are known to GDBus as of this domain (also to programs that call the service
 * without the library); the names that it shares with D-Bus belong to G_DBUS_ERROR there, and are turned here.
 */

#define OURS   "org.guestlock1.Error."
#define COMMON "org.freedesktop.DBus.Error."

static const GDBusErrorEntry names[] = {
        {GUESTLOCK_ERROR_CONFLICT, OURS "Conflict"},
        {GUESTLOCK_ERROR_BAD_STATE, OURS "BadState"},
        {GUESTLOCK_ERROR_NO_SUCH_GUEST, OURS "NoSuchGuest"},
        {GUESTLOCK_ERROR_NO_SUCH_RESOURCE, OURS "NoSuchResource"},
        {GUESTLOCK_ERROR_ALREADY_EXISTS, OURS "AlreadyExists"},
        {GUESTLOCK_ERROR_ALREADY_REGISTERED, OURS "AlreadyRegistered"},
        {GUESTLOCK_ERROR_NOT_SUPPORTED, OURS "NotSupported"},
        {GUESTLOCK_ERROR_TIMEOUT, OURS "Timeout"},
        {GUESTLOCK_ERROR_CANCELLED, OURS "Cancelled"},
        {GUESTLOCK_ERROR_STALE, OURS "Stale"},
        {GUESTLOCK_ERROR_LEASE_LOST, OURS "LeaseLost"},
        {GUESTLOCK_ERROR_GUEST_RUNNING, OURS "GuestRunning"},
        {GUESTLOCK_ERROR_NO_CHILD, OURS "NoChild"},
        {GUESTLOCK_ERROR_LIMIT_EXCEEDED, OURS "LimitExceeded"},
        {GUESTLOCK_ERROR_NO_SUCH_DRIVER, OURS "NoSuchDriver"},
        {GUESTLOCK_ERROR_DRIVER_IN_USE, OURS "DriverInUse"},
        {GUESTLOCK_ERROR_DRIVER_FAILED, OURS "DriverFailed"},
        {GUESTLOCK_ERROR_STORAGE_UNAVAILABLE, OURS "StorageUnavailable"},
};

static const GDBusErrorEntry common_names[] = {
        {GUESTLOCK_ERROR_INVALID_ARGS, COMMON "InvalidArgs"},
        {GUESTLOCK_ERROR_ACCESS_DENIED, COMMON "AccessDenied"},
        {GUESTLOCK_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED, COMMON "InteractiveAuthorizationRequired"},
        {GUESTLOCK_ERROR_UNKNOWN_OBJECT, COMMON "UnknownObject"},
        {GUESTLOCK_ERROR_NOT_SUPPORTED, COMMON "UnknownMethod"},
        {GUESTLOCK_ERROR_UNAVAILABLE, COMMON "NoReply"},
        {GUESTLOCK_ERROR_UNAVAILABLE, COMMON "ServiceUnknown"},
        {GUESTLOCK_ERROR_UNAVAILABLE, COMMON "NameHasNoOwner"},
        {GUESTLOCK_ERROR_UNAVAILABLE, COMMON "Disconnected"},
        {GUESTLOCK_ERROR_UNAVAILABLE, COMMON "TimedOut"},
};

/* Whatever keeps the bus from starting the service. */
#define SPAWN COMMON "Spawn."

GQuark guestlock_error_quark(void) {
        static gsize quark;

        g_dbus_error_register_error_domain("guestlock-error-quark", &quark, names, G_N_ELEMENTS(names));
        return (GQuark) quark;
}

static int code_of_common(const char *name) {
        for (gsize i = 0; i < G_N_ELEMENTS(common_names); i++)
                if (g_str_equal(common_names[i].dbus_error_name, name))
                        return common_names[i].error_code;
        return g_str_has_prefix(name, SPAWN) ? GUESTLOCK_ERROR_UNAVAILABLE : -1;
}

static gboolean is_lost_connection(const GError *error) {
        return g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CLOSED) ||
               g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CONNECTION_REFUSED) ||
               g_error_matches(error, G_IO_ERROR, G_IO_ERROR_BROKEN_PIPE) ||
               g_error_matches(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND);
}

GError *gl_error_translate(GError *error) {
        g_autofree char *name = g_dbus_error_get_remote_error(error);
        int code = -1;

        if (name) {
                g_dbus_error_strip_remote_error(error);
                code = error->domain == GUESTLOCK_ERROR ? error->code : code_of_common(name);
        } else if (is_lost_connection(error)) {
                code = GUESTLOCK_ERROR_UNAVAILABLE;
        }
        if (code >= 0) {
                error->domain = GUESTLOCK_ERROR;
                error->code = code;
        }
        if (g_error_matches(error, GUESTLOCK_ERROR, GUESTLOCK_ERROR_UNAVAILABLE))
                g_prefix_error(&error, "The service guestlock cannot be reached: ");
        return error;
}

gboolean gl_error_is_no_reply(const GError *error) {
        g_autofree char *name = g_dbus_error_get_remote_error(error);

        return !g_strcmp0(name, COMMON "NoReply") || !g_strcmp0(name, SPAWN "ChildSignaled");
}
