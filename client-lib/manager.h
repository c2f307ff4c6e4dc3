/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <guestlock-manager.h>

#define GL_CONNECTION_FLAGS                                                                                            \
        (G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT | G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION)

/* (transfer none) (nullable): NULL where there is none, or the bus has ended it. */
GDBusConnection *gl_manager_get_connection(GuestlockManager *self);

/* Takes it. Of two that come at once the first is used. */
void gl_manager_take_connection(GuestlockManager *self, GDBusConnection *connection);

/* The guest of this path, with what GetAll said of it; a NULL says that it is gone. Always the same as long as it
 * lives. */
GuestlockGuest *gl_manager_have_guest(GuestlockManager *self, const char *path, GVariant *properties);

/* As above, of one that there is. */
void gl_manager_update_guest(GuestlockManager *self, GuestlockGuest *guest, GVariant *properties);

/* That guest is being finalized. */
void gl_manager_forget_guest(GuestlockManager *self, const char *path, GuestlockGuest *guest);

/* The service has it no more. */
void gl_manager_lose_guest(GuestlockManager *self, GuestlockGuest *guest);
