/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "keeper-fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char base[] = "/tmp/guestlock-test-keeper-XXXXXX";

static int try_connect(const char *path) {
        struct timeval patience = {.tv_sec = PATIENCE / G_USEC_PER_SEC};
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

        g_assert_no_errno(fd);
        g_assert_no_errno(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)));
        g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
        if (connect(fd, (struct sockaddr *) &address, sizeof(address)) == 0)
                return fd;
        close(fd);
        return -1;
}

static pid_t listener_at(const char *path) {
        struct ucred credentials = {0};
        socklen_t size = sizeof(credentials);
        int fd = try_connect(path);

        if (fd < 0)
                return 0;
        g_assert_no_errno(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size));
        close(fd);
        return credentials.pid;
}

pid_t keeper_listener(const Keeper *keeper) {
        return listener_at(keeper->socket);
}

/* Ends whoever listens below PATH, and removes it. */
static void tidy(const char *path) {
        g_autoptr(GDir) directory = g_dir_open(path, 0, NULL);
        const char *name;

        while (directory && (name = g_dir_read_name(directory))) {
                g_autofree char *child = g_build_filename(path, name, NULL);
                pid_t pid = g_file_test(child, G_FILE_TEST_IS_DIR) ? 0 : listener_at(child);

                if (pid > 1 && pid != getpid())
                        kill(pid, SIGKILL);
                tidy(child);
        }
        g_remove(path);
}

void keeper_guard(void) {
        int ends[2];
        char byte;

        g_assert_nonnull(g_mkdtemp(base));
        g_assert_no_errno(pipe2(ends, O_CLOEXEC));
        pid_t pid = fork();
        g_assert_no_errno(pid);
        if (pid > 0) {
                close(ends[0]);
                return; /* the other end goes with this process */
        }
        setsid(); /* what ends the test's group does not end this */
        close(ends[1]);
        close(0);
        close(1); /* whoever reads what the test says is not to wait for us */
        close(2);
        while (read(ends[0], &byte, 1) < 0 && errno == EINTR)
                ;
        tidy(base);
        _exit(0);
}

void keeper_set_up(Keeper *keeper) {
        static guint n;

        keeper->directory = g_strdup_printf("%s/%u", base, n++);
        keeper->socket = g_build_filename(keeper->directory, "socket", NULL);
        keeper->pid = 0;
        g_assert_no_errno(g_mkdir(keeper->directory, 0700));
}

void keeper_tear_down(Keeper *keeper) {
        if (keeper->pid > 0) {
                kill(keeper->pid, SIGKILL);
                waitpid(keeper->pid, NULL, 0);
        }
        tidy(keeper->directory);
        g_free(keeper->socket);
        g_free(keeper->directory);
}

/* Three, its lock, socket, signals, and what is closed */
#define FDS_AT_REST (3 + 4)

static void spawn(Keeper *keeper, guint limit, const char *idle) {
        g_autofree char *wanted = g_strdup_printf("%u", limit);

        keeper->pid = fork(); /* while other threads may be anywhere: system calls alone */
        g_assert_no_errno(keeper->pid);
        if (keeper->pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                close_range(3, ~0U, 0);
                if (limit > 0) /* by a shell, since valgrind only plays at limits */
                        execl("/bin/sh", "sh", "-c", "ulimit -n $0 && exec \"$1\" --socket \"$2\" --idle \"$3\"",
                              wanted, KEEPER, keeper->socket, idle, NULL);
                else
                        execl(KEEPER, KEEPER, "--socket", keeper->socket, "--idle", idle, NULL);
                _exit(127);
        }
}

void keeper_start(Keeper *keeper, guint limit) {
        gint64 until = g_get_monotonic_time() + PATIENCE;

        spawn(keeper, limit, "1000000");
        while (keeper_listener(keeper) != keeper->pid && g_get_monotonic_time() < until)
                g_usleep(1000);
        /* Those that have just looked are gone when one that came after them is alone. */
        int socket = keeper_connect(keeper);
        g_assert_cmpint(keeper_ask(socket, GL_KEEPER_PING, 0, NULL, NULL, 0), ==, 0);
        keeper_await_fds(keeper->pid, FDS_AT_REST + 1);
        close(socket);
        keeper_await_fds(keeper->pid, FDS_AT_REST);
}

int keeper_start_idle(Keeper *keeper, const char *idle) {
        const GlKeeperHead ping = {.version = GL_KEEPER_VERSION, .type = GL_KEEPER_PING, .serial = 1};
        gint64 until = g_get_monotonic_time() + PATIENCE;
        GlKeeperDescriptors reply;
        int fd;

        spawn(keeper, 0, idle);
        for (;;) {
                g_assert_cmpint(g_get_monotonic_time(), <, until);
                /* It may end before anybody has come, and also while somebody comes. */
                if (waitpid(keeper->pid, NULL, WNOHANG) == keeper->pid)
                        spawn(keeper, 0, idle);
                fd = try_connect(keeper->socket);
                if (fd >= 0 && send(fd, &ping, sizeof(ping), MSG_NOSIGNAL) > 0 && keeper_hear(fd, &reply, NULL))
                        return fd;
                if (fd >= 0)
                        close(fd);
                g_usleep(1000);
        }
}

static guint count_entries(pid_t pid, const char *name) {
        g_autofree char *path = g_strdup_printf("/proc/%d/%s", pid, name);
        g_autoptr(GDir) directory = g_dir_open(path, 0, NULL);
        guint n = 0;

        g_assert_nonnull(directory);
        while (g_dir_read_name(directory))
                n++;
        return n;
}

void keeper_await_fds(pid_t pid, guint expected) {
        gint64 until = g_get_monotonic_time() + PATIENCE;
        guint n;

        /* A thread that closes ends when all is closed, and what it has closed does not count any more. */
        while (((n = keeper_count_fds(pid)) != expected || count_entries(pid, "task") > 1) &&
               g_get_monotonic_time() < until)
                g_usleep(1000);
        g_assert_cmpuint(n, ==, expected);
}

int keeper_await_end(Keeper *keeper) {
        gint64 until = g_get_monotonic_time() + PATIENCE;
        int status = 0;
        pid_t pid;

        while ((pid = waitpid(keeper->pid, &status, WNOHANG)) == 0 && g_get_monotonic_time() < until)
                g_usleep(1000);
        g_assert_cmpint(pid, ==, keeper->pid);
        g_assert_true(WIFEXITED(status));
        keeper->pid = 0;
        return WEXITSTATUS(status);
}

guint keeper_count_fds(pid_t pid) {
        return count_entries(pid, "fd");
}

int keeper_connect(const Keeper *keeper) {
        int fd = try_connect(keeper->socket);

        g_assert_cmpint(fd, >=, 0);
        return fd;
}

void keeper_send(int socket, const void *data, gsize size, const int *fds, guint n) {
        g_autofree struct cmsghdr *control = g_malloc0(CMSG_SPACE(sizeof(int) * MAX(n, 1)));
        struct iovec vector = {.iov_base = (void *) data, .iov_len = size};
        struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};

        if (n > 0) {
                *control = (struct cmsghdr){
                        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(n * sizeof(int))};
                memcpy(CMSG_DATA(control), fds, n * sizeof(int));
                message.msg_control = control;
                message.msg_controllen = CMSG_SPACE(n * sizeof(int));
        }
        g_assert_cmpint(sendmsg(socket, &message, MSG_NOSIGNAL), ==, size);
}

void keeper_say(int socket, guint32 type, guint64 serial, guint64 key, const int *fds, const guint8 *tags, guint n) {
        GlKeeperDescriptors data = {.head = {GL_KEEPER_VERSION, type, serial, key, 0, n}};

        if (n > 0)
                memcpy(data.tags, tags, n);
        keeper_send(socket, &data, type == GL_KEEPER_KEEP ? sizeof(data) : sizeof(data.head), fds, n);
}

gboolean keeper_hear(int socket, GlKeeperDescriptors *into, int *fds) {
        union {
                char space[CMSG_SPACE(sizeof(int) * GL_KEEPER_MAX_FDS)];
                struct cmsghdr header;
        } control;
        struct iovec vector = {.iov_base = into, .iov_len = sizeof(*into)};
        struct msghdr message = {
                .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
        ssize_t size = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
        guint n = 0;

        if (size == 0 || (size < 0 && errno == ECONNRESET))
                return FALSE;
        g_assert_no_errno(size);
        g_assert_cmpint(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC), ==, 0);
        if (CMSG_FIRSTHDR(&message)) {
                n = (guint) ((control.header.cmsg_len - CMSG_LEN(0)) / sizeof(int));
                g_assert_nonnull(fds);
                memcpy(fds, CMSG_DATA(&control.header), n * sizeof(int));
        }
        g_assert_cmpuint(into->head.version, ==, GL_KEEPER_VERSION);
        g_assert_cmpuint(into->head.n, ==, n);
        return TRUE;
}

int keeper_ask(int socket, guint32 type, guint64 key, const int *fds, const guint8 *tags, guint n) {
        static guint64 serial;
        GlKeeperDescriptors reply;

        keeper_say(socket, type, ++serial, key, fds, tags, n);
        g_assert_true(keeper_hear(socket, &reply, NULL));
        g_assert_cmpuint(reply.head.serial, ==, serial);
        g_assert_cmpuint(reply.head.type, ==, GL_KEEPER_DONE);
        return reply.head.result;
}

int keeper_make_lingering(int *release) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        struct linger linger = {.l_onoff = 1, .l_linger = 600};
        socklen_t size = sizeof(address);
        static const char data[65536];
        int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd;

        g_assert_no_errno(listener);
        g_assert_no_errno(bind(listener, (struct sockaddr *) &address, sizeof(address)));
        g_assert_no_errno(listen(listener, 1));
        g_assert_no_errno(getsockname(listener, (struct sockaddr *) &address, &size));
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        g_assert_no_errno(connect(fd, (struct sockaddr *) &address, sizeof(address)));
        *release = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        g_assert_no_errno(*release);
        close(listener);
        while (send(fd, data, sizeof(data), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
                ;
        g_assert_no_errno(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
        return fd;
}
