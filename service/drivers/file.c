/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drivers/file.h"

#include <signal.h>

#include "core/error.h"
#include "core/obstacle.h"
#include "drivers/file-audit.h"
#include "drivers/file-check.h"
#include "drivers/file-drain.h"
#include "drivers/file-host.h"
#include "drivers/file-keep.h"
#include "drivers/file-look.h"
#include "drivers/file-run.h"
#include "drivers/holders.h"

/*
 * A job goes through the workers in steps (file-run.h). Where lockspace directories are set, what is in them is locked
 * before the images and given back after them: whoever comes second, on whichever host, fails there and never
 * half way. Only when the images are locked too is the grant recorded in them.
 *
 * Within a group the targets are taken in the order of their nodes and the first conflict ends the taking (the rest is
 * only looked at, to name everybody): of two services that want the same disks in opposite order, one gets them.
 *
 * All or nothing: a group that fails gives back what it has taken before it reports; when all have reported and one
 * has failed, the others are sent back to their workers to undo theirs, and only then is the job done.
 *
 * When the driver ends it closes what is leased: the process may outlive it for long, as a thread that hangs in the
 * kernel keeps it and all its descriptors, and the next service would find every disk of the host taken.
 *
 * Giving back and draining are the service's own business and not charged to what the guest's owner asks for: his disks
 * on one storage are given back also while he has the most stuck work that he may have on another. Nor is what is done
 * in lockspace directories, which are everybody's.
 */

typedef struct {
        GlDriver driver;
        GlWorkers *workers; /* (borrowed) */
        GlFileOptions options;
        GHashTable *leases; /* (owned) set of GlFileLease: all that the core has */
} GlFileDriver;

/* For a job, whose run it is. */
typedef struct {
        GlFileDriver *file;
        GlJobDone done;
        gpointer user_data;
} Order;

/* --- images, on a worker's thread --- */

static void give_back(GlRunGroup *group) {
        for (guint i = 0; i < group->items->len; i++)
                gl_file_lease_give_back(g_ptr_array_index(group->items, i));
}

/* A QEMU on the image is somebody else's. */
static gboolean has_no_qemu(const GlJob *job) {
        return (job->holder_pid == 0 || job->guest_to_come) && !job->adopting;
}

static void look_at(GlRunGroup *group, GlTarget *target) {
        const GlRun *run = group->run;

        if (run->job->adopting || gl_file_host_leaves(target, &group->verdict))
                gl_file_lease_look(target, run->options, has_no_qemu(run->job), &group->verdict);
}

static void look(GlRunGroup *group) {
        for (guint i = 0; i < group->items->len; i++)
                look_at(group, g_ptr_array_index(group->items, i));
}

/* With what was kept, if that is still what it was. */
static gboolean resume(GlRunGroup *group, GlTarget *target) {
        GArray *recovered = group->run->recovered;

        for (guint i = 0; i < recovered->len; i++) {
                GlRecovered *one = &g_array_index(recovered, GlRecovered, i);
                int fd = one->fd, claim = one->claim;

                if (one->target != target || fd < 0)
                        continue;
                one->fd = one->claim = -1;
                return gl_file_lease_resume(target, group->run->options, gl_run_where_kept(group->run, target), fd, claim,
                                            &group->verdict);
        }
        return FALSE;
}

/*
 * With what the holder has. In his process ours is the one with a lock of ours on it: QEMU has the image open itself, on
 * descriptions of its own.
 */
static gboolean resume_from_holder(GlRunGroup *group, GlTarget *target) {
        const GlRun *run = group->run;
        const GlSource *source = target->source.box;
        guint64 byte = target->type == GL_RESOURCE_DISK ? GL_BYTE_HOST + run->options->host_number
                                                        : source->extent.start;
        int fd;

        if (!run->job->adopting || target->kept_by != GL_KEPT_BY_HOLDER || run->job->holder_pid == 0)
                return FALSE;
        fd = gl_holder_fetch(run->job->holder_pid, &source->self, byte);
        /* A guest may close what it inherited. */
        if (fd < 0 && run->job->supervisor_pid != 0)
                fd = gl_holder_fetch(run->job->supervisor_pid, &source->self, byte);
        return fd >= 0 &&
               gl_file_lease_resume(target, run->options, gl_run_where_kept(run, target), fd, -1, &group->verdict);
}

static GError *error_not_kept(const GlTarget *target) {
        g_autofree char *quoted = gl_quote(target->name);

        return g_error_new(GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE, "Nobody has kept the lock of %s.", quoted);
}

static void take_one(GlRunGroup *group, GlTarget *target) {
        const GlRun *run = group->run;

        if (resume(group, target) || group->verdict.error || resume_from_holder(group, target) ||
            group->verdict.error)
                return;
        if (target->only_kept)
                gl_file_verdict_add_error(&group->verdict, error_not_kept(target));
        else if (run->job->adopting || gl_file_host_leaves(target, &group->verdict))
                (void) gl_file_lease_take(target, run->options, gl_run_where_kept(run, target), has_no_qemu(run->job),
                                          &group->verdict);
}

static void take(GlRunGroup *group) {
        for (guint i = 0; i < group->items->len; i++) {
                GlTarget *target = g_ptr_array_index(group->items, i);

                if (!group->verdict.error)
                        take_one(group, target);
                else if (group->verdict.error->code == GL_ERROR_CONFLICT)
                        look_at(group, target);
        }
        if (group->verdict.error)
                give_back(group);
}

static void inspect(GlRunGroup *group) {
        for (guint i = 0; i < group->items->len; i++) {
                GlFileVerdict one = {0};

                if (!gl_file_lease_inspect(g_ptr_array_index(group->items, i), &one.error))
                        gl_file_verdict_merge(&group->verdict, &one);
        }
}

/* Giving back cannot fail: what cannot be seen any more stays as it was. */
static void look_and_give_back(GlRunGroup *group) {
        for (guint i = 0; i < group->items->len; i++) {
                GlTarget *target = g_ptr_array_index(group->items, i);

                if (target->lease)
                        (void) gl_file_lease_inspect(target, NULL);
        }
        give_back(group);
}

static void drain(GlRunGroup *group) {
        for (guint i = 0; i < group->items->len; i++)
                gl_file_drain(g_ptr_array_index(group->items, i), group->run->options, group->run->job->supervised,
                              group->run->keeper_pid);
}

static void open_next(GlRunGroup *group) {
        (void) gl_file_lease_open_next(g_ptr_array_index(group->items, 0), &group->verdict);
}

static void change(GlRunGroup *group) {
        GlTarget *target = g_ptr_array_index(group->items, 0);

        if (target->mode <= target->held_mode || gl_file_host_leaves(target, &group->verdict))
                (void) gl_file_lease_change(target, group->run->options, has_no_qemu(group->run->job),
                                            &group->verdict);
}

/* It has been changed, and cannot stay so. */
static void change_back(GlRunGroup *group) {
        GlTarget *target = g_ptr_array_index(group->items, 0);
        GlMode mode = target->mode;

        target->mode = target->held_mode;
        (void) gl_file_lease_change(target, group->run->options, FALSE, &group->verdict);
        target->mode = mode;
}

/* --- entries in lockspace directories, on a worker's thread --- */

static void leave(GlRunGroup *group) {
        for (guint i = 0; i < group->items->len; i++)
                gl_lockspace_leave(g_ptr_array_index(group->items, i));
}

static void enter(GlRunGroup *group) {
        const GlFileOptions *options = group->run->options;

        for (guint i = 0; i < group->items->len; i++) {
                GlLockspaceEntry *entry = g_ptr_array_index(group->items, i);

                if (!group->verdict.error)
                        (void) gl_lockspace_enter(entry, group->run->job, options, &group->verdict);
                else if (group->verdict.error->code == GL_ERROR_CONFLICT)
                        gl_lockspace_look(entry, options, &group->verdict);
        }
        if (group->verdict.error)
                leave(group);
}

static void settle(GlRunGroup *group) {
        for (guint i = 0; i < group->items->len && !group->verdict.error; i++)
                (void) gl_lockspace_settle(g_ptr_array_index(group->items, i), group->run->job, group->run->options,
                                           &group->verdict);
}

static void change_entries(GlRunGroup *group) {
        for (guint i = 0; i < group->items->len && !group->verdict.error; i++)
                (void) gl_lockspace_change(g_ptr_array_index(group->items, i), group->run->options, &group->verdict);
}

static void revert_entries(GlRunGroup *group) {
        for (guint i = 0; i < group->items->len; i++)
                gl_lockspace_revert(g_ptr_array_index(group->items, i), group->run->options);
}

/* --- where no thread is to be had --- */

/* The system has none left: what only closes is done here. */
static void give_back_here(GlRunGroup *group, GError *error) {
        give_back(group);
        g_error_free(error);
}

static void leave_here(GlRunGroup *group, GError *error) {
        leave(group);
        g_error_free(error);
}

static void revert_here(GlRunGroup *group, GError *error) {
        revert_entries(group);
        g_error_free(error);
}

static void refuse_drain(GlRunGroup *group, GError *error) {
        for (guint i = 0; i < group->items->len; i++) {
                GlTarget *target = g_ptr_array_index(group->items, i);

                target->drained = FALSE;
                g_free(target->drain_reason);
                target->drain_reason = g_strdup(error->message);
        }
        g_error_free(error);
}

/* --- the ends --- */

static gboolean has_lease(const GlTarget *target) {
        return target->lease != NULL;
}

static void finish(GlRun *run) {
        GlJob *job = run->job;

        job->error = g_steal_pointer(&run->verdict.error);
        job->obstacles = g_steal_pointer(&run->verdict.obstacles);
        job->brief = run->verdict.brief;
        run->finished(run, run->user_data);
}

/* What was kept of it has no lock any more. */
static void left(GlRun *run) {
        gl_run_drop_entries(run);
        gl_file_recover_end(run);
        gl_file_drop(run, finish);
}

static const GlRunStep leaving = {leave, leave_here, left, .chore = TRUE};

static void given_back(GlRun *run) {
        gl_run_lockspaces(run, &leaving);
}

/* --- taking --- */

static void undo(GlRun *run) {
        static const GlRunStep undoing = {give_back, give_back_here, given_back, .chore = TRUE};

        gl_run_images(run, &undoing, has_lease);
}

/* What all directories remember together: a grant is newer than each of them knows. */
static void heed_records(GlRun *run) {
        GlJob *job = run->job;

        for (guint i = 0; i < run->entries->len; i++) {
                GlLockspaceEntry *entry = g_ptr_array_index(run->entries, i);
                GlRecorded *recorded = &entry->target->recorded;

                recorded->exclusive = MAX(recorded->exclusive, entry->recorded.exclusive);
                recorded->shared = MAX(recorded->shared, entry->recorded.shared);
                job->generation = MAX(job->generation, MAX(recorded->exclusive, recorded->shared) + 1);
                job->generation_is_recorded |= entry->target->mode != GL_MODE_READONLY && !job->adopting;
        }
}

/* Each of its names goes with the lease from now on. */
static void hand_over_entries(GlRun *run) {
        for (guint i = 0; i < run->entries->len; i++) {
                GlLockspaceEntry *entry = g_ptr_array_index(run->entries, i);
                GlFileLease *lease = entry->target->lease;

                if (!lease->entries)
                        lease->entries = g_ptr_array_new_with_free_func(gl_lockspace_entry_unref);
                g_ptr_array_add(lease->entries, entry);
                entry->target = NULL;
        }
        g_ptr_array_set_size(run->entries, 0);
}

static void settled(GlRun *run) {
        if (run->verdict.error) {
                undo(run);
        } else {
                hand_over_entries(run);
                gl_file_recover_end(run);
                gl_file_keep(run, finish);
        }
}

static void taken(GlRun *run) {
        static const GlRunStep settling = {settle, gl_run_refuse, settled, .chore = TRUE};

        if (run->verdict.error) {
                undo(run);
        } else {
                heed_records(run);
                gl_run_lockspaces(run, &settling);
        }
}

static void entered(GlRun *run) {
        static const GlRunStep taking = {take, gl_run_refuse, taken};
        static const GlRunStep looking = {look, gl_run_refuse, undo};

        gl_run_heed_mounts(run);
        if (!run->verdict.error)
                gl_run_images(run, &taking, NULL);
        else if (run->verdict.error->code == GL_ERROR_CONFLICT)
                gl_run_images(run, &looking, NULL);
        else
                undo(run);
}

static void start_taking(GlRun *run) {
        static const GlRunStep entering = {enter, gl_run_refuse, entered, .chore = TRUE};

        gl_run_add_entries(run);
        gl_file_recover(run);
        gl_run_lockspaces(run, &entering);
}

/* --- changing --- */

/* The lease keeps its entries. */
static void changed_or_not(GlRun *run) {
        g_ptr_array_set_size(run->entries, 0);
        /* On whichever description the locks are now. */
        gl_file_keep(run, finish);
}

static void revert(GlRun *run) {
        static const GlRunStep reverting = {revert_entries, revert_here, changed_or_not, .chore = TRUE};

        gl_run_lockspaces(run, &reverting);
}

static void settled_change(GlRun *run) {
        static const GlRunStep changing_back = {change_back, gl_run_refuse, revert};

        if (run->verdict.error)
                gl_run_images(run, &changing_back, NULL);
        else
                changed_or_not(run);
}

static void changed(GlRun *run) {
        static const GlRunStep settling = {settle, gl_run_refuse, settled_change, .chore = TRUE};

        if (run->verdict.error) {
                revert(run);
        } else {
                heed_records(run);
                gl_run_lockspaces(run, &settling);
        }
}

static void change_image(GlRun *run) {
        static const GlRunStep changing = {change, gl_run_refuse, changed};

        gl_run_images(run, &changing, NULL);
}

static void next_opened(GlRun *run) {
        if (run->verdict.error)
                revert(run);
        else
                gl_file_keep(run, change_image);
}

static void changed_entries(GlRun *run) {
        static const GlRunStep opening = {open_next, gl_run_refuse, next_opened};

        if (run->verdict.error)
                revert(run);
        else if (gl_file_lease_needs_next(g_ptr_array_index(run->targets, 0)))
                gl_run_images(run, &opening, NULL);
        else
                change_image(run);
}

/* --- the jobs --- */

/* ENTRIES stay in the array of the lease where they are only used. */
static void collect_entries(GlRun *run, gboolean steal) {
        for (guint i = 0; i < run->targets->len; i++) {
                GlTarget *target = g_ptr_array_index(run->targets, i);
                GlFileLease *lease = target->lease;

                for (guint j = 0; lease && lease->entries && j < lease->entries->len; j++) {
                        GlLockspaceEntry *entry = g_ptr_array_index(lease->entries, j);

                        entry->target = target;
                        g_ptr_array_add(run->entries, entry);
                }
                if (steal && lease && lease->entries) {
                        g_ptr_array_set_free_func(lease->entries, NULL);
                        g_clear_pointer(&lease->entries, g_ptr_array_unref);
                }
        }
}

static void collect_keys(GlRun *run) {
        for (guint i = 0; i < run->targets->len; i++) {
                const GlFileLease *lease = ((const GlTarget *) g_ptr_array_index(run->targets, i))->lease;

                if (lease && lease->keep_key != 0)
                        g_array_append_val(run->keys, lease->keep_key);
        }
}

static void start_run(GlRun *run) {
        static const GlRunStep giving_back = {look_and_give_back, give_back_here, given_back, .chore = TRUE};
        static const GlRunStep changing = {change_entries, gl_run_refuse, changed_entries, .chore = TRUE};
        static const GlRunStep draining = {drain, refuse_drain, finish, .chore = TRUE};
        static const GlRunStep inspecting = {inspect, gl_run_refuse, finish};

        switch (run->job->kind) {
        case GL_JOB_TAKE:
                start_taking(run);
                break;
        case GL_JOB_GIVE_BACK:
                collect_entries(run, TRUE);
                collect_keys(run);
                gl_run_images(run, &giving_back, NULL);
                break;
        case GL_JOB_CHANGE_MODE:
                collect_entries(run, FALSE);
                gl_run_lockspaces(run, &changing);
                break;
        case GL_JOB_DRAIN:
                if (run->options->keeping && run->options->keeping->pid)
                        run->keeper_pid = run->options->keeping->pid(run->options->keeping);
                gl_run_images(run, &draining, NULL);
                break;
        case GL_JOB_INSPECT:
                gl_run_images(run, &inspecting, NULL);
                break;
        case GL_JOB_LOOK:
                gl_file_look(run, finish);
                break;
        case GL_JOB_CHECK: /* gl_file_start_check() */
        case GL_JOB_AUDIT: /* gl_file_start_audit() */
                g_assert_not_reached();
        }
}

/* --- the driver --- */

/* The core has them now, until it gives them back. */
static void note_leases(GlFileDriver *file, const GlJob *job) {
        for (guint i = 0; i < job->n_targets && job->kind == GL_JOB_TAKE && !job->error; i++)
                g_hash_table_add(file->leases, job->targets[i].lease);
}

static void forget_leases(GlFileDriver *file, const GlJob *job) {
        for (guint i = 0; i < job->n_targets && job->kind == GL_JOB_GIVE_BACK; i++)
                g_hash_table_steal(file->leases, job->targets[i].lease);
}

static void run_finished(GlRun *run, gpointer user_data) {
        Order order = *(Order *) user_data;
        GlJob *job = run->job;

        g_free(user_data);
        gl_run_free(run);
        note_leases(order.file, job);
        order.done(job, order.user_data);
}

/* What the keeper had no room for, or no time, it may have now. */
static void keep_at_last(GlFileDriver *file, const GlJob *job) {
        for (guint i = 0; file->options.keeping && i < job->n_targets; i++)
                gl_file_keep_at_last(file->options.keeping, job->targets[i].lease);
}

static void file_start(GlDriver *driver, GlJob *job, GlJobDone done, gpointer user_data) {
        GlFileDriver *file = (GlFileDriver *) driver;
        Order *order;

        if (job->kind == GL_JOB_CHECK) {
                keep_at_last(file, job);
                gl_file_start_check(file->workers, &file->options, job, done, user_data);
                return;
        }
        if (job->kind == GL_JOB_AUDIT) {
                gl_file_start_audit(file->workers, &file->options, job, done, user_data);
                return;
        }
        order = g_new(Order, 1);
        *order = (Order){.file = file, .done = done, .user_data = user_data};
        forget_leases(file, job);
        start_run(gl_run_new(file->workers, &file->options, job, run_finished, order));
}

void gl_file_driver_keep_again(GlDriver *driver) {
        GlFileDriver *file = (GlFileDriver *) driver;
        GHashTableIter iter;
        gpointer lease;

        g_hash_table_iter_init(&iter, file->leases);
        while (file->options.keeping && g_hash_table_iter_next(&iter, &lease, NULL))
                gl_file_keep_again(file->options.keeping, lease);
}

static int file_lock_fd(GlDriver *driver, gpointer lease) {
        return ((const GlFileLease *) lease)->fd;
}

static void file_free(GlDriver *driver) {
        GlFileDriver *file = (GlFileDriver *) driver;

        g_hash_table_unref(file->leases);
        g_free(file);
}

static const GlDriverOps file_ops = {
        .name = "file",
        .capabilities = (const char *const[]){"disk", "lease", "hotplug", "shared", "readonly", "inherit", NULL},
        .start = file_start,
        .lock_fd = file_lock_fd,
        .free = file_free,
};

GlDriver *gl_file_driver_new(GlWorkers *workers, const GlFileOptions *options) {
        GlFileDriver *file = g_new0(GlFileDriver, 1);

        file->driver.ops = &file_ops;
        file->workers = workers;
        file->options = *options;
        file->leases = g_hash_table_new_full(NULL, NULL, (GDestroyNotify) gl_file_lease_leave, NULL);
        (void) signal(SIGIO, SIG_IGN);

        return &file->driver;
}
