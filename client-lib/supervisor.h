/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "operation.h"

/* Adds what makes op->command the supervisor, its arguments and that command, which may be NULL; path as in
 * gl_call_new(). */
void gl_add_supervisor_command(GlOperation *op, const char *path, guint wait_ms, gboolean keep_orphan,
                               const char *const *command);
