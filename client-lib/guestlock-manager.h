/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <guestlock-types.h>

G_BEGIN_DECLS

#define GUESTLOCK_TYPE_MANAGER (guestlock_manager_get_type())
GUESTLOCK_PUBLIC
G_DECLARE_FINAL_TYPE(GuestlockManager, guestlock_manager, GUESTLOCK, MANAGER, GObject)

GUESTLOCK_PUBLIC
void guestlock_manager_new_async(GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data);
GUESTLOCK_PUBLIC
GuestlockManager *guestlock_manager_new_finish(GAsyncResult *result, GError **error);
GUESTLOCK_PUBLIC
GuestlockManager *guestlock_manager_new_sync(GCancellable *cancellable, GError **error);

GUESTLOCK_PUBLIC
gboolean guestlock_manager_get_running(GuestlockManager *self);
GUESTLOCK_PUBLIC
gboolean guestlock_manager_get_interactive(GuestlockManager *self);
GUESTLOCK_PUBLIC
void guestlock_manager_set_interactive(GuestlockManager *self, gboolean interactive);
GUESTLOCK_PUBLIC
const char *guestlock_manager_get_version(GuestlockManager *self);
GUESTLOCK_PUBLIC
const char *guestlock_manager_get_host_id(GuestlockManager *self);
GUESTLOCK_PUBLIC
const char *guestlock_manager_get_host_name(GuestlockManager *self);
GUESTLOCK_PUBLIC
const char *guestlock_manager_get_default_driver(GuestlockManager *self);

GUESTLOCK_PUBLIC
void guestlock_manager_start_guest_async(GuestlockManager *self, const char *uuid, const char *name,
                                         GuestlockRequest *request, GCancellable *cancellable,
                                         GAsyncReadyCallback callback, gpointer user_data);
GUESTLOCK_PUBLIC
GuestlockGuest *guestlock_manager_start_guest_finish(GuestlockManager *self, GAsyncResult *result, GError **error);
GUESTLOCK_PUBLIC
GuestlockGuest *guestlock_manager_start_guest_sync(GuestlockManager *self, const char *uuid, const char *name,
                                                   GuestlockRequest *request, GCancellable *cancellable,
                                                   GError **error);

GUESTLOCK_PUBLIC
void guestlock_manager_run_guest_async(GuestlockManager *self, const char *uuid, const char *name,
                                       GuestlockRequest *request, const char *const *command, GCancellable *cancellable,
                                       GAsyncReadyCallback callback, gpointer user_data);
GUESTLOCK_PUBLIC
GuestlockGuest *guestlock_manager_run_guest_finish(GuestlockManager *self, GAsyncResult *result, GSubprocess **process,
                                                   GError **error);
GUESTLOCK_PUBLIC
GuestlockGuest *guestlock_manager_run_guest_sync(GuestlockManager *self, const char *uuid, const char *name,
                                                 GuestlockRequest *request, const char *const *command,
                                                 GSubprocess **process, GCancellable *cancellable, GError **error);

GUESTLOCK_PUBLIC
void guestlock_manager_create_guest_async(GuestlockManager *self, const char *uuid, const char *name,
                                          GuestlockRequest *request, GCancellable *cancellable,
                                          GAsyncReadyCallback callback, gpointer user_data);
GUESTLOCK_PUBLIC
GuestlockGuest *guestlock_manager_create_guest_finish(GuestlockManager *self, GAsyncResult *result, GError **error);
GUESTLOCK_PUBLIC
GuestlockGuest *guestlock_manager_create_guest_sync(GuestlockManager *self, const char *uuid, const char *name,
                                                    GuestlockRequest *request, GCancellable *cancellable,
                                                    GError **error);

GUESTLOCK_PUBLIC
void guestlock_manager_attach_guest_async(GuestlockManager *self, const char *uuid, guint pid,
                                          GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data);
GUESTLOCK_PUBLIC
GuestlockGuest *guestlock_manager_attach_guest_finish(GuestlockManager *self, GAsyncResult *result, GError **error);
GUESTLOCK_PUBLIC
GuestlockGuest *guestlock_manager_attach_guest_sync(GuestlockManager *self, const char *uuid, guint pid,
                                                    GCancellable *cancellable, GError **error);

GUESTLOCK_PUBLIC
void guestlock_manager_get_guest_async(GuestlockManager *self, const char *uuid, GCancellable *cancellable,
                                       GAsyncReadyCallback callback, gpointer user_data);
GUESTLOCK_PUBLIC
GuestlockGuest *guestlock_manager_get_guest_finish(GuestlockManager *self, GAsyncResult *result, GError **error);
GUESTLOCK_PUBLIC
GuestlockGuest *guestlock_manager_get_guest_sync(GuestlockManager *self, const char *uuid, GCancellable *cancellable,
                                                 GError **error);

GUESTLOCK_PUBLIC
void guestlock_manager_get_guest_by_pid_async(GuestlockManager *self, guint pid, GCancellable *cancellable,
                                              GAsyncReadyCallback callback, gpointer user_data);
GUESTLOCK_PUBLIC
GuestlockGuest *guestlock_manager_get_guest_by_pid_finish(GuestlockManager *self, GAsyncResult *result, GError **error);
GUESTLOCK_PUBLIC
GuestlockGuest *guestlock_manager_get_guest_by_pid_sync(GuestlockManager *self, guint pid, GCancellable *cancellable,
                                                        GError **error);

GUESTLOCK_PUBLIC
void guestlock_manager_who_holds_async(GuestlockManager *self, GuestlockResourceType type, const char *name,
                                       GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data);
GUESTLOCK_PUBLIC
GPtrArray *guestlock_manager_who_holds_finish(GuestlockManager *self, GAsyncResult *result, GError **error);
GUESTLOCK_PUBLIC
GPtrArray *guestlock_manager_who_holds_sync(GuestlockManager *self, GuestlockResourceType type, const char *name,
                                            GCancellable *cancellable, GError **error);

GUESTLOCK_PUBLIC
void guestlock_manager_test_acquire_async(GuestlockManager *self, const char *uuid, GuestlockRequest *request,
                                          GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data);
GUESTLOCK_PUBLIC
GPtrArray *guestlock_manager_test_acquire_finish(GuestlockManager *self, GAsyncResult *result, GError **error);
GUESTLOCK_PUBLIC
GPtrArray *guestlock_manager_test_acquire_sync(GuestlockManager *self, const char *uuid, GuestlockRequest *request,
                                               GCancellable *cancellable, GError **error);

GUESTLOCK_PUBLIC
void guestlock_manager_list_guests_async(GuestlockManager *self, GCancellable *cancellable,
                                         GAsyncReadyCallback callback, gpointer user_data);
GUESTLOCK_PUBLIC
GPtrArray *guestlock_manager_list_guests_finish(GuestlockManager *self, GAsyncResult *result, GError **error);
GUESTLOCK_PUBLIC
GPtrArray *guestlock_manager_list_guests_sync(GuestlockManager *self, GCancellable *cancellable, GError **error);

GUESTLOCK_PUBLIC
void guestlock_manager_count_async(GuestlockManager *self, GCancellable *cancellable, GAsyncReadyCallback callback,
                                   gpointer user_data);
GUESTLOCK_PUBLIC
gboolean guestlock_manager_count_finish(GuestlockManager *self, GAsyncResult *result, guint *guests, guint *leases,
                                        GError **error);
GUESTLOCK_PUBLIC
gboolean guestlock_manager_count_sync(GuestlockManager *self, guint *guests, guint *leases, GCancellable *cancellable,
                                      GError **error);

GUESTLOCK_PUBLIC
void guestlock_manager_list_drivers_async(GuestlockManager *self, GCancellable *cancellable,
                                          GAsyncReadyCallback callback, gpointer user_data);
GUESTLOCK_PUBLIC
GPtrArray *guestlock_manager_list_drivers_finish(GuestlockManager *self, GAsyncResult *result, GError **error);
GUESTLOCK_PUBLIC
GPtrArray *guestlock_manager_list_drivers_sync(GuestlockManager *self, GCancellable *cancellable, GError **error);

GUESTLOCK_PUBLIC
void guestlock_manager_load_driver_async(GuestlockManager *self, const char *name, GCancellable *cancellable,
                                         GAsyncReadyCallback callback, gpointer user_data);
GUESTLOCK_PUBLIC
gboolean guestlock_manager_load_driver_finish(GuestlockManager *self, GAsyncResult *result, GError **error);
GUESTLOCK_PUBLIC
gboolean guestlock_manager_load_driver_sync(GuestlockManager *self, const char *name, GCancellable *cancellable,
                                            GError **error);

GUESTLOCK_PUBLIC
void guestlock_manager_unload_driver_async(GuestlockManager *self, const char *name, GCancellable *cancellable,
                                           GAsyncReadyCallback callback, gpointer user_data);
GUESTLOCK_PUBLIC
gboolean guestlock_manager_unload_driver_finish(GuestlockManager *self, GAsyncResult *result, GError **error);
GUESTLOCK_PUBLIC
gboolean guestlock_manager_unload_driver_sync(GuestlockManager *self, const char *name, GCancellable *cancellable,
                                              GError **error);

G_END_DECLS
