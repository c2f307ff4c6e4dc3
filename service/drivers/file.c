/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drivers/file.h"

#include <signal.h>

#include "core/error.h"
#include "drivers/file-drain.h"
#include "drivers/file-lease.h"
#include "storage/source.h"

/*
 * A job is split into groups by storage; each group is one piece of work on its storage's worker, and all are under
 * way at once. Within a group the targets are taken in the order of their nodes and the first conflict ends the
 * taking (the rest is only looked at, to name everybody): of two services that want the same disks in opposite order,
 * one gets them.
 *
 * All or nothing: a group that fails gives back what it has taken before it reports; when all have reported and one
 * has failed, the others are sent back to their workers to undo theirs, and only then is the job done.
 *
 * When the driver ends it closes what is leased: the process may outlive it for long, as a thread that hangs in the
 * kernel keeps it and all its descriptors, and the next service would find every disk of the host taken.
 *
 * Giving back and draining are the service's own business and not charged to the guest's owner: his disks on one
 * storage are given back also while he has the most stuck work that he may have on another.
 */

typedef struct {
        GlDriver driver;
        GlWorkers *workers; /* (borrowed) */
        GlFileOptions options;
        char *sysroot; /* (owned) (nullable) */
        GHashTable *leases; /* (owned) set of GlFileLease: all that the core has */
} GlFileDriver;

typedef struct {
        GlFileDriver *file;
        GlJob *job;
        GlJobDone done;
        gpointer user_data;
        GPtrArray *groups; /* (owned) of Group */
        guint n_pending;
        GlFileVerdict verdict;
} Run;

/* Belongs to its worker's thread from submit to done, and to the loop's otherwise. */
typedef struct {
        Run *run;
        const char *storage;
        GPtrArray *targets; /* (owned) of GlTarget (borrowed) */
        GlFileVerdict verdict;
} Group;

static void group_free(gpointer data) {
        Group *group = data;

        g_ptr_array_unref(group->targets);
        gl_file_verdict_clear(&group->verdict);
        g_free(group);
}

/* --- on a worker's thread --- */

static void give_back(Group *group) {
        for (guint i = 0; i < group->targets->len; i++)
                gl_file_lease_give_back(g_ptr_array_index(group->targets, i));
}

static void take(Group *group) {
        const GlFileOptions *options = &group->run->file->options;
        const GlJob *job = group->run->job;
        gboolean look_for_qemu = job->holder_pid == 0 && !job->adopting;

        for (guint i = 0; i < group->targets->len; i++) {
                GlTarget *target = g_ptr_array_index(group->targets, i);

                if (!group->verdict.error)
                        (void) gl_file_lease_take(target, options, look_for_qemu, &group->verdict);
                else if (group->verdict.error->code == GL_ERROR_CONFLICT)
                        gl_file_lease_look(target, options, look_for_qemu, &group->verdict);
        }
        if (group->verdict.error)
                give_back(group);
}

static void inspect(Group *group) {
        for (guint i = 0; i < group->targets->len; i++) {
                GlFileVerdict one = {0};

                if (!gl_file_lease_inspect(g_ptr_array_index(group->targets, i), &one.error))
                        gl_file_verdict_merge(&group->verdict, &one);
        }
}

/* Giving back cannot fail: what cannot be seen any more stays as it was. */
static void look_a_last_time(Group *group) {
        for (guint i = 0; i < group->targets->len; i++) {
                GlTarget *target = g_ptr_array_index(group->targets, i);

                if (target->lease)
                        (void) gl_file_lease_inspect(target, NULL);
        }
}

static void work(gpointer data) {
        Group *group = data;
        const GlFileOptions *options = &group->run->file->options;
        const GlJob *job = group->run->job;

        switch (job->kind) {
        case GL_JOB_TAKE:
                take(group);
                break;
        case GL_JOB_GIVE_BACK:
                look_a_last_time(group);
                give_back(group);
                break;
        case GL_JOB_CHANGE_MODE:
                (void) gl_file_lease_change(g_ptr_array_index(group->targets, 0), options,
                                            job->holder_pid == 0 && !job->adopting, &group->verdict);
                break;
        case GL_JOB_DRAIN:
                for (guint i = 0; i < group->targets->len; i++)
                        gl_file_drain(g_ptr_array_index(group->targets, i), options);
                break;
        case GL_JOB_INSPECT:
                inspect(group);
                break;
        }
}

static void undo(gpointer data) {
        give_back(data);
}

/* --- on the loop's thread --- */

/* The core has them now, until it gives them back. */
static void note_leases(GlFileDriver *file, const GlJob *job) {
        for (guint i = 0; i < job->n_targets && job->kind == GL_JOB_TAKE && !job->error; i++)
                g_hash_table_add(file->leases, job->targets[i].lease);
}

static void forget_leases(GlFileDriver *file, const GlJob *job) {
        for (guint i = 0; i < job->n_targets && job->kind == GL_JOB_GIVE_BACK; i++)
                g_hash_table_steal(file->leases, job->targets[i].lease);
}

static void run_finish(Run *run) {
        GlJob *job = run->job;
        GlJobDone done = run->done;
        gpointer user_data = run->user_data;

        job->error = g_steal_pointer(&run->verdict.error);
        job->obstacles = g_steal_pointer(&run->verdict.obstacles);
        job->brief = run->verdict.brief;
        note_leases(run->file, job);
        g_ptr_array_unref(run->groups);
        g_free(run);

        done(job, user_data);
}

static void group_undone(gpointer data) {
        Group *group = data;
        Run *run = group->run;

        if (--run->n_pending == 0)
                run_finish(run);
}

static gboolean has_lease(const Group *group) {
        for (guint i = 0; i < group->targets->len; i++) {
                const GlTarget *target = g_ptr_array_index(group->targets, i);

                if (target->lease)
                        return TRUE;
        }
        return FALSE;
}

static void run_undo(Run *run) {
        run->n_pending = 1;
        for (guint i = 0; i < run->groups->len; i++) {
                Group *group = g_ptr_array_index(run->groups, i);

                if (!has_lease(group))
                        continue;
                /* Without a thread to be had this storage has none, so nothing of it hangs: close here. */
                if (gl_workers_submit(run->file->workers, group->storage, 0, undo, group_undone, group, NULL))
                        run->n_pending++;
                else
                        give_back(group);
        }
        if (--run->n_pending == 0)
                run_finish(run);
}

static void run_reported(Run *run) {
        if (--run->n_pending > 0)
                return;

        for (guint i = 0; i < run->groups->len; i++) {
                Group *group = g_ptr_array_index(run->groups, i);

                gl_file_verdict_merge(&run->verdict, &group->verdict);
        }
        if (run->verdict.error && run->job->kind == GL_JOB_TAKE)
                run_undo(run);
        else
                run_finish(run);
}

static void group_reported(gpointer data) {
        Group *group = data;

        run_reported(group->run);
}

/* No thread is to be had for GROUP's storage. */
static void group_refused(Group *group, GError *error) {
        switch (group->run->job->kind) {
        case GL_JOB_GIVE_BACK:
                give_back(group);
                g_error_free(error);
                break;
        case GL_JOB_DRAIN:
                for (guint i = 0; i < group->targets->len; i++) {
                        GlTarget *target = g_ptr_array_index(group->targets, i);

                        target->drained = FALSE;
                        g_free(target->drain_reason);
                        target->drain_reason = g_strdup(error->message);
                }
                g_error_free(error);
                break;
        case GL_JOB_TAKE:
        case GL_JOB_CHANGE_MODE:
        case GL_JOB_INSPECT:
                group->verdict.error = error;
                break;
        }
        run_reported(group->run);
}

/* --- splitting --- */

static int compare_targets(gconstpointer a, gconstpointer b) {
        const GlTarget *first = *(const GlTarget *const *) a, *second = *(const GlTarget *const *) b;
        guint64 first_byte = first->place->extent.start, second_byte = second->place->extent.start;
        int r = gl_node_compare(&first->place->node, &second->place->node);

        if (r == 0)
                r = (first_byte > second_byte) - (first_byte < second_byte);
        return r;
}

static void split(Run *run) {
        g_autoptr(GHashTable) by_storage = g_hash_table_new(g_str_hash, g_str_equal);

        for (guint i = 0; i < run->job->n_targets; i++) {
                GlTarget *target = &run->job->targets[i];
                const GlSource *source = target->source.box;
                Group *group = g_hash_table_lookup(by_storage, source->storage);

                if (!group) {
                        group = g_new0(Group, 1);
                        *group = (Group){.run = run, .storage = source->storage, .targets = g_ptr_array_new()};
                        g_ptr_array_add(run->groups, group);
                        g_hash_table_insert(by_storage, source->storage, group);
                }
                g_ptr_array_add(group->targets, target);
        }
        for (guint i = 0; i < run->groups->len; i++)
                g_ptr_array_sort(((Group *) g_ptr_array_index(run->groups, i))->targets, compare_targets);
}

static void file_start(GlDriver *driver, GlJob *job, GlJobDone done, gpointer user_data) {
        GlFileDriver *file = (GlFileDriver *) driver;
        guint32 payer = job->kind == GL_JOB_GIVE_BACK || job->kind == GL_JOB_DRAIN ? 0 : job->owner_uid;
        Run *run = g_new0(Run, 1);

        *run = (Run){.file = file, .job = job, .done = done, .user_data = user_data,
                     .groups = g_ptr_array_new_with_free_func(group_free)};
        split(run);
        forget_leases(file, job);

        /* One more than there are groups, so that none that is refused is the last before all are submitted. */
        run->n_pending = run->groups->len + 1;
        for (guint i = 0; i < run->groups->len; i++) {
                Group *group = g_ptr_array_index(run->groups, i);
                GError *error = NULL;

                if (!gl_workers_submit(file->workers, group->storage, payer, work, group_reported, group, &error))
                        group_refused(group, error);
        }
        run_reported(run);
}

static void file_free(GlDriver *driver) {
        GlFileDriver *file = (GlFileDriver *) driver;

        g_hash_table_unref(file->leases);
        g_free(file->sysroot);
        g_free(file);
}

static const GlDriverOps file_ops = {
        .name = "file",
        .capabilities = (const char *const[]){"disk", "lease", "hotplug", "shared", "readonly", NULL},
        .start = file_start,
        .free = file_free,
};

GlDriver *gl_file_driver_new(GlWorkers *workers, const GlFileOptions *options) {
        GlFileDriver *file = g_new0(GlFileDriver, 1);

        file->driver.ops = &file_ops;
        file->workers = workers;
        file->sysroot = g_strdup(options->sysroot);
        file->leases = g_hash_table_new_full(NULL, NULL, (GDestroyNotify) gl_file_lease_leave, NULL);
        file->options = *options;
        file->options.sysroot = file->sysroot;
        (void) signal(SIGIO, SIG_IGN);

        return &file->driver;
}
