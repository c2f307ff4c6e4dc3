/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "cli.h"

/* Begins a call of the library on `data`; its _finish gets the result. */
typedef void (*GlBegin)(gpointer data, GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data);

/* What would be in the way of it: TestAcquire's arguments. */
typedef struct {
        const char *uuid;          /* (nullable) */
        GuestlockRequest *request; /* (nullable) */
} GlWaitsFor;

/*
 * Does that and waits for its end. Meanwhile a line on the terminal says who is in the way, and a signal that would end
 * this process cancels the call: then cli.interrupted_by is set, and the place in the queue is free. (owned)
 */
GAsyncResult *gl_wait(GlCli *cli, const GlWaitsFor *what, GlBegin begin, gpointer data);

/*
 * Starts a guest so, with cli's manager. By names is the same request without descriptors, or the request itself, to
 * ask who is in the way. (owned)
 */
GuestlockGuest *gl_start_guest(GlCli *cli, const char *uuid, const char *name, GuestlockRequest *request,
                               GuestlockRequest *by_names, GError **error);
