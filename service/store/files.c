/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the service believes at its start is what these directories say, so they are looked at before they are
 * believed: whoever could write there could make up guests and leases, or have root open files.
 */

#include "store/files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "core/obstacle.h"

static gboolean fail(GError **error, const char *path, const char *what) {
        g_autofree char *quoted = gl_quote(path);

        g_set_error(error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE, "The directory %s %s.", quoted, what);
        return FALSE;
}

static gboolean fail_errno(GError **error, const char *path, const char *what, int saved_errno) {
        g_autofree char *text = g_strdup_printf("%s: %s", what, g_strerror(saved_errno));

        return fail(error, path, text);
}

static gboolean check_owner(int fd, const char *path, gboolean may_be_roots, struct stat *st, GError **error) {
        g_autofree char *owner = NULL;

        if (fstat(fd, st) < 0)
                return fail_errno(error, path, "cannot be looked at", errno);
        if (st->st_uid != geteuid() && !(may_be_roots && st->st_uid == 0)) {
                owner = g_strdup_printf("belongs to uid %u instead of %u; remove it, or give it to uid %u", st->st_uid,
                                        geteuid(), geteuid());
                return fail(error, path, owner);
        }
        if (st->st_mode & (S_IWGRP | S_IWOTH))
                return fail(error, path, "can be written to by others, who may have put anything there; remove it");
        return TRUE;
}

/* No user may say by a symbolic link of his (in /tmp, say) which directory of root's it is to be. */
static gboolean check_links(const char *path, GError **error) {
        g_autofree char *prefix = g_strdup(path);
        g_autofree char *what = NULL;
        struct stat st;

        for (gsize end = strlen(path); end > 0; end = (gsize) (strrchr(prefix, '/') - prefix)) {
                prefix[end] = '\0';
                if (lstat(prefix, &st) == 0 && S_ISLNK(st.st_mode) && st.st_uid != geteuid() && st.st_uid != 0) {
                        what = g_strdup_printf("is reached by a symbolic link of uid %u; remove that, or choose "
                                               "another place",
                                               st.st_uid);
                        return fail(error, path, what);
                }
                if (!strchr(prefix, '/'))
                        break;
        }
        return TRUE;
}

int gl_directory_open(const char *path, GError **error) {
        struct stat st;
        int fd;

        if (!check_links(path, error))
                return -1;
        if (g_mkdir_with_parents(path, 0700) < 0) {
                fail_errno(error, path, "cannot be made", errno);
                return -1;
        }
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0) {
                fail_errno(error, path, "cannot be opened", errno);
                return -1;
        }
        if (!check_owner(fd, path, TRUE, &st, error)) {
                close(fd);
                return -1;
        }
        return fd;
}

static gboolean make_private(int fd, const char *path, GError **error) {
        struct stat st;

        if (!check_owner(fd, path, FALSE, &st, error))
                return FALSE;
        if ((st.st_mode & 07777) != 0700 && fchmod(fd, 0700) < 0)
                return fail_errno(error, path, "cannot be made private", errno);
        return TRUE;
}

int gl_directory_open_private(int parent, const char *parent_path, const char *name, GError **error) {
        g_autofree char *path = g_build_filename(parent_path, name, NULL);
        int fd;

        if (mkdirat(parent, name, 0700) < 0 && errno != EEXIST) {
                fail_errno(error, path, "cannot be made", errno);
                return -1;
        }
        fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0) {
                /* With both flags the kernel says ENOTDIR for a symbolic link as well. */
                fail_errno(error, path, "cannot be opened (it has to be a directory, and no symbolic link)", errno);
                return -1;
        }
        if (!make_private(fd, path, error)) {
                close(fd);
                return -1;
        }
        return fd;
}

gsize gl_write_all(int fd, const char *data, gsize length) {
        gsize done = 0;

        while (done < length) {
                ssize_t n = write(fd, data + done, length - done);

                if (n < 0 && errno != EINTR)
                        break;
                if (n > 0)
                        done += (gsize) n;
        }
        return done;
}
