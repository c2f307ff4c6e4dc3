/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/errors.h"

#include "bus-fixture.h"

/* The contract's names, in the order of the codes. */
static const char *const contract[GL_N_ERRORS] = {
        "org.guestlock1.Error.Conflict",
        "org.guestlock1.Error.BadState",
        "org.guestlock1.Error.NoSuchGuest",
        "org.guestlock1.Error.NoSuchResource",
        "org.guestlock1.Error.AlreadyExists",
        "org.guestlock1.Error.AlreadyRegistered",
        "org.guestlock1.Error.NotSupported",
        "org.guestlock1.Error.Timeout",
        "org.guestlock1.Error.Cancelled",
        "org.guestlock1.Error.Stale",
        "org.guestlock1.Error.LeaseLost",
        "org.guestlock1.Error.GuestRunning",
        "org.guestlock1.Error.NoChild",
        "org.guestlock1.Error.LimitExceeded",
        "org.guestlock1.Error.NoSuchDriver",
        "org.guestlock1.Error.DriverInUse",
        "org.guestlock1.Error.DriverFailed",
        "org.guestlock1.Error.StorageUnavailable",
        "org.freedesktop.DBus.Error.InvalidArgs",
        "org.freedesktop.DBus.Error.AccessDenied",
        "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
        "org.freedesktop.DBus.Error.UnknownObject",
};

static void test_names(void) {
        for (int code = 0; code < GL_N_ERRORS; code++)
                g_assert_cmpstr(gl_error_to_bus_name(code), ==, contract[code]);
        g_assert_cmpstr(gl_error_to_bus_name(GL_N_ERRORS), ==, SD_BUS_ERROR_FAILED);
        g_assert_cmpstr(gl_error_to_bus_name(-1), ==, SD_BUS_ERROR_FAILED);
}

typedef struct {
        const GError *error;
        int returned;
        gboolean answered;
        sd_bus_error heard;
} Exchange;

static int on_call(sd_bus_message *call, void *user_data, sd_bus_error *unused) {
        Exchange *exchange = user_data;

        exchange->returned = gl_bus_reply_error(call, exchange->error);
        return exchange->returned;
}

static int on_reply(sd_bus_message *reply, void *user_data, sd_bus_error *unused) {
        Exchange *exchange = user_data;

        sd_bus_error_copy(&exchange->heard, sd_bus_message_get_error(reply));
        exchange->answered = TRUE;
        return 1;
}

/* What a caller hears of ERROR. */
static void check_heard(const GError *error, const char *name, const char *message) {
        sd_event *event = NULL;
        FixturePair pair;
        Exchange exchange = {.error = error};

        fixture_must(sd_event_new(&event));
        fixture_pair_open(&pair, event, FALSE);
        fixture_must(sd_bus_add_object(pair.server, NULL, "/x", on_call, &exchange));
        fixture_must(sd_bus_call_method_async(pair.client, NULL, NULL, "/x", "x.Y", "Z", on_reply, &exchange, NULL));
        fixture_run_until(event, exchange.answered);
        g_assert_cmpint(exchange.returned, ==, 1);
        g_assert_cmpstr(exchange.heard.name, ==, name);
        g_assert_cmpstr(exchange.heard.message, ==, message);
        sd_bus_error_free(&exchange.heard);
        fixture_pair_close(&pair);
        sd_event_unref(event);
}

static void test_reply(void) {
        g_autoptr(GError) ours = g_error_new_literal(GL_ERROR, GL_ERROR_BAD_STATE, "100 %s is no format.");
        g_autoptr(GError) mangled = g_error_new_literal(GL_ERROR, GL_ERROR_CONFLICT, "\"/srv/\xff\" is in use.");
        g_autoptr(GError) not_for_dbus = g_error_new_literal(GL_ERROR, GL_ERROR_STALE, "\"\xef\xbf\xbe\" is \xc3\xa4.");
        g_autoptr(GError) foreign = g_error_new_literal(G_FILE_ERROR, G_FILE_ERROR_NOENT, "Not there.");

        check_heard(ours, "org.guestlock1.Error.BadState", "100 %s is no format.");
        check_heard(mangled, "org.guestlock1.Error.Conflict", "\"/srv/\xef\xbf\xbd\" is in use.");
        check_heard(not_for_dbus, "org.guestlock1.Error.Stale", "\\\"\\357\\277\\276\\\" is \\303\\244.");
        check_heard(foreign, SD_BUS_ERROR_FAILED, "Not there.");
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/errors/names", test_names);
        g_test_add_func("/errors/reply", test_reply);
        return g_test_run();
}
