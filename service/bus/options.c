/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/options.h"

#include <errno.h>
#include <string.h>

#include "core/error.h"
#include "core/obstacle.h"

/*
 * Every entry is read or skipped, whatever it holds, so that the message ends up behind
 * the array; the first complaint is the one that the caller hears. Values are kept aside
 * until all of them are good, and copied out then.
 */

#define MAX_QUOTED_CHARACTERS 64

typedef union {
        const char *s;
        guint32 u;
        guint64 t;
        gboolean b;
        int h;
        GPtrArray *a;
} Value;

typedef struct {
        const GlOption *options;
        guint n_options;
        Value values[GL_MAX_OPTIONS];
        gboolean seen[GL_MAX_OPTIONS];
        GError *complaint; /* (owned) (nullable) */
} Reading;

static const struct {
        char type;
        const char *signature;
        gsize size;
        const char *words;
} types[] = {
        {'s', "s", sizeof(const char *), "a string (s)"},
        {'u', "u", sizeof(guint32), "an unsigned 32-bit number (u)"},
        {'t', "t", sizeof(guint64), "an unsigned 64-bit number (t)"},
        {'b', "b", sizeof(gboolean), "a boolean (b)"},
        {'h', "h", sizeof(int), "a file descriptor (h)"},
        {'a', "a(ss)", sizeof(GPtrArray *), "a list of pairs of strings (a(ss))"},
};

static gsize find_type(char type) {
        for (gsize i = 0; i < G_N_ELEMENTS(types); i++)
                if (types[i].type == type)
                        return i;
        g_assert_not_reached();
}

/* A caller's key may be as long as a message. */
static char *quote_key(const char *key) {
        g_autofree char *shortened = NULL;
        g_autofree char *start = NULL;

        if (g_utf8_strlen(key, -1) <= MAX_QUOTED_CHARACTERS)
                return gl_quote(key);
        start = g_utf8_substring(key, 0, MAX_QUOTED_CHARACTERS);
        shortened = g_strconcat(start, "…", NULL);
        return gl_quote(shortened);
}

static GError *complain_unknown(const Reading *reading, const char *key) {
        g_autofree char *quoted = quote_key(key);
        g_autoptr(GString) known = g_string_new(NULL);

        if (reading->n_options == 0)
                return g_error_new(GL_ERROR, GL_ERROR_INVALID_ARGS, "There is no option %s: this call has none.",
                                   quoted);
        for (guint i = 0; i < reading->n_options; i++)
                g_string_append_printf(known, "%s\"%s\" (%s)", i == 0 ? "" : ", ", reading->options[i].key,
                                       types[find_type(reading->options[i].type)].signature);
        return g_error_new(GL_ERROR, GL_ERROR_INVALID_ARGS, "There is no option %s here; there is: %s.", quoted,
                           known->str);
}

static guint find_option(const Reading *reading, const char *key) {
        guint i = 0;

        while (i < reading->n_options && !g_str_equal(reading->options[i].key, key))
                i++;
        return i;
}

/* What is wrong with an entry of this key and this type, or NULL. */
static GError *check_entry(const Reading *reading, guint index, const char *key, const char *signature) {
        const GlOption *option = &reading->options[index];

        if (index == reading->n_options)
                return complain_unknown(reading, key);
        if (reading->seen[index])
                return g_error_new(GL_ERROR, GL_ERROR_INVALID_ARGS, "Option \"%s\" is given twice.", option->key);
        if (!g_str_equal(signature, types[find_type(option->type)].signature))
                return g_error_new(GL_ERROR, GL_ERROR_INVALID_ARGS,
                                   "Option \"%s\" has to be %s, and not of type \"%s\".", option->key,
                                   types[find_type(option->type)].words, signature);
        return NULL;
}

static int read_pairs(sd_bus_message *message, GPtrArray *strings) {
        const char *first, *second;
        int r = sd_bus_message_enter_container(message, 'a', "(ss)");

        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(message, "(ss)", &first, &second)) > 0) {
                g_ptr_array_add(strings, (gpointer) first);
                g_ptr_array_add(strings, (gpointer) second);
        }
        return r < 0 ? r : sd_bus_message_exit_container(message);
}

static int read_plain_value(sd_bus_message *message, Reading *reading, guint index) {
        Value *value = &reading->values[index];

        if (reading->options[index].type != 'a')
                return sd_bus_message_read_basic(message, reading->options[index].type, value);
        value->a = g_ptr_array_new();
        return read_pairs(message, value->a);
}

static int read_value(sd_bus_message *message, Reading *reading, guint index, const char *signature) {
        int r;

        r = sd_bus_message_enter_container(message, 'v', signature);
        if (r < 0)
                return r;
        r = read_plain_value(message, reading, index);
        if (r < 0)
                return r;
        reading->seen[index] = TRUE;
        return sd_bus_message_exit_container(message);
}

static int read_entry(sd_bus_message *message, Reading *reading) {
        g_autoptr(GError) complaint = NULL;
        const char *key, *signature;
        guint index;
        char type;
        int r;

        r = sd_bus_message_read_basic(message, 's', &key);
        if (r < 0)
                return r;
        r = sd_bus_message_peek_type(message, &type, &signature);
        if (r < 0)
                return r;
        index = find_option(reading, key);
        complaint = check_entry(reading, index, key, signature);
        if (!complaint)
                return read_value(message, reading, index, signature);
        if (!reading->complaint)
                reading->complaint = g_steal_pointer(&complaint);
        return sd_bus_message_skip(message, "v");
}

static int read_entries(sd_bus_message *message, Reading *reading) {
        int r;

        r = sd_bus_message_enter_container(message, 'a', "{sv}");
        if (r <= 0)
                return r < 0 ? r : -ENXIO;
        while ((r = sd_bus_message_enter_container(message, 'e', "sv")) > 0) {
                r = read_entry(message, reading);
                if (r < 0)
                        return r;
                r = sd_bus_message_exit_container(message);
                if (r < 0)
                        return r;
        }
        return r < 0 ? r : sd_bus_message_exit_container(message);
}

static void drop_values(Reading *reading) {
        for (guint i = 0; i < reading->n_options; i++)
                if (reading->options[i].type == 'a')
                        g_clear_pointer(&reading->values[i].a, g_ptr_array_unref);
}

static void hand_out(const Reading *reading) {
        for (guint i = 0; i < reading->n_options; i++) {
                const GlOption *option = &reading->options[i];

                if (option->present)
                        *option->present = reading->seen[i];
                if (reading->seen[i])
                        memcpy(option->value, &reading->values[i], types[find_type(option->type)].size);
        }
}

gboolean gl_options_read(sd_bus_message *message, const GlOption *options, GError **error) {
        Reading reading = {.options = options};
        int r;

        while (options[reading.n_options].key)
                reading.n_options++;
        g_assert(reading.n_options <= GL_MAX_OPTIONS);

        r = read_entries(message, &reading);
        if (r < 0) {
                drop_values(&reading);
                g_clear_error(&reading.complaint);
                g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS, "The options of the call cannot be read: %s.",
                            g_strerror(-r));
                return FALSE;
        }
        if (reading.complaint) {
                drop_values(&reading);
                g_propagate_error(error, reading.complaint);
                return FALSE;
        }
        hand_out(&reading);
        return TRUE;
}
