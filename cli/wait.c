/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Waiting that can be seen, and given up. The line on the terminal is drawn anew each second; who is in the way is
 * asked every other one, and that question never delays the call itself. Where there is no terminal, it is said once.
 *
 * Ctrl-C reaches polkit's agent too, and with that gone the call fails. Whichever of the two the loop hears of first,
 * it was the signal that ended it: so its handler notes that itself, before anything can follow from it.
 */

#include "wait.h"

#include <errno.h>
#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "lease-options.h"
#include "obstacles.h"
#include "password.h"
#include "screen.h"

/* What is granted at once is not worth a line. */
#define PATIENCE_MS 400
#define LOOK_EVERY  2

typedef struct {
        GlCli *cli;
        const GlWaitsFor *what;
        GMainLoop *loop;           /* (owned) */
        GCancellable *cancellable; /* (owned) of the call */
        GCancellable *looking;     /* (owned) of the question, while there is one */
        GAsyncResult *result;      /* (owned) (nullable) */
        char *obstacle;            /* (owned) (nullable) */
        gint64 begin;
        guint n_ticks, timer;
        gboolean on_terminal, has_said, is_looking;
} Wait;

static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
static volatile sig_atomic_t signalled_by;
static int wake_fd = -1;

static gsize terminal_width(void) {
        struct winsize size;

        return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/* The terminal is somebody else's then: polkit's agent reads a password there, and its prompt must not be overwritten.
 */
static gboolean is_echo_off(void) {
        struct termios state;

        return tcgetattr(STDERR_FILENO, &state) == 0 && !(state.c_lflag & ECHO);
}

/* On one line, whatever is in it: one that wraps could not be drawn again. */
static void draw(Wait *self) {
        gint64 seconds = (g_get_monotonic_time() - self->begin) / G_USEC_PER_SEC;
        g_autofree char *holder = gl_screen_printable(self->obstacle ?: "those who came before");
        g_autofree char *count =
                g_strdup_printf("  %" G_GINT64_FORMAT ":%02" G_GINT64_FORMAT, seconds / 60, seconds % 60);
        gsize width = terminal_width() - 1, taken = strlen("Waiting for ") + strlen(count);
        g_autofree char *cut = gl_screen_cut(holder, width > taken ? width - taken : 0);
        g_autofree char *line = g_strdup_printf("Waiting for %s%s", cut, count);
        g_autofree char *fitting = gl_screen_cut(line, width);

        /* Before the prompt the echo is still on; and who asks is not always the agent's child. */
        if (self->on_terminal && (gl_password_is_asked() || is_echo_off()))
                return;
        if (self->on_terminal)
                fprintf(stderr, "\r%s%s%s\033[K", gl_screen_begin(stderr, GL_COLOUR_WARNING), fitting,
                        gl_screen_end(stderr));
        else if (!self->has_said)
                fprintf(stderr, "Waiting for %s.\n", holder);
        self->has_said = TRUE;
        fflush(stderr);
}

static void erase(const Wait *self) {
        if (self->on_terminal && self->has_said)
                fputs("\r\033[K", stderr);
        fflush(stderr);
}

static void looked(GObject *manager, GAsyncResult *result, gpointer data) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GPtrArray) obstacles =
                guestlock_manager_test_acquire_finish(GUESTLOCK_MANAGER(manager), result, &error);
        Wait *self = data;

        self->is_looking = FALSE;
        if (g_cancellable_is_cancelled(self->looking))
                return;
        g_clear_pointer(&self->obstacle, g_free);
        if (obstacles && obstacles->len)
                self->obstacle = gl_text_of_obstacle(obstacles->pdata[0]);
        draw(self);
}

static void look(Wait *self) {
        if (self->is_looking || !self->what)
                return;
        self->is_looking = TRUE;
        guestlock_manager_test_acquire_async(self->cli->manager, self->what->uuid, self->what->request, self->looking,
                                             looked, self);
}

static gboolean tick(gpointer data) {
        Wait *self = data;

        if (self->n_ticks++ % LOOK_EVERY == 0)
                look(self);
        else if (self->has_said)
                draw(self);
        return G_SOURCE_CONTINUE;
}

static gboolean begin_drawing(gpointer data) {
        Wait *self = data;

        self->timer = g_timeout_add(1000, tick, self);
        tick(self);
        return G_SOURCE_REMOVE;
}

static void ended(GObject *source, GAsyncResult *result, gpointer data) {
        Wait *self = data;

        self->result = g_object_ref(result);
        g_main_loop_quit(self->loop);
}

static void on_signal(int number) {
        int before = errno;

        signalled_by = number;
        eventfd_write(wake_fd, 1);
        errno = before;
}

static gboolean interrupted(int fd, GIOCondition condition, gpointer data) {
        Wait *self = data;

        g_cancellable_cancel(self->cancellable);
        return G_SOURCE_REMOVE;
}

static void catch_signals(struct sigaction *before) {
        struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

        wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (wake_fd < 0)
                g_error("There is nothing to be woken by: %s", g_strerror(errno));
        for (gsize i = 0; i < G_N_ELEMENTS(signals); i++)
                sigaction(signals[i], &action, &before[i]);
}

static void let_signals_be(const struct sigaction *before) {
        for (gsize i = 0; i < G_N_ELEMENTS(signals); i++)
                sigaction(signals[i], &before[i], NULL);
        close(wake_fd);
}

GAsyncResult *gl_wait(GlCli *cli, const GlWaitsFor *what, GlBegin begin, gpointer data) {
        Wait self = {.cli = cli, .what = what, .begin = g_get_monotonic_time(), .on_terminal = isatty(STDERR_FILENO)};
        struct sigaction before[G_N_ELEMENTS(signals)];
        g_autoptr(GSource) wake = NULL;

        catch_signals(before);
        wake = g_unix_fd_source_new(wake_fd, G_IO_IN);
        g_source_set_callback(wake, G_SOURCE_FUNC(interrupted), &self, NULL);
        g_source_attach(wake, NULL);
        self.loop = g_main_loop_new(NULL, FALSE);
        self.cancellable = g_cancellable_new();
        self.looking = g_cancellable_new();
        if (gl_lease_options.wait || gl_lease_options.timeout)
                self.timer = g_timeout_add(PATIENCE_MS, begin_drawing, &self);
        begin(data, self.cancellable, ended, &self);
        g_main_loop_run(self.loop);
        if (self.timer)
                g_source_remove(self.timer);
        g_cancellable_cancel(self.looking);
        while (self.is_looking)
                g_main_context_iteration(NULL, TRUE);
        g_source_destroy(wake);
        let_signals_be(before);
        cli->interrupted_by = signalled_by;
        erase(&self);
        g_main_loop_unref(self.loop);
        g_object_unref(self.cancellable);
        g_object_unref(self.looking);
        g_free(self.obstacle);
        return self.result;
}

/* --- starting a guest --- */

typedef struct {
        GuestlockManager *manager;
        const char *uuid, *name;
        GuestlockRequest *request;
} Start;

static void begin_starting(gpointer data, GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data) {
        Start *what = data;

        guestlock_manager_start_guest_async(what->manager, what->uuid, what->name, what->request, cancellable, callback,
                                            user_data);
}

GuestlockGuest *gl_start_guest(GlCli *cli, const char *uuid, const char *name, GuestlockRequest *request,
                               GuestlockRequest *by_names, GError **error) {
        GlWaitsFor obstacles = {NULL, by_names};
        Start what = {cli->manager, uuid, name, request};
        g_autoptr(GAsyncResult) result = gl_wait(cli, &obstacles, begin_starting, &what);

        return guestlock_manager_start_guest_finish(cli->manager, result, error);
}
