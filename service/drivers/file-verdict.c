/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drivers/file-verdict.h"

#include <errno.h>

#include "core/error.h"
#include "core/obstacle.h"
#include "drivers/file-obstacles.h"
#include "storage/source.h"

/* A job has many targets, and its answer is one sentence that names everything which is in the way. */

void gl_file_verdict_clear(GlFileVerdict *verdict) {
        g_clear_error(&verdict->error);
        g_clear_pointer(&verdict->obstacles, g_ptr_array_unref);
        verdict->brief = FALSE;
}

static gboolean is_conflict(const GError *error) {
        return g_error_matches(error, GL_ERROR, GL_ERROR_CONFLICT);
}

void gl_file_verdict_merge(GlFileVerdict *into, GlFileVerdict *from) {
        if (!from->error)
                return;

        if (into->error && is_conflict(into->error) && is_conflict(from->error)) {
                g_prefix_error(&from->error, "%s ", into->error->message);
                g_ptr_array_extend_and_steal(into->obstacles, g_steal_pointer(&from->obstacles));
                g_clear_error(&into->error);
                into->error = g_steal_pointer(&from->error);
                into->brief = into->brief && from->brief;
        } else if (!into->error || is_conflict(into->error)) {
                gl_file_verdict_clear(into);
                *into = *from;
                *from = (GlFileVerdict){0};
        }
        gl_file_verdict_clear(from);
}

void gl_file_verdict_add_error(GlFileVerdict *verdict, GError *error) {
        GlFileVerdict one = {.error = error};

        gl_file_verdict_merge(verdict, &one);
}

void gl_file_verdict_add_conflict(GlFileVerdict *verdict, const GlTarget *target, GPtrArray *obstacles, gboolean brief) {
        g_autofree char *sentence = gl_obstacles_to_sentence(target->type, target->name, obstacles);
        GlFileVerdict one = {
                .error = g_error_new_literal(GL_ERROR, GL_ERROR_CONFLICT, sentence),
                .obstacles = obstacles,
                .brief = brief,
        };

        gl_file_verdict_merge(verdict, &one);
}

const char *gl_file_noun(const GlTarget *target) {
        return target->type == GL_RESOURCE_DISK ? "Disk" : "Lease";
}

GError *gl_file_error_from_errno(const GlTarget *target, const char *what, int saved_errno) {
        g_autofree char *name = gl_quote(target->name);

        return g_error_new(GL_ERROR, gl_error_code_from_errno(saved_errno), "%s %s cannot be %s: %s.", gl_file_noun(target),
                           name, what, g_strerror(saved_errno));
}

gboolean gl_file_verdict_heed_locks(GlFileVerdict *verdict, int r, int fd, const GlTarget *target,
                                    const GlLockLayout *layout, gboolean for_qemu, const GlLockConflict *conflict) {
        g_autoptr(GPtrArray) holders = NULL;
        GPtrArray *obstacles;

        if (r == 0)
                return TRUE;
        if (r != -EAGAIN) {
                gl_file_verdict_add_error(verdict, gl_file_error_from_errno(target, "locked", -r));
                return FALSE;
        }
        obstacles = g_ptr_array_new_with_free_func((GDestroyNotify) gl_obstacle_free);
        (void) gl_file_obstacles_add_locks(obstacles, fd, layout, target->mode, for_qemu, &holders);
        if (obstacles->len == 0) /* whoever it was has gone meanwhile */
                gl_file_obstacles_add_lock(obstacles, fd, layout, conflict);
        gl_file_verdict_add_conflict(verdict, target, obstacles, conflict->brief);
        return FALSE;
}
