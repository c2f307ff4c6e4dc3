/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/core.h"
#include "core/error.h"
#include "core/names.h"
#include "core/state-string.h"
#include "core/table.h"

/*
 * Inside the core. A request that cannot be answered at once becomes an operation. An operation is *parked* while it
 * waits for something (a claim to go, a resource's job to come back, time to pass) and is tried again, in the order
 * in which operations came, whenever something changed; or it has jobs out, and goes on when they come
 * back. It never holds anything while it is parked, so there is no cycle of operations that wait for each other.
 */

typedef struct GlOp GlOp;
typedef struct GlOpKind GlOpKind;

struct GlOpKind {
        const char *name;
        /* Called while parked: goes on, ends the operation, or leaves it parked. */
        void (*attempt)(GlCore *core, GlOp *op);
        /* (nullable: it sends none out) A job came back. RESOURCES are those of the job's targets, in their order. */
        void (*job_done)(GlCore *core, GlOp *op, GlJob *job, GPtrArray *resources);
        /* (nullable) It has failed, and has nothing out any more: whatever it brought with it goes. */
        void (*failed)(GlCore *core, GlOp *op);
        /* It asks nothing of the guest's driver, whatever comes of it. */
        gboolean without_driver;
};

struct GlOp {
        const GlOpKind *kind;
        GlGuest *guest;
        gpointer call; /* (nullable) who is told; NULL also once it was */
        char *sender;
        guint32 uid;

        GPtrArray *resources; /* of GlResource (borrowed): what it is about */
        GlProcessRef process; /* (owned) to be bound */
        GlProcessRole role;
        GlStateString *state; /* (owned) (nullable) */
        gboolean has_mode;    /* `mode` is asked for, whatever the resource is registered in */
        GlMode mode;
        GlReleaseReason reason;
        gint64 slow_at;       /* when a drain has taken long enough to be told of; 0: it was */
        gint64 audit_at;      /* and long enough to look for who is in its way; 0: that was done */
        GString *last_state;  /* (owned) (nullable) of an exit: the state string so far */
        gboolean register_only;
        gboolean brings;    /* its resource was not there before, and goes if it fails */
        gboolean changing_back; /* the change of mode is being undone */

        gint64 deadline;    /* of the caller's wait-ms; 0: does not wait */
        gint64 brief_until; /* how long a brief obstacle is waited for; 0: none met yet */
        gint64 asked_at;    /* when its last job went out: what that found may be over by the time of the answer */
        gint64 settle_until; /* how long something of our own that is about to be over is; 0: none met yet */
        gint64 retry_at;    /* tried again at the latest; 0: when something changed */
        gint64 not_before;  /* nor earlier: only asking again tells, and not too often */
        guint32 refused;    /* a process that it has to end and may not signal; 0: none */
        gboolean waiting;   /* announced as waiting in the queue */
        GPtrArray *regained; /* (owned) (nullable) of GlResource (borrowed): lost, and their locks are still ours */
        char *in_the_way;   /* (nullable) the sentence of the last conflict */
        GError *cancelled;  /* (nullable) give back what the jobs bring, and end with this */

        guint n_jobs; /* out */
        gboolean parked;
        GList link; /* in core->ops */
};

/* What the core knows of a guest beyond what others may read. */
typedef struct {
        guint properties; /* changed and not announced */
        guint n_ops;
        guint n_jobs;
        gboolean removing;  /* goes as soon as no operation is left */
        gboolean exiting;   /* its processes are gone, its leases not yet */
        gboolean releasing; /* Release or Shutdown has jobs out */
        gboolean unsaved;   /* its state file is not what it should be: that is tried again */
        gint64 released_at; /* monotonic */
} GlGuestData;

struct GlCore {
        GlLimits limits;
        char *host_id;
        char *host_name;
        GlCoreHooks hooks;
        gpointer user_data;
        char *default_driver;
        GlLossAction default_on_lease_lost;
        GlScope default_require_scope;

        GHashTable *drivers;  /* name → capabilities (borrowed) */
        GHashTable *guests;   /* key "<uid>/<uuid>" → GlGuest (owned) */
        GHashTable *starting; /* the same, of hidden ones */
        GHashTable *owners;   /* uid → GPtrArray of GlGuest (borrowed) */
        GHashTable *pids;     /* pid → GPtrArray of GlGuest (borrowed) */
        GHashTable *last_generations; /* GlNode → GlLastGeneration */
        guint64 last_generation;
        guint64 forgotten; /* what is not in last_generations may have been granted until this one */
        GlTable *table;
        GlTable *ahead; /* during a round: what the earlier waiters want */

        GQueue changes;     /* of GlChange */
        GQueue ops;         /* of GlOp, by their links, in the order of arrival */
        GQueue outstanding; /* of GlOutstanding, oldest first */
        GQueue looks;       /* of who.c's, oldest first */
        GPtrArray *dirty;   /* of GlGuest: properties to announce */
        guint64 last_job;
        gint64 now, realtime;
        guint64 check_interval; /* µs; 0: never */
        gint64 check_at;        /* 0: nothing to check yet */
        gint64 save_at;         /* when what could not be saved is tried again; 0: there is nothing */
        GHashTable *lanes;      /* of check.c, by their keys */
        GPtrArray *audits;      /* of audit.c: those that are out */
        gboolean audit_again;   /* another one is wanted when they are back */
        guint n_leases;
        gboolean again; /* something changed that a parked operation may wait for */
        guint depth;    /* of gl_core_enter() */
};

typedef struct {
        GlNode node;
        guint64 exclusive; /* of all of it */
        guint64 shared;
        GArray *parts; /* (owned) (nullable) generations.c's own */
} GlLastGeneration;

static inline GlGuestData *gl_guest_data(const GlGuest *guest) {
        return guest->core_data;
}

/*
 * Around everything that the outer rooms call: keeps the time, and on leaving serves what is parked and announces
 * properties.
 */
void gl_core_enter(GlCore *core, gint64 now, gint64 realtime);
void gl_core_leave(GlCore *core);

/* --- changes --- */
GlChange *gl_core_emit(GlCore *core, GlChangeKind kind, GlGuest *guest);
void gl_core_touch(GlCore *core, GlGuest *guest, guint properties);
void gl_core_announce_properties(GlCore *core, GlGuest *guest);
GArray *gl_items_of(GPtrArray *resources);
void gl_core_announce_released(GlCore *core, GlGuest *guest, GPtrArray *resources, GlReleaseReason reason);
/* Answers a request that no operation was made of. */
void gl_core_reply_error(GlCore *core, const GlRequest *request, GError *error /* owned by the callee */);

/* --- guests --- */
void gl_guest_set_state(GlCore *core, GlGuest *guest, GlGuestState state);
/* Without ERROR what is to be saved has happened already: it is tried again until it succeeds. */
gboolean gl_guest_save(GlCore *core, GlGuest *guest, GError **error);
void gl_core_save_again(GlCore *core);
void gl_guest_bind(GlCore *core, GlGuest *guest, GlProcessRole role, const GlProcessRef *process);
void gl_guest_unbind(GlCore *core, GlGuest *guest, GlProcessRole role);
/* SIGNAL to its process in ROLE, if it has one. */
void gl_guest_signal(GlCore *core, GlGuest *guest, GlProcessRole role, int signal);
void gl_guest_insert(GlCore *core, GlGuest *guest);
/* Takes it off the bus; it is freed with the change. Only without operations. */
void gl_guest_remove(GlCore *core, GlGuest *guest);
/* The same when another one takes its place, and its state file. */
void gl_guest_replace(GlCore *core, GlGuest *guest);
/* A hidden one. REQUEST is NULL for one that was there before: no limit keeps it out, and nobody asks for it. */
GlGuest *gl_guest_new_from_spec(GlCore *core, const GlRequest *request, const GlGuestSpec *spec, GError **error);
void gl_guest_discard(GlCore *core, GlGuest *guest); /* a hidden one */
/* UID's, with the hidden ones: of GlGuest (borrowed) (nullable: there are none). */
GPtrArray *gl_core_guests_of(GlCore *core, guint32 uid);
/* "Guest "web1" (uuid)" (owned by the caller) */
char *gl_guest_describe(const GlGuest *guest);
/* GL_ERROR_BAD_STATE: "Guest … is in state held: WHY." */
gboolean gl_guest_refuse(const GlGuest *guest, GError **error, const char *why);

/* --- drivers --- */
gboolean gl_core_driver_can(GlCore *core, const char *driver, const char *capability);
/* Its driver is guest-only: it is held or not as a whole, and its resources stay registered. */
gboolean gl_guest_is_leased_alone(GlCore *core, const GlGuest *guest);
/* GL_ERROR_NO_SUCH_DRIVER while the guest's driver is not loaded. */
gboolean gl_core_check_driver(GlCore *core, const GlGuest *guest, GError **error);
/* Besides, GL_ERROR_NOT_SUPPORTED if it knows the type or the mode not. */
gboolean gl_core_driver_takes(GlCore *core, const GlGuest *guest, GlResourceType type, GlMode mode, GError **error);
/* Besides, GL_ERROR_STORAGE_UNAVAILABLE where what it leases cannot have the guest's scope. */
gboolean gl_core_driver_can_lease(GlCore *core, const GlGuest *guest, GError **error);
/* The scope-reason of a resource that the guest's driver ignores (owned by the caller). */
char *gl_core_why_ignored(const GlGuest *guest);

/* --- quotas: GL_ERROR_LIMIT_EXCEEDED --- */
/* One guest more of UID's. Where that is one too many, one that was released for long makes room if it can. */
gboolean gl_core_check_guest_quota(GlCore *core, guint32 uid, GError **error);
/* Whether that would succeed. */
gboolean gl_core_has_guest_quota(GlCore *core, guint32 uid, GError **error);
/* MORE bytes of names and paths in GUEST. */
gboolean gl_guest_check_byte_quota(GlCore *core, const GlGuest *guest, gsize more, GError **error);
/* OP's guest, if it would hold leases without a process; and GUEST, with PID or the process that it has. */
gboolean gl_op_check_unbound_quota(GlCore *core, GlOp *op, GError **error);
gboolean gl_guest_check_unbound_quota(GlCore *core, const GlGuest *guest, guint32 pid, GError **error);

/* --- generations --- */
guint64 gl_core_draw_generation(GlCore *core);
/* The one that would be drawn now. */
guint64 gl_core_next_generation(const GlCore *core);
/* What the driver has found out about generations while it did JOB. */
void gl_core_note_job_generations(GlCore *core, const GlJob *job);
/* The one that what JOB took is granted with. */
guint64 gl_core_generation_of_job(GlCore *core, const GlJob *job);
/* FALSE: nothing is known. Of whatever overlaps PLACE on its node. */
gboolean gl_core_last_generation(GlCore *core, const GlPlace *place, guint64 *exclusive, guint64 *shared);
void gl_core_note_generation(GlCore *core, const GlNode *node, GlExtent extent, GlMode mode, guint64 generation);
void gl_last_generation_free(gpointer last);

/* --- resources --- */
gboolean gl_core_add_resource(GlCore *core, GlGuest *guest, guint32 uid, const GlResourceSpec *spec, GError **error);
void gl_guest_remove_resource(GlCore *core, GlGuest *guest, GlResource *resource);
void gl_resource_free(gpointer resource);
/* The resource's lease is the table's no more. */
void gl_resource_drop_claim(GlCore *core, GlResource *resource);
/* The lease that a driver took, and what it said of it. */
void gl_resource_take_lease(GlResource *resource, const GlTarget *target);
void gl_resource_set_state(GlCore *core, GlResource *resource, GlResourceState state);
static inline gboolean gl_resource_is_busy(const GlResource *resource) {
        return resource->job != 0 || resource->retaking;
}
/* Whether its row in the table goes with what was taken for it; what is lost stays blocked. */
static inline gboolean gl_resource_may_be_free(const GlResource *resource) {
        return resource->state == GL_RESOURCE_REGISTERED || resource->unblocked;
}
/* Whether any of the guest's has something out, or is in STATE. */
gboolean gl_guest_any_busy(const GlGuest *guest);
gboolean gl_guest_any_in(const GlGuest *guest, GlResourceState state);
/* Those in STATE: of GlResource (borrowed); the array is the caller's. */
GPtrArray *gl_guest_resources_in(const GlGuest *guest, GlResourceState state);
/* One that was lost, and is unplugged: it is not listed any more, and blocks others until the guest's end. */
void gl_guest_make_ghost(GlCore *core, GlGuest *guest, GlResource *resource);
void gl_guest_drop_ghosts(GlCore *core, GlGuest *guest);

/* --- operations --- */
GlOp *gl_op_new(GlCore *core, const GlOpKind *kind, const GlRequest *request, GlGuest *guest);
/* Tries it now, or as soon as those before it allow. */
void gl_op_submit(GlCore *core, GlOp *op);
/*
 * Answers; the operation goes on if it has jobs out, else it is freed. PID is GetChild's, TEXT Release's, GENERATION
 * the acquires'.
 */
void gl_op_fail(GlCore *core, GlOp *op, GError *error /* owned by the callee */);
void gl_op_succeed(GlCore *core, GlOp *op, guint64 generation, char *text /* owned by the callee */, guint32 pid);
void gl_op_free(GlCore *core, GlOp *op);
/* Ends every operation of the guest that OTHERS says; each with GL_ERROR_CANCELLED and WHY. */
typedef gboolean (*GlOpFilter)(const GlOp *op, gconstpointer data);
/* Not while parked operations are being tried. */
void gl_ops_cancel(GlCore *core, GlOpFilter filter, gconstpointer data, const char *why);
/* Parks it until something changes, or RETRY_AT (0: never). */
void gl_op_park(GlOp *op, gint64 retry_at);
/*
 * Parks it because of something of our own that is about to be over; ends it with GL_ERROR_STORAGE_UNAVAILABLE if that
 * takes too long.
 */
void gl_op_settle(GlCore *core, GlOp *op);

/* Ends OP if its guest is about to go. */
gboolean gl_op_ends_with_guest(GlCore *core, GlOp *op);

static inline GlMode gl_op_mode(const GlOp *op, const GlResource *resource) {
        return op->has_mode ? op->mode : resource->mode;
}
/* Sends a job for RESOURCES out. */
/* What a driver has to know of a lease that is there: what it is of, and how it is held. */
void gl_target_set_lease(GlTarget *target, const GlResource *resource);
GlJob *gl_op_new_job(GlCore *core, GlOp *op, GlJobKind kind, GPtrArray *resources);
void gl_op_start_job(GlCore *core, GlOp *op, GlJob *job);
void gl_core_forget_jobs(GlCore *core);

/* --- losses (loss.c) --- */
/*
 * RESOURCES of one guest, which are held, are lost: that is saved, announced, and acted on, with the guest's own action
 * or with KILL. None, of a guest that is leased alone: so is the guest.
 */
void gl_core_lose(GlCore *core, GlGuest *guest, GPtrArray *resources, GlLossReason reason, const char *message,
                  gboolean kill);
/* Goes on with what an earlier service has begun. */
void gl_core_resume_kill(GlCore *core, GlGuest *guest);
/* SIGTERM to the guest's processes, and SIGKILL to what still lives 5 s later. */
void gl_core_ask_to_end(GlCore *core, GlGuest *guest);
/* Acts on a loss of before once more. */
void gl_core_kill_for_loss(GlCore *core, GlGuest *guest);
/* The same with the guest's own action: whoever saved the loss may have been killed before it acted. */
void gl_core_act_on_loss(GlCore *core, GlGuest *guest);

/* --- the periodic check (check.c) --- */
/* When the next one is due; G_MAXINT64: never. */
gint64 gl_core_next_check(GlCore *core);
void gl_core_begin_check(GlCore *core);
void gl_core_check_done(GlCore *core, GlJob *job);
gboolean gl_core_is_checking(GlCore *core, const char *driver);
GHashTable *gl_core_lanes_new(void);

/* --- the audit (audit.c) --- */
/* Looks, for all leases together, for who else has them open. */
void gl_core_begin_audit(GlCore *core);
void gl_core_audit_done(GlCore *core, GlJob *job);
gboolean gl_core_is_auditing(GlCore *core, const char *driver);
GPtrArray *gl_core_audits_new(void);
/* --- looking at who is in the way (who.c) --- */
/* When the next one has taken too long; G_MAXINT64: never. */
gint64 gl_core_next_overdue_look(GlCore *core);
void gl_core_fail_overdue_looks(GlCore *core);
void gl_core_look_done(GlCore *core, GlJob *job);
gboolean gl_core_is_looking(GlCore *core, const char *driver);
void gl_core_forget_looks(GlCore *core);
/* What is known of CLAIM, which is in the way of PLACE, known as NAME (owned by the caller). */
GlObstacle *gl_core_obstacle_of(GlCore *core, const GlClaim *claim, const GlPlace *place, const char *name);

/* --- giving back, from anywhere --- */
/* Gives RESOURCES back in the background and drops their claims then; with REMOVE the resources go too. */
void gl_core_undo(GlCore *core, GlGuest *guest, GPtrArray *resources, gboolean remove);
/* The guest's processes are gone: drain, then release. */
void gl_core_begin_exit(GlCore *core, GlGuest *guest);
/* RESOURCE, which OP has no use for any more, goes, unless another AcquireResource of it is under way. */
void gl_core_remove_unless_wanted(GlCore *core, GlOp *op, GlResource *resource);
/* Whether the operation is an acquire that Release, Shutdown and Free cancel: any of acquire-private.h's kinds. */
gboolean gl_op_is_acquire(const GlOp *op);
