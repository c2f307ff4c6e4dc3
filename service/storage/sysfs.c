/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage/sysfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "storage/mounts.h"

/*
 * Read directly and not through sd-device: that looks below /sys and nowhere else, so a made-up one could not be tried,
 * and it reads several files for each attribute that is asked for.
 */

#define LONGEST_ATTRIBUTE 4096

gboolean gl_device_open(const char *sysroot, dev_t number, GlDevice *device) {
        g_autofree char *path =
                g_strdup_printf("%s/sys/dev/block/%u:%u", sysroot ?: "", major(number), minor(number));
        char link[LONGEST_ATTRIBUTE];
        ssize_t n;
        int fd;

        n = readlink(path, link, sizeof link);
        if (n < 0)
                return FALSE;
        fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return FALSE;
        g_autofree char *target = g_strndup(link, n);
        *device = (GlDevice){.fd = fd, .name = g_path_get_basename(target), .number = number};
        return TRUE;
}

void gl_device_close(GlDevice *device) {
        if (!device->name)
                return;
        close(device->fd);
        g_clear_pointer(&device->name, g_free);
}

char *gl_device_read(const GlDevice *device, const char *attribute) {
        char text[LONGEST_ATTRIBUTE];
        int fd = openat(device->fd, attribute, O_RDONLY | O_CLOEXEC | O_NOCTTY), saved_errno;
        ssize_t n;

        if (fd < 0)
                return NULL;
        n = TEMP_FAILURE_RETRY(read(fd, text, sizeof text));
        saved_errno = errno;
        close(fd);
        errno = saved_errno;
        return n < 0 ? NULL : g_strstrip(g_strndup(text, n));
}

gboolean gl_device_read_number(const GlDevice *device, const char *attribute, guint64 *number) {
        g_autofree char *text = gl_device_read(device, attribute);

        if (!text)
                return FALSE;
        if (!g_ascii_string_to_unsigned(text, 10, 0, G_MAXUINT64, number, NULL)) {
                errno = EBADMSG;
                return FALSE;
        }
        return TRUE;
}

gboolean gl_device_read_device(const GlDevice *device, const char *attribute, dev_t *number) {
        g_autofree char *text = gl_device_read(device, attribute);

        if (!text)
                return FALSE;
        if (!gl_device_parse(text, number)) {
                errno = EBADMSG;
                return FALSE;
        }
        return TRUE;
}

static int compare_names(gconstpointer a, gconstpointer b) {
        return strcmp(*(const char *const *) a, *(const char *const *) b);
}

GPtrArray *gl_device_list(const GlDevice *device, const char *directory) {
        int fd = openat(device->fd, directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *entry;
        GPtrArray *names;

        if (!dir)
                return NULL;
        names = g_ptr_array_new_with_free_func(g_free);
        while ((entry = readdir(dir)))
                if (entry->d_name[0] != '.')
                        g_ptr_array_add(names, g_strdup(entry->d_name));
        closedir(dir);
        g_ptr_array_sort(names, compare_names);
        return names;
}
