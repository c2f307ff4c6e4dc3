/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The first process is the guest's until it ends. What it leaves behind becomes ours (we are a subreaper), and the
 * oldest of that is reported as the guest's next, so that the service always knows one that it can end, and that
 * keeps it from taking the guest for ended. The last one's end is ours.
 */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/error.h"
#include "supervisor/acquire.h"
#include "supervisor/descendants.h"
#include "supervisor/watch-private.h"

#define MIN_NAME_INTERVAL ((guint64) G_USEC_PER_SEC / 100)

/* --- signals to the guest --- */

void gl_watch_signal_guest(const GlWatch *watch, int number) {
        g_autoptr(GArray) children = NULL;

        if (watch->first != 0) {
                kill(watch->first, number);
                return;
        }
        children = gl_children();
        for (guint i = 0; i < children->len; i++)
                kill(g_array_index(children, pid_t, i), number);
}

void gl_watch_kill_all(GlWatch *watch) {
        g_autoptr(GArray) children = gl_children();

        watch->killing = TRUE;
        for (guint i = 0; i < children->len; i++)
                kill(g_array_index(children, pid_t, i), SIGKILL);
}

static int signal_came(sd_event_source *source, const struct signalfd_siginfo *info, void *data) {
        const GlWatch *watch = data;

        /* What a terminal sends goes to the whole process group: the guest has got it already. */
        if (info->ssi_code == SI_KERNEL && watch->first != 0 && getpgid(watch->first) == getpgrp())
                return 0;
        gl_watch_signal_guest(watch, (int) info->ssi_signo);
        return 0;
}

/* --- who is the guest's process --- */

static int name_later(sd_event_source *source, uint64_t usec, void *data) {
        GlWatch *watch = data;

        if (watch->named == 0)
                gl_watch_name_next(watch);
        return 0;
}

static void try_naming_later(GlWatch *watch) {
        watch->name_interval = CLAMP(2 * watch->name_interval, MIN_NAME_INTERVAL, CHECK_INTERVAL);
        sd_event_source_set_time_relative(watch->name_timer, watch->name_interval);
        sd_event_source_set_enabled(watch->name_timer, SD_EVENT_ONESHOT);
}

static int child_set(sd_bus_message *reply, void *data, sd_bus_error *unused) {
        const sd_bus_error *error = sd_bus_message_get_error(reply);
        GlWatch *watch = data;

        watch->set_child = sd_bus_slot_unref(watch->set_child);
        if (!error) {
                watch->name_interval = 0;
                return 0;
        }
        watch->named = 0;
        /* It has not heard yet that the one before has ended, or this one has by now, or the service is not well. */
        if (gl_error_code_of(error) == GL_ERROR_ALREADY_EXISTS || gl_error_is_passing(error) ||
            sd_bus_error_has_name(error, SD_BUS_ERROR_INVALID_ARGS)) {
                try_naming_later(watch);
        } else if (watch->owner && !watch->refused) {
                watch->refused = TRUE;
                fprintf(stderr, "guestlock-supervisor: another process of the guest cannot be made known: %s\n",
                        error->message);
        }
        return 0;
}

void gl_watch_name_next(GlWatch *watch) {
        __attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *message = NULL;
        g_autoptr(GArray) children = gl_children();
        sd_bus *bus = watch->options->calls->bus;
        int pidfd, r;

        if (children->len == 0 || !watch->owner || watch->refused)
                return;
        pidfd = (int) syscall(SYS_pidfd_open, g_array_index(children, pid_t, 0), 0);
        if (pidfd < 0)
                return;
        r = sd_bus_message_new_method_call(bus, &message, GL_SERVICE, watch->options->calls->guest, GL_GUEST_INTERFACE,
                                           "SetChild");
        if (r >= 0)
                r = sd_bus_message_set_auto_start(message, FALSE);
        if (r >= 0)
                r = gl_supervisor_fill_set_child(message, pidfd, watch->options->keep_orphan);
        watch->set_child = sd_bus_slot_unref(watch->set_child);
        if (r >= 0)
                r = sd_bus_call_async(bus, &watch->set_child, message, child_set, watch, 0);
        if (r >= 0)
                watch->named = g_array_index(children, pid_t, 0);
        close(pidfd);
}

static int child_ended(sd_event_source *source, const struct signalfd_siginfo *info, void *data) {
        GlWatch *watch = data;
        int status;
        pid_t pid;

        while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
                if (pid == watch->first) {
                        watch->first = 0;
                        watch->status = status;
                }
                if (pid == watch->named)
                        watch->named = 0;
        }
        if (pid < 0 && errno == ECHILD)
                return sd_event_exit(watch->event, 0);
        if (watch->killing)
                gl_watch_kill_all(watch);
        if (watch->named == 0)
                gl_watch_name_next(watch);
        return 0;
}

/* --- in the loop --- */

int gl_watch_add_guest(GlWatch *watch) {
        int r = sd_event_add_signal(watch->event, NULL, SIGCHLD, child_ended, watch);

        for (const int *one = gl_passed_signals; r >= 0 && *one; one++)
                r = sd_event_add_signal(watch->event, NULL, *one, signal_came, watch);
        if (r >= 0)
                r = sd_event_add_time_relative(watch->event, &watch->name_timer, CLOCK_MONOTONIC, 0, 0, name_later,
                                               watch);
        return r < 0 ? r : sd_event_source_set_enabled(watch->name_timer, SD_EVENT_OFF);
}
