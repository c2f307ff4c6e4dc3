/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage/walk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * The kernel does the walking wherever it can: nearly every path is one openat2() with RESOLVE_NO_XDEV from its mount
 * point. EXDEV says that a mount point, a ".." or a symlink leads off this mount. The path is then walked component by
 * component up to the one that does, and what is left is the next leg. The kernel is always asked to follow a symlink
 * before it is read and followed here, so that its refusals (magic links, protected symlinks, nosymfollow) stand.
 *
 * The start of a leg is opened by its whole name, without symlinks. That passes through the directories above it, and
 * so through other mounts; a storage that lies below one that hangs hangs with it.
 */

/* As the kernel's MAXSYMLINKS. */
#define MAX_LINKS 40
#define MAX_PATH 4096

GlLeg *gl_leg_new(const char *path, gsize base) {
        GlLeg *leg = g_new0(GlLeg, 1);

        leg->path = gl_path_tidy(path);
        leg->base = base;
        return leg;
}

void gl_leg_free(GlLeg *leg) {
        if (!leg)
                return;
        g_free(leg->path);
        g_free(leg->storage);
        g_free(leg);
}

char *gl_path_of_fd(int fd) {
        g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", fd);
        char path[MAX_PATH + 1];
        ssize_t n = readlink(link, path, sizeof path - 1);

        return n < 0 ? NULL : g_strndup(path, n);
}

static int open_at(int directory, const char *path, int flags, guint64 resolve) {
        struct open_how how = {.flags = O_PATH | O_CLOEXEC | flags, .resolve = RESOLVE_NO_MAGICLINKS | resolve};

        return (int) syscall(SYS_openat2, directory, path, &how, sizeof how);
}

/* The leg that goes on at DIRECTORY/COMPONENT, which is a mount point or, for "..", above the root of this mount. */
static int leave(int directory, const char *component, const char *rest, GlLeg **next) {
        g_autofree char *here = gl_path_of_fd(directory), *start = NULL, *path = NULL;

        if (!here || here[0] != '/')
                return here ? -ESTALE : -errno;
        start = g_str_equal(component, "..") ? g_path_get_dirname(here) : g_build_filename(here, component, NULL);
        path = g_strconcat(start, "/", rest, NULL);
        *next = gl_leg_new(rest[0] ? path : start, strlen(start));
        return 0;
}

/* What the symlink COMPONENT in DIRECTORY says, or NULL with errno; EXDEV if it is a mount point. */
static char *read_symlink(int directory, const char *component) {
        char target[MAX_PATH];
        int fd = open_at(directory, component, O_NOFOLLOW, RESOLVE_NO_XDEV), saved_errno;
        ssize_t n;

        if (fd < 0)
                return NULL;
        n = readlinkat(fd, "", target, sizeof target);
        /* EINVAL: it is not a symlink any more. */
        saved_errno = n == 0 ? ENOENT : n > 0 ? ENAMETOOLONG : errno == EINVAL ? ESTALE : errno;
        close(fd);
        if (n <= 0 || n == sizeof target) {
                errno = saved_errno;
                return NULL;
        }
        return g_strndup(target, n);
}

/*
 * One component that the kernel would leave the mount for. REST, what comes after it, is replaced by a relative
 * symlink's text and itself; all else is *next, or a negative errno.
 */
static int step_off(int directory, const char *component, char **rest, GlLeg **next) {
        g_autofree char *target = NULL, *together = NULL;

        if (g_str_equal(component, ".."))
                return leave(directory, component, *rest, next);
        target = read_symlink(directory, component);
        if (!target)
                return errno == EXDEV ? leave(directory, component, *rest, next) : -errno;
        together = (*rest)[0] ? g_strconcat(target, "/", *rest, NULL) : g_strdup(target);
        if (strlen(together) > MAX_PATH)
                return -ENAMETOOLONG;
        if (target[0] == '/')
                *next = gl_leg_new(together, 0);
        g_free(*rest);
        *rest = g_steal_pointer(&together);
        return 0;
}

/* Splits the first component off REST; a slash that follows it stays. */
static char *take_component(char **rest) {
        gsize start = strspn(*rest, "/"), length = strcspn(*rest + start, "/");
        char *component = g_strndup(*rest + start, length);
        char *left = g_strdup(*rest + start + length);

        g_free(*rest);
        *rest = left;
        return component;
}

/* From DIRECTORY (consumed) along REST, one component at a time. */
static int walk_slowly(int directory, const char *path, int *fd, GlLeg **next) {
        g_autofree char *rest = g_strdup(path);
        guint n_steps = 0;

        while (rest[strspn(rest, "/")]) {
                g_autofree char *component = take_component(&rest);
                int r = open_at(directory, component, 0, RESOLVE_NO_XDEV);

                if (r >= 0) {
                        close(directory);
                        directory = r;
                        continue;
                }
                if (errno != EXDEV)
                        r = -errno;
                else if (++n_steps > MAX_LINKS) /* the kernel counts as well, but not links that change meanwhile */
                        r = -ELOOP;
                else
                        r = step_off(directory, component, &rest, next);
                if (r < 0 || *next) {
                        close(directory);
                        return r;
                }
        }
        *fd = directory;
        return 0;
}

int gl_leg_walk(const GlLeg *leg, int *fd, GlLeg **next) {
        g_autofree char *base = g_strndup(leg->path, leg->base);
        const char *rest = leg->path + leg->base;
        /* The slash also has an automount mounted, which only looking at the directory itself would not. */
        int directory = open_at(AT_FDCWD, base, rest[0] ? O_DIRECTORY : 0, RESOLVE_NO_SYMLINKS), found;

        *fd = -1;
        *next = NULL;
        if (directory < 0)
                return -errno;
        rest += strspn(rest, "/");
        if (!rest[0]) {
                *fd = directory;
                return 0;
        }
        found = open_at(directory, rest, 0, RESOLVE_NO_XDEV);
        if (found < 0 && errno == EXDEV)
                return walk_slowly(directory, rest, fd, next);
        *fd = found;
        found = found < 0 ? -errno : 0;
        close(directory);
        return found;
}
