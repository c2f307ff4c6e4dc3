/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/types.h>

#include <glib.h>

/* The children of this process that live, of pid_t, the oldest first. */
GArray *gl_children(void);

/* What /proc/…/stat says: FALSE if it is no such line. STATE is a letter, START_TIME in clock ticks. */
gboolean gl_parse_stat(const char *text, char *state, pid_t *parent, guint64 *start_time);
