/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

/*
 * Opens a disk with the caller's own rights, as who is to be handed its lock has to register it: for writing, but where
 * it is only to be read just if that may be, so that its lease can be raised later. Does not wait for anybody.
 *
 * Returns: a descriptor, or -1 and errno.
 */
int gl_open_disk(const char *path, gboolean only_read);
