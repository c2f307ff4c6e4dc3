/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/gate.h"

#include "bus/errors.h"
#include "core/error.h"

/*
 * A filter, which sees each message before any object does; replies and signals pass.
 *
 * What waits takes memory, and this can go on for as long as somebody's storage does not answer. No connection has more
 * than the bus lets one have that wants answers.
 */

#define MAX_WAITING_PER_SENDER 128

struct GlGate {
        sd_bus *bus;         /* (owned) */
        sd_bus_slot *filter; /* (owned) (nullable) once it is open */
        GPtrArray *waiting;  /* (owned) of sd_bus_message */
        GHashTable *senders; /* (owned) name → how many of them */
};

static gboolean count_in(GlGate *gate, sd_bus_message *message) {
        const char *sender = sd_bus_message_get_sender(message) ?: "";
        guint n = GPOINTER_TO_UINT(g_hash_table_lookup(gate->senders, sender));

        if (n >= MAX_WAITING_PER_SENDER)
                return FALSE;
        g_hash_table_insert(gate->senders, g_strdup(sender), GUINT_TO_POINTER(n + 1));
        return TRUE;
}

static int keep_call(sd_bus_message *message, void *user_data, sd_bus_error *unused) {
        g_autoptr(GError) error = NULL;
        GlGate *gate = user_data;

        if (sd_bus_message_is_method_call(message, NULL, NULL) <= 0)
                return 0;
        if (!count_in(gate, message)) {
                error = g_error_new(GL_ERROR, GL_ERROR_LIMIT_EXCEEDED,
                                    "The service is still starting, and %d calls of this connection wait for it "
                                    "already; wait for an answer first.",
                                    MAX_WAITING_PER_SENDER);
                return gl_bus_reply_error(message, error);
        }
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
        gate->senders = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
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
        g_hash_table_remove_all(gate->senders);
}

void gl_gate_free(GlGate *gate) {
        if (!gate)
                return;
        sd_bus_slot_unref(gate->filter);
        g_ptr_array_unref(gate->waiting);
        g_hash_table_unref(gate->senders);
        sd_bus_unref(gate->bus);
        g_free(gate);
}
