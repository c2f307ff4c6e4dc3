/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <guestlock-request.h>

#include <gio/gunixfdlist.h>

/* What a call may carry of a request; the service refuses whatever else is in a call. */
typedef enum {
        GL_REQUEST_CREATE = 1 << 0,
        GL_REQUEST_ACQUIRE = 1 << 1,
        GL_REQUEST_START = 1 << 2,
        GL_REQUEST_TEST = 1 << 3, /* what TestAcquire knows of the others */
        GL_REQUEST_ALL = GL_REQUEST_CREATE | GL_REQUEST_ACQUIRE | GL_REQUEST_START,
} GlRequestPart;

/*
 * The options of those parts, to be filled up and ended by the caller. Adds the descriptor among them to fds. A request
 * that is NULL has none.
 */
gboolean gl_request_options(GuestlockRequest *self, GlRequestPart parts, GVariantDict *options, GUnixFDList *fds,
                            GError **error);

/* (element-type GuestlockResource) (nullable) */
GPtrArray *gl_request_resources(GuestlockRequest *self);
gboolean gl_request_waits(GuestlockRequest *self);
/* 0: not. */
guint gl_request_wait_ms(GuestlockRequest *self);
gboolean gl_request_keeps(GuestlockRequest *self);
gboolean gl_request_is_paused(GuestlockRequest *self);
gboolean gl_request_has_process(GuestlockRequest *self);

/* Whether StartGuest cannot carry all of it: more descriptors than fit into a message, those of lease files, or paused. */
gboolean gl_request_needs_steps(GuestlockRequest *self);

/* Whether the guest is to be another user's, and whose. */
gboolean gl_request_owner(GuestlockRequest *self, guint *uid);
