/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/options.h"

#include <fcntl.h>

#include "bus-fixture.h"
#include "core/error.h"

typedef struct {
        sd_event *event;
        FixturePair pair;
        sd_bus_message *message;
} Fixture;

typedef struct {
        const char *name;
        guint32 id;
        guint64 offset;
        gboolean keep;
        int fd;
        gboolean has_name, has_id, has_keep;
} Values;

static const Values untouched = {"untouched", 7, 8, 2, -9, 5, 5, 5};

#define TABLE(values)                                                                                                  \
        (const GlOption[]) {                                                                                           \
                {"name", 's', &(values).name, &(values).has_name}, {"id", 'u', &(values).id, &(values).has_id},        \
                        {"offset", 't', &(values).offset, NULL}, {"keep", 'b', &(values).keep, &(values).has_keep},    \
                        {"pidfd", 'h', &(values).fd, NULL}, {                                                          \
                }                                                                                                      \
        }

static void set_up(Fixture *fixture, gconstpointer unused) {
        fixture_must(sd_event_new(&fixture->event));
        fixture_pair_open(&fixture->pair, fixture->event, FALSE);
        fixture_must(sd_bus_message_new_signal(fixture->pair.server, &fixture->message, "/x", "x.Y", "Z"));
}

static void tear_down(Fixture *fixture, gconstpointer unused) {
        sd_bus_message_unref(fixture->message);
        fixture_pair_close(&fixture->pair);
        sd_event_unref(fixture->event);
}

/* The message is ended by "END", so that its position can be looked at. */
static void seal(Fixture *fixture) {
        fixture_must(sd_bus_message_append(fixture->message, "s", "END"));
        fixture_must(sd_bus_message_seal(fixture->message, 1, 0));
        fixture_must(sd_bus_message_rewind(fixture->message, TRUE));
}

static void check_at_end(Fixture *fixture) {
        const char *end;

        g_assert_cmpint(sd_bus_message_read(fixture->message, "s", &end), ==, 1);
        g_assert_cmpstr(end, ==, "END");
        g_assert_cmpint(sd_bus_message_at_end(fixture->message, TRUE), ==, 1);
}

static void check_untouched(const Values *values) {
        g_assert_cmpstr(values->name, ==, untouched.name);
        g_assert_cmpuint(values->id, ==, untouched.id);
        g_assert_cmpuint(values->offset, ==, untouched.offset);
        g_assert_cmpint(values->keep, ==, untouched.keep);
        g_assert_cmpint(values->fd, ==, untouched.fd);
        g_assert_true(values->has_name == 5 && values->has_id == 5 && values->has_keep == 5);
}

static void check_refused(Fixture *fixture, const char *sentence) {
        g_autoptr(GError) error = NULL;
        Values values = untouched;

        seal(fixture);
        g_assert_false(gl_options_read(fixture->message, TABLE(values), &error));
        g_assert_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS);
        g_assert_cmpstr(error->message, ==, sentence);
        check_untouched(&values);
        check_at_end(fixture);
}

static void test_all_types(Fixture *fixture, gconstpointer unused) {
        g_autoptr(GError) error = NULL;
        Values values = untouched;

        fixture_must(sd_bus_message_append(fixture->message, "a{sv}", 5, "pidfd", "h", STDERR_FILENO, "keep", "b", TRUE,
                                           "offset", "t", G_MAXUINT64, "id", "u", G_MAXUINT32, "name", "s", "web1"));
        seal(fixture);
        g_assert_true(gl_options_read(fixture->message, TABLE(values), &error));
        g_assert_no_error(error);
        g_assert_cmpstr(values.name, ==, "web1");
        g_assert_cmpuint(values.id, ==, G_MAXUINT32);
        g_assert_cmpuint(values.offset, ==, G_MAXUINT64);
        g_assert_cmpint(values.keep, ==, TRUE);
        g_assert_cmpint(fcntl(values.fd, F_GETFD), >=, 0);
        g_assert_true(values.has_name == TRUE && values.has_id == TRUE && values.has_keep == TRUE);
        check_at_end(fixture);
}

static void test_absent_keeps_value(Fixture *fixture, gconstpointer unused) {
        g_autoptr(GError) error = NULL;
        Values values = untouched;

        fixture_must(sd_bus_message_append(fixture->message, "a{sv}", 1, "name", "s", ""));
        seal(fixture);
        g_assert_true(gl_options_read(fixture->message, TABLE(values), &error));
        g_assert_cmpstr(values.name, ==, "");
        g_assert_cmpuint(values.id, ==, untouched.id);
        g_assert_true(values.has_name == TRUE && values.has_id == FALSE && values.has_keep == FALSE);
        check_at_end(fixture);
}

static void test_empty(Fixture *fixture, gconstpointer unused) {
        g_autoptr(GError) error = NULL;

        fixture_must(sd_bus_message_append(fixture->message, "a{sv}", 0));
        seal(fixture);
        g_assert_true(gl_options_read(fixture->message, (const GlOption[]){{NULL}}, &error));
        check_at_end(fixture);
}

static void test_unknown_key(Fixture *fixture, gconstpointer unused) {
        fixture_must(sd_bus_message_append(fixture->message, "a{sv}", 3, "name", "s", "web1", "Id\n", "a(sv)", 1, "x",
                                           "as", 2, "y", "z", "id", "u", 3));
        check_refused(fixture, "There is no option \"Id\\x0a\" here; there is: \"name\" (s), \"id\" (u), "
                               "\"offset\" (t), \"keep\" (b), \"pidfd\" (h).");
}

static void test_no_options_at_all(Fixture *fixture, gconstpointer unused) {
        g_autoptr(GError) error = NULL;

        fixture_must(sd_bus_message_append(fixture->message, "a{sv}", 1, "", "s", "web1"));
        seal(fixture);
        g_assert_false(gl_options_read(fixture->message, (const GlOption[]){{NULL}}, &error));
        g_assert_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS);
        g_assert_cmpstr(error->message, ==, "There is no option \"\": this call has none.");
        check_at_end(fixture);
}

static void test_long_key_is_shortened(Fixture *fixture, gconstpointer unused) {
        g_autofree char *key = g_strnfill(1 << 20, 'k');
        g_autoptr(GError) error = NULL;

        fixture_must(sd_bus_message_append(fixture->message, "a{sv}", 1, key, "s", "web1"));
        seal(fixture);
        g_assert_false(gl_options_read(fixture->message, (const GlOption[]){{NULL}}, &error));
        g_assert_cmpuint(strlen(error->message), <, 200);
        check_at_end(fixture);
}

static void test_wrong_type(Fixture *fixture, gconstpointer unused) {
        fixture_must(sd_bus_message_append(fixture->message, "a{sv}", 2, "name", "s", "web1", "id", "i", 3));
        check_refused(fixture, "Option \"id\" has to be an unsigned 32-bit number (u), and not of type \"i\".");
}

static void test_container_for_string(Fixture *fixture, gconstpointer unused) {
        fixture_must(sd_bus_message_append(fixture->message, "a{sv}", 2, "name", "(ss)", "a", "b", "id", "u", 3));
        check_refused(fixture, "Option \"name\" has to be a string (s), and not of type \"(ss)\".");
}

static void test_variant_in_variant(Fixture *fixture, gconstpointer unused) {
        fixture_must(sd_bus_message_append(fixture->message, "a{sv}", 1, "id", "v", "u", 3));
        check_refused(fixture, "Option \"id\" has to be an unsigned 32-bit number (u), and not of type \"v\".");
}

static void test_twice(Fixture *fixture, gconstpointer unused) {
        fixture_must(sd_bus_message_append(fixture->message, "a{sv}", 3, "id", "u", 3, "keep", "b", 1, "id", "u", 3));
        check_refused(fixture, "Option \"id\" is given twice.");
}

/* The first complaint is the one that is heard. */
static void test_two_faults(Fixture *fixture, gconstpointer unused) {
        fixture_must(sd_bus_message_append(fixture->message, "a{sv}", 2, "keep", "s", "yes", "nonsense", "u", 3));
        check_refused(fixture, "Option \"keep\" has to be a boolean (b), and not of type \"s\".");
}

static void test_not_options(Fixture *fixture, gconstpointer unused) {
        g_autoptr(GError) error = NULL;
        Values values = untouched;

        seal(fixture);
        g_assert_false(gl_options_read(fixture->message, TABLE(values), &error));
        g_assert_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS);
        check_untouched(&values);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
#define ADD(name, function) g_test_add("/options/" name, Fixture, NULL, set_up, function, tear_down)
        ADD("all-types", test_all_types);
        ADD("absent-keeps-value", test_absent_keeps_value);
        ADD("empty", test_empty);
        ADD("unknown-key", test_unknown_key);
        ADD("no-options-at-all", test_no_options_at_all);
        ADD("long-key-is-shortened", test_long_key_is_shortened);
        ADD("wrong-type", test_wrong_type);
        ADD("container-for-string", test_container_for_string);
        ADD("variant-in-variant", test_variant_in_variant);
        ADD("twice", test_twice);
        ADD("two-faults", test_two_faults);
        ADD("not-options", test_not_options);
        return g_test_run();
}
