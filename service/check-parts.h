/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

/* Between the files of the check. */

typedef struct {
        GString *report; /* (borrowed) */
        guint n_problems;
} GlFindings;

void gl_findings_ok(GlFindings *findings, const char *format, ...) G_GNUC_PRINTF(2, 3);
void gl_findings_warning(GlFindings *findings, const char *format, ...) G_GNUC_PRINTF(2, 3);
void gl_findings_problem(GlFindings *findings, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* Whether the kernel, and what filters system calls, let this process do what the service does. */
void gl_check_kernel(GlFindings *findings);

/* Whether process PID (0: this one) sees the same files under the same names as process 1. */
void gl_check_view(GlFindings *findings, const char *sysroot, guint32 pid);
