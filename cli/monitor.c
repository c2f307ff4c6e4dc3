/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What happens, a line each, until somebody ends it. Each guest is followed from the moment that it is seen. */

#include <glib-unix.h>
#include <guestlock-enum-types.h>
#include <signal.h>

#include "client-lib/words.h"
#include "guests.h"
#include "json.h"
#include "screen.h"
#include "table.h"

typedef struct {
        GlCli *cli;
        GHashTable *guests; /* (owned) of GuestlockGuest: those that are followed */
        GMainLoop *loop;    /* (owned) */
        gboolean follows_new;
} Monitor;

/* --- a line --- */

/* Nobody would know of what cannot be written. */
static void end_if_unheard(const Monitor *self) {
        if (ferror(stdout))
                g_main_loop_quit(self->loop);
}

/* guest may be NULL. json has what the event has of its own, and is taken. */
static void tell(const Monitor *self, const char *event, GuestlockGuest *guest, const char *text, GlColour colour,
                 JsonBuilder *json) {
        g_autoptr(JsonBuilder) built = json;
        g_autofree char *time = gl_text_of_time((guint64) g_get_real_time());
        g_autofree char *name = guest ? gl_text_of_guest(guest) : NULL;
        g_autofree char *printable = gl_screen_printable(text);

        if (!self->cli->json) {
                printf("%s %s%s%s%s%s\n", time, name ?: "", name ? " " : "", gl_screen_begin(stdout, colour), printable,
                       gl_screen_end(stdout));
                fflush(stdout);
                end_if_unheard(self);
                return;
        }
        gl_json_add_text(built, "event", event);
        gl_json_add_number(built, "time-usec", (guint64) g_get_real_time());
        if (guest) {
                json_builder_set_member_name(built, "guest");
                gl_json_add_guest(built, guest, NULL);
        }
        gl_json_print_line(built);
        end_if_unheard(self);
}

static void add_leases(JsonBuilder *json, GPtrArray *leases) {
        json_builder_set_member_name(json, "leases");
        json_builder_begin_array(json);
        for (guint i = 0; i < leases->len; i++) {
                json_builder_begin_object(json);
                gl_json_add_word(json, "type", GUESTLOCK_TYPE_RESOURCE_TYPE,
                                 guestlock_resource_get_resource_type(leases->pdata[i]));
                gl_json_add_text(json, "name", guestlock_resource_get_name(leases->pdata[i]));
                gl_json_add_word(json, "mode", GUESTLOCK_TYPE_MODE, guestlock_resource_get_mode(leases->pdata[i]));
                json_builder_end_object(json);
        }
        json_builder_end_array(json);
}

static char *names_of(GPtrArray *leases) {
        GString *text = g_string_new(NULL);

        for (guint i = 0; i < leases->len; i++) {
                GuestlockMode mode = guestlock_resource_get_mode(leases->pdata[i]);

                g_string_append_printf(text, "%s\"%s\"", i ? ", " : "", guestlock_resource_get_name(leases->pdata[i]));
                if (mode)
                        g_string_append_printf(text, " %s", gl_word_of_value(GUESTLOCK_TYPE_MODE, mode));
        }
        return g_string_free(text, FALSE);
}

/* --- what happens to a guest --- */

static void on_acquired(GuestlockGuest *guest, guint64 generation, GPtrArray *leases, gpointer data) {
        g_autofree char *names = names_of(leases);
        g_autofree char *text = g_strdup_printf("holds %s", leases->len ? names : "its lease");
        JsonBuilder *json = gl_json_begin();

        gl_json_add_number(json, "generation", generation);
        add_leases(json, leases);
        tell(data, "leases-acquired", guest, text, GL_COLOUR_GOOD, json);
}

static void on_released(GuestlockGuest *guest, GuestlockReleaseReason reason, GPtrArray *leases, gpointer data) {
        const char *word = gl_word_of_value(GUESTLOCK_TYPE_RELEASE_REASON, reason);
        g_autofree char *names = names_of(leases);
        g_autofree char *text = g_strdup_printf("has given back %s (%s)", leases->len ? names : "its lease", word);
        JsonBuilder *json = gl_json_begin();

        gl_json_add_word(json, "reason", GUESTLOCK_TYPE_RELEASE_REASON, reason);
        add_leases(json, leases);
        tell(data, "leases-released", guest, text, GL_COLOUR_NONE, json);
}

static void on_lost(GuestlockGuest *guest, GuestlockResourceType type, const char *name, GuestlockLossReason reason,
                    GuestlockAction action, guint64 remaining, const char *message, gpointer data) {
        const char *why = gl_word_of_value(GUESTLOCK_TYPE_LOSS_REASON, reason);
        const char *what = gl_word_of_value(GUESTLOCK_TYPE_ACTION, action);
        g_autofree char *text = g_strdup_printf("has lost \"%s\" (%s; %s): %s", name, why, what, message);
        JsonBuilder *json = gl_json_begin();

        gl_json_add_word(json, "type", GUESTLOCK_TYPE_RESOURCE_TYPE, type);
        gl_json_add_text(json, "name", name);
        gl_json_add_word(json, "reason", GUESTLOCK_TYPE_LOSS_REASON, reason);
        gl_json_add_word(json, "action", GUESTLOCK_TYPE_ACTION, action);
        gl_json_add_number(json, "remaining-usec", remaining);
        gl_json_add_text(json, "message", message);
        tell(data, "lease-lost", guest, text, GL_COLOUR_BAD, json);
}

static GuestlockState replace_state_told(GuestlockGuest *guest, GuestlockState state) {
        GuestlockState before = (GuestlockState) GPOINTER_TO_INT(g_object_get_data(G_OBJECT(guest), "state-told"));

        g_object_set_data(G_OBJECT(guest), "state-told", GINT_TO_POINTER(state));
        return before;
}

static void on_state(GuestlockGuest *guest, GParamSpec *property, gpointer data) {
        GuestlockState state = guestlock_guest_get_state(guest);
        g_autofree char *text = g_strdup_printf("is %s", gl_word_of_value(GUESTLOCK_TYPE_STATE, state));

        /* Not known: the service is away, which is told of that. Gone: told by guest-removed. */
        if (state == GUESTLOCK_STATE_UNKNOWN || state == GUESTLOCK_STATE_GONE)
                return;
        /* When the service is back most are what they were. */
        if (replace_state_told(guest, state) != state)
                tell(data, "state-changed", guest, text, gl_colour_of_state(state), gl_json_begin());
}

static void on_waiting(GuestlockGuest *guest, GParamSpec *property, gpointer data) {
        gboolean waiting = guestlock_guest_get_waiting(guest);

        tell(data, "waiting-changed", guest, waiting ? "waits for what others hold" : "does not wait any more",
             GL_COLOUR_WARNING, gl_json_begin());
}

static void follow(Monitor *self, GuestlockGuest *guest) {
        if (!g_hash_table_add(self->guests, g_object_ref(guest)))
                return;
        replace_state_told(guest, guestlock_guest_get_state(guest));
        g_signal_connect(guest, "leases-acquired", G_CALLBACK(on_acquired), self);
        g_signal_connect(guest, "leases-released", G_CALLBACK(on_released), self);
        g_signal_connect(guest, "lease-lost", G_CALLBACK(on_lost), self);
        g_signal_connect(guest, "notify::state", G_CALLBACK(on_state), self);
        g_signal_connect(guest, "notify::waiting", G_CALLBACK(on_waiting), self);
}

static void unfollow(gpointer guest, gpointer unused, gpointer self) {
        g_signal_handlers_disconnect_by_data(guest, self);
}

/* --- what happens to the service --- */

static void on_added(GuestlockManager *manager, GuestlockGuest *guest, gpointer data) {
        Monitor *self = data;

        if (!self->follows_new)
                return;
        tell(self, "guest-added", guest, "is there", GL_COLOUR_NONE, gl_json_begin());
        follow(self, guest);
}

static void on_removed(GuestlockManager *manager, GuestlockGuest *guest, gpointer data) {
        Monitor *self = data;

        if (!g_hash_table_contains(self->guests, guest))
                return;
        tell(self, "guest-removed", guest, "is gone", GL_COLOUR_DIM, gl_json_begin());
        unfollow(guest, NULL, self);
        g_hash_table_remove(self->guests, guest);
}

static void on_running(GuestlockManager *manager, GParamSpec *property, gpointer data) {
        gboolean running = guestlock_manager_get_running(manager);

        tell(data, running ? "service-started" : "service-ended", NULL,
             running ? "The service is back, and so are the guests."
                     : "The service has ended. The guests keep their leases, and it is back when somebody calls it.",
             GL_COLOUR_WARNING, gl_json_begin());
}

/* --- all of it --- */

static gboolean follow_all(Monitor *self, GuestlockManager *manager, GError **error) {
        g_autoptr(GPtrArray) guests = guestlock_manager_list_guests_sync(manager, NULL, error);

        for (guint i = 0; guests && i < guests->len; i++)
                follow(self, guests->pdata[i]);
        return guests != NULL;
}

static gboolean follow_named(Monitor *self, GuestlockManager *manager, char **words, GError **error) {
        for (gsize i = 0; words[i]; i++) {
                g_autoptr(GuestlockGuest) guest = gl_find_guest(self->cli, manager, words[i], error);

                if (!guest)
                        return FALSE;
                follow(self, guest);
        }
        return TRUE;
}

static gboolean end(gpointer loop) {
        g_main_loop_quit(loop);
        return G_SOURCE_CONTINUE;
}

static void run_until_ended(const Monitor *self) {
        guint signals[] = {g_unix_signal_add(SIGINT, end, self->loop), g_unix_signal_add(SIGTERM, end, self->loop)};

        if (!self->cli->no_legend && !self->cli->json)
                gl_screen_remark(self->follows_new ? "Watching all guests. Ctrl-C ends this."
                                                   : "Watching these guests. Ctrl-C ends this.");
        g_main_loop_run(self->loop);
        for (gsize i = 0; i < G_N_ELEMENTS(signals); i++)
                g_source_remove(signals[i]);
}

static gboolean monitor(GlCli *cli, char **arguments, GError **error) {
        Monitor self = {.cli = cli, .follows_new = !arguments[0]};
        GuestlockManager *manager = gl_cli_manager(cli, error);
        gboolean is_watching;

        if (!manager)
                return FALSE;
        self.loop = g_main_loop_new(NULL, FALSE);
        self.guests = g_hash_table_new_full(g_direct_hash, g_direct_equal, g_object_unref, NULL);
        g_signal_connect(manager, "guest-added", G_CALLBACK(on_added), &self);
        g_signal_connect(manager, "guest-removed", G_CALLBACK(on_removed), &self);
        g_signal_connect(manager, "notify::running", G_CALLBACK(on_running), &self);
        is_watching = arguments[0] ? follow_named(&self, manager, arguments, error) : follow_all(&self, manager, error);
        if (is_watching)
                run_until_ended(&self);
        g_signal_handlers_disconnect_by_data(manager, &self);
        g_hash_table_foreach(self.guests, unfollow, &self);
        g_hash_table_unref(self.guests);
        g_main_loop_unref(self.loop);
        return is_watching;
}

const GlCommand gl_command_monitor = {
        .name = "monitor",
        .arguments = "[GUEST…]",
        .summary = "Tell what happens, until it is interrupted",
        .max_arguments = G_MAXUINT,
        .run = monitor,
};
