/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/core-private.h"

/*
 * Fencing tokens, and which one was granted last for each node: who comes back with a state string learns by that
 * whether somebody else held it in between. Memory is bounded: what is forgotten counts as granted when it was
 * forgotten.
 */

#define MAX_GENERATIONS 65536

void gl_core_note_generation(GlCore *core, const GlNode *node, GlMode mode, guint64 generation) {
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
        if (mode == GL_MODE_EXCLUSIVE)
                last->exclusive = MAX(last->exclusive, generation);
        else
                last->shared = MAX(last->shared, generation);
        core->last_generation = MAX(core->last_generation, generation);
}

void gl_core_set_last_generation(GlCore *core, const GlNode *node, GlMode mode, guint64 generation) {
        gl_core_note_generation(core, node, mode, generation);
}

const GlLastGeneration *gl_core_last_generation(GlCore *core, const GlNode *node) {
        return g_hash_table_lookup(core->last_generations, node);
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
                        gl_core_note_generation(core, &target->place->node, GL_MODE_EXCLUSIVE,
                                                target->recorded.exclusive);
                if (target->recorded.shared != 0)
                        gl_core_note_generation(core, &target->place->node, GL_MODE_SHARED, target->recorded.shared);
        }
        if (job->generation_is_recorded)
                core->last_generation = MAX(core->last_generation, job->generation);
}

guint64 gl_core_generation_of_job(GlCore *core, const GlJob *job) {
        return job->generation_is_recorded ? job->generation : gl_core_draw_generation(core);
}
