/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/guest.h"

/*
 * What Release and Inquire return, and what Acquire takes to prove that nobody held the resources in between. Text of
 * [a-zA-Z0-9;,=:._-], at most 4 KiB for 64 resources, so that libvirt can put it into XML unescaped.
 *
 *     guestlock1;host=<id>;guest=<uuid>;r=<type><mode><node>,<generation>,<look>;r=…
 *
 * `node` is <kind><device>,<inode>,<inode generation>. Type, mode and kind are letters, numbers are in base 64: in base
 * 16 not all would fit. `look` is a digest of the image's size and time of last change; "-" where there is none (block
 * devices).
 */

#define GL_STATE_STRING_MAX_BYTES 4096

typedef struct {
        GlResourceType type;
        GlMode mode;
        GlNode node;
        guint64 generation;
        char look[12];
} GlStateEntry;

typedef struct {
        char *host_id;
        char uuid[37];
        GArray *entries; /* of GlStateEntry */
} GlStateString;

/* Of the guest's resources that are held. */
char *gl_state_string_make(const GlGuest *guest, const char *host_id);

/* The same piece by piece, for resources that are given back one after the other. */
GString *gl_state_string_begin(const GlGuest *guest, const char *host_id);
void gl_state_string_add(GString *text, const GlResource *resource);

/* NULL and GL_ERROR_INVALID_ARGS for what is not a state string. */
GlStateString *gl_state_string_parse(const char *text, GError **error);
void gl_state_string_free(GlStateString *state);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlStateString, gl_state_string_free)

const GlStateEntry *gl_state_string_find(const GlStateString *state, const GlNode *node);

/* The digest of a look; all zero bytes of MTIME mean that there is none. */
void gl_state_look(guint64 size, guint64 mtime, char look[12]);
