/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <guestlock-resource.h>

#include "operation.h"

/* Adds RegisterResource, or with a descriptor its twin; path as in gl_call_new(). */
void gl_add_registering(GlOperation *op, const char *path, GuestlockResource *resource);

/* The same with AcquireResource. */
void gl_add_attaching(GlOperation *op, const char *path, GuestlockResource *resource, guint wait_ms);

/*
 * The list that StartGuest and TestAcquire take, floating, of GuestlockResource (nullable). Descriptors of disks, which
 * StartGuest alone takes, go to fds.
 */
GVariant *gl_list_of_resources(GlOperation *op, GPtrArray *resources, GUnixFDList *fds);
