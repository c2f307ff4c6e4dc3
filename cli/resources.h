/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "cli.h"

/* A guest's resources (of GuestlockResource) as a person sees them: a table, and what is remarkable below it. */
void gl_print_resources(const GlCli *cli, GPtrArray *resources);

/* The path made absolute. (owned) */
char *gl_parse_path(const char *text, GError **error);

/*
 * "PATH" or "PATH,mode=MODE", the path made absolute; what does not name a mode is part of the path, which may have
 * commas. Without a mode: exclusive.
 */
gboolean gl_parse_disk(const char *text, char **path, GuestlockMode *mode, GError **error);
