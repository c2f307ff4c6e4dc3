/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/guest.h"

#define GL_MANAGER_PATH      "/org/guestlock1"
#define GL_GUESTS_PATH       "/org/guestlock1/guest"
#define GL_MANAGER_INTERFACE "org.guestlock1.Manager"
#define GL_GUEST_INTERFACE   "org.guestlock1.Guest"

/* GL_GUESTS_PATH/<uuid with _ for ->, and _u<uid> for a guest of another uid than 0. */
char *gl_guest_path(const GlGuest *guest);
char *gl_guest_path_of(const char *uuid, guint32 owner_uid);
/* Back again. FALSE for any path that gl_guest_path() does not make. */
gboolean gl_guest_path_parse(const char *path, char uuid[37], guint32 *owner_uid);
