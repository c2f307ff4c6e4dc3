/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "manager.h"

/* What manager.c and manager-watch.c share. */
struct _GuestlockManager {
        GObject parent_instance;
        GDBusConnection *connection; /* (owned) (nullable) */
        gulong closed;
        guint from_service, from_bus; /* subscriptions */
        char *owner;                  /* (owned) (nullable) who is the service, by its unique name */
        GHashTable *guests;           /* (owned) from path to GuestlockGuest (borrowed) */
        char *version, *host_id, *host_name, *default_driver; /* (owned) (nullable) */
        gboolean beginning, running, interactive;
};

/* The operation begins with asking what the service is. */
typedef struct GlOperation GlOperation;
void gl_manager_add_learning(GlOperation *op);

void gl_manager_set_running(GuestlockManager *self, gboolean running);
void gl_manager_drop_connection(GuestlockManager *self);
