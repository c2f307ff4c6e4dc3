/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "store/store.h"

/*
 * The text of one guest's state file. A key file of plain ASCII:
 *
 *     [guestlock]    version, boot-id
 *     [guest]        what the guest is, and its processes
 *     [resource 0]   each resource, in the order registered
 *     [end]          resources: how many there are; without this group the file is truncated
 *
 * Whatever people or file systems named is in double quotes with g_strescape()'s escapes: a key file by
 * itself loses a leading form feed, and a path may be no UTF-8.
 */

#define GL_STATE_FILE_VERSION 1

/* What can be written can be read back: both sides keep to these. */
#define GL_STATE_FILE_MAX_BYTES     (64u * 1024 * 1024)
#define GL_STATE_FILE_MAX_RESOURCES 1024u

/* <uuid>, and _u<uid> after it for another owner than root. */
char *gl_state_file_name(const char *uuid, guint32 owner_uid);

char *gl_state_file_write(const GlGuest *guest, const char *boot_id, gsize *length, GError **error);

/* NAME is the file's. Fails with GL_ERROR_INVALID_ARGS and a reason (no whole sentence) for whatever bytes are not what
 * the function above writes. */
GlSavedGuest *gl_state_file_read(const char *name, const char *data, gsize length, const char *boot_id, GError **error);
