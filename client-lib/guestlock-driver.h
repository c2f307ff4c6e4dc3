/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <guestlock-types.h>

G_BEGIN_DECLS

#define GUESTLOCK_TYPE_DRIVER (guestlock_driver_get_type())
GUESTLOCK_PUBLIC
G_DECLARE_FINAL_TYPE(GuestlockDriver, guestlock_driver, GUESTLOCK, DRIVER, GObject)

GUESTLOCK_PUBLIC
const char *guestlock_driver_get_name(GuestlockDriver *self);
GUESTLOCK_PUBLIC
const char *const *guestlock_driver_get_capabilities(GuestlockDriver *self);

G_END_DECLS
