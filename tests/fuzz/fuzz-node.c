/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/place.h"
#include "fuzz.h"

/* Two nodes as text, a line each: what is read can be written and read again, and nodes are in a total order. */

static gboolean read_node(const char *text, GlNode *node) {
        static const GlNode untouched = {GL_NODE_BLOCK, 1, 2, 3};
        g_autofree char *written = NULL;
        GlNode again;

        *node = untouched;
        if (!gl_node_from_string(text, node)) {
                g_assert_true(gl_node_equal(node, &untouched));
                return FALSE;
        }
        written = gl_node_to_string(node);
        for (const char *at = written; *at; at++)
                g_assert_true(g_ascii_islower(*at) || g_ascii_isdigit(*at) || *at == '-');
        g_assert_true(gl_node_from_string(written, &again));
        g_assert_true(gl_node_equal(node, &again));
        g_assert_cmpuint(gl_node_hash(node), ==, gl_node_hash(&again));
        return TRUE;
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size) {
        g_autofree char *first = NULL;
        g_autofree char *second = fuzz_text_after_line(data, size, &first);
        GlNode a, b;
        gboolean read_a = read_node(first, &a), read_b = read_node(second, &b);

        if (!read_a || !read_b)
                return 0;
        g_assert_cmpint(gl_node_compare(&a, &b), ==, -gl_node_compare(&b, &a));
        g_assert_true(gl_node_equal(&a, &b) == (gl_node_compare(&a, &b) == 0));
        return 0;
}
