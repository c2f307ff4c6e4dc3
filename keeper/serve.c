/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One loop over poll(). It never waits for a peer: what a peer does not take stays in a queue, and until that is empty
 * nothing more is read from this peer. It never closes what came from a peer and might be the last reference to a
 * file: that goes to kept.c's threads, and so does a connection that is given up, since messages with descriptors may
 * be left in it.
 *
 * A message is taken whole or not at all; whoever sends what is not in protocol.h is disconnected, and nothing has
 * changed. What a peer sent before it died counts.
 */

#include "serve.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kept.h"
#include "protocol.h"

#define MAX_CONNECTIONS 64
#define SCM_MAX         253 /* the kernel's: with room for as many nothing is cut off but for want of descriptors */
#define RETRY_MSEC      100
#define ENTRIES_AT_ONCE 64 /* of a list, before the others have their turn */

typedef struct Answer Answer;

struct Answer {
        Answer *next;
        GlKeeperHead head;
};

typedef struct {
        uint64_t id; /* 0: a free place */
        int fd;
        GlBatch *parting; /* (owned) to close fd with, so that this needs no memory */
        bool broken;      /* to be given up */
        bool mute;        /* the peer is gone: what it sent is read, and nothing is answered */
        bool listing;
        uint64_t list_serial, listed; /* the key that the list has come to */
        Answer *answers, **answers_end; /* (owned) that the peer did not take yet */
} Connection;

/* One message as it came. */
typedef struct {
        GlKeeperDescriptors data;
        ssize_t size;
        bool cut; /* descriptors got lost */
        uint32_t n;
        int fds[SCM_MAX];
} Message;

static Connection connections[MAX_CONNECTIONS];
static uint64_t last_id;
static size_t max_fds; /* that are kept or being closed; above that are ours, and one message's */
static bool accepting = true;

static void discard(const int *fds, uint32_t n) {
        GlBatch *batch = n > 0 ? gl_batch_new(0, fds, NULL, n) : NULL;

        if (batch)
                gl_closing_add(batch);
        else /* no memory: the sender has them, most likely, and then this cannot block */
                for (uint32_t i = 0; i < n; i++)
                        close(fds[i]);
}

static void drop_answers(Connection *connection) {
        Answer *answer;

        while ((answer = connection->answers)) {
                connection->answers = answer->next;
                free(answer);
        }
        connection->answers_end = &connection->answers;
}

static void mute(Connection *connection) {
        connection->mute = true;
        connection->listing = false;
        drop_answers(connection);
}

static void give_up(Connection *connection) {
        drop_answers(connection);
        shutdown(connection->fd, SHUT_RDWR); /* the peer hears of it now, also if the closing takes its time */
        gl_closing_add(connection->parting);
        *connection = (Connection){0};
}

/* 0, or -EAGAIN when the peer has to take something first. */
static int send_to(Connection *connection, const void *data, size_t size, const int *fds, uint32_t n) {
        union {
                char space[CMSG_SPACE(sizeof(int) * GL_KEEPER_MAX_FDS)];
                struct cmsghdr header;
        } control = {0};
        struct iovec vector = {.iov_base = (void *) data, .iov_len = size};
        struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};

        if (n > 0) {
                control.header = (struct cmsghdr){
                        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(n * sizeof(int))};
                memcpy(CMSG_DATA(&control.header), fds, n * sizeof(int));
                message.msg_control = &control;
                message.msg_controllen = CMSG_SPACE(n * sizeof(int));
        }
        if (sendmsg(connection->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
                return 0;
        if (errno == EAGAIN || errno == EINTR)
                return -EAGAIN;
        connection->broken = errno != EPIPE && errno != ECONNRESET;
        mute(connection);
        return 0;
}

static void answer(Connection *connection, uint32_t type, uint64_t serial, uint64_t key, int result) {
        Answer *queued;
        GlKeeperHead head = {
                .version = GL_KEEPER_VERSION, .type = type, .serial = serial, .key = key, .result = result};

        if (connection->mute)
                return;
        if (!connection->answers && send_to(connection, &head, sizeof(head), NULL, 0) == 0)
                return;
        queued = malloc(sizeof(*queued));
        if (!queued) {
                connection->broken = true;
                return;
        }
        *queued = (Answer){.head = head};
        *connection->answers_end = queued;
        connection->answers_end = &queued->next;
}

static void flush_answers(Connection *connection) {
        Answer *first;

        while ((first = connection->answers) &&
               send_to(connection, &first->head, sizeof(first->head), NULL, 0) == 0) {
                if (connection->mute)
                        return; /* and they are gone */
                connection->answers = first->next;
                if (!first->next)
                        connection->answers_end = &connection->answers;
                free(first);
        }
}

static int send_entry(Connection *connection, const GlBatch *batch) {
        int fds[GL_KEEPER_MAX_FDS];
        GlKeeperDescriptors entry = {.head = {.version = GL_KEEPER_VERSION,
                                              .type = GL_KEEPER_ENTRY,
                                              .serial = connection->list_serial,
                                              .key = batch->key,
                                              .n = batch->n}};

        for (uint32_t i = 0; i < batch->n; i++) {
                fds[i] = batch->items[i].fd;
                entry.tags[i] = batch->items[i].tag;
        }
        return send_to(connection, &entry, sizeof(entry), fds, batch->n);
}

static void go_on_listing(Connection *connection) {
        for (int i = 0; i < ENTRIES_AT_ONCE && connection->listing; i++) {
                const GlBatch *batch = gl_kept_after(connection->listed);

                if (!batch) {
                        connection->listing = false;
                        answer(connection, GL_KEEPER_END, connection->list_serial, 0, 0);
                } else if (send_entry(connection, batch) == 0) {
                        connection->listed = batch->key;
                } else {
                        return;
                }
        }
}

static void close_and_answer(Connection *connection, GlBatch *batch, const GlKeeperHead *head) {
        if (!batch) {
                answer(connection, GL_KEEPER_DONE, head->serial, head->key, 0);
                return;
        }
        batch->connection = connection->id;
        batch->serial = head->serial;
        gl_closing_add(batch);
}

static void keep(Connection *connection, const Message *message) {
        const GlKeeperHead *head = &message->data.head;
        GlBatch *batch = NULL, *replaced;
        bool stalled;
        int r = 0;

        if (message->cut || gl_kept_count() + gl_closing_count(&stalled) + message->n > max_fds)
                r = -EMFILE;
        else if (!(batch = gl_batch_new(head->key, message->fds, message->data.tags, message->n)))
                r = -ENOMEM;
        else
                r = gl_kept_put(batch, &replaced);
        if (r == 0) {
                close_and_answer(connection, replaced, head);
                return;
        }
        free(batch);
        discard(message->fds, message->n);
        answer(connection, GL_KEEPER_DONE, head->serial, head->key, r);
}

/* Is it what protocol.h says? */
static bool is_in_order(const Message *message) {
        const GlKeeperHead *head = &message->data.head;

        if (message->size < (ssize_t) sizeof(*head) || head->version != GL_KEEPER_VERSION || head->result != 0)
                return false;
        if (head->type == GL_KEEPER_KEEP)
                return message->size == sizeof(message->data) && head->key != 0 && head->n > 0 &&
                       head->n <= GL_KEEPER_MAX_FDS && (message->cut || message->n == head->n);
        if (message->size != sizeof(*head) || message->n > 0 || message->cut || head->n != 0)
                return false;
        return head->type == GL_KEEPER_DROP ? head->key != 0
                                            : (head->type == GL_KEEPER_PING || head->type == GL_KEEPER_LIST) &&
                                                      head->key == 0;
}

static void carry_out(Connection *connection, const Message *message) {
        const GlKeeperHead *head = &message->data.head;

        switch (head->type) {
        case GL_KEEPER_KEEP:
                keep(connection, message);
                return;
        case GL_KEEPER_DROP:
                close_and_answer(connection, gl_kept_take(head->key), head);
                return;
        case GL_KEEPER_LIST:
                connection->listing = !connection->mute;
                connection->list_serial = head->serial;
                connection->listed = 0;
                return;
        default:
                answer(connection, GL_KEEPER_DONE, head->serial, 0, 0);
        }
}

/* -EAGAIN when there is nothing. */
static int receive(int fd, Message *into) {
        union {
                char space[CMSG_SPACE(sizeof(int) * SCM_MAX)];
                struct cmsghdr header;
        } control;
        struct iovec vector = {.iov_base = &into->data, .iov_len = sizeof(into->data)};
        struct msghdr message = {
                .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};

        into->n = 0;
        into->size = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (into->size < 0)
                return -errno;
        for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
                if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
                        continue;
                into->n = (uint32_t) ((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
                memcpy(into->fds, CMSG_DATA(header), into->n * sizeof(int));
        }
        if (message.msg_flags & MSG_TRUNC)
                into->size = 0; /* too long to be anything */
        into->cut = message.msg_flags & MSG_CTRUNC;
        return 0;
}

static void read_from(Connection *connection) {
        Message message;
        int r = receive(connection->fd, &message);

        if (r == -ECONNRESET) {
                mute(connection); /* it left answers unread; what it sent before can be read still */
        } else if (r < 0) {
                connection->broken = r != -EAGAIN && r != -EINTR;
        } else if (is_in_order(&message)) {
                carry_out(connection, &message);
        } else {
                discard(message.fds, message.n);
                connection->broken = true;
        }
}

static void serve_connection(Connection *connection, short events) {
        if (events & (POLLHUP | POLLERR))
                mute(connection);
        if (events & POLLOUT) {
                flush_answers(connection);
                if (!connection->answers)
                        go_on_listing(connection);
        }
        if (events & (POLLIN | POLLHUP | POLLERR))
                read_from(connection);
}

/* Whoever may not be here is let go of without a word. */
static bool is_welcome(int fd) {
        struct ucred credentials;
        socklen_t size = sizeof(credentials);

        return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0 &&
               (credentials.uid == 0 || credentials.uid == geteuid());
}

static void accept_from(int listener) {
        Connection *place = NULL;
        GlBatch *parting;
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0) {
                /* For want of something: it would be tried over and over. */
                accepting = errno == EAGAIN || errno == EINTR || errno == ECONNABORTED;
                return;
        }
        for (int i = 0; i < MAX_CONNECTIONS && !place; i++)
                if (connections[i].id == 0)
                        place = &connections[i];
        parting = place && is_welcome(fd) ? gl_batch_new(0, &fd, NULL, 1) : NULL;
        if (!parting) {
                discard(&fd, 1);
                return;
        }
        *place = (Connection){.id = ++last_id, .fd = fd, .parting = parting};
        place->answers_end = &place->answers;
}

static void tell_what_is_closed(void) {
        GlBatch *batch;

        while ((batch = gl_closing_done())) {
                for (int i = 0; i < MAX_CONNECTIONS && batch->connection != 0; i++)
                        if (connections[i].id == batch->connection)
                                answer(&connections[i], GL_KEEPER_DONE, batch->serial, batch->key, 0);
                free(batch);
        }
}

static bool is_told_to_end(int signals) {
        struct signalfd_siginfo info;
        bool told = false;

        while (read(signals, &info, sizeof(info)) == sizeof(info))
                told = true;
        return told;
}

static bool has_connections(void) {
        for (int i = 0; i < MAX_CONNECTIONS; i++)
                if (connections[i].id != 0)
                        return true;
        return false;
}

/*
 * Three of our own, then the connections; a place that is free has no descriptor. Returns how many there are up to the
 * last one that is not: poll() takes no more than this process may have descriptors, however many are none.
 */
static nfds_t fill(struct pollfd *polled, int signals, int closed, int listener) {
        nfds_t n = 3;

        polled[0] = (struct pollfd){.fd = signals, .events = POLLIN};
        polled[1] = (struct pollfd){.fd = closed, .events = POLLIN};
        polled[2] = (struct pollfd){.fd = accepting ? listener : -1, .events = POLLIN};
        for (int i = 0; i < MAX_CONNECTIONS; i++) {
                Connection *connection = &connections[i];
                bool has_to_say = connection->answers || connection->listing;

                polled[3 + i] = (struct pollfd){
                        .fd = connection->id == 0 ? -1 : connection->fd, .events = has_to_say ? POLLOUT : POLLIN};
                if (connection->id != 0)
                        n = 3 + (nfds_t) i + 1;
        }
        return n;
}

static void serve_connections(const struct pollfd *polled) {
        for (int i = 0; i < MAX_CONNECTIONS; i++) {
                if (polled[i].revents && polled[i].fd >= 0 && connections[i].id != 0)
                        serve_connection(&connections[i], polled[i].revents);
                if (connections[i].id != 0 && connections[i].broken)
                        give_up(&connections[i]);
        }
}

/* What a message brings has to fit above what is kept, or nothing could be refused in order. */
static void find_limit(void) {
        struct rlimit limit = {.rlim_cur = 1024};

        if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
                limit.rlim_cur = limit.rlim_max;
                setrlimit(RLIMIT_NOFILE, &limit);
                getrlimit(RLIMIT_NOFILE, &limit);
        }
        max_fds = limit.rlim_cur > 1024 ? limit.rlim_cur - 512 : limit.rlim_cur / 2;
}

int gl_keeper_serve(int listener, int signals, int idle_msec) {
        struct pollfd polled[3 + MAX_CONNECTIONS];
        int closed = gl_closing_init();

        if (closed < 0)
                return closed;
        find_limit();
        for (;;) {
                bool stalled, idle = gl_closing_count(&stalled) == 0 && gl_kept_count() == 0 && !has_connections();
                nfds_t n_polled = fill(polled, signals, closed, listener);
                int n;

                n = poll(polled, n_polled, stalled || !accepting ? RETRY_MSEC : idle ? idle_msec : -1);
                if (n < 0 && errno != EINTR && errno != ENOMEM)
                        return -errno;
                if (n < 0)
                        continue;
                if (n == 0 && idle && accepting && !stalled)
                        return 0;
                accepting = true;
                if (stalled)
                        gl_closing_retry();
                if ((polled[0].revents & POLLIN) && is_told_to_end(signals) && gl_kept_count() == 0)
                        return 0;
                if (polled[1].revents & POLLIN)
                        tell_what_is_closed();
                serve_connections(&polled[3]);
                if (polled[2].revents & POLLIN)
                        accept_from(listener);
        }
}
