/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/inherit.h"

#include "core/error.h"
#include "core/obstacle.h"

/*
 * What of a guest's locks may leave the service. Root gets whatever has a lock. Everybody else gets what he has brought
 * himself as a descriptor: the one for a path was opened for the service's own use, and its rights are not the
 * caller's. So whether somebody else who may manage the guest asks, or its owner for what an administrator has
 * registered, nothing goes to a user that he did not have.
 *
 * This is about lock descriptors alone. Claims on block devices and lockspace files are never handed out; the drivers
 * see to that.
 */

/* What reaches no further than its mount is in the service's table alone. */
static gboolean has_lock(const GlResource *resource) {
        return resource->state == GL_RESOURCE_HELD && resource->scope != GL_SCOPE_MOUNT;
}

static gboolean may_have(const GlResource *resource, guint32 uid) {
        return uid == 0 || (resource->by_descriptor && resource->registered_by == uid);
}

static gboolean refuse(const GlResource *resource, int code, const char *why, GError **error) {
        g_autofree char *quoted = gl_quote(resource->name);

        g_set_error(error, GL_ERROR, code, "The lock of %s %s cannot be handed out: %s.",
                    gl_resource_type_to_string(resource->type), quoted, why);
        return FALSE;
}

static gboolean check(const GlResource *resource, guint32 uid, gboolean soon, const GPtrArray *so_far, GError **error) {
        /* Before anything else is said of it. */
        if (!may_have(resource, uid))
                return refuse(resource, GL_ERROR_ACCESS_DENIED,
                              "only root gets what somebody else has registered, or what was registered by its path",
                              error);
        if (g_ptr_array_find((GPtrArray *) so_far, resource, NULL))
                return refuse(resource, GL_ERROR_INVALID_ARGS, "it is named twice", error);
        if (soon)
                return TRUE;
        if (resource->state != GL_RESOURCE_HELD)
                return refuse(resource, GL_ERROR_BAD_STATE, "it is not held", error);
        if (!has_lock(resource))
                return refuse(resource, GL_ERROR_NOT_SUPPORTED,
                              "its storage has no locks that can be trusted, and none was taken", error);
        return TRUE;
}

/* SOON: it is not asked whether they are held. */
static GPtrArray *find_wanted(const GlGuest *guest, guint32 uid, gboolean soon, const GlResourceName *wanted,
                              guint n_wanted, GError **error) {
        g_autoptr(GPtrArray) found = g_ptr_array_new();

        for (guint i = 0; i < n_wanted; i++) {
                GlResource *resource = gl_guest_find_resource(guest, wanted[i].type, wanted[i].name);
                g_autofree char *quoted = NULL;

                if (!resource) {
                        quoted = gl_quote(wanted[i].name);
                        g_set_error(error, GL_ERROR, GL_ERROR_NO_SUCH_RESOURCE, "Guest \"%s\" has no %s %s.",
                                    guest->name, gl_resource_type_to_string(wanted[i].type), quoted);
                        return NULL;
                }
                if (!check(resource, uid, soon, found, error))
                        return NULL;
                g_ptr_array_add(found, resource);
        }
        return g_steal_pointer(&found);
}

static GPtrArray *find_all(const GlGuest *guest, guint32 uid, gboolean soon) {
        GPtrArray *found = g_ptr_array_new();

        for (guint i = 0; i < guest->resources->len; i++) {
                GlResource *resource = g_ptr_array_index(guest->resources, i);

                if (may_have(resource, uid) && (soon || has_lock(resource)))
                        g_ptr_array_add(found, resource);
        }
        return found;
}

static GPtrArray *find(const GlGuest *guest, guint32 uid, gboolean soon, const GlResourceName *wanted, guint n_wanted,
                       GError **error) {
        g_autoptr(GPtrArray) found = NULL;
        guint n = n_wanted;

        if (!wanted) {
                found = find_all(guest, uid, soon);
                n = found->len;
        }
        if (n > GL_INHERIT_MAX) {
                g_set_error(error, GL_ERROR, GL_ERROR_LIMIT_EXCEEDED,
                            "%u descriptors do not fit into one answer, which takes %d; name some of them with the "
                            "option \"resources\".",
                            n, GL_INHERIT_MAX);
                return NULL;
        }
        if (wanted)
                found = find_wanted(guest, uid, soon, wanted, n_wanted, error);
        return g_steal_pointer(&found);
}

GPtrArray *gl_guest_inheritable(const GlGuest *guest, guint32 uid, const GlResourceName *wanted, guint n_wanted,
                                GError **error) {
        return find(guest, uid, FALSE, wanted, n_wanted, error);
}

gboolean gl_guest_may_inherit(const GlGuest *guest, guint32 uid, const GlResourceName *wanted, guint n_wanted,
                              GError **error) {
        g_autoptr(GPtrArray) found = find(guest, uid, TRUE, wanted, n_wanted, error);

        return found != NULL;
}
