/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/errors.h"

#include <errno.h>
#include <string.h>

/*
 * The one table from error codes to D-Bus names. It is counted at compile time: a code
 * that is added to GlError and not here does not build, and one that is here twice is a
 * warning of the compiler.
 */

#define MAX_MESSAGE_BYTES (256 * 1024)

#define OURS "org.guestlock1.Error."

#define NAMES(NAME)                                                                                                    \
        NAME(CONFLICT, OURS "Conflict")                                                                                \
        NAME(BAD_STATE, OURS "BadState")                                                                               \
        NAME(NO_SUCH_GUEST, OURS "NoSuchGuest")                                                                        \
        NAME(NO_SUCH_RESOURCE, OURS "NoSuchResource")                                                                  \
        NAME(ALREADY_EXISTS, OURS "AlreadyExists")                                                                     \
        NAME(ALREADY_REGISTERED, OURS "AlreadyRegistered")                                                             \
        NAME(NOT_SUPPORTED, OURS "NotSupported")                                                                       \
        NAME(TIMEOUT, OURS "Timeout")                                                                                  \
        NAME(CANCELLED, OURS "Cancelled")                                                                              \
        NAME(STALE, OURS "Stale")                                                                                      \
        NAME(LEASE_LOST, OURS "LeaseLost")                                                                             \
        NAME(GUEST_RUNNING, OURS "GuestRunning")                                                                       \
        NAME(NO_CHILD, OURS "NoChild")                                                                                 \
        NAME(LIMIT_EXCEEDED, OURS "LimitExceeded")                                                                     \
        NAME(NO_SUCH_DRIVER, OURS "NoSuchDriver")                                                                      \
        NAME(DRIVER_IN_USE, OURS "DriverInUse")                                                                        \
        NAME(DRIVER_FAILED, OURS "DriverFailed")                                                                       \
        NAME(STORAGE_UNAVAILABLE, OURS "StorageUnavailable")                                                           \
        NAME(INVALID_ARGS, SD_BUS_ERROR_INVALID_ARGS)                                                                  \
        NAME(ACCESS_DENIED, SD_BUS_ERROR_ACCESS_DENIED)                                                                \
        NAME(INTERACTIVE_AUTHORIZATION_REQUIRED, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED)                      \
        NAME(UNKNOWN_OBJECT, SD_BUS_ERROR_UNKNOWN_OBJECT)

#define ROW(code, name) [GL_ERROR_##code] = name,
#define COUNT(code, name) +1

static const char *const names[GL_N_ERRORS] = {NAMES(ROW)};

G_STATIC_ASSERT(0 NAMES(COUNT) == GL_N_ERRORS);

const char *gl_error_to_bus_name(int code) {
        if (code < 0 || code >= GL_N_ERRORS)
                return SD_BUS_ERROR_FAILED;
        return names[code];
}

/*
 * A conflict names everybody who is in the way, and thousands may be. What does not fit is left out, and a sentence
 * with an end that is missing says so.
 */
static char *fit(const char *text) {
        /* One byte that is not UTF-8 would make the whole reply impossible to send. */
        g_autofree char *valid = g_utf8_make_valid(text, -1);
        char *end;

        if (strlen(valid) <= MAX_MESSAGE_BYTES)
                return g_steal_pointer(&valid);
        end = g_utf8_find_prev_char(valid, valid + MAX_MESSAGE_BYTES);
        return g_strdup_printf("%.*s… (and %zu bytes more)", (int) (end - valid), valid, strlen(end));
}

int gl_bus_reply_error(sd_bus_message *call, const GError *error) {
        const char *name = error->domain == GL_ERROR ? gl_error_to_bus_name(error->code) : SD_BUS_ERROR_FAILED;
        g_autofree char *message = fit(error->message);
        int r;

        r = sd_bus_reply_method_errorf(call, name, "%s", message);
        if (r == -EINVAL) {
                /* Nor does sd-bus take all that is UTF-8 (U+FFFE), and who gets no answer waits for it. */
                g_autofree char *ascii = g_strescape(message, NULL);

                r = sd_bus_reply_method_errorf(call, name, "%s", ascii);
        }
        return r < 0 ? r : 1;
}
