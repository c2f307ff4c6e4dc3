/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/core.h"
#include "storage/source.h"

/*
 * What has to outlive the service: one file per guest in the runtime directory
 * (RUNTIME_DIR/guests/<uuid>[_u<uid>]), written aside and renamed; and generations in the state
 * directory, which outlive a reboot too.
 *
 * The format is a key file with a version. A file that is damaged, truncated, of another
 * version or of another boot is set aside (renamed into RUNTIME_DIR/set-aside/) and reported; the rest is read.
 */

typedef struct GlStore GlStore;

/* Makes the directories, 0700. */
GlStore *gl_store_new(const char *runtime_dir, const char *state_dir, const char *boot_id, GError **error);
void gl_store_free(GlStore *store);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlStore, gl_store_free)

/* For GlCoreHooks. A resource's source is a GlSource. */
gboolean gl_store_save(GlStore *store, const GlGuest *guest, GError **error);
void gl_store_forget(GlStore *store, const GlGuest *guest);
void gl_store_record_generation(GlStore *store, const GlNode *node, GlMode mode, guint64 generation);

/*
 * One guest as it was saved. Its processes have pid and start time and no handle: whoever adopts it
 * finds them with gl_process_find(). Its resources have no place and no source, but what is needed to resolve
 * them again: `saved`, in the order of record->resources.
 */
typedef struct {
        char *path; /* NULL for one that was registered by a descriptor */
        char *canonical;
        GlNode node;
        GlExtent extent;
        GArray *below;  /* of GlAncestor: what that sat on */
        dev_t device;   /* of a block device its number, else 0 */
        GlExtent asked; /* which part of what was opened is meant: of a file the same as `extent` */
        gint64 birth;
        GlCredentials *registrant;
} GlSavedSource;

typedef struct {
        GlGuest *record;       /* (owned) */
        GPtrArray *saved;      /* (owned) of GlSavedSource */
} GlSavedGuest;

void gl_saved_guest_free(GlSavedGuest *saved);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlSavedGuest, gl_saved_guest_free)

/*
 * All that can be read, of GlSavedGuest; what cannot is set aside, and a sentence about each goes to PROBLEMS
 * (of char*, nullable).
 */
GPtrArray *gl_store_load(GlStore *store, GPtrArray *problems);

/*
 * After that: of how many guests the state could not be read, this time or before, and whether they have ended is not
 * certain.
 */
guint gl_store_count_unknown(GlStore *store);

/* Tells CORE the generations that were recorded. */
void gl_store_load_generations(GlStore *store, GlCore *core);
