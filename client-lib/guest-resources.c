/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest.h"

#include "operation.h"
#include "resource-calls.h"
#include "resource.h"
#include "words.h"

#include <guestlock-enum-types.h>

/* A guest's resources, one by one. */

static GlOperation *register_resource_op(GuestlockGuest *self, GuestlockResource *resource) {
        GlOperation *op = gl_operation_new(gl_guest_manager(self), self);

        gl_add_registering(op, guestlock_guest_get_object_path(self), resource);
        return op;
}

static GlOperation *attach_resource_op(GuestlockGuest *self, GuestlockResource *resource, guint wait) {
        GlOperation *op = gl_operation_new(gl_guest_manager(self), self);

        gl_add_attaching(op, guestlock_guest_get_object_path(self), resource, wait);
        return op;
}

static GlOperation *detach_resource_op(GuestlockGuest *self, GuestlockResourceType type, const char *name) {
        GlOperation *op = gl_operation_new(gl_guest_manager(self), self);

        gl_operation_add(op, GL_GUEST, guestlock_guest_get_object_path(self), "ReleaseResource",
                         g_variant_new("(ss@a{sv})", gl_word_of_value(GUESTLOCK_TYPE_RESOURCE_TYPE, type),
                                       gl_operation_text(op, name), g_variant_new_parsed("@a{sv} {}")),
                         NULL)
                ->settled_by = GL_BIT(NO_SUCH_RESOURCE);
        return op;
}

static GlOperation *list_resources_op(GuestlockGuest *self) {
        GlOperation *op = gl_operation_new(gl_guest_manager(self), self);

        gl_operation_add(op, GL_PROPERTIES, guestlock_guest_get_object_path(self), "Get",
                         g_variant_new("(ss)", GL_GUEST, "Resources"), NULL);
        return op;
}

static GPtrArray *end_resources(GlOperation *op) {
        g_autoptr(GVariant) list = NULL;
        GPtrArray *resources;

        if (!op)
                return NULL;
        resources = g_ptr_array_new_with_free_func(g_object_unref);
        g_variant_get(op->reply, "(v)", &list);
        for (gsize i = 0; g_variant_is_of_type(list, G_VARIANT_TYPE("aa{sv}")) && i < g_variant_n_children(list); i++) {
                g_autoptr(GVariant) entry = g_variant_get_child_value(list, i);

                g_ptr_array_add(resources, gl_resource_new_from_entry(entry));
        }
        gl_operation_free(op);
        return resources;
}

/**
 * guestlock_guest_register_resource_async:
 * @self: a guest
 * @resource: what the guest uses
 * @cancellable: (nullable): to give up
 * @callback: called when it has ended
 * @user_data: for @callback
 *
 * Declares a resource and takes nothing; the next [method@Guest.acquire_async] does.
 *
 * Since: 0.1
 */
void guestlock_guest_register_resource_async(GuestlockGuest *self, GuestlockResource *resource,
                                             GCancellable *cancellable, GAsyncReadyCallback callback,
                                             gpointer user_data) {
        g_return_if_fail(GUESTLOCK_IS_GUEST(self));
        g_return_if_fail(GUESTLOCK_IS_RESOURCE(resource));
        gl_operation_begin(register_resource_op(self, resource), self, guestlock_guest_register_resource_async,
                           cancellable, callback, user_data);
}

/**
 * guestlock_guest_register_resource_finish:
 * @self: a guest
 * @result: what the callback got
 * @error: for what went wrong
 *
 * Returns: `TRUE` if it succeeded
 *
 * Since: 0.1
 */
gboolean guestlock_guest_register_resource_finish(GuestlockGuest *self, GAsyncResult *result, GError **error) {
        return gl_operation_end(gl_operation_finish(self, guestlock_guest_register_resource_async, result, error));
}

/**
 * guestlock_guest_register_resource_sync:
 * @self: a guest
 * @resource: what the guest uses
 * @cancellable: (nullable): to give up
 * @error: for what went wrong
 *
 * As [method@Guest.register_resource_async], and waits for it.
 *
 * Returns: `TRUE` if it succeeded
 *
 * Since: 0.1
 */
gboolean guestlock_guest_register_resource_sync(GuestlockGuest *self, GuestlockResource *resource,
                                                GCancellable *cancellable, GError **error) {
        g_return_val_if_fail(GUESTLOCK_IS_GUEST(self), FALSE);
        g_return_val_if_fail(GUESTLOCK_IS_RESOURCE(resource), FALSE);
        return gl_operation_end(gl_operation_run(register_resource_op(self, resource), cancellable, error));
}

/**
 * guestlock_guest_attach_resource_async:
 * @self: a guest
 * @resource: what the guest uses
 * @wait: how many milliseconds to wait while others hold it
 * @cancellable: (nullable): to give up
 * @callback: called when it has ended
 * @user_data: for @callback
 *
 * Takes one more resource of a guest that runs: call it before plugging. Of one that it has already, in another
 * mode, the lease is raised or lowered in place, without waiting.
 *
 * Since: 0.1
 */
void guestlock_guest_attach_resource_async(GuestlockGuest *self, GuestlockResource *resource, guint wait,
                                           GCancellable *cancellable, GAsyncReadyCallback callback,
                                           gpointer user_data) {
        g_return_if_fail(GUESTLOCK_IS_GUEST(self));
        g_return_if_fail(GUESTLOCK_IS_RESOURCE(resource));
        gl_operation_begin(attach_resource_op(self, resource, wait), self, guestlock_guest_attach_resource_async,
                           cancellable, callback, user_data);
}

/**
 * guestlock_guest_attach_resource_finish:
 * @self: a guest
 * @result: what the callback got
 * @generation: (out) (optional): the resource's generation
 * @error: for what went wrong
 *
 * Returns: `TRUE` if it succeeded
 *
 * Since: 0.1
 */
gboolean guestlock_guest_attach_resource_finish(GuestlockGuest *self, GAsyncResult *result, guint64 *generation,
                                                GError **error) {
        return gl_operation_end_generation(
                gl_operation_finish(self, guestlock_guest_attach_resource_async, result, error), generation);
}

/**
 * guestlock_guest_attach_resource_sync:
 * @self: a guest
 * @resource: what the guest uses
 * @wait: how many milliseconds to wait while others hold it
 * @generation: (out) (optional): the resource's generation
 * @cancellable: (nullable): to give up
 * @error: for what went wrong
 *
 * As [method@Guest.attach_resource_async], and waits for it.
 *
 * Returns: `TRUE` if it succeeded
 *
 * Since: 0.1
 */
gboolean guestlock_guest_attach_resource_sync(GuestlockGuest *self, GuestlockResource *resource, guint wait,
                                              guint64 *generation, GCancellable *cancellable, GError **error) {
        g_return_val_if_fail(GUESTLOCK_IS_GUEST(self), FALSE);
        g_return_val_if_fail(GUESTLOCK_IS_RESOURCE(resource), FALSE);
        return gl_operation_end_generation(
                gl_operation_run(attach_resource_op(self, resource, wait), cancellable, error), generation);
}

/**
 * guestlock_guest_detach_resource_async:
 * @self: a guest
 * @type: its type
 * @name: its name, as it was registered
 * @cancellable: (nullable): to give up
 * @callback: called when it has ended
 * @user_data: for @callback
 *
 * Gives one resource back and forgets it: call it after unplugging.
 *
 * Since: 0.1
 */
void guestlock_guest_detach_resource_async(GuestlockGuest *self, GuestlockResourceType type, const char *name,
                                           GCancellable *cancellable, GAsyncReadyCallback callback,
                                           gpointer user_data) {
        g_return_if_fail(GUESTLOCK_IS_GUEST(self));
        g_return_if_fail(name);
        gl_operation_begin(detach_resource_op(self, type, name), self, guestlock_guest_detach_resource_async,
                           cancellable, callback, user_data);
}

/**
 * guestlock_guest_detach_resource_finish:
 * @self: a guest
 * @result: what the callback got
 * @error: for what went wrong
 *
 * Returns: `TRUE` if it succeeded
 *
 * Since: 0.1
 */
gboolean guestlock_guest_detach_resource_finish(GuestlockGuest *self, GAsyncResult *result, GError **error) {
        return gl_operation_end(gl_operation_finish(self, guestlock_guest_detach_resource_async, result, error));
}

/**
 * guestlock_guest_detach_resource_sync:
 * @self: a guest
 * @type: its type
 * @name: its name, as it was registered
 * @cancellable: (nullable): to give up
 * @error: for what went wrong
 *
 * As [method@Guest.detach_resource_async], and waits for it.
 *
 * Returns: `TRUE` if it succeeded
 *
 * Since: 0.1
 */
gboolean guestlock_guest_detach_resource_sync(GuestlockGuest *self, GuestlockResourceType type, const char *name,
                                              GCancellable *cancellable, GError **error) {
        g_return_val_if_fail(GUESTLOCK_IS_GUEST(self), FALSE);
        g_return_val_if_fail(name, FALSE);
        return gl_operation_end(gl_operation_run(detach_resource_op(self, type, name), cancellable, error));
}

/**
 * guestlock_guest_list_resources_async:
 * @self: a guest
 * @cancellable: (nullable): to give up
 * @callback: called when it has ended
 * @user_data: for @callback
 *
 * Asks for the guest's resources, with the state and the scope of each lease.
 *
 * Since: 0.1
 */
void guestlock_guest_list_resources_async(GuestlockGuest *self, GCancellable *cancellable, GAsyncReadyCallback callback,
                                          gpointer user_data) {
        g_return_if_fail(GUESTLOCK_IS_GUEST(self));
        gl_operation_begin(list_resources_op(self), self, guestlock_guest_list_resources_async, cancellable, callback,
                           user_data);
}

/**
 * guestlock_guest_list_resources_finish:
 * @self: a guest
 * @result: what the callback got
 * @error: for what went wrong
 *
 * Returns: (transfer container) (element-type GuestlockResource): them, in the order registered
 *
 * Since: 0.1
 */
GPtrArray *guestlock_guest_list_resources_finish(GuestlockGuest *self, GAsyncResult *result, GError **error) {
        return end_resources(gl_operation_finish(self, guestlock_guest_list_resources_async, result, error));
}

/**
 * guestlock_guest_list_resources_sync:
 * @self: a guest
 * @cancellable: (nullable): to give up
 * @error: for what went wrong
 *
 * As [method@Guest.list_resources_async], and waits for it.
 *
 * Returns: (transfer container) (element-type GuestlockResource): them, in the order registered
 *
 * Since: 0.1
 */
GPtrArray *guestlock_guest_list_resources_sync(GuestlockGuest *self, GCancellable *cancellable, GError **error) {
        g_return_val_if_fail(GUESTLOCK_IS_GUEST(self), NULL);
        return end_resources(gl_operation_run(list_resources_op(self), cancellable, error));
}
