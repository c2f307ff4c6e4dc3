/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <guestlock.h>

/*
 * Verbs for programs that test libguestlock against the service on a private bus. Each test gets a manager, images and
 * a main context of its own, and runs twice: once with the calls that block, once with those that do not.
 */
typedef struct {
        gboolean blocking;
        GMainContext *context;     /* (owned) the thread's default during the test */
        GuestlockManager *manager; /* (owned) */
        GCancellable *cancellable; /* (owned) (nullable) for TWICE() */
        GError *error;             /* (owned) (nullable) what TWICE() ended in */
        GAsyncResult *result;      /* (owned) (nullable) */
        char *directory;           /* (owned) */
        char *image, *other;       /* (owned) paths */
        GPtrArray *children;       /* (owned) of GSubprocess */
        GString *heard;            /* (owned) signals, a word each */
} Fixture;

typedef void (*FixtureTest)(Fixture *f);

/* Adds /name/blocking and /name/background. */
void fixture_add_test(const char *name, FixtureTest test);

#define FIXTURE_EXPAND(...) __VA_ARGS__

/* A call as the test is to make it. IN and OUT are arguments in parentheses, each with a comma before it. */
#define TWICE(function, self, IN, OUT)                                                                                 \
        (fixture_forget_error(f),                                                                                      \
         f->blocking ? function##_sync(self FIXTURE_EXPAND IN FIXTURE_EXPAND OUT, f->cancellable, &f->error)           \
                     : (function##_async(self FIXTURE_EXPAND IN, f->cancellable, fixture_done, f),                     \
                        function##_finish(self, fixture_result(f) FIXTURE_EXPAND OUT, &f->error)))

void fixture_forget_error(Fixture *f);
void fixture_done(GObject *source, GAsyncResult *result, gpointer data);

/* Runs the loop until there is one; it is valid until the next call. */
GAsyncResult *fixture_result(Fixture *f);

/* Runs the loop until *flag, or fails after two minutes. */
void fixture_wait(Fixture *f, const gboolean *flag);

/* Runs the loop until the guest has this state. */
void fixture_wait_state(Fixture *f, GuestlockGuest *guest, GuestlockState state);

/* Runs the loop until this word was heard, which is forgotten. */
void fixture_wait_heard(Fixture *f, const char *word);

/* Hears the signals of a guest: "acquired:disk:exclusive", "released:guest-exited:disk", "lost:revoked:notify:reason".
 */
void fixture_hear(Fixture *f, GuestlockGuest *guest);

/* A process that does nothing until it is ended. */
guint fixture_spawn(Fixture *f);
void fixture_end(Fixture *f, guint pid);

/* The service's process, asked of the bus: there has to be one, since 0 would be all of ours. */
GPid fixture_service(Fixture *f);

/* Stops the service now, and kills it after so many milliseconds, from another thread. */
GThread *fixture_kill_in_flight(Fixture *f, guint milliseconds);

#define UUID_1 "4dea22b3-1d52-d8f3-2516-782e98ab3fa0"
#define UUID_2 "4dea22b3-1d52-d8f3-2516-782e98ab3fa1"

/* Of a request for the image, exclusive. */
GuestlockRequest *fixture_request(Fixture *f, guint pid);

/* A guest that has the image; with a process if pid is not 0. Never fails. */
GuestlockGuest *fixture_guest(Fixture *f, const char *uuid, guint pid);

#define assert_failed(f, wanted)                                                                                       \
        do {                                                                                                           \
                g_assert_error((f)->error, GUESTLOCK_ERROR, GUESTLOCK_ERROR_##wanted);                                 \
                g_assert_null(strstr((f)->error->message, "GDBus.Error"));                                             \
                g_assert_cmpuint(strlen((f)->error->message), >, 10);                                                  \
        } while (0)

#define assert_succeeded(f, value)                                                                                     \
        do {                                                                                                           \
                gboolean succeeded_ = !!(value);                                                                       \
                g_assert_no_error((f)->error);                                                                         \
                g_assert_true(succeeded_);                                                                             \
        } while (0)
