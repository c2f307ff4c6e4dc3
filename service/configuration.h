/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/quotas.h"
#include "core/types.h"

/* What an administrator has set. Every key and its range stands in policy/guestlockd.conf and the manual. */
typedef struct {
        char *default_driver; /* (owned) */
        GlLossAction on_lease_lost;
        GlScope require_scope;
        char *host_name; /* (owned) (nullable) NULL: the host's own */
        char *lockspace_directory; /* (owned) (nullable) these are absolute */
        char *lvm_lockspace_directory; /* (owned) (nullable) */
        char *scsi_lockspace_directory; /* (owned) (nullable) */
        guint64 check_interval; /* µs */
        GlLimits limits;
        guint max_calls_per_uid; /* not answered yet */
        guint max_dialogs_per_uid;
        guint max_stuck_per_uid;
        guint max_worker_threads;
        guint max_worker_threads_per_uid;
        GPtrArray *files; /* (owned) of char*: what was read, in this order */
} GlConfiguration;

/*
 * Reads PATH and then the files *.conf in the directory conf.d beside it, in the order of their names; later
 * ones win key by key. PATH NULL is the default one, which may be absent; the defaults hold then. Fails with
 * GL_ERROR_INVALID_ARGS and a sentence that names file, group and key.
 */
GlConfiguration *gl_configuration_load(const char *path, GError **error);
void gl_configuration_free(GlConfiguration *configuration);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlConfiguration, gl_configuration_free)
