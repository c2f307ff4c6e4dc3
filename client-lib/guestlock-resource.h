/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <guestlock-types.h>

G_BEGIN_DECLS

#define GUESTLOCK_TYPE_RESOURCE (guestlock_resource_get_type())
GUESTLOCK_PUBLIC
G_DECLARE_FINAL_TYPE(GuestlockResource, guestlock_resource, GUESTLOCK, RESOURCE, GObject)

GUESTLOCK_PUBLIC
GuestlockResource *guestlock_resource_new_disk(const char *path, GuestlockMode mode);
GUESTLOCK_PUBLIC
GuestlockResource *guestlock_resource_new_disk_fd(const char *path, int fd, GuestlockMode mode);
GUESTLOCK_PUBLIC
GuestlockResource *guestlock_resource_open_disk(const char *path, GuestlockMode mode, GError **error);
GUESTLOCK_PUBLIC
GuestlockResource *guestlock_resource_new_lease(const char *key, const char *lockspace, const char *path,
                                                guint64 offset, GuestlockMode mode);
GUESTLOCK_PUBLIC
GuestlockResource *guestlock_resource_new_lease_fd(const char *key, const char *lockspace, int fd, guint64 offset,
                                                   GuestlockMode mode);

GUESTLOCK_PUBLIC
GuestlockResourceType guestlock_resource_get_resource_type(GuestlockResource *self);
GUESTLOCK_PUBLIC
const char *guestlock_resource_get_name(GuestlockResource *self);
GUESTLOCK_PUBLIC
GuestlockMode guestlock_resource_get_mode(GuestlockResource *self);
GUESTLOCK_PUBLIC
GuestlockResourceState guestlock_resource_get_state(GuestlockResource *self);
GUESTLOCK_PUBLIC
guint64 guestlock_resource_get_generation(GuestlockResource *self);
GUESTLOCK_PUBLIC
GuestlockScope guestlock_resource_get_scope(GuestlockResource *self);
GUESTLOCK_PUBLIC
const char *guestlock_resource_get_scope_reason(GuestlockResource *self);
GUESTLOCK_PUBLIC
guint64 guestlock_resource_get_since(GuestlockResource *self);
GUESTLOCK_PUBLIC
const char *guestlock_resource_get_kept_by(GuestlockResource *self);
GUESTLOCK_PUBLIC
const char *guestlock_resource_get_driver(GuestlockResource *self);
GUESTLOCK_PUBLIC
guint guestlock_resource_get_registered_by(GuestlockResource *self);
GUESTLOCK_PUBLIC
gboolean guestlock_resource_get_path_moved(GuestlockResource *self);
GUESTLOCK_PUBLIC
const char *guestlock_resource_get_held_open_by(GuestlockResource *self);

G_END_DECLS
