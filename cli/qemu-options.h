/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <json-glib/json-glib.h>

/* QEMU's ways to write options. */

/* One "key=value"; several of the same key may be there, and the last one counts. */
typedef struct {
        char *key;   /* (owned) */
        char *value; /* (owned) */
} GlQemuOption;

/*
 * What stands between single commas; two commas are one in a value. A first word without "=" is the value of IMPLIED
 * (nullable); another one is "on", or "off" if it begins with "no".
 */
GPtrArray *gl_qemu_options_parse(const char *text, const char *implied);
const char *gl_qemu_options_get(GPtrArray *options, const char *key);
/* "a.b=c" is {"a": {"b": "c"}}. Fails only where the dots go too deep. */
JsonObject *gl_qemu_options_nest(GPtrArray *options, GError **error);
/* QEMU's JSON, which may have single quotes; bounded in depth. Fails unless it is one object. */
JsonObject *gl_qemu_json_parse(const char *text, GError **error);
/* -blockdev and -device take both: JSON if it begins with a brace. */
JsonObject *gl_qemu_options_read(const char *text, const char *implied, GError **error);

/* The member, if it is a string (or an object); else NULL. */
const char *gl_qemu_get_string(JsonObject *object, const char *name);
JsonObject *gl_qemu_get_object(JsonObject *object, const char *name);
/* A truth value as JSON's or in QEMU's words; FALLBACK if it is missing or neither. */
gboolean gl_qemu_get_boolean(JsonObject *object, const char *name, gboolean fallback);
gboolean gl_qemu_word_is_true(const char *word, gboolean fallback);

/* Text from a command line, in quotes and fit to be shown. */
char *gl_qemu_quote(const char *text);

typedef enum {
        GL_QEMU_ARGUMENT_NONE,
        GL_QEMU_ARGUMENT_ONE,
        GL_QEMU_ARGUMENT_UNKNOWN,
} GlQemuArgument;

/* Whether the option, without its dashes, is followed by an argument. */
GlQemuArgument gl_qemu_option_argument(const char *name);
