/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drivers/file-host.h"

#include "core/obstacle.h"
#include "storage/stack.h"

/*
 * The host has no lease, so this is asked of the kernel each time, and not of the lock table. A file on a mounted
 * file system is not in its way (the matrix's column M); the device under that is, and so is a file with a loop
 * device on it that is mounted. It may be a moment's mount: whoever asks is patient for a second.
 */

gboolean gl_file_host_add_uses(const GlTarget *target, GPtrArray *obstacles) {
        const GlSource *source = target->source.box;
        g_autoptr(GPtrArray) uses = NULL;

        if (target->type != GL_RESOURCE_DISK)
                return FALSE;
        uses = gl_stacks_find_uses(source->stacks, source->place, source->block ? source->device : 0);
        for (guint i = 0; i < uses->len; i++) {
                GlObstacle *obstacle = gl_obstacle_new();

                obstacle->via = g_steal_pointer(&uses->pdata[i]);
                g_ptr_array_add(obstacles, obstacle);
        }
        return uses->len > 0;
}

gboolean gl_file_host_leaves(const GlTarget *target, GlFileVerdict *verdict) {
        GPtrArray *obstacles = g_ptr_array_new_with_free_func((GDestroyNotify) gl_obstacle_free);

        if (!gl_file_host_add_uses(target, obstacles)) {
                g_ptr_array_unref(obstacles);
                return TRUE;
        }
        gl_file_verdict_add_conflict(verdict, target, obstacles, TRUE);
        return FALSE;
}
