/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <json-glib/json-glib.h>
#include <stdio.h>

#include "cli.h"

/* What a guest is to have. */
typedef struct {
        GPtrArray *disks;   /* (owned) of GlFoundDisk, no path twice */
        GPtrArray *remarks; /* (owned) of char *: sentences about what was not understood, or cannot be leased */
        char *name, *uuid;  /* (owned) (nullable) what the command line says of the guest */
} GlPlan;

void gl_plan_clear(GlPlan *plan);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(GlPlan, gl_plan_clear)

typedef struct {
        char **disks;        /* (nullable) as --disk has them: these have the last word */
        gboolean no_scan;    /* do not look for disks in the command line */
        gboolean no_backing; /* nor for layers below an image */
} GlPlanOptions;

/* The plan begins as {}, and is to be cleared in any case. */
gboolean gl_plan_make(GlPlan *plan, const GlPlanOptions *options, const char *const *command, GError **error);

/* As a table; and as the member "disks", an array. */
void gl_plan_print(const GlCli *cli, FILE *where, const GlPlan *plan);
void gl_plan_add_json(JsonBuilder *json, const GlPlan *plan);

/* Each disk, to be opened by the service, which has to be able to reach it by this path. */
void gl_plan_add_to_request(const GlPlan *plan, GuestlockRequest *request);

/* Each disk, opened here. */
gboolean gl_plan_open(const GlPlan *plan, GuestlockRequest *request, GError **error);
