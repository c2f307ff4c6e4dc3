/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <guestlock-driver.h>

/* Takes the capabilities. */
GuestlockDriver *gl_driver_new(const char *name, char **capabilities);
