/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Looking after the locks while the service is not there: the same questions as the service's own check asks. Which
 * locks a description has, its fdinfo says, and of nobody else's; who has it instead is asked with F_OFD_GETLK through
 * the same description, which never takes anything.
 */

#include "supervisor/locks.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "drivers/file-locks.h"

GlHeldLock *gl_held_lock_new(const char *type, const char *name, GlMode mode, int fd) {
        GlHeldLock *lock = g_new0(GlHeldLock, 1);

        *lock = (GlHeldLock){g_strdup(type), g_strdup(name), mode, fd, 0};
        return lock;
}

void gl_held_lock_free(gpointer data) {
        GlHeldLock *lock = data;

        close(lock->fd);
        g_free(lock->type);
        g_free(lock->name);
        g_free(lock);
}

GlHeldLock *gl_held_locks_find(GPtrArray *locks, const char *type, const char *name) {
        for (guint i = 0; i < locks->len; i++) {
                GlHeldLock *lock = g_ptr_array_index(locks, i);

                if (g_str_equal(lock->type, type) && g_str_equal(lock->name, name))
                        return lock;
        }
        return NULL;
}

/* "lock:\t1: OFDLCK  ADVISORY  WRITE -1 00:2a:1234 0 0", and "EOF" for the last byte. */
static gboolean line_has_lock(const char *line, guint64 byte, gboolean write) {
        char kind[16], how[16], last_word[24];
        guint64 first, last;

        if (sscanf(line, "lock:\t%*d: %15s %*s %15s %*d %*s %" G_GUINT64_FORMAT " %23s", kind, how, &first,
                   last_word) != 4 ||
            !g_str_equal(kind, "OFDLCK"))
                return FALSE;
        if (g_str_equal(last_word, "EOF"))
                last = G_MAXUINT64;
        else if (!g_ascii_string_to_unsigned(last_word, 10, 0, G_MAXUINT64, &last, NULL))
                return FALSE;
        return first <= byte && byte <= last && (!write || g_str_equal(how, "WRITE"));
}

gboolean gl_fdinfo_has_lock(const char *text, guint64 byte, gboolean write) {
        for (const char *line = text; line && *line; line = strchr(line, '\n')) {
                if (*line == '\n')
                        line++;
                if (line_has_lock(line, byte, write))
                        return TRUE;
        }
        return FALSE;
}

static GlLockFinding look_for_another(const GlHeldLock *lock) {
        struct flock look = {.l_type = lock->mode == GL_MODE_EXCLUSIVE ? F_WRLCK : F_RDLCK,
                             .l_whence = SEEK_SET,
                             .l_start = GL_BYTE_OWNER,
                             .l_len = 1};

        if (fcntl(lock->fd, F_OFD_GETLK, &look) < 0)
                return GL_LOCK_UNKNOWN;
        return look.l_type == F_UNLCK ? GL_LOCK_GONE : GL_LOCK_TAKEN;
}

GlLockFinding gl_held_lock_check(const GlHeldLock *lock) {
        g_autofree char *path = g_strdup_printf("/proc/self/fdinfo/%d", lock->fd);
        g_autofree char *text = NULL;

        /* Which byte of its file a lease is, is not known here. */
        if (!g_str_equal(lock->type, "disk") || !g_file_get_contents(path, &text, NULL, NULL))
                return GL_LOCK_UNKNOWN;
        if (gl_fdinfo_has_lock(text, GL_BYTE_OWNER, lock->mode == GL_MODE_EXCLUSIVE))
                return GL_LOCK_HELD;
        return look_for_another(lock);
}
