/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/core-private.h"

void gl_resource_free(gpointer data) {
        GlResource *resource = data;

        g_free(resource->name);
        g_free(resource->scope_reason);
        g_free(resource->drain_reason);
        g_free(resource->held_open_by);
        gl_place_unref(resource->place);
        gl_handle_unref(&resource->source);
        g_free(resource);
}

GlGuest *gl_guest_record_new(void) {
        GlGuest *guest = g_new0(GlGuest, 1);

        guest->resources = g_ptr_array_new_with_free_func(gl_resource_free);
        guest->ghosts = g_ptr_array_new_with_free_func(gl_resource_free);
        return guest;
}

void gl_guest_record_free(GlGuest *guest) {
        if (!guest)
                return;

        g_free(guest->name);
        g_free(guest->driver);
        g_free(guest->state_string);
        for (guint role = 0; role < GL_N_PROCESSES; role++)
                gl_handle_unref(&guest->processes[role].handle);
        g_ptr_array_unref(guest->resources);
        g_ptr_array_unref(guest->ghosts);
        g_free(guest);
}

GlResource *gl_guest_record_add_resource(GlGuest *guest) {
        GlResource *resource = g_new0(GlResource, 1);

        resource->guest = guest;
        g_ptr_array_add(guest->resources, resource);
        return resource;
}

gboolean gl_guest_has_process(const GlGuest *guest) {
        for (guint role = 0; role < GL_N_PROCESSES; role++)
                if (guest->processes[role].pid > 0)
                        return TRUE;
        return FALSE;
}

gboolean gl_guest_has_leases(const GlGuest *guest) {
        for (guint i = 0; i < guest->resources->len; i++) {
                const GlResource *resource = g_ptr_array_index(guest->resources, i);

                if (resource->state != GL_RESOURCE_REGISTERED)
                        return TRUE;
        }
        return FALSE;
}

GlResource *gl_guest_find_resource(const GlGuest *guest, GlResourceType type, const char *name) {
        for (guint i = 0; i < guest->resources->len; i++) {
                GlResource *resource = g_ptr_array_index(guest->resources, i);

                if (resource->type == type && g_str_equal(resource->name, name))
                        return resource;
        }
        return NULL;
}

GlResource *gl_guest_find_resource_at(const GlGuest *guest, const GlPlace *place) {
        for (guint i = 0; i < guest->resources->len; i++) {
                GlResource *resource = g_ptr_array_index(guest->resources, i);

                if (gl_place_equal(resource->place, place))
                        return resource;
        }
        return NULL;
}
