/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drivers/file-look.h"

#include <unistd.h>

#include "core/obstacle.h"
#include "drivers/file-host.h"
#include "drivers/file-obstacles.h"

/*
 * A look goes where a TAKE would, lockspace directories first, and sees what that would run into. It opens for reading
 * only, since a device that was open for writing is looked at by udev when it is closed; it takes no lock, for which
 * F_OFD_GETLK is enough; and it claims no device, not even for a moment, so that a claim shows only by what has been
 * made of the device, or by who has it open.
 */

/* --- on a worker's thread --- */

static void look_at_entries(GlRunGroup *group) {
        for (guint i = 0; i < group->items->len && !group->verdict.error; i++) {
                GlLockspaceEntry *entry = g_ptr_array_index(group->items, i);
                GError *error = NULL;

                if (!gl_lockspace_look_at_all(entry, group->run->options, &error))
                        gl_file_verdict_add_error(&group->verdict, error);
        }
}

static void add_users_of_device(const GlRun *run, GlTarget *target, const GlLockLayout *layout, int fd,
                                GPtrArray **holders) {
        const GlSource *source = target->source.box;

        if (!gl_file_host_add_uses(target, target->obstacles) && target->mode == GL_MODE_EXCLUSIVE)
                gl_file_obstacles_add_uses(target->obstacles, source->device, run->options->sysroot);
        if (run->job->with_users)
                gl_file_obstacles_add_openers(target->obstacles, fd, layout, holders);
}

static void add_users_of_file(const GlRun *run, GlTarget *target, const GlLockLayout *layout, int fd,
                              GPtrArray **holders) {
        const GlSource *source = target->source.box;

        if (!gl_file_host_add_uses(target, target->obstacles) && run->job->with_users)
                gl_file_obstacles_add_loops(target->obstacles, source->canonical, run->options->sysroot);
        if (!run->job->with_users || source->kind == GL_STORAGE_MOUNT)
                return;
        /* Nobody is searched for where there is no lock. */
        if (gl_locks_look_at_range(fd, 0, G_MAXINT64 - 1, NULL) != 0)
                gl_file_obstacles_add_lockers(target->obstacles, fd, layout, holders);
}

static void look_at_file(const GlRun *run, GlTarget *target, int fd, GlFileVerdict *verdict) {
        const GlSource *source = target->source.box;
        GlLockLayout layout = gl_file_lease_layout(target, run->options);
        g_autoptr(GPtrArray) holders = NULL;
        gboolean for_qemu = run->job->holder_pid == 0;
        GError *error = NULL;
        int r = 0;

        if (source->kind != GL_STORAGE_MOUNT)
                r = gl_file_obstacles_add_locks(target->obstacles, fd, &layout, target->mode, for_qemu, &holders);
        if (r < 0)
                gl_file_verdict_add_error(verdict, gl_file_error_from_errno(target, "looked at", -r));
        else if (!gl_file_lease_look_at_image(fd, target, &error))
                gl_file_verdict_add_error(verdict, error);
        if (verdict->error || target->type != GL_RESOURCE_DISK)
                return;
        if (source->block)
                add_users_of_device(run, target, &layout, fd, &holders);
        else
                add_users_of_file(run, target, &layout, fd, &holders);
}

static void look_at_images(GlRunGroup *group) {
        for (guint i = 0; i < group->items->len && !group->verdict.error; i++) {
                GlTarget *target = g_ptr_array_index(group->items, i);
                GError *error = NULL;
                int fd = -1;

                if (gl_file_lease_check_scope(target, gl_run_where_kept(group->run, target), &error))
                        fd = gl_source_open(target->source.box, GL_MODE_READONLY, &error);
                if (fd < 0) {
                        gl_file_verdict_add_error(&group->verdict, error);
                        continue;
                }
                look_at_file(group->run, target, fd, &group->verdict);
                close(fd);
        }
}

/* --- on the loop's --- */

static void looked_at_images(GlRun *run) {
        gl_run_drop_entries(run);
        run->looked(run);
}

static void looked_at_entries(GlRun *run) {
        static const GlRunStep looking = {look_at_images, gl_run_refuse, looked_at_images};

        gl_run_heed_mounts(run);
        for (guint i = 0; i < run->entries->len; i++) {
                GlLockspaceEntry *entry = g_ptr_array_index(run->entries, i);

                while (entry->met->len > 0)
                        g_ptr_array_add(entry->target->obstacles, g_ptr_array_steal_index(entry->met, 0));
        }
        if (run->verdict.error)
                looked_at_images(run);
        else
                gl_run_images(run, &looking, NULL);
}

void gl_file_look(GlRun *run, void (*next)(GlRun *run)) {
        static const GlRunStep looking = {look_at_entries, gl_run_refuse, looked_at_entries, .chore = TRUE};

        run->looked = next;
        for (guint i = 0; i < run->targets->len; i++) {
                GlTarget *target = g_ptr_array_index(run->targets, i);

                target->obstacles = g_ptr_array_new_with_free_func((GDestroyNotify) gl_obstacle_free);
        }
        gl_run_add_entries(run);
        gl_run_lockspaces(run, &looking);
}
