/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/core.h"
#include "drivers/loader.h"

/* The drivers that the service has: those that are built in, and those that were loaded. The core is told of each. */

typedef struct GlDriverSet GlDriverSet;

/* CORE is borrowed. DIRECTORY is where drivers are loaded from: NULL, and none can be. */
GlDriverSet *gl_driver_set_new(GlCore *core, const char *directory);
/* Ends the drivers, and takes no code out of the process: a thread that hangs in it may still come back. */
void gl_driver_set_free(GlDriverSet *set);

/* One that is built in. DRIVER is owned by the set from now on. */
void gl_driver_set_add(GlDriverSet *set, GlDriver *driver);
/* (nullable) */
GlDriver *gl_driver_set_find(GlDriverSet *set, const char *name);
/* As gl_service_load_driver() and gl_service_unload_driver(). */
gboolean gl_driver_set_load(GlDriverSet *set, const char *name, const GlPluginHost *host, GError **error);
gboolean gl_driver_set_unload(GlDriverSet *set, const char *name, GError **error);
