/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

/*
 * Text as our key files have it: in double quotes, with g_strescape()'s escapes. A key file by itself loses a leading
 * form feed, and a path may be no UTF-8.
 */

char *gl_quoted_write(const char *text);
/* What the function above was given, or NULL for anything that it does not write. */
char *gl_quoted_read(const char *text);
