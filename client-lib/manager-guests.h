/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "operation.h"

/*
 * Makes a guest and registers what is in the request; undone if a later call of the operation fails. With starts, it goes
 * when its guest has ended, unless the request says otherwise.
 */
GlOperation *gl_creating(GuestlockManager *self, const char *uuid, const char *name, GuestlockRequest *request,
                         gboolean starts);

/* Adds what makes the guest at the operation's path its result. */
void gl_add_loading(GlOperation *op);

/* The call has answered with the path of a guest. */
gboolean gl_found(GlOperation *op, GVariant *reply, GError **error);
