/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What is kept: an array in the order of the keys, so that a list can go on after the key that it came to, whatever
 * changed meanwhile.
 *
 * What is to be closed: close() of a file on storage that hangs can block for ever, so it is called on threads that
 * live as long as there is something to close. One that blocks holds up what it has, and no other: as long as something
 * waits there is a thread that is free to take it, up to MAX_THREADS. They share a queue of what is to be closed, and a
 * list of what is closed, of which the loop hears through an eventfd.
 */

#include "kept.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Each that blocks costs some 20 KiB. The unit's TasksMax= leaves room for them. */
#define MAX_THREADS 512
#define STACK_SIZE  (128 * 1024)

static GlBatch **kept; /* (owned) of (owned), by key */
static size_t n_kept, n_allocated;
static size_t n_kept_fds;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* for what follows */
static GlBatch *to_close, **to_close_end = &to_close;
static GlBatch *closed;
static size_t n_threads, n_busy; /* busy: in close() */
static size_t n_closing;
static int wakeup = -1;

GlBatch *gl_batch_new(uint64_t key, const int *fds, const uint8_t *tags, uint32_t n) {
        GlBatch *batch = malloc(sizeof(GlBatch) + n * sizeof(batch->items[0]));

        if (!batch)
                return NULL;
        *batch = (GlBatch){.key = key, .n = n};
        for (uint32_t i = 0; i < n; i++) {
                batch->items[i].fd = fds[i];
                batch->items[i].tag = tags ? tags[i] : 0;
        }
        return batch;
}

/* Where KEY is or would be. */
static size_t find(uint64_t key) {
        size_t low = 0, high = n_kept;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (kept[middle]->key < key)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static bool is_at(size_t i, uint64_t key) {
        return i < n_kept && kept[i]->key == key;
}

static int make_room(void) {
        size_t wanted = n_allocated ? 2 * n_allocated : 64;
        GlBatch **larger;

        if (n_kept < n_allocated)
                return 0;
        larger = reallocarray(kept, wanted, sizeof(*kept));
        if (!larger)
                return -ENOMEM;
        kept = larger;
        n_allocated = wanted;
        return 0;
}

int gl_kept_put(GlBatch *batch, GlBatch **replaced) {
        size_t i = find(batch->key);

        if (is_at(i, batch->key)) {
                *replaced = kept[i];
                n_kept_fds -= kept[i]->n;
        } else {
                int r = make_room();

                if (r < 0)
                        return r;
                memmove(&kept[i + 1], &kept[i], (n_kept - i) * sizeof(*kept));
                n_kept++;
                *replaced = NULL;
        }
        kept[i] = batch;
        n_kept_fds += batch->n;
        return 0;
}

GlBatch *gl_kept_take(uint64_t key) {
        size_t i = find(key);
        GlBatch *batch;

        if (!is_at(i, key))
                return NULL;
        batch = kept[i];
        n_kept--;
        n_kept_fds -= batch->n;
        memmove(&kept[i], &kept[i + 1], (n_kept - i) * sizeof(*kept));
        return batch;
}

const GlBatch *gl_kept_after(uint64_t key) {
        size_t i = find(key);

        if (is_at(i, key))
                i++;
        return i < n_kept ? kept[i] : NULL;
}

size_t gl_kept_count(void) {
        return n_kept_fds;
}

int gl_closing_init(void) {
        wakeup = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        return wakeup < 0 ? -errno : wakeup;
}

static GlBatch *pop_to_close(void) {
        GlBatch *batch = to_close;

        if (!batch)
                return NULL;
        to_close = batch->next;
        if (!to_close)
                to_close_end = &to_close;
        return batch;
}

static void wake_up(void) {
        static const uint64_t one = 1;

        /* It fails only when the counter is full, and then the loop is being woken anyway. */
        if (write(wakeup, &one, sizeof(one)) < 0)
                return;
}

static void start_thread(void);

static void close_all(const GlBatch *batch) {
        for (uint32_t i = 0; i < batch->n; i++)
                close(batch->items[i].fd);
}

static void *closing_thread(void *unused) {
        GlBatch *batch;

        pthread_mutex_lock(&mutex);
        while ((batch = pop_to_close())) {
                n_busy++;
                if (to_close && n_busy == n_threads)
                        start_thread(); /* for the rest, should this one block */
                pthread_mutex_unlock(&mutex);
                close_all(batch);
                pthread_mutex_lock(&mutex);
                n_busy--;
                n_closing -= batch->n;
                batch->next = closed;
                closed = batch;
                wake_up();
        }
        n_threads--;
        pthread_mutex_unlock(&mutex);
        return NULL;
}

/* With the mutex. Signals are blocked everywhere (main.c), so a thread has none to handle. */
static void start_thread(void) {
        pthread_attr_t attributes;
        pthread_t thread;

        if (n_threads >= MAX_THREADS || pthread_attr_init(&attributes) != 0)
                return;
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        pthread_attr_setstacksize(&attributes, STACK_SIZE);
        if (pthread_create(&thread, &attributes, closing_thread, NULL) == 0)
                n_threads++;
        else
                wake_up(); /* for the loop to try again later */
        pthread_attr_destroy(&attributes);
}

void gl_closing_add(GlBatch *batch) {
        pthread_mutex_lock(&mutex);
        batch->next = NULL;
        *to_close_end = batch;
        to_close_end = &batch->next;
        n_closing += batch->n;
        if (n_busy == n_threads)
                start_thread();
        pthread_mutex_unlock(&mutex);
}

void gl_closing_retry(void) {
        pthread_mutex_lock(&mutex);
        if (to_close && n_busy == n_threads)
                start_thread();
        pthread_mutex_unlock(&mutex);
}

GlBatch *gl_closing_done(void) {
        GlBatch *batch;
        uint64_t count;

        pthread_mutex_lock(&mutex);
        batch = closed;
        if (batch)
                closed = batch->next;
        else if (read(wakeup, &count, sizeof(count)) < 0 && errno != EAGAIN)
                abort(); /* else the loop would turn for ever */
        pthread_mutex_unlock(&mutex);
        return batch;
}

size_t gl_closing_count(bool *stalled) {
        size_t count;

        pthread_mutex_lock(&mutex);
        count = n_closing;
        *stalled = to_close && n_busy == n_threads && n_threads < MAX_THREADS;
        pthread_mutex_unlock(&mutex);
        return count;
}
