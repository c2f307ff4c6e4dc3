/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "bus/authority.h"
#include "core/core.h"
#include "storage/workers.h"

/*
 * org.guestlock1 on a bus: the Manager, the Guest objects and the ObjectManager. Turns calls into requests to the core,
 * and the core's changes into signals and replies.
 */

typedef struct GlBus GlBus;

typedef struct {
        sd_event *event;
        GlCore *core;           /* (borrowed) */
        GlWorkers *workers;     /* (borrowed) */
        GlAuthority *authority; /* (borrowed) */
        const GlLimits *limits; /* (borrowed) */
        guint max_calls_per_uid; /* that are not answered yet; more are refused */
        const char *version;
        const char *host_id;
        const char *host_name;
        const char *default_driver;
        const char *supervisor; /* the program guestlock-supervisor */
        gboolean (*load_driver)(const char *name, gpointer user_data, GError **error);
        gboolean (*unload_driver)(const char *name, gpointer user_data, GError **error);
        /* The descriptor (borrowed) that carries the lock of RESOURCE, which is held; -1: none. */
        int (*lock_fd)(const GlResource *resource, gpointer user_data);
        /* Has the changes of the core carried out and announced; called after every call into it. */
        void (*pump)(gpointer user_data);
        gpointer user_data;
} GlBusParts;

/* Puts the objects on CONNECTION; does not ask for the name. */
GlBus *gl_bus_new(sd_bus *connection, const GlBusParts *parts, GError **error);
void gl_bus_free(GlBus *bus);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlBus, gl_bus_free)

/* For tests over a socket pair: see gl_callers_pretend(). */
void gl_bus_pretend_caller(GlBus *bus, guint32 uid);

/* Announces CHANGE, or answers with it. Changes of other kinds are not the bus's and are left alone. */
void gl_bus_announce(GlBus *bus, const GlChange *change);

/* Now, in the two clocks of a GlRequest. */
gint64 gl_now(void);
gint64 gl_realtime(void);
