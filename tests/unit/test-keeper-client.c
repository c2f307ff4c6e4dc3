/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The service's client of the real guestlock-keeper: nothing may hold up the loop, whatever becomes of the keeper. */
#include "store/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "keeper-fixture.h"
#include "store/keeper-private.h"

#define TICK (20 * 1000)

typedef struct {
        Keeper process;
        sd_event *event;
        sd_event_source *ticker;
        GlKeeper *keeper;
        gint64 last_tick, longest_pause;
        GString *readiness; /* + and - */
        guint n_done, n_ok;
        int last_result;
        guint64 n_fds; /* listed */
        GArray *keys;  /* listed */
        int release;   /* of what lingers; -1: none */
} Fixture;

static int on_tick(sd_event_source *source, uint64_t usec, void *user_data) {
        Fixture *fixture = user_data;
        gint64 now = g_get_monotonic_time();

        if (fixture->last_tick)
                fixture->longest_pause = MAX(fixture->longest_pause, now - fixture->last_tick);
        fixture->last_tick = now;
        sd_event_source_set_time(source, (guint64) now + TICK);
        return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static void on_ready(GlKeeper *keeper, gboolean ready, gpointer user_data) {
        Fixture *fixture = user_data;

        g_string_append_c(fixture->readiness, ready ? '+' : '-');
}

static void on_done(int result, gpointer user_data) {
        Fixture *fixture = user_data;

        fixture->n_done++;
        fixture->n_ok += result == 0;
        fixture->last_result = result;
}

static void on_key(guint64 key, const int *fds, const guint8 *tags, guint n, gpointer user_data) {
        Fixture *fixture = user_data;

        g_array_append_val(fixture->keys, key);
        for (guint i = 0; i < n; i++) {
                g_assert_cmpint(fcntl(fds[i], F_GETFD) & FD_CLOEXEC, !=, 0);
                g_assert_cmpuint(tags[i], ==, (key + i) % 256);
                close(fds[i]);
        }
        fixture->n_fds += n;
}

static void set_up(Fixture *fixture, gconstpointer unused) {
        keeper_set_up(&fixture->process);
        g_assert_cmpint(sd_event_new(&fixture->event), >=, 0);
        g_assert_cmpint(sd_event_add_time(fixture->event, &fixture->ticker, CLOCK_MONOTONIC, 0, 1, on_tick, fixture), >=,
                        0);
        fixture->readiness = g_string_new(NULL);
        fixture->keys = g_array_new(FALSE, FALSE, sizeof(guint64));
        fixture->release = -1;
}

static void tear_down(Fixture *fixture, gconstpointer unused) {
        gl_keeper_free(fixture->keeper);
        if (fixture->release >= 0)
                close(fixture->release);
        keeper_tear_down(&fixture->process);
        g_array_free(fixture->keys, TRUE);
        g_string_free(fixture->readiness, TRUE);
        sd_event_source_disable_unref(fixture->ticker);
        sd_event_unref(fixture->event);
}

/* The loop runs until CONDITION holds, which has to be soon. */
#define RUN_UNTIL(condition)                                                                                           \
        G_STMT_START {                                                                                                 \
                gint64 until = g_get_monotonic_time() + 2 * PATIENCE;                                                  \
                while (!(condition) && g_get_monotonic_time() < until)                                                 \
                        g_assert_cmpint(sd_event_run(fixture->event, TICK), >=, 0);                                    \
                g_assert_true(condition);                                                                              \
        }                                                                                                              \
        G_STMT_END

static void open_keeper(Fixture *fixture, const char *program) {
        fixture->keeper = gl_keeper_new(fixture->event, fixture->process.socket, program);
        g_assert_nonnull(fixture->keeper);
        /* What is slow here is the machine, unless a test says so: to answer, and to be there at all. */
        fixture->keeper->patience = PATIENCE;
        if (fixture->keeper->n_left > 0)
                fixture->keeper->n_left = 100;
        gl_keeper_set_ready(fixture->keeper, on_ready, fixture);
}

static void start_and_open(Fixture *fixture) {
        keeper_start(&fixture->process, 0);
        open_keeper(fixture, NULL);
        RUN_UNTIL(g_str_equal(fixture->readiness->str, "+"));
}

static void keep_fd(Fixture *fixture, guint64 key, int fd) {
        gl_keeper_keep(fixture->keeper, key, &fd, (guint8[]){(guint8) key}, 1, on_done, fixture);
}

static void keep(Fixture *fixture, guint64 key) {
        keep_fd(fixture, key, 0);
}

static void drop(Fixture *fixture, guint64 key) {
        gl_keeper_drop(fixture->keeper, key, on_done, fixture);
}

/* The next result, of one request that is under way. */
static int result(Fixture *fixture) {
        guint before = fixture->n_done;

        RUN_UNTIL(fixture->n_done > before);
        g_assert_cmpuint(fixture->n_done, ==, before + 1);
        return fixture->last_result;
}

static guint list(Fixture *fixture) {
        g_array_set_size(fixture->keys, 0);
        fixture->n_fds = 0;
        gl_keeper_list(fixture->keeper, on_key, on_done, fixture);
        g_assert_cmpint(result(fixture), ==, 0);
        return fixture->keys->len;
}

/* Whose peer is the keeper. */
static int client_end(const Fixture *fixture) {
        for (int fd = 3; fd < 100; fd++) {
                struct ucred peer = {0};
                socklen_t size = sizeof(peer);

                if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid == fixture->process.pid)
                        return fd;
        }
        g_assert_not_reached();
}

/* valgrind 3.19 gives up the whole program on the clone() that starts one, and can be told by what else it lacks. */
static gboolean cannot_start(void) {
        int fd = (int) syscall(SYS_pidfd_open, getpid(), 0);

        if (fd >= 0) {
                close(fd);
                return FALSE;
        }
        g_test_skip("no pidfd_open() here (valgrind 3.19 lacks it)");
        return TRUE;
}

static void test_starts_a_keeper(Fixture *fixture, gconstpointer unused) {
        g_autofree char *stat_path = NULL, *stat_text = NULL;
        int held = open("/dev/zero", O_RDONLY); /* without close-on-exec, on purpose */
        int parent, group, session;
        pid_t pid;

        if (cannot_start()) {
                close(held);
                return;
        }
        open_keeper(fixture, KEEPER);
        g_assert_cmpuint(list(fixture), ==, 0); /* asked for before anybody is there */
        RUN_UNTIL(g_str_equal(fixture->readiness->str, "+"));
        pid = keeper_listener(&fixture->process);
        g_assert_cmpint(pid, >, 0);
        stat_path = g_strdup_printf("/proc/%d/stat", pid);
        g_assert_true(g_file_get_contents(stat_path, &stat_text, NULL, NULL));
        g_assert_cmpint(sscanf(strrchr(stat_text, ')') + 2, "%*c %d %d %d", &parent, &group, &session), ==, 3);
        g_assert_cmpint(parent, !=, getpid());
        g_assert_cmpint(session, !=, getsid(0));
        keeper_await_fds(pid, 3 + 4 + 1); /* its own, and our connection */
        close(held);

        keep(fixture, 5);
        g_assert_cmpint(result(fixture), ==, 0);
        g_clear_pointer(&fixture->keeper, gl_keeper_free);
        open_keeper(fixture, KEEPER);
        g_assert_cmpuint(list(fixture), ==, 1);
        g_assert_cmpuint(g_array_index(fixture->keys, guint64, 0), ==, 5);
        g_assert_cmpint(keeper_listener(&fixture->process), ==, pid);
        drop(fixture, 5);
        g_assert_cmpint(result(fixture), ==, 0);
        g_assert_cmpuint(list(fixture), ==, 0);
}

static void test_nothing_is_told_before_the_call_returns(Fixture *fixture, gconstpointer unused) {
        int fds[251] = {0};
        guint8 tags[251] = {0};

        start_and_open(fixture);
        keep(fixture, 1);
        drop(fixture, 1);
        keep(fixture, 0);
        gl_keeper_keep(fixture->keeper, 1, fds, tags, 0, on_done, fixture);
        gl_keeper_keep(fixture->keeper, 1, fds, tags, 251, on_done, fixture);
        gl_keeper_list(fixture->keeper, on_key, on_done, fixture);
        g_assert_cmpuint(fixture->n_done, ==, 0);
        RUN_UNTIL(fixture->n_done == 6);
        g_assert_cmpuint(fixture->n_ok, ==, 3);
        gl_keeper_drop(fixture->keeper, 1, NULL, NULL); /* nobody has to listen */
        g_assert_cmpuint(list(fixture), ==, 0);
}

/* More than the socket takes: they wait as duplicates, which are closed. */
static void test_five_thousand_at_once(Fixture *fixture, gconstpointer unused) {
        const guint n = 5000;
        guint before;
        int ends[2];

        start_and_open(fixture);
        before = keeper_count_fds(getpid());
        g_assert_no_errno(pipe2(ends, O_CLOEXEC));
        g_assert_no_errno(kill(fixture->process.pid, SIGSTOP)); /* it might be the quicker of the two */
        for (guint64 key = 1; key <= n; key++)
                keep_fd(fixture, key, ends[1]);
        g_assert_no_errno(kill(fixture->process.pid, SIGCONT));
        g_assert_cmpuint(keeper_count_fds(getpid()), >, before + 2); /* or it shows nothing */
        close(ends[0]);
        close(ends[1]);
        RUN_UNTIL(fixture->n_done == n);
        g_assert_cmpuint(fixture->n_ok, ==, n);
        RUN_UNTIL(keeper_count_fds(getpid()) == before);
        g_assert_cmpuint(list(fixture), ==, n);
        g_assert_cmpuint(fixture->n_fds, ==, n);
        for (guint64 key = 1; key <= n; key++)
                drop(fixture, key);
        RUN_UNTIL(fixture->n_done == 2 * n + 1);
        g_assert_cmpuint(fixture->n_ok, ==, 2 * n + 1);
        g_assert_cmpuint(list(fixture), ==, 0);
        g_assert_cmpuint(keeper_count_fds(getpid()), ==, before);
        g_assert_cmpstr(fixture->readiness->str, ==, "+");
}

static void test_a_keeper_that_is_stopped(Fixture *fixture, gconstpointer unused) {
        guint before, n = 1001;

        start_and_open(fixture);
        keep(fixture, 1);
        g_assert_cmpint(result(fixture), ==, 0);
        before = keeper_count_fds(getpid());
        g_assert_no_errno(kill(fixture->process.pid, SIGSTOP));
        fixture->keeper->patience = GL_KEEPER_PATIENCE;
        fixture->n_done = fixture->n_ok = 0;
        fixture->longest_pause = 0;
        for (guint64 key = 2; key <= n; key++)
                keep(fixture, key);
        drop(fixture, 1);
        g_assert_cmpuint(fixture->n_done, ==, 0);
        RUN_UNTIL(fixture->n_done == n);
        g_assert_cmpuint(fixture->n_ok, ==, 0);
        g_assert_cmpint(fixture->last_result, ==, -ETIMEDOUT);
        RUN_UNTIL(g_str_equal(fixture->readiness->str, "+-"));
        RUN_UNTIL(keeper_count_fds(getpid()) == before);
        /* Moments, and what a loaded machine makes of them; waiting for it would have no end. */
        g_assert_cmpint(fixture->longest_pause, <, 5 * G_USEC_PER_SEC);

        fixture->keeper->patience = PATIENCE;
        g_assert_no_errno(kill(fixture->process.pid, SIGCONT));
        RUN_UNTIL(g_str_equal(fixture->readiness->str, "+-+"));
        g_assert_cmpuint(fixture->n_done, ==, n); /* late answers are nobody's */
        keep(fixture, 5000);
        g_assert_cmpint(result(fixture), ==, 0);
        list(fixture);
        g_assert_cmpuint(g_array_index(fixture->keys, guint64, 0), !=, 1); /* dropped, if late */
        g_assert_cmpuint(g_array_index(fixture->keys, guint64, fixture->keys->len - 1), ==, 5000);
}

/* Who comes late himself does not hold that against the keeper. */
static void test_a_loop_that_is_late(Fixture *fixture, gconstpointer unused) {
        struct pollfd answer = {.fd = -1, .events = POLLIN};

        start_and_open(fixture);
        answer.fd = client_end(fixture);
        keep(fixture, 1);
        g_assert_cmpint(poll(&answer, 1, 30 * 1000), ==, 1);
        g_usleep(1200 * 1000);
        g_assert_cmpint(result(fixture), ==, 0);
        g_assert_cmpstr(fixture->readiness->str, ==, "+");
}

static void test_a_keeper_that_is_killed(Fixture *fixture, gconstpointer unused) {
        pid_t first, second;

        if (cannot_start())
                return;
        open_keeper(fixture, KEEPER);
        RUN_UNTIL(g_str_equal(fixture->readiness->str, "+"));
        first = keeper_listener(&fixture->process);
        keep(fixture, 1);
        g_assert_cmpint(result(fixture), ==, 0);

        g_assert_no_errno(kill(first, SIGSTOP));
        keep(fixture, 2);
        g_assert_no_errno(kill(first, SIGKILL));
        g_assert_cmpint(result(fixture), ==, -ECONNRESET);
        RUN_UNTIL(g_str_equal(fixture->readiness->str, "+-+"));
        second = keeper_listener(&fixture->process);
        g_assert_cmpint(second, !=, first);
        g_assert_cmpuint(list(fixture), ==, 0);

        /* What a DROP was about is gone with the keeper; and it is not told twice. */
        keep(fixture, 3);
        g_assert_cmpint(result(fixture), ==, 0);
        g_assert_no_errno(kill(second, SIGSTOP));
        drop(fixture, 3);
        g_assert_no_errno(kill(second, SIGKILL));
        g_assert_cmpint(result(fixture), ==, 0);
        RUN_UNTIL(g_str_equal(fixture->readiness->str, "+-+-+"));
        keep(fixture, 4);
        g_assert_cmpint(result(fixture), ==, 0);
        g_assert_cmpuint(list(fixture), ==, 1);
}

/* Over a new connection to the same keeper a DROP is asked for again. */
static void test_a_connection_that_breaks(Fixture *fixture, gconstpointer unused) {
        start_and_open(fixture);
        keep(fixture, 1);
        keep(fixture, 2);
        RUN_UNTIL(fixture->n_ok == 2);
        g_assert_no_errno(kill(fixture->process.pid, SIGSTOP));
        drop(fixture, 1);
        keep(fixture, 3);
        g_assert_no_errno(shutdown(client_end(fixture), SHUT_RDWR));
        g_assert_cmpint(result(fixture), ==, -ECONNRESET); /* of the KEEP */
        g_assert_no_errno(kill(fixture->process.pid, SIGCONT));
        g_assert_cmpint(result(fixture), ==, 0); /* of the DROP */
        RUN_UNTIL(g_str_equal(fixture->readiness->str, "+-+"));
        list(fixture);
        g_assert_cmpuint(g_array_index(fixture->keys, guint64, 0), ==, 2);
}

static void test_nobody_there(Fixture *fixture, gconstpointer unused) {
        open_keeper(fixture, NULL);
        gl_keeper_list(fixture->keeper, on_key, on_done, fixture);
        g_assert_cmpint(result(fixture), ==, -ENOTCONN);
        keep(fixture, 1);
        g_assert_cmpint(result(fixture), ==, -ENOTCONN);
        drop(fixture, 1);
        g_assert_cmpint(result(fixture), ==, 0);
        g_assert_cmpstr(fixture->readiness->str, ==, "");
        keeper_start(&fixture->process, 0);
        RUN_UNTIL(g_str_equal(fixture->readiness->str, "+"));
        keep(fixture, 1);
        g_assert_cmpint(result(fixture), ==, 0);
        g_assert_cmpuint(list(fixture), ==, 1);
}

static void test_a_closing_that_hangs(Fixture *fixture, gconstpointer unused) {
        int fd = keeper_make_lingering(&fixture->release);

        start_and_open(fixture);
        keep_fd(fixture, 1, fd);
        g_assert_cmpint(result(fixture), ==, 0);
        close(fd);
        fixture->keeper->patience = GL_KEEPER_PATIENCE;
        drop(fixture, 1);
        fixture->keeper->patience = PATIENCE;
        keep(fixture, 2);
        g_assert_cmpint(result(fixture), ==, 0); /* the other's */
        fixture->keeper->patience = GL_KEEPER_PATIENCE;
        g_assert_cmpint(result(fixture), ==, -ETIMEDOUT);
        fixture->keeper->patience = PATIENCE;
        RUN_UNTIL(!fixture->keeper->pinging); /* it was asked then whether it is well, and has answered */
        g_assert_cmpstr(fixture->readiness->str, ==, "+");
        g_assert_cmpuint(list(fixture), ==, 1);
        close(fixture->release);
        fixture->release = -1;
        keep(fixture, 1);
        g_assert_cmpint(result(fixture), ==, 0);
        RUN_UNTIL(g_hash_table_size(fixture->keeper->sent) == 0); /* the late answer is nobody's */
        g_assert_cmpuint(list(fixture), ==, 2);
}

static void test_free_tells_everybody(Fixture *fixture, gconstpointer unused) {
        start_and_open(fixture);
        g_assert_no_errno(kill(fixture->process.pid, SIGSTOP));
        for (guint64 key = 1; key <= 1000; key++)
                keep(fixture, key);
        drop(fixture, 1);
        gl_keeper_list(fixture->keeper, on_key, on_done, fixture);
        g_clear_pointer(&fixture->keeper, gl_keeper_free);
        g_assert_cmpuint(fixture->n_done, ==, 1002);
        g_assert_cmpuint(fixture->n_ok, ==, 0);
        g_assert_cmpint(fixture->last_result, ==, -ECANCELED);
        g_assert_cmpstr(fixture->readiness->str, ==, "+");
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        keeper_guard();
#define ADD(path, data, func) g_test_add("/keeper-client/" path, Fixture, data, set_up, func, tear_down)
        ADD("starts-a-keeper", NULL, test_starts_a_keeper);
        ADD("nothing-is-told-before-the-call-returns", NULL, test_nothing_is_told_before_the_call_returns);
        ADD("five-thousand-at-once", NULL, test_five_thousand_at_once);
        ADD("a-keeper-that-is-stopped", NULL, test_a_keeper_that_is_stopped);
        ADD("a-loop-that-is-late", NULL, test_a_loop_that_is_late);
        ADD("a-keeper-that-is-killed", NULL, test_a_keeper_that_is_killed);
        ADD("a-connection-that-breaks", NULL, test_a_connection_that_breaks);
        ADD("nobody-there", NULL, test_nobody_there);
        ADD("a-closing-that-hangs", NULL, test_a_closing_that_hangs);
        ADD("free-tells-everybody", NULL, test_free_tells_everybody);
        return g_test_run();
}
