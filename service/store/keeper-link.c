/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The way to the keeper: connecting, with a delay that doubles as long as no connection lasts; starting one where nobody
 * listens, and giving it the time to be there before there is no hope; what it answers.
 */

#include "store/keeper-private.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log.h"
#include "store/keeper-start.h"

#define FIRST_DELAY      (5 * 1000) /* µs */
#define MAX_DELAY        (2 * G_USEC_PER_SEC)
#define MAX_TRIES        9 /* for a keeper that was started: 2.5 s */
#define MESSAGES_AT_ONCE 64

static void connect_in(GlKeeper *keeper, gint64 delay) {
        sd_event_source_set_time(keeper->connect, (guint64) (g_get_monotonic_time() + delay));
        sd_event_source_set_enabled(keeper->connect, SD_EVENT_ONESHOT);
}

static void try_later(GlKeeper *keeper) {
        connect_in(keeper, MIN(FIRST_DELAY << MIN(keeper->n_tries, 16), MAX_DELAY));
        keeper->n_tries++;
}

static void end_waiting(GlKeeper *keeper, gboolean drops, int result) {
        GList *next;

        for (GList *link = keeper->waiting.head; link; link = next) {
                Request *request = link->data;

                next = link->next;
                if ((request->head.type == GL_KEEPER_DROP) == drops)
                        gl_keeper_end(keeper, request, result);
        }
}

static void discard(GlKeeper *keeper, const int *fds, guint n) {
        gl_closer_adopt(keeper->closer, n);
        gl_closer_close(keeper->closer, fds, n);
}

/* Answers with descriptors may be left in it, the last ones of their files if the keeper is dead. */
void gl_keeper_hang_up(GlKeeper *keeper) {
        keeper->io = sd_event_source_disable_unref(keeper->io);
        if (keeper->fd < 0)
                return;
        shutdown(keeper->fd, SHUT_RDWR);
        discard(keeper, &keeper->fd, 1);
        keeper->fd = -1;
}

void gl_keeper_disconnect(GlKeeper *keeper) {
        g_autoptr(GPtrArray) requests = gl_keeper_take_sent(keeper), drops = g_ptr_array_new();

        gl_keeper_hang_up(keeper);
        keeper->lost = keeper->pinging = FALSE;
        for (guint i = 0; i < requests->len; i++) {
                Request *request = requests->pdata[i];

                if (request->head.type == GL_KEEPER_DROP)
                        g_ptr_array_add(drops, request);
                else
                        gl_keeper_end(keeper, request, -ECONNRESET);
        }
        end_waiting(keeper, FALSE, -ECONNRESET);
        for (guint i = drops->len; i > 0; i--) {
                Request *request = drops->pdata[i - 1];

                request->is_waiting = TRUE;
                g_queue_push_head_link(&keeper->waiting, &request->link);
        }
        gl_keeper_say_ready(keeper, FALSE);
        if (g_get_monotonic_time() - keeper->connected_at < keeper->patience) {
                try_later(keeper);
        } else {
                keeper->n_tries = 0;
                connect_in(keeper, 0);
        }
}

/* An answer to LIST. */
static void take_entry(GlKeeper *keeper, Request *request, GlKeeperMessage *message, int error) {
        if (error < 0)
                request->error = error;
        if (!request->deadlines || error < 0) { /* nobody waits for it any more, or it is not whole */
                discard(keeper, message->fds, message->n);
                return;
        }
        gl_keeper_set_deadline(keeper, request);
        request->func(message->data.head.key, message->fds, message->data.tags, message->n, request->user_data);
}

/* FALSE for what no keeper answers. */
static gboolean take_answer(GlKeeper *keeper, GlKeeperMessage *message, int error) {
        const GlKeeperHead *head = &message->data.head;
        Request *request = g_hash_table_lookup(keeper->sent, &head->serial);

        if (!request || (request->head.type == GL_KEEPER_LIST) == (head->type == GL_KEEPER_DONE))
                return FALSE;
        keeper->answered_at = g_get_monotonic_time();
        if (head->type == GL_KEEPER_ENTRY) {
                take_entry(keeper, request, message, error);
                return TRUE;
        }
        if (request->head.type == GL_KEEPER_PING) {
                keeper->pinging = FALSE;
                gl_keeper_say_ready(keeper, TRUE);
        }
        gl_keeper_end(keeper, request, head->result < 0 ? head->result : request->error);
        return TRUE;
}

/* FALSE when the connection is of no use any more. */
static gboolean take_answers(GlKeeper *keeper) {
        for (guint i = 0; i < MESSAGES_AT_ONCE; i++) {
                GlKeeperMessage message;
                int r = gl_keeper_receive(keeper->fd, &message);

                if (r == -EAGAIN)
                        return TRUE;
                if (message.pid != 0)
                        keeper->pid = message.pid;
                if ((r == 0 || r == -EMFILE) && take_answer(keeper, &message, r))
                        continue;
                discard(keeper, message.fds, message.n);
                return FALSE;
        }
        return TRUE;
}

void gl_keeper_read(GlKeeper *keeper) {
        if (keeper->fd >= 0 && !take_answers(keeper))
                gl_keeper_disconnect(keeper);
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *user_data) {
        GlKeeper *keeper = user_data;

        if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !take_answers(keeper))
                gl_keeper_disconnect(keeper);
        else
                gl_keeper_flush(keeper);
        return 0;
}

void gl_keeper_reap_starter(GlKeeper *keeper) {
        if (keeper->starter_pid <= 0)
                return;
        waitid(P_PID, (id_t) keeper->starter_pid, &(siginfo_t){0}, WEXITED);
        keeper->starter_pid = 0;
        keeper->starter = sd_event_source_disable_unref(keeper->starter);
}

static int on_started(sd_event_source *source, int fd, uint32_t events, void *user_data) {
        gl_keeper_reap_starter(user_data);
        return 0;
}

static void start_keeper(GlKeeper *keeper) {
        int fd;

        if (keeper->starter_pid > 0)
                return;
        keeper->starter_pid = gl_keeper_start(keeper->program, keeper->socket);
        if (keeper->starter_pid < 0)
                return;
        fd = (int) syscall(SYS_pidfd_open, keeper->starter_pid, 0);
        if (fd >= 0 && sd_event_add_io(keeper->event, &keeper->starter, fd, EPOLLIN, on_started, keeper) >= 0) {
                sd_event_source_set_io_fd_own(keeper->starter, 1);
                return;
        }
        if (fd >= 0)
                close(fd);
        gl_keeper_reap_starter(keeper); /* it lives for a few system calls */
}

static void not_connected(GlKeeper *keeper, int r) {
        gboolean nobody = r == -ECONNREFUSED;

        if (nobody)
                end_waiting(keeper, TRUE, 0); /* what they were to close is closed */
        if (nobody && keeper->n_left > 0) {
                keeper->n_left--;
                keeper->hopeless |= keeper->n_left == 0;
        } else if (nobody && keeper->program) {
                start_keeper(keeper);
                keeper->n_left = MAX_TRIES;
        } else {
                keeper->hopeless |= nobody;
        }
        if (keeper->hopeless)
                end_waiting(keeper, FALSE, -ENOTCONN);
        if (keeper->hopeless && !keeper->complained) {
                keeper->complained = TRUE;
                gl_log(LOG_WARNING, GL_MESSAGE_NO_KEEPER,
                       "There is no guestlock-keeper at %s: what guests do not keep themselves is not locked while "
                       "this service is not running.",
                       keeper->socket);
        }
        try_later(keeper);
}

void gl_keeper_connect_now(GlKeeper *keeper) {
        int fd = gl_keeper_connect(keeper->socket), r;

        if (fd < 0) {
                not_connected(keeper, fd);
                return;
        }
        r = sd_event_add_io(keeper->event, &keeper->io, fd, EPOLLIN, on_io, keeper);
        if (r < 0) {
                close(fd);
                not_connected(keeper, r);
                return;
        }
        keeper->fd = fd;
        keeper->pid = 0;
        keeper->hopeless = FALSE;
        keeper->n_left = 0;
        keeper->connected_at = g_get_monotonic_time();
        gl_keeper_flush(keeper);
        gl_keeper_ping(keeper);
}
