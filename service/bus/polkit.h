/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "bus/authority.h"

/*
 * Asks polkit over BUS. uid 0 is allowed without a question, as polkit itself would; without
 * polkit nobody else is. At most MAX_QUERIES questions are under way at a time (the bus caps a
 * sender's outstanding calls at 128), and of one uid one without a dialog; the rest queue. Per uid at most
 * MAX_DIALOGS dialogs (GL_ERROR_LIMIT_EXCEEDED beyond). A question without a dialog that is not answered within
 * TIMEOUT µs (or twice that where it had to wait its turn) is a no; a dialog has no timeout. Half of MAX_QUERIES (at
 * least 2) is for dialogs, so that people who think about a password hold up nobody else. BUS is attached to an event
 * loop.
 */
GlAuthority *gl_polkit_authority_new(sd_bus *bus, guint max_queries, guint max_dialogs, guint64 timeout);
