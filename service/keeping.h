/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "drivers/keeping.h"
#include "store/keeper.h"

/*
 * What the drivers have kept, in guestlock-keeper: the one knows no processes, and the other no leases.
 */

typedef struct GlServiceKeeping GlServiceKeeping;
typedef void (*GlKeepingFunc)(gpointer user_data);

/* SOCKET and PROGRAM as for gl_keeper_new(). */
GlServiceKeeping *gl_service_keeping_new(sd_event *event, const char *socket, const char *program);
/*
 * Before the loop ends: calls SETTLED when the keeper has all that is to be kept, which may be at once, or when it does
 * not get to that within some seconds. Else nobody might have the locks that a keeper had which was killed just before.
 */
void gl_service_keeping_settle(GlServiceKeeping *keeping, GlKeepingFunc settled, gpointer user_data);
/* The loop has ended: what is under way is answered, and nothing is asked any more. The drivers may still have it. */
void gl_service_keeping_close(GlServiceKeeping *keeping);
void gl_service_keeping_free(GlServiceKeeping *keeping);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlServiceKeeping, gl_service_keeping_free)

/* (borrowed) */
GlKeeping *gl_service_keeping_get(GlServiceKeeping *keeping);

/* Asks what an earlier service has had kept, and calls LOADED when it is known, or is not to be had. */
void gl_service_keeping_load(GlServiceKeeping *keeping, GlKeepingFunc loaded, gpointer user_data);
/*
 * Everything that is wanted has been recovered. The rest is nobody's, and is kept no more; unless not every guest is
 * KNOWN, one of which may still run on it. DONE when that is so, or cannot be had soon: before, its locks would look
 * like a stranger's.
 */
void gl_service_keeping_drop_rest(GlServiceKeeping *keeping, gboolean known, GlKeepingFunc done, gpointer user_data);
/* AGAIN is called when there is a keeper (again): everything has to be kept anew. */
void gl_service_keeping_set_again(GlServiceKeeping *keeping, GlKeepingFunc again, gpointer user_data);
