/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "core/error.h"
#include "core/names.h"
#include "core/obstacle.h"

/* What callers name things, and how things are named to them. */

static void assert_invalid(gboolean result, GError *error) {
        g_assert_false(result);
        g_assert_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS);
        g_assert_true(g_str_has_suffix(error->message, "."));
        g_error_free(error);
}

static void test_uuid(void) {
        const char *const wrong[] = {
                "",
                "4dea22b3-1d52-d8f3-2516-782e98ab3fa",
                "4dea22b3-1d52-d8f3-2516-782e98ab3fa00",
                "4dea22b31d52d8f32516782e98ab3fa0",
                "4dea22b3-1d52-d8f3-2516-782e98ab3fag",
                "4dea22b31-d52-d8f3-2516-782e98ab3fa0",
                "{dea22b3-1d52-d8f3-2516-782e98ab3fa}",
                "00000000-0000-0000-0000-000000000000",
        };
        char lower[37] = "untouched";
        GError *error = NULL;

        for (guint i = 0; i < G_N_ELEMENTS(wrong); i++, error = NULL) {
                gboolean result = gl_uuid_parse(wrong[i], lower, &error);

                assert_invalid(result, error);
                g_assert_cmpstr(lower, ==, "untouched");
        }
        g_assert_true(gl_uuid_parse("4DEA22b3-1D52-d8f3-2516-782E98AB3FA0", lower, &error));
        g_assert_no_error(error);
        g_assert_cmpstr(lower, ==, "4dea22b3-1d52-d8f3-2516-782e98ab3fa0");
}

static void test_drivers(void) {
        const char *const right[] = {"file", "guest-only", "a", "9", "-", "abcdefghijklmnopqrstuvwxyz012345"};
        const char *const wrong[] = {"",     "File", "guest_only", "..", "a/b", "a.so", "a b", "a\n", "\xc3\xa4",
                                     "abcdefghijklmnopqrstuvwxyz0123456"};

        for (guint i = 0; i < G_N_ELEMENTS(right); i++) {
                g_assert_true(gl_is_driver_name(right[i]));
                g_assert_true(gl_check_driver_name(right[i], NULL));
        }
        for (guint i = 0; i < G_N_ELEMENTS(wrong); i++) {
                GError *error = NULL;
                gboolean result = gl_check_driver_name(wrong[i], &error);

                g_assert_false(gl_is_driver_name(wrong[i]));
                assert_invalid(result, error);
        }
}

static void test_lengths(void) {
        GlLimits limits;
        g_autofree char *fits = g_strnfill(255, 'n'), *longer = g_strnfill(256, 'n');
        g_autofree char *path = g_strnfill(4096, '/'), *fitting_path = g_strnfill(4095, '/');
        GError *error = NULL;
        gboolean result;

        gl_limits_set_defaults(&limits);
        g_assert_true(gl_check_guest_name(&limits, fits, NULL));
        g_assert_true(gl_check_resource_name(&limits, GL_RESOURCE_LEASE, fits, NULL));
        g_assert_true(gl_check_resource_name(&limits, GL_RESOURCE_DISK, fitting_path, NULL));

        result = gl_check_guest_name(&limits, longer, &error);
        assert_invalid(result, g_steal_pointer(&error));
        result = gl_check_guest_name(&limits, "", &error);
        assert_invalid(result, g_steal_pointer(&error));
        result = gl_check_resource_name(&limits, GL_RESOURCE_LEASE, longer, &error);
        assert_invalid(result, g_steal_pointer(&error));
        result = gl_check_resource_name(&limits, GL_RESOURCE_LEASE, "", &error);
        assert_invalid(result, g_steal_pointer(&error));
        result = gl_check_resource_name(&limits, GL_RESOURCE_DISK, path, &error);
        g_assert_cmpuint(strlen(error->message), <, 300); /* does not repeat it all */
        assert_invalid(result, g_steal_pointer(&error));
}

static void test_paths(void) {
        const char *const wrong[] = {"", "a", "./a", "../a", "file:///a"};
        GlLimits limits;
        GError *error = NULL;

        gl_limits_set_defaults(&limits);
        for (guint i = 0; i < G_N_ELEMENTS(wrong); i++, error = NULL) {
                gboolean result = gl_check_resource_name(&limits, GL_RESOURCE_DISK, wrong[i], &error);

                assert_invalid(result, error);
        }
        g_assert_true(gl_check_resource_name(&limits, GL_RESOURCE_DISK, "/srv/../a", NULL));
        g_assert_true(gl_check_resource_name(&limits, GL_RESOURCE_LEASE, "a key", NULL));
}

static void test_quote(void) {
        static const struct {
                const char *text, *quoted;
        } cases[] = {
                {"", "\"\""},
                {"/srv/a b.img", "\"/srv/a b.img\""},
                {"a\"b\\c", "\"a\\\"b\\\\c\""},
                {"a\nb\033[2J", "\"a\\x0ab\\x1b[2J\""},
                {"\x7f", "\"\\x7f\""},
                {"/srv/größe", "\"/srv/größe\""},
                {"a\xff\xc3", "\"a\\xff\\xc3\""},
                {"\u202e", "\"\\u{202e}\""}, /* turns the text around */
                {"\u2028\xc2\x85", "\"\\u{2028}\\u{85}\""}, /* break lines */
        };

        for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *quoted = gl_quote(cases[i].text);

                g_assert_cmpstr(quoted, ==, cases[i].quoted);
                g_assert_true(g_utf8_validate(quoted, -1, NULL));
        }
}

static GlObstacle *web1(void) {
        GlObstacle *obstacle = gl_obstacle_new();

        obstacle->guest_uuid = g_strdup("4dea22b3-1d52-d8f3-2516-782e98ab3fa0");
        obstacle->guest_name = g_strdup("web1");
        obstacle->pid = 4242;
        obstacle->host = g_strdup("kvm1");
        obstacle->name = g_strdup("/srv/link-to-b.img");
        obstacle->has_mode = TRUE;
        obstacle->mode = GL_MODE_EXCLUSIVE;
        obstacle->since = G_GINT64_CONSTANT(1795356187) * G_USEC_PER_SEC;
        return obstacle;
}

static GPtrArray *obstacles_new(void) {
        return g_ptr_array_new_with_free_func((GDestroyNotify) gl_obstacle_free);
}

static void test_sentence_of_a_guest(void) {
        g_autoptr(GPtrArray) obstacles = obstacles_new();
        g_autofree char *sentence = NULL;

        g_ptr_array_add(obstacles, web1());
        sentence = gl_obstacles_to_sentence(GL_RESOURCE_DISK, "/srv/b.img", obstacles);
        g_assert_cmpstr(sentence, ==,
                        "Disk \"/srv/b.img\" is in use: guest \"web1\" (4dea22b3-1d52-d8f3-2516-782e98ab3fa0, "
                        "pid 4242, host kvm1) holds it as \"/srv/link-to-b.img\", exclusive, since 2026-11-22 14:03:07.");
}

static void test_sentence_of_several(void) {
        g_autoptr(GPtrArray) obstacles = obstacles_new();
        GlObstacle *qemu = gl_obstacle_new(), *nobody = gl_obstacle_new(), *process = gl_obstacle_new();
        g_autofree char *sentence = NULL, *unknown = gl_obstacles_to_sentence(GL_RESOURCE_DISK, "/a\n", NULL);

        qemu->command = g_strdup("qemu-system-x86\n");
        qemu->pid = 7;
        qemu->via = g_strdup("loop7 is backed by /srv/a.img");
        process->pid = 8;
        g_ptr_array_add(obstacles, qemu);
        g_ptr_array_add(obstacles, process);
        g_ptr_array_add(obstacles, nobody);
        sentence = gl_obstacles_to_sentence(GL_RESOURCE_LEASE, "key", obstacles);
        g_assert_cmpstr(sentence, ==,
                        "Lease \"key\" is in use: program \"qemu-system-x86\\x0a\" (pid 7) holds it "
                        "(loop7 is backed by /srv/a.img); a program (pid 8) holds it; somebody holds it.");
        g_assert_cmpstr(unknown, ==, "Disk \"/a\\x0a\" is in use.");
}

int main(int argc, char **argv) {
        g_setenv("TZ", "UTC", TRUE);
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/names/uuid", test_uuid);
        g_test_add_func("/names/drivers", test_drivers);
        g_test_add_func("/names/lengths", test_lengths);
        g_test_add_func("/names/paths", test_paths);
        g_test_add_func("/names/quote", test_quote);
        g_test_add_func("/names/sentence-of-a-guest", test_sentence_of_a_guest);
        g_test_add_func("/names/sentence-of-several", test_sentence_of_several);
        return g_test_run();
}
