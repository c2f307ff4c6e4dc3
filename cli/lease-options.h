/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "cli.h"

/* Options that several commands have, and what they mean. */

typedef struct {
        char **disks;                                               /* (nullable) as given */
        char *name, *uuid, *on_lease_lost, *require_scope, *driver; /* (nullable) */
        gboolean wait;
        int timeout; /* seconds; 0: none given */
} GlLeaseOptions;

extern GlLeaseOptions gl_lease_options;

extern const GOptionEntry gl_wait_entries[], gl_lease_entries[];

/* How long to wait: 0, not at all, by default; a day with --wait alone. */
gboolean gl_wait_ms_of_options(guint *wait_ms, GError **error);

/* A request that has all of that but the disks. (owned) */
GuestlockRequest *gl_request_of_options(GError **error);

/* The one given, or a random one. (owned) */
char *gl_uuid_of_options(void);
