/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "driver-set.h"

#include "core/error.h"
#include "log.h"

/*
 * A driver is unloaded only when the core has no use for it, and then no job of it is out, so that nobody runs in what
 * is taken out of memory.
 */

struct GlDriverSet {
        GlCore *core;        /* (borrowed) */
        char *directory;     /* (owned) (nullable) */
        GHashTable *drivers; /* (owned) name → Entry (owned) */
};

typedef struct {
        GlDriver *driver;
        GlLoadedDriver *loaded; /* (owned) (nullable) whose driver that is; else it is built in, and ours */
} Entry;

static void entry_free(gpointer data) {
        Entry *entry = data;

        if (entry->loaded)
                gl_loaded_driver_leave(entry->loaded);
        else
                gl_driver_free(entry->driver);
        g_free(entry);
}

GlDriverSet *gl_driver_set_new(GlCore *core, const char *directory) {
        GlDriverSet *set = g_new0(GlDriverSet, 1);

        set->core = core;
        set->directory = g_strdup(directory);
        set->drivers = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, entry_free);
        return set;
}

void gl_driver_set_free(GlDriverSet *set) {
        if (!set)
                return;
        g_hash_table_unref(set->drivers);
        g_free(set->directory);
        g_free(set);
}

static void add(GlDriverSet *set, GlDriver *driver, GlLoadedDriver *loaded) {
        Entry *entry = g_new(Entry, 1);

        *entry = (Entry){driver, loaded};
        g_hash_table_insert(set->drivers, g_strdup(driver->ops->name), entry);
        gl_core_add_driver(set->core, driver->ops->name, driver->ops->capabilities);
}

void gl_driver_set_add(GlDriverSet *set, GlDriver *driver) {
        add(set, driver, NULL);
}

GlDriver *gl_driver_set_find(GlDriverSet *set, const char *name) {
        Entry *entry = g_hash_table_lookup(set->drivers, name);

        return entry ? entry->driver : NULL;
}

static gboolean fail_unknown(const char *name, GError **error) {
        g_set_error(error, GL_ERROR, GL_ERROR_NO_SUCH_DRIVER, "There is no lease driver \"%s\".", name);
        return FALSE;
}

gboolean gl_driver_set_load(GlDriverSet *set, const char *name, const GlPluginHost *host, GError **error) {
        GlLoadedDriver *loaded;

        if (g_hash_table_contains(set->drivers, name))
                return TRUE;
        if (!set->directory)
                return fail_unknown(name, error);
        loaded = gl_loaded_driver_new(set->directory, name, host, error);
        if (!loaded)
                return FALSE;
        add(set, loaded->driver, loaded);
        gl_log(LOG_INFO, NULL, "The driver \"%s\" has been loaded.", name);
        return TRUE;
}

/* One that has a file, whatever is wrong with that, may just have been unloaded. */
static gboolean has_file(GlDriverSet *set, const char *name) {
        g_autoptr(GError) why = NULL;

        return set->directory && (gl_loaded_driver_check(set->directory, name, &why) ||
                                  !g_error_matches(why, GL_ERROR, GL_ERROR_NO_SUCH_DRIVER));
}

gboolean gl_driver_set_unload(GlDriverSet *set, const char *name, GError **error) {
        Entry *entry = g_hash_table_lookup(set->drivers, name);
        GlLoadedDriver *loaded;

        if (!entry)
                return has_file(set, name) || fail_unknown(name, error);
        if (!entry->loaded) {
                g_set_error(error, GL_ERROR, GL_ERROR_NOT_SUPPORTED,
                            "The driver \"%s\" is built into the service and cannot be unloaded.", name);
                return FALSE;
        }
        if (!gl_core_remove_driver(set->core, name, error))
                return FALSE;
        loaded = g_steal_pointer(&entry->loaded);
        entry->driver = NULL;
        g_hash_table_remove(set->drivers, name);
        gl_loaded_driver_unload(loaded);
        gl_log(LOG_INFO, NULL, "The driver \"%s\" has been unloaded.", name);
        return TRUE;
}
