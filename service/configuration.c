/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One table says which keys there are, what they may be and where they go. A file is taken as a whole or
 * not at all, and a service with a wrong one does not start: a limit that is silently not what was
 * written is found when it is too late.
 */

#include "configuration.h"

#include <string.h>

#include "core/error.h"
#include "core/names.h"
#include "core/obstacle.h"

#define DEFAULT_PATH SYSCONFDIR "/guestlock/guestlockd.conf"

/* Puts VALUE into CONFIGURATION; NULL, or why it cannot be (static). */
typedef const char *(*SetText)(GlConfiguration *configuration, const char *value);

typedef struct {
        const char *group, *key;
        SetText set_text; /* or a number: */
        gsize offset;     /* of a guint, or of a guint64 in µs where `seconds` */
        guint min, max;
        gboolean seconds;
} Setting;

static const char *set_default_driver(GlConfiguration *configuration, const char *value) {
        if (!gl_is_driver_name(value))
                return "a driver's name: 1 to 32 of a-z, 0-9 and \"-\"";
        g_free(configuration->default_driver);
        configuration->default_driver = g_strdup(value);
        return NULL;
}

static const char *set_on_lease_lost(GlConfiguration *configuration, const char *value) {
        return gl_loss_action_from_string(value, &configuration->on_lease_lost) ? NULL : "pause, kill or notify";
}

static const char *set_require_scope(GlConfiguration *configuration, const char *value) {
        return gl_scope_from_string(value, &configuration->require_scope) ? NULL : "mount, host, shared or fenced";
}

/* It goes into messages and state strings, which other programs put into XML. */
static const char *set_host_name(GlConfiguration *configuration, const char *value) {
        gsize n = strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._");

        if (n > 253 || value[n])
                return "at most 253 letters, digits, \"-\", \".\" and \"_\", or nothing for the host's own name";
        g_free(configuration->host_name);
        configuration->host_name = n > 0 ? g_strdup(value) : NULL;
        return NULL;
}

static const char *set_directory(char **directory, const char *value) {
        if (value[0] && (!g_path_is_absolute(value) || strlen(value) > 4000))
                return "an absolute path, or nothing for none";
        g_free(*directory);
        *directory = value[0] ? g_strdup(value) : NULL;
        return NULL;
}

static const char *set_lockspace_directory(GlConfiguration *configuration, const char *value) {
        return set_directory(&configuration->lockspace_directory, value);
}

static const char *set_lvm_lockspace_directory(GlConfiguration *configuration, const char *value) {
        return set_directory(&configuration->lvm_lockspace_directory, value);
}

static const char *set_scsi_lockspace_directory(GlConfiguration *configuration, const char *value) {
        return set_directory(&configuration->scsi_lockspace_directory, value);
}

#define SECONDS(group, key, field, min, max)                                                                           \
        { group, key, NULL, G_STRUCT_OFFSET(GlConfiguration, field), min, max, TRUE }
#define NUMBER(key, field, min, max)                                                                                   \
        { "limits", key, NULL, G_STRUCT_OFFSET(GlConfiguration, field), min, max, FALSE }

/* The upper ends are what the rest of the service was made for; in particular, what a state file may hold. */
static const Setting settings[] = {
        {"guestlock", "DefaultDriver", set_default_driver},
        {"guestlock", "OnLeaseLost", set_on_lease_lost},
        {"guestlock", "RequireScope", set_require_scope},
        SECONDS("guestlock", "CheckIntervalSec", check_interval, 1, 86400),
        {"guestlock", "HostName", set_host_name},
        {"guestlock", "LockspaceDirectory", set_lockspace_directory},
        {"guestlock", "LvmLockspaceDirectory", set_lvm_lockspace_directory},
        {"guestlock", "ScsiLockspaceDirectory", set_scsi_lockspace_directory},
        NUMBER("MaxGuestsPerUid", limits.guests_per_uid, 1, 1000000),
        NUMBER("MaxGuests", limits.guests, 1, 1000000),
        NUMBER("MaxResourcesPerGuest", limits.resources_per_guest, 1, 1024),
        NUMBER("MaxUnboundGuestsPerUid", limits.unbound_guests_per_uid, 0, 1000000),
        NUMBER("MaxWaitingPerUid", limits.waiting_per_uid, 0, 1000000),
        NUMBER("MaxCallsPerUid", max_calls_per_uid, 1, 100000),
        NUMBER("MaxDialogsPerUid", max_dialogs_per_uid, 0, 100),
        NUMBER("MaxStringBytes", limits.string_bytes, 1, 4096),
        NUMBER("MaxPathBytes", limits.path_bytes, 1, 4095),
        NUMBER("MaxBytesPerGuest", limits.guest_bytes, 4096, 1024 * 1024),
        NUMBER("MaxBytesPerUid", limits.uid_bytes, 4096, 1024 * 1024 * 1024),
        NUMBER("MaxStuckPerUid", max_stuck_per_uid, 1, 1024),
        NUMBER("MaxWorkerThreads", max_worker_threads, 1, 1024),
        NUMBER("MaxWorkerThreadsPerUid", max_worker_threads_per_uid, 1, 1024),
        SECONDS("limits", "StorageTimeoutSec", limits.storage_timeout, 1, 3600),
};

static gboolean fail(GError **error, const char *path, const char *what) {
        g_autofree char *quoted = gl_quote(path);

        g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS, "The configuration file %s %s.", quoted, what);
        return FALSE;
}

static gboolean is_group(const char *group) {
        return g_str_equal(group, "guestlock") || g_str_equal(group, "limits");
}

static const Setting *find_setting(const char *group, const char *key) {
        for (gsize i = 0; i < G_N_ELEMENTS(settings); i++)
                if (g_str_equal(settings[i].group, group) && g_str_equal(settings[i].key, key))
                        return &settings[i];
        return NULL;
}

static gboolean set_number(GlConfiguration *configuration, const Setting *setting, const char *value) {
        guint64 number;

        if (!g_ascii_string_to_unsigned(value, 10, setting->min, setting->max, &number, NULL))
                return FALSE;
        if (setting->seconds)
                G_STRUCT_MEMBER(guint64, configuration, setting->offset) = number * G_USEC_PER_SEC;
        else
                G_STRUCT_MEMBER(guint, configuration, setting->offset) = (guint) number;
        return TRUE;
}

/* What VALUE has to be, if it is not; else NULL. */
static char *apply(GlConfiguration *configuration, const Setting *setting, const char *value) {
        if (setting->set_text)
                return g_strdup(setting->set_text(configuration, value));
        if (set_number(configuration, setting, value))
                return NULL;
        return g_strdup_printf("a whole number from %u to %u", setting->min, setting->max);
}

static gboolean read_key(GlConfiguration *configuration, const char *path, GKeyFile *file, const char *group,
                         const char *key, GError **error) {
        const Setting *setting = find_setting(group, key);
        g_autofree char *value = NULL, *expected = NULL, *what = NULL, *quoted = NULL;

        if (!setting) {
                quoted = gl_quote(key);
                what = g_strdup_printf("has a key %s in [%s] that is not known", quoted, group);
                return fail(error, path, what);
        }
        value = g_key_file_get_value(file, group, key, NULL);
        expected = apply(configuration, setting, g_strstrip(value));
        if (!expected)
                return TRUE;
        quoted = gl_quote(value);
        what = g_strdup_printf("has %s=%s in [%s]: it has to be %s", key, quoted, group, expected);
        return fail(error, path, what);
}

static gboolean read_group(GlConfiguration *configuration, const char *path, GKeyFile *file, const char *group,
                           GError **error) {
        g_auto(GStrv) keys = NULL;

        if (!is_group(group)) {
                g_autofree char *quoted = gl_quote(group);
                g_autofree char *what = g_strdup_printf("has a group %s that is not known", quoted);

                return fail(error, path, what);
        }
        keys = g_key_file_get_keys(file, group, NULL, NULL);
        for (guint i = 0; keys && keys[i]; i++)
                if (!read_key(configuration, path, file, group, keys[i], error))
                        return FALSE;
        return TRUE;
}

static gboolean read_file(GlConfiguration *configuration, const char *path, gboolean may_be_absent, GError **error) {
        g_autoptr(GKeyFile) file = g_key_file_new();
        g_autoptr(GError) local = NULL;
        g_auto(GStrv) groups = NULL;

        /* "HostName[de]" is dropped in silence otherwise. */
        if (!g_key_file_load_from_file(file, path, G_KEY_FILE_KEEP_TRANSLATIONS, &local)) {
                g_autofree char *what = NULL, *quoted = NULL;

                if (may_be_absent && g_error_matches(local, G_FILE_ERROR, G_FILE_ERROR_NOENT))
                        return TRUE;
                /* What is wrong inside the file is told in the file's own bytes. */
                quoted = local->domain == G_KEY_FILE_ERROR ? gl_quote(local->message) : NULL;
                what = g_strdup_printf("cannot be read: %s", quoted ?: local->message);
                return fail(error, path, what);
        }
        g_ptr_array_add(configuration->files, g_strdup(path));
        groups = g_key_file_get_groups(file, NULL);
        for (guint i = 0; groups[i]; i++)
                if (!read_group(configuration, path, file, groups[i], error))
                        return FALSE;
        return TRUE;
}

static int compare_names(gconstpointer a, gconstpointer b) {
        return strcmp(*(const char *const *) a, *(const char *const *) b);
}

static gboolean read_directory(GlConfiguration *configuration, const char *path, GError **error) {
        g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(GError) local = NULL;
        g_autoptr(GDir) directory = g_dir_open(path, 0, &local);
        const char *name;

        if (!directory) {
                g_autofree char *quoted = gl_quote(path);

                if (g_error_matches(local, G_FILE_ERROR, G_FILE_ERROR_NOENT))
                        return TRUE;
                g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS,
                            "The configuration directory %s cannot be read: %s.", quoted, local->message);
                return FALSE;
        }
        while ((name = g_dir_read_name(directory)))
                if (name[0] != '.' && g_str_has_suffix(name, ".conf"))
                        g_ptr_array_add(names, g_build_filename(path, name, NULL));
        g_ptr_array_sort(names, compare_names);
        for (guint i = 0; i < names->len; i++)
                if (!read_file(configuration, g_ptr_array_index(names, i), FALSE, error))
                        return FALSE;
        return TRUE;
}

GlConfiguration *gl_configuration_load(const char *path, GError **error) {
        g_autoptr(GlConfiguration) configuration = g_new0(GlConfiguration, 1);
        g_autofree char *directory = g_path_get_dirname(path ?: DEFAULT_PATH);
        g_autofree char *more = g_build_filename(directory, "conf.d", NULL);

        configuration->default_driver = g_strdup("file");
        configuration->on_lease_lost = GL_LOSS_PAUSE;
        configuration->require_scope = GL_SCOPE_MOUNT;
        configuration->max_calls_per_uid = 256;
        configuration->check_interval = 60 * G_USEC_PER_SEC;
        configuration->max_dialogs_per_uid = 4;
        configuration->max_stuck_per_uid = 8;
        configuration->max_worker_threads = 64;
        configuration->max_worker_threads_per_uid = 8;
        configuration->files = g_ptr_array_new_with_free_func(g_free);
        gl_limits_set_defaults(&configuration->limits);

        if (!read_file(configuration, path ?: DEFAULT_PATH, !path, error) ||
            !read_directory(configuration, more, error))
                return NULL;
        return g_steal_pointer(&configuration);
}

void gl_configuration_free(GlConfiguration *configuration) {
        if (!configuration)
                return;

        g_free(configuration->default_driver);
        g_free(configuration->host_name);
        g_free(configuration->lockspace_directory);
        g_free(configuration->lvm_lockspace_directory);
        g_free(configuration->scsi_lockspace_directory);
        g_ptr_array_unref(configuration->files);
        g_free(configuration);
}
