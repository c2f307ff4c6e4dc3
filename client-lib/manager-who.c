/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "manager.h"

#include <guestlock-enum-types.h>

#include "obstacle.h"
#include "operation.h"
#include "request.h"
#include "resource-calls.h"
#include "resource.h"
#include "words.h"

/* Who is in the way, asked without wanting anything. */

static GlOperation *who_holds_op(GuestlockManager *self, GuestlockResourceType type, const char *name) {
        GlOperation *op = gl_operation_new(self, NULL);

        gl_operation_add(op, GL_MANAGER, GL_ROOT, "WhoHolds",
                         g_variant_new("(ss@a{sv})", gl_word_of_value(GUESTLOCK_TYPE_RESOURCE_TYPE, type),
                                       gl_operation_text(op, name), g_variant_new_parsed("@a{sv} {}")),
                         NULL);
        return op;
}

/* The service would look at the name, which need not lead to what the descriptor does. */
static void refuse_descriptors(GlOperation *op, GPtrArray *resources) {
        for (guint i = 0; resources && i < resources->len; i++) {
                if (gl_resource_fd(resources->pdata[i]) < 0)
                        continue;
                gl_operation_fail(op, g_error_new(GUESTLOCK_ERROR, GUESTLOCK_ERROR_INVALID_ARGS,
                                                  "\"%s\" is in the request as a descriptor, and who is in the way can "
                                                  "be asked of paths alone.",
                                                  guestlock_resource_get_name(resources->pdata[i])));
                return;
        }
}

static GlOperation *test_acquire_op(GuestlockManager *self, const char *uuid, GuestlockRequest *request) {
        GlOperation *op = gl_operation_new(self, NULL);
        GPtrArray *resources = gl_request_resources(request);
        GUnixFDList *fds = g_unix_fd_list_new();
        GError *error = NULL;
        GVariantDict options;

        g_variant_dict_init(&options, NULL);
        if (!gl_request_options(request, GL_REQUEST_TEST, &options, fds, &error))
                gl_operation_fail(op, error);
        refuse_descriptors(op, resources);
        gl_operation_add(op, GL_MANAGER, GL_ROOT, "TestAcquire",
                         g_variant_new("(s@a(sssa{sv})@a{sv})", uuid ? gl_operation_text(op, uuid) : "",
                                       gl_list_of_resources(op, resources, fds), g_variant_dict_end(&options)),
                         fds);
        return op;
}

static GPtrArray *end_obstacles(GlOperation *op) {
        g_autoptr(GVariant) list = op ? g_variant_get_child_value(op->reply, 0) : NULL;
        GPtrArray *obstacles;

        if (!op)
                return NULL;
        obstacles = g_ptr_array_new_with_free_func(g_object_unref);
        for (gsize i = 0; i < g_variant_n_children(list); i++) {
                g_autoptr(GVariant) entry = g_variant_get_child_value(list, i);

                g_ptr_array_add(obstacles, gl_obstacle_new_from_entry(entry));
        }
        gl_operation_free(op);
        return obstacles;
}

/**
 * guestlock_manager_who_holds_async:
 * @self: a manager
 * @type: what, with @name; of a lease, whose file has to be known, see [method@Manager.test_acquire_async]
 * @name: its absolute path, or the uuid of a guest
 * @cancellable: (nullable): to give up
 * @callback: called when it has ended
 * @user_data: for @callback
 *
 * Asks who has a disk or is a guest: everybody who can be seen, as guests of this service and of other hosts, a QEMU
 * that has no lease, virtlockd, what is mounted. It takes nothing and changes nothing. Besides those who are in the
 * way of an exclusive lease there may be programs that use the disk and are not; [method@Obstacle.get_via] says so.
 *
 * The caller has to be able to read the disk.
 *
 * Since: 0.1
 */
void guestlock_manager_who_holds_async(GuestlockManager *self, GuestlockResourceType type, const char *name,
                                       GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data) {
        g_return_if_fail(GUESTLOCK_IS_MANAGER(self));
        g_return_if_fail(name);
        gl_operation_begin(who_holds_op(self, type, name), self, guestlock_manager_who_holds_async, cancellable,
                           callback, user_data);
}

/**
 * guestlock_manager_who_holds_finish:
 * @self: a manager
 * @result: what the callback got
 * @error: for what went wrong
 *
 * Returns: (transfer container) (element-type GuestlockObstacle): all of them; empty: nobody
 *
 * Since: 0.1
 */
GPtrArray *guestlock_manager_who_holds_finish(GuestlockManager *self, GAsyncResult *result, GError **error) {
        return end_obstacles(gl_operation_finish(self, guestlock_manager_who_holds_async, result, error));
}

/**
 * guestlock_manager_who_holds_sync:
 * @self: a manager
 * @type: what, with @name; of a lease, whose file has to be known, see [method@Manager.test_acquire_async]
 * @name: its absolute path, or the uuid of a guest
 * @cancellable: (nullable): to give up
 * @error: for what went wrong
 *
 * As [method@Manager.who_holds_async], and waits for it.
 *
 * Returns: (transfer container) (element-type GuestlockObstacle): all of them; empty: nobody
 *
 * Since: 0.1
 */
GPtrArray *guestlock_manager_who_holds_sync(GuestlockManager *self, GuestlockResourceType type, const char *name,
                                            GCancellable *cancellable, GError **error) {
        g_return_val_if_fail(GUESTLOCK_IS_MANAGER(self), NULL);
        g_return_val_if_fail(name, NULL);
        return end_obstacles(gl_operation_run(who_holds_op(self, type, name), cancellable, error));
}

/**
 * guestlock_manager_test_acquire_async:
 * @self: a manager
 * @uuid: (nullable): the guest's uuid; `NULL`: of one that is not there yet
 * @request: (nullable): what it would ask for
 * @cancellable: (nullable): to give up
 * @callback: called when it has ended
 * @user_data: for @callback
 *
 * Asks what [method@Manager.start_guest_async], or with a @uuid [method@Guest.acquire_async] and
 * [method@Guest.attach_resource_async], would run into at this moment: all of it, and not the first alone. It takes
 * nothing and changes nothing. What a guest has registered and does not hold is looked at, too.
 *
 * Of @request it takes the resources, which are to be known by their paths; the process; without a @uuid the driver
 * and the scope that is required, and with one whose guest it is. Setting one of the latter three in the other case is
 * `GUESTLOCK_ERROR_INVALID_ARGS`. What else is in a request makes no difference.
 *
 * Whatever else the call would fail with, as files that are not there, this one fails with. Whether it would be allowed
 * is not asked.
 *
 * Since: 0.1
 */
void guestlock_manager_test_acquire_async(GuestlockManager *self, const char *uuid, GuestlockRequest *request,
                                          GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data) {
        g_return_if_fail(GUESTLOCK_IS_MANAGER(self));
        g_return_if_fail(!request || GUESTLOCK_IS_REQUEST(request));
        gl_operation_begin(test_acquire_op(self, uuid, request), self, guestlock_manager_test_acquire_async,
                           cancellable, callback, user_data);
}

/**
 * guestlock_manager_test_acquire_finish:
 * @self: a manager
 * @result: what the callback got
 * @error: for what went wrong
 *
 * Returns: (transfer container) (element-type GuestlockObstacle): all of them; empty: nobody
 *
 * Since: 0.1
 */
GPtrArray *guestlock_manager_test_acquire_finish(GuestlockManager *self, GAsyncResult *result, GError **error) {
        return end_obstacles(gl_operation_finish(self, guestlock_manager_test_acquire_async, result, error));
}

/**
 * guestlock_manager_test_acquire_sync:
 * @self: a manager
 * @uuid: (nullable): the guest's uuid; `NULL`: of one that is not there yet
 * @request: (nullable): what it would ask for
 * @cancellable: (nullable): to give up
 * @error: for what went wrong
 *
 * As [method@Manager.test_acquire_async], and waits for it.
 *
 * Returns: (transfer container) (element-type GuestlockObstacle): all of them; empty: nobody
 *
 * Since: 0.1
 */
GPtrArray *guestlock_manager_test_acquire_sync(GuestlockManager *self, const char *uuid, GuestlockRequest *request,
                                               GCancellable *cancellable, GError **error) {
        g_return_val_if_fail(GUESTLOCK_IS_MANAGER(self), NULL);
        g_return_val_if_fail(!request || GUESTLOCK_IS_REQUEST(request), NULL);
        return end_obstacles(gl_operation_run(test_acquire_op(self, uuid, request), cancellable, error));
}
