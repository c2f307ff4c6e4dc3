/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <sys/types.h>

/*
 * What the kernel says of a block device in /sys. Its directory is opened once, and everything is read below that: a
 * device that goes away meanwhile does not turn into another one of its number.
 */
typedef struct {
        int fd;       /* O_PATH, of the directory */
        char *name;   /* (owned) "sda1" */
        dev_t number;
} GlDevice;

/* SYSROOT (nullable) is where /sys is looked for. FALSE with errno. */
gboolean gl_device_open(const char *sysroot, dev_t number, GlDevice *device);
void gl_device_close(GlDevice *device);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(GlDevice, gl_device_close)

/* The text of an attribute, without white space around it; NULL with errno. */
char *gl_device_read(const GlDevice *device, const char *attribute);
/* A number of an attribute; FALSE with errno. */
gboolean gl_device_read_number(const GlDevice *device, const char *attribute, guint64 *number);
/* The number of the device that the attribute (as "slaves/sda/dev") names. */
gboolean gl_device_read_device(const GlDevice *device, const char *attribute, dev_t *number);
/* What is in the directory of that name, sorted; NULL with errno. */
GPtrArray *gl_device_list(const GlDevice *device, const char *directory);
