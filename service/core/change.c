/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/core.h"

void gl_change_free(GlChange *change) {
        if (!change)
                return;

        if (change->kind == GL_CHANGE_GUEST_REMOVED)
                gl_guest_record_free(change->guest);
        g_free(change->text);
        g_free(change->message);
        g_clear_pointer(&change->items, g_array_unref);
        gl_handle_unref(&change->process.handle);
        gl_job_free(change->job);
        g_clear_error(&change->error);
        g_clear_pointer(&change->obstacles, g_ptr_array_unref);
        g_free(change);
}
