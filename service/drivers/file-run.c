/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drivers/file-run.h"

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
