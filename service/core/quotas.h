/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

/* Everything that a caller can make has a cap, per owner and in all. uid 0 is exempt from the per-uid ones. */
typedef struct {
        guint guests_per_uid;
        guint guests;
        guint resources_per_guest;
        guint unbound_guests_per_uid;
        guint waiting_per_uid;
        guint string_bytes; /* of a name; paths have path_bytes */
        guint path_bytes;
        guint guest_bytes; /* strings of one guest, together */
        guint uid_bytes;   /* strings of all guests of one uid */
        guint64 storage_timeout; /* µs: storage that does not answer for longer is unavailable */
        guint64 foreign_retry;   /* µs between two looks at a holder that is not ours */
        guint64 brief_patience;  /* µs that a brief foreign holder is given */
} GlLimits;

/* The documented defaults. */
void gl_limits_set_defaults(GlLimits *limits);
