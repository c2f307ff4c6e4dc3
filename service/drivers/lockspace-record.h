/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/job.h"

/*
 * What stands beside the lock file of a name in a lockspace directory, in <name>.guestlock: who was granted it last,
 * for people who ask, and the generations, which fence hosts that share nothing but this directory. A key file of
 * plain ASCII with one group:
 *
 *     [lease]   version, generation-exclusive, generation-shared, mode, since, pid, host-number,
 *               guest-uuid, guest-name, host-id, host-name, path
 *
 * That somebody holds the lease now is said by the locks alone.
 */

#define GL_LOCKSPACE_RECORD_VERSION   1
#define GL_LOCKSPACE_RECORD_MAX_BYTES (64 * 1024)

typedef struct {
        GlRecorded generations;
        GlMode mode;
        gint64 since; /* µs, CLOCK_REALTIME */
        guint32 pid;  /* 0: none */
        guint32 host_number;
        char *guest_uuid; /* (owned) this and the names are UTF-8 */
        char *guest_name; /* (owned) */
        char *host_id;    /* (owned) */
        char *host_name;  /* (owned) */
        char *path;       /* (owned) as the guest registered it */
} GlLockspaceRecord;

char *gl_lockspace_record_write(const GlLockspaceRecord *record, gsize *length);

/* Fails with GL_ERROR_STORAGE_UNAVAILABLE and a reason (no whole sentence) for what the function above does not write. */
GlLockspaceRecord *gl_lockspace_record_read(const char *data, gsize length, GError **error);

void gl_lockspace_record_free(GlLockspaceRecord *record);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlLockspaceRecord, gl_lockspace_record_free)
