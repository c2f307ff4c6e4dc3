/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/types.h"

/* Each enumeration has one table of its texts, and both directions read it. */
#define DEFINE_WORDS(Type, name, ...)                                              \
        static const char *const name##_words[] = {__VA_ARGS__};                   \
        const char *gl_##name##_to_string(Type value) {                            \
                g_assert((gsize) value < G_N_ELEMENTS(name##_words));              \
                return name##_words[value];                                        \
        }

#define DEFINE_WORDS_BOTH_WAYS(Type, name, ...)                                    \
        DEFINE_WORDS(Type, name, __VA_ARGS__)                                      \
        gboolean gl_##name##_from_string(const char *text, Type *value) {          \
                for (gsize i = 0; i < G_N_ELEMENTS(name##_words); i++) {           \
                        if (g_str_equal(text, name##_words[i])) {                  \
                                *value = (Type) i;                                 \
                                return TRUE;                                       \
                        }                                                          \
                }                                                                  \
                return FALSE;                                                      \
        }

DEFINE_WORDS_BOTH_WAYS(GlMode, mode, "readonly", "shared", "exclusive")
DEFINE_WORDS_BOTH_WAYS(GlResourceType, resource_type, "disk", "lease")
DEFINE_WORDS_BOTH_WAYS(GlGuestState, guest_state, "new", "held", "released", "lost")
DEFINE_WORDS_BOTH_WAYS(GlResourceState, resource_state, "registered", "held", "draining", "lost")
DEFINE_WORDS_BOTH_WAYS(GlScope, scope, "mount", "host", "shared", "fenced")
DEFINE_WORDS_BOTH_WAYS(GlKeptBy, kept_by, "service", "keeper", "holder")
DEFINE_WORDS_BOTH_WAYS(GlLossAction, loss_action, "pause", "kill", "notify")
DEFINE_WORDS_BOTH_WAYS(GlOrigin, origin, "started", "adopted")
DEFINE_WORDS(GlLossReason, loss_reason, "revoked", "replaced", "storage-lost", "lockspace-lost", "taken")
DEFINE_WORDS(GlReleaseReason, release_reason, "released", "guest-exited", "shutdown")
