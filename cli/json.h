/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <json-glib/json-glib.h>

#include <guestlock.h>

/*
 * What --json prints, as docs/guestlockctl.schema.json describes it: keys as on the bus, times in microseconds since
 * 1970 with "-usec" in the key, words for enumerations. What is not known is not there.
 */

/* With the outermost object begun. (owned) */
JsonBuilder *gl_json_begin(void);

/* Ends that object, and prints all on standard output. */
void gl_json_print(JsonBuilder *json);

/* The same on one line. */
void gl_json_print_line(JsonBuilder *json);

/* Members; text that is NULL and numbers that are 0 are left out. */
void gl_json_add_text(JsonBuilder *json, const char *key, const char *text);
void gl_json_add_number(JsonBuilder *json, const char *key, guint64 number);
void gl_json_add_flag(JsonBuilder *json, const char *key, gboolean flag);
void gl_json_add_word(JsonBuilder *json, const char *key, GType type, int value);
void gl_json_add_words(JsonBuilder *json, const char *key, const char *const *words);

/* Objects, as members or elements; resources is of GuestlockResource, NULL: not asked for. */
void gl_json_add_guest(JsonBuilder *json, GuestlockGuest *guest, GPtrArray *resources);
void gl_json_add_resource(JsonBuilder *json, GuestlockResource *resource);
void gl_json_add_obstacle(JsonBuilder *json, GuestlockObstacle *obstacle);

/* The whole output of a command that has changed a guest: {"guest": …} */
void gl_json_print_guest(GuestlockGuest *guest, GPtrArray *resources);
