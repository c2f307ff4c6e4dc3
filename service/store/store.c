/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One file per guest, replaced as a whole at each change: open, write, close and rename relative to a
 * directory that is kept open, and no sync, because the runtime directory is on a tmpfs and a guest does
 * not outlive the machine either. A service that is killed in between leaves the old file, and one aside
 * that the next start removes.
 *
 * What cannot be read at the start is moved to another directory, for a person to look at, and never
 * keeps the rest from being read. What fails where there is no caller to tell is logged: a generation
 * that cannot be recorded does not keep a guest from its disk, because the next one is larger by the
 * clock all the same.
 */

#include "store/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "core/obstacle.h"
#include "log.h"
#include "store/files.h"
#include "store/generations.h"
#include "store/set-aside.h"
#include "store/state-file.h"

#define GUESTS_NAME    "guests"
#define SET_ASIDE_NAME "set-aside"
#define ASIDE_PREFIX   ".tmp-"

struct GlStore {
        char *boot_id;     /* (owned) */
        char *guests_path; /* (owned) for messages */
        char *set_aside_path;
        int guests;
        int set_aside;
        int state;
        GlGenerations *generations; /* (owned) */
        gboolean generations_fail;  /* and it was logged */
        guint n_passed_over; /* what could not be read, and not be set aside either */
};

static gboolean open_runtime(GlStore *store, const char *path, GError **error) {
        int runtime = gl_directory_open(path, error);

        if (runtime < 0)
                return FALSE;
        store->guests_path = g_build_filename(path, GUESTS_NAME, NULL);
        store->set_aside_path = g_build_filename(path, SET_ASIDE_NAME, NULL);
        store->guests = gl_directory_open_private(runtime, path, GUESTS_NAME, error);
        if (store->guests >= 0)
                store->set_aside = gl_directory_open_private(runtime, path, SET_ASIDE_NAME, error);
        close(runtime);
        return store->guests >= 0 && store->set_aside >= 0;
}

static gboolean open_state(GlStore *store, const char *path, GError **error) {
        store->state = gl_directory_open(path, error);
        if (store->state >= 0)
                store->generations = gl_generations_open(store->state, path, error);
        return store->generations != NULL;
}

GlStore *gl_store_new(const char *runtime_dir, const char *state_dir, const char *boot_id, GError **error) {
        g_autoptr(GlStore) store = g_new0(GlStore, 1);

        store->boot_id = g_strdup(boot_id);
        store->guests = store->set_aside = store->state = -1;
        if (!open_runtime(store, runtime_dir, error) || !open_state(store, state_dir, error))
                return NULL;
        return g_steal_pointer(&store);
}

void gl_store_free(GlStore *store) {
        if (!store)
                return;

        gl_generations_free(store->generations);
        for (guint i = 0; i < 3; i++) {
                int fd = (int[]){store->guests, store->set_aside, store->state}[i];

                if (fd >= 0)
                        close(fd);
        }
        g_free(store->set_aside_path);
        g_free(store->guests_path);
        g_free(store->boot_id);
        g_free(store);
}

/* Returns 0 or an errno; then nothing has changed. */
static int replace_file(int directory, const char *name, const char *text, gsize length) {
        g_autofree char *aside = g_strconcat(ASIDE_PREFIX, name, NULL);
        int fd, result = 0;

        fd = openat(directory, aside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return errno;
        if (gl_write_all(fd, text, length) < length)
                result = errno;
        close(fd);
        if (result == 0 && renameat(directory, aside, directory, name) < 0)
                result = errno;
        if (result != 0)
                unlinkat(directory, aside, 0);
        return result;
}

gboolean gl_store_save(GlStore *store, const GlGuest *guest, GError **error) {
        g_autofree char *name = gl_state_file_name(guest->uuid, guest->owner_uid);
        g_autofree char *text = NULL, *quoted = NULL, *path = NULL;
        gsize length = 0;
        int result;

        text = gl_state_file_write(guest, store->boot_id, &length, error);
        if (!text)
                return FALSE;
        result = replace_file(store->guests, name, text, length);
        if (result == 0)
                return TRUE;

        quoted = gl_quote(guest->name);
        path = gl_quote(store->guests_path);
        g_set_error(error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE,
                    "The state of guest %s (%s) cannot be written to %s: %s.", quoted, guest->uuid, path,
                    g_strerror(result));
        return FALSE;
}

void gl_store_forget(GlStore *store, const GlGuest *guest) {
        g_autofree char *name = gl_state_file_name(guest->uuid, guest->owner_uid);
        g_autofree char *quoted = NULL, *path = NULL;
        int saved_errno;

        if (unlinkat(store->guests, name, 0) == 0 || errno == ENOENT)
                return;
        saved_errno = errno;
        quoted = gl_quote(guest->name);
        path = gl_quote(store->guests_path);
        gl_log(LOG_WARNING, NULL,
               "The state of guest %s (%s), which is gone, cannot be removed from %s, and will come back when the "
               "service starts again: %s.",
               quoted, guest->uuid, path, g_strerror(saved_errno));
}

/* --- reading --- */

static char *read_regular(int fd, gsize *length, GError **error) {
        g_autoptr(GString) text = g_string_new(NULL);
        char buffer[16384];
        struct stat st;
        ssize_t n;

        if (fstat(fd, &st) < 0) {
                g_set_error_literal(error, GL_ERROR, GL_ERROR_INVALID_ARGS, g_strerror(errno));
                return NULL;
        }
        if (!S_ISREG(st.st_mode) || st.st_uid != geteuid()) {
                g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS, "it is not a regular file of uid %u", geteuid());
                return NULL;
        }
        while ((n = read(fd, buffer, sizeof(buffer))) != 0 && text->len <= GL_STATE_FILE_MAX_BYTES) {
                if (n > 0) {
                        g_string_append_len(text, buffer, n);
                } else if (errno != EINTR) {
                        g_set_error_literal(error, GL_ERROR, GL_ERROR_INVALID_ARGS, g_strerror(errno));
                        return NULL;
                }
        }
        *length = text->len;
        return g_string_free(g_steal_pointer(&text), FALSE);
}

static GlSavedGuest *load_one(GlStore *store, const char *name, GError **error) {
        int fd = openat(store->guests, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        g_autofree char *text = NULL;
        gsize length = 0;

        if (fd < 0) {
                g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS, "it cannot be opened: %s", g_strerror(errno));
                return NULL;
        }
        text = read_regular(fd, &length, error);
        close(fd);
        return text ? gl_state_file_read(name, text, length, store->boot_id, error) : NULL;
}

static void set_aside(GlStore *store, const char *name, const char *reason, GPtrArray *problems) {
        g_autofree char *path = g_build_filename(store->guests_path, name, NULL), *quoted = gl_quote(path);
        g_autofree char *to = gl_quote(store->set_aside_path);
        gboolean moved = renameat(store->guests, name, store->set_aside, name) == 0;
        int saved_errno = errno;

        store->n_passed_over += !moved;
        if (!problems)
                return;
        if (moved)
                g_ptr_array_add(problems,
                                g_strdup_printf("The state file %s was set aside in %s: %s.", quoted, to, reason));
        else
                g_ptr_array_add(problems,
                                g_strdup_printf("The state file %s was passed over: %s; it could not be moved "
                                                "to %s: %s.",
                                                quoted, reason, to, g_strerror(saved_errno)));
}

static int compare_names(gconstpointer a, gconstpointer b) {
        return strcmp(*(const char *const *) a, *(const char *const *) b);
}

/* Sorted, so that every start goes the same way. */
static GPtrArray *list_names(GlStore *store, GPtrArray *problems) {
        GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
        int fd = openat(store->guests, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *directory = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *entry;

        store->n_passed_over += !directory;
        if (!directory && problems) {
                g_autofree char *quoted = gl_quote(store->guests_path);

                g_ptr_array_add(problems,
                                g_strdup_printf("No guest could be read back from %s: %s.", quoted, g_strerror(errno)));
        }
        if (!directory) {
                if (fd >= 0)
                        close(fd);
                return names;
        }
        while ((entry = readdir(directory)))
                if (!g_str_equal(entry->d_name, ".") && !g_str_equal(entry->d_name, ".."))
                        g_ptr_array_add(names, g_strdup(entry->d_name));
        closedir(directory);
        g_ptr_array_sort(names, compare_names);
        return names;
}

static void free_saved_guest(gpointer saved) {
        gl_saved_guest_free(saved);
}

GPtrArray *gl_store_load(GlStore *store, GPtrArray *problems) {
        GPtrArray *guests = g_ptr_array_new_with_free_func(free_saved_guest);
        g_autoptr(GPtrArray) names = NULL;

        store->n_passed_over = 0;
        names = list_names(store, problems);

        for (guint i = 0; i < names->len; i++) {
                const char *name = g_ptr_array_index(names, i);
                g_autoptr(GError) error = NULL;
                GlSavedGuest *saved;

                /* Half of a file whose older, whole one is still there: nothing was promised yet. */
                if (g_str_has_prefix(name, ASIDE_PREFIX) && unlinkat(store->guests, name, 0) == 0)
                        continue;
                saved = load_one(store, name, &error);
                if (saved)
                        g_ptr_array_add(guests, saved);
                else
                        set_aside(store, name, error->message, problems);
        }
        return guests;
}

guint gl_store_count_unknown(GlStore *store) {
        return store->n_passed_over + gl_set_aside_count(store->set_aside, store->boot_id);
}

/* --- generations --- */

/* Once, until it works again: with a full file system it would be one line a grant. */
static void log_generations(GlStore *store, gboolean ok, const GError *error) {
        if (!ok && !store->generations_fail)
                gl_log(LOG_WARNING, NULL, "%s", error->message);
        store->generations_fail = !ok;
}

void gl_store_record_generation(GlStore *store, const GlNode *node, GlMode mode, guint64 generation) {
        g_autoptr(GError) error = NULL;
        gboolean ok = gl_generations_append(store->generations, node, mode, generation, &error);

        log_generations(store, ok, error);
}

static void tell_core(const GlNode *node, GlMode mode, guint64 generation, gpointer core) {
        gl_core_set_last_generation(core, node, mode, generation);
}

void gl_store_load_generations(GlStore *store, GlCore *core) {
        g_autoptr(GError) error = NULL;
        gboolean ok = gl_generations_compact(store->generations, GL_GENERATIONS_MAX_NODES, tell_core, core, &error);

        log_generations(store, ok, error);
}
