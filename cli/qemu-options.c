/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qemu-options.h"

#include <string.h>

/*
 * "key=value,key=value", dotted keys and JSON all become the same JSON objects, so that what they say is understood in
 * one place (qemu-nodes.c). QEMU's own readers differ a little from each other; where one of them refuses what another
 * takes, it is taken here: QEMU will complain by itself.
 */

/* More than any real command line has; what comes after us walks these trees recursively. */
#define MAX_DEPTH 32

static void option_free(gpointer data) {
        GlQemuOption *option = data;

        g_free(option->key);
        g_free(option->value);
        g_free(option);
}

static void add_option(GPtrArray *options, char *key, char *value) {
        GlQemuOption *option = g_new(GlQemuOption, 1);

        *option = (GlQemuOption){.key = key, .value = value};
        g_ptr_array_add(options, option);
}

/* Up to the next single comma. */
static char *read_value(const char **at) {
        GString *value = g_string_new(NULL);

        for (; **at; (*at)++) {
                if (**at == ',' && *++*at != ',')
                        break;
                g_string_append_c(value, **at);
        }
        return g_string_free(value, FALSE);
}

static void add_flag(GPtrArray *options, const char *flag, gsize length) {
        gboolean off = length > 2 && strncmp(flag, "no", 2) == 0;

        add_option(options, off ? g_strndup(flag + 2, length - 2) : g_strndup(flag, length),
                   g_strdup(off ? "off" : "on"));
}

GPtrArray *gl_qemu_options_parse(const char *text, const char *implied) {
        GPtrArray *options = g_ptr_array_new_with_free_func(option_free);

        for (const char *at = text; *at; implied = NULL) {
                gsize length = strcspn(at, "=,");

                if (at[length] == '=') {
                        char *key = g_strndup(at, length);

                        at += length + 1;
                        add_option(options, key, read_value(&at));
                } else if (implied) {
                        add_option(options, g_strdup(implied), read_value(&at));
                } else {
                        add_flag(options, at, length);
                        at += length + (at[length] == ',');
                }
        }
        return options;
}

const char *gl_qemu_options_get(GPtrArray *options, const char *key) {
        for (guint i = options->len; i > 0; i--) {
                const GlQemuOption *option = options->pdata[i - 1];

                if (strcmp(option->key, key) == 0)
                        return option->value;
        }
        return NULL;
}

/* The object that is this member of PARENT; where something else is, an object takes its place. */
static JsonObject *descend(JsonObject *parent, const char *name) {
        JsonObject *child = gl_qemu_get_object(parent, name);

        if (!child) {
                child = json_object_new();
                json_object_set_object_member(parent, name, child);
        }
        return child;
}

JsonObject *gl_qemu_options_nest(GPtrArray *options, GError **error) {
        g_autoptr(JsonObject) root = json_object_new();

        for (guint i = 0; i < options->len; i++) {
                const GlQemuOption *option = options->pdata[i];
                g_auto(GStrv) names = g_strsplit(option->key, ".", MAX_DEPTH + 1);
                guint depth = g_strv_length(names);
                JsonObject *at = root;

                if (depth == 0)
                        continue;
                if (depth > MAX_DEPTH) {
                        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                                    "an option's name has more than %d parts", MAX_DEPTH);
                        return NULL;
                }
                for (guint part = 0; part + 1 < depth; part++)
                        at = descend(at, names[part]);
                if (!gl_qemu_get_object(at, names[depth - 1]))
                        json_object_set_string_member(at, names[depth - 1], option->value);
        }
        return g_steal_pointer(&root);
}

/* Copies the string that begins at the quote *AT, with double quotes; leaves *AT on its last character. */
static void copy_string(GString *strict, const char **at) {
        char quote = **at;

        g_string_append_c(strict, '"');
        for ((*at)++; **at && **at != quote; (*at)++) {
                if (**at == '\\' && (*at)[1] == '\'') {
                        g_string_append_c(strict, *++*at);
                } else if (**at == '\\' && (*at)[1]) {
                        g_string_append_len(strict, *at, 2);
                        (*at)++;
                } else if (**at == '"') {
                        g_string_append(strict, "\\\"");
                } else {
                        g_string_append_c(strict, **at);
                }
        }
        if (**at)
                g_string_append_c(strict, '"');
        else
                (*at)--;
}

/* One object as json-glib reads it, which does not notice (and loses memory) where several follow each other. */
static char *strict_json(const char *text) {
        g_autoptr(GString) strict = g_string_new(NULL);
        gboolean has_ended = FALSE;
        guint depth = 0;

        for (const char *at = text; *at; at++) {
                if (depth == 0 && !g_ascii_isspace(*at) && (has_ended || *at != '{'))
                        return NULL;
                if (*at == '"' || *at == '\'') {
                        copy_string(strict, &at);
                        continue;
                }
                if ((*at == '{' || *at == '[') && ++depth > MAX_DEPTH)
                        return NULL;
                if (*at == '}' || *at == ']')
                        has_ended = --depth == 0;
                g_string_append_c(strict, *at);
        }
        return g_string_free(g_steal_pointer(&strict), FALSE);
}

JsonObject *gl_qemu_json_parse(const char *text, GError **error) {
        g_autoptr(JsonParser) parser = json_parser_new();
        g_autofree char *strict = strict_json(text);
        JsonNode *root;

        root = strict && json_parser_load_from_data(parser, strict, -1, NULL) ? json_parser_get_root(parser) : NULL;
        if (!root || !JSON_NODE_HOLDS_OBJECT(root)) {
                g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                            "it is not one JSON object of at most %d levels", MAX_DEPTH);
                return NULL;
        }
        return json_node_dup_object(root);
}

JsonObject *gl_qemu_options_read(const char *text, const char *implied, GError **error) {
        g_autoptr(GPtrArray) options = NULL;

        if (text[0] == '{')
                return gl_qemu_json_parse(text, error);
        options = gl_qemu_options_parse(text, implied);
        return gl_qemu_options_nest(options, error);
}

const char *gl_qemu_get_string(JsonObject *object, const char *name) {
        JsonNode *member = json_object_get_member(object, name);

        return member && JSON_NODE_HOLDS_VALUE(member) && json_node_get_value_type(member) == G_TYPE_STRING
                       ? json_node_get_string(member)
                       : NULL;
}

JsonObject *gl_qemu_get_object(JsonObject *object, const char *name) {
        JsonNode *member = json_object_get_member(object, name);

        return member && JSON_NODE_HOLDS_OBJECT(member) ? json_node_get_object(member) : NULL;
}

gboolean gl_qemu_get_boolean(JsonObject *object, const char *name, gboolean fallback) {
        JsonNode *member = json_object_get_member(object, name);

        if (member && JSON_NODE_HOLDS_VALUE(member) && json_node_get_value_type(member) == G_TYPE_BOOLEAN)
                return json_node_get_boolean(member);
        return gl_qemu_word_is_true(gl_qemu_get_string(object, name), fallback);
}

gboolean gl_qemu_word_is_true(const char *word, gboolean fallback) {
        static const char *const yes[] = {"on", "yes", "true", "y", NULL};
        static const char *const no[] = {"off", "no", "false", "n", NULL};

        if (word && g_strv_contains(yes, word))
                return TRUE;
        return word && g_strv_contains(no, word) ? FALSE : fallback;
}

char *gl_qemu_quote(const char *text) {
        g_autofree char *valid = g_utf8_make_valid(text, -1);
        GString *quoted = g_string_new("\"");

        for (const char *at = valid; *at; at = g_utf8_next_char(at)) {
                gunichar character = g_utf8_get_char(at);

                if (g_unichar_isprint(character))
                        g_string_append_unichar(quoted, character);
                else
                        g_string_append_printf(quoted, "\\u%04x", character);
        }
        g_string_append_c(quoted, '"');
        return g_string_free(quoted, FALSE);
}

/* Those of QEMU 7.2, and of the releases before and after it. */
static const char *const without_argument[] = {
        "S", "alt-grab", "async-teardown", "audio-help", "ctrl-grab", "curses", "daemonize", "enable-fips",
        "enable-kvm", "enable-sync-profile", "full-screen", "h", "help", "jitdump", "localtime", "mem-prealloc",
        "no-acpi", "no-fd-bootchk", "no-frame", "no-hpet", "no-kvm", "no-kvm-irqchip", "no-kvm-pit",
        "no-kvm-pit-reinjection", "no-quit", "no-reboot", "no-shutdown", "no-user-config", "nodefaults",
        "nodefconfig", "nographic", "old-param", "only-migratable", "perfmap", "portrait", "preconfig",
        "rtc-td-hack", "s", "sdl", "semihosting", "show-cursor", "singlestep", "snapshot", "tdf", "usb", "version",
        "win2k-hack", "xen-attach", "xen-domid-restrict", NULL,
};
static const char *const with_argument[] = {
        "D", "L", "M", "accel", "acpitable", "action", "add-fd", "append", "audio", "audiodev", "balloon", "bios",
        "blockdev", "boot", "bt", "cdrom", "chardev", "chroot", "clock", "compat", "cpu", "d", "debugcon", "device",
        "dfilter", "display", "drive", "dtb", "dump-vmstate", "echr", "fda", "fdb", "fsdev", "fw_cfg", "g", "gdb",
        "global", "hda", "hdachs", "hdb", "hdc", "hdd", "icount", "incoming", "initrd", "iscsi", "k", "kernel",
        "loadvm", "m", "machine", "mem-path", "mon", "monitor", "msg", "mtdblock", "name",
        "net", "netdev", "nic", "numa", "object", "option-rom", "overcommit", "parallel", "pflash",
        "pidfile", "plugin", "prom-env", "qmp", "qmp-pretty", "qtest", "qtest-log", "readconfig", "realtime",
        "rotate", "rtc", "run-with", "runas", "sandbox", "sd", "seed", "semihosting-config", "serial", "set",
        "shim", "smbios", "smp", "soundhw", "spice", "startdate", "tb-size", "tpmdev", "trace", "usbdevice", "uuid",
        "vga", "virtfs", "virtioconsole", "vnc", "watchdog", "watchdog-action", "writeconfig",
        "xen-domid", NULL,
};

GlQemuArgument gl_qemu_option_argument(const char *name) {
        if (g_strv_contains(without_argument, name))
                return GL_QEMU_ARGUMENT_NONE;
        return g_strv_contains(with_argument, name) ? GL_QEMU_ARGUMENT_ONE : GL_QEMU_ARGUMENT_UNKNOWN;
}
