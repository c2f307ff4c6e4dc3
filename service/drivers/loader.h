/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "drivers/plugin.h"

/* Drivers from files: see plugin.h for what is in one. */

typedef struct {
        GlDriver *driver; /* (owned) */
        void *module;     /* (owned) */
        int fd;           /* (owned) of the file: the module is known to the dynamic linker by its number */
} GlLoadedDriver;

/*
 * Loads NAME.so of DIRECTORY and makes its driver. The directory and all above it have to be root's and closed to
 * everybody else's writing, the file too; what is loaded is what was looked at. GL_ERROR_NO_SUCH_DRIVER when there is
 * no such file, GL_ERROR_DRIVER_FAILED for whatever else keeps it from being used.
 */
GlLoadedDriver *gl_loaded_driver_new(const char *directory, const char *name, const GlPluginHost *host, GError **error);

/* Ends the driver, of which no job is out, and takes its code out of the process. */
void gl_loaded_driver_unload(GlLoadedDriver *loaded);

/*
 * Ends the driver and leaves its code where it is: at the end of the service, when a thread that hangs in it may come
 * back before the process is gone.
 */
void gl_loaded_driver_leave(GlLoadedDriver *loaded);

/* Everything that can be told without loading it; the same errors. */
gboolean gl_loaded_driver_check(const char *directory, const char *name, GError **error);
