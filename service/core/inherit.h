/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/guest.h"

/* No message carries more descriptors: the bus throws its sender off at the next one. */
#define GL_INHERIT_MAX 16

typedef struct {
        GlResourceType type;
        const char *name; /* (borrowed) */
} GlResourceName;

/*
 * The resources of GUEST whose lock descriptors UID gets: WANTED, in their order, or all that there are for him if
 * WANTED is NULL. Array of GlResource (borrowed), the array is the caller's; or NULL with
 *
 * GL_ERROR_LIMIT_EXCEEDED  more than GL_INHERIT_MAX
 * GL_ERROR_NO_SUCH_RESOURCE  the guest has none of that name
 * GL_ERROR_INVALID_ARGS  one is named twice
 * GL_ERROR_BAD_STATE  one is not held
 * GL_ERROR_ACCESS_DENIED  one is not UID's to have
 * GL_ERROR_NOT_SUPPORTED  one is held without a lock of the kernel's
 */
GPtrArray *gl_guest_inheritable(const GlGuest *guest, guint32 uid, const GlResourceName *wanted, guint n_wanted,
                                GError **error);

/*
 * Whether that can succeed once everything is held: the same errors but BAD_STATE and NOT_SUPPORTED, so that nothing is
 * taken for a call that can only fail.
 */
gboolean gl_guest_may_inherit(const GlGuest *guest, guint32 uid, const GlResourceName *wanted, guint n_wanted,
                              GError **error);
