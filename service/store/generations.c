/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A log of lines "<node> <mode> <generation>\n", appended with one write() each and not synced: a generation
 * is at least the clock in µs, so what a power cut takes from the end matters only if the clock was
 * also set back. It is compacted at the start and whenever it has grown by GROWTH_MAX, into a new file that is synced
 * and renamed over the old one. Whatever is no such line is passed over, a torn last one included: too
 * little here is made up for by the clock. So it is on a file system that can only be read: what was written is read,
 * and nothing more is written until that has changed.
 */

#include "store/generations.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "core/obstacle.h"
#include "store/files.h"

#define FILE_NAME      "generations"
#define ASIDE_NAME     ".tmp-generations"
#define GROWTH_MAX     (32u * 1024 * 1024)
#define PENDING_MAX    (1024u * 1024)
#define LINE_MAX_BYTES 128

struct GlGenerations {
        int directory;    /* (borrowed) */
        char *path;       /* (owned) for messages */
        int fd;           /* O_APPEND; -1 where there is none and none can be made */
        gboolean read_only; /* the file system is, or was when it was tried last */
        GString *pending; /* (owned) what no write() has taken yet */
        gsize growth;     /* bytes since the last compaction */
};

/* What is known of one node. */
typedef struct {
        GlNode node;
        guint64 newest[GL_MODE_EXCLUSIVE + 1]; /* 0: none */
} Entry;

static gboolean fail(const GlGenerations *generations, const char *what, int saved_errno, GError **error) {
        g_autofree char *path = gl_quote(generations->path);

        g_set_error(error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE, "The generations of leases cannot be %s %s: %s.",
                    what, path, g_strerror(saved_errno));
        return FALSE;
}

static gboolean check_file(const GlGenerations *generations, GError **error) {
        struct stat st;

        if (fstat(generations->fd, &st) < 0)
                return fail(generations, "looked at in", errno, error);
        if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH))) {
                g_autofree char *path = gl_quote(generations->path);

                g_set_error(error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE,
                            "%s is not a file of uid %u that nobody else can write to; remove it.", path, geteuid());
                return FALSE;
        }
        return TRUE;
}

#define OPEN_FLAGS (O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)

/* Sets FD: of a file system that can only be read, where that is so. FALSE with errno set. */
static gboolean open_file(GlGenerations *generations) {
        generations->fd = openat(generations->directory, FILE_NAME, O_RDWR | O_CREAT | OPEN_FLAGS, 0600);
        generations->read_only = generations->fd < 0 && errno == EROFS;
        if (!generations->read_only)
                return generations->fd >= 0;
        generations->fd = openat(generations->directory, FILE_NAME, O_RDONLY | OPEN_FLAGS);
        return generations->fd >= 0 || errno == ENOENT || errno == EROFS;
}

/* It may have been mounted anew. */
static gboolean make_writable(GlGenerations *generations) {
        int before = generations->fd, saved_errno;
        gboolean opened;

        if (!generations->read_only)
                return TRUE;
        opened = open_file(generations);
        saved_errno = opened ? EPERM : errno;
        if (!opened || (generations->fd >= 0 && !check_file(generations, NULL))) {
                if (generations->fd >= 0)
                        close(generations->fd);
                generations->fd = before;
                generations->read_only = TRUE;
                errno = saved_errno;
                return FALSE;
        }
        if (before >= 0)
                close(before);
        if (generations->read_only)
                errno = EROFS;
        return !generations->read_only;
}

GlGenerations *gl_generations_open(int directory, const char *directory_path, GError **error) {
        g_autoptr(GlGenerations) generations = g_new0(GlGenerations, 1);

        generations->directory = directory;
        generations->path = g_build_filename(directory_path, FILE_NAME, NULL);
        generations->pending = g_string_new(NULL);
        if (!open_file(generations)) {
                fail(generations, "kept in", errno, error);
                return NULL;
        }
        return generations->fd < 0 || check_file(generations, error) ? g_steal_pointer(&generations) : NULL;
}

void gl_generations_free(GlGenerations *generations) {
        if (!generations)
                return;

        if (generations->fd >= 0)
                close(generations->fd);
        g_string_free(generations->pending, TRUE);
        g_free(generations->path);
        g_free(generations);
}

static char *format_line(const GlNode *node, GlMode mode, guint64 generation) {
        g_autofree char *text = gl_node_to_string(node);

        return g_strdup_printf("%s %s %" G_GUINT64_FORMAT "\n", text, gl_mode_to_string(mode), generation);
}

/* A line that was written in part is to be written again, on a line of its own. */
static void forget_written(GString *pending, gsize done) {
        gsize whole = done;

        while (whole > 0 && pending->str[whole - 1] != '\n')
                whole--;
        g_string_erase(pending, 0, (gssize) whole);
        if (whole < done)
                g_string_prepend_c(pending, '\n');
}

gboolean gl_generations_append(GlGenerations *generations, const GlNode *node, GlMode mode, guint64 generation,
                               GError **error) {
        g_autofree char *line = NULL;
        gsize length, done;
        int saved_errno;

        if (mode == GL_MODE_READONLY)
                return TRUE;
        line = format_line(node, mode, generation);
        if (generations->pending->len < PENDING_MAX)
                g_string_append(generations->pending, line);

        length = generations->pending->len;
        done = make_writable(generations) ? gl_write_all(generations->fd, generations->pending->str, length) : 0;
        saved_errno = errno;
        forget_written(generations->pending, done);
        generations->growth += done;
        if (done < length)
                return fail(generations, "written to", saved_errno, error);
        if (generations->growth < GROWTH_MAX)
                return TRUE;
        /* Whether or not it succeeds: the next attempt is due after as much again. */
        generations->growth = 0;
        return gl_generations_compact(generations, GL_GENERATIONS_MAX_NODES, NULL, NULL, error);
}

static gboolean parse_line(const char *line, GlNode *node, GlMode *mode, guint64 *generation) {
        g_auto(GStrv) words = g_strsplit(line, " ", 4);

        return g_strv_length(words) == 3 && gl_node_from_string(words[0], node) &&
               gl_mode_from_string(words[1], mode) && *mode != GL_MODE_READONLY &&
               g_ascii_string_to_unsigned(words[2], 10, 1, G_MAXUINT64, generation, NULL);
}

static void note(GHashTable *entries, const GlNode *node, GlMode mode, guint64 generation) {
        Entry *entry = g_hash_table_lookup(entries, node);

        if (!entry) {
                entry = g_new0(Entry, 1);
                entry->node = *node;
                g_hash_table_insert(entries, &entry->node, entry);
        }
        entry->newest[mode] = MAX(entry->newest[mode], generation);
}

/* Sets *WHOLE to whether the last line is whole. */
static gboolean read_lines(FILE *stream, GHashTable *entries, gboolean *whole) {
        char line[LINE_MAX_BYTES];
        gsize length = 0;
        int c;

        while ((c = getc_unlocked(stream)) != EOF) {
                guint64 generation;
                GlNode node;
                GlMode mode;

                if (c != '\n') {
                        if (length < sizeof(line))
                                line[length++] = (char) c;
                        continue;
                }
                if (length < sizeof(line)) {
                        line[length] = '\0';
                        if (strlen(line) == length && parse_line(line, &node, &mode, &generation))
                                note(entries, &node, mode, generation);
                }
                length = 0;
        }
        *whole = length == 0;
        return !ferror(stream);
}

static gboolean read_entries(GlGenerations *generations, GHashTable *entries, GError **error) {
        int fd = openat(generations->directory, FILE_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        FILE *stream = fd < 0 ? NULL : fdopen(fd, "re");
        gboolean whole = TRUE, ok;

        if (!stream) {
                fail(generations, "read from", errno, error);
                if (fd >= 0)
                        close(fd);
                return FALSE;
        }
        ok = read_lines(stream, entries, &whole) || fail(generations, "read from", errno, error);
        fclose(stream);
        /* If this file stays in use, the next line must not continue a torn one. */
        if (!whole && generations->pending->str[0] != '\n')
                g_string_prepend_c(generations->pending, '\n');
        return ok;
}

static guint64 last_grant(const Entry *entry) {
        return MAX(entry->newest[GL_MODE_SHARED], entry->newest[GL_MODE_EXCLUSIVE]);
}

static int compare_newest_first(gconstpointer a, gconstpointer b) {
        guint64 of_a = last_grant(*(const Entry *const *) a), of_b = last_grant(*(const Entry *const *) b);

        return of_a == of_b ? 0 : of_a > of_b ? -1 : 1;
}

static GPtrArray *newest_entries(GHashTable *entries, guint max) {
        GPtrArray *sorted = g_ptr_array_sized_new(g_hash_table_size(entries));
        GHashTableIter iter;
        gpointer entry;

        g_hash_table_iter_init(&iter, entries);
        while (g_hash_table_iter_next(&iter, NULL, &entry))
                g_ptr_array_add(sorted, entry);
        g_ptr_array_sort(sorted, compare_newest_first);
        if (sorted->len > max)
                g_ptr_array_set_size(sorted, (int) max);
        return sorted;
}

static void foreach_generation(GPtrArray *entries, GlGenerationFunc func, gpointer user_data) {
        for (guint i = 0; i < entries->len; i++) {
                const Entry *entry = g_ptr_array_index(entries, i);

                for (guint mode = GL_MODE_SHARED; mode <= GL_MODE_EXCLUSIVE; mode++)
                        if (entry->newest[mode] > 0)
                                func(&entry->node, (GlMode) mode, entry->newest[mode], user_data);
        }
}

static void add_line(const GlNode *node, GlMode mode, guint64 generation, gpointer text) {
        g_autofree char *line = format_line(node, mode, generation);

        g_string_append(text, line);
}

/* A descriptor of the new file, for appending, or -1. */
static int replace_file(GlGenerations *generations, const char *text, gsize length, GError **error) {
        int directory = generations->directory, fd, saved_errno;

        /* One that a killed service left behind. */
        unlinkat(directory, ASIDE_NAME, 0);
        fd = openat(directory, ASIDE_NAME, O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd >= 0 && gl_write_all(fd, text, length) == length && fsync(fd) == 0 &&
            renameat(directory, ASIDE_NAME, directory, FILE_NAME) == 0) {
                fsync(directory);
                return fd;
        }
        saved_errno = errno;
        unlinkat(directory, ASIDE_NAME, 0);
        if (fd >= 0)
                close(fd);
        fail(generations, "rewritten beside", saved_errno, error);
        return -1;
}

gboolean gl_generations_compact(GlGenerations *generations, guint max_nodes, GlGenerationFunc func, gpointer user_data,
                                GError **error) {
        g_autoptr(GHashTable) entries = g_hash_table_new_full(gl_node_hash, gl_node_equal, NULL, g_free);
        g_autoptr(GString) text = g_string_new(NULL);
        g_autoptr(GPtrArray) newest = NULL;
        gboolean complete = read_entries(generations, entries, error);
        int fd;

        newest = newest_entries(entries, max_nodes);
        if (func)
                foreach_generation(newest, func, user_data);
        /* What could not be read may be read another day: it is not thrown away. */
        if (!complete)
                return FALSE;
        foreach_generation(newest, add_line, text);
        fd = replace_file(generations, text->str, text->len, error);
        if (fd < 0)
                return FALSE;

        if (generations->fd >= 0)
                close(generations->fd);
        generations->fd = fd;
        generations->read_only = FALSE;
        generations->growth = 0;
        return TRUE;
}
