/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A request is in `waiting` until the socket takes it, then in `sent` until it is answered. It has a deadline as long as
 * its caller has heard nothing; one that was sent stays after that, so that its late answer is known for what it is, and
 * a DROP stays until somebody has answered it: else the keeper would hold a lock for ever that nobody knows of.
 *
 * When the connection is lost, DROPs are sent again over the next one, unless it turns out that nobody listens: then
 * what they were about is gone. Everything else ends with -ECONNRESET, and has to be asked for anew.
 *
 * Whether the keeper answers is asked by a PING, at the beginning and whenever something was not answered in time: one
 * that is stopped answers nothing, one that just cannot close a file on storage that hangs answers that.
 *
 * A descriptor that has to wait is duplicated. Such a duplicate is closed on a thread: close() flushes a file also when
 * it is not the last one, and on storage that hangs that hangs.
 */

#include "store/keeper-private.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#define LIST_PATIENCE (10 * G_USEC_PER_SEC)
#define BUSY_PATIENCE (10 * G_USEC_PER_SEC) /* beyond a deadline, while others are answered */
/* A duplicate each lease, in the worst case, and that is more than anybody has. */
#define MAX_REQUESTS   65536
#define MAX_DUPLICATES 65536

static void request_free(GlKeeper *keeper, Request *request) {
        if (request->deadlines)
                g_queue_unlink(request->deadlines, &request->deadline_link);
        if (request->is_waiting)
                g_queue_unlink(&keeper->waiting, &request->link);
        if (request->fds)
                gl_closer_close(keeper->closer, request->fds, request->head.n);
        g_free(request->fds);
        g_free(request->tags);
        g_free(request);
}

static void tell_later(GlKeeper *keeper, const Telling *telling) {
        g_queue_push_tail(&keeper->tellings, g_memdup2(telling, sizeof(*telling)));
        sd_event_source_set_enabled(keeper->tell, SD_EVENT_ONESHOT);
}

/* Once. The request stays where it is. */
static void tell_result(GlKeeper *keeper, Request *request, int result) {
        if (!request->deadlines)
                return;
        g_queue_unlink(request->deadlines, &request->deadline_link);
        request->deadlines = NULL;
        if (request->done)
                tell_later(keeper, &(Telling){request->done, request->user_data, result, FALSE});
}

void gl_keeper_end(GlKeeper *keeper, Request *request, int result) {
        tell_result(keeper, request, result);
        if (!request->is_waiting)
                g_hash_table_remove(keeper->sent, &request->head.serial);
        request_free(keeper, request);
}

void gl_keeper_say_ready(GlKeeper *keeper, gboolean ready) {
        if (keeper->ready == ready)
                return;
        keeper->ready = ready;
        if (ready)
                keeper->complained = FALSE;
        tell_later(keeper, &(Telling){.ready = ready});
}

void gl_keeper_set_deadline(GlKeeper *keeper, Request *request) {
        gboolean list = request->head.type == GL_KEEPER_LIST;
        gint64 first = G_MAXINT64;

        if (request->deadlines)
                g_queue_unlink(request->deadlines, &request->deadline_link);
        request->deadlines = &keeper->deadlines[list];
        request->deadline = g_get_monotonic_time() + (list ? LIST_PATIENCE : keeper->patience);
        g_queue_push_tail_link(request->deadlines, &request->deadline_link);
        for (guint i = 0; i < G_N_ELEMENTS(keeper->deadlines); i++)
                if (keeper->deadlines[i].head)
                        first = MIN(first, ((Request *) keeper->deadlines[i].head->data)->deadline);
        sd_event_source_set_time(keeper->expire, (guint64) first);
        sd_event_source_set_enabled(keeper->expire, SD_EVENT_ONESHOT);
}

static Request *request_new(GlKeeper *keeper, guint32 type, guint64 key, GlKeeperDone done, gpointer user_data) {
        Request *request = g_new0(Request, 1);

        request->head = (GlKeeperHead){
                .version = GL_KEEPER_VERSION, .type = type, .serial = ++keeper->last_serial, .key = key};
        request->done = done;
        request->user_data = user_data;
        request->link.data = request->deadline_link.data = request;
        return request;
}

static void wait_for_socket(GlKeeper *keeper) {
        if (keeper->io)
                sd_event_source_set_io_events(keeper->io,
                                              keeper->waiting.length > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

/* Where it cannot be dealt with, since somebody's callbacks would come too early. */
static void note_loss(GlKeeper *keeper) {
        keeper->lost = TRUE;
        sd_event_source_set_enabled(keeper->tell, SD_EVENT_ONESHOT);
}

/* 0: it was sent; -EAGAIN: it has to wait; another -errno: it cannot be sent at all. */
static int try_to_send(GlKeeper *keeper, Request *request, const int *fds) {
        int r = -EAGAIN;

        if (keeper->fd >= 0 && !keeper->lost)
                r = gl_keeper_send(keeper->fd, &request->head, request->tags, fds);
        if (r == -EPIPE || r == -ECONNRESET || r == -ENOTCONN) {
                note_loss(keeper);
                return -EAGAIN;
        }
        if (r == 0)
                g_hash_table_insert(keeper->sent, &request->head.serial, request);
        return r == -EINTR ? -EAGAIN : r;
}

static void unqueue(GlKeeper *keeper, Request *request) {
        g_queue_unlink(&keeper->waiting, &request->link);
        request->is_waiting = FALSE;
        if (request->fds)
                gl_closer_close(keeper->closer, request->fds, request->head.n);
        g_clear_pointer(&request->fds, g_free);
}

void gl_keeper_flush(GlKeeper *keeper) {
        while (keeper->waiting.head) {
                Request *request = keeper->waiting.head->data;
                int r = try_to_send(keeper, request, request->fds);

                if (r == -EAGAIN)
                        break;
                unqueue(keeper, request);
                if (r < 0)
                        gl_keeper_end(keeper, request, r);
        }
        wait_for_socket(keeper);
}

static int enqueue(GlKeeper *keeper, Request *request, const int *fds) {
        g_autofree int *duplicates = fds ? g_new(int, request->head.n) : NULL;
        int r = fds ? gl_closer_duplicate(keeper->closer, fds, request->head.n, MAX_DUPLICATES, duplicates) : 0;

        if (r < 0)
                return r;
        request->fds = g_steal_pointer(&duplicates);
        request->is_waiting = TRUE;
        g_queue_push_tail_link(&keeper->waiting, &request->link);
        wait_for_socket(keeper);
        return 0;
}

/* Takes REQUEST. */
static void submit(GlKeeper *keeper, Request *request, const int *fds) {
        gboolean drop = request->head.type == GL_KEEPER_DROP;
        int r = -EAGAIN;

        gl_keeper_set_deadline(keeper, request);
        if (keeper->hopeless) {
                gl_keeper_end(keeper, request, drop ? 0 : -ENOTCONN);
                return;
        }
        if (!keeper->waiting.head)
                r = try_to_send(keeper, request, fds);
        if (r == -EAGAIN && !drop && keeper->waiting.length + g_hash_table_size(keeper->sent) > MAX_REQUESTS)
                r = -ENOBUFS;
        if (r == -EAGAIN)
                r = enqueue(keeper, request, fds);
        if (r < 0)
                gl_keeper_end(keeper, request, r);
}

void gl_keeper_ping(GlKeeper *keeper) {
        keeper->pinging = TRUE;
        submit(keeper, request_new(keeper, GL_KEEPER_PING, 0, NULL, NULL), NULL);
}

static int compare_serials(gconstpointer a, gconstpointer b) {
        guint64 first = (*(Request *const *) a)->head.serial, second = (*(Request *const *) b)->head.serial;

        return first < second ? -1 : first > second;
}

GPtrArray *gl_keeper_take_sent(GlKeeper *keeper) {
        GPtrArray *requests = g_ptr_array_new();
        GHashTableIter iter;
        gpointer request;

        g_hash_table_iter_init(&iter, keeper->sent);
        while (g_hash_table_iter_next(&iter, NULL, &request))
                g_ptr_array_add(requests, request);
        g_hash_table_steal_all(keeper->sent);
        g_ptr_array_sort(requests, compare_serials);
        return requests;
}

/* One that answers has much to do; but what closes on storage that hangs may never be answered. */
static gint64 expires_at(const GlKeeper *keeper, const Request *request) {
        gint64 at_last = request->deadline + BUSY_PATIENCE;

        return MIN(at_last, MAX(request->deadline, keeper->answered_at + keeper->patience));
}

static gint64 expire_first(GlKeeper *keeper, GQueue *deadlines) {
        gint64 now = g_get_monotonic_time();

        while (deadlines->head) {
                Request *request = deadlines->head->data;
                guint32 type = request->head.type;

                if (expires_at(keeper, request) > now)
                        return expires_at(keeper, request);
                if (type == GL_KEEPER_PING)
                        gl_keeper_say_ready(keeper, FALSE);
                /* What was not sent and can do no harm then; an answer to the others may come still. */
                if (request->is_waiting && (type == GL_KEEPER_KEEP || type == GL_KEEPER_LIST))
                        gl_keeper_end(keeper, request, -ETIMEDOUT);
                else
                        tell_result(keeper, request, -ETIMEDOUT);
                if (!keeper->pinging && keeper->fd >= 0)
                        gl_keeper_ping(keeper);
        }
        return G_MAXINT64;
}

static int on_expire(sd_event_source *source, uint64_t usec, void *user_data) {
        GlKeeper *keeper = user_data;
        gint64 first;

        gl_keeper_read(keeper); /* it may be we who are late */
        first = expire_first(keeper, &keeper->deadlines[0]);
        first = MIN(first, expire_first(keeper, &keeper->deadlines[1]));
        if (keeper->deadlines[0].head) /* a PING, if nothing else was there */
                first = MIN(first, expires_at(keeper, keeper->deadlines[0].head->data));
        if (first == G_MAXINT64)
                return 0;
        sd_event_source_set_time(source, (guint64) first);
        sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        return 0;
}

static void tell_all(GlKeeper *keeper) {
        Telling *telling;

        while ((telling = g_queue_pop_head(&keeper->tellings))) {
                if (telling->done)
                        telling->done(telling->result, telling->user_data);
                else if (keeper->tell_ready)
                        keeper->tell_ready(keeper, telling->ready, keeper->ready_data);
                g_free(telling);
        }
}

static int on_tell(sd_event_source *source, void *user_data) {
        GlKeeper *keeper = user_data;

        if (keeper->lost && keeper->fd >= 0)
                gl_keeper_disconnect(keeper);
        tell_all(keeper);
        return 0;
}

static int on_connect(sd_event_source *source, uint64_t usec, void *user_data) {
        gl_keeper_connect_now(user_data);
        return 0;
}

static gboolean add_sources(GlKeeper *keeper) {
        return sd_event_add_time(keeper->event, &keeper->connect, CLOCK_MONOTONIC, 0, 1, on_connect, keeper) >= 0 &&
               sd_event_source_set_enabled(keeper->connect, SD_EVENT_OFF) >= 0 &&
               sd_event_add_time(keeper->event, &keeper->expire, CLOCK_MONOTONIC, 0, 1000, on_expire, keeper) >= 0 &&
               sd_event_source_set_enabled(keeper->expire, SD_EVENT_OFF) >= 0 &&
               sd_event_add_defer(keeper->event, &keeper->tell, on_tell, keeper) >= 0 &&
               sd_event_source_set_enabled(keeper->tell, SD_EVENT_OFF) >= 0;
}

GlKeeper *gl_keeper_new(sd_event *event, const char *socket, const char *program) {
        g_autoptr(GlKeeper) keeper = g_new0(GlKeeper, 1);

        keeper->event = sd_event_ref(event);
        keeper->socket = g_strdup(socket);
        keeper->program = g_strdup(program);
        keeper->fd = -1;
        keeper->patience = GL_KEEPER_PATIENCE;
        keeper->sent = g_hash_table_new(g_int64_hash, g_int64_equal);
        keeper->closer = gl_closer_new();
        if (!add_sources(keeper))
                return NULL;
        gl_keeper_connect_now(keeper);
        return g_steal_pointer(&keeper);
}

/* Their callers get to know, and may ask for something again: that finds no keeper. */
static void cancel_all(GlKeeper *keeper) {
        g_autoptr(GPtrArray) requests = gl_keeper_take_sent(keeper);

        keeper->tell_ready = NULL;
        for (guint i = 0; i < requests->len; i++)
                gl_keeper_end(keeper, requests->pdata[i], -ECANCELED);
        while (keeper->waiting.head)
                gl_keeper_end(keeper, keeper->waiting.head->data, -ECANCELED);
        keeper->hopeless = TRUE;
        tell_all(keeper);
}

void gl_keeper_free(GlKeeper *keeper) {
        if (!keeper)
                return;
        gl_keeper_hang_up(keeper);
        cancel_all(keeper);
        gl_keeper_reap_starter(keeper);
        sd_event_source_disable_unref(keeper->connect);
        sd_event_source_disable_unref(keeper->expire);
        sd_event_source_disable_unref(keeper->tell);
        gl_closer_free(keeper->closer);
        g_hash_table_destroy(keeper->sent);
        sd_event_unref(keeper->event);
        g_free(keeper->program);
        g_free(keeper->socket);
        g_free(keeper);
}

guint32 gl_keeper_pid(const GlKeeper *keeper) {
        return keeper->pid;
}

void gl_keeper_set_ready(GlKeeper *keeper, GlKeeperReady ready, gpointer user_data) {
        keeper->tell_ready = ready;
        keeper->ready_data = user_data;
}

void gl_keeper_list(GlKeeper *keeper, GlKeeperFunc func, GlKeeperDone done, gpointer user_data) {
        Request *request = request_new(keeper, GL_KEEPER_LIST, 0, done, user_data);

        request->func = func;
        submit(keeper, request, NULL);
}

void gl_keeper_keep(GlKeeper *keeper, guint64 key, const int *fds, const guint8 *tags, guint n, GlKeeperDone done,
                    gpointer user_data) {
        Request *request = request_new(keeper, GL_KEEPER_KEEP, key, done, user_data);

        if (key == 0 || n == 0 || n > GL_KEEPER_MAX_FDS) {
                gl_keeper_set_deadline(keeper, request);
                gl_keeper_end(keeper, request, n > GL_KEEPER_MAX_FDS ? -E2BIG : -EINVAL);
                return;
        }
        request->head.n = n;
        request->tags = g_memdup2(tags, n);
        submit(keeper, request, fds);
}

void gl_keeper_drop(GlKeeper *keeper, guint64 key, GlKeeperDone done, gpointer user_data) {
        submit(keeper, request_new(keeper, GL_KEEPER_DROP, key, done, user_data), NULL);
}
