/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/callers.h"

#include <sys/types.h>

#include "bus-fixture.h"
#include "core/error.h"

/*
 * Most tests play the bus themselves, at the other end of a socket pair, so that they decide
 * when it answers and what; one holds the same code against a real dbus-daemon.
 */

typedef struct {
        sd_event *event;
        FixturePair pair;
        GlCallers *callers;
        gboolean refuse_match;
        gboolean has_match;
        GQueue questions; /* of sd_bus_message (owned): GetConnectionCredentials, not answered yet */
        guint n_questions;
        GString *log;    /* what was called back, in words */
        GlCaller *found; /* (owned) (nullable) */
} Fixture;

static int play_bus(sd_bus_message *call, void *user_data, sd_bus_error *unused) {
        Fixture *fixture = user_data;

        if (sd_bus_message_is_method_call(call, "org.freedesktop.DBus", "Hello"))
                return sd_bus_reply_method_return(call, "s", ":1.1");
        if (sd_bus_message_is_method_call(call, "org.freedesktop.DBus", "AddMatch")) {
                if (fixture->refuse_match)
                        return sd_bus_reply_method_errorf(call, SD_BUS_ERROR_LIMITS_EXCEEDED, "Too many.");
                fixture->has_match = TRUE;
                return sd_bus_reply_method_return(call, NULL);
        }
        if (sd_bus_message_is_method_call(call, "org.freedesktop.DBus", "GetConnectionCredentials")) {
                g_assert_true(fixture->has_match);
                g_queue_push_tail(&fixture->questions, sd_bus_message_ref(call));
                fixture->n_questions++;
        }
        return 1;
}

static void on_gone(GlCaller *caller, gpointer user_data) {
        Fixture *fixture = user_data;

        g_assert_true(caller->gone);
        g_string_append_printf(fixture->log, "gone %s;", caller->sender);
}

static void look_up(Fixture *fixture, const char *sender, GlCallerReady ready) {
        sd_bus_message *message;

        fixture_must(sd_bus_message_new_signal(fixture->pair.client, &message, "/x", "x.Y", "Z"));
        if (sender)
                fixture_must(sd_bus_message_set_sender(message, sender));
        gl_callers_look_up(fixture->callers, message, ready, fixture);
        sd_bus_message_unref(message);
}

static void on_ready(GlCaller *caller, const GError *error, gpointer user_data) {
        Fixture *fixture = user_data;

        g_string_append_printf(fixture->log, "%s %s;", error ? error->message : "ready", caller ? caller->sender : "-");
        g_assert_true(!error == (caller && caller->credentials));
        g_assert_true(!error || error->domain == GL_ERROR);
        if (caller) {
                g_clear_pointer(&fixture->found, gl_caller_unref);
                fixture->found = gl_caller_ref(caller);
        }
}

static void on_second(GlCaller *caller, const GError *error, gpointer user_data) {
        g_string_append(((Fixture *) user_data)->log, "second;");
}

static void on_ready_looks_up(GlCaller *caller, const GError *error, gpointer user_data) {
        Fixture *fixture = user_data;

        g_string_append(fixture->log, "first;");
        look_up(fixture, caller->sender, on_ready);
}

static void set_up(Fixture *fixture, gconstpointer has_bus) {
        g_autoptr(GError) error = NULL;

        fixture->log = g_string_new(NULL);
        fixture_must(sd_event_new(&fixture->event));
        fixture_pair_open(&fixture->pair, fixture->event, GPOINTER_TO_INT(has_bus));
        fixture_must(sd_bus_add_filter(fixture->pair.server, NULL, play_bus, fixture));
        fixture->callers = gl_callers_new(fixture->pair.client, on_gone, fixture, &error);
        g_assert_no_error(error);
}

static void tear_down(Fixture *fixture, gconstpointer unused) {
        sd_bus_message *question;

        while ((question = g_queue_pop_head(&fixture->questions)))
                sd_bus_message_unref(question);
        g_clear_pointer(&fixture->callers, gl_callers_free);
        g_clear_pointer(&fixture->found, gl_caller_unref);
        g_string_free(fixture->log, TRUE);
        fixture_pair_close(&fixture->pair);
        sd_event_unref(fixture->event);
}

static sd_bus_message *await_question(Fixture *fixture) {
        fixture_run_until(fixture->event, fixture->questions.length > 0);
        return g_queue_pop_head(&fixture->questions);
}

/* Answers the question, as soon as it comes, with the a{sv} of TYPES. */
#define answer(fixture, ...)                                                                                           \
        G_STMT_START {                                                                                                 \
                sd_bus_message *question = await_question(fixture);                                                    \
                fixture_must(sd_bus_reply_method_return(question, __VA_ARGS__));                                       \
                sd_bus_message_unref(question);                                                                        \
                fixture_settle((fixture)->event, 10);                                                                  \
        }                                                                                                              \
        G_STMT_END

static void answer_error(Fixture *fixture, const char *name) {
        sd_bus_message *question = await_question(fixture);

        fixture_must(sd_bus_reply_method_errorf(question, name, "said the bus"));
        sd_bus_message_unref(question);
        fixture_settle(fixture->event, 10);
}

static void say_gone(Fixture *fixture, const char *name) {
        sd_bus_message *signal;

        fixture_must(sd_bus_message_new_signal(fixture->pair.server, &signal, "/org/freedesktop/DBus",
                                               "org.freedesktop.DBus", "NameOwnerChanged"));
        fixture_must(sd_bus_message_set_sender(signal, "org.freedesktop.DBus"));
        fixture_must(sd_bus_message_append(signal, "sss", name, name, ""));
        fixture_must(sd_bus_send(fixture->pair.server, signal, NULL));
        sd_bus_message_unref(signal);
        fixture_settle(fixture->event, 10);
}

static void check_log(Fixture *fixture, const char *expected) {
        g_assert_cmpstr(fixture->log->str, ==, expected);
        g_string_truncate(fixture->log, 0);
}

static void test_one_question(Fixture *fixture, gconstpointer unused) {
        look_up(fixture, ":1.7", on_ready);
        look_up(fixture, ":1.7", on_second);
        look_up(fixture, ":1.7", on_ready);
        fixture_settle(fixture->event, 10);
        check_log(fixture, "");
        answer(fixture, "a{sv}", 4, "ProcessID", "u", 5, "UnixUserID", "u", 1000, "LinuxSecurityLabel", "ay", 2, 'x', 0,
               "UnixGroupIDs", "au", 3, 100, 27, 1000);
        check_log(fixture, "ready :1.7;second;ready :1.7;");
        g_assert_cmpuint(fixture->found->credentials->uid, ==, 1000);
        g_assert_cmpuint(fixture->found->credentials->gid, ==, 100);
        g_assert_cmpuint(fixture->found->credentials->n_groups, ==, 3);
        g_assert_cmpuint(fixture->found->credentials->groups[1], ==, 27);
        look_up(fixture, ":1.7", on_ready);
        check_log(fixture, "ready :1.7;");
        g_assert_cmpuint(fixture->n_questions, ==, 1);
}

static void test_order_with_nested_look_up(Fixture *fixture, gconstpointer unused) {
        look_up(fixture, ":1.7", on_ready_looks_up);
        look_up(fixture, ":1.7", on_second);
        answer(fixture, "a{sv}", 1, "UnixUserID", "u", 1000);
        check_log(fixture, "first;second;ready :1.7;");
        g_assert_cmpuint(fixture->n_questions, ==, 1);
}

static void test_groups_unknown(Fixture *fixture, gconstpointer unused) {
        look_up(fixture, ":1.7", on_ready);
        answer(fixture, "a{sv}", 1, "UnixUserID", "u", 1000);
        check_log(fixture, "ready :1.7;");
        g_assert_cmpuint(fixture->found->credentials->gid, ==, 65534);
        g_assert_cmpuint(fixture->found->credentials->n_groups, ==, 1);
}

/* setfsgid(-1) would leave root's group in place. */
static void test_no_group_minus_one(Fixture *fixture, gconstpointer unused) {
        look_up(fixture, ":1.7", on_ready);
        answer(fixture, "a{sv}", 2, "UnixUserID", "u", 1000, "UnixGroupIDs", "au", 2, G_MAXUINT32, 8);
        g_assert_cmpuint(fixture->found->credentials->gid, ==, 8);
        g_assert_cmpuint(fixture->found->credentials->n_groups, ==, 1);
}

static void test_user_unknown(Fixture *fixture, gconstpointer unused) {
        look_up(fixture, ":1.7", on_ready);
        answer(fixture, "a{sv}", 1, "UnixUserID", "u", G_MAXUINT32);
        look_up(fixture, ":1.7", on_ready);
        answer(fixture, "a{sv}", 1, "ProcessID", "u", 5);
        look_up(fixture, ":1.7", on_ready);
        answer(fixture, "a{sv}", 1, "UnixUserID", "s", "root");
        look_up(fixture, ":1.7", on_ready);
        answer(fixture, "u", 0);
        for (guint i = 0; i < 4; i++) {
                g_assert_true(g_str_has_prefix(fixture->log->str, "The bus does not say which user :1.7 is. :1.7;"));
                g_string_erase(fixture->log, 0, strlen("The bus does not say which user :1.7 is. :1.7;"));
        }
        check_log(fixture, "");
}

static void test_failure_is_asked_again(Fixture *fixture, gconstpointer unused) {
        GlCaller *first;

        look_up(fixture, ":1.7", on_ready);
        answer_error(fixture, SD_BUS_ERROR_LIMITS_EXCEEDED);
        check_log(fixture, "The bus does not say which user :1.7 is: said the bus. :1.7;");
        first = fixture->found;
        look_up(fixture, ":1.7", on_ready);
        answer(fixture, "a{sv}", 1, "UnixUserID", "u", 1000);
        check_log(fixture, "ready :1.7;");
        g_assert_true(fixture->found == first);
}

static void test_leaves(Fixture *fixture, gconstpointer unused) {
        look_up(fixture, ":1.7", on_ready);
        answer(fixture, "a{sv}", 1, "UnixUserID", "u", 1000);
        check_log(fixture, "ready :1.7;");
        say_gone(fixture, ":1.8");
        say_gone(fixture, "org.example.Name");
        check_log(fixture, "");
        g_assert_false(fixture->found->gone);
        say_gone(fixture, ":1.7");
        check_log(fixture, "gone :1.7;");
        g_assert_true(fixture->found->gone);
        say_gone(fixture, ":1.7");
        check_log(fixture, "");

        /* A call that was still queued somewhere. */
        look_up(fixture, ":1.7", on_ready);
        answer_error(fixture, SD_BUS_ERROR_NAME_HAS_NO_OWNER);
        check_log(fixture, "The caller :1.7 has left the bus. :1.7;gone :1.7;");
}

static void test_leaves_during_question(Fixture *fixture, gconstpointer unused) {
        look_up(fixture, ":1.7", on_ready);
        look_up(fixture, ":1.7", on_second);
        fixture_run_until(fixture->event, fixture->n_questions == 1);
        say_gone(fixture, ":1.7");
        check_log(fixture, "The caller :1.7 has left the bus. :1.7;second;gone :1.7;");
        answer(fixture, "a{sv}", 1, "UnixUserID", "u", 0);
        check_log(fixture, "");
        g_assert_null(fixture->found->credentials);
}

static void test_free_is_the_end_of_all(Fixture *fixture, gconstpointer unused) {
        look_up(fixture, ":1.7", on_ready);
        answer(fixture, "a{sv}", 1, "UnixUserID", "u", 1000);
        check_log(fixture, "ready :1.7;");
        g_clear_pointer(&fixture->callers, gl_callers_free);
        check_log(fixture, "gone :1.7;");
        g_assert_cmpuint(fixture->found->credentials->uid, ==, 1000);
}

static void test_free_during_question(Fixture *fixture, gconstpointer unused) {
        look_up(fixture, ":1.7", on_ready);
        g_clear_pointer(&fixture->callers, gl_callers_free);
        check_log(fixture, "The caller :1.7 has left the bus. :1.7;gone :1.7;");
        answer(fixture, "a{sv}", 1, "UnixUserID", "u", 1000);
        check_log(fixture, "");
}

static void test_no_sender(Fixture *fixture, gconstpointer unused) {
        look_up(fixture, NULL, on_ready);
        check_log(fixture, "Nobody says which user this call is from. -;");
}

/* Without the match nobody would hear of callers that leave. */
static void test_refused_match(Fixture *fixture, gconstpointer unused) {
        fixture->refuse_match = TRUE;
        fixture_run_until(fixture->event, sd_bus_is_open(fixture->pair.client) <= 0);
        look_up(fixture, ":1.7", on_ready);
        g_assert_true(g_str_has_prefix(fixture->log->str, "The bus cannot be asked which user :1.7 is: "));
}

static void test_peer(Fixture *fixture, gconstpointer unused) {
        g_autofree char *expected = g_strdup_printf("ready :peer-%u;", getuid());

        look_up(fixture, NULL, on_ready);
        check_log(fixture, expected);
        g_assert_cmpuint(fixture->found->credentials->uid, ==, geteuid());
        g_assert_cmpuint(fixture->found->credentials->gid, ==, getegid());
        /* Nobody but a bus can say whom a message is from. */
        look_up(fixture, ":1.7", on_ready);
        check_log(fixture, expected);
}

static void test_pretend(Fixture *fixture, gconstpointer unused) {
        GlCaller *first;

        gl_callers_pretend(fixture->callers, 1000);
        look_up(fixture, NULL, on_ready);
        check_log(fixture, "ready :peer-1000;");
        g_assert_cmpuint(fixture->found->credentials->uid, ==, 1000);
        g_assert_cmpuint(fixture->found->credentials->gid, ==, 65534);
        first = fixture->found;
        gl_callers_pretend(fixture->callers, 1001);
        look_up(fixture, NULL, on_ready);
        check_log(fixture, "ready :peer-1001;");
        gl_callers_pretend(fixture->callers, 1000);
        look_up(fixture, NULL, on_ready);
        check_log(fixture, "ready :peer-1000;");
        g_assert_true(fixture->found == first);
}

static void check_real_bus(Fixture *fixture, const FixtureDaemon *daemon) {
        sd_bus *other = fixture_daemon_connect(daemon, fixture->event);
        sd_bus *stranger = fixture_daemon_connect(daemon, fixture->event);
        g_autofree char *ready = NULL, *gone = NULL, *stale = NULL;
        const char *name;
        gid_t groups[256];
        int n_groups;

        fixture_must(sd_bus_get_unique_name(other, &name));
        ready = g_strdup_printf("ready %s;", name);
        gone = g_strdup_printf("gone %s;", name);
        stale = g_strdup_printf("The caller %s has left the bus. %s;gone %s;", name, name, name);

        look_up(fixture, name, on_ready);
        fixture_run_until(fixture->event, fixture->log->len > 0);
        check_log(fixture, ready);
        g_assert_cmpuint(fixture->found->credentials->uid, ==, geteuid());
        n_groups = getgroups(G_N_ELEMENTS(groups), groups);
        g_assert_cmpuint(fixture->found->credentials->n_groups, >=, MAX(n_groups, 1));

        fixture_must(sd_bus_request_name(stranger, "org.example.Stranger", 0));
        sd_bus_close_unref(stranger);
        fixture_settle(fixture->event, 10);
        check_log(fixture, "");
        sd_bus_close_unref(other);
        fixture_run_until(fixture->event, fixture->log->len > 0);
        check_log(fixture, gone);
        look_up(fixture, fixture->found->sender, on_ready);
        fixture_run_until(fixture->event, fixture->log->len > 0);
        check_log(fixture, stale);
}

static void test_real_bus(void) {
        Fixture fixture = {.log = g_string_new(NULL)};
        g_autoptr(GError) error = NULL;
        FixtureDaemon daemon;

        fixture_must(sd_event_new(&fixture.event));
        fixture_daemon_start(&daemon);
        fixture.pair.client = fixture_daemon_connect(&daemon, fixture.event);
        fixture.callers = gl_callers_new(fixture.pair.client, on_gone, &fixture, &error);
        g_assert_no_error(error);
        check_real_bus(&fixture, &daemon);
        tear_down(&fixture, NULL);
        fixture_daemon_stop(&daemon);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
#define ADD(name, has_bus, function)                                                                                   \
        g_test_add("/callers/" name, Fixture, GINT_TO_POINTER(has_bus), set_up, function, tear_down)
        ADD("one-question", TRUE, test_one_question);
        ADD("order-with-nested-look-up", TRUE, test_order_with_nested_look_up);
        ADD("groups-unknown", TRUE, test_groups_unknown);
        ADD("no-group-minus-one", TRUE, test_no_group_minus_one);
        ADD("user-unknown", TRUE, test_user_unknown);
        ADD("failure-is-asked-again", TRUE, test_failure_is_asked_again);
        ADD("leaves", TRUE, test_leaves);
        ADD("leaves-during-question", TRUE, test_leaves_during_question);
        ADD("free-is-the-end-of-all", TRUE, test_free_is_the_end_of_all);
        ADD("free-during-question", TRUE, test_free_during_question);
        ADD("no-sender", TRUE, test_no_sender);
        ADD("refused-match", TRUE, test_refused_match);
        ADD("peer", FALSE, test_peer);
        ADD("pretend", FALSE, test_pretend);
        g_test_add_func("/callers/real-bus", test_real_bus);
        return g_test_run();
}
