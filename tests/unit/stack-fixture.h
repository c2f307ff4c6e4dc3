/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/table.h"
#include "storage/stack.h"

/* A made-up /sys, in which devices are made with a line each, and places are found. */
typedef struct {
        char *root;       /* (owned) */
        GlStacks *stacks; /* (owned) */
} GlStackFixture;

void gl_stack_set_up(GlStackFixture *fixture, gconstpointer data);
void gl_stack_tear_down(GlStackFixture *fixture, gconstpointer data);

/* A file below the root, with the directories that lead to it. */
void gl_stack_write(GlStackFixture *fixture, const char *path, const char *text);
void gl_stack_remove(GlStackFixture *fixture, const char *path);

/* NUMBER is "8:0"; NAME (nullable) is what "device/wwid" says. */
void gl_stack_add_disk(GlStackFixture *fixture, const char *device, const char *number, const char *name);
/* In sectors; DEVICE is the disk's with something behind it. */
void gl_stack_add_partition(GlStackFixture *fixture, const char *disk, const char *device, const char *number,
                            guint64 start, guint64 size);
/* SLAVES are separated by spaces, a partition as "sda/sda1". TABLE (nullable) is what "dmsetup table" says. */
void gl_stack_add_map(GlStackFixture *fixture, const char *device, const char *number, const char *uuid,
                      const char *slaves, const char *table);
void gl_stack_add_array(GlStackFixture *fixture, const char *device, const char *number, const char *slaves);

/* Where the device of that number is, all of it; the caller's. It has to be found. */
GlPlace *gl_stack_place(GlStackFixture *fixture, const char *number);
/* It must not be found, and the error has WHAT in it. */
void gl_stack_fails(GlStackFixture *fixture, const char *number, const char *what);

/* Whether the two, by their numbers, can be held together in these modes. Asked both ways. */
gboolean gl_stack_together(GlStackFixture *fixture, const char *one, GlMode one_mode, const char *other,
                           GlMode other_mode);
