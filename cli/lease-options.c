/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lease-options.h"

#include <guestlock-enum-types.h>

#include "client-lib/words.h"

/* The longest that the service waits. */
#define DAY_S 86400

GlLeaseOptions gl_lease_options;

const GOptionEntry gl_wait_entries[] = {
        {"wait", 'w', 0, G_OPTION_ARG_NONE, &gl_lease_options.wait, "Wait for what others hold", NULL},
        {"timeout", 't', 0, G_OPTION_ARG_INT, &gl_lease_options.timeout, "Wait so long, and not longer", "SECONDS"},
        {},
};

const GOptionEntry gl_lease_entries[] = {
        {"disk", 'd', 0, G_OPTION_ARG_FILENAME_ARRAY, &gl_lease_options.disks,
         "A disk; MODE is exclusive, unless given, shared or readonly; may be repeated", "PATH[,mode=MODE]"},
        {"uuid", 'u', 0, G_OPTION_ARG_STRING, &gl_lease_options.uuid, "The guest's uuid; else a random one", "UUID"},
        {"on-lease-lost", 0, 0, G_OPTION_ARG_STRING, &gl_lease_options.on_lease_lost,
         "What becomes of the guest when it loses a lease: pause, kill or notify", "ACTION"},
        {"require-scope", 0, 0, G_OPTION_ARG_STRING, &gl_lease_options.require_scope,
         "Refuse leases that reach less far: mount, host, shared or fenced", "SCOPE"},
        {"driver", 0, 0, G_OPTION_ARG_STRING, &gl_lease_options.driver, "What makes the leases real", "NAME"},
        {},
};

gboolean gl_wait_ms_of_options(guint *wait_ms, GError **error) {
        int seconds = gl_lease_options.timeout;

        if (seconds < 0 || seconds > DAY_S) {
                g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                            "--timeout takes seconds, at most %d, and not %d.", DAY_S, seconds);
                return FALSE;
        }
        if (!seconds && gl_lease_options.wait)
                seconds = DAY_S;
        *wait_ms = (guint) seconds * 1000;
        return TRUE;
}

/* 0, UNKNOWN, where nothing was given. */
static gboolean read_word(GType type, const char *option, const char *word, int *value, GError **error) {
        *value = word ? gl_word_to_value(type, word) : 0;
        if (*value || !word)
                return TRUE;
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "%s does not know \"%s\".", option, word);
        return FALSE;
}

GuestlockRequest *gl_request_of_options(GError **error) {
        g_autoptr(GuestlockRequest) request = guestlock_request_new();
        int action, scope;
        guint wait_ms;

        if (!gl_wait_ms_of_options(&wait_ms, error) ||
            !read_word(GUESTLOCK_TYPE_ACTION, "--on-lease-lost", gl_lease_options.on_lease_lost, &action, error) ||
            !read_word(GUESTLOCK_TYPE_SCOPE, "--require-scope", gl_lease_options.require_scope, &scope, error))
                return NULL;
        guestlock_request_set_on_lease_lost(request, (GuestlockAction) action);
        guestlock_request_set_require_scope(request, (GuestlockScope) scope);
        guestlock_request_set_driver(request, gl_lease_options.driver);
        guestlock_request_set_wait(request, wait_ms);
        return g_steal_pointer(&request);
}

char *gl_uuid_of_options(void) {
        return gl_lease_options.uuid ? g_strdup(gl_lease_options.uuid) : g_uuid_string_random();
}
