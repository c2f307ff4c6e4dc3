/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

typedef struct {
        char *guest; /* (owned) the object path of its lock manager */
        guint32 wait_ms;
        gboolean keep_orphan;
        gboolean help, version; /* and nothing else was looked at */
        char **command;         /* (borrowed from argv) the guest's, ended by NULL */
} GlSupervisorOptions;

/* GL_ERROR_INVALID_ARGS; OPTIONS is to be cleared in any case. */
gboolean gl_supervisor_options_parse(int argc, char **argv, GlSupervisorOptions *options, GError **error);
void gl_supervisor_options_clear(GlSupervisorOptions *options);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(GlSupervisorOptions, gl_supervisor_options_clear)
