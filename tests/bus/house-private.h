/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "house.h"

/* Between the parts of the fixture: house.c, calls.c and polkit.c. */

guint32 house_uid_of(const char *sender);
GlAuthority *house_polkit_new(House *house);
void house_call_free(gpointer call);
void house_log_signal(House *house, sd_bus_message *signal);
/* As in the log. */
void house_append_string(House *house, GString *out, const char *text);
/* STRING is owned by the house. */
const char *house_keep(House *house, char *string);
