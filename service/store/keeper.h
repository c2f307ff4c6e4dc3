/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <systemd/sd-event.h>

/*
 * guestlock-keeper's client: descriptors that are to outlive the service are kept there under keys. Nothing here
 * waits: requests are queued, and one that is not answered within a second ends with -ETIMEDOUT. Callbacks come from
 * the loop, never before the call that they belong to has returned; they may call everything here but gl_keeper_free().
 */

typedef struct GlKeeper GlKeeper;

typedef void (*GlKeeperDone)(int result /* 0 or negative errno */, gpointer user_data);
/* There is a keeper that answers (again), and what it is to keep has to be kept anew; or there is none. */
typedef void (*GlKeeperReady)(GlKeeper *keeper, gboolean ready, gpointer user_data);
/* One key. FDS are the callee's, and close-on-exec. */
typedef void (*GlKeeperFunc)(guint64 key, const int *fds, const guint8 *tags, guint n, gpointer user_data);

/*
 * Connects to SOCKET. When nobody listens there, PROGRAM (nullable: nothing) is started to do so, in a session of its
 * own and with none of our descriptors. A connection that is lost is made again, as often as needed. NULL when the
 * loop takes no sources.
 */
GlKeeper *gl_keeper_new(sd_event *event, const char *socket, const char *program);
/* What is under way ends with -ECANCELED, before this returns. What is kept stays. */
void gl_keeper_free(GlKeeper *keeper);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlKeeper, gl_keeper_free)

/* The process that answered last on this connection; 0: none has. */
guint32 gl_keeper_pid(const GlKeeper *keeper);

void gl_keeper_set_ready(GlKeeper *keeper, GlKeeperReady ready, gpointer user_data);

/*
 * What it keeps, for instance of a service before: FUNC for each key, then DONE. With an error from DONE there may be
 * more. Whoever does not know what is kept would take its locks for a stranger's: this waits longer than the others,
 * ten seconds from one key to the next.
 */
void gl_keeper_list(GlKeeper *keeper, GlKeeperFunc func, GlKeeperDone done, gpointer user_data);

/*
 * In place of what KEY (not 0) had. FDS, 1 to 250 with a tag each, stay the caller's and need not live longer than the
 * call. DONE comes when the keeper has them and those that it had are closed. After an error it is not known which of
 * them it has, unless it is -EMFILE or -ENOMEM, when it is those from before: keep or drop again.
 */
void gl_keeper_keep(GlKeeper *keeper, guint64 key, const int *fds, const guint8 *tags, guint n, GlKeeperDone done,
                    gpointer user_data);

/*
 * DONE comes when what KEY had is closed; success if that was nothing, or if there is no keeper. After -ETIMEDOUT it will
 * be dropped all the same, as soon as keeper and storage let it; before whatever is kept under KEY later.
 */
void gl_keeper_drop(GlKeeper *keeper, guint64 key, GlKeeperDone done, gpointer user_data);
