/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <guestlock-types.h>

G_BEGIN_DECLS

#define GUESTLOCK_TYPE_REQUEST (guestlock_request_get_type())
GUESTLOCK_PUBLIC
G_DECLARE_FINAL_TYPE(GuestlockRequest, guestlock_request, GUESTLOCK, REQUEST, GObject)

GUESTLOCK_PUBLIC
GuestlockRequest *guestlock_request_new(void);
GUESTLOCK_PUBLIC
void guestlock_request_add_resource(GuestlockRequest *self, GuestlockResource *resource);
GUESTLOCK_PUBLIC
void guestlock_request_add_disk(GuestlockRequest *self, const char *path, GuestlockMode mode);
GUESTLOCK_PUBLIC
void guestlock_request_set_pid(GuestlockRequest *self, guint pid);
GUESTLOCK_PUBLIC
void guestlock_request_set_pidfd(GuestlockRequest *self, int pidfd);
GUESTLOCK_PUBLIC
void guestlock_request_set_supervisor(GuestlockRequest *self, gboolean supervisor);
GUESTLOCK_PUBLIC
void guestlock_request_set_wait(GuestlockRequest *self, guint milliseconds);
GUESTLOCK_PUBLIC
void guestlock_request_set_lease_state(GuestlockRequest *self, const char *state);
GUESTLOCK_PUBLIC
void guestlock_request_set_paused(GuestlockRequest *self, gboolean paused);
GUESTLOCK_PUBLIC
void guestlock_request_set_keep(GuestlockRequest *self, gboolean keep);
GUESTLOCK_PUBLIC
void guestlock_request_set_id(GuestlockRequest *self, guint id);
GUESTLOCK_PUBLIC
void guestlock_request_set_driver(GuestlockRequest *self, const char *driver);
GUESTLOCK_PUBLIC
void guestlock_request_set_on_lease_lost(GuestlockRequest *self, GuestlockAction action);
GUESTLOCK_PUBLIC
void guestlock_request_set_require_scope(GuestlockRequest *self, GuestlockScope scope);
GUESTLOCK_PUBLIC
void guestlock_request_set_owner_uid(GuestlockRequest *self, guint uid);

G_END_DECLS
