/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "adoption.h"
#include "core/error.h"
#include "driver-set.h"
#include "log.h"
#include "process/process.h"
#include "storage/source.h"

/*
 * One loop: whoever has called the core pumps, and the pump takes changes out of it until there are none. Carrying out
 * a change may call the core again (a driver that is done at once): the outermost pump goes on with what that brought.
 */

struct GlService {
        sd_event *event;            /* (owned) */
        GlCore *core;               /* (owned) */
        GlWorkers *workers;         /* (owned) */
        GlStore *store;             /* (owned) (nullable) */
        GlAuthority *authority;     /* (owned) (nullable) */
        GlBus *bus;                 /* (owned) (nullable) */
        GlDriverSet *drivers;       /* (owned) (nullable) */
        char *sysroot;              /* (owned) (nullable) */
        char *supervisor;           /* (owned) */
        GHashTable *watches;        /* Watch, its own key */
        GHashTable *signallings;    /* (owned) set of Signalling */
        sd_event_source *timer;     /* (owned) */
        gint64 timer_at;            /* CLOCK_BOOTTIME, with timer_set */
        gboolean timer_set;
        GlAdoption *adoption;       /* (owned) (nullable) */
        const GlConfiguration *configuration;
        char *host_id;
        char *host_name;
        gboolean pumping;
        gboolean saves_fail; /* and it was logged */
};

/* A process that is waited for. */
typedef struct {
        guint64 start_time;
        guint32 pid;
        GlService *service;
        sd_event_source *source; /* (owned) */
} Watch;

/* One that is being sent a signal. */
typedef struct {
        guint64 start_time;
        guint32 pid;
        GlService *service;
} Signalling;

static guint watch_hash(gconstpointer key) {
        return ((const Watch *) key)->pid;
}

static gboolean watch_equal(gconstpointer a, gconstpointer b) {
        const Watch *one = a, *other = b;

        return one->pid == other->pid && one->start_time == other->start_time;
}

static void watch_free(gpointer data) {
        Watch *watch = data;

        sd_event_source_disable_unref(watch->source);
        g_free(watch);
}

/* --- what the core asks of the store --- */

static gboolean save(const GlGuest *guest, gpointer user_data, GError **error) {
        GlService *service = user_data;
        g_autoptr(GError) why = NULL;

        if (gl_store_save(service->store, guest, &why)) {
                service->saves_fail = FALSE;
                return TRUE;
        }
        /* Once, until it works again: with a full file system it would be one line a call, and one a second. */
        if (!service->saves_fail)
                gl_log(LOG_ERR, GL_MESSAGE_NOT_SAVED, "%s", why->message);
        service->saves_fail = TRUE;
        g_propagate_error(error, g_steal_pointer(&why));
        return FALSE;
}

static void forget(const GlGuest *guest, gpointer user_data) {
        gl_store_forget(((GlService *) user_data)->store, guest);
}

static void record_generation(const GlNode *node, GlMode mode, guint64 generation, gpointer user_data) {
        gl_store_record_generation(((GlService *) user_data)->store, node, mode, generation);
}

static const char *storage_of(const GlResource *resource, gpointer user_data) {
        const GlSource *source = resource->source.box;

        return source && source->storage ? source->storage : "";
}

/* --- carrying out changes --- */

static void job_done(GlJob *job, gpointer user_data) {
        GlService *service = user_data;

        gl_core_job_done(service->core, job, gl_now(), gl_realtime());
        gl_service_pump(service);
}

static void start_job(GlService *service, GlJob *job) {
        GlDriver *driver = gl_driver_set_find(service->drivers, job->driver);

        g_assert(driver); /* the core knows the drivers that it was told of */
        driver->ops->start(driver, job, job_done, service);
}

static void process_exited(gpointer user_data) {
        Watch *watch = user_data;
        GlService *service = watch->service;
        guint64 start_time = watch->start_time;
        guint32 pid = watch->pid;

        g_hash_table_remove(service->watches, watch);
        gl_core_process_gone(service->core, pid, start_time, gl_now(), gl_realtime());
        gl_service_pump(service);
}

static void watch_process(GlService *service, const GlProcessRef *process) {
        Watch key = {.pid = process->pid, .start_time = process->start_time};
        Watch *watch;
        int r;

        if (g_hash_table_contains(service->watches, &key))
                return;
        watch = g_new(Watch, 1);
        *watch = key;
        watch->service = service;
        r = gl_process_watch(process->handle.box, service->event, process_exited, watch, &watch->source);
        if (r < 0) {
                gl_log(LOG_ERR, NULL, "Process %" G_GUINT32_FORMAT " cannot be watched: %s.", process->pid,
                       g_strerror(-r));
                g_free(watch);
                return;
        }
        g_hash_table_add(service->watches, watch);
}

static void signalled(int result, gpointer user_data) {
        Signalling *signalling = user_data;
        GlService *service = signalling->service;

        if (result < 0 && result != -ESRCH)
                gl_log(LOG_ERR, NULL, "Process %" G_GUINT32_FORMAT " could not be signalled: %s.", signalling->pid,
                       g_strerror(-result));
        if (result == -EPERM)
                gl_core_process_refused(service->core, signalling->pid, signalling->start_time, gl_now(),
                                        gl_realtime());
        g_hash_table_remove(service->signallings, signalling);
        gl_service_pump(service);
}

static void signal_process(GlService *service, const GlChange *change) {
        Signalling *signalling;

        if (!change->process.handle.box)
                return;
        signalling = g_new(Signalling, 1);
        *signalling = (Signalling){change->process.start_time, change->process.pid, service};
        g_hash_table_add(service->signallings, signalling);
        gl_process_signal(change->process.handle.box, service->event, change->guest->owner_uid, change->signal,
                          signalled, signalling);
}

/* What an operator is told of a guest's resource. */
static void log_about(const GlChange *change, int priority, const char *message_id, const char *resource,
                      const char *text) {
        const char *fields[] = {GL_FIELD_GUEST,    change->guest->uuid, GL_FIELD_GUEST_NAME, change->guest->name,
                                GL_FIELD_RESOURCE, resource,            NULL};

        gl_log_fields(priority, message_id, fields, "Guest \"%s\": %s", change->guest->name, text);
}

static void log_lost(const GlChange *change) {
        g_autofree char *text = g_strdup_printf("it has lost a lease (%s). %s", change->text, change->message);

        log_about(change, LOG_ERR, GL_MESSAGE_LEASE_LOST,
                  change->items->len > 0 ? g_array_index(change->items, GlItem, 0).name : NULL, text);
}

static void carry_out(GlService *service, GlChange *change) {
        switch (change->kind) {
        case GL_CHANGE_JOB:
                start_job(service, g_steal_pointer(&change->job));
                return;
        case GL_CHANGE_WATCH_PROCESS:
                watch_process(service, &change->process);
                return;
        case GL_CHANGE_SIGNAL_PROCESS:
                signal_process(service, change);
                return;
        case GL_CHANGE_LEASE_LOST:
                log_lost(change);
                break;
        case GL_CHANGE_STORAGE_HANGS:
                log_about(change, LOG_WARNING, GL_MESSAGE_STORAGE_HANGS, change->text, change->message);
                return;
        case GL_CHANGE_PATH_MOVED:
                log_about(change, LOG_WARNING, GL_MESSAGE_PATH_MOVED, change->text, change->message);
                return;
        case GL_CHANGE_DRAINS_SLOWLY:
                log_about(change, LOG_WARNING, GL_MESSAGE_DRAINING_IS_SLOW, change->text, change->message);
                return;
        case GL_CHANGE_HELD_OPEN:
                log_about(change, LOG_WARNING, GL_MESSAGE_HELD_OPEN, change->text, change->message);
                return;
        case GL_CHANGE_REPLY:
                if (service->adoption && gl_adoption_answered(service->adoption, change))
                        return;
                break;
        default:
                break;
        }
        if (service->bus)
                gl_bus_announce(service->bus, change);
}

/*
 * Every job sets a time at which it would be overdue, and hardly any ever is: a timer that is set too early already is
 * left alone, and goes off once for nothing, rather than being set and unset with each job.
 */
static void set_timer(GlService *service) {
        gint64 next = gl_core_next_tick(service->core);

        if (next == G_MAXINT64 || (service->timer_set && service->timer_at <= next))
                return;
        service->timer_at = next;
        service->timer_set = TRUE;
        sd_event_source_set_time(service->timer, (guint64) next);
        sd_event_source_set_enabled(service->timer, SD_EVENT_ONESHOT);
}

void gl_service_pump(GlService *service) {
        GlChange *change;

        if (service->pumping)
                return;
        service->pumping = TRUE;
        while ((change = gl_core_take_change(service->core))) {
                carry_out(service, change);
                gl_change_free(change);
        }
        service->pumping = FALSE;
        set_timer(service);
}

static void pump(gpointer user_data) {
        gl_service_pump(user_data);
}

static int timer_fired(sd_event_source *source, uint64_t usec, void *user_data) {
        GlService *service = user_data;

        service->timer_set = FALSE;
        gl_core_tick(service->core, gl_now(), gl_realtime());
        gl_service_pump(service);
        return 0;
}

/* --- making and ending --- */

static gboolean open_store(GlService *service, const GlServiceOptions *options, GlCoreHooks *hooks, GError **error) {
        if (!options->runtime_dir)
                return TRUE;
        service->store = gl_store_new(options->runtime_dir, options->state_dir, gl_boot_id(), error);
        hooks->save = save;
        hooks->forget = forget;
        hooks->record_generation = record_generation;
        return service->store != NULL;
}

GlService *gl_service_new(sd_event *event, const GlServiceOptions *options, GError **error) {
        const GlConfiguration *configuration = options->configuration;
        g_autoptr(GlService) service = g_new0(GlService, 1);
        GlCoreHooks hooks = {.storage_of = storage_of};
        int r;

        service->event = sd_event_ref(event);
        service->configuration = configuration;
        service->host_id = g_strdup(options->host_id);
        service->host_name = g_strdup(options->host_name);
        service->sysroot = g_strdup(options->sysroot);
        service->supervisor = g_strdup(options->supervisor);
        service->watches = g_hash_table_new_full(watch_hash, watch_equal, watch_free, NULL);
        service->signallings = g_hash_table_new_full(NULL, NULL, g_free, NULL);
        if (!open_store(service, options, &hooks, error))
                return NULL;
        service->workers = gl_workers_new(event, options->sysroot,
                                          &(GlWorkersLimits){
                                                  .max_threads = configuration->max_worker_threads,
                                                  .max_threads_per_uid = configuration->max_worker_threads_per_uid,
                                                  .max_stuck_per_uid = configuration->max_stuck_per_uid,
                                                  .stuck_after = configuration->limits.storage_timeout,
                                          },
                                          error);
        if (!service->workers)
                return NULL;
        service->core = gl_core_new(&configuration->limits, options->host_id, options->host_name, &hooks, service);
        gl_core_set_defaults(service->core, configuration->default_driver, configuration->on_lease_lost,
                             configuration->require_scope);
        gl_core_set_check_interval(service->core, configuration->check_interval);
        service->drivers = gl_driver_set_new(service->core, options->driver_dir);
        if (service->store)
                gl_store_load_generations(service->store, service->core);
        r = sd_event_add_time(event, &service->timer, CLOCK_BOOTTIME, 0, 1000, timer_fired, service);
        if (r >= 0)
                r = sd_event_source_set_enabled(service->timer, SD_EVENT_OFF);
        if (r < 0) {
                g_set_error(error, GL_ERROR, GL_ERROR_DRIVER_FAILED, "The service's timer cannot be made: %s.",
                            g_strerror(-r));
                return NULL;
        }
        return g_steal_pointer(&service);
}

void gl_service_free(GlService *service) {
        if (!service)
                return;
        /* No change is carried out any more: the kernel's locks go with the process, or are kept by others. */
        service->pumping = TRUE;
        gl_adoption_free(service->adoption);
        gl_bus_free(service->bus);
        gl_authority_free(service->authority);
        gl_workers_free(service->workers);
        gl_core_free(service->core);
        gl_driver_set_free(service->drivers);
        g_hash_table_unref(service->watches);
        g_hash_table_unref(service->signallings);
        sd_event_source_disable_unref(service->timer);
        gl_store_free(service->store);
        sd_event_unref(service->event);
        g_free(service->host_id);
        g_free(service->host_name);
        g_free(service->sysroot);
        g_free(service->supervisor);
        g_free(service);
}

/* --- drivers --- */

void gl_service_add_driver(GlService *service, GlDriver *driver) {
        gl_driver_set_add(service->drivers, driver);
}

gboolean gl_service_load_driver(GlService *service, const char *name, GError **error) {
        const GlPluginHost host = {service->event, service->workers, service->host_id, service->host_name,
                                   service->sysroot};

        return gl_driver_set_load(service->drivers, name, &host, error);
}

gboolean gl_service_unload_driver(GlService *service, const char *name, GError **error) {
        return gl_driver_set_unload(service->drivers, name, error);
}

static gboolean load_driver(const char *name, gpointer user_data, GError **error) {
        return gl_service_load_driver(user_data, name, error);
}

static gboolean unload_driver(const char *name, gpointer user_data, GError **error) {
        return gl_service_unload_driver(user_data, name, error);
}

/* --- the bus --- */

static int lock_fd(const GlResource *resource, gpointer user_data) {
        GlDriver *driver = gl_driver_set_find(((GlService *) user_data)->drivers, resource->guest->driver);

        if (!driver || !driver->ops->lock_fd || !resource->lease)
                return -1;
        return driver->ops->lock_fd(driver, resource->lease);
}

gboolean gl_service_connect(GlService *service, sd_bus *connection, GlAuthority *authority, GError **error) {
        const GlBusParts parts = {
                .event = service->event,
                .core = service->core,
                .workers = service->workers,
                .authority = authority,
                .limits = &service->configuration->limits,
                .max_calls_per_uid = service->configuration->max_calls_per_uid,
                .version = GUESTLOCK_VERSION,
                .host_id = service->host_id,
                .host_name = service->host_name,
                .default_driver = service->configuration->default_driver,
                .supervisor = service->supervisor,
                .load_driver = load_driver,
                .unload_driver = unload_driver,
                .lock_fd = lock_fd,
                .pump = pump,
                .user_data = service,
        };

        service->authority = authority;
        service->bus = gl_bus_new(connection, &parts, error);
        return service->bus != NULL;
}

void gl_service_adopt(GlService *service, GlAdopted adopted, gpointer user_data) {
        service->adoption = gl_adoption_new(service, adopted, user_data);
        gl_adoption_start(service->adoption);
}

GlCore *gl_service_core(GlService *service) {
        return service->core;
}

GlBus *gl_service_bus(GlService *service) {
        return service->bus;
}

GlWorkers *gl_service_workers(GlService *service) {
        return service->workers;
}

GlStore *gl_service_store(GlService *service) {
        return service->store;
}
