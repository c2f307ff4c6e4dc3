/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drivers/file-check.h"
#include "drivers/file-keep.h"
#include "drivers/file-lease.h"
#include "drivers/file-run.h"

/*
 * Other jobs may give back what is being checked, before a worker's turn comes to look at it. So a check has references
 * of its own, and finds what was given back without a descriptor; a lease's list of entries is looked at only on the
 * loop, when the check starts. There are two runs side by side: the images, and the entries.
 */

typedef struct {
        GlJob *job;
        GlJobDone done;
        gpointer user_data;
        guint n_runs;
        GPtrArray *probes; /* (owned) of Probe */
        GPtrArray *leases; /* (owned) of GlFileLease (owned) */
} Check;

/* Another entry for what the lease has, with a target of its own: several may be found out about at once. */
typedef struct {
        GlLockspaceEntry *probe;  /* (owned) */
        GlLockspaceEntry *leased; /* (owned) */
        GlTarget result;
        GlTarget *target;         /* (borrowed) the job's */
} Probe;

static void probe_free(gpointer data) {
        Probe *probe = data;

        gl_lockspace_entry_unref(probe->probe);
        gl_lockspace_entry_unref(probe->leased);
        g_free(probe->result.loss_message);
        g_free(probe);
}

static void check_images(GlRunGroup *group) {
        for (guint i = 0; i < group->items->len; i++)
                gl_file_check(g_ptr_array_index(group->items, i), group->run->options);
}

static Probe *probe_of(const GlRun *run, const GlLockspaceEntry *entry) {
        const GPtrArray *probes = ((Check *) run->user_data)->probes;

        for (guint i = 0; i < probes->len; i++)
                if (((Probe *) g_ptr_array_index(probes, i))->probe == entry)
                        return g_ptr_array_index(probes, i);
        g_assert_not_reached();
}

static void check_entries(GlRunGroup *group) {
        for (guint i = 0; i < group->items->len; i++) {
                Probe *probe = probe_of(group->run, g_ptr_array_index(group->items, i));

                gl_lockspace_check(probe->probe, probe->leased, group->run->job, group->run->options);
        }
}

/* Nothing is known of it then. */
static void check_nothing(GlRunGroup *group, GError *error) {
        g_error_free(error);
}

static void merge_probe(Probe *probe) {
        GlTarget *target = probe->target;

        if (target->found == GL_FOUND_LOST || probe->result.found == GL_FOUND_HELD)
                return;
        target->found = probe->result.found;
        target->loss = probe->result.loss;
        target->loss_message = g_steal_pointer(&probe->result.loss_message);
}

static void check_finished(GlRun *run, gpointer user_data) {
        Check *check = user_data;
        GlKeeping *keeping = run->options->keeping;
        GlJobDone done = check->done;
        gpointer data = check->user_data;
        GlJob *job = check->job;

        gl_run_free(run);
        if (--check->n_runs > 0)
                return;
        for (guint i = 0; i < check->probes->len; i++)
                merge_probe(g_ptr_array_index(check->probes, i));
        for (guint i = 0; keeping && i < job->n_targets; i++)
                gl_file_see_who_keeps(keeping, &job->targets[i]);
        g_ptr_array_unref(check->probes);
        g_ptr_array_unref(check->leases);
        g_free(check);
        done(job, data);
}

static void finish_check(GlRun *run) {
        g_ptr_array_set_size(run->entries, 0);
        run->finished(run, run->user_data);
}

static void add_probes(Check *check, GlRun *run, GlTarget *target) {
        GlFileLease *lease = target->lease;

        g_ptr_array_add(check->leases, gl_file_lease_ref(lease));
        for (guint i = 0; lease->entries && i < lease->entries->len; i++) {
                GlLockspaceEntry *leased = g_ptr_array_index(lease->entries, i);
                Probe *probe = g_new0(Probe, 1);

                probe->leased = gl_lockspace_entry_ref(leased);
                probe->target = target;
                probe->result = (GlTarget){.type = target->type, .name = target->name, .place = target->place,
                                           .source = target->source, .mode = target->held_mode,
                                           .generation = target->generation};
                probe->probe = gl_lockspace_entry_new(leased->directory, leased->storage, leased->name, &probe->result);
                g_ptr_array_add(check->probes, probe);
                g_ptr_array_add(run->entries, probe->probe);
        }
}

void gl_file_start_check(GlWorkers *workers, const GlFileOptions *options, GlJob *job, GlJobDone done,
                         gpointer user_data) {
        static const GlRunStep images = {check_images, check_nothing, finish_check, .chore = TRUE};
        static const GlRunStep entries = {check_entries, check_nothing, finish_check, .chore = TRUE};
        Check *check = g_new0(Check, 1);
        GlRun *first = gl_run_new(workers, options, job, check_finished, check);
        GlRun *second = gl_run_new(workers, options, job, check_finished, check);

        *check = (Check){.job = job, .done = done, .user_data = user_data, .n_runs = 2,
                         .probes = g_ptr_array_new_with_free_func(probe_free),
                         .leases = g_ptr_array_new_with_free_func(gl_file_lease_unref)};
        for (guint i = 0; i < job->n_targets; i++)
                add_probes(check, second, &job->targets[i]);
        gl_run_images(first, &images, NULL);
        gl_run_lockspaces(second, &entries);
}
