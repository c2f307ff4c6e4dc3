/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "core/acquire-private.h"
#include "core/who-private.h"

/*
 * TestAcquire: the resources are registered with a copy of the guest, or with one that is made up, which no table, no
 * quota and nobody on the bus ever sees. So what registering refuses is refused in the same words, and what Acquire
 * would have to take can be read off it.
 */

#define NOBODY "no uuid yet"

/* --- the copy --- */

static void copy_resource(GlGuest *copy, const GlResource *resource) {
        GlResource *to = gl_guest_record_add_resource(copy);

        to->type = resource->type;
        to->name = g_strdup(resource->name);
        to->mode = resource->mode;
        to->state = resource->state;
        to->place = gl_place_ref(resource->place);
        to->source = gl_handle_ref(resource->source);
        to->registered_by = resource->registered_by;
        to->by_descriptor = resource->by_descriptor;
        to->size = resource->size;
        to->mtime = resource->mtime;
        to->lease = resource->lease;
        to->broken = resource->broken;
}

static GlGuest *copy_guest(const GlGuest *guest) {
        GlGuest *copy = gl_guest_record_new();

        memcpy(copy->uuid, guest->uuid, sizeof copy->uuid);
        copy->owner_uid = guest->owner_uid;
        copy->name = g_strdup(guest->name);
        copy->driver = g_strdup(guest->driver);
        copy->state = guest->state;
        copy->require_scope = guest->require_scope;
        copy->hidden = TRUE;
        for (guint role = 0; role < GL_N_PROCESSES; role++)
                copy->processes[role].pid = guest->processes[role].pid;
        for (guint i = 0; i < guest->resources->len; i++)
                copy_resource(copy, g_ptr_array_index(guest->resources, i));
        return copy;
}

/* The one that StartGuest would make. */
static GlGuest *make_up_guest(GlCore *core, const GlRequest *request, const GlTestSpec *test, GError **error) {
        const char *driver = test->driver ?: core->default_driver;
        GlGuest *guest;

        if (!driver || !gl_core_has_driver(core, driver)) {
                g_autofree char *quoted = gl_quote(driver ?: "");

                g_set_error(error, GL_ERROR, GL_ERROR_NO_SUCH_DRIVER,
                            "The lease driver %.300s is not loaded; see ListDrivers and LoadDriver.", quoted);
                return NULL;
        }
        if (!gl_core_has_guest_quota(core, request->uid, error))
                return NULL;
        guest = gl_guest_record_new();
        g_strlcpy(guest->uuid, NOBODY, sizeof guest->uuid);
        guest->name = g_strdup("");
        guest->owner_uid = request->uid;
        guest->driver = g_strdup(driver);
        guest->require_scope = test->has_require_scope ? test->require_scope : core->default_require_scope;
        guest->hidden = TRUE;
        return guest;
}

/* --- what would be taken --- */

/* As AcquireResource has it: what the guest has already is raised or lowered. */
static gboolean ask_for(GlCore *core, const GlTestSpec *test, GlGuest *copy, const GlRequest *request,
                        const GlResourceSpec *spec, GError **error) {
        GlResource *resource = test->guest ? gl_guest_find_resource(copy, spec->type, spec->name) : NULL;

        if (resource && !gl_place_equal(resource->place, spec->place)) {
                g_autofree char *quoted = gl_quote(spec->name);

                g_set_error(error, GL_ERROR, GL_ERROR_STALE,
                            "%s is not what it was when it was registered; release it first.", quoted);
                return FALSE;
        }
        if (!resource && test->guest)
                resource = gl_guest_find_resource_at(copy, spec->place);
        if (!resource)
                return gl_core_add_resource(core, copy, request->uid, spec, error);
        if (resource->mode == spec->mode)
                return TRUE;
        if (resource->state == GL_RESOURCE_LOST)
                return gl_guest_refuse(copy, error, "what is lost keeps its mode until its process is gone");
        if (!gl_core_driver_takes(core, copy, spec->type, spec->mode, error))
                return FALSE;
        resource->mode = spec->mode;
        if (resource->state == GL_RESOURCE_HELD)
                resource->state = GL_RESOURCE_REGISTERED;
        return TRUE;
}

/* Acquire finds what is lost and still locked as it was, and does not take it again. */
static gboolean would_be_taken(const GlResource *resource) {
        return resource->state != GL_RESOURCE_HELD &&
               (resource->state != GL_RESOURCE_LOST || !resource->lease || resource->broken);
}

static void collect(GlCore *core, GlLook *look, const GlGuest *copy) {
        if (gl_guest_is_leased_alone(core, copy))
                return;
        for (guint i = 0; i < copy->resources->len; i++) {
                const GlResource *resource = g_ptr_array_index(copy->resources, i);
                const GlResourceSpec spec = {
                        .type = resource->type,
                        .name = resource->name,
                        .mode = resource->mode,
                        .place = resource->place,
                        .source = resource->source,
                        .by_descriptor = resource->by_descriptor,
                };
                GlAsked *asked;

                if (!would_be_taken(resource))
                        continue;
                asked = gl_look_ask(look, &spec);
                asked->lost = resource->state == GL_RESOURCE_LOST;
                asked->size = resource->size;
                asked->mtime = resource->mtime;
        }
}

/* What of the list itself cannot be held together. */
static void add_overlaps(GlCore *core, GlLook *look, const GlGuest *copy) {
        g_autoptr(GlTable) table = gl_table_new();

        for (guint i = 0; i < look->asked->len; i++) {
                GlAsked *asked = g_ptr_array_index(look->asked, i);
                g_autoptr(GPtrArray) claims = g_ptr_array_new();

                gl_table_conflicts(table, asked->place, asked->mode, NULL, claims);
                for (guint j = 0; j < claims->len; j++) {
                        const GlAsked *other = ((const GlClaim *) g_ptr_array_index(claims, j))->owner;
                        GlObstacle *obstacle = gl_obstacle_new();

                        obstacle->host = g_strdup(core->host_name);
                        obstacle->name = g_strdup(other->name);
                        obstacle->wanted = g_strdup(asked->name);
                        obstacle->driver = g_strdup(copy->driver);
                        obstacle->has_mode = TRUE;
                        obstacle->mode = other->mode;
                        obstacle->via = g_strdup("two of one guest overlap, and cannot be held together");
                        if (look->uuid[0]) {
                                obstacle->guest_uuid = g_strdup(copy->uuid);
                                obstacle->guest_name = g_strdup(copy->name);
                                obstacle->has_owner = obstacle->has_object = TRUE;
                                obstacle->owner_uid = copy->owner_uid;
                        }
                        g_ptr_array_add(look->obstacles, obstacle);
                }
                gl_table_enter(table, asked->place, asked->mode, asked);
        }
}

/* --- the call --- */

static gboolean check_guest(const GlTestSpec *test, GError **error) {
        const GlGuest *guest = test->guest;
        g_autofree char *who = NULL;

        if (!guest)
                return TRUE;
        if (!guest->killing)
                return gl_guest_check_process(guest, &test->acquire, error);
        who = gl_guest_describe(guest);
        g_set_error(error, GL_ERROR, GL_ERROR_LEASE_LOST, "%s has lost a lease, and is being ended.", who);
        return FALSE;
}

/* What Acquire refuses before it looks at anybody else; NULL with ERROR, or the copy. */
static GlGuest *make_copy(GlCore *core, const GlRequest *request, const GlTestSpec *test,
                          const GlResourceSpec *resources, guint n_resources, GError **error) {
        GlGuest *copy = NULL;

        if (check_guest(test, error))
                copy = test->guest ? copy_guest(test->guest) : make_up_guest(core, request, test, error);
        if (!copy)
                return NULL;
        if (gl_core_driver_can_lease(core, copy, error) &&
            gl_guest_check_unbound_quota(core, copy, test->acquire.process.pid, error)) {
                guint i = 0;

                while (i < n_resources && ask_for(core, test, copy, request, &resources[i], error))
                        i++;
                if (i == n_resources)
                        return copy;
        }
        gl_guest_record_free(copy);
        return NULL;
}

void gl_core_test_acquire(GlCore *core, const GlRequest *request, const GlTestSpec *test,
                          const GlResourceSpec *resources, guint n_resources) {
        GlGuest *copy;
        GError *error = NULL;
        GlLook *look;

        gl_core_enter(core, request->now, request->realtime);
        copy = make_copy(core, request, test, resources, n_resources, &error);
        if (copy) {
                look = gl_look_new(core, request);
                look->several = TRUE;
                look->owner_uid = copy->owner_uid;
                look->require_scope = copy->require_scope;
                look->holder_pid = test->acquire.process.pid ?: copy->processes[GL_PROCESS_GUEST].pid
                                                     ?: copy->processes[GL_PROCESS_SUPERVISOR].pid;
                if (test->guest)
                        memcpy(look->uuid, copy->uuid, sizeof look->uuid);
                collect(core, look, copy);
                add_overlaps(core, look, copy);
                gl_look_send(core, look, copy->driver);
                gl_look_settle(core, look);
                gl_guest_record_free(copy);
        } else {
                gl_core_reply_error(core, request, error);
        }
        gl_core_leave(core);
}
