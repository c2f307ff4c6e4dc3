/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/gate.h"

#include "bus-fixture.h"

/* A server that notes which calls reach it, and a client that notes what comes back. */
typedef struct {
        sd_event *event;
        FixturePair pair;
        GlGate *gate;
        GString *called;
        guint n_replies;
        guint n_failed;
} Fixture;

static int on_call(sd_bus_message *message, void *user_data, sd_bus_error *unused) {
        Fixture *fixture = user_data;

        g_string_append(fixture->called, sd_bus_message_get_member(message));
        return sd_bus_reply_method_return(message, NULL);
}

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("A", NULL, NULL, on_call, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("B", NULL, NULL, on_call, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("C", NULL, NULL, on_call, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

static void set_up(Fixture *fixture, gconstpointer unused) {
        g_autoptr(GError) error = NULL;

        fixture_must(sd_event_new(&fixture->event));
        fixture_pair_open(&fixture->pair, fixture->event, FALSE);
        fixture_must(sd_bus_add_object_vtable(fixture->pair.server, NULL, "/x", "x.Y", vtable, fixture));
        fixture->called = g_string_new(NULL);
        fixture->gate = gl_gate_new(fixture->pair.server, &error);
        g_assert_no_error(error);
}

static void tear_down(Fixture *fixture, gconstpointer unused) {
        gl_gate_free(fixture->gate);
        g_string_free(fixture->called, TRUE);
        fixture_pair_close(&fixture->pair);
        sd_event_unref(fixture->event);
}

static int on_reply(sd_bus_message *reply, void *user_data, sd_bus_error *unused) {
        Fixture *fixture = user_data;

        fixture->n_replies++;
        fixture->n_failed += sd_bus_message_is_method_error(reply, NULL) > 0;
        return 1;
}

static void call(Fixture *fixture, sd_bus *from, const char *path, const char *member) {
        fixture_must(sd_bus_call_method_async(from, NULL, NULL, path, "x.Y", member, on_reply, fixture, NULL));
}

static void calls_wait_until_it_opens(Fixture *fixture, gconstpointer unused) {
        call(fixture, fixture->pair.client, "/x", "C");
        call(fixture, fixture->pair.client, "/x", "A");
        call(fixture, fixture->pair.client, "/x", "B");
        fixture_settle(fixture->event, 20);
        g_assert_cmpstr(fixture->called->str, ==, "");
        g_assert_cmpuint(fixture->n_replies, ==, 0);

        gl_gate_open(fixture->gate);
        call(fixture, fixture->pair.client, "/x", "A");
        fixture_run_until(fixture->event, fixture->n_replies == 4);
        g_assert_cmpstr(fixture->called->str, ==, "CABA");
        g_assert_cmpuint(fixture->n_failed, ==, 0);
}

static void wrong_calls_wait_too(Fixture *fixture, gconstpointer unused) {
        call(fixture, fixture->pair.client, "/nothing", "A");
        fixture_settle(fixture->event, 20);
        g_assert_cmpuint(fixture->n_replies, ==, 0);

        gl_gate_open(fixture->gate);
        fixture_run_until(fixture->event, fixture->n_replies == 1);
        g_assert_cmpuint(fixture->n_failed, ==, 1);
        g_assert_cmpstr(fixture->called->str, ==, "");
}

/* What the service itself asks is answered meanwhile. */
static void replies_pass(Fixture *fixture, gconstpointer unused) {
        fixture_must(sd_bus_add_object_vtable(fixture->pair.client, NULL, "/x", "x.Y", vtable, fixture));
        call(fixture, fixture->pair.client, "/x", "A");
        fixture_settle(fixture->event, 20);
        call(fixture, fixture->pair.server, "/x", "B");
        fixture_run_until(fixture->event, fixture->n_replies == 1);
        g_assert_cmpstr(fixture->called->str, ==, "B");
        g_assert_cmpuint(fixture->n_failed, ==, 0);
}

static void only_so_many_wait(Fixture *fixture, gconstpointer unused) {
        for (guint i = 0; i < 131; i++)
                call(fixture, fixture->pair.client, "/x", "A");
        fixture_run_until(fixture->event, fixture->n_replies == 3);
        g_assert_cmpuint(fixture->n_failed, ==, 3);

        gl_gate_open(fixture->gate);
        fixture_run_until(fixture->event, fixture->n_replies == 131);
        g_assert_cmpuint(fixture->n_failed, ==, 3);
        g_assert_cmpuint(fixture->called->len, ==, 128);
}

static void ends_with_calls_waiting(Fixture *fixture, gconstpointer unused) {
        call(fixture, fixture->pair.client, "/x", "A");
        fixture_settle(fixture->event, 20);
        g_clear_pointer(&fixture->gate, gl_gate_free);
        call(fixture, fixture->pair.client, "/x", "B");
        fixture_run_until(fixture->event, fixture->n_replies == 1);
        g_assert_cmpstr(fixture->called->str, ==, "B");
}

#define ADD(name, function) g_test_add("/gate/" name, Fixture, NULL, set_up, function, tear_down)

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        ADD("calls-wait-until-it-opens", calls_wait_until_it_opens);
        ADD("wrong-calls-wait-too", wrong_calls_wait_too);
        ADD("replies-pass", replies_pass);
        ADD("only-so-many-wait", only_so_many_wait);
        ADD("ends-with-calls-waiting", ends_with_calls_waiting);
        return g_test_run();
}
