/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

/*
 * Has polkit's own agent ask for passwords on this terminal, where no other agent does, until gl_password_agent_end()
 * or the end of this process. Nothing happens without a terminal, and for root, who is not asked.
 */
void gl_password_agent_start(void);
void gl_password_agent_end(void);

/* Whether somebody sits before its question now. */
gboolean gl_password_is_asked(void);
