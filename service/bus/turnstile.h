/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "bus/callers.h"

/*
 * Lets calls in one at a time, the users taking turns, so that whoever sends very many delays nobody but himself. A
 * call that comes when nothing else is there goes straight through.
 */

typedef struct GlTurnstile GlTurnstile;

/* How many calls of one user (but root) may stand before it; more are refused with LimitExceeded. */
#define GL_TURNSTILE_MAX_PER_UID 512

/* From now on calls that come over BUS, which has an event loop, have to pass. CALLERS is borrowed. */
GlTurnstile *gl_turnstile_new(sd_bus *bus, GlCallers *callers, GError **error);
/* CALLER has left the bus: nobody would hear the answers. */
void gl_turnstile_drop(GlTurnstile *turnstile, const GlCaller *caller);
/* After the callers, whose look-ups are still to be answered. */
void gl_turnstile_free(GlTurnstile *turnstile);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlTurnstile, gl_turnstile_free)
