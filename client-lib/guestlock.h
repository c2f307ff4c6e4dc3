/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The one header of libguestlock that a program includes. */

#include <guestlock-types.h>
#include <guestlock-enum-types.h>
#include <guestlock-error.h>
#include <guestlock-resource.h>
#include <guestlock-request.h>
#include <guestlock-driver.h>
#include <guestlock-obstacle.h>
#include <guestlock-manager.h>
#include <guestlock-guest.h>
