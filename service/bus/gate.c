/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/gate.h"

#include "core/error.h"

/* A filter, which sees each message before any object does; replies and signals pass. */

struct GlGate {
        sd_bus *bus;         /* (owned) */
        sd_bus_slot *filter; /* (owned) (nullable) once it is open */
        GPtrArray *waiting;  /* of sd_bus_message */
};

static int keep_call(sd_bus_message *message, void *user_data, sd_bus_error *unused) {
        GlGate *gate = user_data;

        if (sd_bus_message_is_method_call(message, NULL, NULL) <= 0)
                return 0;
        g_ptr_array_add(gate->waiting, sd_bus_message_ref(message));
        return 1;
}

static void message_unref(gpointer message) {
        sd_bus_message_unref(message);
}

GlGate *gl_gate_new(sd_bus *bus, GError **error) {
        g_autoptr(GlGate) gate = g_new0(GlGate, 1);
        int r;

        gate->bus = sd_bus_ref(bus);
        gate->waiting = g_ptr_array_new_with_free_func(message_unref);
        r = sd_bus_add_filter(bus, &gate->filter, keep_call, gate);
        if (r < 0) {
                g_set_error(error, GL_ERROR, GL_ERROR_DRIVER_FAILED, "Calls cannot be kept waiting: %s.",
                            g_strerror(-r));
                return NULL;
        }
        return g_steal_pointer(&gate);
}

void gl_gate_open(GlGate *gate) {
        gate->filter = sd_bus_slot_unref(gate->filter);
        for (guint i = 0; i < gate->waiting->len; i++) {
                sd_bus_message *message = g_ptr_array_index(gate->waiting, i);
                int r = sd_bus_enqueue_for_read(gate->bus, message);

                if (r < 0)
                        sd_bus_reply_method_errno(message, r, NULL);
        }
        g_ptr_array_set_size(gate->waiting, 0);
}

void gl_gate_free(GlGate *gate) {
        if (!gate)
                return;
        sd_bus_slot_unref(gate->filter);
        g_ptr_array_unref(gate->waiting);
        sd_bus_unref(gate->bus);
        g_free(gate);
}
