/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/quotas.h"
#include "core/types.h"

/* Checks of what callers name things. All fail with GL_ERROR_INVALID_ARGS. */

/* 36 characters of a uuid that is not nil; LOWER gets it in lower case. */
gboolean gl_uuid_parse(const char *text, char lower[37], GError **error);

gboolean gl_check_guest_name(const GlLimits *limits, const char *name, GError **error);
/* 1 to 32 of a-z, 0-9 and "-": nothing that would lead out of a directory. */
gboolean gl_is_driver_name(const char *name);
gboolean gl_check_driver_name(const char *name, GError **error);
/* Of a Revoke: for people, and so no control characters. */
gboolean gl_check_reason(const GlLimits *limits, const char *reason, GError **error);
/* An absolute path for a disk, a key for a lease. */
gboolean gl_check_resource_name(const GlLimits *limits, GlResourceType type, const char *name, GError **error);
