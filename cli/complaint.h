/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "cli.h"

/* Says on standard error what went wrong and what to type next; with --json also on standard output. */
GlExit gl_complain(const GlCli *cli, const GlCommand *command /* (nullable) */, const GError *error);

/* That, without saying anything. */
GlExit gl_exit_of(const GError *error);
