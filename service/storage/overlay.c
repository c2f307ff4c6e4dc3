/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage/stack-private.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "storage/walk.h"

/*
 * The file below one on overlayfs. The mount says which directories it lays over each other; in the uppermost that has the
 * name, by the path that the file has in the overlay, lies the real one. The directories may be hidden, renamed or in
 * another mount namespace by now, so what is found must have the size, the times, the birth and the number that the overlay
 * passes on from the real file.
 *
 * With "metacopy" a file's data may be further down than its name, and that is not followed.
 */

#define ATTEMPTS 3

static gboolean get_look(int fd, struct statx *stx) {
        guint mask = STATX_TYPE | STATX_INO | STATX_SIZE | STATX_MTIME | STATX_CTIME | STATX_BTIME;

        return statx(fd, "", AT_EMPTY_PATH, mask, stx) == 0;
}

static gboolean times_equal(const struct statx_timestamp *a, const struct statx_timestamp *b) {
        return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* The overlay gives a file the number that it has below; one that was copied up keeps that of what it was copied from. */
static gboolean may_have_number(int found, guint64 number, guint64 above) {
        static const char *const origins[] = {"trusted.overlay.origin", "user.overlay.origin"};
        g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", found);

        /* Further up the overlay may put which of its file systems it is. */
        if ((guint32) number == (guint32) above)
                return TRUE;
        for (gsize i = 0; i < G_N_ELEMENTS(origins); i++)
                if (getxattr(path, origins[i], NULL, 0) >= 0)
                        return TRUE;
        return FALSE;
}

/* Somebody may be writing to it. */
static gboolean is_below(int fd, int found) {
        struct statx above, below;

        for (guint i = 0; i < ATTEMPTS; i++) {
                if (!get_look(fd, &above) || !get_look(found, &below))
                        return FALSE;
                if (S_ISREG(below.stx_mode) && above.stx_size == below.stx_size &&
                    times_equal(&above.stx_mtime, &below.stx_mtime) &&
                    times_equal(&above.stx_ctime, &below.stx_ctime) &&
                    (above.stx_mask & STATX_BTIME) == (below.stx_mask & STATX_BTIME) &&
                    times_equal(&above.stx_btime, &below.stx_btime))
                        return may_have_number(found, below.stx_ino, above.stx_ino);
        }
        return FALSE;
}

/* NAME in DIRECTORY, without symlinks. */
static int open_in(const GlStacks *stacks, const char *directory, const char *name) {
        struct open_how how = {.flags = O_PATH | O_CLOEXEC | O_NOFOLLOW,
                               .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
        g_autofree char *path = g_strconcat(stacks->sysroot ?: "", directory, NULL);
        int base = directory[0] == '/' ? open(path, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1, fd;

        if (base < 0)
                return -1;
        fd = (int) syscall(SYS_openat2, base, name, &how, sizeof how);
        close(base);
        return fd;
}

/* What FD is called in the overlay, of which MOUNT may show a part only. */
static char *name_in_overlay(const GlMount *mount, int fd) {
        g_autofree char *path = gl_path_of_fd(fd), *name = NULL;

        if (!path || !gl_path_is_under(path, mount->point))
                return NULL;
        name = g_build_filename("/", mount->root, path + (g_str_equal(mount->point, "/") ? 0 : strlen(mount->point)),
                                NULL);
        return g_strdup(name + strspn(name, "/"));
}

/* "a:b" with a backslash before a colon that is part of a name, or one directory. The uppermost comes first. */
static void add_lower(GPtrArray *directories, const char *value) {
        g_autoptr(GString) name = g_string_new(NULL);

        for (const char *at = value;; at++) {
                if (at[0] == '\\' && at[1]) {
                        g_string_append_c(name, *++at);
                } else if (at[0] == ':' || at[0] == '\0') {
                        if (name->len > 0)
                                g_ptr_array_add(directories, g_strdup(name->str));
                        g_string_truncate(name, 0);
                        if (at[0] == '\0')
                                break;
                } else {
                        g_string_append_c(name, at[0]);
                }
        }
}

/* The upper one, if there is one, at 0, else NULL there. NULL: it cannot be told. */
static GPtrArray *find_directories(const GlMount *mount) {
        g_autoptr(GPtrArray) directories = g_ptr_array_new_with_free_func(g_free);
        g_auto(GStrv) options = g_strsplit(mount->options, ",", -1);

        g_ptr_array_add(directories, NULL);
        for (guint i = 0; options[i]; i++) {
                const char *value = strchr(options[i], '=');

                if (g_str_equal(options[i], "metacopy=on"))
                        return NULL;
                if (g_str_has_prefix(options[i], "upperdir=") && !directories->pdata[0])
                        directories->pdata[0] = g_strdup(value + 1);
                else if (g_str_has_prefix(options[i], "lowerdir=") || g_str_has_prefix(options[i], "lowerdir+="))
                        add_lower(directories, value + 1);
        }
        return g_steal_pointer(&directories);
}

static int search(const GlStacks *stacks, GPtrArray *directories, int fd, const char *name, gboolean *lower) {
        for (guint i = 0; i < directories->len; i++) {
                int found = directories->pdata[i] ? open_in(stacks, directories->pdata[i], name) : -1;

                if (found < 0)
                        continue;
                /* The uppermost of that name covers the others. */
                if (is_below(fd, found)) {
                        *lower = i > 0;
                        return found;
                }
                close(found);
                return -1;
        }
        return -1;
}

int gl_overlay_find(GlStacks *stacks, int fd, const GlFacts *facts, GlFacts *real, gboolean *lower) {
        g_autoptr(GPtrArray) mounts = gl_stacks_mounts(stacks), directories = NULL;
        const GlMount *mount = NULL;
        g_autofree char *name = NULL;
        int found;

        *lower = FALSE;
        for (guint i = 0; mounts && i < mounts->len && !mount; i++)
                if (((const GlMount *) mounts->pdata[i])->id == facts->mount_id)
                        mount = mounts->pdata[i];
        name = mount ? name_in_overlay(mount, fd) : NULL;
        directories = name ? find_directories(mount) : NULL;
        found = directories ? search(stacks, directories, fd, name, lower) : -1;
        if (found < 0)
                return -1;
        /* One overlay on another is not followed further. */
        if (gl_facts_read(found, real) < 0 || real->magic == facts->magic) {
                close(found);
                return -1;
        }
        return found;
}
