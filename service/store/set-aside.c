/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/set-aside.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/quoted.h"
#include "process/process.h"
#include "store/state-file.h"

/*
 * A guest whose state cannot be read may still run and write, and what its locks are is not known. So whatever is kept
 * and is no known guest's stays kept for as long as it may be such a guest's: until its file tells enough to see that
 * its processes are gone, or a person who has seen to it removes the file.
 *
 * Of a file that was cut off the first two groups are believed if they are whole, and of one of another version nothing
 * but what it calls this boot, which stands where it always will.
 */

#define MAX_BYTES 65536 /* what the first two groups have at most, and then some */

/* The text up to the group after [guest]; NULL: that is not there. */
static char *first_groups(const char *text, gsize length) {
        g_autofree char *copy = g_strndup(text, length);
        char *guest = strstr(copy, "\n[guest]\n"), *next = guest ? strstr(guest + 1, "\n[") : NULL;

        if (!next)
                return NULL;
        next[1] = '\0';
        return g_steal_pointer(&copy);
}

static gboolean is_of_another_boot(GKeyFile *file, const char *boot_id) {
        g_autofree char *value = g_key_file_get_value(file, "guestlock", "boot-id", NULL);
        g_autofree char *said = value ? gl_quoted_read(value) : NULL;

        return said && strlen(said) == strlen(boot_id) && !g_str_equal(said, boot_id);
}

/* One that it never had has ended, too; but one of the two has to have been there. */
static gboolean process_has_ended(GKeyFile *file, const char *pid_key, const char *start_time_key, const char *boot_id,
                                  guint *n) {
        guint64 pid = g_key_file_get_uint64(file, "guest", pid_key, NULL);
        guint64 start_time = g_key_file_get_uint64(file, "guest", start_time_key, NULL);
        g_autoptr(GlProcess) process = NULL;
        g_autoptr(GError) error = NULL;

        if (!g_key_file_has_key(file, "guest", pid_key, NULL) ||
            !g_key_file_has_key(file, "guest", start_time_key, NULL))
                return FALSE;
        if (pid == 0)
                return TRUE;
        ++*n;
        process = pid <= G_MAXINT32 ? gl_process_find((guint32) pid, start_time, boot_id, &error) : NULL;
        return !process && !error;
}

gboolean gl_set_aside_has_ended(const char *text, gsize length, const char *boot_id) {
        g_autofree char *groups = first_groups(text, length);
        g_autoptr(GKeyFile) file = g_key_file_new();
        guint n = 0;

        if (!groups || !g_key_file_load_from_data(file, groups, strlen(groups), G_KEY_FILE_NONE, NULL))
                return FALSE;
        if (is_of_another_boot(file, boot_id))
                return TRUE;
        return g_key_file_get_uint64(file, "guestlock", "version", NULL) == GL_STATE_FILE_VERSION &&
               process_has_ended(file, "pid", "start-time", boot_id, &n) &&
               process_has_ended(file, "supervisor-pid", "supervisor-start-time", boot_id, &n) && n > 0;
}

static gboolean file_has_ended(int directory, const char *name, const char *boot_id) {
        int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        g_autofree char *text = g_malloc(MAX_BYTES);
        ssize_t n = fd < 0 ? -1 : read(fd, text, MAX_BYTES);

        if (fd >= 0)
                close(fd);
        return n > 0 && gl_set_aside_has_ended(text, (gsize) n, boot_id);
}

guint gl_set_aside_count(int directory, const char *boot_id) {
        int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *entries = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *entry;
        guint n = 0;

        if (!entries) {
                if (fd >= 0)
                        close(fd);
                return 1;
        }
        while ((entry = readdir(entries)))
                if (!g_str_equal(entry->d_name, ".") && !g_str_equal(entry->d_name, "..") &&
                    !file_has_ended(directory, entry->d_name, boot_id))
                        n++;
        closedir(entries);
        return n;
}
