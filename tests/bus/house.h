/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "bus-fixture.h"
#include "bus/authority.h"
#include "drivers/fake.h"
#include "service.h"

/*
 * The whole service in this process, with the fake driver as its default one, and the test at the other end of a socket
 * pair. The test plays the bus, so that it can be any number of connections of any users, and polkit, so that it
 * decides what is answered and when. Everything runs on one loop.
 *
 * Whatever the service sends goes into one log, a line each, in the order in which it came; see expect_log().
 */

/* Connections: after the last dot comes the uid. */
#define ROOT      ":1.0"
#define ALICE     ":1.1000"
#define ALICE_TOO ":2.1000"
#define BOB       ":1.1001"

#define MANAGER        "/org/guestlock1"
#define CONTAINER      MANAGER "/guest"
#define UUID_BASE      "00000000-0000-4000-8000-00000000000"
#define UUID(n)        UUID_BASE #n
#define PATH_BASE      CONTAINER "/00000000_0000_4000_8000_00000000000"
#define ROOTS(n)       PATH_BASE #n
#define ALICES(n)      PATH_BASE #n "_u1000"
#define BOBS(n)        PATH_BASE #n "_u1001"
#define PROPERTIES     "org.freedesktop.DBus.Properties."
#define OBJECT_MANAGER "org.freedesktop.DBus.ObjectManager."

typedef struct House House;
typedef struct Call Call;

/* What polkit, as the test plays it, says to a question. */
typedef enum {
        SAY_YES,
        SAY_NO,
        SAY_CHALLENGE,
        SAY_NOTHING, /* until answer_question() */
} Say;

struct House {
        sd_event *event;
        GlService *service;
        GlConfiguration configuration;
        GlDriver *driver; /* (borrowed) the fake one */
        char *dir;        /* (owned) for files */

        /* The rest is for the fixture alone. */
        FixturePair pair;
        sd_bus *bus;            /* (borrowed) the test's end */
        gboolean direct;
        GString *log;
        GString *questions;
        GHashTable *says;       /* action → Say[2] */
        GPtrArray *open;        /* of GlQuery (borrowed): not answered yet */
        GPtrArray *calls;       /* of Call (owned) */
        GPtrArray *strings;     /* of char* (owned) */
        GArray *children;       /* of GPid; 0: gone */
        int gate;               /* eventfd of a blocked storage, or -1 */
        gboolean gate_passed;
};

/* Main begins with this: skips the program where it cannot run. */
void house_init(int *argc, char ***argv);

House *house_new(void);
/* With other limits than the default ones. */
House *house_new_with(const GlLimits *limits);
/* Without a bus: the peer of the socket is the caller, and house_pretend() says who that is. */
House *house_new_direct(void);
void house_free(House *house);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(House, house_free)

void house_pretend(House *house, guint32 uid);
/* SENDER is not on the bus any more. */
void house_leave(House *house, const char *sender);
/* Until nothing has happened for a moment: what is done on the loop is done then, what a thread is at may not be. */
void house_settle(House *house);

/* --- the world --- */

/* The path of an image of this name, which is there. (borrowed) */
const char *house_file(House *house, const char *name);
/* A path in the house's directory; nothing is made there. (borrowed) */
const char *house_path(House *house, const char *name);
/* What lies under the house's directory is looked at no more until the other call. */
void house_block_storage(House *house);
void house_unblock_storage(House *house);
/* A process of this uid; and its end, which is over when the call returns. */
guint32 house_spawn(House *house, guint32 uid);
void house_kill(House *house, guint32 pid);
/* TRUE, and the test is marked as skipped, where valgrind does not know the system call. */
gboolean skip_without_openat2(void);
gboolean skip_without_pidfd(void);
gboolean has_openat2(void);

/* --- calls --- */

/*
 * MEMBER is one of the object's own interface, or has the interface before it. Calls are sent and not waited for, and
 * belong to the house.
 */
Call *send_call(House *house, const char *sender, const char *path, const char *member, const char *types, ...);
sd_bus_message *new_call(House *house, const char *sender, const char *path, const char *member);
/* MESSAGE is owned by the callee. */
Call *send_message(House *house, sd_bus_message *message);

/* Waits for the answer. CONTENTS (nullable: anything) is as in the log. */
void expect_reply(Call *call, const char *signature, const char *contents);
/* ERROR is the name, without org.guestlock1.Error or org.freedesktop.DBus.Error; PART is somewhere in the message. */
void expect_error(Call *call, const char *error, const char *part);
void expect_no_answer(Call *call);
/* The answered ones, and all logs: for tests that make very many. */
void forget_calls(House *house);
/* The answer to a call that succeeds. (borrowed) */
sd_bus_message *await_reply(Call *call);
/* What is left to be read in it, as in the log; it is read again from its beginning then. (owned by the caller) */
char *in_words(House *house, sd_bus_message *message);
/* That to a call that fails. (borrowed) */
const sd_bus_error *await_error(Call *call);

#define succeed(house, sender, path, member, signature, contents, ...) \
        expect_reply(send_call(house, sender, path, member, __VA_ARGS__), signature, contents)
#define fail(house, sender, path, member, error, part, ...) \
        expect_error(send_call(house, sender, path, member, __VA_ARGS__), error, part)

/* The guest of this digit: its object. (borrowed) */
const char *create(House *house, const char *sender, int n);
/* By path, or by descriptor where paths cannot be walked (valgrind). NAME is of a house_file(). */
Call *send_register(House *house, const char *sender, const char *guest, const char *name, const char *mode);
void register_disk(House *house, const char *sender, const char *guest, const char *name, const char *mode);
/* The same with AcquireResource. */
Call *send_plug(House *house, const char *sender, const char *guest, const char *name, const char *mode,
                guint32 wait_ms);
/* A guest that holds the disk NAME exclusively, unbound. */
const char *create_held(House *house, const char *sender, int n, const char *name);

void expect_property(House *house, const char *path, const char *property, const char *signature, const char *contents);
/* States of the resources, as "a.img exclusive held, b.img readonly registered". */
void expect_resources(House *house, const char *path, const char *expected);

/* --- what was heard --- */

/*
 * Everything since the last look, and nothing else: "<object> <Signal> <arguments>" and "<- <Method>[: <Error>]".
 * Objects are told by what comes after PATH_BASE, files by their name, processes as P1, P2; 64-bit numbers other than 0
 * are "#".
 */
void expect_log(House *house, const char *expected);
void forget_log(House *house);

/* --- polkit --- */

/* To what is asked silently, and in a dialog. ACTION NULL: all for which nothing else was said. At first: yes. */
void house_say(House *house, const char *action, Say silently, Say in_dialog);
/* "<connection> <action>[ in a dialog]: key=value, …" and "<connection> <action> dropped", a line each. */
void expect_questions(House *house, const char *expected);
void forget_questions(House *house);
guint n_open_questions(House *house);
/* The Nth of those that are open, in the order asked. ERROR is owned by the callee (nullable). */
void answer_question(House *house, guint n, GlAnswer answer, GError *error);
void await_questions(House *house, guint n);
