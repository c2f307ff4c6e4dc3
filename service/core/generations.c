/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/core-private.h"

/*
 * Fencing tokens, and which one was granted last for each node: who comes back with a state string learns by that
 * whether somebody else held it in between. Memory is bounded: what is forgotten counts as granted when it was
 * forgotten.
 */

#define MAX_GENERATIONS 65536
/* Parts of one node; with more of them all counts for the whole. */
#define MAX_PARTS 256

typedef struct {
        GlExtent extent;
        guint64 exclusive;
        guint64 shared;
} Part;

static void note_on(guint64 *exclusive, guint64 *shared, GlMode mode, guint64 generation) {
        guint64 *which = mode == GL_MODE_EXCLUSIVE ? exclusive : shared;

        *which = MAX(*which, generation);
}

/* Partitions and volumes of one disk are granted apart, and one says nothing of the other. */
static void note_part(GlLastGeneration *last, GlExtent extent, GlMode mode, guint64 generation) {
        Part part = {.extent = extent};

        if (!last->parts)
                last->parts = g_array_new(FALSE, FALSE, sizeof(Part));
        for (guint i = 0; i < last->parts->len; i++) {
                Part *known = &g_array_index(last->parts, Part, i);

                if (known->extent.start == extent.start && known->extent.end == extent.end) {
                        note_on(&known->exclusive, &known->shared, mode, generation);
                        return;
                }
        }
        if (last->parts->len >= MAX_PARTS) {
                note_on(&last->exclusive, &last->shared, mode, generation);
                return;
        }
        note_on(&part.exclusive, &part.shared, mode, generation);
        g_array_append_val(last->parts, part);
}

void gl_last_generation_free(gpointer data) {
        GlLastGeneration *last = data;

        g_clear_pointer(&last->parts, g_array_unref);
        g_free(last);
}

void gl_core_note_generation(GlCore *core, const GlNode *node, GlExtent extent, GlMode mode, guint64 generation) {
        GlLastGeneration *last = g_hash_table_lookup(core->last_generations, node);

        if (!last) {
                /* Of those that are forgotten it is known that they are no newer than this. */
                if (g_hash_table_size(core->last_generations) >= MAX_GENERATIONS) {
                        core->forgotten = core->last_generation;
                        g_hash_table_remove_all(core->last_generations);
                }
                last = g_new0(GlLastGeneration, 1);
                last->node = *node;
                last->exclusive = last->shared = core->forgotten;
                g_hash_table_insert(core->last_generations, &last->node, last);
        }
        if (extent.start == 0 && extent.end == GL_EXTENT_END)
                note_on(&last->exclusive, &last->shared, mode, generation);
        else
                note_part(last, extent, mode, generation);
        core->last_generation = MAX(core->last_generation, generation);
}

void gl_core_set_last_generation(GlCore *core, const GlNode *node, GlMode mode, guint64 generation) {
        /* Which part of it was granted is not remembered across a start: it counts for all. */
        gl_core_note_generation(core, node, (GlExtent){0, GL_EXTENT_END}, mode, generation);
}

gboolean gl_core_last_generation(GlCore *core, const GlPlace *place, guint64 *exclusive, guint64 *shared) {
        const GlLastGeneration *last = g_hash_table_lookup(core->last_generations, &place->node);

        if (!last)
                return FALSE;
        *exclusive = last->exclusive;
        *shared = last->shared;
        for (guint i = 0; last->parts && i < last->parts->len; i++) {
                const Part *part = &g_array_index(last->parts, Part, i);

                if (!gl_extent_overlaps(part->extent, place->extent))
                        continue;
                *exclusive = MAX(*exclusive, part->exclusive);
                *shared = MAX(*shared, part->shared);
        }
        return TRUE;
}

/* The clock alone would do but for two draws in one microsecond and clocks that are set back. */
guint64 gl_core_next_generation(const GlCore *core) {
        return MAX(core->last_generation + 1, (guint64) core->realtime);
}

guint64 gl_core_draw_generation(GlCore *core) {
        core->last_generation = gl_core_next_generation(core);
        return core->last_generation;
}

void gl_core_note_job_generations(GlCore *core, const GlJob *job) {
        for (guint i = 0; i < job->n_targets; i++) {
                const GlTarget *target = &job->targets[i];

                if (target->recorded.exclusive != 0)
                        gl_core_note_generation(core, &target->place->node, target->place->extent,
                                                GL_MODE_EXCLUSIVE, target->recorded.exclusive);
                if (target->recorded.shared != 0)
                        gl_core_note_generation(core, &target->place->node, target->place->extent, GL_MODE_SHARED,
                                                target->recorded.shared);
        }
        if (job->generation_is_recorded)
                core->last_generation = MAX(core->last_generation, job->generation);
}

guint64 gl_core_generation_of_job(GlCore *core, const GlJob *job) {
        return job->generation_is_recorded ? job->generation : gl_core_draw_generation(core);
}
