/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Text back to a guest, or a reason why not. Nothing is guessed: every key is there, every number in its range, every
 * word known, every resource counted, or the whole file is refused; half a guest would be a disk that somebody
 * else gets. A `Reader` remembers the first thing that was wrong, so that reading goes straight through.
 */

#include "store/state-file.h"

#include <string.h>

#include "core/error.h"
#include "core/names.h"
#include "core/obstacle.h"
#include "core/quoted.h"

#define MAX_NAME_BYTES  4096 /* the configuration allows no more */
#define MAX_PATH_BYTES  8192 /* PATH_MAX and what the kernel may add to it */
#define MAX_PROSE_BYTES 65536
#define MAX_GROUPS      65536              /* NGROUPS_MAX */
#define MAX_PID         (4u * 1024 * 1024) /* PID_MAX_LIMIT */

typedef struct {
        GKeyFile *file;
        const char *group;
        GError *error; /* (owned) (nullable) */
} Reader;

static void complain(Reader *reader, const char *key, const char *what) {
        if (!reader->error)
                reader->error =
                        g_error_new(GL_ERROR, GL_ERROR_INVALID_ARGS, "\"%s\" in [%s] %s", key, reader->group, what);
}

/* NULL after something was wrong. */
static char *read_value(Reader *reader, const char *key) {
        char *value;

        if (reader->error)
                return NULL;
        value = g_key_file_get_value(reader->file, reader->group, key, NULL);
        if (!value)
                complain(reader, key, "is missing");
        return value;
}

static char *read_bytes(Reader *reader, const char *key, gsize max) {
        g_autofree char *value = read_value(reader, key), *bytes = NULL;

        if (!value)
                return NULL;
        bytes = gl_quoted_read(value);
        if (!bytes)
                complain(reader, key, "is not a text in quotes");
        else if (strlen(bytes) > max)
                complain(reader, key, "is too long");
        return reader->error ? NULL : g_steal_pointer(&bytes);
}

/* UTF-8, because it goes out on the bus again. */
static char *read_text(Reader *reader, const char *key, gsize max) {
        g_autofree char *text = read_bytes(reader, key, max);

        if (text && !g_utf8_validate(text, -1, NULL))
                complain(reader, key, "is not UTF-8");
        return reader->error ? NULL : g_steal_pointer(&text);
}

static char *read_name(Reader *reader, const char *key, gsize max) {
        g_autofree char *name = read_text(reader, key, max);

        if (name && !name[0])
                complain(reader, key, "is empty");
        return reader->error ? NULL : g_steal_pointer(&name);
}

static gboolean is_there(Reader *reader, const char *key) {
        return g_key_file_has_key(reader->file, reader->group, key, NULL);
}

static char *read_prose(Reader *reader, const char *key) {
        return is_there(reader, key) ? read_text(reader, key, MAX_PROSE_BYTES) : NULL;
}

static guint64 read_unsigned(Reader *reader, const char *key, guint64 max) {
        g_autofree char *value = read_value(reader, key);
        guint64 number = 0;

        if (value && !g_ascii_string_to_unsigned(value, 10, 0, max, &number, NULL))
                complain(reader, key, "is not a number in its range");
        return number;
}

static gint64 read_signed(Reader *reader, const char *key, gint64 min) {
        g_autofree char *value = read_value(reader, key);
        gint64 number = 0;

        if (value && !g_ascii_string_to_signed(value, 10, min, G_MAXINT64, &number, NULL))
                complain(reader, key, "is not a number in its range");
        return number;
}

static gboolean read_boolean(Reader *reader, const char *key) {
        g_autofree char *value = read_value(reader, key);

        if (value && !g_str_equal(value, "true") && !g_str_equal(value, "false"))
                complain(reader, key, "is neither true nor false");
        return value && g_str_equal(value, "true");
}

/* A key that an older service did not write. */
static gboolean read_flag(Reader *reader, const char *key) {
        return is_there(reader, key) && read_boolean(reader, key);
}

/* A word of the contract, by the function of its own enumeration. */
#define READ_WORD(reader, key, from_string, output)                                                                    \
        G_STMT_START {                                                                                                 \
                g_autofree char *word_ = read_value(reader, key);                                                      \
                if (word_ && !from_string(word_, output))                                                              \
                        complain(reader, key, "is a word that is not known");                                          \
        }                                                                                                              \
        G_STMT_END

static char *read_driver(Reader *reader, const char *key) {
        g_autofree char *driver = read_value(reader, key);

        if (!driver)
                return NULL;
        if (!gl_is_driver_name(driver))
                complain(reader, key, "is not a driver's name");
        return reader->error ? NULL : g_steal_pointer(&driver);
}

static void read_uuid(Reader *reader, const char *key, char uuid[37]) {
        g_autofree char *value = read_value(reader, key);

        if (value && (!gl_uuid_parse(value, uuid, NULL) || !g_str_equal(value, uuid)))
                complain(reader, key, "is not a uuid in lower case");
}

static GlProcessRef read_process(Reader *reader, const char *pid_key, const char *start_time_key) {
        return (GlProcessRef){
                .pid = (guint32) read_unsigned(reader, pid_key, MAX_PID),
                .start_time = read_unsigned(reader, start_time_key, G_MAXUINT64),
        };
}

static void read_guest(Reader *reader, GlGuest *guest) {
        reader->group = "guest";
        read_uuid(reader, "uuid", guest->uuid);
        guest->owner_uid = (guint32) read_unsigned(reader, "owner-uid", G_MAXUINT32 - 1);
        guest->name = read_name(reader, "name", MAX_NAME_BYTES);
        guest->id = (guint32) read_unsigned(reader, "id", G_MAXUINT32);
        guest->driver = read_driver(reader, "driver");
        READ_WORD(reader, "origin", gl_origin_from_string, &guest->origin);
        READ_WORD(reader, "state", gl_guest_state_from_string, &guest->state);
        READ_WORD(reader, "on-lease-lost", gl_loss_action_from_string, &guest->on_lease_lost);
        READ_WORD(reader, "require-scope", gl_scope_from_string, &guest->require_scope);
        guest->generation = read_unsigned(reader, "generation", G_MAXUINT64);
        guest->acquired_at = read_signed(reader, "acquired-at", 0);
        guest->transient = read_boolean(reader, "transient");
        guest->restricted = read_flag(reader, "restricted");
        guest->stopped_by_us = read_flag(reader, "stopped-by-us");
        guest->killing = read_flag(reader, "killing");
        guest->supervised = read_flag(reader, "supervised");
        guest->orphan_kept = read_flag(reader, "orphan-kept");
        guest->state_string = read_prose(reader, "state-string");
        guest->processes[GL_PROCESS_GUEST] = read_process(reader, "pid", "start-time");
        guest->processes[GL_PROCESS_SUPERVISOR] = read_process(reader, "supervisor-pid", "supervisor-start-time");
}

static GlCredentials *read_registrant(Reader *reader) {
        guint32 uid = (guint32) read_unsigned(reader, "registrant-uid", G_MAXUINT32 - 1);
        g_autofree char *value = read_value(reader, "registrant-groups");
        g_autofree gid_t *groups = NULL;
        g_auto(GStrv) words = NULL;
        guint n;

        if (!value)
                return NULL;
        words = g_strsplit(value, " ", MAX_GROUPS + 1);
        n = g_strv_length(words);
        groups = g_new0(gid_t, n + 1);
        for (guint i = 0; i < n; i++) {
                guint64 gid = 0;

                if (!g_ascii_string_to_unsigned(words[i], 10, 0, G_MAXUINT32 - 1, &gid, NULL))
                        complain(reader, "registrant-groups", "is not a list of group numbers");
                groups[i] = (gid_t) gid;
        }
        if (n == 0)
                complain(reader, "registrant-groups", "is empty");
        return reader->error ? NULL : gl_credentials_new(uid, groups, n);
}

/* Four words each: node, start, end, allocator. */
static gboolean parse_ancestor(char **words, GlAncestor *ancestor) {
        return gl_node_from_string(words[0], &ancestor->node) &&
               g_ascii_string_to_unsigned(words[1], 10, 0, G_MAXUINT64, &ancestor->extent.start, NULL) &&
               g_ascii_string_to_unsigned(words[2], 10, 0, G_MAXUINT64, &ancestor->extent.end, NULL) &&
               g_ascii_string_to_unsigned(words[3], 10, 0, G_MAXUINT64, &ancestor->allocator, NULL);
}

static void read_below(Reader *reader, GlSavedSource *source) {
        g_autofree char *value = read_value(reader, "below");
        g_auto(GStrv) words = g_strsplit(value ?: "", " ", -1);
        guint n = g_strv_length(words);

        if (value && (n % 4 != 0 || n / 4 > GL_PLACE_MAX_ANCESTORS))
                complain(reader, "below", "is no list of places");
        for (guint i = 0; !reader->error && i < n; i += 4) {
                GlAncestor ancestor = {};

                if (!parse_ancestor(words + i, &ancestor))
                        complain(reader, "below", "is no list of places");
                g_array_append_val(source->below, ancestor);
        }
}

/* Of a block device: what was opened, and which part of it was meant. */
static void read_device(Reader *reader, GlSavedSource *source) {
        source->device = (dev_t) read_unsigned(reader, "device", G_MAXUINT32);
        source->asked.start = read_unsigned(reader, "device-start", G_MAXUINT64);
        source->asked.end = read_unsigned(reader, "device-end", G_MAXUINT64);
        if (source->asked.start >= source->asked.end)
                complain(reader, "device-end", "is not after the start");
}

static void read_source(Reader *reader, GlSavedSource *source) {
        g_autofree char *node = read_value(reader, "node");

        if (node && !gl_node_from_string(node, &source->node))
                complain(reader, "node", "names no node");
        source->extent.start = read_unsigned(reader, "extent-start", G_MAXUINT64);
        source->extent.end = read_unsigned(reader, "extent-end", G_MAXUINT64);
        if (source->extent.start >= source->extent.end)
                complain(reader, "extent-end", "is not after the start");
        source->asked = source->extent;
        source->below = g_array_new(FALSE, TRUE, sizeof(GlAncestor));
        if (is_there(reader, "below"))
                read_below(reader, source);
        if (is_there(reader, "device"))
                read_device(reader, source);
        if (is_there(reader, "path"))
                source->path = read_name(reader, "path", MAX_PATH_BYTES);
        if (source->path && source->path[0] != '/')
                complain(reader, "path", "is not absolute");
        source->canonical = read_bytes(reader, "canonical", MAX_PATH_BYTES);
        source->birth = read_signed(reader, "birth", G_MININT64);
        source->registrant = read_registrant(reader);
}

static void read_resource(Reader *reader, GlGuest *guest, GlSavedSource *source) {
        GlResourceType type = GL_RESOURCE_DISK;
        g_autofree char *name = NULL;
        GlResource *resource;
        gboolean unplugged;

        READ_WORD(reader, "type", gl_resource_type_from_string, &type);
        name = read_name(reader, "name", MAX_PATH_BYTES);
        if (!name)
                return;
        unplugged = read_flag(reader, "unplugged");
        /* What was unplugged may be there again. */
        if (!unplugged && gl_guest_find_resource(guest, type, name)) {
                complain(reader, "name", "is another resource's name as well");
                return;
        }
        resource = gl_guest_record_add_resource(guest);
        resource->type = type;
        resource->name = g_steal_pointer(&name);
        READ_WORD(reader, "mode", gl_mode_from_string, &resource->mode);
        READ_WORD(reader, "state", gl_resource_state_from_string, &resource->state);
        resource->unblocked = resource->state == GL_RESOURCE_LOST && read_flag(reader, "unblocked");
        resource->unplugged = unplugged;
        if (unplugged && resource->state != GL_RESOURCE_LOST)
                complain(reader, "unplugged", "is true of what was not lost");
        read_source(reader, source);
        resource->by_descriptor = !source->path;
        resource->registered_by = (guint32) read_unsigned(reader, "registered-by", G_MAXUINT32 - 1);
        resource->generation = read_unsigned(reader, "generation", G_MAXUINT64);
        READ_WORD(reader, "scope", gl_scope_from_string, &resource->scope);
        resource->scope_reason = read_prose(reader, "scope-reason");
        READ_WORD(reader, "kept-by", gl_kept_by_from_string, &resource->kept_by);
        if (is_there(reader, "keep-key"))
                resource->keep_key = read_unsigned(reader, "keep-key", G_MAXUINT64);
        resource->since = read_signed(reader, "since", 0);
        resource->size = read_unsigned(reader, "size", G_MAXUINT64);
        resource->mtime = read_unsigned(reader, "mtime", G_MAXUINT64);
}

static gboolean refuse(GError **error, const char *reason) {
        g_set_error_literal(error, GL_ERROR, GL_ERROR_INVALID_ARGS, reason);
        return FALSE;
}

/* What has to be right before the rest means anything. */
static gboolean read_header(Reader *reader, const char *boot_id, GError **error) {
        g_autofree char *saved_boot_id = NULL;
        guint64 version;

        reader->group = "guestlock";
        version = read_unsigned(reader, "version", G_MAXUINT32);
        if (!reader->error && version != GL_STATE_FILE_VERSION) {
                g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS,
                            "it has version %" G_GUINT64_FORMAT ", and this service reads version %d", version,
                            GL_STATE_FILE_VERSION);
                return FALSE;
        }
        saved_boot_id = read_text(reader, "boot-id", MAX_NAME_BYTES);
        if (saved_boot_id && !g_str_equal(saved_boot_id, boot_id))
                return refuse(error, "it was written before this boot, and no guest outlives a reboot");
        return TRUE;
}

/* [guestlock], [guest], [resource 0] and so on, [end], in this order and nothing else. Returns how many resources there
 * are, -1 if not. */
static int count_resources(Reader *reader) {
        gsize n = 0;
        g_auto(GStrv) groups = g_key_file_get_groups(reader->file, &n);
        guint64 said;

        if (n < 3 || !g_str_equal(groups[0], "guestlock") || !g_str_equal(groups[1], "guest") ||
            !g_str_equal(groups[n - 1], "end") || n - 3 > GL_STATE_FILE_MAX_RESOURCES)
                return -1;
        for (gsize i = 0; i < n - 3; i++) {
                g_autofree char *expected = g_strdup_printf("resource %" G_GSIZE_FORMAT, i);

                if (!g_str_equal(groups[i + 2], expected))
                        return -1;
        }
        reader->group = "end";
        said = read_unsigned(reader, "resources", GL_STATE_FILE_MAX_RESOURCES);
        return reader->error || said != n - 3 ? -1 : (int) said;
}

static void saved_source_free(gpointer data) {
        GlSavedSource *source = data;

        g_free(source->path);
        g_free(source->canonical);
        g_clear_pointer(&source->below, g_array_unref);
        g_clear_pointer(&source->registrant, gl_credentials_unref);
        g_free(source);
}

void gl_saved_guest_free(GlSavedGuest *saved) {
        if (!saved)
                return;

        gl_guest_record_free(saved->record);
        g_ptr_array_unref(saved->saved);
        g_free(saved);
}

static gboolean read_everything(Reader *reader, GlSavedGuest *saved, GError **error) {
        int n = count_resources(reader);

        if (n < 0)
                return refuse(error, "it is truncated or its groups are not those of a guest");
        read_guest(reader, saved->record);
        for (int i = 0; i < n && !reader->error; i++) {
                g_autofree char *group = g_strdup_printf("resource %d", i);
                GlSavedSource *source = g_new0(GlSavedSource, 1);

                g_ptr_array_add(saved->saved, source);
                reader->group = group;
                read_resource(reader, saved->record, source);
                reader->group = NULL;
        }
        return TRUE;
}

static gboolean read_key_file(Reader *reader, const char *data, gsize length, GError **error) {
        if (length == 0)
                return refuse(error, "it is empty");
        if (length > GL_STATE_FILE_MAX_BYTES)
                return refuse(error, "it is too large");
        for (gsize i = 0; i < length; i++)
                if (data[i] != '\n' && !g_ascii_isprint(data[i]))
                        return refuse(error, "it is not plain text");
        if (!g_key_file_load_from_data(reader->file, data, length, G_KEY_FILE_NONE, NULL))
                return refuse(error, "it is not a key file");
        return TRUE;
}

GlSavedGuest *gl_state_file_read(const char *name, const char *data, gsize length, const char *boot_id,
                                 GError **error) {
        g_autoptr(GKeyFile) file = g_key_file_new();
        g_autoptr(GlSavedGuest) saved = g_new0(GlSavedGuest, 1);
        g_autofree char *expected = NULL;
        Reader reader = {.file = file};

        saved->record = gl_guest_record_new();
        saved->saved = g_ptr_array_new_with_free_func(saved_source_free);
        if (!read_key_file(&reader, data, length, error))
                return NULL;
        if (!read_header(&reader, boot_id, error) || (!reader.error && !read_everything(&reader, saved, error))) {
                g_clear_error(&reader.error);
                return NULL;
        }
        if (reader.error) {
                g_propagate_error(error, reader.error);
                return NULL;
        }
        expected = gl_state_file_name(saved->record->uuid, saved->record->owner_uid);
        if (!g_str_equal(expected, name)) {
                refuse(error, "its name is not that of the guest in it");
                return NULL;
        }
        return g_steal_pointer(&saved);
}
