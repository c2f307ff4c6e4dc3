/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/inherit.h"

#include "bus/bus-private.h"
#include "core/names.h"

/*
 * AcquireInherit: an Acquire whose answer has lock descriptors too. Who gets which is the core's to say: once before
 * anything is taken, so that nothing is for a call that can only fail, and once when it is held.
 */

static gboolean read_name(GlCall *call, const char *type, const char *name, GError **error) {
        const GlLimits *limits = call->bus->parts.limits;
        GlResourceName one = {.name = name};

        if (!gl_read_type(type, &one.type, error) || !gl_check_resource_name(limits, one.type, name, error))
                return FALSE;
        g_array_append_val(call->named, one);
        return TRUE;
}

static gboolean read_inherit(GlCall *call, GError **error) {
        GPtrArray *strings;

        if (!gl_read_inherit_options(call, error))
                return FALSE;
        strings = call->arguments.resources;
        if (!strings)
                return TRUE;
        if (strings->len / 2 > call->bus->parts.limits->resources_per_guest) {
                g_set_error(error, GL_ERROR, GL_ERROR_LIMIT_EXCEEDED, "A guest has at most %u resources.",
                            call->bus->parts.limits->resources_per_guest);
                return FALSE;
        }
        call->named = g_array_new(FALSE, FALSE, sizeof(GlResourceName));
        for (guint i = 0; i + 1 < strings->len; i += 2)
                if (!read_name(call, strings->pdata[i], strings->pdata[i + 1], error))
                        return FALSE;
        return TRUE;
}

static const GlResourceName *wanted_names(const GlCall *call, guint *n) {
        static const GlResourceName none[1];

        *n = call->named ? call->named->len : 0;
        if (!call->named)
                return NULL;
        return *n > 0 ? &g_array_index(call->named, GlResourceName, 0) : none;
}

static gboolean prepare_inherit(GlCall *call, GError **error) {
        guint n;
        const GlResourceName *names = wanted_names(call, &n);

        return gl_core_can_inherit(call->bus->parts.core, call->guest, error) &&
               gl_guest_may_inherit(call->guest, gl_call_uid(call), names, n, error);
}

static int append_descriptors(GlCall *call, GPtrArray *resources, sd_bus_message *reply) {
        const GlBusParts *parts = &call->bus->parts;
        int r = sd_bus_message_open_container(reply, 'a', "h");

        for (guint i = 0; r >= 0 && i < resources->len; i++) {
                int fd = parts->lock_fd(g_ptr_array_index(resources, i), parts->user_data);

                if (fd >= 0)
                        r = sd_bus_message_append(reply, "h", fd);
        }
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

/* What is held by now may be less than what was asked for: then that is the answer, and the leases stay. */
static int fill_inherit(GlCall *call, const GlChange *change, sd_bus_message *reply) {
        GlCore *core = call->bus->parts.core;
        GlGuest *guest = gl_core_find_guest(core, call->owner_uid, call->uuid);
        g_autoptr(GPtrArray) resources = NULL;
        guint n;
        const GlResourceName *names = wanted_names(call, &n);
        int r;

        if (!guest) {
                g_set_error(&call->failure, GL_ERROR, GL_ERROR_CANCELLED, "The guest's lock manager has been freed.");
                return 0;
        }
        resources = gl_guest_inheritable(guest, gl_call_uid(call), names, n, &call->failure);
        if (!resources)
                return 0;
        r = sd_bus_message_append(reply, "t", change->generation);
        if (r >= 0)
                r = append_descriptors(call, resources, reply);
        if (r >= 0 && gl_core_note_inherited(core, guest, resources, gl_now(), gl_realtime()))
                gl_bus_emit_properties(call->bus, guest, GL_PROPERTY_RESOURCES);
        return r;
}

int gl_bus_on_acquire_inherit(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        static const GlMethod method = {
                .name = "acquire_inherit",
                .right = GL_RIGHT_ACQUIRE,
                .read = read_inherit,
                .prepare = prepare_inherit,
                .run = gl_call_run_acquire,
                .fill = fill_inherit,
        };
        const GlFound *found = userdata;

        return gl_call_begin(found->bus, &method, message, found->guest);
}
