/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "manager-guests.h"

#include "manager.h"
#include "request.h"
#include "resource.h"
#include "resource-calls.h"

/*
 * Making guests. A call of each kind gives a path; what is there is asked for then, so that who gets a
 * guest gets it with its properties. One that ended before that is gone, and no error.
 */

static gboolean loaded(GlOperation *op, GVariant *reply, GError **error) {
        g_autoptr(GVariant) properties = reply ? g_variant_get_child_value(reply, 0) : NULL;

        op->result = G_OBJECT(gl_manager_have_guest(op->manager, op->path, properties));
        return TRUE;
}

void gl_add_loading(GlOperation *op) {
        GlCall *call = gl_operation_add(op, GL_PROPERTIES, NULL, "GetAll", g_variant_new("(s)", GL_GUEST), NULL);

        call->then = loaded;
        call->accepts = GL_BIT(UNKNOWN_OBJECT);
}

gboolean gl_found(GlOperation *op, GVariant *reply, GError **error) {
        g_variant_get_child(reply, 0, "o", &op->path);
        return TRUE;
}

/* --- making one step by step: what StartGuest does not carry, or is not to be taken at once --- */

/* From here on there is something to undo. */
static gboolean made(GlOperation *op, const char *path) {
        op->path = g_strdup(path);
        for (gsize i = 0; i < 2; i++)
                g_queue_push_tail(&op->undo, gl_call_new(GL_GUEST, path, (const char *[]){"Release", "Free"}[i],
                                                         g_variant_new_parsed("(@a{sv} {},)"), NULL));
        return TRUE;
}

static gboolean found_in_list(GlOperation *op, GVariant *reply, GError **error) {
        g_autoptr(GVariant) list = g_variant_get_child_value(reply, 0);

        for (gsize i = 0; i < g_variant_n_children(list); i++) {
                const char *uuid, *path;
                guint owner;

                g_variant_get_child(list, i, "(&s&s&suu&o)", &uuid, NULL, NULL, NULL, &owner, &path);
                if (owner == op->owner && !g_ascii_strcasecmp(uuid, op->uuid)) {
                        return made(op, path);
                }
        }
        g_set_error(error, GUESTLOCK_ERROR, GUESTLOCK_ERROR_NO_SUCH_GUEST,
                    "The guest %s was created, and has been removed since.", op->uuid);
        return FALSE;
}

/* Without a reply: it was made by the call whose reply was lost, and has to be found. */
static gboolean created(GlOperation *op, GVariant *reply, GError **error) {
        const char *path;
        GlCall *call;

        if (reply) {
                g_variant_get(reply, "(&o)", &path);
                return made(op, path);
        }
        if (op->has_owner)
                call = gl_call_new(GL_MANAGER, GL_ROOT, "ListGuests", g_variant_new_parsed("(@a{sv} {},)"), NULL);
        else
                call = gl_call_new(GL_MANAGER, GL_ROOT, "GetGuest", g_variant_new("(s)", op->uuid), NULL);
        call->then = op->has_owner ? found_in_list : created;
        g_queue_push_head(&op->calls, call);
        return TRUE;
}

/* Those options, as the floating last argument of a call; what is wrong with them fails the operation. */
static GVariant *options_of(GlOperation *op, GuestlockRequest *request, GlRequestPart parts, GUnixFDList *fds) {
        GVariantDict options;
        GError *error = NULL;

        g_variant_dict_init(&options, NULL);
        if (!gl_request_options(request, parts, &options, fds, &error))
                gl_operation_fail(op, error);
        return g_variant_dict_end(&options);
}

static void add_acquiring(GlOperation *op, GuestlockRequest *request) {
        GUnixFDList *fds = g_unix_fd_list_new();
        GVariant *options = options_of(op, request, GL_REQUEST_ACQUIRE, fds);

        gl_operation_add(op, GL_GUEST, NULL, "Acquire", g_variant_new("(@a{sv})", options), fds)->waits =
                gl_request_waits(request);
}

/* A guest that is started goes with what it was started for; one that is created stays. */
static GVariant *options_of_new(GlOperation *op, GuestlockRequest *request, gboolean starts) {
        g_autoptr(GVariant) options = g_variant_ref_sink(options_of(op, request, GL_REQUEST_CREATE, NULL));
        GVariantDict extended;

        g_variant_dict_init(&extended, options);
        if (starts && !gl_request_keeps(request))
                g_variant_dict_insert(&extended, "keep", "b", FALSE);
        return g_variant_dict_end(&extended);
}

GlOperation *gl_creating(GuestlockManager *self, const char *uuid, const char *name, GuestlockRequest *request,
                         gboolean starts) {
        GlOperation *op = gl_operation_new(self, NULL);
        GPtrArray *resources = gl_request_resources(request);
        GVariant *options = options_of_new(op, request, starts);
        GlCall *call;

        op->uuid = g_strdup(gl_operation_text(op, uuid));
        op->has_owner = gl_request_owner(request, &op->owner);
        call = gl_operation_add(op, GL_MANAGER, GL_ROOT, "CreateGuest",
                                g_variant_new("(ss@a{sv})", op->uuid, gl_operation_text(op, name), options), NULL);
        call->then = created;
        call->settled_by = GL_BIT(ALREADY_EXISTS);
        for (guint i = 0; resources && i < resources->len; i++)
                gl_add_registering(op, NULL, resources->pdata[i]);
        return op;
}

static GlOperation *create_guest_op(GuestlockManager *self, const char *uuid, const char *name,
                                    GuestlockRequest *request) {
        GlOperation *op = gl_creating(self, uuid, name, request, FALSE);

        gl_add_loading(op);
        return op;
}

static GlOperation *start_in_steps(GuestlockManager *self, const char *uuid, const char *name,
                                   GuestlockRequest *request) {
        GlOperation *op = gl_creating(self, uuid, name, request, TRUE);

        /* Nothing is taken of one that begins paused, and nothing is to be done without a process to bind. */
        if (!gl_request_is_paused(request) || gl_request_has_process(request))
                add_acquiring(op, request);
        gl_add_loading(op);
        return op;
}

static GlOperation *start_guest_op(GuestlockManager *self, const char *uuid, const char *name,
                                   GuestlockRequest *request) {
        GUnixFDList *fds;
        GlOperation *op;
        GVariant *options, *resources;
        GlCall *call;

        if (gl_request_needs_steps(request))
                return start_in_steps(self, uuid, name, request);
        op = gl_operation_new(self, NULL);
        fds = g_unix_fd_list_new();
        options = options_of(op, request, GL_REQUEST_ALL, fds);
        resources = gl_list_of_resources(op, gl_request_resources(request), fds);
        call = gl_operation_add(op, GL_MANAGER, GL_ROOT, "StartGuest",
                                g_variant_new("(ss@a(sssa{sv})@a{sv})", gl_operation_text(op, uuid),
                                              gl_operation_text(op, name), resources, options),
                                fds);
        call->then = gl_found;
        call->waits = gl_request_waits(request);
        gl_add_loading(op);
        return op;
}

/**
 * guestlock_manager_start_guest_async:
 * @self: a manager
 * @uuid: the guest's uuid
 * @name: its name, for people
 * @request: (nullable): what to ask for
 * @cancellable: (nullable): to give up
 * @callback: called when it has ended
 * @user_data: for @callback
 *
 * Starts a guest: makes it known, registers the resources of @request and takes them, all or nothing; nothing stays
 * behind of a start that fails. Call it before the guest can use its disks.
 *
 * Repeated while the guest runs with the same process and the same resources, it succeeds again.
 *
 * A call that is cancelled may have been granted in the same moment. Who has to know starts the guest again, or
 * looks at it with [method@Manager.get_guest_async].
 *
 * Since: 0.1
 */
void guestlock_manager_start_guest_async(GuestlockManager *self, const char *uuid, const char *name,
                                         GuestlockRequest *request, GCancellable *cancellable,
                                         GAsyncReadyCallback callback, gpointer user_data) {
        g_return_if_fail(GUESTLOCK_IS_MANAGER(self));
        g_return_if_fail(uuid && name);
        g_return_if_fail(!request || GUESTLOCK_IS_REQUEST(request));
        gl_operation_begin(start_guest_op(self, uuid, name, request), self, guestlock_manager_start_guest_async,
                           cancellable, callback, user_data);
}

/**
 * guestlock_manager_start_guest_finish:
 * @self: a manager
 * @result: what the callback got
 * @error: for what went wrong
 *
 * Returns: (transfer full): the guest
 *
 * Since: 0.1
 */
GuestlockGuest *guestlock_manager_start_guest_finish(GuestlockManager *self, GAsyncResult *result, GError **error) {
        return gl_operation_end_object(gl_operation_finish(self, guestlock_manager_start_guest_async, result, error));
}

/**
 * guestlock_manager_start_guest_sync:
 * @self: a manager
 * @uuid: the guest's uuid
 * @name: its name, for people
 * @request: (nullable): what to ask for
 * @cancellable: (nullable): to give up
 * @error: for what went wrong
 *
 * As [method@Manager.start_guest_async], and waits for it.
 *
 * Returns: (transfer full): the guest
 *
 * Since: 0.1
 */
GuestlockGuest *guestlock_manager_start_guest_sync(GuestlockManager *self, const char *uuid, const char *name,
                                                   GuestlockRequest *request, GCancellable *cancellable,
                                                   GError **error) {
        g_return_val_if_fail(GUESTLOCK_IS_MANAGER(self), NULL);
        g_return_val_if_fail(uuid && name, NULL);
        g_return_val_if_fail(!request || GUESTLOCK_IS_REQUEST(request), NULL);
        return gl_operation_end_object(gl_operation_run(start_guest_op(self, uuid, name, request), cancellable, error));
}

/**
 * guestlock_manager_create_guest_async:
 * @self: a manager
 * @uuid: the guest's uuid
 * @name: its name, for people
 * @request: (nullable): what to ask for
 * @cancellable: (nullable): to give up
 * @callback: called when it has ended
 * @user_data: for @callback
 *
 * Makes a guest known and registers the resources of @request, and takes nothing: that is what
 * [method@Guest.acquire_async] does. What @request says about acquiring has no meaning here.
 *
 * Since: 0.1
 */
void guestlock_manager_create_guest_async(GuestlockManager *self, const char *uuid, const char *name,
                                          GuestlockRequest *request, GCancellable *cancellable,
                                          GAsyncReadyCallback callback, gpointer user_data) {
        g_return_if_fail(GUESTLOCK_IS_MANAGER(self));
        g_return_if_fail(uuid && name);
        g_return_if_fail(!request || GUESTLOCK_IS_REQUEST(request));
        gl_operation_begin(create_guest_op(self, uuid, name, request), self, guestlock_manager_create_guest_async,
                           cancellable, callback, user_data);
}

/**
 * guestlock_manager_create_guest_finish:
 * @self: a manager
 * @result: what the callback got
 * @error: for what went wrong
 *
 * Returns: (transfer full): the guest
 *
 * Since: 0.1
 */
GuestlockGuest *guestlock_manager_create_guest_finish(GuestlockManager *self, GAsyncResult *result, GError **error) {
        return gl_operation_end_object(gl_operation_finish(self, guestlock_manager_create_guest_async, result, error));
}

/**
 * guestlock_manager_create_guest_sync:
 * @self: a manager
 * @uuid: the guest's uuid
 * @name: its name, for people
 * @request: (nullable): what to ask for
 * @cancellable: (nullable): to give up
 * @error: for what went wrong
 *
 * As [method@Manager.create_guest_async], and waits for it.
 *
 * Returns: (transfer full): the guest
 *
 * Since: 0.1
 */
GuestlockGuest *guestlock_manager_create_guest_sync(GuestlockManager *self, const char *uuid, const char *name,
                                                    GuestlockRequest *request, GCancellable *cancellable,
                                                    GError **error) {
        g_return_val_if_fail(GUESTLOCK_IS_MANAGER(self), NULL);
        g_return_val_if_fail(uuid && name, NULL);
        g_return_val_if_fail(!request || GUESTLOCK_IS_REQUEST(request), NULL);
        return gl_operation_end_object(
                gl_operation_run(create_guest_op(self, uuid, name, request), cancellable, error));
}
