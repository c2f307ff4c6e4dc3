/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <syslog.h>

/*
 * What an operator is told: one line per fault, by the one who can do nothing better with it
 * than to tell. To the journal with its fields where stderr leads there, else to stderr.
 */

/*
 * Events that an operator has to act on, or looks for. Each has an entry in policy/guestlock.catalog
 * (tests/unit/check-policy), and keeps its id for ever. New ones: systemd-id128 new.
 */
#define GL_MESSAGE_STARTED          "dd834085f8b94e1ba9a3607e08b2976b"
#define GL_MESSAGE_LEASE_LOST       "fbff25feac5b43c8aa0f52013cbc7c5b"
#define GL_MESSAGE_STATE_SET_ASIDE  "83f9363b68864f958b143264072fdab5"
#define GL_MESSAGE_NOT_ADOPTED      "d6650c1fb3704be2ae0797d70e6e5cae"
#define GL_MESSAGE_STORAGE_HANGS    "eb4099efb0094fbca3e41c6e5d2ec04d"
#define GL_MESSAGE_DRAINING_IS_SLOW "8fafc28ad53d49cea6e89441ac140bc9"
#define GL_MESSAGE_PATH_MOVED       "a35d13778dd54a7ba276bb8150e28288"
#define GL_MESSAGE_NO_KEEPER        "66cbda6c4452433296ccb6513d207525"
#define GL_MESSAGE_HELD_OPEN        "2ca4728eb0c146abad64aa44bd6f6493"
#define GL_MESSAGE_NOT_SAVED        "a9f994aa58b849b6bbe76be3e35a262e"

/* Fields for gl_log_fields(). */
#define GL_FIELD_GUEST      "GUESTLOCK_GUEST" /* uuid */
#define GL_FIELD_GUEST_NAME "GUESTLOCK_GUEST_NAME"
#define GL_FIELD_OWNER_UID  "GUESTLOCK_OWNER_UID"
#define GL_FIELD_RESOURCE   "GUESTLOCK_RESOURCE" /* name as registered */
#define GL_FIELD_STORAGE    "GUESTLOCK_STORAGE"  /* mount point */

/* PRIORITY is LOG_ERR and so on, MESSAGE_ID (nullable) a GL_MESSAGE_…. From any thread. */
void gl_log(int priority, const char *message_id, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* FIELDS are pairs of a name and a value, NULL-terminated; a value that is NULL leaves its field out. */
void gl_log_fields(int priority, const char *message_id, const char *const *fields, const char *format, ...)
        G_GNUC_PRINTF(4, 5);
