/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/acquire-private.h"

#include <string.h>

/*
 * The resources of a guest: registering, what state they are in, and those that were lost and unplugged, which
 * go on as ghosts.
 */

/* --- registering --- */

/* What is registered under the name already, and whether that may be replaced. */
static gboolean check_name(GlCore *core, GlGuest *guest, GlResourceType type, const char *name, gboolean replace,
                           GlResource **existing, GError **error) {
        GlResource *found = gl_guest_find_resource(guest, type, name);
        g_autofree char *who = NULL, *quoted = NULL;

        *existing = found;
        if (!found || (replace && found->state == GL_RESOURCE_REGISTERED && !gl_resource_is_busy(found) &&
                       !gl_resource_is_on_trial(core, NULL, found)))
                return TRUE;
        who = gl_guest_describe(guest);
        quoted = gl_quote(name);
        g_set_error(error, GL_ERROR, GL_ERROR_ALREADY_REGISTERED, "%s has %s %s %s already.", who,
                    gl_resource_type_to_string(type), quoted, replace ? "held" : "registered");
        return FALSE;
}

gboolean gl_core_may_register(GlCore *core, GlGuest *guest, GlResourceType type, GlMode mode, const char *name,
                              gboolean replace, GError **error) {
        GlResource *existing;

        if (!gl_core_driver_takes(core, guest, type, mode, error))
                return FALSE;
        if (guest->state == GL_GUEST_LOST)
                return gl_guest_refuse(guest, error, "nothing can be registered; Release it or shut it down first");
        if (!gl_check_resource_name(&core->limits, type, name, error))
                return FALSE;
        if (!check_name(core, guest, type, name, replace, &existing, error))
                return FALSE;
        if (existing)
                return TRUE;
        if (guest->resources->len >= core->limits.resources_per_guest) {
                g_autofree char *who = gl_guest_describe(guest);

                g_set_error(error, GL_ERROR, GL_ERROR_LIMIT_EXCEEDED,
                            "%s has %u resources already, the most that is allowed.", who, guest->resources->len);
                return FALSE;
        }
        return gl_guest_check_byte_quota(core, guest, strlen(name), error);
}

/* Whether another than EXCEPT (nullable) is the same storage. */
static gboolean check_place(const GlGuest *guest, const GlResourceSpec *spec, const GlResource *except,
                            GError **error) {
        for (guint i = 0; i < guest->resources->len; i++) {
                const GlResource *other = g_ptr_array_index(guest->resources, i);
                g_autofree char *who = NULL, *quoted = NULL, *other_quoted = NULL;

                if (other == except || !gl_place_equal(other->place, spec->place))
                        continue;
                who = gl_guest_describe(guest);
                quoted = gl_quote(spec->name);
                other_quoted = gl_quote(other->name);
                g_set_error(error, GL_ERROR, GL_ERROR_ALREADY_REGISTERED,
                            "%s is the same as %s, which %s has registered already.", quoted, other_quoted, who);
                return FALSE;
        }
        return TRUE;
}

gboolean gl_core_add_resource(GlCore *core, GlGuest *guest, guint32 uid, const GlResourceSpec *spec, GError **error) {
        GlResource *resource;

        if (!gl_core_may_register(core, guest, spec->type, spec->mode, spec->name, FALSE, error) ||
            !check_place(guest, spec, NULL, error))
                return FALSE;

        resource = gl_guest_record_add_resource(guest);
        resource->type = spec->type;
        resource->name = g_strdup(spec->name);
        resource->mode = spec->mode;
        resource->place = gl_place_ref(spec->place);
        resource->source = gl_handle_ref(spec->source);
        resource->registered_by = uid;
        resource->by_descriptor = spec->by_descriptor;
        if (gl_guest_is_leased_alone(core, guest))
                resource->scope_reason = gl_core_why_ignored(guest);
        gl_core_touch(core, guest, GL_PROPERTY_RESOURCES);

        return TRUE;
}

static gboolean add(GlCore *core, GlGuest *guest, guint32 uid, const GlResourceSpec *spec, GError **error) {
        if (!gl_core_add_resource(core, guest, uid, spec, error))
                return FALSE;
        if (gl_guest_save(core, guest, error))
                return TRUE;
        gl_guest_remove_resource(core, guest, g_ptr_array_index(guest->resources, guest->resources->len - 1));
        return FALSE;
}

/*
 * In place, and in one step: at no moment is the guest without it, so that whoever is killed meanwhile cannot leave a
 * guest behind that starts without one of its leases.
 */
static gboolean replace(GlCore *core, GlGuest *guest, guint32 uid, GlResource *resource, const GlResourceSpec *spec,
                        GError **error) {
        GlResource before = *resource, after = *resource;
        gboolean saved;

        if (!gl_core_may_register(core, guest, spec->type, spec->mode, spec->name, TRUE, error) ||
            !check_place(guest, spec, resource, error))
                return FALSE;
        after.mode = spec->mode;
        after.place = gl_place_ref(spec->place);
        after.source = gl_handle_ref(spec->source);
        after.registered_by = uid;
        after.by_descriptor = spec->by_descriptor;
        after.path_moved = FALSE;
        *resource = after;
        saved = gl_guest_save(core, guest, error);
        *resource = saved ? after : before;
        gl_place_unref(saved ? before.place : after.place);
        gl_handle_unref(saved ? &before.source : &after.source);
        if (saved) {
                gl_core_touch(core, guest, GL_PROPERTY_RESOURCES);
                core->again = TRUE; /* who waits for it waits for something else now */
        }
        return saved;
}

gboolean gl_core_register(GlCore *core, const GlRequest *request, GlGuest *guest, const GlResourceSpec *spec,
                          GError **error) {
        GlResource *existing = spec->replace ? gl_guest_find_resource(guest, spec->type, spec->name) : NULL;
        gboolean done;

        gl_core_enter(core, request->now, request->realtime);
        done = existing ? replace(core, guest, request->uid, existing, spec, error)
                        : add(core, guest, request->uid, spec, error);
        gl_core_leave(core);

        return done;
}

void gl_guest_remove_resource(GlCore *core, GlGuest *guest, GlResource *resource) {
        gl_resource_drop_claim(core, resource);
        g_ptr_array_remove(guest->resources, resource);
        gl_core_touch(core, guest, GL_PROPERTY_RESOURCES);
}

/* --- states and claims --- */

void gl_resource_drop_claim(GlCore *core, GlResource *resource) {
        if (!resource->claim)
                return;
        gl_table_drop(core->table, resource->claim);
        resource->claim = NULL;
        core->again = TRUE;
}

void gl_resource_take_lease(GlResource *resource, const GlTarget *target) {
        resource->lease = target->lease;
        resource->scope = target->scope;
        g_free(resource->scope_reason);
        resource->scope_reason = g_strdup(target->scope_reason);
        resource->kept_by = target->kept_by;
        resource->keep_key = target->keep_key;
        resource->size = target->size;
        resource->mtime = target->mtime;
}

void gl_resource_set_state(GlCore *core, GlResource *resource, GlResourceState state) {
        if (resource->state == state)
                return;
        if (resource->state == GL_RESOURCE_REGISTERED)
                core->n_leases++;
        if (state == GL_RESOURCE_REGISTERED) {
                core->n_leases--;
                g_clear_pointer(&resource->scope_reason, g_free);
                g_clear_pointer(&resource->held_open_by, g_free);
                resource->keep_key = 0;
                resource->broken = resource->unblocked = resource->insisted = resource->writer_seen = FALSE;
        }
        resource->state = state;
        gl_core_touch(core, resource->guest, GL_PROPERTY_RESOURCES);
}

gboolean gl_guest_any_in(const GlGuest *guest, GlResourceState state) {
        for (guint i = 0; i < guest->resources->len; i++)
                if (((const GlResource *) g_ptr_array_index(guest->resources, i))->state == state)
                        return TRUE;
        return FALSE;
}

gboolean gl_guest_any_busy(const GlGuest *guest) {
        for (guint i = 0; i < guest->resources->len; i++)
                if (gl_resource_is_busy(g_ptr_array_index(guest->resources, i)))
                        return TRUE;
        return FALSE;
}

GPtrArray *gl_guest_resources_in(const GlGuest *guest, GlResourceState state) {
        GPtrArray *resources = g_ptr_array_new();

        for (guint i = 0; i < guest->resources->len; i++) {
                GlResource *resource = g_ptr_array_index(guest->resources, i);

                if (resource->state == state)
                        g_ptr_array_add(resources, resource);
        }
        return resources;
}

/* --- ghosts --- */

void gl_guest_make_ghost(GlCore *core, GlGuest *guest, GlResource *resource) {
        guint index;

        if (!g_ptr_array_find(guest->resources, resource, &index))
                return;
        resource->unplugged = TRUE;
        g_ptr_array_add(guest->ghosts, g_ptr_array_steal_index(guest->resources, index));
        core->n_leases--;
        gl_core_touch(core, guest, GL_PROPERTY_RESOURCES);
}

void gl_guest_drop_ghosts(GlCore *core, GlGuest *guest) {
        GPtrArray *ghosts = guest->ghosts;

        for (guint i = 0; i < ghosts->len; i++)
                gl_resource_drop_claim(core, g_ptr_array_index(ghosts, i));
        g_ptr_array_set_size(ghosts, 0);
}
