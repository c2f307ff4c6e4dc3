/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <systemd/sd-bus.h>

/*
 * Keeps calls waiting while the service is still finding out what there is. The name has to be owned by then, so
 * that signals about it reach those who listen to the name.
 */

typedef struct GlGate GlGate;

/* From now on calls that come over BUS wait; those are refused of which one connection has very many. */
GlGate *gl_gate_new(sd_bus *bus, GError **error);
/* Has those that wait dispatched, in the order in which they came, from the loop; no further ones wait. */
void gl_gate_open(GlGate *gate);
/* Drops them. */
void gl_gate_free(GlGate *gate);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlGate, gl_gate_free)
