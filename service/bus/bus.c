/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/bus-private.h"

/* The objects as a whole, and what the core's changes are on the bus. */

static void caller_gone(GlCaller *caller, gpointer user_data) {
        GlBus *bus = user_data;

        gl_turnstile_drop(bus->turnstile, caller);
        gl_calls_drop(caller);
        gl_core_caller_gone(bus->parts.core, caller->sender, gl_now(), gl_realtime());
        gl_bus_pump(bus);
}

static int on_turns(sd_event_source *source, void *user_data) {
        gl_calls_take_turns(user_data);
        return 0;
}

static int add_turns(GlBus *bus) {
        int r = sd_event_add_defer(bus->parts.event, &bus->turns_source, on_turns, bus);

        return r < 0 ? r : sd_event_source_set_enabled(bus->turns_source, SD_EVENT_OFF);
}

GlBus *gl_bus_new(sd_bus *connection, const GlBusParts *parts, GError **error) {
        g_autoptr(GlBus) bus = g_new0(GlBus, 1);
        int r;

        bus->connection = sd_bus_ref(connection);
        bus->parts = *parts;
        bus->n_calls = g_hash_table_new(NULL, NULL);
        bus->callers = gl_callers_new(connection, caller_gone, bus, error);
        if (!bus->callers)
                return NULL;
        bus->turnstile = gl_turnstile_new(connection, bus->callers, error);
        if (!bus->turnstile)
                return NULL;
        r = gl_size_add_filter(connection, bus->parts.core, &bus->slots[bus->n_slots++]);
        if (r >= 0)
                r = add_turns(bus);
        if (r >= 0)
                r = gl_bus_add_manager(bus);
        if (r >= 0)
                r = gl_bus_add_guests(bus);
        if (r < 0) {
                g_propagate_error(error, gl_error_from_errno(r, "put its objects on the bus"));
                return NULL;
        }
        return g_steal_pointer(&bus);
}

void gl_bus_free(GlBus *bus) {
        if (!bus)
                return;
        gl_callers_free(bus->callers);
        gl_turnstile_free(bus->turnstile);
        gl_calls_forget(bus);
        g_hash_table_unref(bus->n_calls);
        sd_event_source_disable_unref(bus->turns_source);
        for (guint i = 0; i < bus->n_slots; i++)
                sd_bus_slot_unref(bus->slots[i]);
        sd_bus_unref(bus->connection);
        g_free(bus);
}

void gl_bus_pretend_caller(GlBus *bus, guint32 uid) {
        gl_callers_pretend(bus->callers, uid);
}

/* --- signals --- */

static int new_signal(GlBus *bus, const GlGuest *guest, const char *member, sd_bus_message **signal) {
        g_autofree char *path = gl_guest_path(guest);

        return sd_bus_message_new_signal(bus->connection, signal, path, GL_GUEST_INTERFACE, member);
}

static int send_acquired(GlBus *bus, const GlChange *change) {
        __attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *signal = NULL;
        int r = new_signal(bus, change->guest, "LeasesAcquired", &signal);

        if (r >= 0)
                r = sd_bus_message_append(signal, "t", change->generation);
        if (r >= 0)
                r = sd_bus_message_open_container(signal, 'a', "(sss)");
        for (guint i = 0; r >= 0 && i < change->items->len; i++) {
                const GlItem *item = &g_array_index(change->items, GlItem, i);

                r = sd_bus_message_append(signal, "(sss)", gl_resource_type_to_string(item->type), item->name,
                                          gl_mode_to_string(item->mode));
        }
        if (r >= 0)
                r = sd_bus_message_close_container(signal);
        return r < 0 ? r : sd_bus_send(bus->connection, signal, NULL);
}

static int send_released(GlBus *bus, const GlChange *change) {
        __attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *signal = NULL;
        int r = new_signal(bus, change->guest, "LeasesReleased", &signal);

        if (r >= 0)
                r = sd_bus_message_append(signal, "s", gl_release_reason_to_string(change->reason));
        if (r >= 0)
                r = sd_bus_message_open_container(signal, 'a', "(ss)");
        for (guint i = 0; r >= 0 && i < change->items->len; i++) {
                const GlItem *item = &g_array_index(change->items, GlItem, i);

                r = sd_bus_message_append(signal, "(ss)", gl_resource_type_to_string(item->type), item->name);
        }
        if (r >= 0)
                r = sd_bus_message_close_container(signal);
        return r < 0 ? r : sd_bus_send(bus->connection, signal, NULL);
}

static int send_lost(GlBus *bus, const GlChange *change) {
        __attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *signal = NULL;
        const GlItem *item = change->items->len > 0 ? &g_array_index(change->items, GlItem, 0) : NULL;
        int r = new_signal(bus, change->guest, "LeaseLost", &signal);

        if (r >= 0)
                r = sd_bus_message_append(signal, "sssa{sv}", item ? gl_resource_type_to_string(item->type) : "guest",
                                          item ? item->name : change->guest->uuid, change->text, 3, "action", "s",
                                          gl_loss_action_to_string(change->action), "remaining-usec", "t",
                                          change->remaining, "message", "s", change->message);
        return r < 0 ? r : sd_bus_send(bus->connection, signal, NULL);
}

/* By hand, because sd-bus would look for the object, which is gone. */
static int send_removed(GlBus *bus, const GlGuest *guest) {
        __attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *signal = NULL;
        g_autofree char *path = gl_guest_path(guest);
        int r = sd_bus_message_new_signal(bus->connection, &signal, GL_MANAGER_PATH,
                                          "org.freedesktop.DBus.ObjectManager", "InterfacesRemoved");

        if (r >= 0)
                r = sd_bus_message_append(signal, "oas", path, 4, "org.freedesktop.DBus.Peer",
                                          "org.freedesktop.DBus.Introspectable", "org.freedesktop.DBus.Properties",
                                          GL_GUEST_INTERFACE);
        return r < 0 ? r : sd_bus_send(bus->connection, signal, NULL);
}

static void send_added(GlBus *bus, const GlGuest *guest) {
        g_autofree char *path = gl_guest_path(guest);

        sd_bus_emit_object_added(bus->connection, path);
}

/* A change can be announced after its guest has gone from the registry: then sd-bus finds no object, and says
 * nothing, which is right, since what follows is the removal. */
void gl_bus_announce(GlBus *bus, const GlChange *change) {
        switch (change->kind) {
        case GL_CHANGE_GUEST_ADDED:
                send_added(bus, change->guest);
                break;
        case GL_CHANGE_GUEST_REMOVED:
                send_removed(bus, change->guest);
                break;
        case GL_CHANGE_PROPERTIES:
                gl_bus_emit_properties(bus, change->guest, change->properties);
                break;
        case GL_CHANGE_LEASES_ACQUIRED:
                send_acquired(bus, change);
                break;
        case GL_CHANGE_LEASES_RELEASED:
                send_released(bus, change);
                break;
        case GL_CHANGE_LEASE_LOST:
                send_lost(bus, change);
                break;
        case GL_CHANGE_WAITS:
                gl_call_waits(change->call);
                break;
        case GL_CHANGE_REPLY:
                if (change->error)
                        gl_call_fail(change->call, change->error);
                else
                        gl_call_reply(change->call, change);
                break;
        case GL_CHANGE_PATH_MOVED:
        case GL_CHANGE_STORAGE_HANGS:
        case GL_CHANGE_DRAINS_SLOWLY:
        case GL_CHANGE_HELD_OPEN:
        case GL_CHANGE_WATCH_PROCESS:
        case GL_CHANGE_SIGNAL_PROCESS:
        case GL_CHANGE_JOB:
                break;
        }
}
