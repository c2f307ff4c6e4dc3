/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "adoption.h"

#include "log.h"
#include "process/process.h"

/*
 * For each guest that was saved: find its processes by pid and start time, find out anew what its resources are (with
 * the credentials of whoever registered them), put it back into the core, have what it held taken again; then the next
 * thing that can happen to it is what happens to any guest. One whose process has ended meanwhile goes the way of all
 * that end: its leases are released when its I/O has drained.
 *
 * A resource whose name does not lead to what it did is not lost for that: it keeps its place in the lock table, by the
 * identity that was saved, without a lock of the kernel.
 */

typedef struct {
        GlAdoption *adoption;
        GlSavedGuest *saved; /* (owned) */
        GlGuest *guest;      /* (nullable) (borrowed) once it is in the core */
        guint n_resolving;
} Adoptee;

typedef struct {
        Adoptee *adoptee;
        guint index;
        GlResolving *resolving; /* (nullable) */
} Finding;

struct GlAdoption {
        GlService *service;
        GlAdopted adopted;
        gpointer user_data;
        GPtrArray *adoptees; /* of Adoptee */
        GPtrArray *findings; /* of Finding */
        guint n_left;
        gboolean complete; /* there is no guest that may run and is not known, or could not be put back */
};

static void adoptee_free(gpointer data) {
        Adoptee *adoptee = data;

        gl_saved_guest_free(adoptee->saved);
        g_free(adoptee);
}

static void finding_free(gpointer data) {
        Finding *finding = data;

        if (finding->resolving)
                gl_resolving_cancel(finding->resolving);
        g_free(finding);
}

GlAdoption *gl_adoption_new(GlService *service, GlAdopted adopted, gpointer user_data) {
        GlAdoption *adoption = g_new0(GlAdoption, 1);

        adoption->service = service;
        adoption->adopted = adopted;
        adoption->complete = TRUE;
        adoption->user_data = user_data;
        adoption->adoptees = g_ptr_array_new_with_free_func(adoptee_free);
        adoption->findings = g_ptr_array_new_with_free_func(finding_free);
        return adoption;
}

void gl_adoption_free(GlAdoption *adoption) {
        if (!adoption)
                return;
        g_ptr_array_unref(adoption->findings);
        g_ptr_array_unref(adoption->adoptees);
        g_free(adoption);
}

static void one_done(GlAdoption *adoption) {
        if (--adoption->n_left == 0)
                adoption->adopted(adoption->complete, adoption->user_data);
}

/* --- processes --- */

static void find_processes(GlGuest *record) {
        for (guint role = 0; role < GL_N_PROCESSES; role++) {
                GlProcessRef *process = &record->processes[role];
                g_autoptr(GError) error = NULL;
                GlProcess *found;

                if (process->pid == 0)
                        continue;
                found = gl_process_find(process->pid, process->start_time, gl_boot_id(), &error);
                if (found)
                        process->handle = (GlHandle){found, gl_process_clear};
                else if (error)
                        gl_log(LOG_ERR, GL_MESSAGE_NOT_ADOPTED,
                               "Whether guest \"%s\" still runs cannot be found out; it is taken to: %s", record->name,
                               error->message);
                else
                        process->handle = (GlHandle){};
        }
}

typedef struct {
        guint32 pid;
        guint64 start_time;
} Ended;

/* Those that are not there any more are told to the core once it has everything else. */
static void report_ended(Adoptee *adoptee) {
        GlCore *core = gl_service_core(adoptee->adoption->service);
        GlGuest *guest = adoptee->guest;
        Ended ended[GL_N_PROCESSES] = {};

        for (guint role = 0; role < GL_N_PROCESSES; role++) {
                const GlProcessRef *process = &guest->processes[role];

                if (process->pid != 0 && !process->handle.box)
                        ended[role] = (Ended){process->pid, process->start_time};
        }
        for (guint role = 0; role < GL_N_PROCESSES; role++)
                if (ended[role].pid != 0)
                        gl_core_process_gone(core, ended[role].pid, ended[role].start_time, gl_now(), gl_realtime());
}

gboolean gl_adoption_answered(GlAdoption *adoption, const GlChange *change) {
        for (guint i = 0; i < adoption->adoptees->len; i++) {
                Adoptee *adoptee = g_ptr_array_index(adoption->adoptees, i);

                if (change->call != adoptee)
                        continue;
                report_ended(adoptee);
                one_done(adoption);
                return TRUE;
        }
        return FALSE;
}

/* --- drivers --- */

/*
 * A guest whose driver is not to be had is put back all the same: it may still write, and its rows in the lock table
 * keep every other guest of this service off its storage. What the driver kept besides is not kept any more, which the
 * core says of each lease, and an operator has to hear.
 */
static void find_driver(GlService *service, const GlGuest *record) {
        const char *fields[] = {GL_FIELD_GUEST, record->uuid, GL_FIELD_GUEST_NAME, record->name, NULL};
        gboolean holds = record->state == GL_GUEST_HELD || gl_guest_has_leases(record);
        g_autoptr(GError) error = NULL;

        if (gl_service_load_driver(service, record->driver, &error))
                return;
        if (holds)
                gl_log_fields(LOG_ERR, GL_MESSAGE_NOT_ADOPTED, fields,
                              "Guest \"%s\" cannot be adopted as it was, and no other guest of this host gets what it "
                              "holds: %s",
                              record->name, error->message);
        else
                gl_log_fields(LOG_WARNING, NULL, fields, "Guest \"%s\" is without its driver: %s", record->name,
                              error->message);
}

/* --- resources --- */

/* It had ended, and the service before was about to forget it. */
static gboolean is_to_be_forgotten(const GlGuest *record) {
        return record->transient && record->state == GL_GUEST_RELEASED &&
               record->processes[GL_PROCESS_GUEST].pid == 0 && record->processes[GL_PROCESS_SUPERVISOR].pid == 0;
}

static void put_back(Adoptee *adoptee) {
        GlService *service = adoptee->adoption->service;
        GlGuest *record = adoptee->saved->record;
        g_autofree char *name = g_strdup(record->name);
        g_autofree char *uuid = g_strdup(record->uuid);
        const char *fields[] = {GL_FIELD_GUEST, uuid, GL_FIELD_GUEST_NAME, name, NULL};
        g_autoptr(GError) error = NULL;

        if (is_to_be_forgotten(record)) {
                gl_store_forget(gl_service_store(service), record);
                one_done(adoptee->adoption);
                return;
        }
        find_processes(record);
        find_driver(service, record);
        adoptee->guest = gl_core_restore_guest(gl_service_core(service), record, &error);
        if (!adoptee->guest) {
                gl_log_fields(LOG_ERR, GL_MESSAGE_NOT_ADOPTED, fields, "Guest \"%s\" cannot be adopted: %s", name,
                              error->message);
                adoptee->adoption->complete = FALSE;
                one_done(adoptee->adoption);
                return;
        }
        gl_core_retake(gl_service_core(service), adoptee->guest, adoptee, gl_now(), gl_realtime());
        gl_service_pump(service);
}

static gboolean is_the_same(const GlSource *source, const GlSavedSource *saved) {
        return gl_node_equal(&source->place->node, &saved->node) &&
               source->place->extent.start == saved->extent.start && source->place->extent.end == saved->extent.end &&
               (source->birth == 0 || saved->birth == 0 || source->birth == saved->birth);
}

/*
 * What came as a descriptor is looked for with root's eyes, by a path that had no symlink in it. With one in it now,
 * whoever made that would learn from us what is behind it.
 */
static gboolean may_be_told(const GlSource *source, const GlSavedSource *saved) {
        return saved->path || g_strcmp0(source->canonical, saved->canonical) == 0;
}

static void found(GlSource *source, const GError *error, gpointer user_data) {
        Finding *finding = user_data;
        Adoptee *adoptee = finding->adoptee;
        GlResource *resource = g_ptr_array_index(adoptee->saved->record->resources, finding->index);
        const GlSavedSource *saved = g_ptr_array_index(adoptee->saved->saved, finding->index);

        finding->resolving = NULL;
        if (!source || !is_the_same(source, saved)) {
                resource->path_moved = source != NULL && may_be_told(source, saved);
                gl_source_unref(source);
                source = gl_source_restore(gl_service_workers(adoptee->adoption->service), saved->registrant,
                                           saved->path, saved->canonical, resource->place, saved->asked, saved->birth,
                                           saved->device);
        } else {
                /* What is below it may have been changed with it in use; it is what it is now that others meet. */
                gl_place_unref(resource->place);
                resource->place = gl_place_ref(source->place);
        }
        resource->source = gl_source_handle(source);
        gl_source_unref(source);
        if (--adoptee->n_resolving == 0)
                put_back(adoptee);
}

static void find_resource(Adoptee *adoptee, guint index) {
        GlWorkers *workers = gl_service_workers(adoptee->adoption->service);
        GlResource *resource = g_ptr_array_index(adoptee->saved->record->resources, index);
        const GlSavedSource *saved = g_ptr_array_index(adoptee->saved->saved, index);
        g_autoptr(GlCredentials) root = gl_credentials_new(0, &(gid_t){0}, 1);
        Finding *finding = g_new0(Finding, 1);

        resource->place = gl_place_new(&saved->node, saved->extent, (gconstpointer) saved->below->data,
                                       saved->below->len);
        finding->adoptee = adoptee;
        finding->index = index;
        g_ptr_array_add(adoptee->adoption->findings, finding);
        /* What came as a descriptor was the caller's to use, wherever it lies; that it is the same file is checked. */
        finding->resolving = gl_source_resolve_path(workers, saved->path ? saved->registrant : root,
                                                    saved->path ?: saved->canonical, resource->mode, saved->asked,
                                                    10 * G_USEC_PER_SEC, found, finding);
}

static void adopt_one(GlAdoption *adoption, GlSavedGuest *saved) {
        Adoptee *adoptee = g_new0(Adoptee, 1);
        guint n = saved->record->resources->len;

        adoptee->adoption = adoption;
        adoptee->saved = saved;
        adoptee->n_resolving = n;
        g_ptr_array_add(adoption->adoptees, adoptee);
        for (guint i = 0; i < n; i++)
                find_resource(adoptee, i);
        if (n == 0)
                put_back(adoptee);
}

static GPtrArray *load(GlStore *store, gboolean *complete) {
        g_autoptr(GPtrArray) problems = g_ptr_array_new_with_free_func(g_free);
        GPtrArray *guests = gl_store_load(store, problems);

        for (guint i = 0; i < problems->len; i++)
                gl_log(LOG_ERR, GL_MESSAGE_STATE_SET_ASIDE, "%s", (const char *) g_ptr_array_index(problems, i));
        *complete = gl_store_count_unknown(store) == 0;
        return guests;
}

void gl_adoption_start(GlAdoption *adoption) {
        GlStore *store = gl_service_store(adoption->service);
        g_autoptr(GPtrArray) guests = store ? load(store, &adoption->complete) : g_ptr_array_new();

        g_ptr_array_set_free_func(guests, NULL); /* each goes to its adoptee */
        /* One more than there are, so that those that are done at once do not end it early. */
        adoption->n_left = guests->len + 1;
        for (guint i = 0; i < guests->len; i++)
                adopt_one(adoption, g_ptr_array_index(guests, i));
        one_done(adoption);
}
