/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/place.h"
#include "storage/facts.h"

/*
 * From what was opened down to what it really is: windows (partition, loop device, a device-mapper map of one linear
 * target, the paths of one disk) are seen through, and what is made of other devices, or lies on a file system on them,
 * is placed on these. One for the service; for any thread, on which it may block.
 */

/* SYSROOT (nullable) is below which /sys, /proc and what they name are looked for. */
GlStacks *gl_stacks_new(const char *sysroot);
GlStacks *gl_stacks_ref(GlStacks *stacks);
void gl_stacks_unref(GlStacks *stacks);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlStacks, gl_stacks_unref)

/*
 * Where EXTENT of what FD (O_PATH will do) leads to really is. FACTS are FD's, and are set right where the kind depends
 * on it. MODE is what it is wanted for. WHAT begins the sentence of an ERROR: what cannot be told is refused. Where
 * only what a file's file system lies on cannot be told, *limit (static) is set to that in words, and else to NULL.
 */
GlPlace *gl_stacks_find(GlStacks *stacks, int fd, GlFacts *facts, GlMode mode, GlExtent extent, const char *what,
                        const char **limit, GError **error);

/* The same for a block device by its number. The ERROR is the second half of a sentence. */
GlPlace *gl_stacks_find_device(GlStacks *stacks, dev_t device, GlExtent extent, GError **error);

/* What tells DEVICE from another one that gets its number, as long as the machine runs; 0: nothing does. */
gint64 gl_stacks_sequence(GlStacks *stacks, dev_t device);

/*
 * What the host itself does with what is at PLACE, which is that of block device SELF (0: a file): has it mounted, swaps
 * to it, has made another device of it. Of char *, in words; empty if nothing.
 */
GPtrArray *gl_stacks_find_uses(GlStacks *stacks, const GlPlace *place, dev_t self);
