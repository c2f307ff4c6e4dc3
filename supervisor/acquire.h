/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "supervisor/calls.h"
#include "supervisor/locks.h"

/*
 * Takes everything that is registered for the guest, with this process as its supervisor. LOCKS gets the descriptors
 * that the service hands out, of GlHeldLock; they are close-on-exec. GL_ERROR_CONFLICT and GL_ERROR_TIMEOUT where
 * somebody else has something; on failure nothing is held for longer than this process lives.
 */
gboolean gl_supervisor_acquire(GlCalls *calls, guint32 wait_ms, GPtrArray *locks, GError **error);

/* Tells the service which process is the guest's own. PIDFD is one of it. */
gboolean gl_supervisor_set_child(GlCalls *calls, int pidfd, gboolean keep_orphan, GError **error);
/* The arguments of that, for who calls in another way. */
int gl_supervisor_fill_set_child(sd_bus_message *message, int pidfd, gboolean keep_orphan);
