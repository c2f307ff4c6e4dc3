/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage/workers.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/error.h"
#include "core/obstacle.h"

/*
 * A worker is an exclusive GThreadPool of one thread: pieces of work for one storage run one after the other, in the
 * order submitted, and wait for no other storage. (Pools that are not exclusive share their threads, and with them
 * the file-system credentials that a thread has at the moment.)
 *
 * A piece that has run goes into the mailbox, a queue with an eventfd beside it that wakes the loop. A thread that
 * hangs in the kernel cannot be ended. It is left behind with its pool, its piece and, because it will want to
 * deliver one day, a reference to the mailbox; that much is leaked knowingly.
 */

#define PARTING_PATIENCE (200 * 1000) /* µs */

/* What the threads see. */
typedef struct {
        GAsyncQueue *finished; /* (owned) of Piece */
        int wake_up;           /* eventfd */
} Mailbox;

typedef struct {
        char *storage;     /* (owned) */
        GThreadPool *pool; /* (owned) */
        guint n_pieces;    /* queued or under way */
} Worker;

typedef struct {
        GlWork work;
        GlWorkDone done;
        gpointer data;
        Mailbox *mailbox; /* (owned) until it has run: the queue must not keep itself alive */

        /* The loop's. */
        Worker *worker;
        guint32 uid;
        gint64 submitted; /* µs, monotonic */
        GList link;       /* in GlWorkers.pieces */
} Piece;

struct GlWorkers {
        sd_event *event;         /* (owned) */
        sd_event_source *source; /* (owned) of the mailbox's eventfd */
        Mailbox *mailbox;        /* (owned) */
        GlMountTable *mounts;    /* (owned) */
        GHashTable *workers;     /* (owned) of storage → Worker */
        GQueue pieces;           /* of Piece: all that have not come back, the oldest first */
        guint max_threads;
        guint max_stuck;
        guint64 stuck_after;
};

static void mailbox_clear(gpointer data) {
        Mailbox *mailbox = data;

        g_clear_pointer(&mailbox->finished, g_async_queue_unref);
        if (mailbox->wake_up >= 0)
                close(mailbox->wake_up);
}

static void mailbox_unref(Mailbox *mailbox) {
        g_atomic_rc_box_release_full(mailbox, mailbox_clear);
}

/* On the worker's thread. */
static void run_piece(gpointer data, gpointer user_data) {
        Piece *piece = data;
        Mailbox *mailbox = g_steal_pointer(&piece->mailbox);

        piece->work(piece->data);
        /* From here on the loop may free the piece at any moment. */
        g_async_queue_push(mailbox->finished, piece);
        if (eventfd_write(mailbox->wake_up, 1) < 0)
                g_error("The event loop cannot be woken up: %s.", g_strerror(errno));
        mailbox_unref(mailbox);
}

static void deliver(GlWorkers *workers, Piece *piece) {
        GlWorkDone done = piece->done;
        gpointer data = piece->data;

        piece->worker->n_pieces--;
        g_queue_unlink(&workers->pieces, &piece->link);
        g_free(piece);
        done(data);
}

static void deliver_finished(GlWorkers *workers) {
        Piece *piece;

        while ((piece = g_async_queue_try_pop(workers->mailbox->finished)))
                deliver(workers, piece);
}

static int on_wake_up(sd_event_source *source, int fd, uint32_t revents, void *user_data) {
        eventfd_t count;

        /* The count first: what comes after that wakes us up again. */
        if (eventfd_read(fd, &count) < 0 && errno != EAGAIN)
                return -errno;
        deliver_finished(user_data);
        return 0;
}

/* An idle one is ended, a hanging one left behind; nothing is waited for. */
static void worker_free(gpointer data) {
        Worker *worker = data;
        gboolean idle = worker->n_pieces == 0;

        g_thread_pool_free(worker->pool, !idle, idle);
        g_free(worker->storage);
        g_free(worker);
}

static Mailbox *mailbox_new(GError **error) {
        int wake_up = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        Mailbox *mailbox;

        if (wake_up < 0) {
                g_set_error(error, GL_ERROR, GL_ERROR_LIMIT_EXCEEDED, "The storage workers cannot be set up: %s.",
                            g_strerror(errno));
                return NULL;
        }
        mailbox = g_atomic_rc_box_new0(Mailbox);
        mailbox->finished = g_async_queue_new_full(g_free);
        mailbox->wake_up = wake_up;
        return mailbox;
}

GlWorkers *gl_workers_new(sd_event *event, const char *sysroot, guint max_threads, guint max_stuck, guint64 stuck_after,
                          GError **error) {
        g_autoptr(GlWorkers) workers = g_new0(GlWorkers, 1);
        int r;

        workers->event = sd_event_ref(event);
        workers->max_threads = max_threads;
        workers->max_stuck = max_stuck;
        workers->stuck_after = stuck_after;
        workers->workers = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, worker_free);
        workers->mounts = gl_mount_table_new(sysroot, error);
        if (!workers->mounts)
                return NULL;
        workers->mailbox = mailbox_new(error);
        if (!workers->mailbox)
                return NULL;
        r = sd_event_add_io(event, &workers->source, workers->mailbox->wake_up, EPOLLIN, on_wake_up, workers);
        if (r < 0) {
                g_set_error(error, GL_ERROR, GL_ERROR_LIMIT_EXCEEDED, "The storage workers cannot be set up: %s.",
                            g_strerror(-r));
                return NULL;
        }
        return g_steal_pointer(&workers);
}

/* What is under way gets a moment to finish, so that its data is given back and not leaked; what hangs gets no more. */
static void wait_a_moment(GlWorkers *workers) {
        gint64 until = g_get_monotonic_time() + PARTING_PATIENCE;

        while (workers->pieces.length > 0) {
                struct pollfd look = {.fd = workers->mailbox->wake_up, .events = POLLIN};
                gint64 left = until - g_get_monotonic_time();
                eventfd_t count;

                if (left <= 0 || poll(&look, 1, (int) (left / 1000) + 1) <= 0)
                        return;
                (void) eventfd_read(workers->mailbox->wake_up, &count);
                deliver_finished(workers);
        }
}

void gl_workers_free(GlWorkers *workers) {
        if (!workers)
                return;
        if (workers->mailbox) {
                deliver_finished(workers);
                wait_a_moment(workers);
        }
        sd_event_source_disable_unref(workers->source);
        g_hash_table_unref(workers->workers);
        g_clear_pointer(&workers->mailbox, mailbox_unref);
        gl_mount_table_free(workers->mounts);
        sd_event_unref(workers->event);
        g_free(workers);
}

sd_event *gl_workers_event(GlWorkers *workers) {
        return workers->event;
}

GlMountTable *gl_workers_mounts(GlWorkers *workers) {
        return workers->mounts;
}

char *gl_workers_storage_of(GlWorkers *workers, const char *path) {
        const GlMount *mount = gl_mount_table_find(workers->mounts, path);

        return g_strdup(mount ? mount->point : "/");
}

/* The pieces are in the order of time: where nothing hangs, one look is enough. */
static gboolean has_too_many_stuck(GlWorkers *workers, guint32 uid, gint64 now) {
        guint n_stuck = 0;

        for (GList *at = workers->pieces.head; at && n_stuck < workers->max_stuck; at = at->next) {
                Piece *piece = at->data;

                if ((guint64) (now - piece->submitted) <= workers->stuck_after)
                        break;
                n_stuck += piece->uid == uid;
        }
        return uid != 0 && n_stuck >= workers->max_stuck;
}

static gboolean make_room(GlWorkers *workers, const char *storage, GError **error) {
        g_autofree char *quoted = NULL;
        GHashTableIter iter;
        gpointer value;

        if (g_hash_table_size(workers->workers) < workers->max_threads)
                return TRUE;
        g_hash_table_iter_init(&iter, workers->workers);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                if (((Worker *) value)->n_pieces == 0) {
                        g_hash_table_iter_remove(&iter);
                        return TRUE;
                }
        }
        quoted = gl_quote(storage);
        g_set_error(error, GL_ERROR, GL_ERROR_LIMIT_EXCEEDED,
                    "The storage at %s cannot be looked at: %u others are being waited for, and no more are allowed "
                    "at a time.",
                    quoted, workers->max_threads);
        return FALSE;
}

static Worker *get_worker(GlWorkers *workers, const char *storage, GError **error) {
        Worker *worker = g_hash_table_lookup(workers->workers, storage);
        g_autoptr(GError) no_thread = NULL;
        g_autofree char *quoted = NULL;
        GThreadPool *pool;

        if (worker)
                return worker;
        if (!make_room(workers, storage, error))
                return NULL;
        /* Without a thread there is a pool all the same. */
        pool = g_thread_pool_new(run_piece, NULL, 1, TRUE, &no_thread);
        if (no_thread) {
                g_thread_pool_free(pool, TRUE, FALSE);
                quoted = gl_quote(storage);
                g_set_error(error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE,
                            "The storage at %s cannot be looked at: there is no thread for it (%s).", quoted,
                            no_thread->message);
                return NULL;
        }
        worker = g_new0(Worker, 1);
        worker->storage = g_strdup(storage);
        worker->pool = pool;
        g_hash_table_insert(workers->workers, worker->storage, worker);
        return worker;
}

gboolean gl_workers_submit(GlWorkers *workers, const char *storage, guint32 uid, GlWork work, GlWorkDone done,
                           gpointer data, GError **error) {
        gint64 now = g_get_monotonic_time();
        Worker *worker;
        Piece *piece;

        if (has_too_many_stuck(workers, uid, now)) {
                g_autofree char *quoted = gl_quote(storage);

                g_set_error(error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE,
                            "The storage at %s is not looked at: %u operations of uid %u on storage that does not "
                            "answer are still waiting.",
                            quoted, workers->max_stuck, uid);
                return FALSE;
        }
        worker = get_worker(workers, storage, error);
        if (!worker)
                return FALSE;

        piece = g_new0(Piece, 1);
        *piece = (Piece) {.work = work, .done = done, .data = data, .worker = worker, .uid = uid, .submitted = now};
        piece->mailbox = g_atomic_rc_box_acquire(workers->mailbox);
        piece->link.data = piece;
        g_queue_push_tail_link(&workers->pieces, &piece->link);
        worker->n_pieces++;
        /* Fails only where a thread must be started; this one's runs already. */
        g_thread_pool_push(worker->pool, piece, NULL);
        return TRUE;
}
