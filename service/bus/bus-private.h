/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "bus/bus.h"
#include "bus/call.h"
#include "bus/path.h"
#include "bus/size.h"
#include "bus/turnstile.h"

/* What the handlers of a Guest object get: valid for one dispatch. */
typedef struct {
        GlBus *bus;
        GlGuest *guest;
} GlFound;

struct GlBus {
        sd_bus *connection; /* (owned) */
        GlBusParts parts;
        GlCallers *callers;
        GlTurnstile *turnstile; /* (owned) */
        GlFound found;
        sd_bus_slot *slots[6];
        guint n_slots;
        GQueue calls;                 /* of GlCall (owned): all there are */
        GHashTable *n_calls;          /* (owned) uid → how many calls of that user are not answered yet */
        GQueue turns;                 /* of GlCall: those whose turn it is */
        sd_event_source *turns_source; /* (owned) */
};

/* drivers.c: the handlers of LoadDriver and UnloadDriver */
int gl_bus_on_load_driver(sd_bus_message *message, void *bus, sd_bus_error *error);
int gl_bus_on_unload_driver(sd_bus_message *message, void *bus, sd_bus_error *error);
/* who.c: the handlers of WhoHolds and TestAcquire */
int gl_bus_on_who_holds(sd_bus_message *message, void *bus, sd_bus_error *error);
int gl_bus_on_test_acquire(sd_bus_message *message, void *bus, sd_bus_error *error);
/* inherit.c: the handler of AcquireInherit */
int gl_bus_on_acquire_inherit(sd_bus_message *message, void *found, sd_bus_error *error);
/* supervisor.c: the handlers of GetSupervisorPath and GetSupervisorArgs */
int gl_bus_on_get_supervisor_path(sd_bus_message *message, void *found, sd_bus_error *error);
int gl_bus_on_get_supervisor_args(sd_bus_message *message, void *found, sd_bus_error *error);
/* manager.c, guest.c */
void gl_call_run_acquire(GlCall *call);
int gl_bus_add_manager(GlBus *bus);
int gl_bus_add_guests(GlBus *bus);
void gl_bus_emit_properties(GlBus *bus, const GlGuest *guest, guint properties);
/* Asks the core, then has what changed carried out. */
static inline void gl_bus_pump(GlBus *bus) {
        bus->parts.pump(bus->parts.user_data);
}
