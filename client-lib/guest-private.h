/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "guest.h"

/* What guest.c and guest-properties.c share. */
enum {
        PROP_UUID = 1,
        PROP_OWNER_UID,
        PROP_ORIGIN,
        PROP_DRIVER,
        PROP_NAME,
        PROP_ID,
        PROP_STATE,
        PROP_WAITING,
        PROP_PID,
        PROP_SUPERVISOR_PID,
        PROP_ON_LEASE_LOST,
        PROP_GENERATION,
        PROP_ACQUIRED_AT,
        /* From here on not from the service. */
        PROP_MANAGER,
        PROP_OBJECT_PATH,
        N_PROPS
};

struct _GuestlockGuest {
        GObject parent_instance;
        GuestlockManager *manager;          /* (owned) */
        char *path;                         /* (owned) */
        GVariant *values[PROP_MANAGER - 1]; /* (owned) (nullable) */
        gboolean unknown, gone;
};

void gl_guest_install_properties(GObjectClass *class);

/* What the service calls a property below PROP_MANAGER, and its type. */
const char *gl_guest_property_name(guint prop);
const GVariantType *gl_guest_property_type(guint prop);

void gl_guest_notify(GuestlockGuest *self, guint prop);
