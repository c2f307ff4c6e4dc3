/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drivers/plugin.h"

/*
 * Plugins for the loader's test, all made of this: VARIANT_… says what is wrong with one. The one with nothing wrong,
 * "good", uses what the service has for plugins: it asks a worker's thread, which says that a stranger is in the way.
 */

#define ENDED "guestlock-test-driver-ended"

typedef struct {
        GlDriver driver;
        GlWorkers *workers;
} Good;

typedef struct {
        GlJob *job;
        GlJobDone done;
        gpointer user_data;
} Run;

static void meet_stranger(gpointer data) {
        GlJob *job = ((Run *) data)->job;
        GlObstacle *obstacle = gl_obstacle_new();
        g_autofree char *sentence = NULL;

        obstacle->pid = 4242;
        obstacle->command = g_strdup("stranger");
        job->obstacles = g_ptr_array_new_with_free_func((GDestroyNotify) gl_obstacle_free);
        g_ptr_array_add(job->obstacles, obstacle);
        sentence = gl_obstacles_to_sentence(job->targets[0].type, job->targets[0].name, job->obstacles);
        job->error = g_error_new_literal(GL_ERROR, GL_ERROR_CONFLICT, sentence);
}

static void met(gpointer data) {
        g_autofree Run *run = data;

        run->done(run->job, run->user_data);
}

static void start(GlDriver *driver, GlJob *job, GlJobDone done, gpointer user_data) {
        Run *run = g_new(Run, 1);

        *run = (Run){job, done, user_data};
        if (!gl_workers_submit(((Good *) driver)->workers, "/", 0, meet_stranger, met, run, &job->error))
                met(run);
}

static void end(GlDriver *driver) {
        g_setenv(ENDED, driver->ops->name, TRUE);
        g_free(driver);
}

#ifndef VARIANT_NAME
#define VARIANT_NAME "good"
#endif
#ifndef VARIANT_CAPABILITIES
#define VARIANT_CAPABILITIES GL_CAPABILITY_DISK, GL_CAPABILITY_LEASE
#endif

static const GlDriverOps ops = {
        .name = VARIANT_NAME,
#ifndef VARIANT_NO_CAPABILITIES
        .capabilities = (const char *const[]){VARIANT_CAPABILITIES, NULL},
#endif
        .start = start,
        .free = end,
};

#ifdef VARIANT_UNRESOLVED
void gl_function_that_is_not_exported(void);
#endif

static GlDriver *make(const GlPluginHost *host, GError **error) {
        static const GlDriverOps others = {.name = "other-ops", .start = start, .free = end};
        Good *good;

#ifdef VARIANT_UNRESOLVED
        gl_function_that_is_not_exported();
#endif
#ifdef VARIANT_FAILS
        g_set_error(error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE, "Its daemon does not run.");
        return NULL;
#endif
#ifdef VARIANT_FAILS_SILENTLY
        return NULL;
#endif
        good = g_new0(Good, 1);
        good->driver.ops = g_str_equal(VARIANT_NAME, "other-ops") ? &others : &ops;
        good->workers = host->workers;
        return &good->driver;
}

#ifndef VARIANT_NO_SYMBOL
const GlPlugin guestlock_driver = {
        GL_PLUGIN_HEADER,
        .ops = &ops,
#ifndef VARIANT_NO_MAKE
        .make = make,
#endif
#ifdef VARIANT_ABI
        .abi = VARIANT_ABI,
#endif
#ifdef VARIANT_SIZE
        .size = VARIANT_SIZE,
#endif
#ifdef VARIANT_LAYOUT
        .layout = VARIANT_LAYOUT,
#endif
};
#endif
