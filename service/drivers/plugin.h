/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-event.h>

#include "core/capabilities.h"
#include "core/error.h"
#include "core/obstacle.h"
#include "drivers/driver.h"
#include "storage/source.h"
#include "storage/workers.h"

/*
 * A driver in a file of its own: NAME.so in the directory of drivers, with one symbol, the data `guestlock_driver`.
 *
 *     const GlPlugin guestlock_driver = {GL_PLUGIN_HEADER, .ops = &ops, .make = make};
 *
 * What it uses of the service it finds in guestlockd itself, which exports what `plugin_symbols` in meson.build lists
 * and nothing else; libc, GLib and libsystemd it links by itself. No copy of the core goes into a plugin: what is done
 * to a structure is what this very service does to it, there is one set of worker threads, and nothing that outlives
 * the plugin (the name of an error's domain, say) lies in its memory. A function that is not in the list does not
 * resolve, and the plugin is refused before it does anything; so the list and the structures below are the ABI. It
 * holds within one release: plugins are built with the service.
 *
 * A plugin's code must be over when its driver's free() returns, as it is unmapped then: threads, event sources and
 * work of its own end there (no job is out any more), and it registers nothing that lasts, such as a GType, a GQuark of
 * a static string, or an atexit().
 */

/* Another number for each change of what a plugin and the service have in common. */
#define GL_PLUGIN_ABI 3

/* What a plugin gets from the service; borrowed, and there as long as the driver is. */
typedef struct {
        sd_event *event;
        GlWorkers *workers; /* for what may block, each on the thread of its storage; not any more in free() */
        const char *host_id;
        const char *host_name;
        const char *sysroot; /* (nullable) */
} GlPluginHost;

/* Catches the change that forgot the number. */
#define GL_PLUGIN_LAYOUT                                                                                               \
        (guint32)(sizeof(GlPluginHost) + 3 * sizeof(GlDriverOps) + 5 * sizeof(GlJob) + 7 * sizeof(GlTarget) +          \
                  11 * sizeof(GlObstacle) + 13 * sizeof(GlPlace) + 17 * sizeof(GlSource) + 19 * GL_N_ERRORS)

typedef struct {
        /* The first two never move: they say whether the rest can be read. */
        guint32 abi;
        guint32 size;
        guint32 layout;
        /* `name` is the file's; `capabilities` are known words that do not contradict each other. */
        const GlDriverOps *ops;
        /* A driver with these OPS, or NULL and ERROR: a sentence that says what is missing. */
        GlDriver *(*make)(const GlPluginHost *host, GError **error);
} GlPlugin;

#define GL_PLUGIN_HEADER .abi = GL_PLUGIN_ABI, .size = sizeof(GlPlugin), .layout = GL_PLUGIN_LAYOUT
#define GL_PLUGIN_SYMBOL "guestlock_driver"

extern const GlPlugin guestlock_driver __attribute__((visibility("default")));
