/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "bus/authority.h"
#include "bus/bus.h"
#include "configuration.h"
#include "core/core.h"
#include "drivers/driver.h"
#include "storage/workers.h"
#include "store/store.h"

/*
 * The rooms wired together: the core's changes go to the drivers, the processes, the store and the bus, and what
 * these find goes back into the core. Used by main.c, and by tests with another authority, driver or connection.
 */

typedef struct GlService GlService;

typedef struct {
        const GlConfiguration *configuration; /* (borrowed) outlives the service */
        const char *host_id;
        const char *host_name;
        const char *sysroot;     /* (nullable) */
        const char *supervisor;  /* the program guestlock-supervisor */
        const char *driver_dir;  /* (nullable) no driver can be loaded without one */
        const char *runtime_dir; /* (nullable) nothing is kept without one */
        const char *state_dir;
} GlServiceOptions;

GlService *gl_service_new(sd_event *event, const GlServiceOptions *options, GError **error);
void gl_service_free(GlService *service);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlService, gl_service_free)

/* One that is built in: it stays. DRIVER is owned by the service from now on. */
void gl_service_add_driver(GlService *service, GlDriver *driver);

/*
 * A driver from the directory of drivers. To load one that is loaded already is success without effect, and so is to
 * unload one that is not loaded but has its file there; GL_ERROR_NO_SUCH_DRIVER for what is not there at all. Besides,
 * unloading fails with GL_ERROR_DRIVER_IN_USE, and with GL_ERROR_NOT_SUPPORTED for one that is built in. From the loop,
 * and not from within a driver.
 */
gboolean gl_service_load_driver(GlService *service, const char *name, GError **error);
gboolean gl_service_unload_driver(GlService *service, const char *name, GError **error);

/*
 * Finds the guests of the service before this one, and takes again what they hold. ADOPTED is called when that is
 * done, or takes longer than storage may; perhaps before this returned. To be done before anybody is answered.
 * COMPLETE: there is no guest that may still run and whose state could not be read, now or before, or that could not be
 * put back.
 */
typedef void (*GlAdopted)(gboolean complete, gpointer user_data);
void gl_service_adopt(GlService *service, GlAdopted adopted, gpointer user_data);

/* Puts the objects on CONNECTION. AUTHORITY is owned by the service from now on. */
gboolean gl_service_connect(GlService *service, sd_bus *connection, GlAuthority *authority, GError **error);

GlCore *gl_service_core(GlService *service);
GlBus *gl_service_bus(GlService *service);
GlWorkers *gl_service_workers(GlService *service);
GlStore *gl_service_store(GlService *service); /* (nullable) */

/* Has what the core wants done. Whoever calls the core calls this after it. */
void gl_service_pump(GlService *service);
