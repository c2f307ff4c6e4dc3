/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <guestlock-types.h>

G_BEGIN_DECLS

#define GUESTLOCK_TYPE_OBSTACLE (guestlock_obstacle_get_type())
GUESTLOCK_PUBLIC
G_DECLARE_FINAL_TYPE(GuestlockObstacle, guestlock_obstacle, GUESTLOCK, OBSTACLE, GObject)

GUESTLOCK_PUBLIC
const char *guestlock_obstacle_get_guest_uuid(GuestlockObstacle *self);
GUESTLOCK_PUBLIC
const char *guestlock_obstacle_get_guest_name(GuestlockObstacle *self);
GUESTLOCK_PUBLIC
guint guestlock_obstacle_get_owner_uid(GuestlockObstacle *self);
GUESTLOCK_PUBLIC
const char *guestlock_obstacle_get_object_path(GuestlockObstacle *self);
GUESTLOCK_PUBLIC
const char *guestlock_obstacle_get_host(GuestlockObstacle *self);
GUESTLOCK_PUBLIC
guint guestlock_obstacle_get_pid(GuestlockObstacle *self);
GUESTLOCK_PUBLIC
const char *guestlock_obstacle_get_command(GuestlockObstacle *self);
GUESTLOCK_PUBLIC
GuestlockMode guestlock_obstacle_get_mode(GuestlockObstacle *self);
GUESTLOCK_PUBLIC
const char *guestlock_obstacle_get_name(GuestlockObstacle *self);
GUESTLOCK_PUBLIC
guint64 guestlock_obstacle_get_since(GuestlockObstacle *self);
GUESTLOCK_PUBLIC
guint64 guestlock_obstacle_get_generation(GuestlockObstacle *self);
GUESTLOCK_PUBLIC
const char *guestlock_obstacle_get_driver(GuestlockObstacle *self);
GUESTLOCK_PUBLIC
GuestlockScope guestlock_obstacle_get_scope(GuestlockObstacle *self);
GUESTLOCK_PUBLIC
const char *guestlock_obstacle_get_via(GuestlockObstacle *self);
GUESTLOCK_PUBLIC
const char *guestlock_obstacle_get_resource(GuestlockObstacle *self);

G_END_DECLS
