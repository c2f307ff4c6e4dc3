/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

/*
 * What can go wrong, as the contract names it. bus/errors.c is the one place that
 * turns these codes into D-Bus names. A message is a whole sentence that names the
 * thing and that a person can act on.
 */
#define GL_ERROR (gl_error_quark())
GQuark gl_error_quark(void);

typedef enum {
        GL_ERROR_CONFLICT,
        GL_ERROR_BAD_STATE,
        GL_ERROR_NO_SUCH_GUEST,
        GL_ERROR_NO_SUCH_RESOURCE,
        GL_ERROR_ALREADY_EXISTS,
        GL_ERROR_ALREADY_REGISTERED,
        GL_ERROR_NOT_SUPPORTED,
        GL_ERROR_TIMEOUT,
        GL_ERROR_CANCELLED,
        GL_ERROR_STALE,
        GL_ERROR_LEASE_LOST,
        GL_ERROR_GUEST_RUNNING,
        GL_ERROR_NO_CHILD,
        GL_ERROR_LIMIT_EXCEEDED,
        GL_ERROR_NO_SUCH_DRIVER,
        GL_ERROR_DRIVER_IN_USE,
        GL_ERROR_DRIVER_FAILED,
        GL_ERROR_STORAGE_UNAVAILABLE,
        /* From here on org.freedesktop.DBus.Error. */
        GL_ERROR_INVALID_ARGS,
        GL_ERROR_ACCESS_DENIED,
        GL_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED,
        GL_ERROR_UNKNOWN_OBJECT,
        GL_N_ERRORS,
} GlError;
