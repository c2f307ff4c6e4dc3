/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

/* What a driver can do: NULL-terminated lists of these words, as ListDrivers has them. */

#define GL_CAPABILITY_DISK       "disk"       /* leases resources of this type, */
#define GL_CAPABILITY_LEASE      "lease"      /* or of this */
#define GL_CAPABILITY_GUEST_ONLY "guest-only" /* leases the guest alone, and nothing else: its resources are ignored */
#define GL_CAPABILITY_HOTPLUG    "hotplug"    /* one resource of a guest that holds its leases; raising and lowering */
#define GL_CAPABILITY_MIGRATE    "migrate"
#define GL_CAPABILITY_SHARED     "shared"   /* these modes, besides exclusive */
#define GL_CAPABILITY_READONLY   "readonly"
#define GL_CAPABILITY_INHERIT    "inherit"
#define GL_CAPABILITY_FENCED     "fenced"   /* its leases can have this scope */

gboolean gl_capabilities_include(const char *const *capabilities, const char *capability);
/* What is wrong with the list, in words (static), NULL: nothing. CAPABILITIES may be NULL, which is wrong. */
const char *gl_capabilities_find_fault(const char *const *capabilities);
