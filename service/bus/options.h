/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <systemd/sd-bus.h>

/* A call knows at most this many. */
#define GL_MAX_OPTIONS 16

typedef struct {
        const char *key;
        /*
         * With the type of VALUE: 's' const char **, 'u' guint32 *, 't' guint64 *, 'b' gboolean *, 'h' int *, 'a' for
         * a(ss) GPtrArray **: the strings one after the other; the array is the caller's.
         */
        char type;
        gpointer value;
        gboolean *present; /* (nullable) */
} GlOption;

/*
 * Reads the a{sv} that comes next in MESSAGE. OPTIONS are those that the call knows, ended by one without a
 * key. The value of an option that was not given is left as it is, and its `present` is set to FALSE.
 * Strings and descriptors are borrowed from MESSAGE.
 *
 * GL_ERROR_INVALID_ARGS for an unknown key, another type, or a key that is given twice: then no output
 * has changed. MESSAGE is left behind the array in every case but that of a malformed message.
 */
gboolean gl_options_read(sd_bus_message *message, const GlOption *options, GError **error);
