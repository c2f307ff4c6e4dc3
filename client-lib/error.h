/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <guestlock-error.h>

/* Takes an error of GDBus's, and gives it as the caller of the library has it: its code, its sentence. */
GError *gl_error_translate(GError *error);

/* Whether the call was perhaps delivered to a service that died, or died starting: to be repeated. */
gboolean gl_error_is_no_reply(const GError *error);
