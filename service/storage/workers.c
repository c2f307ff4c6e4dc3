/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage/workers-private.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/error.h"
#include "core/obstacle.h"
#include "storage/stack.h"

/*
 * Pieces of work, and the threads' way back to the loop; whose piece is next, and on which thread, is in turns.c.
 *
 * A piece that has run goes into the mailbox, a queue with an eventfd beside it that wakes the loop. A thread that
 * hangs in the kernel cannot be ended. It is left behind with its pool, its piece and, because it will want to
 * deliver one day, a reference to the mailbox; that much is leaked knowingly.
 */

#define PARTING_PATIENCE (200 * 1000) /* µs */

static void mailbox_clear(gpointer data) {
        GlMailbox *mailbox = data;

        g_clear_pointer(&mailbox->finished, g_async_queue_unref);
        if (mailbox->wake_up >= 0)
                close(mailbox->wake_up);
}

static void mailbox_unref(GlMailbox *mailbox) {
        g_atomic_rc_box_release_full(mailbox, mailbox_clear);
}

void gl_piece_run(gpointer data, gpointer user_data) {
        GlPiece *piece = data;
        GlMailbox *mailbox = g_steal_pointer(&piece->mailbox);

        if (!g_atomic_int_get(&mailbox->abandoned))
                piece->work(piece->data);
        /* From here on the loop may free the piece at any moment. */
        g_async_queue_push(mailbox->finished, piece);
        if (eventfd_write(mailbox->wake_up, 1) < 0)
                g_error("The event loop cannot be woken up: %s.", g_strerror(errno));
        mailbox_unref(mailbox);
}

static void deliver(GlWorkers *workers, GlPiece *piece) {
        GlWorker *worker = piece->line->worker;
        GlWorkDone done = piece->done;
        gpointer data = piece->data;

        worker->n_ahead--;
        g_queue_unlink(&workers->pieces, &piece->link);
        g_free(piece);
        gl_worker_go_on(workers, worker);
        done(data);
}

static void deliver_finished(GlWorkers *workers) {
        GlPiece *piece;

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

static GlMailbox *mailbox_new(GError **error) {
        int wake_up = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        GlMailbox *mailbox;

        if (wake_up < 0) {
                g_set_error(error, GL_ERROR, GL_ERROR_LIMIT_EXCEEDED, "The storage workers cannot be set up: %s.",
                            g_strerror(errno));
                return NULL;
        }
        mailbox = g_atomic_rc_box_new0(GlMailbox);
        mailbox->finished = g_async_queue_new_full(g_free);
        mailbox->wake_up = wake_up;
        return mailbox;
}

GlWorkers *gl_workers_new(sd_event *event, const char *sysroot, const GlWorkersLimits *limits, GError **error) {
        g_autoptr(GlWorkers) workers = g_new0(GlWorkers, 1);
        int r;

        workers->event = sd_event_ref(event);
        workers->limits = *limits;
        workers->accounts = gl_accounts_new();
        workers->workers = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, gl_worker_free);
        workers->mounts = gl_mount_table_new(sysroot, error);
        if (!workers->mounts)
                return NULL;
        workers->stacks = gl_stacks_new(sysroot);
        workers->mailbox = mailbox_new(error);
        if (!workers->mailbox)
                return NULL;
        r = sd_event_add_io(event, &workers->source, workers->mailbox->wake_up, EPOLLIN, on_wake_up, workers);
        /* Before any timeout: where the loop could not run for as long, what has answered meanwhile has answered. */
        if (r >= 0)
                r = sd_event_source_set_priority(workers->source, SD_EVENT_PRIORITY_IMPORTANT);
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

/* What no thread has begun stays where the threads that hang keep it: it is somebody's data, and not ours to free. */
static void leave_the_rest(GlWorkers *workers) {
        for (GList *at = workers->pieces.head, *next; at; at = next) {
                GlPiece *piece = at->data;

                next = at->next;
                if (!piece->waits)
                        continue;
                g_clear_pointer(&piece->mailbox, mailbox_unref);
                g_async_queue_push(workers->mailbox->finished, piece);
        }
}

void gl_workers_free(GlWorkers *workers) {
        if (!workers)
                return;
        if (workers->mailbox) {
                deliver_finished(workers);
                wait_a_moment(workers);
                leave_the_rest(workers);
                g_atomic_int_set(&workers->mailbox->abandoned, TRUE);
        }
        sd_event_source_disable_unref(workers->source);
        g_hash_table_unref(workers->workers);
        g_hash_table_unref(workers->accounts);
        g_clear_pointer(&workers->mailbox, mailbox_unref);
        gl_mount_table_free(workers->mounts);
        gl_stacks_unref(workers->stacks);
        sd_event_unref(workers->event);
        g_free(workers);
}

sd_event *gl_workers_event(GlWorkers *workers) {
        return workers->event;
}

GlStacks *gl_workers_stacks(GlWorkers *workers) {
        return workers->stacks;
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

        for (GList *at = workers->pieces.head; at && n_stuck < workers->limits.max_stuck_per_uid; at = at->next) {
                const GlPiece *piece = at->data;
                const GlAccount *account = piece->line->account;

                if ((guint64) (now - piece->submitted) <= workers->limits.stuck_after)
                        break;
                n_stuck += account->uid == uid && !account->chores;
        }
        return uid != 0 && n_stuck >= workers->limits.max_stuck_per_uid;
}

/* PIECE, which waits, is not wanted any more. */
static void forget_piece(GlWorkers *workers, GlPiece *piece) {
        GlLine *line = piece->line;

        g_queue_unlink(&line->waiting, &piece->place);
        g_queue_unlink(&workers->pieces, &piece->link);
        mailbox_unref(piece->mailbox);
        g_free(piece);
        gl_line_shrunk(workers, line);
}

static GlPiece *submit(GlWorkers *workers, GlLine *line, GlWork work, GlWorkDone done, gpointer data, GError **error) {
        g_autoptr(GError) no_thread = NULL;
        GlPiece *piece = g_new0(GlPiece, 1);

        *piece = (GlPiece) {.work = work, .done = done, .data = data, .line = line, .waits = TRUE,
                            .submitted = g_get_monotonic_time(), .link.data = piece, .place.data = piece};
        piece->mailbox = g_atomic_rc_box_acquire(workers->mailbox);
        g_queue_push_tail_link(&workers->pieces, &piece->link);
        g_queue_push_tail_link(&line->waiting, &piece->place);

        if (!gl_line_offer(workers, line, &no_thread) &&
            !(line->account->chores && no_thread->code == GL_ERROR_LIMIT_EXCEEDED)) {
                forget_piece(workers, piece);
                g_propagate_error(error, g_steal_pointer(&no_thread));
                return NULL;
        }
        return piece;
}

GlPiece *gl_workers_submit(GlWorkers *workers, const char *storage, guint32 uid, GlWork work, GlWorkDone done,
                           gpointer data, GError **error) {
        if (has_too_many_stuck(workers, uid, g_get_monotonic_time())) {
                g_autofree char *quoted = gl_quote(storage);

                g_set_error(error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE,
                            "The storage at %s is not looked at: %u operations of uid %u on storage that does not "
                            "answer are still waiting.",
                            quoted, workers->limits.max_stuck_per_uid, uid);
                return NULL;
        }
        return submit(workers, gl_workers_get_line(workers, storage, uid, FALSE), work, done, data, error);
}

GlPiece *gl_workers_submit_chore(GlWorkers *workers, const char *storage, guint32 uid, GlWork work, GlWorkDone done,
                                 gpointer data, GError **error) {
        return submit(workers, gl_workers_get_line(workers, storage, uid, TRUE), work, done, data, error);
}

gboolean gl_workers_withdraw(GlWorkers *workers, GlPiece *piece) {
        if (!piece->waits)
                return FALSE;
        forget_piece(workers, piece);
        return TRUE;
}
