/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/job.h"

GlJob *gl_job_new(GlJobKind kind, const char *driver, guint n_targets) {
        GlJob *job = g_new0(GlJob, 1);

        job->kind = kind;
        job->driver = g_strdup(driver);
        job->n_targets = n_targets;
        job->targets = g_new0(GlTarget, n_targets);

        return job;
}

void gl_job_free(GlJob *job) {
        if (!job)
                return;

        for (guint i = 0; i < job->n_targets; i++) {
                GlTarget *target = &job->targets[i];

                g_free(target->name);
                gl_place_unref(target->place);
                gl_handle_unref(&target->source);
                g_free(target->scope_reason);
                g_free(target->drain_reason);
                g_free(target->held_open_by);
                g_free(target->loss_message);
                g_clear_pointer(&target->obstacles, g_ptr_array_unref);
        }
        g_free(job->targets);
        g_free(job->driver);
        g_free(job->guest_uuid);
        g_free(job->guest_name);
        g_clear_error(&job->error);
        g_clear_pointer(&job->obstacles, g_ptr_array_unref);
        g_free(job);
}
