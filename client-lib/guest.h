/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <guestlock-guest.h>

GuestlockGuest *gl_guest_new(GuestlockManager *manager, const char *path);

/* Properties that changed, a{sv}; NULL: the guest is gone. */
void gl_guest_update(GuestlockGuest *self, GVariant *properties);

/* The service went away. */
void gl_guest_set_unknown(GuestlockGuest *self);

void gl_guest_resources_changed(GuestlockGuest *self);

/* A signal of the guest's own interface. */
void gl_guest_heard(GuestlockGuest *self, const char *member, GVariant *arguments);

/* That of the guest; both are borrowed. */
GuestlockManager *gl_guest_manager(GuestlockGuest *self);
