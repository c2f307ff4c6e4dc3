/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Descriptors that are kept, or closed, together. */
typedef struct GlBatch GlBatch;

struct GlBatch {
        GlBatch *next; /* among those to be closed, or closed */
        uint64_t key;
        /* Whom to tell when they are closed; 0: nobody. */
        uint64_t connection, serial;
        uint32_t n;
        struct {
                int fd;
                uint8_t tag;
        } items[];
};

GlBatch *gl_batch_new(uint64_t key, const int *fds, const uint8_t *tags, uint32_t n); /* NULL: no memory */

/* What is kept. PUT takes BATCH and gives back what was there in its place; -ENOMEM leaves everything as it is. */
int gl_kept_put(GlBatch *batch, GlBatch **replaced);
GlBatch *gl_kept_take(uint64_t key); /* NULL: nothing */
const GlBatch *gl_kept_after(uint64_t key); /* the next greater key; NULL: there is none */
size_t gl_kept_count(void);

/* Closing, on threads. Returns a descriptor that is readable when gl_closing_done() has something, or -errno. */
int gl_closing_init(void);
void gl_closing_add(GlBatch *batch);
GlBatch *gl_closing_done(void); /* the caller's to free; NULL: no more */
/* Descriptors that are not closed yet; STALLED: there was no thread to be had, call gl_closing_retry() later. */
size_t gl_closing_count(bool *stalled);
void gl_closing_retry(void);
