/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest.h"

#include "error.h"
#include "operation.h"
#include "request.h"
#include "resource.h"

/* Taking a guest's leases and giving them back. */

static GVariant *no_options(void) {
        return g_variant_new_parsed("(@a{sv} {},)");
}

/* Acquire, or AcquireInherit, with what is in options and in the request. */
static GlOperation *acquire(GuestlockGuest *self, const char *method, GuestlockRequest *request,
                            GVariantDict *options) {
        GlOperation *op = gl_operation_new(gl_guest_manager(self), self);
        GPtrArray *resources = gl_request_resources(request);
        GUnixFDList *fds = g_unix_fd_list_new();
        GError *error = NULL;

        if (resources && resources->len > 0)
                gl_operation_fail(op, g_error_new(GUESTLOCK_ERROR, GUESTLOCK_ERROR_INVALID_ARGS,
                                                  "The request has resources. Those of a guest that there is are "
                                                  "registered or attached one by one."));
        if (!gl_request_options(request, GL_REQUEST_ALL, options, fds, &error))
                gl_operation_fail(op, error);
        gl_operation_add(op, GL_GUEST, guestlock_guest_get_object_path(self), method,
                         g_variant_new("(@a{sv})", g_variant_dict_end(options)), fds)
                ->waits = gl_request_waits(request);
        return op;
}

static GlOperation *acquire_op(GuestlockGuest *self, GuestlockRequest *request) {
        GVariantDict options;

        g_variant_dict_init(&options, NULL);
        return acquire(self, "Acquire", request, &options);
}

static GlOperation *acquire_inherit_op(GuestlockGuest *self, GuestlockRequest *request, GPtrArray *resources) {
        GVariantDict options;
        GVariantBuilder list;

        g_variant_dict_init(&options, NULL);
        if (resources) {
                g_variant_builder_init(&list, G_VARIANT_TYPE("a(ss)"));
                for (guint i = 0; i < resources->len; i++)
                        g_variant_builder_add(&list, "(ss)", gl_resource_type_word(resources->pdata[i]),
                                              guestlock_resource_get_name(resources->pdata[i]));
                g_variant_dict_insert_value(&options, "resources", g_variant_builder_end(&list));
        }
        return acquire(self, "AcquireInherit", request, &options);
}

static GUnixFDList *end_locks(GlOperation *op, guint64 *generation) {
        g_autoptr(GVariant) handles = op ? g_variant_get_child_value(op->reply, 1) : NULL;
        g_autofree int *fds = NULL;
        GUnixFDList *locks;
        int n = 0;

        if (!op)
                return NULL;
        if (op->fds)
                fds = g_unix_fd_list_steal_fds(op->fds, &n);
        /* In the order of the answer, which need not be that in which they travelled; each is there once. */
        if (g_variant_n_children(handles) == (gsize) n) {
                g_autofree int *sorted = g_new0(int, n + 1);

                for (int i = 0; i < n; i++) {
                        int handle;

                        g_variant_get_child(handles, i, "h", &handle);
                        sorted[i] = fds[handle];
                }
                locks = g_unix_fd_list_new_from_array(sorted, n);
        } else {
                locks = g_unix_fd_list_new_from_array(fds, n);
        }
        gl_operation_end_generation(op, generation);
        return locks;
}

/* The state string goes into the call that comes next. */
static gboolean inquired(GlOperation *op, GVariant *reply, GError **error) {
        GlCall *next = g_queue_peek_head(&op->calls);
        g_autoptr(GVariant) options = g_variant_get_child_value(next->arguments, 0);
        GVariantDict more;
        const char *state;

        g_variant_get(reply, "(&s)", &state);
        g_variant_dict_init(&more, options);
        if (*state && !g_variant_dict_contains(&more, "state"))
                g_variant_dict_insert(&more, "state", "s", state);
        g_variant_unref(next->arguments);
        next->arguments = g_variant_ref_sink(g_variant_new("(@a{sv})", g_variant_dict_end(&more)));
        return TRUE;
}

static GlOperation *resume_op(GuestlockGuest *self, GuestlockRequest *request) {
        GlOperation *op = acquire_op(self, request);
        GlCall *call;

        call = gl_call_new(GL_GUEST, guestlock_guest_get_object_path(self), "Inquire", no_options(), NULL);
        call->then = inquired;
        g_queue_push_head(&op->calls, call);
        return op;
}

static GlOperation *call_op(GuestlockGuest *self, const char *method) {
        GlOperation *op = gl_operation_new(gl_guest_manager(self), self);

        gl_operation_add(op, GL_GUEST, guestlock_guest_get_object_path(self), method, no_options(), NULL);
        return op;
}

static GlOperation *release_op(GuestlockGuest *self) {
        return call_op(self, "Release");
}

static GlOperation *pause_op(GuestlockGuest *self) {
        return call_op(self, "Release");
}

static GlOperation *inquire_op(GuestlockGuest *self) {
        return call_op(self, "Inquire");
}

/**
 * guestlock_guest_acquire_async:
 * @self: a guest
 * @request: (nullable): how: its process, how long to wait, a state string; no resources
 * @cancellable: (nullable): to give up
 * @callback: called when it has ended
 * @user_data: for @callback
 *
 * Takes everything that is registered and not yet held, all or nothing. Nothing left to take is success.
 *
 * A guest that lost a lease gets it back if nobody has had it meanwhile.
 *
 * Since: 0.1
 */
void guestlock_guest_acquire_async(GuestlockGuest *self, GuestlockRequest *request, GCancellable *cancellable,
                                   GAsyncReadyCallback callback, gpointer user_data) {
        g_return_if_fail(GUESTLOCK_IS_GUEST(self));
        g_return_if_fail(!request || GUESTLOCK_IS_REQUEST(request));
        gl_operation_begin(acquire_op(self, request), self, guestlock_guest_acquire_async, cancellable, callback,
                           user_data);
}

/**
 * guestlock_guest_acquire_finish:
 * @self: a guest
 * @result: what the callback got
 * @generation: (out) (optional): the guest's generation
 * @error: for what went wrong
 *
 * Returns: `TRUE` if it succeeded
 *
 * Since: 0.1
 */
gboolean guestlock_guest_acquire_finish(GuestlockGuest *self, GAsyncResult *result, guint64 *generation,
                                        GError **error) {
        return gl_operation_end_generation(gl_operation_finish(self, guestlock_guest_acquire_async, result, error),
                                           generation);
}

/**
 * guestlock_guest_acquire_sync:
 * @self: a guest
 * @request: (nullable): how: its process, how long to wait, a state string; no resources
 * @generation: (out) (optional): the guest's generation
 * @cancellable: (nullable): to give up
 * @error: for what went wrong
 *
 * As [method@Guest.acquire_async], and waits for it.
 *
 * Returns: `TRUE` if it succeeded
 *
 * Since: 0.1
 */
gboolean guestlock_guest_acquire_sync(GuestlockGuest *self, GuestlockRequest *request, guint64 *generation,
                                      GCancellable *cancellable, GError **error) {
        g_return_val_if_fail(GUESTLOCK_IS_GUEST(self), FALSE);
        g_return_val_if_fail(!request || GUESTLOCK_IS_REQUEST(request), FALSE);
        return gl_operation_end_generation(gl_operation_run(acquire_op(self, request), cancellable, error), generation);
}

/**
 * guestlock_guest_acquire_inherit_async:
 * @self: a guest
 * @request: (nullable): as in [method@Guest.acquire_async]
 * @resources: (nullable) (element-type GuestlockResource): whose locks, by type and name; `NULL`: those of all, at
 *   most 16
 * @cancellable: (nullable): to give up
 * @callback: called when it has ended
 * @user_data: for @callback
 *
 * As [method@Guest.acquire_async], and hands out the descriptors that carry the locks, for the holder to keep open:
 * then the kernel holds the locks for as long as he lives, whatever happens to the service.
 *
 * Since: 0.1
 */
void guestlock_guest_acquire_inherit_async(GuestlockGuest *self, GuestlockRequest *request, GPtrArray *resources,
                                           GCancellable *cancellable, GAsyncReadyCallback callback,
                                           gpointer user_data) {
        g_return_if_fail(GUESTLOCK_IS_GUEST(self));
        g_return_if_fail(!request || GUESTLOCK_IS_REQUEST(request));
        gl_operation_begin(acquire_inherit_op(self, request, resources), self, guestlock_guest_acquire_inherit_async,
                           cancellable, callback, user_data);
}

/**
 * guestlock_guest_acquire_inherit_finish:
 * @self: a guest
 * @result: what the callback got
 * @generation: (out) (optional): the guest's generation
 * @error: for what went wrong
 *
 * Returns: (transfer full): the descriptors, in the order of @resources, or else of registration
 *
 * Since: 0.1
 */
GUnixFDList *guestlock_guest_acquire_inherit_finish(GuestlockGuest *self, GAsyncResult *result, guint64 *generation,
                                                    GError **error) {
        return end_locks(gl_operation_finish(self, guestlock_guest_acquire_inherit_async, result, error), generation);
}

/**
 * guestlock_guest_acquire_inherit_sync:
 * @self: a guest
 * @request: (nullable): as in [method@Guest.acquire_async]
 * @resources: (nullable) (element-type GuestlockResource): whose locks, by type and name; `NULL`: those of all, at
 *   most 16
 * @generation: (out) (optional): the guest's generation
 * @cancellable: (nullable): to give up
 * @error: for what went wrong
 *
 * As [method@Guest.acquire_inherit_async], and waits for it.
 *
 * Returns: (transfer full): the descriptors, in the order of @resources, or else of registration
 *
 * Since: 0.1
 */
GUnixFDList *guestlock_guest_acquire_inherit_sync(GuestlockGuest *self, GuestlockRequest *request, GPtrArray *resources,
                                                  guint64 *generation, GCancellable *cancellable, GError **error) {
        g_return_val_if_fail(GUESTLOCK_IS_GUEST(self), NULL);
        g_return_val_if_fail(!request || GUESTLOCK_IS_REQUEST(request), NULL);
        return end_locks(gl_operation_run(acquire_inherit_op(self, request, resources), cancellable, error),
                         generation);
}

/**
 * guestlock_guest_pause_async:
 * @self: a guest
 * @cancellable: (nullable): to give up
 * @callback: called when it has ended
 * @user_data: for @callback
 *
 * The guest has been paused: gives its leases back, so that others can have the resources, and keeps it known and
 * registered.
 *
 * Since: 0.1
 */
void guestlock_guest_pause_async(GuestlockGuest *self, GCancellable *cancellable, GAsyncReadyCallback callback,
                                 gpointer user_data) {
        g_return_if_fail(GUESTLOCK_IS_GUEST(self));
        gl_operation_begin(pause_op(self), self, guestlock_guest_pause_async, cancellable, callback, user_data);
}

/**
 * guestlock_guest_pause_finish:
 * @self: a guest
 * @result: what the callback got
 * @error: for what went wrong
 *
 * Returns: `TRUE` if it succeeded
 *
 * Since: 0.1
 */
gboolean guestlock_guest_pause_finish(GuestlockGuest *self, GAsyncResult *result, GError **error) {
        return gl_operation_end(gl_operation_finish(self, guestlock_guest_pause_async, result, error));
}

/**
 * guestlock_guest_pause_sync:
 * @self: a guest
 * @cancellable: (nullable): to give up
 * @error: for what went wrong
 *
 * As [method@Guest.pause_async], and waits for it.
 *
 * Returns: `TRUE` if it succeeded
 *
 * Since: 0.1
 */
gboolean guestlock_guest_pause_sync(GuestlockGuest *self, GCancellable *cancellable, GError **error) {
        g_return_val_if_fail(GUESTLOCK_IS_GUEST(self), FALSE);
        return gl_operation_end(gl_operation_run(pause_op(self), cancellable, error));
}

/**
 * guestlock_guest_resume_async:
 * @self: a guest
 * @request: (nullable): as in [method@Guest.acquire_async]
 * @cancellable: (nullable): to give up
 * @callback: called when it has ended
 * @user_data: for @callback
 *
 * The guest is about to go on after [method@Guest.pause_async], or after it began paused: takes its leases. If
 * somebody has written to a resource since, that is `GUESTLOCK_ERROR_STALE`, and the guest must not go on.
 *
 * Since: 0.1
 */
void guestlock_guest_resume_async(GuestlockGuest *self, GuestlockRequest *request, GCancellable *cancellable,
                                  GAsyncReadyCallback callback, gpointer user_data) {
        g_return_if_fail(GUESTLOCK_IS_GUEST(self));
        g_return_if_fail(!request || GUESTLOCK_IS_REQUEST(request));
        gl_operation_begin(resume_op(self, request), self, guestlock_guest_resume_async, cancellable, callback,
                           user_data);
}

/**
 * guestlock_guest_resume_finish:
 * @self: a guest
 * @result: what the callback got
 * @error: for what went wrong
 *
 * Returns: `TRUE` if it succeeded
 *
 * Since: 0.1
 */
gboolean guestlock_guest_resume_finish(GuestlockGuest *self, GAsyncResult *result, GError **error) {
        return gl_operation_end(gl_operation_finish(self, guestlock_guest_resume_async, result, error));
}

/**
 * guestlock_guest_resume_sync:
 * @self: a guest
 * @request: (nullable): as in [method@Guest.acquire_async]
 * @cancellable: (nullable): to give up
 * @error: for what went wrong
 *
 * As [method@Guest.resume_async], and waits for it.
 *
 * Returns: `TRUE` if it succeeded
 *
 * Since: 0.1
 */
gboolean guestlock_guest_resume_sync(GuestlockGuest *self, GuestlockRequest *request, GCancellable *cancellable,
                                     GError **error) {
        g_return_val_if_fail(GUESTLOCK_IS_GUEST(self), FALSE);
        g_return_val_if_fail(!request || GUESTLOCK_IS_REQUEST(request), FALSE);
        return gl_operation_end(gl_operation_run(resume_op(self, request), cancellable, error));
}

/**
 * guestlock_guest_release_async:
 * @self: a guest
 * @cancellable: (nullable): to give up
 * @callback: called when it has ended
 * @user_data: for @callback
 *
 * Gives all leases back, and keeps the guest known and registered.
 *
 * Since: 0.1
 */
void guestlock_guest_release_async(GuestlockGuest *self, GCancellable *cancellable, GAsyncReadyCallback callback,
                                   gpointer user_data) {
        g_return_if_fail(GUESTLOCK_IS_GUEST(self));
        gl_operation_begin(release_op(self), self, guestlock_guest_release_async, cancellable, callback, user_data);
}

/**
 * guestlock_guest_release_finish:
 * @self: a guest
 * @result: what the callback got
 * @error: for what went wrong
 *
 * Returns: (transfer full): a string to keep and to give to [method@Request.set_lease_state]
 *
 * Since: 0.1
 */
char *guestlock_guest_release_finish(GuestlockGuest *self, GAsyncResult *result, GError **error) {
        return gl_operation_end_string(gl_operation_finish(self, guestlock_guest_release_async, result, error));
}

/**
 * guestlock_guest_release_sync:
 * @self: a guest
 * @cancellable: (nullable): to give up
 * @error: for what went wrong
 *
 * As [method@Guest.release_async], and waits for it.
 *
 * Returns: (transfer full): a string to keep and to give to [method@Request.set_lease_state]
 *
 * Since: 0.1
 */
char *guestlock_guest_release_sync(GuestlockGuest *self, GCancellable *cancellable, GError **error) {
        g_return_val_if_fail(GUESTLOCK_IS_GUEST(self), NULL);
        return gl_operation_end_string(gl_operation_run(release_op(self), cancellable, error));
}

/**
 * guestlock_guest_inquire_async:
 * @self: a guest
 * @cancellable: (nullable): to give up
 * @callback: called when it has ended
 * @user_data: for @callback
 *
 * Asks for what is held as a string to keep. It can stand in XML without escaping and has at most 4096 bytes.
 *
 * Since: 0.1
 */
void guestlock_guest_inquire_async(GuestlockGuest *self, GCancellable *cancellable, GAsyncReadyCallback callback,
                                   gpointer user_data) {
        g_return_if_fail(GUESTLOCK_IS_GUEST(self));
        gl_operation_begin(inquire_op(self), self, guestlock_guest_inquire_async, cancellable, callback, user_data);
}

/**
 * guestlock_guest_inquire_finish:
 * @self: a guest
 * @result: what the callback got
 * @error: for what went wrong
 *
 * Returns: (transfer full): the string, empty where nothing was taken yet
 *
 * Since: 0.1
 */
char *guestlock_guest_inquire_finish(GuestlockGuest *self, GAsyncResult *result, GError **error) {
        return gl_operation_end_string(gl_operation_finish(self, guestlock_guest_inquire_async, result, error));
}

/**
 * guestlock_guest_inquire_sync:
 * @self: a guest
 * @cancellable: (nullable): to give up
 * @error: for what went wrong
 *
 * As [method@Guest.inquire_async], and waits for it.
 *
 * Returns: (transfer full): the string, empty where nothing was taken yet
 *
 * Since: 0.1
 */
char *guestlock_guest_inquire_sync(GuestlockGuest *self, GCancellable *cancellable, GError **error) {
        g_return_val_if_fail(GUESTLOCK_IS_GUEST(self), NULL);
        return gl_operation_end_string(gl_operation_run(inquire_op(self), cancellable, error));
}
