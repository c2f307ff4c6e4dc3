/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/job.h"
#include "drivers/file-verdict.h"

/*
 * Whether the host itself leaves TARGET to a guest: it has mounted nothing of it, swaps to none of it and has made no
 * other device of it. Otherwise a conflict is in VERDICT. On the thread of TARGET's storage.
 */
gboolean gl_file_host_leaves(const GlTarget *target, GlFileVerdict *verdict);
/* The same question, and what is in the way is added to OBSTACLES. TRUE: something is. */
gboolean gl_file_host_add_uses(const GlTarget *target, GPtrArray *obstacles);
