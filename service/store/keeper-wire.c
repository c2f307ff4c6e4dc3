/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/keeper-wire.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int check_peer(int fd) {
        struct ucred credentials;
        socklen_t size = sizeof(credentials);

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
                return -errno;
        return credentials.uid == 0 || credentials.uid == geteuid() ? 0 : -EPERM;
}

/* With systemd the peer of the socket is who made it, and not the keeper: each message says who sent it. */
static int ask_for_senders(int fd) {
        return setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &(int){1}, sizeof(int)) < 0 ? -errno : 0;
}

int gl_keeper_connect(const char *path) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd, r = 0;

        if (strlen(path) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        strcpy(address.sun_path, path);
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        if (connect(fd, (const struct sockaddr *) &address, sizeof(address)) < 0)
                r = errno == ENOENT ? -ECONNREFUSED : -errno;
        else
                r = check_peer(fd);
        if (r == 0)
                r = ask_for_senders(fd);
        if (r == 0)
                return fd;
        close(fd);
        return r;
}

int gl_keeper_send(int socket, const GlKeeperHead *head, const guint8 *tags, const int *fds) {
        union {
                char space[CMSG_SPACE(sizeof(int) * GL_KEEPER_MAX_FDS)];
                struct cmsghdr header;
        } control = {0};
        GlKeeperDescriptors data = {.head = *head};
        struct iovec vector = {.iov_base = &data, .iov_len = head->n > 0 ? sizeof(data) : sizeof(data.head)};
        struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};

        if (head->n > 0) {
                memcpy(data.tags, tags, head->n);
                control.header = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
                                                  .cmsg_type = SCM_RIGHTS,
                                                  .cmsg_len = CMSG_LEN(head->n * sizeof(int))};
                memcpy(CMSG_DATA(&control.header), fds, head->n * sizeof(int));
                message.msg_control = &control;
                message.msg_controllen = CMSG_SPACE(head->n * sizeof(int));
        }
        return sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static gboolean is_in_order(const GlKeeperMessage *message, ssize_t size, gboolean cut) {
        const GlKeeperHead *head = &message->data.head;

        if (size < (ssize_t) sizeof(*head) || head->version != GL_KEEPER_VERSION || head->result > 0)
                return FALSE;
        if (head->type == GL_KEEPER_ENTRY)
                return size == sizeof(message->data) && head->key != 0 && head->n > 0 &&
                       head->n <= GL_KEEPER_MAX_FDS && (cut || message->n == head->n);
        return (head->type == GL_KEEPER_DONE || head->type == GL_KEEPER_END) && size == sizeof(*head) &&
               message->n == 0 && !cut;
}

int gl_keeper_receive(int socket, GlKeeperMessage *into) {
        union {
                char space[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int) * GL_KEEPER_MAX_FDS)];
                struct cmsghdr header;
        } control;
        struct iovec vector = {.iov_base = &into->data, .iov_len = sizeof(into->data)};
        struct msghdr message = {
                .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
        ssize_t size;

        into->n = 0;
        into->pid = 0;
        size = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (size < 0)
                return errno == EINTR ? -EAGAIN : -errno;
        for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
                if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_CREDENTIALS)
                        into->pid = (guint32) ((const struct ucred *) (gpointer) CMSG_DATA(header))->pid;
                if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
                        continue;
                into->n = (guint) ((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
                memcpy(into->fds, CMSG_DATA(header), into->n * sizeof(int));
        }
        if (size == 0)
                return -ECONNRESET;
        if ((message.msg_flags & MSG_TRUNC) || !is_in_order(into, size, message.msg_flags & MSG_CTRUNC))
                return -EBADMSG;
        return message.msg_flags & MSG_CTRUNC ? -EMFILE : 0;
}
