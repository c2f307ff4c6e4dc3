/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The program guestlock-keeper, spoken to message by message. */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper-fixture.h"

static void set_up(Keeper *keeper, gconstpointer unused) {
        keeper_set_up(keeper);
        keeper_start(keeper, 0);
}

static void set_up_nothing(Keeper *keeper, gconstpointer unused) {
        keeper_set_up(keeper);
}

static void tear_down(Keeper *keeper, gconstpointer unused) {
        keeper_tear_down(keeper);
}

/* Both ends of a pipe: the one that reads sees the end when the last of the other is closed. */
static void make_pipe(int ends[2]) {
        g_assert_no_errno(pipe2(ends, O_CLOEXEC | O_NONBLOCK));
}

static gboolean has_ended(int reader) {
        char byte;
        ssize_t n = read(reader, &byte, 1);

        g_assert_true(n == 0 || errno == EAGAIN);
        return n == 0;
}

static gboolean is_same_file(int a, int b) {
        struct stat first, second;

        g_assert_no_errno(fstat(a, &first));
        g_assert_no_errno(fstat(b, &second));
        return first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

/* Keys in the order of the list; what came with them is closed. */
static GArray *list(int socket) {
        GArray *keys = g_array_new(FALSE, FALSE, sizeof(guint64));
        GlKeeperDescriptors reply;
        int fds[GL_KEEPER_MAX_FDS];

        keeper_say(socket, GL_KEEPER_LIST, 77, 0, NULL, NULL, 0);
        for (;;) {
                g_assert_true(keeper_hear(socket, &reply, fds));
                g_assert_cmpuint(reply.head.serial, ==, 77);
                if (reply.head.type == GL_KEEPER_END)
                        return keys;
                g_assert_cmpuint(reply.head.type, ==, GL_KEEPER_ENTRY);
                for (guint i = 0; i < reply.head.n; i++)
                        close(fds[i]);
                g_array_append_val(keys, reply.head.key);
        }
}

static guint count_keys(int socket) {
        g_autoptr(GArray) keys = list(socket);

        return keys->len;
}

static void assert_fds(Keeper *keeper, guint expected) {
        keeper_await_fds(keeper->pid, expected);
}

/* How many it has, when it knows of the connection. */
static guint count_fds(Keeper *keeper, int socket) {
        g_assert_cmpint(keeper_ask(socket, GL_KEEPER_PING, 0, NULL, NULL, 0), ==, 0);
        return keeper_count_fds(keeper->pid);
}

static void test_keep_list_drop(Keeper *keeper, gconstpointer unused) {
        const guint8 tags[] = {7, 255};
        GlKeeperDescriptors reply;
        int socket = keeper_connect(keeper), ends[2], got[GL_KEEPER_MAX_FDS];
        guint before;

        g_assert_cmpint(keeper_ask(socket, GL_KEEPER_PING, 0, NULL, NULL, 0), ==, 0);
        g_assert_cmpuint(count_keys(socket), ==, 0);
        before = count_fds(keeper, socket);
        make_pipe(ends);
        g_assert_cmpint(keeper_ask(socket, GL_KEEPER_KEEP, G_MAXUINT64, ends, tags, 2), ==, 0);
        assert_fds(keeper, before + 2);

        keeper_say(socket, GL_KEEPER_LIST, 3, 0, NULL, NULL, 0);
        g_assert_true(keeper_hear(socket, &reply, got));
        g_assert_cmpuint(reply.head.type, ==, GL_KEEPER_ENTRY);
        g_assert_cmpuint(reply.head.key, ==, G_MAXUINT64);
        g_assert_cmpuint(reply.head.n, ==, 2);
        g_assert_cmpmem(reply.tags, 2, tags, 2);
        g_assert_true(is_same_file(got[0], ends[0]) && is_same_file(got[1], ends[1]));
        g_assert_cmpint(fcntl(got[1], F_GETFL) & O_ACCMODE, ==, O_WRONLY);
        close(got[0]);
        close(got[1]);
        g_assert_true(keeper_hear(socket, &reply, NULL));
        g_assert_cmpuint(reply.head.type, ==, GL_KEEPER_END);

        close(ends[1]);
        g_assert_false(has_ended(ends[0]));
        g_assert_cmpint(keeper_ask(socket, GL_KEEPER_DROP, G_MAXUINT64, NULL, NULL, 0), ==, 0);
        g_assert_true(has_ended(ends[0])); /* it was closed before the answer */
        g_assert_cmpint(keeper_ask(socket, GL_KEEPER_DROP, G_MAXUINT64, NULL, NULL, 0), ==, 0);
        g_assert_cmpuint(count_keys(socket), ==, 0);
        assert_fds(keeper, before);
        close(ends[0]);
        close(socket);
}

static void test_replace(Keeper *keeper, gconstpointer unused) {
        int socket = keeper_connect(keeper), first[2], second[2];

        make_pipe(first);
        make_pipe(second);
        g_assert_cmpint(keeper_ask(socket, GL_KEEPER_KEEP, 1, &first[1], (guint8[]){1}, 1), ==, 0);
        close(first[1]);
        g_assert_false(has_ended(first[0]));
        g_assert_cmpint(keeper_ask(socket, GL_KEEPER_KEEP, 1, &second[1], (guint8[]){1}, 1), ==, 0);
        close(second[1]);
        g_assert_true(has_ended(first[0]));
        g_assert_false(has_ended(second[0]));
        g_assert_cmpuint(count_keys(socket), ==, 1);
        close(first[0]);
        close(second[0]);
        close(socket);
}

static int try_lock(int fd) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};

        return fcntl(fd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}

static void test_locks_outlive_a_client(Keeper *keeper, gconstpointer unused) {
        g_autofree char *path = g_build_filename(keeper->directory, "image", NULL);
        int other, socket, status, ours = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        pid_t pid;

        g_assert_no_errno(ours);
        pid = fork();
        g_assert_no_errno(pid);
        if (pid == 0) {
                close(ours);
                ours = open(path, O_RDWR | O_CLOEXEC);
                socket = keeper_connect(keeper);
                if (try_lock(ours) == 0 && keeper_ask(socket, GL_KEEPER_KEEP, 9, &ours, (guint8[]){0}, 1) == 0)
                        raise(SIGKILL);
                _exit(1);
        }
        g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
        g_assert_true(WIFSIGNALED(status));
        g_assert_cmpint(try_lock(ours), ==, -EAGAIN);
        socket = keeper_connect(keeper);
        g_assert_cmpint(keeper_ask(socket, GL_KEEPER_DROP, 9, NULL, NULL, 0), ==, 0);
        g_assert_cmpint(try_lock(ours), ==, 0);

        /* And a keeper that is killed takes them along. */
        other = open(path, O_RDWR | O_CLOEXEC);
        g_assert_cmpint(keeper_ask(socket, GL_KEEPER_KEEP, 9, &ours, (guint8[]){0}, 1), ==, 0);
        close(ours);
        g_assert_cmpint(try_lock(other), ==, -EAGAIN);
        kill(keeper->pid, SIGKILL);
        g_assert_cmpint(waitpid(keeper->pid, NULL, 0), ==, keeper->pid);
        keeper->pid = 0;
        g_assert_cmpint(try_lock(other), ==, 0);
        close(other);
        close(socket);
}

static void test_as_many_as_a_message_carries(Keeper *keeper, gconstpointer unused) {
        int socket = keeper_connect(keeper), fds[251], got[GL_KEEPER_MAX_FDS];
        guint8 tags[251];
        GlKeeperDescriptors reply;

        for (guint i = 0; i < G_N_ELEMENTS(fds); i++) {
                fds[i] = 0;
                tags[i] = (guint8) i;
        }
        g_assert_cmpint(keeper_ask(socket, GL_KEEPER_KEEP, 1, fds, tags, 250), ==, 0);
        keeper_say(socket, GL_KEEPER_LIST, 1, 0, NULL, NULL, 0);
        g_assert_true(keeper_hear(socket, &reply, got));
        g_assert_cmpmem(reply.tags, reply.head.n, tags, 250);
        for (guint i = 0; i < reply.head.n; i++)
                close(got[i]);
        g_assert_true(keeper_hear(socket, &reply, NULL));

        keeper_say(socket, GL_KEEPER_KEEP, 2, 2, fds, tags, 251);
        g_assert_false(keeper_hear(socket, &reply, got));
        close(socket);
        socket = keeper_connect(keeper);
        g_assert_cmpuint(count_keys(socket), ==, 1);
        close(socket);
}

static void test_five_thousand_keys(Keeper *keeper, gconstpointer unused) {
        int socket = keeper_connect(keeper), fd = 0;
        g_autoptr(GArray) keys = NULL;
        guint before = count_fds(keeper, socket);

        for (guint64 i = 0; i < 5000; i++) /* in an order that is none */
                g_assert_cmpint(keeper_ask(socket, GL_KEEPER_KEEP, 1 + (i * 7919) % 5000, &fd, (guint8[]){1}, 1), ==, 0);
        keys = list(socket);
        g_assert_cmpuint(keys->len, ==, 5000);
        for (guint i = 0; i < keys->len; i++)
                g_assert_cmpuint(g_array_index(keys, guint64, i), ==, i + 1);
        for (guint64 i = 1; i <= 5000; i++)
                g_assert_cmpint(keeper_ask(socket, GL_KEEPER_DROP, i, NULL, NULL, 0), ==, 0);
        g_assert_cmpuint(count_keys(socket), ==, 0);
        assert_fds(keeper, before);
        close(socket);
}

/* What is dropped or added while it is listed neither hides nor doubles the rest. */
static void test_changes_while_listing(Keeper *keeper, gconstpointer unused) {
        int socket = keeper_connect(keeper), other = keeper_connect(keeper), fd = 0, got[GL_KEEPER_MAX_FDS];
        GlKeeperDescriptors reply;
        guint64 last = 0;
        guint n = 0;

        for (guint64 key = 1; key <= 3000; key++)
                g_assert_cmpint(keeper_ask(socket, GL_KEEPER_KEEP, key, &fd, (guint8[]){1}, 1), ==, 0);
        keeper_say(socket, GL_KEEPER_LIST, 1, 0, NULL, NULL, 0);
        g_assert_cmpint(keeper_ask(other, GL_KEEPER_DROP, 3000, NULL, NULL, 0), ==, 0);
        g_assert_cmpint(keeper_ask(other, GL_KEEPER_DROP, 1, NULL, NULL, 0), ==, 0);
        g_assert_cmpint(keeper_ask(other, GL_KEEPER_KEEP, 4000, &fd, (guint8[]){1}, 1), ==, 0);
        for (;;) {
                g_assert_true(keeper_hear(socket, &reply, got));
                if (reply.head.type == GL_KEEPER_END)
                        break;
                close(got[0]);
                g_assert_cmpuint(reply.head.key, >, last);
                last = reply.head.key;
                n += last >= 2 && last <= 2999;
        }
        g_assert_cmpuint(n, ==, 2998);
        g_assert_cmpuint(last, ==, 4000);
        close(socket);
        close(other);
}

static void test_a_client_that_leaves_its_list(Keeper *keeper, gconstpointer unused) {
        int socket = keeper_connect(keeper), fd = 0, got[GL_KEEPER_MAX_FDS];
        GlKeeperDescriptors reply;
        guint before;

        for (guint64 key = 1; key <= 1000; key++)
                g_assert_cmpint(keeper_ask(socket, GL_KEEPER_KEEP, key, &fd, (guint8[]){1}, 1), ==, 0);
        before = count_fds(keeper, socket);
        for (guint round = 0; round < 5; round++) {
                int other = keeper_connect(keeper);

                keeper_say(other, GL_KEEPER_LIST, 1, 0, NULL, NULL, 0);
                for (guint i = 0; i < 3; i++) {
                        g_assert_true(keeper_hear(other, &reply, got));
                        close(got[0]);
                }
                /* What was asked for before it left is done, if nobody hears of it. */
                keeper_say(other, GL_KEEPER_DROP, 2, 1 + round, NULL, NULL, 0);
                close(other);
        }
        assert_fds(keeper, before - 5);
        g_assert_cmpuint(count_keys(socket), ==, 995);
        close(socket);
}

/* One that reads nothing holds up nobody else. */
static void test_a_client_that_does_not_listen(Keeper *keeper, gconstpointer unused) {
        int socket = keeper_connect(keeper), other = keeper_connect(keeper), fd = 0;
        GlKeeperHead head = {.version = GL_KEEPER_VERSION, .type = GL_KEEPER_PING, .serial = 5};
        guint n = 0;

        for (guint64 key = 1; key <= 1000; key++)
                g_assert_cmpint(keeper_ask(socket, GL_KEEPER_KEEP, key, &fd, (guint8[]){1}, 1), ==, 0);
        keeper_say(other, GL_KEEPER_LIST, 1, 0, NULL, NULL, 0);
        while (n < 100000 && send(other, &head, sizeof(head), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
                n++;
        g_assert_cmpuint(n, >, 10);
        g_assert_cmpuint(n, <, 100000);
        g_assert_cmpint(keeper_ask(socket, GL_KEEPER_PING, 0, NULL, NULL, 0), ==, 0);
        g_assert_cmpuint(count_keys(socket), ==, 1000);
        close(other);
        g_assert_cmpint(keeper_ask(socket, GL_KEEPER_PING, 0, NULL, NULL, 0), ==, 0);
        close(socket);
}

typedef struct {
        const char *what;
        GlKeeperHead head;
        gsize size;
        guint n;
} Wrong;

static void test_malformed(Keeper *keeper, gconstpointer unused) {
        const gsize shorter = sizeof(GlKeeperHead), longer = sizeof(GlKeeperDescriptors);
        const Wrong wrongs[] = {
                {"empty", {1, GL_KEEPER_PING, 1, 0, 0, 0}, 0, 0},
                {"empty, with descriptors", {1, GL_KEEPER_PING, 1, 0, 0, 0}, 0, 2},
                {"short", {1, GL_KEEPER_PING, 1, 0, 0, 0}, shorter - 1, 0},
                {"between", {1, GL_KEEPER_KEEP, 1, 1, 0, 2}, shorter + 1, 2},
                {"long", {1, GL_KEEPER_KEEP, 1, 1, 0, 2}, longer + 1, 2},
                {"no version", {0, GL_KEEPER_PING, 1, 0, 0, 0}, shorter, 0},
                {"a later version", {2, GL_KEEPER_KEEP, 1, 1, 0, 2}, longer, 2},
                {"no type", {1, 0, 1, 0, 0, 0}, shorter, 0},
                {"an answer", {1, GL_KEEPER_DONE, 1, 0, 0, 0}, shorter, 0},
                {"a result", {1, GL_KEEPER_PING, 1, 0, -1, 0}, shorter, 0},
                {"no descriptors", {1, GL_KEEPER_KEEP, 1, 1, 0, 0}, longer, 0},
                {"none that came", {1, GL_KEEPER_KEEP, 1, 1, 0, 2}, longer, 0},
                {"fewer than it says", {1, GL_KEEPER_KEEP, 1, 1, 0, 3}, longer, 2},
                {"more than it says", {1, GL_KEEPER_KEEP, 1, 1, 0, 1}, longer, 2},
                {"far too many", {1, GL_KEEPER_KEEP, 1, 1, 0, 253}, longer, 253},
                {"no key", {1, GL_KEEPER_KEEP, 1, 0, 0, 2}, longer, 2},
                {"DROP of no key", {1, GL_KEEPER_DROP, 1, 0, 0, 0}, shorter, 0},
                {"DROP with descriptors", {1, GL_KEEPER_DROP, 1, 1, 0, 0}, shorter, 2},
                {"DROP with a number", {1, GL_KEEPER_DROP, 1, 1, 0, 2}, shorter, 2},
                {"DROP that is long", {1, GL_KEEPER_DROP, 1, 1, 0, 0}, longer, 0},
                {"LIST of a key", {1, GL_KEEPER_LIST, 1, 1, 0, 0}, shorter, 0},
                {"PING with descriptors", {1, GL_KEEPER_PING, 1, 0, 0, 0}, shorter, 1},
        };
        int socket = keeper_connect(keeper), ends[2], fds[253];
        guint before;

        make_pipe(ends);
        for (guint i = 0; i < G_N_ELEMENTS(fds); i++)
                fds[i] = ends[1];
        g_assert_cmpint(keeper_ask(socket, GL_KEEPER_KEEP, 1, (int[]){0}, (guint8[]){1}, 1), ==, 0);
        before = count_fds(keeper, socket);
        for (guint i = 0; i < G_N_ELEMENTS(wrongs); i++) {
                char data[sizeof(GlKeeperDescriptors) + 1] = {0};
                GlKeeperDescriptors reply;
                int other = keeper_connect(keeper);

                g_test_message("%s", wrongs[i].what);
                memcpy(data, &wrongs[i].head, sizeof(wrongs[i].head));
                keeper_send(other, data, wrongs[i].size, fds, wrongs[i].n);
                /* More of it in the queue when it is closed. */
                if (send(other, data, 1, MSG_NOSIGNAL) < 0)
                        g_assert_cmpint(errno, ==, EPIPE);
                g_assert_false(keeper_hear(other, &reply, NULL));
                close(other);
                g_assert_cmpuint(count_keys(socket), ==, 1);
                assert_fds(keeper, before);
        }
        close(ends[1]);
        g_assert_true(has_ended(ends[0]));
        close(ends[0]);
        close(socket);
}

static void test_too_few_descriptors(Keeper *keeper, gconstpointer unused) {
        int socket, fds[100] = {0};
        guint8 tags[100] = {0};
        guint before;

        keeper_start(keeper, 100); /* and so keeps 50 */
        socket = keeper_connect(keeper);
        g_assert_cmpint(keeper_ask(socket, GL_KEEPER_KEEP, 1, fds, tags, 30), ==, 0);
        before = count_fds(keeper, socket);
        g_assert_cmpint(keeper_ask(socket, GL_KEEPER_KEEP, 2, fds, tags, 30), ==, -EMFILE);
        g_assert_cmpint(keeper_ask(socket, GL_KEEPER_KEEP, 1, fds, tags, 100), ==, -EMFILE); /* are not even received */
        assert_fds(keeper, before);
        g_assert_cmpuint(count_keys(socket), ==, 1);
        g_assert_cmpint(keeper_ask(socket, GL_KEEPER_DROP, 1, NULL, NULL, 0), ==, 0);
        g_assert_cmpint(keeper_ask(socket, GL_KEEPER_KEEP, 2, fds, tags, 30), ==, 0);
        close(socket);
}

static void test_others_are_not_served(Keeper *keeper, gconstpointer unused) {
        g_autofree char *base = g_path_get_dirname(keeper->directory);
        int status;

        if (geteuid() != 0) {
                g_test_skip("only root can become another");
                return;
        }
        g_assert_no_errno(g_chmod(keeper->directory, 0711));
        g_assert_no_errno(g_chmod(base, 0711));
        g_assert_no_errno(g_chmod(keeper->socket, 0666));
        pid_t pid = fork();
        g_assert_no_errno(pid);
        if (pid == 0) {
                GlKeeperHead head = {.version = GL_KEEPER_VERSION, .type = GL_KEEPER_LIST, .serial = 1};
                GlKeeperDescriptors reply;

                if (setgroups(0, NULL) < 0 || setresgid(12345, 12345, 12345) < 0 ||
                    setresuid(12345, 12345, 12345) < 0)
                        _exit(2);
                int socket = keeper_connect(keeper);
                if (send(socket, &head, sizeof(head), MSG_NOSIGNAL) < 0 && errno != EPIPE)
                        _exit(3);
                if (!keeper_hear(socket, &reply, NULL))
                        raise(SIGKILL); /* valgrind would look for leaks at an exit */
                _exit(4);
        }
        g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
        g_assert_cmpint(status, ==, SIGKILL);
}

static void test_a_closing_that_hangs(Keeper *keeper, gconstpointer unused) {
        int socket = keeper_connect(keeper), other = keeper_connect(keeper), release[3];
        GlKeeperDescriptors reply;
        struct timeval soon = {.tv_usec = 100 * 1000};

        /* By a client that sends it wrongly and dies; first, since stopping a process ends what lingers in it. */
        int third = keeper_connect(keeper), lingering = keeper_make_lingering(&release[0]);
        g_assert_no_errno(kill(keeper->pid, SIGSTOP)); /* or ours could be the last to close it */
        keeper_say(third, GL_KEEPER_DROP, 1, 50, &lingering, (guint8[]){1}, 1);
        close(lingering);
        close(third);
        g_assert_no_errno(kill(keeper->pid, SIGCONT));
        g_assert_cmpint(keeper_ask(other, GL_KEEPER_PING, 0, NULL, NULL, 0), ==, 0);

        /* By replacing and by dropping. */
        for (guint64 key = 1; key <= 2; key++) {
                int fd = keeper_make_lingering(&release[key]);

                g_assert_cmpint(keeper_ask(socket, GL_KEEPER_KEEP, key, &fd, (guint8[]){1}, 1), ==, 0);
                close(fd); /* not the last one */
        }
        keeper_say(socket, GL_KEEPER_KEEP, 101, 1, (int[]){0}, (guint8[]){1}, 1);
        keeper_say(socket, GL_KEEPER_DROP, 102, 2, NULL, NULL, 0);

        /* No answer, and nobody else is held up. */
        g_assert_no_errno(setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon)));
        g_assert_cmpint(recv(socket, &reply, sizeof(reply), 0), ==, -1);
        g_assert_cmpint(errno, ==, EAGAIN);
        for (guint64 key = 10; key < 20; key++) {
                g_assert_cmpint(keeper_ask(other, GL_KEEPER_KEEP, key, (int[]){0}, (guint8[]){1}, 1), ==, 0);
                g_assert_cmpint(keeper_ask(other, GL_KEEPER_DROP, key, NULL, NULL, 0), ==, 0);
        }
        g_assert_cmpuint(count_keys(other), ==, 1);
        soon.tv_sec = PATIENCE / G_USEC_PER_SEC;
        g_assert_no_errno(setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon)));
        g_assert_cmpint(keeper_ask(socket, GL_KEEPER_PING, 0, NULL, NULL, 0), ==, 0);
        close(release[2]);
        g_assert_true(keeper_hear(socket, &reply, NULL));
        g_assert_cmpuint(reply.head.serial, ==, 102);
        close(release[1]);
        g_assert_true(keeper_hear(socket, &reply, NULL));
        g_assert_cmpuint(reply.head.serial, ==, 101);
        close(release[0]);
        close(socket);
        close(other);
}

static void test_ends_when_nothing_is_to_do(Keeper *keeper, gconstpointer unused) {
        g_autofree char *lock = g_strconcat(keeper->socket, ".lock", NULL);
        int socket;

        socket = keeper_start_idle(keeper, "100");
        g_assert_cmpint(keeper_ask(socket, GL_KEEPER_KEEP, 1, (int[]){0}, (guint8[]){1}, 1), ==, 0);
        close(socket);
        g_usleep(300 * 1000); /* it keeps something */
        socket = keeper_connect(keeper);
        g_assert_cmpint(keeper_ask(socket, GL_KEEPER_DROP, 1, NULL, NULL, 0), ==, 0);
        g_usleep(300 * 1000); /* somebody is here */
        g_assert_cmpint(keeper_ask(socket, GL_KEEPER_PING, 0, NULL, NULL, 0), ==, 0);
        close(socket);
        g_assert_cmpint(keeper_await_end(keeper), ==, 0);
        g_assert_false(g_file_test(keeper->socket, G_FILE_TEST_EXISTS));
        g_assert_false(g_file_test(lock, G_FILE_TEST_EXISTS));
}

static void test_signals(Keeper *keeper, gconstpointer unused) {
        int socket = keeper_connect(keeper);

        g_assert_cmpint(keeper_ask(socket, GL_KEEPER_KEEP, 1, (int[]){0}, (guint8[]){1}, 1), ==, 0);
        for (guint i = 0; i < 4; i++) {
                g_assert_no_errno(kill(keeper->pid, ((int[]){SIGTERM, SIGINT, SIGHUP, SIGPIPE})[i]));
                g_assert_cmpint(keeper_ask(socket, GL_KEEPER_PING, 0, NULL, NULL, 0), ==, 0);
                g_assert_cmpuint(count_keys(socket), ==, 1);
        }
        g_assert_cmpint(keeper_ask(socket, GL_KEEPER_DROP, 1, NULL, NULL, 0), ==, 0);
        g_assert_no_errno(kill(keeper->pid, SIGTERM));
        g_assert_cmpint(keeper_await_end(keeper), ==, 0);
        close(socket);
}

/* Runs a keeper that has to end by itself, and returns its exit status. */
static int run(const char *options) {
        g_autofree char *line = g_strdup_printf("'%s' %s", KEEPER, options);
        g_autoptr(GError) error = NULL;
        g_auto(GStrv) arguments = NULL;
        int status;

        g_assert_true(g_shell_parse_argv(line, NULL, &arguments, &error));
        g_assert_true(g_spawn_sync(NULL, arguments, NULL, G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, NULL, NULL, &status,
                                   &error));
        g_assert_no_error(error);
        g_assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static void test_its_socket(Keeper *keeper, gconstpointer unused) {
        g_autofree char *again = g_strconcat("--socket ", keeper->socket, NULL);
        struct stat st;
        pid_t first = keeper->pid;
        guint before = keeper_count_fds(first);

        g_assert_no_errno(stat(keeper->socket, &st));
        g_assert_cmpint(st.st_mode & 07777, ==, 0600);
        g_assert_cmpint(run(again), ==, 0); /* there is one */
        g_assert_cmpint(keeper_listener(keeper), ==, first);
        assert_fds(keeper, before);
        kill(first, SIGKILL);
        g_assert_cmpint(waitpid(first, NULL, 0), ==, first);
        g_assert_true(g_file_test(keeper->socket, G_FILE_TEST_EXISTS));
        keeper_start(keeper, 0); /* in place of what was left */

        g_assert_cmpint(run(""), ==, 2);
        g_assert_cmpint(run("--socket"), ==, 2);
        g_assert_cmpint(run("--socket relative"), ==, 2);
        g_assert_cmpint(run("--idle 0 --socket /x/y"), ==, 2);
        g_assert_cmpint(run("--socket /nonexistent/guestlock/socket"), ==, 1);
        g_assert_no_errno(g_chmod(keeper->directory, 0770));
        kill(keeper->pid, SIGKILL);
        g_assert_cmpint(waitpid(keeper->pid, NULL, 0), ==, keeper->pid);
        keeper->pid = 0;
        g_assert_cmpint(run(again), ==, 1); /* others may write there */
}

static void test_a_socket_that_is_passed(Keeper *keeper, gconstpointer unused) {
        g_autofree char *again = g_strconcat("--socket ", keeper->socket, NULL);
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        char pid[16];

        g_strlcpy(address.sun_path, keeper->socket, sizeof(address.sun_path));
        g_assert_no_errno(bind(fd, (struct sockaddr *) &address, sizeof(address)));
        g_assert_no_errno(listen(fd, 5));
        /* Somebody else's socket is not replaced. */
        g_assert_cmpint(run(again), ==, 0);
        g_assert_cmpint(keeper_listener(keeper), ==, getpid());

        keeper->pid = fork();
        g_assert_no_errno(keeper->pid);
        if (keeper->pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                g_snprintf(pid, sizeof(pid), "%d", getpid());
                setenv("LISTEN_PID", pid, 1);
                setenv("LISTEN_FDS", "1", 1);
                if (fd == 3 ? fcntl(fd, F_SETFD, 0) == 0 : dup2(fd, 3) == 3)
                        execl(KEEPER, KEEPER, NULL);
                _exit(127);
        }
        close(fd);
        fd = keeper_connect(keeper);
        g_assert_cmpint(keeper_ask(fd, GL_KEEPER_PING, 0, NULL, NULL, 0), ==, 0);
        g_assert_no_errno(kill(keeper->pid, SIGTERM));
        g_assert_cmpint(keeper_await_end(keeper), ==, 0);
        g_assert_true(g_file_test(keeper->socket, G_FILE_TEST_EXISTS)); /* it is systemd's */
        close(fd);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        keeper_guard();
#define ADD(path, set_up, func) g_test_add("/keeper/" path, Keeper, NULL, set_up, func, tear_down)
        ADD("keep-list-drop", set_up, test_keep_list_drop);
        ADD("replace", set_up, test_replace);
        ADD("locks-outlive-a-client", set_up, test_locks_outlive_a_client);
        ADD("as-many-as-a-message-carries", set_up, test_as_many_as_a_message_carries);
        ADD("five-thousand-keys", set_up, test_five_thousand_keys);
        ADD("changes-while-listing", set_up, test_changes_while_listing);
        ADD("a-client-that-leaves-its-list", set_up, test_a_client_that_leaves_its_list);
        ADD("a-client-that-does-not-listen", set_up, test_a_client_that_does_not_listen);
        ADD("malformed", set_up, test_malformed);
        ADD("too-few-descriptors", set_up_nothing, test_too_few_descriptors);
        ADD("others-are-not-served", set_up, test_others_are_not_served);
        ADD("a-closing-that-hangs", set_up, test_a_closing_that_hangs);
        ADD("ends-when-nothing-is-to-do", set_up_nothing, test_ends_when_nothing_is_to_do);
        ADD("signals", set_up, test_signals);
        ADD("its-socket", set_up, test_its_socket);
        ADD("a-socket-that-is-passed", set_up_nothing, test_a_socket_that_is_passed);
        return g_test_run();
}
