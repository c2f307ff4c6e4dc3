/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

/* The store's own: the state files that could not be read, in a directory of theirs. */

/* How many of those in DIRECTORY, a descriptor, are of guests of which it is not certain that they have ended. */
guint gl_set_aside_count(int directory, const char *boot_id);

/* TRUE: whatever else is wrong with TEXT, the guest whose state file it was has ended. */
gboolean gl_set_aside_has_ended(const char *text, gsize length, const char *boot_id);
