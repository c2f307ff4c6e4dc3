/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/error.h"
#include "core/obstacle.h"
#include "storage/workers-private.h"

/*
 * A worker stands for a storage and has a thread while it needs one: an exclusive GThreadPool of one. (Pools that are
 * not exclusive share their threads, and with them the file-system credentials that a thread has at the moment.)
 *
 * Whoever pays for pieces of work is an account: a user, and apart from that what the service has to do of itself for
 * that user's guests. An account's pieces for one storage are a line; they run in the order submitted. The lines of a
 * storage take turns: however much one user asks of a disk, another's piece waits for a few of his only. An account
 * may have so many threads at a time; what is over that waits, and costs no thread. So a user whose mounts all hang
 * keeps a few threads from the others, and one with many healthy mounts has them looked at a few at a time.
 */

/* Pieces that a thread has before it, so that it need not wait for the loop after each. */
#define MAX_AHEAD 4

/* --- accounts and lines --- */

static guint account_hash(gconstpointer key) {
        const GlAccount *account = key;

        return account->uid * 2 + account->chores;
}

static gboolean account_equal(gconstpointer a, gconstpointer b) {
        const GlAccount *one = a, *other = b;

        return one->uid == other->uid && one->chores == other->chores;
}

GHashTable *gl_accounts_new(void) {
        return g_hash_table_new_full(account_hash, account_equal, g_free, NULL);
}

static GlWorker *get_worker(GlWorkers *workers, const char *storage) {
        GlWorker *worker = g_hash_table_lookup(workers->workers, storage);

        if (!worker) {
                worker = g_new0(GlWorker, 1);
                worker->storage = g_strdup(storage);
                worker->link.data = worker;
                g_hash_table_insert(workers->workers, worker->storage, worker);
        }
        return worker;
}

GlLine *gl_workers_get_line(GlWorkers *workers, const char *storage, guint32 uid, gboolean chores) {
        GlWorker *worker = get_worker(workers, storage);
        const GlAccount key = {.uid = uid, .chores = chores};
        GlAccount *account;
        GlLine *line;

        for (GList *at = worker->lines.head; at; at = at->next)
                if (account_equal(((GlLine *) at->data)->account, &key))
                        return at->data;
        account = g_hash_table_lookup(workers->accounts, &key);
        if (!account) {
                account = g_memdup2(&key, sizeof key);
                g_hash_table_add(workers->accounts, account);
        }
        account->n_lines++;
        line = g_new0(GlLine, 1);
        *line = (GlLine) {.worker = worker, .account = account, .link.data = line};
        g_queue_push_tail_link(&worker->lines, &line->link);
        return line;
}

static void drop_line_if_empty(GlWorkers *workers, GlLine *line) {
        GlAccount *account = line->account;

        if (line->waiting.length > 0 || line->worker->turn == line)
                return;
        g_queue_unlink(&line->worker->lines, &line->link);
        g_free(line);
        if (--account->n_lines == 0)
                g_hash_table_remove(workers->accounts, account);
}

static gboolean may_have_thread(const GlWorkers *workers, const GlAccount *account) {
        return account->uid == 0 || account->n_threads < workers->limits.max_threads_per_uid;
}

/* --- threads --- */

static void stop_waiting(GlWorkers *workers, GlWorker *worker) {
        if (worker->waits)
                g_queue_unlink(&workers->waiting, &worker->link);
        worker->waits = FALSE;
}

static void wait_for_turn(GlWorkers *workers, GlWorker *worker) {
        if (!worker->waits)
                g_queue_push_tail_link(&workers->waiting, &worker->link);
        worker->waits = TRUE;
}

static void end_thread(GlWorkers *workers, GlWorker *worker) {
        g_thread_pool_free(g_steal_pointer(&worker->pool), FALSE, TRUE);
        workers->n_threads--;
}

static void drop_worker_if_unused(GlWorkers *workers, GlWorker *worker) {
        if (worker->pool || worker->lines.length > 0)
                return;
        stop_waiting(workers, worker);
        g_hash_table_remove(workers->workers, worker->storage);
}

/* Ends a thread that has nothing to do. */
static gboolean make_room(GlWorkers *workers) {
        GHashTableIter iter;
        gpointer value;

        g_hash_table_iter_init(&iter, workers->workers);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                GlWorker *worker = value;

                if (!worker->pool || worker->turn)
                        continue;
                end_thread(workers, worker);
                drop_worker_if_unused(workers, worker);
                return TRUE;
        }
        return FALSE;
}

static gboolean begin_thread(GlWorkers *workers, GlWorker *worker, GError **error) {
        g_autofree char *quoted = gl_quote(worker->storage);
        g_autoptr(GError) no_thread = NULL;
        GThreadPool *pool;

        if (workers->n_threads >= workers->limits.max_threads && !make_room(workers)) {
                g_set_error(error, GL_ERROR, GL_ERROR_LIMIT_EXCEEDED,
                            "The storage at %s cannot be looked at: %u others are being waited for, and no more are "
                            "allowed at a time.",
                            quoted, workers->limits.max_threads);
                return FALSE;
        }
        /* Without a thread there is a pool all the same. */
        pool = g_thread_pool_new(gl_piece_run, NULL, 1, TRUE, &no_thread);
        if (no_thread) {
                g_thread_pool_free(pool, TRUE, FALSE);
                g_set_error(error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE,
                            "The storage at %s cannot be looked at: there is no thread for it (%s).", quoted,
                            no_thread->message);
                return FALSE;
        }
        worker->pool = pool;
        workers->n_threads++;
        return TRUE;
}

/* --- turns --- */

static void begin_piece(GlWorker *worker) {
        GlPiece *piece = g_queue_pop_head_link(&worker->turn->waiting)->data;

        piece->waits = FALSE;
        worker->n_ahead++;
        /* Fails only where a thread must be started; this one's runs already. */
        g_thread_pool_push(worker->pool, piece, NULL);
}

/* Nobody else wants this thread, or any at all: a turn may last. */
static gboolean is_alone(const GlWorkers *workers, const GlWorker *worker) {
        return worker->lines.length == 1 && workers->waiting.length == 0;
}

static GlLine *next_line(const GlWorkers *workers, const GlWorker *worker) {
        for (GList *at = worker->lines.head; at; at = at->next)
                if (may_have_thread(workers, ((GlLine *) at->data)->account))
                        return at->data;
        return NULL;
}

/* Gives WORKER, whose thread has nothing, something to do if it may; FALSE if there is no thread to be had. */
static gboolean begin_turn(GlWorkers *workers, GlWorker *worker, GError **error) {
        GlLine *line = next_line(workers, worker);

        if (!line) {
                wait_for_turn(workers, worker);
                return TRUE;
        }
        if (!worker->pool && !begin_thread(workers, worker, error)) {
                wait_for_turn(workers, worker);
                return FALSE;
        }
        stop_waiting(workers, worker);
        worker->turn = line;
        line->account->n_threads++;
        while (line->waiting.length > 0 && worker->n_ahead < MAX_AHEAD)
                begin_piece(worker);
        return TRUE;
}

/* Who has waited may have what was freed. */
static void serve_waiting(GlWorkers *workers) {
        for (guint n = workers->waiting.length; n > 0; n--) {
                GlWorker *worker = g_queue_peek_head(&workers->waiting);

                stop_waiting(workers, worker);
                begin_turn(workers, worker, NULL);
        }
}

void gl_worker_go_on(GlWorkers *workers, GlWorker *worker) {
        GlLine *line = worker->turn;

        if (line->waiting.length > 0 && is_alone(workers, worker))
                begin_piece(worker);
        if (worker->n_ahead > 0)
                return;
        worker->turn = NULL;
        line->account->n_threads--;
        g_queue_unlink(&worker->lines, &line->link);
        g_queue_push_tail_link(&worker->lines, &line->link);
        drop_line_if_empty(workers, line);
        if (worker->lines.length > 0)
                wait_for_turn(workers, worker);
        serve_waiting(workers);
}

/* --- for workers.c --- */

gboolean gl_line_offer(GlWorkers *workers, GlLine *line, GError **error) {
        GlWorker *worker = line->worker;

        if (!worker->turn)
                return begin_turn(workers, worker, error);
        if (worker->turn == line && worker->n_ahead < MAX_AHEAD && is_alone(workers, worker))
                begin_piece(worker);
        return TRUE;
}

void gl_line_shrunk(GlWorkers *workers, GlLine *line) {
        GlWorker *worker = line->worker;

        drop_line_if_empty(workers, line);
        if (worker->lines.length == 0)
                stop_waiting(workers, worker);
        drop_worker_if_unused(workers, worker);
}

/* An idle one is ended, a hanging one left behind; nothing is waited for. */
void gl_worker_free(gpointer data) {
        GlWorker *worker = data;
        gboolean idle = worker->n_ahead == 0;

        if (worker->pool)
                g_thread_pool_free(worker->pool, FALSE, idle);
        for (GList *at; (at = g_queue_pop_head_link(&worker->lines));)
                g_free(at->data);
        g_free(worker->storage);
        g_free(worker);
}
