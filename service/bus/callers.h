/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <systemd/sd-bus.h>

#include "storage/credentials.h"

/*
 * The connections that call us: who each one is, as the bus says, asked once per
 * connection without blocking and kept until the connection leaves.
 */

typedef struct GlCallers GlCallers;

typedef struct {
        char *sender;               /* unique name */
        GlCredentials *credentials; /* NULL until known */
        guint32 pid;                /* who has connected; 0: not known */
        GHashTable *granted;        /* set of char*: questions that this connection got a yes to */
        gpointer calls;             /* the bus room's own: queued calls */
        gboolean gone;
} GlCaller;

GlCaller *gl_caller_ref(GlCaller *caller);
void gl_caller_unref(GlCaller *caller);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlCaller, gl_caller_unref)

/* GONE is called on the loop when a connection that was ever looked up has left the bus. */
typedef void (*GlCallerGone)(GlCaller *caller, gpointer user_data);

/* One NameOwnerChanged match for all (sd_bus_track would take one per peer, and the bus allows 512). */
GlCallers *gl_callers_new(sd_bus *bus, GlCallerGone gone, gpointer user_data, GError **error);
/* Everybody leaves: look-ups that are under way fail, and GONE is called for each caller. */
void gl_callers_free(GlCallers *callers);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlCallers, gl_callers_free)

/*
 * Finds out who sent MESSAGE. READY(caller) is called when its credentials are
 * known (perhaps before this returned), with ERROR when they cannot be had; then CALLER is
 * NULL if MESSAGE has no sender. Look-ups of one caller are answered in their order. On a connection
 * without a bus (tests over a socket pair), the peer of the socket is the caller, unless
 * gl_callers_pretend() said otherwise.
 */
typedef void (*GlCallerReady)(GlCaller *caller, const GError *error, gpointer user_data);
void gl_callers_look_up(GlCallers *callers, sd_bus_message *message, GlCallerReady ready, gpointer user_data);

/* For tests over a socket pair: from now on messages come from this uid. */
void gl_callers_pretend(GlCallers *callers, guint32 uid);
