/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

/*
 * What the fuzz targets have in common. A target is one LLVMFuzzerTestOneInput(), in a file fuzz-<name>.c: it gives its
 * input to a parser, and asserts what holds for every input. A warning of GLib's is a failure as well.
 */

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* The input as a string, which ends at its first zero byte. */
char *fuzz_text(const guint8 *data, gsize size);
/* The same without what is before the first line's end, which goes into *HEAD. */
char *fuzz_text_after_line(const guint8 *data, gsize size, char **head);

/* One line that can be shown to a person: valid UTF-8 and no control characters in it. */
void fuzz_check_line(const char *text);
/* As the service answers a caller: GL_ERROR, a code of ours, and a sentence of bearable length. */
void fuzz_check_error(const GError *error);

/* A path below a directory that is this process's own, in memory if possible, and removed afterwards (by run). */
char *fuzz_path(const char *name);
/* The file of that name, with its directories, whose contents are then these. */
void fuzz_write(const char *name, const char *data, gsize size);
