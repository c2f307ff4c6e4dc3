/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "storage/workers.h"

/*
 * What workers.c (pieces, threads' mailbox) and turns.c (whose piece is next, on which thread) share.
 */

/* What the threads see. */
typedef struct {
        GAsyncQueue *finished; /* (owned) of GlPiece */
        int wake_up;           /* eventfd */
        gint abandoned;        /* atomic: nobody reads it any more, and nothing is to be begun */
} GlMailbox;

/* Whoever pays for work: a uid for his calls, or, apart from these, for what the service does for his guests. */
typedef struct {
        guint32 uid;
        gboolean chores;
        guint n_threads; /* that are busy for it */
        guint n_lines;
} GlAccount;

typedef struct GlLine GlLine;

/* A storage. */
typedef struct {
        char *storage;     /* (owned) */
        GThreadPool *pool; /* (owned) (nullable) its thread */
        GQueue lines;      /* of GlLine (owned): all that have pieces here; the next one first */
        GlLine *turn;      /* (nullable) (borrowed) whose pieces the thread has */
        guint n_ahead;     /* so many */
        gboolean waits;    /* in GlWorkers.waiting */
        GList link;        /* there */
} GlWorker;

/* An account's pieces for one storage. */
struct GlLine {
        GlWorker *worker;   /* (borrowed) */
        GlAccount *account; /* (borrowed) */
        GQueue waiting;     /* of GlPiece: those that no thread has yet */
        GList link;         /* in GlWorker.lines */
};

struct GlPiece {
        GlWork work;
        GlWorkDone done;
        gpointer data;
        GlMailbox *mailbox; /* (owned) until it has run: the queue must not keep itself alive */

        /* The loop's. */
        GlLine *line;     /* (borrowed) */
        gint64 submitted; /* µs, monotonic */
        gboolean waits;   /* no thread has it yet */
        GList link;       /* in GlWorkers.pieces */
        GList place;      /* in GlLine.waiting */
};

struct GlWorkers {
        sd_event *event;         /* (owned) */
        sd_event_source *source; /* (owned) of the mailbox's eventfd */
        GlMailbox *mailbox;      /* (owned) */
        GlMountTable *mounts;    /* (owned) */
        GlStacks *stacks;        /* (owned) */
        GHashTable *workers;     /* (owned) of storage → GlWorker */
        GHashTable *accounts;    /* (owned) set of GlAccount: those that have pieces */
        GQueue pieces;           /* of GlPiece: all that have not come back, the oldest first */
        GQueue waiting;          /* of GlWorker: those that have pieces and no turn */
        guint n_threads;
        GlWorkersLimits limits;
};

/* --- workers.c --- */
/* On the worker's thread: a GFunc with the piece. */
void gl_piece_run(gpointer data, gpointer user_data);

/* --- turns.c --- */
GHashTable *gl_accounts_new(void);
void gl_worker_free(gpointer worker);
GlLine *gl_workers_get_line(GlWorkers *workers, const char *storage, guint32 uid, gboolean chores);

/* PIECE, which waits in LINE, is given to the thread if its turn has come. FALSE: there is no thread to be had. */
gboolean gl_line_offer(GlWorkers *workers, GlLine *line, GError **error);
/* A piece of WORKER's turn has come back: whoever is next goes on, here and wherever something was waited for. */
void gl_worker_go_on(GlWorkers *workers, GlWorker *worker);
/* LINE has lost a piece that waited: it goes if that was its last, and its worker as well. */
void gl_line_shrunk(GlWorkers *workers, GlLine *line);
