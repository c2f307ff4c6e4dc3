/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/change.h"
#include "core/guest.h"
#include "core/quotas.h"
#include "core/obstacle.h"

/*
 * The lease service without bus, system calls or clock: guests, their resources, one
 * lock table over all drivers, states, quotas and the queue. Not thread-safe: one thread.
 *
 * A call either answers at once (it returns a value or sets ERROR), or answers
 * with a GL_CHANGE_REPLY for the request's `call`, perhaps before it returned. Bad input and
 * calls in the wrong state change nothing.
 */

/* What the core needs of the world and must not take itself. Each may be NULL. */
typedef struct {
        /* Writes the guest's state, so that a service that is killed now finds it again.
         * Called before what it says is announced or answered. */
        gboolean (*save)(const GlGuest *guest, gpointer user_data, GError **error);
        /* The guest's state is not needed any more. */
        void (*forget)(const GlGuest *guest, gpointer user_data);
        /* MODE of NODE was granted with GENERATION; kept across reboots. */
        void (*record_generation)(const GlNode *node, GlMode mode, guint64 generation, gpointer user_data);
        /* Which storage the resource is on: what is on another one is checked by itself. (borrowed) */
        const char *(*storage_of)(const GlResource *resource, gpointer user_data);
} GlCoreHooks;

/* Who asks, and when. */
typedef struct {
        guint32 uid;
        const char *sender;  /* the connection: its waiting acquires end when it leaves */
        gboolean may_manage; /* `manage` was asked for this call, and granted */
        gint64 now;          /* µs, CLOCK_BOOTTIME */
        gint64 realtime;     /* µs, CLOCK_REALTIME */
        gpointer call;       /* comes back with the reply */
} GlRequest;

typedef struct {
        const char *uuid; /* any case; checked */
        const char *name;
        guint32 owner_uid;
        guint32 id;
        const char *driver;        /* NULL: the default */
        gboolean has_on_lease_lost;
        GlLossAction on_lease_lost;
        gboolean has_require_scope;
        GlScope require_scope;
        gboolean transient; /* it goes when its guest has ended */
} GlGuestSpec;

typedef struct {
        GlResourceType type;
        const char *name;
        GlMode mode;
        GlPlace *place;  /* (borrowed) */
        GlHandle source; /* (borrowed) */
        gboolean by_descriptor;
        gboolean replace; /* takes the place of what is registered under this name and not held */
} GlResourceSpec;

typedef struct {
        GlProcessRef process; /* (borrowed) pid 0: unbound, or as it is */
        gboolean supervisor;
        gboolean register_only;
        guint32 wait_ms;
        const char *state; /* (nullable) */
} GlAcquireSpec;

/* HOST_NAME and HOST_ID go into messages and state strings. */
GlCore *gl_core_new(const GlLimits *limits, const char *host_id, const char *host_name, const GlCoreHooks *hooks,
                    gpointer user_data);
void gl_core_free(GlCore *core);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlCore, gl_core_free)

void gl_core_set_defaults(GlCore *core, const char *driver, GlLossAction on_lease_lost, GlScope require_scope);

/* What is held is checked every INTERVAL µs; 0, as at first: never. */
void gl_core_set_check_interval(GlCore *core, guint64 interval);

/* The drivers there are, with what each can do (borrowed until it is removed): see core/capabilities.h. */
void gl_core_add_driver(GlCore *core, const char *name, const char *const *capabilities);
/* GL_ERROR_DRIVER_IN_USE while any guest has leases of it, or something under way. No job is out for it then. */
gboolean gl_core_remove_driver(GlCore *core, const char *name, GError **error);
gboolean gl_core_has_driver(GlCore *core, const char *name);

/* Sorted by name. */
typedef void (*GlDriverFunc)(const char *name, const char *const *capabilities, gpointer user_data);
void gl_core_foreach_driver(GlCore *core, GlDriverFunc func, gpointer user_data);

/* What was granted before this service started: see GlCoreHooks.record_generation. */
void gl_core_set_last_generation(GlCore *core, const GlNode *node, GlMode mode, guint64 generation);

/* The next change, owned by the caller, or NULL. */
GlChange *gl_core_take_change(GlCore *core);

/* --- guests --- */

GlGuest *gl_core_create_guest(GlCore *core, const GlRequest *request, const GlGuestSpec *spec, GError **error);

/* Replies with the guest in the change. */
void gl_core_start_guest(GlCore *core, const GlRequest *request, const GlGuestSpec *spec,
                         const GlResourceSpec *resources, guint n_resources, const GlAcquireSpec *acquire);

/* UUID in any case. NULL if there is none, or it is hidden. */
GlGuest *gl_core_find_guest(GlCore *core, guint32 owner_uid, const char *uuid);
/* By the pid of the guest or its supervisor: GL_ERROR_NO_SUCH_GUEST, or GL_ERROR_INVALID_ARGS if there are several. */
GlGuest *gl_core_find_guest_by_pid(GlCore *core, guint32 pid, GError **error);

typedef void (*GlGuestFunc)(GlGuest *guest, gpointer user_data);
void gl_core_foreach_guest(GlCore *core, GlGuestFunc func, gpointer user_data);
guint gl_core_n_guests(GlCore *core);
guint gl_core_n_leases(GlCore *core);

gboolean gl_core_set_name(GlCore *core, const GlRequest *request, GlGuest *guest, const char *name, GError **error);
gboolean gl_core_set_id(GlCore *core, const GlRequest *request, GlGuest *guest, guint32 id, GError **error);
gboolean gl_core_set_on_lease_lost(GlCore *core, const GlRequest *request, GlGuest *guest, GlLossAction action,
                                   GError **error);

/* --- a guest's life; each of the void ones replies --- */

/* The checks of a registration that need no open file: to be made before opening anything. REPLACE: see
 * GlResourceSpec. */
gboolean gl_core_may_register(GlCore *core, GlGuest *guest, GlResourceType type, GlMode mode, const char *name,
                              gboolean replace, GError **error);
/* Likewise of AcquireResource: what the guest's driver cannot do. */
gboolean gl_core_may_plug(GlCore *core, const GlGuest *guest, GlResourceType type, GlMode mode, GError **error);
gboolean gl_core_register(GlCore *core, const GlRequest *request, GlGuest *guest, const GlResourceSpec *resource,
                          GError **error);

void gl_core_acquire(GlCore *core, const GlRequest *request, GlGuest *guest, const GlAcquireSpec *spec);
/*
 * RESOURCES (of GlResource, held ones of GUEST) have gone out to the holder as descriptors, so that his life keeps
 * their locks. TRUE: GL_PROPERTY_RESOURCES has changed, and is the caller's to announce, before he answers.
 */
gboolean gl_core_note_inherited(GlCore *core, GlGuest *guest, GPtrArray *resources, gint64 now, gint64 realtime);
/* GL_ERROR_NOT_SUPPORTED if the guest's driver has nothing to inherit, GL_ERROR_NO_SUCH_DRIVER if it is not loaded. */
gboolean gl_core_can_inherit(GlCore *core, const GlGuest *guest, GError **error);

void gl_core_inquire(GlCore *core, const GlRequest *request, GlGuest *guest);
void gl_core_release(GlCore *core, const GlRequest *request, GlGuest *guest);

/* Takes a new one; raises or lowers one that is held. The resource's place is ignored then. */
void gl_core_acquire_resource(GlCore *core, const GlRequest *request, GlGuest *guest, const GlResourceSpec *resource,
                              guint32 wait_ms);
void gl_core_release_resource(GlCore *core, const GlRequest *request, GlGuest *guest, GlResourceType type,
                              const char *name);

/* KEEP_ORPHAN: it is left alone when its supervisor ends, and not killed. */
gboolean gl_core_set_child(GlCore *core, const GlRequest *request, GlGuest *guest, const GlProcessRef *child,
                           gboolean keep_orphan, GError **error);
void gl_core_get_child(GlCore *core, const GlRequest *request, GlGuest *guest, guint32 wait_ms);

/*
 * A supervisor whose guest has ended is ended too; LEAVE_SUPERVISOR: it is left alone, and is the guest's no more. KILL
 * ends the guest's own process.
 */
void gl_core_shutdown(GlCore *core, const GlRequest *request, GlGuest *guest, gboolean kill,
                      gboolean leave_supervisor);
void gl_core_free_guest(GlCore *core, const GlRequest *request, GlGuest *guest);

/* Of AttachGuest: GUEST runs already, and PID, if HAS_PID, is its process or its supervisor. */
gboolean gl_core_may_attach(const GlGuest *guest, gboolean has_pid, guint32 pid, GError **error);
gboolean gl_core_restrict(GlCore *core, const GlRequest *request, GlGuest *guest, GError **error);

typedef struct {
        gboolean all;
        GlResourceType type; /* not with `all`, and so the name */
        const char *name;
        const char *reason; /* the administrator's, for people */
        gboolean kill;
        gboolean drained; /* he answers for it that nothing writes any more for a guest that has ended */
} GlRevocation;

gboolean gl_core_revoke(GlCore *core, const GlRequest *request, GlGuest *guest, const GlRevocation *revocation,
                        GError **error);

/* --- who is in the way; each replies with obstacles, and changes nothing --- */

/* What keeps anybody from having the resource of SPEC in its mode, and who uses it. Its source opens for reading. */
void gl_core_who_holds(GlCore *core, const GlRequest *request, const GlResourceSpec *spec);
/* The guests of this uuid, whoever owns them: of GlObstacle (owned by the caller). */
GPtrArray *gl_core_who_is(GlCore *core, const char *uuid);

typedef struct {
        const GlGuest *guest;      /* NULL: one that StartGuest would make, with: */
        const char *driver;        /* NULL: the default */
        gboolean has_require_scope;
        GlScope require_scope;
        GlAcquireSpec acquire;     /* only its process */
} GlTestSpec;

/* What Acquire of the guest would run into, if the resources were registered in the modes of their specs. */
void gl_core_test_acquire(GlCore *core, const GlRequest *request, const GlTestSpec *test,
                          const GlResourceSpec *resources, guint n_resources);

/* --- what happens by itself; NOW as in a request --- */

void gl_core_job_done(GlCore *core, GlJob *job, gint64 now, gint64 realtime);
void gl_core_process_gone(GlCore *core, guint32 pid, guint64 start_time, gint64 now, gint64 realtime);
/* It may not be signalled with the rights of the guest's owner. */
void gl_core_process_refused(GlCore *core, guint32 pid, guint64 start_time, gint64 now, gint64 realtime);
void gl_core_caller_gone(GlCore *core, const char *sender, gint64 now, gint64 realtime);
/* When gl_core_tick() wants to be called at the latest, in the time of `now`; G_MAXINT64: never. */
gint64 gl_core_next_tick(GlCore *core);
void gl_core_tick(GlCore *core, gint64 now, gint64 realtime);

/* --- after a restart of the service --- */

/*
 * Puts a guest back as its state file has it, with nothing taken; takes over what RECORD owns (name,
 * resources, processes) and leaves the rest of it to the caller to free. Origin becomes `adopted`.
 * Its processes must be known to live (pid 0 otherwise).
 */
GlGuest *gl_core_restore_guest(GlCore *core, GlGuest *record, GError **error);
/* Takes again what the restored guest held; what cannot be had is lost. Replies to CALL when it is done. */
void gl_core_retake(GlCore *core, GlGuest *guest, gpointer call, gint64 now, gint64 realtime);

/* A guest that belongs to no core, for the store to fill; and the end of it. */
GlGuest *gl_guest_record_new(void);
void gl_guest_record_free(GlGuest *record);
GlResource *gl_guest_record_add_resource(GlGuest *record);
