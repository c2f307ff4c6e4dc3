/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/polkit.h"

#include "bus-fixture.h"
#include "core/error.h"

/*
 * polkit is played by a second connection of this process to a real dbus-daemon. It keeps
 * every question until the test answers it.
 */

typedef struct {
        guint max_queries;
        guint64 timeout;
} Bounds;

static const Bounds roomy = {8, 60 * G_TIME_SPAN_SECOND};
static const Bounds hasty = {8, 100 * G_TIME_SPAN_MILLISECOND};
/* One dialog and one silent question at a time. */
static const Bounds narrow = {2, 60 * G_TIME_SPAN_SECOND};

static FixtureDaemon bus_daemon;

typedef struct {
        sd_event *event;
        sd_bus *bus, *polkit;
        GlAuthority *authority;
        GQueue questions;  /* of sd_bus_message (owned): asked and not answered */
        guint n_asked;
        GString *cancelled; /* ids */
        GString *log;       /* the answers, in words */
        GError *error;      /* (owned) (nullable) the last answer's */
        GPtrArray *askers;  /* of Asker (owned) */
        gboolean end;       /* the next answer frees the authority */
} Fixture;

typedef struct {
        Fixture *fixture;
        const char *name;
        gboolean answered;
} Asker;

static int play_polkit(sd_bus_message *call, void *user_data, sd_bus_error *unused) {
        Fixture *fixture = user_data;
        const char *id;

        if (sd_bus_message_is_method_call(call, "org.freedesktop.PolicyKit1.Authority", "CancelCheckAuthorization")) {
                fixture_must(sd_bus_message_read(call, "s", &id));
                g_string_append_printf(fixture->cancelled, "%s;", id);
                return sd_bus_reply_method_return(call, NULL);
        }
        g_assert_true(
                sd_bus_message_is_method_call(call, "org.freedesktop.PolicyKit1.Authority", "CheckAuthorization"));
        g_queue_push_tail(&fixture->questions, sd_bus_message_ref(call));
        fixture->n_asked++;
        return 1;
}

static void start_polkit(Fixture *fixture) {
        fixture->polkit = fixture_daemon_connect(&bus_daemon, fixture->event);
        fixture_must(sd_bus_add_object(fixture->polkit, NULL, "/org/freedesktop/PolicyKit1/Authority", play_polkit,
                                       fixture));
        fixture_must(sd_bus_request_name(fixture->polkit, "org.freedesktop.PolicyKit1", 0));
}

static void stop_polkit(Fixture *fixture) {
        sd_bus_message *question;

        while ((question = g_queue_pop_head(&fixture->questions)))
                sd_bus_message_unref(question);
        fixture->polkit = sd_bus_close_unref(fixture->polkit);
}

static void set_up(Fixture *fixture, gconstpointer data) {
        const Bounds *bounds = data;

        fixture->log = g_string_new(NULL);
        fixture->cancelled = g_string_new(NULL);
        fixture->askers = g_ptr_array_new_with_free_func(g_free);
        fixture_must(sd_event_new(&fixture->event));
        start_polkit(fixture);
        fixture->bus = fixture_daemon_connect(&bus_daemon, fixture->event);
        fixture->authority = gl_polkit_authority_new(fixture->bus, bounds->max_queries, 2, bounds->timeout);
}

static void tear_down(Fixture *fixture, gconstpointer unused) {
        g_clear_pointer(&fixture->authority, gl_authority_free);
        stop_polkit(fixture);
        sd_bus_close_unref(fixture->bus);
        sd_event_unref(fixture->event);
        g_string_free(fixture->log, TRUE);
        g_string_free(fixture->cancelled, TRUE);
        g_ptr_array_unref(fixture->askers);
        g_clear_error(&fixture->error);
}

static void on_answered(GlAnswer answer, const GError *error, gpointer user_data) {
        static const char *const words[] = {"no", "yes", "challenge"};
        Asker *asker = user_data;
        Fixture *fixture = asker->fixture;

        g_assert_false(asker->answered);
        asker->answered = TRUE;
        g_string_append_printf(fixture->log, "%s %s;", asker->name, words[answer]);
        g_clear_error(&fixture->error);
        fixture->error = error ? g_error_copy(error) : NULL;
        if (fixture->end)
                g_clear_pointer(&fixture->authority, gl_authority_free);
}

static GlQuery *ask_about(Fixture *fixture, guint32 uid, const char *name, gboolean interactive, const char *resource) {
        const char *const details[] = {"owner-uid", "1000", "resource", resource, NULL};
        const GlQuestion question = {.action = "acquire", .details = details};
        Asker *asker = g_new0(Asker, 1);
        GlQuery *query;

        asker->fixture = fixture;
        asker->name = name;
        g_ptr_array_add(fixture->askers, asker);
        query = fixture->authority->ops->ask(fixture->authority, ":1.42", uid, &question, interactive, on_answered,
                                             asker);
        g_assert_nonnull(query);
        g_assert_false(asker->answered);
        return query;
}

static GlQuery *ask(Fixture *fixture, guint32 uid, const char *name, gboolean interactive) {
        return ask_about(fixture, uid, name, interactive, "/srv/ä.img");
}

static void ping(sd_bus *bus) {
        fixture_must(sd_bus_call_method(bus, "org.freedesktop.DBus", "/", "org.freedesktop.DBus", "GetId", NULL, NULL,
                                        NULL));
}

/* Until whatever was sent has been delivered and handled, and what was sent because of that as well. */
static void settle(Fixture *fixture) {
        gboolean quiet;

        do {
                ping(fixture->bus);
                if (fixture->polkit)
                        ping(fixture->polkit);
                ping(fixture->bus);
                quiet = sd_event_run(fixture->event, 0) == 0;
                fixture_settle(fixture->event, 0);
        } while (!quiet);
}

static void await_asked(Fixture *fixture, guint n) {
        fixture_run_until(fixture->event, fixture->n_asked >= n);
        settle(fixture);
        g_assert_cmpuint(fixture->n_asked, ==, n);
}

static void reply(Fixture *fixture, gboolean authorized, gboolean challenge) {
        sd_bus_message *question;

        fixture_run_until(fixture->event, fixture->questions.length > 0);
        question = g_queue_pop_head(&fixture->questions);
        fixture_must(sd_bus_reply_method_return(question, "(bba{ss})", authorized, challenge, 1, "polkit.dismissed",
                                                "x"));
        sd_bus_message_unref(question);
        settle(fixture);
}

static void check_log(Fixture *fixture, const char *expected) {
        g_assert_cmpstr(fixture->log->str, ==, expected);
        g_string_truncate(fixture->log, 0);
}

static void await_answer(Fixture *fixture, const char *expected) {
        fixture_run_until(fixture->event, fixture->log->len > 0);
        check_log(fixture, expected);
}

static void check_question(Fixture *fixture, guint32 flags, const char *id) {
        const char *kind, *key, *name, *action, *keys[2], *values[2], *given_id;
        guint32 given_flags;

        fixture_must(sd_bus_message_read(g_queue_peek_head(&fixture->questions), "(sa{sv})sa{ss}us", &kind, 1, &key,
                                         "s", &name, &action, 2, &keys[0], &values[0], &keys[1], &values[1],
                                         &given_flags, &given_id));
        g_assert_cmpstr(kind, ==, "system-bus-name");
        g_assert_cmpstr(key, ==, "name");
        g_assert_cmpstr(name, ==, ":1.42");
        g_assert_cmpstr(action, ==, "org.guestlock1.acquire");
        g_assert_cmpstr(keys[0], ==, "owner-uid");
        g_assert_cmpstr(values[0], ==, "1000");
        g_assert_cmpstr(keys[1], ==, "resource");
        g_assert_cmpstr(values[1], ==, "/srv/ä.img");
        g_assert_cmpuint(given_flags, ==, flags);
        g_assert_cmpstr(given_id, ==, id);
}

static void test_answers(Fixture *fixture, gconstpointer unused) {
        ask(fixture, 1000, "a", FALSE);
        await_asked(fixture, 1);
        check_question(fixture, 0, "");
        reply(fixture, TRUE, FALSE);
        await_answer(fixture, "a yes;");
        g_assert_no_error(fixture->error);
        ask(fixture, 1000, "a", FALSE);
        reply(fixture, FALSE, FALSE);
        await_answer(fixture, "a no;");
        g_assert_no_error(fixture->error);
        ask(fixture, 1000, "a", FALSE);
        reply(fixture, FALSE, TRUE);
        await_answer(fixture, "a challenge;");
        g_assert_no_error(fixture->error);
}

static void test_root_is_not_asked_about(Fixture *fixture, gconstpointer unused) {
        stop_polkit(fixture);
        ask(fixture, 0, "a", FALSE);
        ask(fixture, 0, "b", TRUE);
        check_log(fixture, "");
        fixture_run_until(fixture->event, strstr(fixture->log->str, "b"));
        check_log(fixture, "a yes;b yes;");
        g_assert_cmpuint(fixture->n_asked, ==, 0);
}

static void check_denied(Fixture *fixture, const char *sentence) {
        await_answer(fixture, "a no;");
        g_assert_error(fixture->error, GL_ERROR, GL_ERROR_ACCESS_DENIED);
        g_assert_cmpstr(fixture->error->message, ==, sentence);
}

static void test_absent(Fixture *fixture, gconstpointer unused) {
        stop_polkit(fixture);
        ask(fixture, 1000, "a", FALSE);
        check_log(fixture, "");
        check_denied(fixture, "polkit is not running, and only root may do this without it.");
}

static void test_never_answers(Fixture *fixture, gconstpointer unused) {
        gint64 before = g_get_monotonic_time();

        ask(fixture, 1000, "a", FALSE);
        check_denied(fixture, "polkit did not answer, and only root may do this without it.");
        g_assert_cmpint(g_get_monotonic_time() - before, >=, hasty.timeout);
        /* An answer that comes too late is nobody's. */
        reply(fixture, TRUE, FALSE);
        check_log(fixture, "");
}

static void test_error(Fixture *fixture, gconstpointer unused) {
        ask(fixture, 1000, "a", FALSE);
        await_asked(fixture, 1);
        fixture_must(sd_bus_reply_method_errorf(g_queue_peek_head(&fixture->questions),
                                                "org.freedesktop.PolicyKit1.Error.Failed", "No such action."));
        check_denied(fixture, "polkit cannot say whether this is allowed: No such action.");
}

static void test_garbage(Fixture *fixture, gconstpointer unused) {
        ask(fixture, 1000, "a", FALSE);
        await_asked(fixture, 1);
        fixture_must(sd_bus_reply_method_return(g_queue_peek_head(&fixture->questions), "b", TRUE));
        check_denied(fixture, "polkit answered something that is neither yes nor no.");
}

static void test_text_that_no_bus_carries(Fixture *fixture, gconstpointer unused) {
        ask_about(fixture, 1000, "a", FALSE, "/srv/\xff.img");
        check_denied(fixture, "polkit cannot be asked whether this is allowed: Invalid argument.");
        g_assert_cmpuint(fixture->n_asked, ==, 0);
}

/* The one that polkit had is denied; the one that waited is asked of the next polkit, of which there is none. */
static void test_dies(Fixture *fixture, gconstpointer unused) {
        ask(fixture, 1000, "a", FALSE);
        ask(fixture, 1000, "b", FALSE);
        await_asked(fixture, 1);
        stop_polkit(fixture);
        check_denied(fixture, "polkit did not answer, and only root may do this without it.");
        await_answer(fixture, "b no;");
        g_assert_cmpstr(fixture->error->message, ==, "polkit is not running, and only root may do this without it.");
        start_polkit(fixture);
        ask(fixture, 1000, "a", FALSE);
        reply(fixture, TRUE, FALSE);
        await_answer(fixture, "a yes;");
}

static void test_dialog(Fixture *fixture, gconstpointer unused) {
        ask(fixture, 1000, "a", TRUE);
        await_asked(fixture, 1);
        check_question(fixture, 1, "guestlock-1");
        /* A person may think about it for longer than a silent question takes. */
        fixture_settle(fixture->event, 2 * hasty.timeout / 1000);
        check_log(fixture, "");
        reply(fixture, TRUE, FALSE);
        await_answer(fixture, "a yes;");
        ask(fixture, 1000, "a", TRUE);
        reply(fixture, FALSE, FALSE);
        await_answer(fixture, "a no;");
        g_assert_no_error(fixture->error);
        ask(fixture, 1000, "a", TRUE);
        reply(fixture, FALSE, TRUE);
        check_denied(fixture, "This needs a password, and polkit got none that it accepts or found nobody to ask.");
}

static void test_dialogs_have_a_limit(Fixture *fixture, gconstpointer unused) {
        ask(fixture, 1000, "a", TRUE);
        ask(fixture, 1000, "b", TRUE);
        ask(fixture, 1000, "c", TRUE);
        check_log(fixture, "");
        await_answer(fixture, "c no;");
        g_assert_error(fixture->error, GL_ERROR, GL_ERROR_LIMIT_EXCEEDED);
        ask(fixture, 1001, "d", TRUE);
        ask(fixture, 1000, "e", FALSE);
        await_asked(fixture, 4);
        reply(fixture, TRUE, FALSE);
        await_answer(fixture, "a yes;");
        ask(fixture, 1000, "f", TRUE);
        await_asked(fixture, 5);
        check_log(fixture, "");
}

static void test_dialogs_hold_up_nobody(Fixture *fixture, gconstpointer unused) {
        ask(fixture, 1000, "a", TRUE);
        ask(fixture, 1001, "b", TRUE);
        ask(fixture, 1000, "c", FALSE);
        ask(fixture, 1001, "d", FALSE);
        await_asked(fixture, 2);
        /* The dialog, which was asked first, stays open. */
        g_queue_push_tail_link(&fixture->questions, g_queue_pop_head_link(&fixture->questions));
        reply(fixture, TRUE, FALSE);
        await_answer(fixture, "c yes;");
        await_asked(fixture, 3);
}

static void test_users_take_turns(Fixture *fixture, gconstpointer unused) {
        static const char *const names[] = {"a1", "a2", "a3", "a4"};

        for (guint i = 0; i < G_N_ELEMENTS(names); i++)
                ask(fixture, 1000, names[i], FALSE);
        ask(fixture, 1001, "b1", FALSE);
        ask(fixture, 1001, "b2", FALSE);
        ask(fixture, 1002, "c1", FALSE);
        for (guint i = 1; i <= 7; i++) {
                await_asked(fixture, i);
                reply(fixture, TRUE, FALSE);
        }
        check_log(fixture, "a1 yes;b1 yes;c1 yes;a2 yes;b2 yes;a3 yes;a4 yes;");
}

/* polkit works on what it is asked in the order in which it comes: so one user's questions never all lie before it. */
static void test_one_user_asks_little_at_once(Fixture *fixture, gconstpointer unused) {
        static const char *const names[] = {"a1", "a2", "a3", "a4", "a5"};

        for (guint i = 0; i < G_N_ELEMENTS(names); i++)
                ask(fixture, 1000, names[i], FALSE);
        settle(fixture);
        g_assert_cmpuint(fixture->n_asked, ==, 1);
        ask(fixture, 1001, "b1", FALSE);
        await_asked(fixture, 2);
        for (guint i = 0; i < 6; i++)
                reply(fixture, TRUE, FALSE);
        check_log(fixture, "a1 yes;b1 yes;a2 yes;a3 yes;a4 yes;a5 yes;");
}

/*
 * Neither does the last wait for the time that all before it take: polkit is asked about the first, and at most about
 * one more, which by the time that it is not answered either leaves the others overdue.
 */
static void test_never_answers_many(Fixture *fixture, gconstpointer unused) {
        static const char *const names[] = {"a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8"};

        for (guint i = 0; i < G_N_ELEMENTS(names); i++)
                ask(fixture, 1000, names[i], FALSE);
        fixture_run_until(fixture->event, strstr(fixture->log->str, "a8 no;"));
        settle(fixture);
        g_assert_cmpuint(fixture->n_asked, <=, 2);
        g_assert_error(fixture->error, GL_ERROR, GL_ERROR_ACCESS_DENIED);
        g_assert_cmpstr(fixture->error->message, ==, "polkit did not answer, and only root may do this without it.");
        for (guint i = 0; i < 8; i++)
                g_assert_true(((Asker *) fixture->askers->pdata[i])->answered);
}

static void cancel(Fixture *fixture, GlQuery *query) {
        fixture->authority->ops->cancel(fixture->authority, query);
}

static void test_cancel_before_it_is_asked(Fixture *fixture, gconstpointer unused) {
        GlQuery *root, *waiting, *alone;

        root = ask(fixture, 0, "r", FALSE);
        ask(fixture, 1000, "a", FALSE);
        waiting = ask(fixture, 1000, "b", FALSE);
        ask(fixture, 1000, "c", FALSE);
        alone = ask(fixture, 1001, "d", FALSE);
        cancel(fixture, root);
        cancel(fixture, waiting);
        cancel(fixture, alone);
        reply(fixture, TRUE, FALSE);
        reply(fixture, TRUE, FALSE);
        check_log(fixture, "a yes;c yes;");
        g_assert_cmpuint(fixture->n_asked, ==, 2);
}

/* polkit still works on it, and the bus still counts it: the next one has to wait. */
static void test_cancel_under_way(Fixture *fixture, gconstpointer unused) {
        GlQuery *query = ask(fixture, 1000, "a", FALSE);

        ask(fixture, 1000, "b", FALSE);
        await_asked(fixture, 1);
        cancel(fixture, query);
        settle(fixture);
        g_assert_cmpuint(fixture->n_asked, ==, 1);
        g_assert_cmpstr(fixture->cancelled->str, ==, "");
        reply(fixture, TRUE, FALSE);
        await_asked(fixture, 2);
        reply(fixture, TRUE, FALSE);
        check_log(fixture, "b yes;");
}

static void test_cancel_dialog(Fixture *fixture, gconstpointer unused) {
        GlQuery *query;

        ask(fixture, 1000, "a", TRUE);
        query = ask(fixture, 1000, "b", TRUE);
        await_asked(fixture, 2);
        cancel(fixture, query);
        fixture_run_until(fixture->event, fixture->cancelled->len > 0);
        g_assert_cmpstr(fixture->cancelled->str, ==, "guestlock-2;");
        /* Until polkit has let go of it, it counts. */
        ask(fixture, 1000, "c", TRUE);
        await_answer(fixture, "c no;");
        reply(fixture, TRUE, FALSE);
        await_answer(fixture, "a yes;");
        reply(fixture, FALSE, FALSE);
        ask(fixture, 1000, "d", TRUE);
        ask(fixture, 1000, "e", TRUE);
        await_asked(fixture, 4);
        check_log(fixture, "");
}

static void test_free_with_everything(Fixture *fixture, gconstpointer unused) {
        ask(fixture, 1000, "a", FALSE);
        ask(fixture, 1000, "b", FALSE);
        ask(fixture, 1001, "c", FALSE);
        ask(fixture, 1000, "d", TRUE);
        ask(fixture, 1001, "e", TRUE);
        await_asked(fixture, 2);
        ask(fixture, 0, "f", FALSE);
        ask(fixture, 0, "g", FALSE);
        g_clear_pointer(&fixture->authority, gl_authority_free);
        fixture_run_until(fixture->event, fixture->cancelled->len > 0);
        g_assert_cmpstr(fixture->cancelled->str, ==, "guestlock-1;");
        reply(fixture, TRUE, FALSE);
        reply(fixture, TRUE, FALSE);
        check_log(fixture, "");
}

static void test_answer_is_the_end(Fixture *fixture, gconstpointer unused) {
        fixture->end = TRUE;
        ask(fixture, 1000, "a", FALSE);
        ask(fixture, 1000, "b", FALSE);
        reply(fixture, TRUE, FALSE);
        await_answer(fixture, "a yes;");
        g_assert_null(fixture->authority);

        fixture->authority = gl_polkit_authority_new(fixture->bus, narrow.max_queries, 2, narrow.timeout);
        ask(fixture, 0, "a", FALSE);
        ask(fixture, 0, "b", FALSE);
        await_answer(fixture, "a yes;");
        settle(fixture);
        check_log(fixture, "");
}

int main(int argc, char **argv) {
        int result;

        g_test_init(&argc, &argv, NULL);
#define ADD(name, bounds, function)                                                                                    \
        g_test_add("/polkit/" name, Fixture, &bounds, set_up, function, tear_down)
        ADD("answers", roomy, test_answers);
        ADD("root-is-not-asked-about", roomy, test_root_is_not_asked_about);
        ADD("absent", roomy, test_absent);
        ADD("never-answers", hasty, test_never_answers);
        ADD("error", roomy, test_error);
        ADD("garbage", roomy, test_garbage);
        ADD("text-that-no-bus-carries", roomy, test_text_that_no_bus_carries);
        ADD("dies", narrow, test_dies);
        ADD("dialog", hasty, test_dialog);
        ADD("dialogs-have-a-limit", roomy, test_dialogs_have_a_limit);
        ADD("dialogs-hold-up-nobody", narrow, test_dialogs_hold_up_nobody);
        ADD("users-take-turns", narrow, test_users_take_turns);
        ADD("one-user-asks-little-at-once", roomy, test_one_user_asks_little_at_once);
        ADD("never-answers-many", hasty, test_never_answers_many);
        ADD("cancel-before-it-is-asked", narrow, test_cancel_before_it_is_asked);
        ADD("cancel-under-way", narrow, test_cancel_under_way);
        ADD("cancel-dialog", roomy, test_cancel_dialog);
        ADD("free-with-everything", narrow, test_free_with_everything);
        ADD("answer-is-the-end", narrow, test_answer_is_the_end);
        fixture_daemon_start(&bus_daemon);
        result = g_test_run();
        fixture_daemon_stop(&bus_daemon);
        return result;
}
