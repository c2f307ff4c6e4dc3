/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drivers/file-keep.h"

#include <errno.h>
#include <sys/random.h>
#include <unistd.h>

/*
 * One key for a lease, drawn at random when it is taken and written down with it. The tags say which descriptor is
 * which: the image's, the claim's, and then those of the lock files in the order of their names; and while a mode is
 * changed that of the description to which the locks are moved.
 *
 * What cannot be kept is held all the same, by the service alone; whoever looks at the lease sees it.
 */

enum {
        TAG_IMAGE,
        TAG_CLAIM,
        TAG_ENTRY, /* and on */
        TAG_NEXT = 255,
};

#define MAX_FDS 16

static guint gather(const GlFileLease *lease, int fds[MAX_FDS], guint8 tags[MAX_FDS]) {
        guint n = 0;

        fds[n] = lease->fd;
        tags[n++] = TAG_IMAGE;
        if (lease->claim >= 0) {
                fds[n] = lease->claim;
                tags[n++] = TAG_CLAIM;
        }
        if (lease->next >= 0) {
                fds[n] = lease->next;
                tags[n++] = TAG_NEXT;
        }
        for (guint i = 0; lease->entries && i < lease->entries->len && n < MAX_FDS; i++) {
                const GlLockspaceEntry *entry = g_ptr_array_index(lease->entries, i);

                if (entry->fd < 0)
                        continue;
                fds[n] = entry->fd;
                tags[n++] = (guint8) (TAG_ENTRY + i);
        }
        return n;
}

/* --- keeping --- */

static guint64 draw_key(void) {
        guint64 key = 0;

        while (key == 0)
                if (getrandom(&key, sizeof key, 0) != sizeof key)
                        key = ((guint64) g_random_int() << 32) | g_random_int();
        return key;
}

/* Of a lease; the run waits for all of its own. */
typedef struct {
        GlRun *run;
        GlTarget *target; /* (nullable) */
        void (*next)(GlRun *run);
} Keep;

static void one_done(GlRun *run, void (*next)(GlRun *run)) {
        if (--run->n_pending == 0)
                next(run);
}

static void kept(gboolean is_kept, gpointer user_data) {
        Keep keep = *(Keep *) user_data;

        g_free(user_data);
        /* Whose life bounds the lease keeps it best. */
        if (keep.target->kept_by != GL_KEPT_BY_HOLDER)
                keep.target->kept_by = is_kept ? GL_KEPT_BY_KEEPER : GL_KEPT_BY_SERVICE;
        one_done(keep.run, keep.next);
}

static void keep_one(GlRun *run, GlTarget *target, void (*next)(GlRun *run)) {
        GlKeeping *keeping = run->options->keeping;
        GlFileLease *lease = target->lease;
        Keep *keep = g_new(Keep, 1);
        guint8 tags[MAX_FDS];
        int fds[MAX_FDS];

        if (lease->keep_key == 0)
                lease->keep_key = target->keep_key ?: draw_key();
        target->keep_key = lease->keep_key;
        for (guint i = 0; lease->entries && i < lease->entries->len; i++)
                ((GlLockspaceEntry *) g_ptr_array_index(lease->entries, i))->is_kept = TRUE;
        *keep = (Keep){run, target, next};
        keeping->keep(keeping, lease->keep_key, fds, tags, gather(lease, fds, tags), kept, keep);
}

/* Where no locks are taken there is nothing that could outlive anybody. */
static gboolean has_something_to_keep(const GlTarget *target) {
        const GlSource *source = target->source.box;
        const GlFileLease *lease = target->lease;

        return source->kind != GL_STORAGE_MOUNT || lease->claim >= 0 || lease->entries;
}

void gl_file_keep(GlRun *run, void (*next)(GlRun *run)) {
        run->n_pending = 1;
        for (guint i = 0; run->options->keeping && i < run->targets->len; i++) {
                GlTarget *target = g_ptr_array_index(run->targets, i);

                if (!has_something_to_keep(target))
                        continue;
                run->n_pending++;
                keep_one(run, target, next);
        }
        one_done(run, next);
}

static void kept_again(gboolean is_kept, gpointer user_data) {
}

void gl_file_keep_again(GlKeeping *keeping, const GlFileLease *lease) {
        guint8 tags[MAX_FDS];
        int fds[MAX_FDS];

        if (lease->keep_key != 0)
                keeping->keep(keeping, lease->keep_key, fds, tags, gather(lease, fds, tags), kept_again, NULL);
}

void gl_file_keep_at_last(GlKeeping *keeping, const GlFileLease *lease) {
        if (keeping->ready(keeping) && !keeping->has(keeping, lease->keep_key))
                gl_file_keep_again(keeping, lease);
}

void gl_file_see_who_keeps(GlKeeping *keeping, GlTarget *target) {
        const GlFileLease *lease = target->lease;

        if (target->kept_by != GL_KEPT_BY_HOLDER)
                target->kept_by = keeping->has(keeping, lease->keep_key) ? GL_KEPT_BY_KEEPER : GL_KEPT_BY_SERVICE;
}

/* --- dropping --- */

static void dropped(gboolean is_kept, gpointer user_data) {
        Keep drop = *(Keep *) user_data;

        g_free(user_data);
        one_done(drop.run, drop.next);
}

void gl_file_drop(GlRun *run, void (*next)(GlRun *run)) {
        GlKeeping *keeping = run->options->keeping;

        run->n_pending = 1;
        for (guint i = 0; keeping && i < run->keys->len; i++) {
                Keep *drop = g_new(Keep, 1);

                *drop = (Keep){run, NULL, next};
                run->n_pending++;
                keeping->drop(keeping, g_array_index(run->keys, guint64, i), dropped, drop);
        }
        one_done(run, next);
}

/* --- recovering --- */

static void free_kept_fds(GlKeptFds *kept_fds) {
        for (guint i = 0; i < kept_fds->n; i++)
                if (kept_fds->fds[i] >= 0)
                        close(kept_fds->fds[i]);
        g_free(kept_fds->fds);
        g_free(kept_fds->tags);
        g_free(kept_fds);
}

static int steal_tag(GlKeptFds *kept_fds, guint tag) {
        for (guint i = 0; i < kept_fds->n; i++)
                if (kept_fds->tags[i] == tag && kept_fds->fds[i] >= 0) {
                        int fd = kept_fds->fds[i];

                        kept_fds->fds[i] = -1;
                        return fd;
                }
        return -1;
}

static void recover_target(GlRun *run, GlTarget *target) {
        GlKeeping *keeping = run->options->keeping;
        GlKeptFds *kept_fds = keeping->recover(keeping, target->keep_key);
        GlRecovered recovered;
        guint n_entries = 0;
        int next;

        if (!kept_fds)
                return;
        recovered = (GlRecovered){target, steal_tag(kept_fds, TAG_IMAGE), steal_tag(kept_fds, TAG_CLAIM), -1};
        next = steal_tag(kept_fds, TAG_NEXT);
        if (next >= 0) { /* a change was cut short: whatever the other still has locked, this one can have */
                recovered.outdated = recovered.fd;
                recovered.fd = next;
                target->kept_by = GL_KEPT_BY_SERVICE; /* the holder has the other */
        }
        g_array_append_val(run->recovered, recovered);
        for (guint i = 0; i < run->entries->len; i++) {
                GlLockspaceEntry *entry = g_ptr_array_index(run->entries, i);

                if (entry->target == target)
                        entry->fd = steal_tag(kept_fds, TAG_ENTRY + n_entries++);
        }
        free_kept_fds(kept_fds);
}

void gl_file_recover(GlRun *run) {
        for (guint i = 0; run->options->keeping && run->job->adopting && i < run->targets->len; i++) {
                GlTarget *target = g_ptr_array_index(run->targets, i);

                if (target->keep_key == 0)
                        continue;
                g_array_append_val(run->keys, target->keep_key);
                recover_target(run, target);
        }
}

void gl_file_recover_end(GlRun *run) {
        for (guint i = 0; i < run->recovered->len; i++) {
                GlRecovered *recovered = &g_array_index(run->recovered, GlRecovered, i);

                if (recovered->fd >= 0)
                        close(recovered->fd);
                if (recovered->claim >= 0)
                        close(recovered->claim);
                if (recovered->outdated >= 0) {
                        gl_locks_give_up(recovered->outdated); /* the guest may have inherited it */
                        close(recovered->outdated);
                }
        }
        g_array_set_size(run->recovered, 0);
}
