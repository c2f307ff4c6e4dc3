/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

/* The store's own: directories that nobody else can write to, and writing without surprises. */

/*
 * Makes PATH (with its parents) if it is not there, and opens it. Symbolic links may lead to it; what they
 * lead to must be a directory of root's or ours that nobody else can write to. A descriptor, or -1.
 */
int gl_directory_open(const char *path, GError **error);

/*
 * The same for NAME directly in the directory PARENT, whose path is PARENT_PATH: no symbolic link, ours, and
 * 0700 afterwards. What others could write to so far is refused, since its contents may be theirs.
 */
int gl_directory_open_private(int parent, const char *parent_path, const char *name, GError **error);

/* Returns how many bytes were written: LENGTH, or less with errno set. */
gsize gl_write_all(int fd, const char *data, gsize length);
