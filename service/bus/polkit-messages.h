/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "bus/authority.h"

/* What goes to polkit and what comes back. */

#define POLKIT_NAME "org.freedesktop.PolicyKit1"
#define POLKIT_PATH "/org/freedesktop/PolicyKit1/Authority"
#define POLKIT_INTERFACE "org.freedesktop.PolicyKit1.Authority"

/*
 * CANCELLATION (nullable) is the id of the dialog that is asked for. *MESSAGE, NULL before, is the caller's also where
 * this fails with a negative errno.
 */
int gl_polkit_write_question(sd_bus *bus, const char *sender, const GlQuestion *question, const char *cancellation,
                             sd_bus_message **message);

/* ERROR is set with GL_ANSWER_NO where there is more to say than no. */
GlAnswer gl_polkit_read_answer(sd_bus_message *reply, gboolean dialog, GError **error);
/* What is said when there is none. (owned by the caller) */
GError *gl_polkit_silence(void);
