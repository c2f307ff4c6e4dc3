/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <sys/types.h>

#include "keeper/protocol.h"

/*
 * The real guestlock-keeper on a socket of its own. Whatever keeper is found at such a socket when the test program has
 * ended, in whatever way, is killed, and the directory removed.
 */

#define PATIENCE (30 * G_USEC_PER_SEC)

typedef struct {
        char *directory;
        char *socket;
        pid_t pid; /* of the keeper that keeper_start() made; 0: none */
} Keeper;

/* To be called by main() before the tests. */
void keeper_guard(void);
void keeper_set_up(Keeper *keeper);
void keeper_tear_down(Keeper *keeper);

/* LIMIT, if not 0, on its descriptors. Returns when it listens, and it does so until it is ended. */
void keeper_start(Keeper *keeper, guint limit);
/* One that ends when it has been idle for IDLE milliseconds, and a connection to it, so that it is not. */
int keeper_start_idle(Keeper *keeper, const char *idle);
/* Its exit status, when it has ended by itself. */
int keeper_await_end(Keeper *keeper);
/* Who listens, by the kernel's word; 0: nobody. */
pid_t keeper_listener(const Keeper *keeper);
guint keeper_count_fds(pid_t pid);
/* Closings are not waited for by whoever did not ask for them. In a keeper they are over then, and accounted for. */
void keeper_await_fds(pid_t pid, guint expected);

/* A connection, and one message on it. Receiving fails the test after PATIENCE. */
int keeper_connect(const Keeper *keeper);
void keeper_say(int socket, guint32 type, guint64 serial, guint64 key, const int *fds, const guint8 *tags, guint n);
void keeper_send(int socket, const void *data, gsize size, const int *fds, guint n);
/* FDS have room for 250; FALSE at the end of the connection. */
gboolean keeper_hear(int socket, GlKeeperDescriptors *into, int *fds);
/* Asks, and gives the result of the answer. */
int keeper_ask(int socket, guint32 type, guint64 key, const int *fds, const guint8 *tags, guint n);

/* A socket whose last close() blocks until the test lets it: what it sent lingers. RELEASE lets it go. */
int keeper_make_lingering(int *release);
