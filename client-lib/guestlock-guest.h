/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <gio/gunixfdlist.h>

#include <guestlock-types.h>

G_BEGIN_DECLS

#define GUESTLOCK_TYPE_GUEST (guestlock_guest_get_type())
GUESTLOCK_PUBLIC
G_DECLARE_FINAL_TYPE(GuestlockGuest, guestlock_guest, GUESTLOCK, GUEST, GObject)

GUESTLOCK_PUBLIC
GuestlockManager *guestlock_guest_get_manager(GuestlockGuest *self);
GUESTLOCK_PUBLIC
const char *guestlock_guest_get_object_path(GuestlockGuest *self);
GUESTLOCK_PUBLIC
const char *guestlock_guest_get_uuid(GuestlockGuest *self);
GUESTLOCK_PUBLIC
guint guestlock_guest_get_owner_uid(GuestlockGuest *self);
GUESTLOCK_PUBLIC
const char *guestlock_guest_get_origin(GuestlockGuest *self);
GUESTLOCK_PUBLIC
const char *guestlock_guest_get_driver(GuestlockGuest *self);
GUESTLOCK_PUBLIC
const char *guestlock_guest_get_name(GuestlockGuest *self);
GUESTLOCK_PUBLIC
guint guestlock_guest_get_id(GuestlockGuest *self);
GUESTLOCK_PUBLIC
GuestlockState guestlock_guest_get_state(GuestlockGuest *self);
GUESTLOCK_PUBLIC
gboolean guestlock_guest_get_waiting(GuestlockGuest *self);
GUESTLOCK_PUBLIC
guint guestlock_guest_get_pid(GuestlockGuest *self);
GUESTLOCK_PUBLIC
guint guestlock_guest_get_supervisor_pid(GuestlockGuest *self);
GUESTLOCK_PUBLIC
GuestlockAction guestlock_guest_get_on_lease_lost(GuestlockGuest *self);
GUESTLOCK_PUBLIC
guint64 guestlock_guest_get_generation(GuestlockGuest *self);
GUESTLOCK_PUBLIC
guint64 guestlock_guest_get_acquired_at(GuestlockGuest *self);

GUESTLOCK_PUBLIC
void guestlock_guest_set_parameter_async(GuestlockGuest *self, const char *key, GVariant *value,
                                         GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data);
GUESTLOCK_PUBLIC
gboolean guestlock_guest_set_parameter_finish(GuestlockGuest *self, GAsyncResult *result, GError **error);
GUESTLOCK_PUBLIC
gboolean guestlock_guest_set_parameter_sync(GuestlockGuest *self, const char *key, GVariant *value,
                                            GCancellable *cancellable, GError **error);

GUESTLOCK_PUBLIC
void guestlock_guest_register_resource_async(GuestlockGuest *self, GuestlockResource *resource,
                                             GCancellable *cancellable, GAsyncReadyCallback callback,
                                             gpointer user_data);
GUESTLOCK_PUBLIC
gboolean guestlock_guest_register_resource_finish(GuestlockGuest *self, GAsyncResult *result, GError **error);
GUESTLOCK_PUBLIC
gboolean guestlock_guest_register_resource_sync(GuestlockGuest *self, GuestlockResource *resource,
                                                GCancellable *cancellable, GError **error);

GUESTLOCK_PUBLIC
void guestlock_guest_acquire_async(GuestlockGuest *self, GuestlockRequest *request, GCancellable *cancellable,
                                   GAsyncReadyCallback callback, gpointer user_data);
GUESTLOCK_PUBLIC
gboolean guestlock_guest_acquire_finish(GuestlockGuest *self, GAsyncResult *result, guint64 *generation,
                                        GError **error);
GUESTLOCK_PUBLIC
gboolean guestlock_guest_acquire_sync(GuestlockGuest *self, GuestlockRequest *request, guint64 *generation,
                                      GCancellable *cancellable, GError **error);

GUESTLOCK_PUBLIC
void guestlock_guest_acquire_inherit_async(GuestlockGuest *self, GuestlockRequest *request, GPtrArray *resources,
                                           GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data);
GUESTLOCK_PUBLIC
GUnixFDList *guestlock_guest_acquire_inherit_finish(GuestlockGuest *self, GAsyncResult *result, guint64 *generation,
                                                    GError **error);
GUESTLOCK_PUBLIC
GUnixFDList *guestlock_guest_acquire_inherit_sync(GuestlockGuest *self, GuestlockRequest *request, GPtrArray *resources,
                                                  guint64 *generation, GCancellable *cancellable, GError **error);

GUESTLOCK_PUBLIC
void guestlock_guest_resume_async(GuestlockGuest *self, GuestlockRequest *request, GCancellable *cancellable,
                                  GAsyncReadyCallback callback, gpointer user_data);
GUESTLOCK_PUBLIC
gboolean guestlock_guest_resume_finish(GuestlockGuest *self, GAsyncResult *result, GError **error);
GUESTLOCK_PUBLIC
gboolean guestlock_guest_resume_sync(GuestlockGuest *self, GuestlockRequest *request, GCancellable *cancellable,
                                     GError **error);

GUESTLOCK_PUBLIC
void guestlock_guest_pause_async(GuestlockGuest *self, GCancellable *cancellable, GAsyncReadyCallback callback,
                                 gpointer user_data);
GUESTLOCK_PUBLIC
gboolean guestlock_guest_pause_finish(GuestlockGuest *self, GAsyncResult *result, GError **error);
GUESTLOCK_PUBLIC
gboolean guestlock_guest_pause_sync(GuestlockGuest *self, GCancellable *cancellable, GError **error);

GUESTLOCK_PUBLIC
void guestlock_guest_release_async(GuestlockGuest *self, GCancellable *cancellable, GAsyncReadyCallback callback,
                                   gpointer user_data);
GUESTLOCK_PUBLIC
char *guestlock_guest_release_finish(GuestlockGuest *self, GAsyncResult *result, GError **error);
GUESTLOCK_PUBLIC
char *guestlock_guest_release_sync(GuestlockGuest *self, GCancellable *cancellable, GError **error);

GUESTLOCK_PUBLIC
void guestlock_guest_inquire_async(GuestlockGuest *self, GCancellable *cancellable, GAsyncReadyCallback callback,
                                   gpointer user_data);
GUESTLOCK_PUBLIC
char *guestlock_guest_inquire_finish(GuestlockGuest *self, GAsyncResult *result, GError **error);
GUESTLOCK_PUBLIC
char *guestlock_guest_inquire_sync(GuestlockGuest *self, GCancellable *cancellable, GError **error);

GUESTLOCK_PUBLIC
void guestlock_guest_list_resources_async(GuestlockGuest *self, GCancellable *cancellable, GAsyncReadyCallback callback,
                                          gpointer user_data);
GUESTLOCK_PUBLIC
GPtrArray *guestlock_guest_list_resources_finish(GuestlockGuest *self, GAsyncResult *result, GError **error);
GUESTLOCK_PUBLIC
GPtrArray *guestlock_guest_list_resources_sync(GuestlockGuest *self, GCancellable *cancellable, GError **error);

GUESTLOCK_PUBLIC
void guestlock_guest_attach_resource_async(GuestlockGuest *self, GuestlockResource *resource, guint wait,
                                           GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data);
GUESTLOCK_PUBLIC
gboolean guestlock_guest_attach_resource_finish(GuestlockGuest *self, GAsyncResult *result, guint64 *generation,
                                                GError **error);
GUESTLOCK_PUBLIC
gboolean guestlock_guest_attach_resource_sync(GuestlockGuest *self, GuestlockResource *resource, guint wait,
                                              guint64 *generation, GCancellable *cancellable, GError **error);

GUESTLOCK_PUBLIC
void guestlock_guest_detach_resource_async(GuestlockGuest *self, GuestlockResourceType type, const char *name,
                                           GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data);
GUESTLOCK_PUBLIC
gboolean guestlock_guest_detach_resource_finish(GuestlockGuest *self, GAsyncResult *result, GError **error);
GUESTLOCK_PUBLIC
gboolean guestlock_guest_detach_resource_sync(GuestlockGuest *self, GuestlockResourceType type, const char *name,
                                              GCancellable *cancellable, GError **error);

GUESTLOCK_PUBLIC
void guestlock_guest_set_child_async(GuestlockGuest *self, guint pid, int pidfd, GCancellable *cancellable,
                                     GAsyncReadyCallback callback, gpointer user_data);
GUESTLOCK_PUBLIC
gboolean guestlock_guest_set_child_finish(GuestlockGuest *self, GAsyncResult *result, GError **error);
GUESTLOCK_PUBLIC
gboolean guestlock_guest_set_child_sync(GuestlockGuest *self, guint pid, int pidfd, GCancellable *cancellable,
                                        GError **error);

GUESTLOCK_PUBLIC
void guestlock_guest_get_child_async(GuestlockGuest *self, guint wait, GCancellable *cancellable,
                                     GAsyncReadyCallback callback, gpointer user_data);
GUESTLOCK_PUBLIC
gboolean guestlock_guest_get_child_finish(GuestlockGuest *self, GAsyncResult *result, guint *pid, GError **error);
GUESTLOCK_PUBLIC
gboolean guestlock_guest_get_child_sync(GuestlockGuest *self, guint wait, guint *pid, GCancellable *cancellable,
                                        GError **error);

GUESTLOCK_PUBLIC
void guestlock_guest_get_supervisor_command_async(GuestlockGuest *self, guint wait, gboolean keep_orphan,
                                                  const char *const *command, GCancellable *cancellable,
                                                  GAsyncReadyCallback callback, gpointer user_data);
GUESTLOCK_PUBLIC
char **guestlock_guest_get_supervisor_command_finish(GuestlockGuest *self, GAsyncResult *result, GError **error);
GUESTLOCK_PUBLIC
char **guestlock_guest_get_supervisor_command_sync(GuestlockGuest *self, guint wait, gboolean keep_orphan,
                                                   const char *const *command, GCancellable *cancellable,
                                                   GError **error);

GUESTLOCK_PUBLIC
void guestlock_guest_restrict_async(GuestlockGuest *self, GCancellable *cancellable, GAsyncReadyCallback callback,
                                    gpointer user_data);
GUESTLOCK_PUBLIC
gboolean guestlock_guest_restrict_finish(GuestlockGuest *self, GAsyncResult *result, GError **error);
GUESTLOCK_PUBLIC
gboolean guestlock_guest_restrict_sync(GuestlockGuest *self, GCancellable *cancellable, GError **error);

GUESTLOCK_PUBLIC
void guestlock_guest_revoke_async(GuestlockGuest *self, GuestlockResourceType type, const char *name,
                                  const char *reason, GuestlockRevokeFlags flags, GCancellable *cancellable,
                                  GAsyncReadyCallback callback, gpointer user_data);
GUESTLOCK_PUBLIC
gboolean guestlock_guest_revoke_finish(GuestlockGuest *self, GAsyncResult *result, GError **error);
GUESTLOCK_PUBLIC
gboolean guestlock_guest_revoke_sync(GuestlockGuest *self, GuestlockResourceType type, const char *name,
                                     const char *reason, GuestlockRevokeFlags flags, GCancellable *cancellable,
                                     GError **error);

GUESTLOCK_PUBLIC
void guestlock_guest_shutdown_async(GuestlockGuest *self, GuestlockShutdownFlags flags, GCancellable *cancellable,
                                    GAsyncReadyCallback callback, gpointer user_data);
GUESTLOCK_PUBLIC
gboolean guestlock_guest_shutdown_finish(GuestlockGuest *self, GAsyncResult *result, GError **error);
GUESTLOCK_PUBLIC
gboolean guestlock_guest_shutdown_sync(GuestlockGuest *self, GuestlockShutdownFlags flags, GCancellable *cancellable,
                                       GError **error);

GUESTLOCK_PUBLIC
void guestlock_guest_remove_async(GuestlockGuest *self, GCancellable *cancellable, GAsyncReadyCallback callback,
                                  gpointer user_data);
GUESTLOCK_PUBLIC
gboolean guestlock_guest_remove_finish(GuestlockGuest *self, GAsyncResult *result, GError **error);
GUESTLOCK_PUBLIC
gboolean guestlock_guest_remove_sync(GuestlockGuest *self, GCancellable *cancellable, GError **error);

GUESTLOCK_PUBLIC
void guestlock_guest_refresh_async(GuestlockGuest *self, GCancellable *cancellable, GAsyncReadyCallback callback,
                                   gpointer user_data);
GUESTLOCK_PUBLIC
gboolean guestlock_guest_refresh_finish(GuestlockGuest *self, GAsyncResult *result, GError **error);
GUESTLOCK_PUBLIC
gboolean guestlock_guest_refresh_sync(GuestlockGuest *self, GCancellable *cancellable, GError **error);

G_END_DECLS
