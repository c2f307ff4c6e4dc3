/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drivers/file-run.h"

#include "drivers/lockspace-names.h"

/* --- making and ending --- */

static int compare_targets(gconstpointer a, gconstpointer b) {
        const GlTarget *first = *(const GlTarget *const *) a, *second = *(const GlTarget *const *) b;
        guint64 first_byte = first->place->extent.start, second_byte = second->place->extent.start;
        int r = gl_node_compare(&first->place->node, &second->place->node);

        if (r == 0)
                r = (first_byte > second_byte) - (first_byte < second_byte);
        return r;
}

GlRun *gl_run_new(GlWorkers *workers, const GlFileOptions *options, GlJob *job,
                  void (*finished)(GlRun *run, gpointer user_data), gpointer user_data) {
        GlRun *run = g_new(GlRun, 1);

        *run = (GlRun){.workers = workers, .options = options, .job = job, .finished = finished, .user_data = user_data,
                       .targets = g_ptr_array_new(), .entries = g_ptr_array_new(),
                       .recovered = g_array_new(FALSE, FALSE, sizeof(GlRecovered)),
                       .keys = g_array_new(FALSE, FALSE, sizeof(guint64))};
        for (guint i = 0; i < job->n_targets; i++)
                g_ptr_array_add(run->targets, &job->targets[i]);
        g_ptr_array_sort(run->targets, compare_targets);
        return run;
}

void gl_run_free(GlRun *run) {
        g_clear_pointer(&run->groups, g_ptr_array_unref);
        g_ptr_array_unref(run->targets);
        g_ptr_array_unref(run->entries);
        g_array_unref(run->recovered);
        g_array_unref(run->keys);
        gl_file_verdict_clear(&run->verdict);
        g_free(run);
}

/* --- one step --- */

static void group_free(gpointer data) {
        GlRunGroup *group = data;

        g_ptr_array_unref(group->items);
        gl_file_verdict_clear(&group->verdict);
        g_free(group);
}

static void reported(GlRun *run) {
        if (--run->n_pending > 0)
                return;

        for (guint i = 0; i < run->groups->len; i++) {
                GlRunGroup *group = g_ptr_array_index(run->groups, i);

                gl_file_verdict_merge(&run->verdict, &group->verdict);
        }
        run->step->next(run);
}

static void group_done(gpointer data) {
        reported(((GlRunGroup *) data)->run);
}

static void group_work(gpointer data) {
        GlRunGroup *group = data;

        group->run->step->work(group);
}

void gl_run_refuse(GlRunGroup *group, GError *error) {
        gl_file_verdict_add_error(&group->verdict, error);
}

static void start_step(GlRun *run, const GlRunStep *step) {
        run->step = step;
        g_clear_pointer(&run->groups, g_ptr_array_unref);
        run->groups = g_ptr_array_new_with_free_func(group_free);
}

static void add_item(GlRun *run, const char *storage, gpointer item) {
        GlRunGroup *group = NULL;

        for (guint i = 0; i < run->groups->len && !group; i++) {
                group = g_ptr_array_index(run->groups, i);
                if (!g_str_equal(group->storage, storage))
                        group = NULL;
        }
        if (!group) {
                group = g_new0(GlRunGroup, 1);
                *group = (GlRunGroup){.run = run, .storage = storage, .items = g_ptr_array_new()};
                g_ptr_array_add(run->groups, group);
        }
        g_ptr_array_add(group->items, item);
}

static void submit_groups(GlRun *run) {
        /* One more than there are groups, so that none that is refused is the last before all are submitted. */
        run->n_pending = run->groups->len + 1;
        for (guint i = 0; i < run->groups->len; i++) {
                GlRunGroup *group = g_ptr_array_index(run->groups, i);
                GError *error = NULL;

                if (!(run->step->chore ? gl_workers_submit_chore : gl_workers_submit)(
                            run->workers, group->storage, run->job->owner_uid, group_work, group_done, group,
                            &error)) {
                        run->step->refused(group, error);
                        run->n_pending--;
                }
        }
        reported(run);
}

void gl_run_images(GlRun *run, const GlRunStep *step, gboolean (*wanted)(const GlTarget *target)) {
        start_step(run, step);
        for (guint i = 0; i < run->targets->len; i++) {
                GlTarget *target = g_ptr_array_index(run->targets, i);

                if (!wanted || wanted(target))
                        add_item(run, ((const GlSource *) target->source.box)->storage, target);
        }
        submit_groups(run);
}

void gl_run_lockspaces(GlRun *run, const GlRunStep *step) {
        start_step(run, step);
        for (guint i = 0; i < run->entries->len; i++) {
                GlLockspaceEntry *entry = g_ptr_array_index(run->entries, i);

                add_item(run, entry->storage, entry);
        }
        submit_groups(run);
}

/* --- entries in lockspace directories --- */

static void add_entries_of(GlRun *run, GlTarget *target) {
        const char *const *lockspaces = run->options->lockspaces;
        g_autoptr(GPtrArray) names = gl_lockspace_names(target->source.box, target->by_descriptor, run->options);

        for (guint i = 0; i < names->len; i++) {
                const GlLockspaceName *name = g_ptr_array_index(names, i);
                const char *directory = lockspaces[name->kind];
                g_autofree char *storage = gl_workers_storage_of(run->workers, directory);

                g_ptr_array_add(run->entries, gl_lockspace_entry_new(directory, storage, name->name, target));
        }
}

void gl_run_add_entries(GlRun *run) {
        for (guint i = 0; i < run->targets->len; i++) {
                GlTarget *target = g_ptr_array_index(run->targets, i);

                if (target->type == GL_RESOURCE_DISK)
                        add_entries_of(run, target);
        }
}

/* What its mount says of a directory's locks is known here alone. */
void gl_run_heed_mounts(GlRun *run) {
        GlMountTable *mounts = gl_workers_mounts(run->workers);

        for (guint i = 0; i < run->entries->len; i++) {
                GlLockspaceEntry *entry = g_ptr_array_index(run->entries, i);

                gl_facts_heed_mount(&entry->facts, gl_mount_table_find(mounts, entry->directory));
                entry->local = entry->facts.kind == GL_STORAGE_LOCAL;
        }
}

/* Where TARGET is kept besides: in a directory that is shared, if there is one. */
const GlFacts *gl_run_where_kept(const GlRun *run, const GlTarget *target) {
        const GlFacts *kept = NULL;

        for (guint i = 0; i < run->entries->len; i++) {
                const GlLockspaceEntry *entry = g_ptr_array_index(run->entries, i);

                if (entry->target == target && (!kept || entry->facts.kind == GL_STORAGE_SHARED))
                        kept = &entry->facts;
        }
        return kept;
}

void gl_run_drop_entries(GlRun *run) {
        g_ptr_array_set_free_func(run->entries, gl_lockspace_entry_unref);
        g_ptr_array_set_size(run->entries, 0);
}
