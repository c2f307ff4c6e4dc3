/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "core/error.h"

/*
 * A path is followed through the tree of mounts (each names its parent) and not matched against a flat list:
 * in a flat list a mount that has been covered by a later one further up would still win with its longer name.
 *
 * The kernel raises POLLPRI on an open mountinfo when the table has changed since the last poll() or open(), so
 * a look costs one poll() and not a read of a table that may have thousands of lines.
 */

/* A table that changes while it is read is read again, but not for ever. */
#define MAX_ATTEMPTS 8

static void mount_free(gpointer data) {
        GlMount *mount = data;

        g_free(mount->device);
        g_free(mount->root);
        g_free(mount->source);
        g_free(mount->point);
        g_free(mount->type);
        g_free(mount->options);
        g_free(mount);
}

/* Space, tab, newline, backslash and '#' come as a backslash and three octal digits. */
static char *unescape(const char *text) {
        GString *plain = g_string_new(NULL);

        for (const char *at = text; *at; at++) {
                if (at[0] == '\\' && at[1] >= '0' && at[1] <= '3' && at[2] >= '0' && at[2] <= '7' && at[3] >= '0' &&
                    at[3] <= '7') {
                        g_string_append_c(plain, (char) ((at[1] - '0') << 6 | (at[2] - '0') << 3 | (at[3] - '0')));
                        at += 3;
                } else {
                        g_string_append_c(plain, *at);
                }
        }
        return g_string_free(plain, FALSE);
}

gboolean gl_device_parse(const char *text, dev_t *device) {
        const char *colon = strchr(text, ':');
        g_autofree char *first = colon ? g_strndup(text, colon - text) : NULL;
        guint64 major, minor;

        if (!colon || !g_ascii_string_to_unsigned(first, 10, 0, 4095, &major, NULL) ||
            !g_ascii_string_to_unsigned(colon + 1, 10, 0, (1 << 20) - 1, &minor, NULL))
                return FALSE;
        *device = makedev((guint) major, (guint) minor);
        return TRUE;
}

/* "27 1 254:0 / /mnt rw,relatime shared:1 - ext4 /dev/vda rw": any number of fields may stand before the dash. */
static GlMount *parse_line(const char *line) {
        g_auto(GStrv) fields = g_strsplit(line, " ", -1);
        guint n_fields = g_strv_length(fields), dash = 6;
        guint64 id, parent;
        GlMount *mount;

        while (dash < n_fields && !g_str_equal(fields[dash], "-"))
                dash++;
        if (dash + 3 >= n_fields || fields[4][0] != '/' ||
            !g_ascii_string_to_unsigned(fields[0], 10, 0, G_MAXUINT64, &id, NULL) ||
            !g_ascii_string_to_unsigned(fields[1], 10, 0, G_MAXUINT64, &parent, NULL))
                return NULL;
        mount = g_new0(GlMount, 1);
        mount->id = id;
        mount->parent = parent;
        mount->device = g_strdup(fields[2]);
        (void) gl_device_parse(fields[2], &mount->number);
        mount->root = unescape(fields[3]);
        mount->point = unescape(fields[4]);
        mount->type = unescape(fields[dash + 1]);
        mount->source = unescape(fields[dash + 2]);
        mount->options = unescape(fields[dash + 3]);
        return mount;
}

GPtrArray *gl_mounts_parse(const char *text) {
        g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
        g_autoptr(GHashTable) ids = g_hash_table_new(g_int64_hash, g_int64_equal);
        GPtrArray *mounts = g_ptr_array_new_with_free_func(mount_free);

        for (char **line = lines; *line; line++) {
                GlMount *mount = parse_line(*line);

                if (mount) {
                        g_ptr_array_add(mounts, mount);
                        g_hash_table_add(ids, &mount->id);
                }
        }
        for (guint i = 0; i < mounts->len; i++) {
                GlMount *mount = mounts->pdata[i];

                mount->top = mount->parent == mount->id || !g_hash_table_contains(ids, &mount->parent);
        }
        return mounts;
}

gboolean gl_path_is_under(const char *path, const char *point) {
        gsize length = strlen(point);

        if (g_str_equal(point, "/"))
                return path[0] == '/';
        return strncmp(path, point, length) == 0 && (path[length] == '\0' || path[length] == '/');
}

/* Of the mounts on PARENT, the one that PATH comes to first; of two on one point, the later. */
static const GlMount *next_mount(GPtrArray *mounts, const GlMount *parent, const char *path) {
        const GlMount *next = NULL;

        for (guint i = 0; i < mounts->len; i++) {
                const GlMount *mount = mounts->pdata[i];

                if (parent ? mount->top || mount->parent != parent->id : !mount->top)
                        continue;
                if (!gl_path_is_under(path, mount->point))
                        continue;
                if (!next || strlen(mount->point) <= strlen(next->point))
                        next = mount;
        }
        return next;
}

const GlMount *gl_mounts_find(GPtrArray *mounts, const char *path) {
        const GlMount *found = NULL;

        /* A made-up table may have a ring in it. */
        for (guint i = 0; i < mounts->len; i++) {
                const GlMount *next = next_mount(mounts, found, path);

                if (!next)
                        break;
                found = next;
        }
        return found;
}

char *gl_path_tidy(const char *path) {
        g_auto(GStrv) components = g_strsplit(path, "/", -1);
        GString *tidy = g_string_new(NULL);
        gboolean directory = FALSE;

        for (char **component = components; *component; component++) {
                directory = **component == '\0' || g_str_equal(*component, ".");
                if (!directory)
                        g_string_append_printf(tidy, "/%s", *component);
        }
        if (directory)
                g_string_append_c(tidy, '/');
        return g_string_free(tidy, FALSE);
}

struct GlMountTable {
        int fd; /* of mountinfo */
        gboolean silent; /* a plain file: it never says that it has changed */
        GPtrArray *mounts; /* (owned) of GlMount */
};

static gboolean has_changed(GlMountTable *table) {
        struct pollfd look = {.fd = table->fd, .events = POLLPRI};

        return poll(&look, 1, 0) > 0 && (look.revents & POLLPRI);
}

static GPtrArray *read_mounts(int fd, GError **error) {
        g_autoptr(GString) text = g_string_new(NULL);
        char buffer[16384];
        ssize_t n = -1;

        if (lseek(fd, 0, SEEK_SET) == 0)
                while ((n = TEMP_FAILURE_RETRY(read(fd, buffer, sizeof buffer))) > 0)
                        g_string_append_len(text, buffer, n);
        if (n < 0) {
                g_set_error(error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE, "The mount table cannot be read: %s.",
                            g_strerror(errno));
                return NULL;
        }
        return gl_mounts_parse(text->str);
}

static gboolean reread(GlMountTable *table, GError **error) {
        guint attempts = 0;

        do {
                GPtrArray *mounts = read_mounts(table->fd, error);

                if (!mounts)
                        return FALSE;
                g_clear_pointer(&table->mounts, g_ptr_array_unref);
                table->mounts = mounts;
        } while (!table->silent && ++attempts < MAX_ATTEMPTS && has_changed(table));
        return TRUE;
}

/* Without a new table the old one is the best there is. */
static void refresh(GlMountTable *table) {
        g_autoptr(GError) error = NULL;

        if ((table->silent || has_changed(table)) && !reread(table, &error))
                g_warning("%s What was mounted or unmounted just now is not known.", error->message);
}

GlMountTable *gl_mount_table_new(const char *sysroot, GError **error) {
        g_autofree char *path = g_build_filename(sysroot ? sysroot : "/", "proc/self/mountinfo", NULL);
        g_autoptr(GlMountTable) table = g_new0(GlMountTable, 1);

        table->silent = !g_str_equal(path, "/proc/self/mountinfo");
        table->fd = open(path, O_RDONLY | O_CLOEXEC);
        if (table->fd < 0) {
                g_set_error(error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE, "The mount table %s cannot be opened: %s.",
                            path, g_strerror(errno));
                return NULL;
        }
        return reread(table, error) ? g_steal_pointer(&table) : NULL;
}

void gl_mount_table_free(GlMountTable *table) {
        if (!table)
                return;
        if (table->fd >= 0)
                close(table->fd);
        g_clear_pointer(&table->mounts, g_ptr_array_unref);
        g_free(table);
}

/* Where PATH goes upwards for the first time; what is before that can be said by name. */
static char *head_of(const char *path) {
        char *tidy = gl_path_tidy(path);

        for (char *at = strstr(tidy, "/.."); at; at = strstr(at + 1, "/..")) {
                if (at[3] == '\0' || at[3] == '/') {
                        at[at == tidy] = '\0';
                        break;
                }
        }
        return tidy;
}

const GlMount *gl_mount_table_find(GlMountTable *table, const char *path) {
        g_autofree char *head = head_of(path);

        refresh(table);
        return gl_mounts_find(table->mounts, head);
}

GPtrArray *gl_mount_table_get(GlMountTable *table) {
        refresh(table);
        return g_ptr_array_ref(table->mounts);
}

const GlMount *gl_mount_table_find_id(GlMountTable *table, guint64 id) {
        refresh(table);
        for (guint i = 0; i < table->mounts->len; i++) {
                const GlMount *mount = table->mounts->pdata[i];

                if (mount->id == id)
                        return mount;
        }
        return NULL;
}
