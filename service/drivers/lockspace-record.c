/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drivers/lockspace-record.h"

#include "core/error.h"
#include "core/names.h"
#include "core/quoted.h"

#define GROUP "lease"

void gl_lockspace_record_free(GlLockspaceRecord *record) {
        if (!record)
                return;

        g_free(record->guest_uuid);
        g_free(record->guest_name);
        g_free(record->host_id);
        g_free(record->host_name);
        g_free(record->path);
        g_free(record);
}

/* --- writing --- */

static void set_text(GKeyFile *file, const char *key, const char *text) {
        g_autofree char *quoted = gl_quoted_write(text);

        g_key_file_set_value(file, GROUP, key, quoted);
}

char *gl_lockspace_record_write(const GlLockspaceRecord *record, gsize *length) {
        g_autoptr(GKeyFile) file = g_key_file_new();

        g_key_file_set_uint64(file, GROUP, "version", GL_LOCKSPACE_RECORD_VERSION);
        g_key_file_set_uint64(file, GROUP, "generation-exclusive", record->generations.exclusive);
        g_key_file_set_uint64(file, GROUP, "generation-shared", record->generations.shared);
        g_key_file_set_value(file, GROUP, "mode", gl_mode_to_string(record->mode));
        g_key_file_set_uint64(file, GROUP, "since", (guint64) record->since);
        g_key_file_set_uint64(file, GROUP, "pid", record->pid);
        g_key_file_set_uint64(file, GROUP, "host-number", record->host_number);
        g_key_file_set_value(file, GROUP, "guest-uuid", record->guest_uuid);
        set_text(file, "guest-name", record->guest_name);
        set_text(file, "host-id", record->host_id);
        set_text(file, "host-name", record->host_name);
        set_text(file, "path", record->path);

        return g_key_file_to_data(file, length, NULL);
}

/* --- reading --- */

static void complain(GError **error, const char *key, const char *what) {
        if (error && !*error)
                g_set_error(error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE, "its %s %s", key, what);
}

/* ERROR of these is never NULL and may be set already: the first one counts. */
static char *get_value(GKeyFile *file, const char *key, GError **error) {
        char *value = g_key_file_get_value(file, GROUP, key, NULL);

        if (!value)
                complain(error, key, "is missing");
        return value;
}

static guint64 get_number(GKeyFile *file, const char *key, guint64 max, GError **error) {
        g_autofree char *value = get_value(file, key, error);
        guint64 number = 0;

        if (value && !g_ascii_string_to_unsigned(value, 10, 0, max, &number, NULL))
                complain(error, key, "is no such number");
        return number;
}

static char *get_bytes(GKeyFile *file, const char *key, GError **error) {
        g_autofree char *value = get_value(file, key, error);
        char *bytes = value ? gl_quoted_read(value) : NULL;

        if (value && !bytes)
                complain(error, key, "is not a text in quotes");
        return bytes;
}

static char *get_text(GKeyFile *file, const char *key, GError **error) {
        char *text = get_bytes(file, key, error);

        if (text && !g_utf8_validate(text, -1, NULL))
                complain(error, key, "is not UTF-8");
        return text;
}

static GlMode get_mode(GKeyFile *file, GError **error) {
        g_autofree char *value = get_value(file, "mode", error);
        GlMode mode = GL_MODE_EXCLUSIVE;

        if (value && !gl_mode_from_string(value, &mode))
                complain(error, "mode", "is not known");
        return mode;
}

static char *get_uuid(GKeyFile *file, GError **error) {
        g_autofree char *value = get_value(file, "guest-uuid", error);
        char uuid[37];

        if (!value)
                return NULL;
        if (!gl_uuid_parse(value, uuid, NULL)) {
                complain(error, "guest-uuid", "is none");
                return NULL;
        }
        return g_strdup(uuid);
}

static gboolean check_version(GKeyFile *file, GError **error) {
        guint64 version = get_number(file, "version", G_MAXUINT64, error);

        if (*error)
                return FALSE;
        if (version == GL_LOCKSPACE_RECORD_VERSION)
                return TRUE;
        g_set_error(error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE, "its version is %" G_GUINT64_FORMAT ", not %d",
                    version, GL_LOCKSPACE_RECORD_VERSION);
        return FALSE;
}

static void read_keys(GKeyFile *file, GlLockspaceRecord *record, GError **error) {
        record->generations.exclusive = get_number(file, "generation-exclusive", G_MAXINT64, error);
        record->generations.shared = get_number(file, "generation-shared", G_MAXINT64, error);
        record->mode = get_mode(file, error);
        record->since = (gint64) get_number(file, "since", G_MAXINT64, error);
        record->pid = (guint32) get_number(file, "pid", G_MAXINT32, error);
        record->host_number = (guint32) get_number(file, "host-number", G_MAXUINT32, error);
        record->guest_uuid = get_uuid(file, error);
        record->guest_name = get_text(file, "guest-name", error);
        record->host_id = get_text(file, "host-id", error);
        record->host_name = get_text(file, "host-name", error);
        record->path = get_bytes(file, "path", error);
}

GlLockspaceRecord *gl_lockspace_record_read(const char *data, gsize length, GError **error) {
        g_autoptr(GlLockspaceRecord) record = g_new0(GlLockspaceRecord, 1);
        g_autoptr(GKeyFile) file = g_key_file_new();
        g_autoptr(GError) why = NULL;

        if (length > GL_LOCKSPACE_RECORD_MAX_BYTES)
                g_set_error(&why, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE, "it is larger than any");
        else if (!g_key_file_load_from_data(file, data, length, G_KEY_FILE_KEEP_TRANSLATIONS, NULL))
                g_set_error(&why, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE, "it is no key file");
        else if (check_version(file, &why))
                read_keys(file, record, &why);

        if (!why)
                return g_steal_pointer(&record);
        g_propagate_error(error, g_steal_pointer(&why));
        return NULL;
}
