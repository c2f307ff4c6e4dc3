/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "bus/bus.h"
#include "bus/callers.h"
#include "core/error.h"
#include "process/process.h"
#include "storage/source.h"

/*
 * A call on its way: read, its caller known, its turn come, what it names found and opened, authorised, carried out by
 * the core, answered. Calls of one connection on one guest have their turn one after the other, so that they take
 * effect in the order sent however long each authorisation takes; an acquire that waits lets the next one go on.
 */

typedef struct GlCall GlCall;

/* What an owner needs for the call; everybody else needs `manage` for all but NOTHING. */
typedef enum {
        GL_RIGHT_NOTHING, /* everybody may */
        GL_RIGHT_OWN,     /* to be the owner: looking, giving back */
        GL_RIGHT_CHANGE,  /* the same, but `manage` where the guest is restricted: changing its leases */
        GL_RIGHT_INSPECT, /* the action `inspect` */
        GL_RIGHT_ACQUIRE, /* the action `acquire`, or `manage` likewise */
        GL_RIGHT_REVOKE,  /* the action `revoke`, also of the owner */
        GL_RIGHT_LOAD_DRIVER, /* about no guest: the action `load-driver`, whoever asks */
} GlRight;

typedef struct {
        const char *name;
        GlRight right;
        /* Arguments from the message into the call; checks that need neither state nor caller. */
        gboolean (*read)(GlCall *call, GError **error);
        /* (nullable) Its turn has come: checks before anything is opened. call->guest is set for a guest's method. */
        gboolean (*prepare)(GlCall *call, GError **error);
        /* The one call into the core: ends in gl_call_reply(), gl_call_fail(), or later with a GL_CHANGE_REPLY. */
        void (*run)(GlCall *call);
        /* (nullable: an empty reply) Fills REPLY in with what the core answered. */
        int (*fill)(GlCall *call, const GlChange *answer, sd_bus_message *reply);
} GlMethod;

/* A resource that the call names. */
typedef struct {
        GlCall *call;
        GlResourceType type;
        GlMode mode;
        const char *name; /* (borrowed from the message) */
        const char *path; /* what is opened: the name itself, or a lease's option; NULL with a descriptor */
        int fd;           /* (borrowed) -1: by path */
        GlExtent extent;
        GlResolving *resolving; /* (nullable) under way */
        GlSource *source;       /* (owned) (nullable) found */
} GlWanted;

/* Everything a method may take; strings and descriptors are the message's. */
typedef struct {
        const char *uuid;
        const char *name;
        guint32 id;
        guint32 pid;
        int pidfd;
        gboolean has_pid, has_pidfd;
        const char *driver, *on_lease_lost, *require_scope, *state;
        gboolean has_driver, has_on_lease_lost, has_require_scope, has_owner_uid;
        const char *mode; /* of what is only looked at */
        guint32 owner_uid;
        guint32 wait_ms;
        gboolean supervisor, register_only, keep, has_keep, kill, drained, replace;
        const char *orphan;    /* of SetChild: "keep" or "end", when its supervisor ends */
        const char *left_over; /* of Shutdown: "leave" or "end", a supervisor */
        gboolean has_orphan, has_left_over;
        gboolean keep_orphan, leave_supervisor; /* what these say */
        GlLossAction loss_action;
        GlScope scope;
        GPtrArray *resources; /* (owned) (nullable) type and name, one after the other */
        GlResourceType type; /* of a resource that is only named */
        gboolean all;        /* of a Revoke */
        const char *reason;
        const char *parameter;
        guint32 parameter_number;
        gboolean has_parameter_number;
} GlArguments;

struct GlCall {
        GlBus *bus;
        const GlMethod *method;
        sd_bus_message *message; /* (owned) */
        GlCaller *caller;        /* (owned) (nullable) until known */
        GlArguments arguments;
        GArray *wanted; /* of GlWanted */
        GArray *named;  /* (owned) (nullable) of GlResourceName: those that AcquireInherit names */
        GError *failure; /* (owned) (nullable) what METHOD->fill found: the answer instead */
        guint n_resolving;

        gboolean on_guest;  /* a method of a Guest object */
        char uuid[37];      /* of the guest that it is about; "" if none in particular */
        guint32 owner_uid;  /* of that guest */
        GlGuest *guest;     /* (borrowed) looked up anew for prepare and run */
        GlProcess *process; /* (owned) (nullable) the one that it names */

        GPtrArray *questions; /* of GStrv: action, then pairs of key and value */
        guint question;       /* the one being asked */
        GPtrArray *challenged; /* of GStrv (borrowed) */
        GlQuery *query;        /* (nullable) under way */
        gboolean may_manage;

        gboolean counted;  /* in bus->n_calls */
        gboolean queued;   /* in its caller's queue */
        gboolean in_core;  /* the core will answer */
        gboolean due;      /* in bus->turns */
        GList link;        /* in bus->calls */
        GList turn;        /* in bus->turns */
};

/* The handler of every method: takes MESSAGE up. */
int gl_call_begin(GlBus *bus, const GlMethod *method, sd_bus_message *message, const GlGuest *guest);
void gl_call_fail(GlCall *call, const GError *error);
/* Answers with what METHOD->fill makes of ANSWER. */
void gl_call_reply(GlCall *call, const GlChange *answer);
/* The core has put it into its queue: the next call of this connection on this guest may go on. */
void gl_call_waits(GlCall *call);
/* Who asks, and when: for calls into the core. */
GlRequest gl_call_request(GlCall *call);
GlWanted *gl_call_want(GlCall *call, GlResourceType type, const char *name, GlMode mode);
guint32 gl_call_uid(const GlCall *call);

/* A caller has left: what it has not got into the core yet is dropped. */
void gl_calls_drop(GlCaller *caller);
/* All of them, unanswered. */
void gl_calls_forget(GlBus *bus);
/* Goes on with those whose turn has come. */
void gl_calls_take_turns(GlBus *bus);

/* --- authorise.c --- */
/* Only who may manage may make CALL, now: it changes the leases of a guest that was restricted. */
gboolean gl_call_is_restricted(const GlCall *call);
/* Asks what has to be asked and goes on with gl_call_authorised() or gl_call_fail(). */
void gl_call_authorise(GlCall *call);
void gl_call_authorised(GlCall *call);

/* --- arguments.c: pieces that several methods read --- */
/* FALSE, and ERROR says that the arguments cannot be read: what the bus lets through, sd-bus may still refuse. */
gboolean gl_refuse_malformed(int negative_errno, GError **error);
gboolean gl_read_mode(const char *text, GlMode *mode, GError **error);
gboolean gl_read_type(const char *text, GlResourceType *type, GError **error);
/* The (sss) or (ssh s) of a resource and, with WAIT, its a{sv} with wait-ms. */
gboolean gl_read_resource(GlCall *call, gboolean with_fd, gboolean with_wait, GError **error);
gboolean gl_read_resource_list(GlCall *call, gboolean may_have_fds, GError **error);
/* The options of what is only looked at, arguments.mode among them. It is opened for reading. */
gboolean gl_read_looked_at(GlCall *call, const char *type, const char *name, GError **error);
gboolean gl_read_test_options(GlCall *call, GError **error);
gboolean gl_read_guest_options(GlCall *call, gboolean starts, GError **error);
gboolean gl_read_acquire_options(GlCall *call, GError **error);
/* Those, and "resources". */
gboolean gl_read_inherit_options(GlCall *call, GError **error);
gboolean gl_read_no_options(GlCall *call, GError **error);
gboolean gl_check_words(GlCall *call, GError **error);
/* What was read, as the core wants it. Handles in them are references: gl_handle_unref(), gl_resource_specs_clear(). */
GlAcquireSpec gl_call_acquire_spec(const GlCall *call);
GlProcessRef gl_call_process_ref(const GlCall *call);
GlResourceSpec gl_wanted_spec(const GlWanted *wanted);
void gl_resource_specs_clear(GlResourceSpec *specs, guint n_specs);
/* Opens the process that `pid` or `pidfd` names. TRUE without one if neither was given. */
gboolean gl_open_process(GlCall *call, GError **error);
GError *gl_error_from_errno(int negative_errno, const char *what);
