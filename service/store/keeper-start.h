/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/types.h>

/*
 * Starts PROGRAM --socket SOCKET as nobody's child, in a session of its own, with /dev/null for its three descriptors.
 * Returns the pid of a child that ends at once and has to be reaped, or -errno. Whether PROGRAM could be run is not known.
 */
pid_t gl_keeper_start(const char *program, const char *socket);
