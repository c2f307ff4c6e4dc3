/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-event.h>

#include "supervisor/watch.h"

#define CHECK_INTERVAL ((guint64) G_USEC_PER_SEC)

typedef struct {
        const GlWatchOptions *options;
        sd_event *event;
        sd_event_source *check_timer, *name_timer; /* (owned) (nullable) */
        sd_bus_slot *set_child, *get_state;        /* (owned) (nullable) calls under way */
        char *owner;                               /* (owned) (nullable) of the service's name: it lives */
        guint64 name_interval; /* µs until that is tried again */
        GlLossAction action;
        gboolean paused;  /* by us */
        gboolean killing; /* whatever of the guest turns up */
        gboolean refused; /* to name another process than the first: asked once */
        pid_t first;      /* 0: it has ended, and with STATUS */
        int status;
        pid_t named;      /* the one that the service has been told, or is just being told; 0: none */
} GlWatch;

/* --- watch-guest.c: the guest's processes --- */

/* SIGNAL to the first one, or when that has ended to those that it has left behind. */
void gl_watch_signal_guest(const GlWatch *watch, int signal);
/* SIGKILL to all, and to what turns up later. */
void gl_watch_kill_all(GlWatch *watch);
/* Tells the service of the oldest that is left, if it lives and there is one. */
void gl_watch_name_next(GlWatch *watch);
/* Passes signals on, and ends the loop with the last process. */
int gl_watch_add_guest(GlWatch *watch);
