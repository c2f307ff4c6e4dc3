/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <guestlock-obstacle.h>

/* One of the answer of WhoHolds or TestAcquire. */
GuestlockObstacle *gl_obstacle_new_from_entry(GVariant *entry);
