/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qemu-command-line.h"

#include <string.h>

/*
 * The arguments are read once, in order, and what describes disks is collected. QEMU makes all -blockdev first, then
 * all -drive, then the devices, wherever they stand; so do we. What a disk is for comes from the devices that refer to
 * it. A disk to which none does is written to nevertheless: one may be plugged in later.
 */

typedef struct {
        char *id;           /* (owned) (nullable) as devices know it */
        GPtrArray *options; /* (owned) (nullable) GlQemuOption *, of a -drive */
        char *text;         /* (owned) (nullable) argument of a -blockdev */
        char *source;       /* (owned) (nullable) */
        GlQemuNode *node;   /* (borrowed) (nullable) */
        gboolean is_drive;
} Disk;

typedef struct {
        GlQemuCommandLine *line; /* (borrowed) */
        GPtrArray *remarks;      /* (borrowed) */
        GPtrArray *disks;        /* (owned) Disk *, -drive and -blockdev as they come */
        GHashTable *uses;        /* (owned) id or name of a node → GlQemuUse of the devices that refer to it */
        gboolean snapshot;
} Reading;

/* The options that are a -drive with fewer letters: what they say of it. */
static const struct {
        const char *name, *options;
} drives[] = {
        {"hda", "media=disk"}, {"hdb", "media=disk"}, {"hdc", "media=disk"},   {"hdd", "media=disk"}, {"fda", ""},
        {"fdb", ""},           {"sd", ""},            {"cdrom", "media=cdrom"}, {"pflash", ""},        {"mtdblock", ""},
};

void gl_qemu_command_line_free(GlQemuCommandLine *line) {
        if (!line)
                return;
        g_ptr_array_unref(line->disks);
        g_free(line->name);
        g_free(line->uuid);
        g_free(line);
}

static void disk_free(gpointer data) {
        Disk *disk = data;

        g_clear_pointer(&disk->options, g_ptr_array_unref);
        g_free(disk->id);
        g_free(disk->text);
        g_free(disk->source);
        g_free(disk);
}

static void remark(Reading *reading, const char *format, ...) G_GNUC_PRINTF(2, 3);

static void remark(Reading *reading, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        g_ptr_array_add(reading->remarks, g_strdup_vprintf(format, arguments));
        va_end(arguments);
}

static char *name_source(const char *option, const char *name) {
        g_autofree char *shown = name ? gl_qemu_quote(name) : NULL;

        return name ? g_strdup_printf("-%s %s", option, shown) : g_strdup_printf("-%s", option);
}

/* --- arguments --- */

/* OPTIONS is taken over; FILE (nullable) is added to them. */
static void add_drive(Reading *reading, const char *option, GPtrArray *options, const char *file) {
        Disk *disk = g_new0(Disk, 1);

        if (file) {
                GlQemuOption *more = g_new(GlQemuOption, 1);

                *more = (GlQemuOption){.key = g_strdup("file"), .value = g_strdup(file)};
                g_ptr_array_add(options, more);
        }
        disk->is_drive = TRUE;
        disk->options = options;
        disk->id = g_strdup(gl_qemu_options_get(options, "id"));
        disk->source = name_source(option, disk->id);
        g_ptr_array_add(reading->disks, disk);
}

static void add_blockdev(Reading *reading, const char *argument) {
        Disk *disk = g_new0(Disk, 1);

        disk->text = g_strdup(argument);
        g_ptr_array_add(reading->disks, disk);
}

static void add_device(Reading *reading, const char *argument) {
        g_autoptr(GError) error = NULL;
        g_autoptr(JsonObject) options = gl_qemu_options_read(argument, "driver", &error);
        const char *driver, *drive;
        GlQemuUse use;

        if (!options) {
                remark(reading, "-device: its argument could not be read: %s.", error->message);
                return;
        }
        driver = gl_qemu_get_string(options, "driver");
        drive = gl_qemu_get_string(options, "drive");
        if (!drive)
                return;
        use = g_strcmp0(driver, "ide-cd") == 0 || g_strcmp0(driver, "scsi-cd") == 0 ? GL_QEMU_USE_READ
              : gl_qemu_get_boolean(options, "share-rw", FALSE)                     ? GL_QEMU_USE_SHARE
                                                                                    : GL_QEMU_USE_WRITE;
        if (use > GPOINTER_TO_UINT(g_hash_table_lookup(reading->uses, drive)))
                g_hash_table_replace(reading->uses, g_strdup(drive), GUINT_TO_POINTER(use));
}

static void add_name(Reading *reading, const char *argument) {
        g_autoptr(GPtrArray) options = gl_qemu_options_parse(argument, "guest");
        const char *name = gl_qemu_options_get(options, "guest");

        if (name) {
                g_free(reading->line->name);
                reading->line->name = g_strdup(name);
        }
}

static gboolean add_short_drive(Reading *reading, const char *option, const char *argument) {
        for (guint i = 0; i < G_N_ELEMENTS(drives); i++) {
                if (strcmp(option, drives[i].name) == 0) {
                        add_drive(reading, option, gl_qemu_options_parse(drives[i].options, NULL), argument);
                        return TRUE;
                }
        }
        return FALSE;
}

/* What an option with an argument says. */
static void take(Reading *reading, const char *option, const char *argument) {
        if (strcmp(option, "drive") == 0) {
                add_drive(reading, option, gl_qemu_options_parse(argument, NULL), NULL);
        } else if (strcmp(option, "blockdev") == 0) {
                add_blockdev(reading, argument);
        } else if (strcmp(option, "device") == 0) {
                add_device(reading, argument);
        } else if (strcmp(option, "name") == 0) {
                add_name(reading, argument);
        } else if (strcmp(option, "uuid") == 0) {
                g_free(reading->line->uuid);
                reading->line->uuid = g_strdup(argument);
        } else if (strcmp(option, "readconfig") == 0) {
                g_autofree char *shown = gl_qemu_quote(argument);

                remark(reading, "-readconfig: the disks in %s are not seen; name them with --disk.", shown);
        } else if (strcmp(option, "set") == 0 &&
                   (g_str_has_prefix(argument, "drive.") || g_str_has_prefix(argument, "device."))) {
                g_autofree char *shown = gl_qemu_quote(argument);

                remark(reading, "-set: what %s changes is not seen; name the disk with --disk.", shown);
        } else {
                add_short_drive(reading, option, argument);
        }
}

/* Whether an argument that is none of QEMU's follows; NEXT is NULL at the end. */
static gboolean has_argument(Reading *reading, const char *option, const char *next) {
        g_autofree char *shown = NULL, *shown_next = NULL;

        switch (gl_qemu_option_argument(option)) {
        case GL_QEMU_ARGUMENT_NONE:
                return FALSE;
        case GL_QEMU_ARGUMENT_ONE:
                return TRUE;
        case GL_QEMU_ARGUMENT_UNKNOWN:
                break;
        }
        if (!next || next[0] == '-')
                return FALSE;
        shown = gl_qemu_quote(option);
        shown_next = gl_qemu_quote(next);
        remark(reading, "%s after the option %s, which is not known, was taken for its argument.", shown_next, shown);
        return TRUE;
}

static gboolean is_text(const char *option, const char *argument, GError **error) {
        g_autofree char *shown = NULL;

        if (g_utf8_validate(argument, -1, NULL))
                return TRUE;
        shown = gl_qemu_quote(argument);
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "%s of %s is not valid UTF-8, as the names of leases are; give the file another name.", shown,
                    option);
        return FALSE;
}

static gboolean needs_text(const char *option) {
        static const char *const others[] = {"drive", "blockdev", "device", "name", "uuid", NULL};

        for (guint i = 0; i < G_N_ELEMENTS(drives); i++) {
                if (strcmp(option, drives[i].name) == 0)
                        return TRUE;
        }
        return g_strv_contains(others, option);
}

/* ARGUMENTS are those after QEMU's name. */
static gboolean read_arguments(Reading *reading, const char *const *arguments, GError **error) {
        for (const char *const *at = arguments; *at; at++) {
                const char *option = *at + ((*at)[0] == '-') + ((*at)[0] == '-' && (*at)[1] == '-');

                if (option == *at) {
                        if (!is_text("the image", *at, error))
                                return FALSE;
                        add_short_drive(reading, "hda", *at);
                } else if (strcmp(option, "snapshot") == 0) {
                        reading->snapshot = TRUE;
                } else if (has_argument(reading, option, at[1])) {
                        if (!at[1]) {
                                g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                                            "QEMU's option -%s needs an argument.", option);
                                return FALSE;
                        }
                        at++;
                        if (needs_text(option) && !is_text(at[-1], *at, error))
                                return FALSE;
                        take(reading, option, *at);
                }
        }
        return TRUE;
}

/* --- disks --- */

/* Of several "readonly" QEMU takes the first one, as it does with each option that has two names. */
static const char *first_value(GPtrArray *options, const char *key) {
        for (guint i = 0; i < options->len; i++) {
                const GlQemuOption *option = options->pdata[i];

                if (strcmp(option->key, key) == 0)
                        return option->value;
        }
        return NULL;
}

static gboolean is_read_only(GPtrArray *options) {
        return gl_qemu_word_is_true(first_value(options, "readonly"), FALSE) ||
               gl_qemu_word_is_true(gl_qemu_options_get(options, "read-only"), FALSE) ||
               g_strcmp0(gl_qemu_options_get(options, "media"), "cdrom") == 0;
}

/* What of a drive's options describes its node. */
static JsonObject *node_options(GPtrArray *options, GError **error) {
        g_autoptr(GPtrArray) rest = g_ptr_array_new();
        const char *format = gl_qemu_options_get(options, "format");
        JsonObject *object;

        for (guint i = 0; i < options->len; i++) {
                GlQemuOption *option = options->pdata[i];

                if (strcmp(option->key, "file") != 0)
                        g_ptr_array_add(rest, option);
        }
        object = gl_qemu_options_nest(rest, error);
        if (!object)
                return NULL;
        json_object_set_boolean_member(object, "read-only", is_read_only(options));
        if (format)
                json_object_set_string_member(object, "driver", format);
        return object;
}

static void make_drive(Reading *reading, GlQemuNodes *nodes, Disk *disk) {
        const char *snapshot = gl_qemu_options_get(disk->options, "snapshot");
        g_autoptr(GError) error = NULL;
        g_autoptr(JsonObject) options = node_options(disk->options, &error);

        if (!options) {
                remark(reading, "%s: its argument could not be read: %s.", disk->source, error->message);
                return;
        }
        disk->node = gl_qemu_nodes_add(nodes, options, gl_qemu_options_get(disk->options, "file"), disk->source);
        if (disk->node && (snapshot ? gl_qemu_word_is_true(snapshot, FALSE) : reading->snapshot))
                gl_qemu_node_set_snapshot(disk->node);
}

static void make_blockdev(Reading *reading, GlQemuNodes *nodes, Disk *disk) {
        g_autoptr(GError) error = NULL;
        g_autoptr(JsonObject) options = gl_qemu_options_read(disk->text, "driver", &error);

        if (!options) {
                remark(reading, "-blockdev: its argument could not be read: %s.", error->message);
                return;
        }
        disk->id = g_strdup(gl_qemu_get_string(options, "node-name"));
        disk->source = name_source("blockdev", disk->id);
        disk->node = gl_qemu_nodes_add(nodes, options, NULL, disk->source);
}

static void make_disks(Reading *reading, GlQemuNodes *nodes, gboolean drives_now) {
        for (guint i = 0; i < reading->disks->len; i++) {
                Disk *disk = reading->disks->pdata[i];

                if (disk->is_drive != drives_now)
                        continue;
                if (drives_now)
                        make_drive(reading, nodes, disk);
                else
                        make_blockdev(reading, nodes, disk);
        }
}

static GlQemuUse use_by_devices(Reading *reading, const char *name) {
        return name ? GPOINTER_TO_UINT(g_hash_table_lookup(reading->uses, name)) : GL_QEMU_USE_NONE;
}

static void use_disk(Reading *reading, GlQemuNodes *nodes, const Disk *disk) {
        GlQemuUse use = use_by_devices(reading, disk->id);

        /* A device may also refer to the name of a drive's node. */
        if (disk->is_drive)
                use = MAX(use, use_by_devices(reading, gl_qemu_options_get(disk->options, "node-name")));
        if (use == GL_QEMU_USE_NONE && !gl_qemu_node_is_below(disk->node))
                use = GL_QEMU_USE_WRITE;
        if (use != GL_QEMU_USE_NONE)
                gl_qemu_nodes_use(nodes, disk->node, use, reading->line->disks);
}

static void find_disks(Reading *reading, const char *directory) {
        g_autoptr(GlQemuNodes) nodes = gl_qemu_nodes_new(directory, reading->remarks);

        make_disks(reading, nodes, FALSE);
        make_disks(reading, nodes, TRUE);
        for (guint i = 0; i < reading->disks->len; i++) {
                const Disk *disk = reading->disks->pdata[i];

                if (disk->node)
                        use_disk(reading, nodes, disk);
        }
}

/* --- the whole --- */

/* qemu-system-x86_64, also with a version; no file that is called after it, and no command line for a shell. */
static gboolean is_system_emulator(const char *base) {
        if (strcmp(base, "qemu-kvm") == 0)
                return TRUE;
        if (!g_str_has_prefix(base, "qemu-system-"))
                return FALSE;
        for (; *base; base++) {
                if (!g_ascii_isalnum(*base) && !strchr("-_", *base) && !(*base == '.' && g_ascii_isdigit(base[1])))
                        return FALSE;
        }
        return TRUE;
}

/* These are names of users and groups as well. */
static gboolean is_short_name(const char *base) {
        return strcmp(base, "kvm") == 0 || strcmp(base, "qemu") == 0;
}

static const char *const *find_name(const char *const *command, gboolean (*matches)(const char *base)) {
        for (; *command; command++) {
                gsize word = strspn(*command, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "_");
                g_autofree char *base = g_path_get_basename(*command);

                /* No option, and no variable for env(1). */
                if ((*command)[0] != '-' && (word == 0 || (*command)[word] != '=') && matches(base))
                        return command;
        }
        return NULL;
}

/* Where QEMU's name is, perhaps after programs that run it. */
static const char *const *find_qemu(const char *const *command) {
        const char *const *found = find_name(command, is_system_emulator);

        return found ? found : find_name(command, is_short_name);
}

GlQemuCommandLine *gl_qemu_command_line_read(const char *const *command, const char *directory, GPtrArray *remarks,
                                             GError **error) {
        g_autoptr(GlQemuCommandLine) line = g_new0(GlQemuCommandLine, 1);
        g_autoptr(GPtrArray) disks = g_ptr_array_new_with_free_func(disk_free);
        g_autoptr(GHashTable) uses = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        Reading reading = {.line = line, .remarks = remarks, .disks = disks, .uses = uses};

        line->disks = g_ptr_array_new_with_free_func((GDestroyNotify) gl_found_disk_free);
        command = find_qemu(command);
        if (!command) {
                remark(&reading, "The command is not QEMU's, so no disks were found in it; name them with --disk.");
                return g_steal_pointer(&line);
        }
        line->is_qemu = TRUE;
        if (!read_arguments(&reading, command + 1, error))
                return NULL;
        find_disks(&reading, directory);
        return g_steal_pointer(&line);
}
