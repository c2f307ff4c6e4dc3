/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/closer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* More that hang at once hold up the others; these then wait, up to the maximum. */
#define THREADS 4

struct GlCloser {
        GThreadPool *pool; /* (owned) */
        gint *count;       /* (owned) (atomic) that are not closed; outlives the closer */
};

typedef struct {
        gint *count; /* (owned) */
        guint n;
        int fds[];
} Closing;

static void close_all(gpointer data, gpointer unused) {
        Closing *closing = data;

        for (guint i = 0; i < closing->n; i++)
                close(closing->fds[i]);
        g_atomic_int_add(closing->count, -(gint) closing->n);
        g_atomic_rc_box_release(closing->count);
        g_free(closing);
}

GlCloser *gl_closer_new(void) {
        GlCloser *closer = g_new(GlCloser, 1);

        closer->pool = g_thread_pool_new(close_all, NULL, THREADS, FALSE, NULL);
        closer->count = g_atomic_rc_box_new0(gint);
        return closer;
}

void gl_closer_free(GlCloser *closer) {
        if (!closer)
                return;
        g_thread_pool_free(closer->pool, FALSE, FALSE);
        g_atomic_rc_box_release(closer->count);
        g_free(closer);
}

void gl_closer_adopt(GlCloser *closer, guint n) {
        g_atomic_int_add(closer->count, (gint) n);
}

void gl_closer_close(GlCloser *closer, const int *fds, guint n) {
        Closing *closing;

        if (n == 0)
                return;
        closing = g_malloc(sizeof(Closing) + n * sizeof(int));
        closing->count = g_atomic_rc_box_acquire(closer->count);
        closing->n = n;
        memcpy(closing->fds, fds, n * sizeof(int));
        g_thread_pool_push(closer->pool, closing, NULL);
}

int gl_closer_duplicate(GlCloser *closer, const int *fds, guint n, guint max, int *duplicates) {
        g_autofree int *copies = g_new(int, n);

        if ((guint) g_atomic_int_get(closer->count) + n > max)
                return -ENOBUFS;
        for (guint i = 0; i < n; i++) {
                copies[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
                if (copies[i] < 0) {
                        int r = -errno;

                        gl_closer_adopt(closer, i);
                        gl_closer_close(closer, copies, i);
                        return r;
                }
        }
        gl_closer_adopt(closer, n);
        memcpy(duplicates, copies, n * sizeof(int));
        return 0;
}
