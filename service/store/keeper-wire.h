/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

#include "keeper/protocol.h"

/* One message of the keeper's, and the way to it. Nothing here waits. */

typedef struct {
        GlKeeperDescriptors data;
        guint n;
        int fds[GL_KEEPER_MAX_FDS];
        guint32 pid; /* who sent it; 0: not known */
} GlKeeperMessage;

/*
 * A connection to whoever listens at PATH, root's or our own, or -errno; -ECONNREFUSED when it is certain that nobody
 * does.
 */
int gl_keeper_connect(const char *path);

/* 0 or -errno; -EAGAIN when the socket is full. TAGS and FDS are N, or NULL. */
int gl_keeper_send(int socket, const GlKeeperHead *head, const guint8 *tags, const int *fds);

/*
 * 0 or -errno: -EAGAIN when there is nothing, -ECONNRESET at the end, -EBADMSG for what no keeper says, -EMFILE when we
 * have no room for the descriptors; the head can be used then. With an error, too, MESSAGE->fds are the caller's.
 */
int gl_keeper_receive(int socket, GlKeeperMessage *message);
