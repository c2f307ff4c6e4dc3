/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "qemu-nodes.h"

/* What QEMU's command line says of a guest. */
typedef struct {
        GPtrArray *disks; /* (owned) GlFoundDisk *, each path once */
        char *name;       /* (owned) (nullable) -name */
        char *uuid;       /* (owned) (nullable) -uuid, as it was given */
        gboolean is_qemu; /* else it is another program's, and there is nothing of all that */
} GlQemuCommandLine;

void gl_qemu_command_line_free(GlQemuCommandLine *line);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlQemuCommandLine, gl_qemu_command_line_free)

/*
 * Reads COMMAND, which may begin with other programs that run QEMU. Opens and looks at nothing; relative paths begin in
 * DIRECTORY. REMARKS gets a sentence (char *) about each thing that could not be understood or has no lease. Fails
 * (G_OPTION_ERROR) where an option lacks its argument or names what is no UTF-8.
 */
GlQemuCommandLine *gl_qemu_command_line_read(const char *const *command, const char *directory, GPtrArray *remarks,
                                             GError **error);
