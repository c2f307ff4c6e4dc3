/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <sys/types.h>

/*
 * A caller's file-system credentials, as the bus told them (never read from /proc, which
 * a caller can change). Reference counted, immutable.
 */
typedef struct {
        uid_t uid;
        gid_t gid; /* the first of the groups */
        guint n_groups;
        gid_t groups[];
} GlCredentials;

GlCredentials *gl_credentials_new(uid_t uid, const gid_t *groups, guint n_groups);
GlCredentials *gl_credentials_ref(GlCredentials *credentials);
void gl_credentials_unref(GlCredentials *credentials);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlCredentials, gl_credentials_unref)

/*
 * Makes the calling thread see files as CREDENTIALS' user does: raw SYS_setgroups, setfsgid,
 * setfsuid (raw, because the C library would change every thread), each read back, and the
 * capabilities that override file permissions checked to be gone. A thread that has neither
 * its own identity nor the wanted one must not go on: on any mismatch the process aborts.
 * Only on a worker's thread. A no-op for uid 0. NULL is uid 0.
 */
void gl_credentials_assume(const GlCredentials *credentials);
/* Back to root, with the same severity. */
void gl_credentials_drop(void);
