/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/obstacle.h"
#include "drivers/driver.h"

/*
 * A driver for tests, with leases that exist in memory alone. It passes the conformance suite, and does what a test
 * tells it to. Jobs are done before start() returns, unless they are held back. Targets need no source. DRIVER is
 * one of gl_fake_driver_new() everywhere.
 */
GlDriver *gl_fake_driver_new(void);

/* The next TAKE or CHANGE_MODE fails with ERROR, OBSTACLES (nullable) and BRIEF (all but BRIEF taken over). */
void gl_fake_driver_fail_next(GlDriver *driver, GError *error, GPtrArray *obstacles, gboolean brief);

/* From now on jobs wait for gl_fake_driver_release_jobs(), which does those that wait and returns how many. */
void gl_fake_driver_hold_jobs(GlDriver *driver, gboolean hold);
guint gl_fake_driver_release_jobs(GlDriver *driver);

/* The next N_ASKS questions whether a target is drained, over all targets, are answered with no. */
void gl_fake_driver_drain_after(GlDriver *driver, guint n_asks);

/* What every lease has from now on; host at first. */
void gl_fake_driver_set_scope(GlDriver *driver, GlScope scope);

/* A stranger takes PLACE in MODE (which must be free for it), until he is gone. */
void gl_fake_driver_occupy(GlDriver *driver, const GlPlace *place, GlMode mode, guint32 pid, const char *command);
void gl_fake_driver_vacate(GlDriver *driver, const GlPlace *place);

/* Could a stranger take PLACE in MODE now? */
gboolean gl_fake_driver_is_free(GlDriver *driver, const GlPlace *place, GlMode mode);

/* The lease on PLACE is gone, without anybody's doing. A stranger can take it then. */
void gl_fake_driver_lose(GlDriver *driver, const GlPlace *place);
/* What a check says of the names from now on. */
void gl_fake_driver_move_paths(GlDriver *driver, GlWhereabouts whereabouts);

/* From now on PLACE is not what it was at registration. */
void gl_fake_driver_replace(GlDriver *driver, const GlPlace *place);

guint gl_fake_driver_n_leases(GlDriver *driver);

/* Each job that was started, in one line: "take disk-a exclusive, disk-b readonly". (borrowed) */
const char *gl_fake_driver_log(GlDriver *driver);
void gl_fake_driver_clear_log(GlDriver *driver);
