/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A guest as text. Numbers and words are written bare, everything else escaped and in quotes, so that the
 * file is ASCII and a line is a line, whatever a guest or a file is called. A key that is optional is absent.
 */

#include "store/state-file.h"

#include "core/error.h"
#include "core/obstacle.h"
#include "core/quoted.h"

char *gl_state_file_name(const char *uuid, guint32 owner_uid) {
        return owner_uid == 0 ? g_strdup(uuid) : g_strdup_printf("%s_u%" G_GUINT32_FORMAT, uuid, owner_uid);
}

static void set_text(GKeyFile *file, const char *group, const char *key, const char *text) {
        g_autofree char *quoted = NULL;

        if (!text)
                return;
        quoted = gl_quoted_write(text);
        g_key_file_set_value(file, group, key, quoted);
}

static void set_header(GKeyFile *file, const char *boot_id) {
        g_key_file_set_uint64(file, "guestlock", "version", GL_STATE_FILE_VERSION);
        set_text(file, "guestlock", "boot-id", boot_id);
}

static void set_guest(GKeyFile *file, const GlGuest *guest) {
        const GlProcessRef *child = &guest->processes[GL_PROCESS_GUEST];
        const GlProcessRef *supervisor = &guest->processes[GL_PROCESS_SUPERVISOR];
        const char *group = "guest";

        g_key_file_set_value(file, group, "uuid", guest->uuid);
        g_key_file_set_uint64(file, group, "owner-uid", guest->owner_uid);
        set_text(file, group, "name", guest->name);
        g_key_file_set_uint64(file, group, "id", guest->id);
        g_key_file_set_value(file, group, "driver", guest->driver);
        g_key_file_set_value(file, group, "origin", gl_origin_to_string(guest->origin));
        g_key_file_set_value(file, group, "state", gl_guest_state_to_string(guest->state));
        g_key_file_set_value(file, group, "on-lease-lost", gl_loss_action_to_string(guest->on_lease_lost));
        g_key_file_set_value(file, group, "require-scope", gl_scope_to_string(guest->require_scope));
        g_key_file_set_uint64(file, group, "generation", guest->generation);
        g_key_file_set_int64(file, group, "acquired-at", guest->acquired_at);
        g_key_file_set_boolean(file, group, "transient", guest->transient);
        if (guest->restricted)
                g_key_file_set_boolean(file, group, "restricted", TRUE);
        if (guest->stopped_by_us)
                g_key_file_set_boolean(file, group, "stopped-by-us", TRUE);
        if (guest->killing)
                g_key_file_set_boolean(file, group, "killing", TRUE);
        if (guest->supervised)
                g_key_file_set_boolean(file, group, "supervised", TRUE);
        if (guest->orphan_kept)
                g_key_file_set_boolean(file, group, "orphan-kept", TRUE);
        set_text(file, group, "state-string", guest->state_string);
        g_key_file_set_uint64(file, group, "pid", child->pid);
        g_key_file_set_uint64(file, group, "start-time", child->start_time);
        g_key_file_set_uint64(file, group, "supervisor-pid", supervisor->pid);
        g_key_file_set_uint64(file, group, "supervisor-start-time", supervisor->start_time);
}

static void set_ancestors(GKeyFile *file, const char *group, const GlPlace *place) {
        g_autoptr(GString) text = g_string_new(NULL);

        for (guint i = 0; i < place->n_ancestors; i++) {
                const GlAncestor *ancestor = &place->ancestors[i];
                g_autofree char *node = gl_node_to_string(&ancestor->node);

                g_string_append_printf(text, "%s%s %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT,
                                       i > 0 ? " " : "", node, ancestor->extent.start, ancestor->extent.end,
                                       ancestor->allocator);
        }
        if (text->len > 0)
                g_key_file_set_value(file, group, "below", text->str);
}

/* How to find it again: what it was, where it was, and who may open it. */
static void set_source(GKeyFile *file, const char *group, const GlResource *resource) {
        const GlPlace *place = resource->place;
        const GlSource *source = resource->source.box;
        const GlCredentials *registrant = source->registrant;
        g_autofree char *node = gl_node_to_string(&place->node);
        g_autoptr(GString) groups = g_string_new(NULL);

        g_key_file_set_value(file, group, "node", node);
        g_key_file_set_uint64(file, group, "extent-start", place->extent.start);
        g_key_file_set_uint64(file, group, "extent-end", place->extent.end);
        set_ancestors(file, group, place);
        if (source->block) {
                g_key_file_set_uint64(file, group, "device", source->device);
                g_key_file_set_uint64(file, group, "device-start", source->extent.start);
                g_key_file_set_uint64(file, group, "device-end", source->extent.end);
        }
        /* The text that came with a descriptor is a name only: nobody checked where it leads. */
        if (!resource->by_descriptor)
                set_text(file, group, "path", source->path);
        set_text(file, group, "canonical", source->canonical);
        g_key_file_set_int64(file, group, "birth", source->birth);

        /* No credentials are root's. */
        g_string_append_printf(groups, "%u", registrant ? registrant->gid : 0);
        for (guint i = 1; registrant && i < registrant->n_groups; i++)
                g_string_append_printf(groups, " %u", registrant->groups[i]);
        g_key_file_set_uint64(file, group, "registrant-uid", registrant ? registrant->uid : 0);
        g_key_file_set_value(file, group, "registrant-groups", groups->str);
}

static gboolean set_resource(GKeyFile *file, guint number, const GlResource *resource, GError **error) {
        g_autofree char *group = g_strdup_printf("resource %u", number);
        const GlSource *source = resource->source.box;

        if (!resource->place || !source || !source->canonical) {
                g_autofree char *name = gl_quote(resource->name);

                g_set_error(error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE,
                            "The state of %s %s cannot be saved: it is not known how to find it again.",
                            gl_resource_type_to_string(resource->type), name);
                return FALSE;
        }
        g_key_file_set_value(file, group, "type", gl_resource_type_to_string(resource->type));
        set_text(file, group, "name", resource->name);
        g_key_file_set_value(file, group, "mode", gl_mode_to_string(resource->mode));
        g_key_file_set_value(file, group, "state", gl_resource_state_to_string(resource->state));
        if (resource->unblocked)
                g_key_file_set_boolean(file, group, "unblocked", TRUE);
        if (resource->unplugged)
                g_key_file_set_boolean(file, group, "unplugged", TRUE);
        set_source(file, group, resource);
        g_key_file_set_uint64(file, group, "registered-by", resource->registered_by);
        g_key_file_set_uint64(file, group, "generation", resource->generation);
        g_key_file_set_value(file, group, "scope", gl_scope_to_string(resource->scope));
        set_text(file, group, "scope-reason", resource->scope_reason);
        g_key_file_set_value(file, group, "kept-by", gl_kept_by_to_string(resource->kept_by));
        if (resource->keep_key != 0)
                g_key_file_set_uint64(file, group, "keep-key", resource->keep_key);
        g_key_file_set_int64(file, group, "since", resource->since);
        g_key_file_set_uint64(file, group, "size", resource->size);
        g_key_file_set_uint64(file, group, "mtime", resource->mtime);
        return TRUE;
}

char *gl_state_file_write(const GlGuest *guest, const char *boot_id, gsize *length, GError **error) {
        g_autoptr(GKeyFile) file = g_key_file_new();
        g_autofree char *text = NULL;
        guint n_resources;
        gsize n = 0;

        set_header(file, boot_id);
        set_guest(file, guest);
        for (guint i = 0; i < guest->resources->len; i++)
                if (!set_resource(file, i, g_ptr_array_index(guest->resources, i), error))
                        return NULL;
        for (guint i = 0; i < guest->ghosts->len; i++)
                if (!set_resource(file, guest->resources->len + i, g_ptr_array_index(guest->ghosts, i), error))
                        return NULL;
        n_resources = guest->resources->len + guest->ghosts->len;
        g_key_file_set_uint64(file, "end", "resources", n_resources);

        text = g_key_file_to_data(file, &n, NULL);
        if (n > GL_STATE_FILE_MAX_BYTES || n_resources > GL_STATE_FILE_MAX_RESOURCES) {
                g_autofree char *name = gl_quote(guest->name);

                g_set_error(error, GL_ERROR, GL_ERROR_LIMIT_EXCEEDED,
                            "The state of guest %s (%s) is too large to be saved: %u resources, %" G_GSIZE_FORMAT
                            " bytes.",
                            name, guest->uuid, n_resources, n);
                return NULL;
        }
        *length = n;
        return g_steal_pointer(&text);
}
