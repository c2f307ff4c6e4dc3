/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <gio/gio.h>
#include <gio/gunixfdlist.h>

#include <guestlock-error.h>

#define GL_NAME           "org.guestlock1"
#define GL_ROOT           "/org/guestlock1"
#define GL_MANAGER        "org.guestlock1.Manager"
#define GL_GUEST          "org.guestlock1.Guest"
#define GL_PROPERTIES     "org.freedesktop.DBus.Properties"
#define GL_BUS            "org.freedesktop.DBus"
#define GL_OBJECT_MANAGER "org.freedesktop.DBus.ObjectManager"

typedef struct GlCall GlCall;
typedef struct GlOperation GlOperation;

/*
 * What follows a call: reply is what came back, NULL where an error meant success. May add calls to the operation;
 * FALSE and an error end it. While an operation is being undone it is called for replies only, and cannot fail.
 */
typedef gboolean (*GlThen)(GlOperation *op, GVariant *reply, GError **error);

#define GL_BIT(code) (1U << GUESTLOCK_ERROR_##code)

struct GlCall {
        const char *interface, *method;
        char *path;          /* (owned) (nullable) the operation's path, where it is not known before */
        GVariant *arguments; /* (owned) */
        GUnixFDList *fds;    /* (owned) (nullable) */
        GlThen then;         /* (nullable) */
        guint32 settled_by;  /* GL_BIT() of each GuestlockError that means success after a NoReply */
        guint32 accepts;     /* of those that always do, as UNKNOWN_OBJECT when a guest is looked at */
        gboolean may_fail;   /* whatever becomes of it, the operation has succeeded */
        gboolean waits;      /* it may stand in a queue of the service's */
};

struct GlOperation {
        GuestlockManager *manager;   /* (owned) */
        GuestlockGuest *guest;       /* (owned) (nullable) whom it is about: up to date when it ends */
        GQueue calls;                /* (owned) of GlCall: what is left to do, the first one under way */
        GQueue undo;                 /* (owned) of GlCall: what is done instead of the rest when one fails */
        GDBusConnection *connection; /* (owned) (nullable) its own, see GlCall.waits */
        GError *failure;             /* (owned) (nullable) why it is being undone */
        guint attempts;              /* of the call under way, before this one */
        GlThen finally;              /* (nullable) after the last call, when nothing can fail any more but this */
        gboolean refreshed;
        char *path;         /* (owned) (nullable) of the guest that it made or found */
        char *uuid;         /* (owned) (nullable) of one that it makes */
        GPtrArray *guests;  /* (owned) (nullable) whom it looks at again, of GuestlockGuest */
        gboolean has_owner; /* which is another user's than the caller's */
        guint owner;
        GVariant *reply;      /* (owned) (nullable) of the last call without `then` */
        GUnixFDList *fds;     /* (owned) (nullable) which came with it */
        GObject *result;      /* (owned) (nullable) */
        GPtrArray *command;   /* (owned) (nullable) the supervisor, then what it is to run: ends in NULL */
        GSubprocess *process; /* (owned) (nullable) */
};

GlOperation *gl_operation_new(GuestlockManager *manager, GuestlockGuest *guest);
void gl_operation_free(GlOperation *op);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlOperation, gl_operation_free)

/* Adds a call, which can be changed as long as the operation has not begun. Takes arguments (floating) and fds. */
GlCall *gl_operation_add(GlOperation *op, const char *interface, const char *path, const char *method,
                         GVariant *arguments, GUnixFDList *fds);

/* The same, not added anywhere: for undo, and for what comes first. */
GlCall *gl_call_new(const char *interface, const char *path, const char *method, GVariant *arguments, GUnixFDList *fds);

/* It ends with this, and nothing more is sent. Takes the error. */
void gl_operation_fail(GlOperation *op, GError *error);

/* The text, if D-Bus can carry it; else the operation fails. */
const char *gl_operation_text(GlOperation *op, const char *text);

/* Both take the operation and give it back when it has succeeded; else they free it. */
GlOperation *gl_operation_run(GlOperation *op, GCancellable *cancellable, GError **error);
void gl_operation_begin(GlOperation *op, gpointer source, gpointer tag, GCancellable *cancellable,
                        GAsyncReadyCallback callback, gpointer data);
GlOperation *gl_operation_finish(gpointer source, gpointer tag, GAsyncResult *result, GError **error);

/* What came out of one that has succeeded; all take it, and NULL for one that has not. */
gboolean gl_operation_end(GlOperation *op);
gboolean gl_operation_end_generation(GlOperation *op, guint64 *generation);
char *gl_operation_end_string(GlOperation *op);
gpointer gl_operation_end_object(GlOperation *op);
