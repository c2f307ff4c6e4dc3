/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "drivers/driver.h"

/*
 * What every driver has to do, whatever its leases are made of. A driver's test makes a fixture for each test case
 * and adds the suite with gl_driver_conformance_add().
 */

#define GL_CONFORMANCE_PLACES 64

typedef struct GlDriverFixture GlDriverFixture;

typedef struct {
        GlDriverFixture *(*set_up)(void);
        void (*tear_down)(GlDriverFixture *fixture);

        /* Fills in place, source (where the driver needs one) and name of the NTH of GL_CONFORMANCE_PLACES places,
         * none of which overlap. */
        void (*set_target)(GlDriverFixture *fixture, GlTarget *target, guint nth, GlResourceType type);
        /* Could somebody who knows nothing of this driver's leases, but goes by the same rules, take it in MODE now? */
        gboolean (*is_free)(GlDriverFixture *fixture, guint nth, GlResourceType type, GlMode mode);
        /* Somebody else takes it, or gives it back. Returns the pid that he is to be known by. */
        guint32 (*occupy)(GlDriverFixture *fixture, guint nth, GlResourceType type, GlMode mode);
        void (*vacate)(GlDriverFixture *fixture, guint nth);
        /* From now on the name leads elsewhere. */
        void (*replace)(GlDriverFixture *fixture, guint nth);
        /* Lets time go on until something happened, or a moment has passed. */
        void (*iterate)(GlDriverFixture *fixture);
} GlDriverFixtureOps;

struct GlDriverFixture {
        const GlDriverFixtureOps *ops;
        GlDriver *driver;
        guint n_started, n_done; /* jobs */
};

/* Adds the cases that apply, by the capabilities of the driver that a fixture has, as PREFIX/<case>. */
void gl_driver_conformance_add(const char *prefix, const GlDriverFixtureOps *ops);

/* --- verbs, also for a driver's own cases --- */

/* A job on the places FIRST, FIRST + 1, …, for a guest of uid 0 with no process. */
GlJob *gl_fixture_new_job(GlDriverFixture *fixture, GlJobKind kind, guint first, guint n, GlResourceType type,
                          GlMode mode);
/* A job of KIND on what JOB holds; leases move over. */
GlJob *gl_fixture_follow(GlDriverFixture *fixture, GlJobKind kind, GlJob *job, GlMode mode);
void gl_fixture_start(GlDriverFixture *fixture, GlJob *job);
void gl_fixture_wait(GlDriverFixture *fixture);
/* Starts it, waits until it is done, and returns it. */
GlJob *gl_fixture_run(GlDriverFixture *fixture, GlJob *job);

GlJob *gl_fixture_take(GlDriverFixture *fixture, guint first, guint n, GlResourceType type, GlMode mode);
/* Takes what must be had. */
GlJob *gl_fixture_have(GlDriverFixture *fixture, guint first, guint n, GlResourceType type, GlMode mode);
/* Changes the mode of what JOB holds, and returns what that gave; JOB holds the lease again. */
GlJob *gl_fixture_change(GlDriverFixture *fixture, GlJob *job, GlMode mode);
/* Gives back what JOB holds, and frees it. */
void gl_fixture_give_back(GlDriverFixture *fixture, GlJob *job);

/* Nothing of a failed job stays behind; frees it. */
void gl_assert_refused(GlJob *job, int code);
void gl_assert_names_pid(const GlJob *job, guint32 pid);
/* The place is held in MODE as others see it. */
void gl_fixture_assert_held(GlDriverFixture *fixture, guint nth, GlResourceType type, GlMode mode);
