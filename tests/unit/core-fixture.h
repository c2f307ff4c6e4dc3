/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <string.h>

#include "core/core-private.h"
#include "core/core.h"

/*
 * A core with a made-up world around it: a clock that goes when told, a driver that answers at once or when told, and
 * guests and resources that are known by short names. Whatever the core changes becomes a line of text, and
 * core_expect() wants to see exactly these lines:
 *
 *     added a                  removed a
 *     take a /x:X,/y:R         mode a /x:R          give-back a /x    drain a /x      inspect a /x
 *     acquired a g1 /x:X       released a shutdown /x                 lost a taken /x
 *     check /x,/y              lost a revoked /x in 5 s               moved a /x
 *     held open a /x           slow a /x
 *     look /x:X,/y:R           reply 4 ok a:X=/x (what way) 7:R (what way)>/y
 *     changed a state,pid      watch 7              signal 7 9        waits 1
 *     reply 1 ok g1            reply 2 Conflict     reply 3 ok <state>  reply 4 ok pid 7
 *
 * A resource is written as its name and the letter of a mode; one whose name is no path is a lease. Calls are
 * numbered as they are made; generations in the order in which they are seen. The driver itself asserts that it
 * is never made to give conflicting leases.
 */

typedef struct {
        GlPlace *place; /* (owned) */
        int error;      /* what TAKE and CHANGE_MODE of it end with; -1: success */
        gboolean brief;
        gboolean undrained;
        gboolean writer_seen;     /* and why can be seen */
        const char *held_open_by; /* (nullable) what an audit says */
        gboolean hangs; /* answers only when told */
        gboolean lost;  /* a check says so, */
        GlLossReason loss; /* for this reason, */
        GlWhereabouts whereabouts; /* and this of its name, */
        GlKeptBy kept_by;          /* and of who keeps it, */
        gboolean unknown;    /* or nothing */
        const char *storage; /* (nullable) which one it is on */
        guint64 size, mtime;
        guint32 stranger;   /* the pid of one who is in the way, as a look finds */
        gboolean stranger_is_own; /* by what seems to be a lock of ours */
        gboolean remembers; /* what it was granted with, in: */
        GlRecorded recorded;
} CoreDisk;

typedef struct {
        GlCore *core;
        GlLimits limits;
        gint64 now, realtime;

        /* Who calls next. */
        guint32 uid;
        const char *sender;
        gboolean may_manage;
        const char *driver; /* (nullable) of the guests that are made next; NULL: "test", which can do everything */

        GHashTable *disks; /* name → CoreDisk */
        GPtrArray *jobs;   /* of GlJob: not answered yet */
        gboolean hangs;    /* all of the storage */
        guint n_audits, n_audited; /* how often, and of how many leases at last */
        gboolean audits_hang;
        GPtrArray *audits; /* of GlJob: not answered yet */
        GlTable *locks;    /* what the driver has given */
        GPtrArray *leases; /* of GlClaim in `locks` */

        GString *lines;
        guint n_calls;
        GArray *generations; /* seen, in order */
        char *message;       /* (nullable) of the last error */
        char *text;          /* (nullable) of the last reply that had one */
        int code;            /* of the last reply or verb that returned; -1: success */
        guint n_replies;
        gboolean silent;     /* keeps no lines */
        void (*on_change)(const GlChange *change, gpointer data); /* (nullable) sees each before it becomes a line */
        gpointer on_change_data;

        gboolean says_drained; /* whoever revokes, that nothing writes any more */
        gboolean save_fails;
        const char *unplugged; /* (nullable) which of what core_restore() puts back was lost and unplugged */
        gboolean killing;      /* and the guest was being ended */
        guint n_saved, n_forgotten;
        GHashTable *saved; /* "<uid>/<uuid>" of guests whose state is kept */
} CoreFixture;

typedef struct {
        guint32 pid;
        gboolean supervisor;
        gboolean register_only;
        guint32 wait_ms;
        const char *state;
        gboolean keep; /* of StartGuest */
} CoreOptions;

CoreFixture *core_fixture_new(void);
/* Asserts that the driver holds nothing that the core does not know of. */
void core_fixture_free(CoreFixture *f);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CoreFixture, core_fixture_free)
/* The service is killed and comes back: a new core, and no locks. */
void core_restart(CoreFixture *f);

CoreDisk *core_disk(CoreFixture *f, const char *name);
/* From now on NAME leads to PLACE. */
void core_set_place(CoreFixture *f, const char *name, GlPlace *place);
GlGuest *core_guest(CoreFixture *f, const char *guest);
GlResource *core_resource(CoreFixture *f, const char *guest, const char *name);
GlRequest core_request(CoreFixture *f);
void core_make_uuid(const char *guest, char uuid[37]);
GlResourceSpec core_parse_resource(CoreFixture *f, const char *text, char **name);

/* --- calls; those that answer at once return the error's code, or -1 --- */

int core_create(CoreFixture *f, const char *guest);
int core_create_transient(CoreFixture *f, const char *guest);
int core_register(CoreFixture *f, const char *guest, const char *resource);
int core_set_child(CoreFixture *f, const char *guest, guint32 pid);
int core_set_child_keeping_orphan(CoreFixture *f, const char *guest, guint32 pid);
void core_acquire_with(CoreFixture *f, const char *guest, const CoreOptions *options);
#define core_acquire(f, guest, ...) core_acquire_with(f, guest, &(CoreOptions){__VA_ARGS__})
/* RESOURCES: several with a space between them. */
void core_start_with(CoreFixture *f, const char *guest, const char *resources, const CoreOptions *options);
#define core_start(f, guest, resources, ...) core_start_with(f, guest, resources, &(CoreOptions){__VA_ARGS__})
void core_inquire(CoreFixture *f, const char *guest);
void core_release(CoreFixture *f, const char *guest);
void core_plug(CoreFixture *f, const char *guest, const char *resource, guint32 wait_ms);
void core_unplug(CoreFixture *f, const char *guest, const char *name);
void core_get_child(CoreFixture *f, const char *guest, guint32 wait_ms);
void core_shutdown(CoreFixture *f, const char *guest, gboolean kill);
void core_shutdown_leaving_supervisor(CoreFixture *f, const char *guest, gboolean kill);
void core_free_guest(CoreFixture *f, const char *guest);
/* NAME "": everything. */
int core_revoke(CoreFixture *f, const char *guest, const char *name, gboolean kill);
int core_restrict(CoreFixture *f, const char *guest);
int core_attach(CoreFixture *f, const char *guest, guint32 pid); /* 0: none given */

/* Creates and registers: what must succeed, and leaves no lines. */
void core_have_registered(CoreFixture *f, const char *guest, const char *resources);
/* The same, and acquires. */
void core_have(CoreFixture *f, const char *guest, const char *resources, guint32 pid);

/*
 * After a restart: puts GUEST back as a state file says that it was, with RESOURCES in STATE, but takes nothing yet;
 * and takes again what it held. PID 0: it had no process.
 */
void core_restore(CoreFixture *f, const char *guest, GlGuestState guest_state, const char *resources,
                  GlResourceState state, guint32 pid);
void core_retake(CoreFixture *f, const char *guest);
/* Until what others have is given up; the lines are those of the last attempt. */
void core_retake_at_last(CoreFixture *f, const char *guest);
/* A guest whose process is PID and that has lost LOST to somebody foreign, but not KEPT. Leaves no lines. */
void core_have_lost(CoreFixture *f, const char *guest, const char *lost, const char *kept, guint32 pid);

/* WhoHolds; and TestAcquire, of a new guest where GUEST is NULL. */
void core_who(CoreFixture *f, const char *resource);
void core_test(CoreFixture *f, const char *guest, const char *resources, guint32 pid);

/* --- what happens by itself --- */

void core_exit(CoreFixture *f, guint32 pid);
void core_refuse(CoreFixture *f, guint32 pid);
void core_leave_bus(CoreFixture *f, const char *sender);
/* The driver answers the oldest of its jobs, or all that there are now. */
void core_answer(CoreFixture *f);
void core_answer_nth(CoreFixture *f, guint index);
void core_answer_all(CoreFixture *f);
void core_answer_audits(CoreFixture *f);
/* Time goes on, and the core is called whenever it wanted to be. */
void core_advance(CoreFixture *f, gint64 ms);
/* Takes all changes there are. */
void core_drain(CoreFixture *f);

/* --- what came of it --- */

void core_expect_lines(CoreFixture *f, const char *file, int line, const char *function, ...) G_GNUC_NULL_TERMINATED;
#define core_expect(f, ...) core_expect_lines(f, __FILE__, __LINE__, G_STRFUNC, __VA_ARGS__, NULL)
#define core_expect_nothing(f) core_expect_lines(f, __FILE__, __LINE__, G_STRFUNC, NULL)
void core_forget_lines(CoreFixture *f);
/* "a new; b held: /x:X held, /y:R registered" (and, at the end, what is lost and unplugged). */
#define core_assert_state(f, guest, expected)                                   \
        G_STMT_START {                                                          \
                g_autofree char *core_state_ = core_describe(f, guest);         \
                g_assert_cmpstr(core_state_, ==, expected);                     \
        }                                                                       \
        G_STMT_END
char *core_describe(CoreFixture *f, const char *guest);
const char *core_code_name(int code);
