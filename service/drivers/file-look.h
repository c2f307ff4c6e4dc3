/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "drivers/file-run.h"

/* GL_JOB_LOOK: everybody who is in the way of each target, wherever that shows. NEXT is called when it is done. */
void gl_file_look(GlRun *run, void (*next)(GlRun *run));
