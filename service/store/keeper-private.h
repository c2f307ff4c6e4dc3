/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Of keeper.c (requests, what their callers are told) and keeper-link.c (the connection, the process). */

#include "store/closer.h"
#include "store/keeper-wire.h"
#include "store/keeper.h"

#define GL_KEEPER_PATIENCE G_USEC_PER_SEC

typedef struct Request Request;

struct Request {
        GlKeeperHead head;
        guint8 *tags;      /* (owned) (nullable) */
        int *fds;          /* (owned) (nullable) duplicates, while it waits */
        GlKeeperFunc func; /* (nullable) */
        GlKeeperDone done; /* (nullable) */
        gpointer user_data;
        int error;          /* LIST: that it will end with */
        gint64 deadline;
        GQueue *deadlines;  /* (borrowed) (nullable) of the two, the one that it is in; NULL: its caller was told */
        GList deadline_link;
        gboolean is_waiting;
        GList link; /* in `waiting` */
};

/* What somebody is to be told from the loop; with DONE NULL that the keeper is READY, or not. */
typedef struct {
        GlKeeperDone done; /* (nullable) */
        gpointer user_data;
        int result;
        gboolean ready;
} Telling;

struct GlKeeper {
        sd_event *event; /* (owned) */
        char *socket;    /* (owned) */
        char *program;   /* (owned) (nullable) */
        GlKeeperReady tell_ready; /* (nullable) */
        gpointer ready_data;
        int fd;                     /* -1: not connected */
        guint32 pid;                /* of who answers there; 0: nobody yet */
        sd_event_source *io;        /* (owned) (nullable) */
        sd_event_source *connect;   /* (owned) when to connect */
        sd_event_source *expire;    /* (owned) at the first deadline */
        sd_event_source *tell;      /* (owned) */
        sd_event_source *starter;   /* (owned) (nullable) the child that starts the keeper */
        pid_t starter_pid;
        GQueue waiting;             /* of Request (owned) */
        GHashTable *sent;           /* (owned) serial → Request (owned) */
        GQueue deadlines[2];        /* of Request, LISTs apart, the first deadline first */
        GQueue tellings;            /* of Telling (owned) */
        guint64 last_serial;
        gboolean lost;      /* the connection broke where that could not be dealt with */
        gboolean pinging;
        gboolean ready;     /* it answered the last PING */
        gboolean hopeless;  /* nobody there, and nobody on the way */
        gboolean complained;
        guint n_tries;      /* to connect, since a connection lasted */
        guint n_left;       /* of these for the keeper that was started, to be there */
        gint64 connected_at, answered_at;
        gint64 patience;    /* µs to answer in: GL_KEEPER_PATIENCE, but in tests of something else */
        GlCloser *closer;   /* (owned) */
};

/* keeper.c */
void gl_keeper_end(GlKeeper *keeper, Request *request, int result); /* tells its caller, and frees it */
void gl_keeper_say_ready(GlKeeper *keeper, gboolean ready);
void gl_keeper_set_deadline(GlKeeper *keeper, Request *request); /* anew */
void gl_keeper_flush(GlKeeper *keeper);
void gl_keeper_ping(GlKeeper *keeper);
/* What was sent and is not answered, in the order in which it was asked for, and now is neither there nor waiting. */
GPtrArray *gl_keeper_take_sent(GlKeeper *keeper);

/* keeper-link.c */
void gl_keeper_connect_now(GlKeeper *keeper);
void gl_keeper_read(GlKeeper *keeper);       /* what has come */
void gl_keeper_disconnect(GlKeeper *keeper); /* and tries again */
void gl_keeper_hang_up(GlKeeper *keeper);    /* just that */
void gl_keeper_reap_starter(GlKeeper *keeper);
