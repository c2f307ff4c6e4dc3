/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/types.h"

static void test_words_round_trip(void) {
        for (GlMode mode = GL_MODE_READONLY; mode <= GL_MODE_EXCLUSIVE; mode++) {
                GlMode back;

                g_assert_true(gl_mode_from_string(gl_mode_to_string(mode), &back));
                g_assert_cmpint(back, ==, mode);
        }
        g_assert_cmpstr(gl_mode_to_string(GL_MODE_EXCLUSIVE), ==, "exclusive");
        g_assert_cmpstr(gl_release_reason_to_string(GL_RELEASE_GUEST_EXITED), ==, "guest-exited");
}

static void test_unknown_word_leaves_output_alone(void) {
        GlScope scope = GL_SCOPE_SHARED;

        g_assert_false(gl_scope_from_string("Host", &scope));
        g_assert_false(gl_scope_from_string("", &scope));
        g_assert_cmpint(scope, ==, GL_SCOPE_SHARED);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/types/words-round-trip", test_words_round_trip);
        g_test_add_func("/types/unknown-word-leaves-output-alone", test_unknown_word_leaves_output_alone);
        return g_test_run();
}
