/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

/*
 * Who may. One interface, asked asynchronously, denying whenever there is doubt;
 * injected, so that tests decide by themselves. polkit.c is the real one.
 */

typedef struct {
        const char *action; /* without the prefix "org.guestlock1." */
        /* Pairs of key and value, NULL-terminated: what a polkit rule sees. */
        const char *const *details;
} GlQuestion;

typedef enum {
        GL_ANSWER_NO,
        GL_ANSWER_YES,
        GL_ANSWER_CHALLENGE, /* yes, if somebody gave a password: ask again interactively */
} GlAnswer;

typedef struct GlAuthority GlAuthority;
typedef struct GlQuery GlQuery;

/* ERROR (borrowed) is set with GL_ANSWER_NO where there is more to say than no. */
typedef void (*GlAnswered)(GlAnswer answer, const GError *error, gpointer user_data);

typedef struct {
        /* SENDER is the caller's unique name, UID its uid. ANSWERED is called once, never before this returned. */
        GlQuery *(*ask)(GlAuthority *authority, const char *sender, guint32 uid, const GlQuestion *question,
                        gboolean interactive, GlAnswered answered, gpointer user_data);
        /* The asker is gone or not interested any more: ANSWERED is not called, a dialog is taken away. */
        void (*cancel)(GlAuthority *authority, GlQuery *query);
        void (*free)(GlAuthority *authority);
} GlAuthorityOps;

struct GlAuthority {
        const GlAuthorityOps *ops;
};

static inline void gl_authority_free(GlAuthority *authority) {
        if (authority)
                authority->ops->free(authority);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlAuthority, gl_authority_free)
