/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "keeping.h"

#include <errno.h>
#include <unistd.h>

#include "log.h"

/* A keeper that was killed has a successor within milliseconds. One that cannot be reached is not waited for long. */
#define SETTLE_PATIENCE (3 * G_USEC_PER_SEC)

struct GlServiceKeeping {
        GlKeeping keeping; /* first: what the drivers see */
        sd_event *event;   /* (owned) */
        GlKeeper *keeper;  /* (owned) */
        GHashTable *found; /* (owned) key → GlKeptFds (owned): what an earlier service has left, and nobody recovered */
        GHashTable *keys;  /* (owned) of guint64: what is to be kept → gboolean: the keeper has said that it has it */
        guint n_unanswered, n_dropping;
        gboolean ready;    /* the keeper answers, and was told everything */
        GlKeepingFunc loaded, rest_dropped, again, settled;
        gpointer loaded_data, rest_dropped_data, again_data, settled_data;
        sd_event_source *settle_deadline; /* (owned) (nullable) */
};

static void settle(GlServiceKeeping *keeping) {
        GlKeepingFunc settled = g_steal_pointer(&keeping->settled);

        if (settled)
                settled(keeping->settled_data);
}

static void settle_if_kept(GlServiceKeeping *keeping) {
        if (keeping->n_unanswered == 0 && (keeping->ready || g_hash_table_size(keeping->keys) == 0))
                settle(keeping);
}

/* --- for the drivers --- */

typedef struct {
        GlServiceKeeping *keeping;
        guint64 key; /* that is to be kept, 0: none */
        GlKept done;
        gpointer user_data;
} Request;

static void note_key(GlServiceKeeping *keeping, guint64 key, gboolean is_kept) {
        g_hash_table_insert(keeping->keys, g_memdup2(&key, sizeof key), GINT_TO_POINTER(is_kept));
}

static void answered(int result, gpointer user_data) {
        Request request = *(Request *) user_data;

        g_free(user_data);
        if (request.key != 0 && g_hash_table_contains(request.keeping->keys, &request.key))
                note_key(request.keeping, request.key, result == 0);
        request.done(result == 0, request.user_data);
        request.keeping->n_unanswered--;
        settle_if_kept(request.keeping);
}

static Request *new_request(GlServiceKeeping *keeping, guint64 key, GlKept done, gpointer user_data) {
        Request *request = g_new(Request, 1);

        *request = (Request){keeping, key, done, user_data};
        keeping->n_unanswered++;
        return request;
}

static void kept_fds_free(gpointer data) {
        GlKeptFds *kept = data;

        for (guint i = 0; i < kept->n; i++)
                if (kept->fds[i] >= 0)
                        close(kept->fds[i]);
        g_free(kept->fds);
        g_free(kept->tags);
        g_free(kept);
}

static GlKeptFds *recover(GlKeeping *base, guint64 key) {
        GlServiceKeeping *keeping = (GlServiceKeeping *) base;
        GlKeptFds *kept = NULL;
        guint64 *stored = NULL;

        if (g_hash_table_steal_extended(keeping->found, &key, (gpointer *) &stored, (gpointer *) &kept))
                g_free(stored);
        return kept;
}

/* Once the service ends nothing is asked of the keeper any more; what is under way is answered all the same. */
static void keep(GlKeeping *base, guint64 key, const int *fds, const guint8 *tags, guint n, GlKept done,
                 gpointer user_data) {
        GlServiceKeeping *keeping = (GlServiceKeeping *) base;

        if (!keeping->keeper) {
                done(FALSE, user_data);
                return;
        }
        note_key(keeping, key, FALSE);
        gl_keeper_keep(keeping->keeper, key, fds, tags, n, answered, new_request(keeping, key, done, user_data));
}

static void drop(GlKeeping *base, guint64 key, GlKept done, gpointer user_data) {
        GlServiceKeeping *keeping = (GlServiceKeeping *) base;

        if (!keeping->keeper) {
                done(FALSE, user_data);
                return;
        }
        g_hash_table_remove(keeping->keys, &key);
        gl_keeper_drop(keeping->keeper, key, answered, new_request(keeping, 0, done, user_data));
}

static gboolean has(GlKeeping *base, guint64 key) {
        return GPOINTER_TO_INT(g_hash_table_lookup(((GlServiceKeeping *) base)->keys, &key));
}

static gboolean is_ready(GlKeeping *base) {
        return ((GlServiceKeeping *) base)->ready;
}

static guint32 keeper_pid(GlKeeping *base) {
        const GlKeeper *keeper = ((GlServiceKeeping *) base)->keeper;

        return keeper ? gl_keeper_pid(keeper) : 0;
}

/* --- at the start --- */

static void found(guint64 key, const int *fds, const guint8 *tags, guint n, gpointer user_data) {
        GlServiceKeeping *keeping = user_data;
        GlKeptFds *kept = g_new(GlKeptFds, 1);

        *kept = (GlKeptFds){n, g_memdup2(fds, n * sizeof *fds), g_memdup2(tags, n)};
        g_hash_table_insert(keeping->found, g_memdup2(&key, sizeof key), kept);
}

static void listed(int result, gpointer user_data) {
        GlServiceKeeping *keeping = user_data;

        if (result == -ECANCELED)
                return; /* we are closed, and nobody wants to know any more */
        if (result < 0)
                gl_log(LOG_WARNING, GL_MESSAGE_NO_KEEPER,
                       "guestlock-keeper cannot be asked what it has (%s); what guests hold is locked anew.",
                       g_strerror(-result));
        keeping->loaded(keeping->loaded_data);
}

void gl_service_keeping_load(GlServiceKeeping *keeping, GlKeepingFunc loaded, gpointer user_data) {
        keeping->loaded = loaded;
        keeping->loaded_data = user_data;
        if (keeping->keeper)
                gl_keeper_list(keeping->keeper, found, listed, keeping);
        else
                loaded(user_data);
}

static void dropped(int result, gpointer user_data) {
        GlServiceKeeping *keeping = user_data;

        if (--keeping->n_dropping == 0 && result != -ECANCELED)
                keeping->rest_dropped(keeping->rest_dropped_data);
}

/* A lease whose state had not been saved yet when the service was killed. */
void gl_service_keeping_drop_rest(GlServiceKeeping *keeping, gboolean known, GlKeepingFunc done, gpointer user_data) {
        guint n = g_hash_table_size(keeping->found);
        GHashTableIter iter;
        gpointer key;

        if (n > 0 && known)
                gl_log(LOG_INFO, NULL, "guestlock-keeper had kept %u leases that are nobody's; they are given up.", n);
        else if (n > 0)
                gl_log(LOG_WARNING, NULL,
                       "guestlock-keeper keeps %u leases that are no known guest's. As the state of some guest could "
                       "not be read they are kept on: it may still run. When it has ended, remove what is set aside; "
                       "the next start of the service gives them up.", n);
        keeping->rest_dropped = done;
        keeping->rest_dropped_data = user_data;
        keeping->n_dropping = 1;
        g_hash_table_iter_init(&iter, keeping->found);
        for (; known && g_hash_table_iter_next(&iter, &key, NULL); keeping->n_dropping++)
                gl_keeper_drop(keeping->keeper, *(guint64 *) key, dropped, keeping);
        g_hash_table_remove_all(keeping->found);
        dropped(0, keeping);
}

/* --- the keeper itself --- */

static void forget_answers(GlServiceKeeping *keeping) {
        GHashTableIter iter;

        gl_log(LOG_WARNING, GL_MESSAGE_NO_KEEPER,
               "guestlock-keeper does not answer. Until it does the service alone keeps the locks of guests that "
               "do not keep them themselves.");
        g_hash_table_iter_init(&iter, keeping->keys);
        while (g_hash_table_iter_next(&iter, NULL, NULL))
                g_hash_table_iter_replace(&iter, GINT_TO_POINTER(FALSE));
}

static void keeper_ready(GlKeeper *keeper, gboolean ready, gpointer user_data) {
        GlServiceKeeping *keeping = user_data;

        keeping->ready = ready;
        if (!ready)
                forget_answers(keeping);
        else if (keeping->again)
                keeping->again(keeping->again_data);
        settle_if_kept(keeping);
}

void gl_service_keeping_set_again(GlServiceKeeping *keeping, GlKeepingFunc again, gpointer user_data) {
        keeping->again = again;
        keeping->again_data = user_data;
}

static int on_settle_deadline(sd_event_source *source, uint64_t usec, void *user_data) {
        settle(user_data);
        return 0;
}

static void asked(gboolean result, gpointer user_data) {
}

void gl_service_keeping_settle(GlServiceKeeping *keeping, GlKeepingFunc settled, gpointer user_data) {
        guint64 nobodys = ((guint64) g_random_int() << 32) | 1; /* as good as certainly, of 64 bits */

        keeping->settled = settled;
        keeping->settled_data = user_data;
        if (!keeping->keeper || g_hash_table_size(keeping->keys) == 0 ||
            sd_event_add_time_relative(keeping->event, &keeping->settle_deadline, CLOCK_MONOTONIC, SETTLE_PATIENCE, 0,
                                       on_settle_deadline, keeping) < 0) {
                settle(keeping);
                return;
        }
        /* That the keeper died just now may not be known yet; only one that lives, or the next one, answers this. */
        gl_keeper_drop(keeping->keeper, nobodys, answered, new_request(keeping, 0, asked, NULL));
}

GlServiceKeeping *gl_service_keeping_new(sd_event *event, const char *socket, const char *program) {
        GlServiceKeeping *keeping = g_new0(GlServiceKeeping, 1);

        keeping->keeping = (GlKeeping){recover, keep, drop, has, is_ready, keeper_pid};
        keeping->event = sd_event_ref(event);
        keeping->keys = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
        keeping->found = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, kept_fds_free);
        keeping->keeper = gl_keeper_new(event, socket, program);
        if (keeping->keeper)
                gl_keeper_set_ready(keeping->keeper, keeper_ready, keeping);
        return keeping;
}

void gl_service_keeping_close(GlServiceKeeping *keeping) {
        keeping->settled = NULL;
        keeping->settle_deadline = sd_event_source_disable_unref(keeping->settle_deadline);
        gl_keeper_free(g_steal_pointer(&keeping->keeper));
}

void gl_service_keeping_free(GlServiceKeeping *keeping) {
        if (!keeping)
                return;
        gl_service_keeping_close(keeping);
        g_hash_table_unref(keeping->found);
        g_hash_table_unref(keeping->keys);
        sd_event_unref(keeping->event);
        g_free(keeping);
}

GlKeeping *gl_service_keeping_get(GlServiceKeeping *keeping) {
        return &keeping->keeping;
}
