/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/state-string.h"

#include <string.h>

#include "core/core.h"
#include "core/error.h"

/* The string that proves that nobody held the resources in between. */

#define UUID "4dea22b3-1d52-d8f3-2516-782e98ab3fa0"

static GlResource *add(GlGuest *guest, GlNode node, GlMode mode, guint64 generation, guint64 mtime) {
        GlResource *resource = gl_guest_record_add_resource(guest);

        resource->mode = mode;
        resource->state = GL_RESOURCE_HELD;
        resource->generation = generation;
        resource->size = 4096;
        resource->mtime = mtime;
        resource->place = gl_place_new(&node, (GlExtent){0, GL_EXTENT_END}, NULL, 0);
        return resource;
}

static GlGuest *new_guest(void) {
        GlGuest *guest = gl_guest_record_new();

        strcpy(guest->uuid, UUID);
        return guest;
}

static void test_round_trip(void) {
        GlGuest *guest = new_guest();
        GlNode file = {GL_NODE_FILE, G_MAXUINT32, G_MAXUINT64, 63}, block = {GL_NODE_BLOCK, 0, 0x800001, 0};
        g_autoptr(GlStateString) state = NULL;
        g_autofree char *text = NULL;
        const GlStateEntry *entry;
        char look[12];

        add(guest, file, GL_MODE_EXCLUSIVE, G_MAXUINT64, 5);
        add(guest, block, GL_MODE_READONLY, 64, 0)->type = GL_RESOURCE_LEASE;
        add(guest, (GlNode){.inode = 99}, GL_MODE_SHARED, 1, 1)->state = GL_RESOURCE_REGISTERED;
        add(guest, (GlNode){.inode = 98}, GL_MODE_SHARED, 1, 1)->state = GL_RESOURCE_LOST;
        text = gl_state_string_make(guest, "host-1");
        state = gl_state_string_parse(text, NULL);
        g_assert_nonnull(state);
        g_assert_cmpstr(state->host_id, ==, "host-1");
        g_assert_cmpstr(state->uuid, ==, UUID);
        g_assert_cmpuint(state->entries->len, ==, 2); /* what is held */

        entry = gl_state_string_find(state, &file);
        gl_state_look(4096, 5, look);
        g_assert_true(entry->type == GL_RESOURCE_DISK && entry->mode == GL_MODE_EXCLUSIVE);
        g_assert_cmpuint(entry->generation, ==, G_MAXUINT64);
        g_assert_cmpstr(entry->look, ==, look);
        entry = gl_state_string_find(state, &block);
        g_assert_true(entry->type == GL_RESOURCE_LEASE && entry->mode == GL_MODE_READONLY);
        g_assert_cmpuint(entry->generation, ==, 64);
        g_assert_cmpstr(entry->look, ==, "-");
        g_assert_null(gl_state_string_find(state, &(GlNode){.inode = 99}));
        gl_guest_record_free(guest);
}

/* 64 resources with the longest of numbers stay under 4 KiB, and need no escaping in XML. */
static void test_size_and_letters(void) {
        GlGuest *guest = new_guest();
        g_autoptr(GlStateString) state = NULL;
        g_autofree char *text = NULL, *host = g_strnfill(64, 'h');

        for (guint i = 0; i < 64; i++)
                add(guest, (GlNode){GL_NODE_FILE, G_MAXUINT32 - i, G_MAXUINT64 - i, G_MAXUINT64}, GL_MODE_EXCLUSIVE,
                    G_MAXUINT64, G_MAXUINT64 - i);
        text = gl_state_string_make(guest, host);
        g_assert_cmpuint(strlen(text), <=, 4096);
        g_assert_cmpuint(strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789;,=:._-"), ==,
                         strlen(text));
        state = gl_state_string_parse(text, NULL);
        g_assert_cmpuint(state->entries->len, ==, 64);
        gl_guest_record_free(guest);
}

static void test_look(void) {
        char look[12], other[12];

        gl_state_look(1, 2, look);
        gl_state_look(1, 2, other);
        g_assert_cmpstr(look, ==, other);
        g_assert_cmpuint(strlen(look), ==, 11);
        gl_state_look(1, 3, other);
        g_assert_cmpstr(look, !=, other);
        gl_state_look(2, 2, other);
        g_assert_cmpstr(look, !=, other);
        gl_state_look(2, 0, other);
        g_assert_cmpstr(other, ==, "-");
}

static void test_refused(void) {
        g_autofree char *long_text = g_strnfill(5000, 'a'), *too_long = NULL;
        const char *const wrong[] = {
                "",
                "guestlock1",
                "guestlock2;host=h;guest=" UUID,
                "guestlock1;host=h",
                "guestlock1;guest=" UUID,
                "guestlock1;host=h;guest=nobody",
                "guestlock1;host=h;guest=" UUID ";guest=" UUID,
                "guestlock1;host=h;host=h;guest=" UUID,
                "guestlock1;host=h;guest=" UUID ";",
                "guestlock1;host=h;guest=" UUID ";s=1",
                "guestlock1;host=h;guest=" UUID ";r=",
                "guestlock1;host=h;guest=" UUID ";r=dxf,1,1,1,-",
                "guestlock1;host=h;guest=" UUID ";r=qxf1,1,1,1,-",
                "guestlock1;host=h;guest=" UUID ";r=dqf1,1,1,1,-",
                "guestlock1;host=h;guest=" UUID ";r=dxq1,1,1,1,-",
                "guestlock1;host=h;guest=" UUID ";r=dxf1,1,1,1",
                "guestlock1;host=h;guest=" UUID ";r=dxf1,1,1,1,-,-",
                "guestlock1;host=h;guest=" UUID ";r=dxf1,1,1,1,",
                "guestlock1;host=h;guest=" UUID ";r=dxf1,1,1,1,123456789abc",
                "guestlock1;host=h;guest=" UUID ";r=dxf1,-1,1,1,-",
                "guestlock1;host=h;guest=" UUID ";r=dxf1,1,4000000,1,-",
                "guestlock1;host=h;guest=" UUID ";r=dxf1,G0000000000,1,1,-",
                "guestlock1;host=h;guest=" UUID ";r=dxf1,100000000000,1,1,-",
                long_text,
        };

        for (guint i = 0; i < G_N_ELEMENTS(wrong); i++) {
                g_autoptr(GError) error = NULL;

                g_test_message("%s", wrong[i]);
                g_assert_null(gl_state_string_parse(wrong[i], &error));
                g_assert_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS);
        }
        too_long = g_strdup_printf("guestlock1;host=%s;guest=" UUID, long_text);
        g_assert_null(gl_state_string_parse(too_long, NULL));
}

/* Whatever a caller gives: an answer, and what is accepted says what it said. */
static void test_garbage(void) {
        const char *good = "guestlock1;host=h;guest=" UUID ";r=dxf1,2,3,4,-;r=lrb1,0,0,5,0123456789a";
        g_autoptr(GRand) rand = g_rand_new_with_seed(4);

        for (guint i = 0; i < 5000; i++) {
                g_autofree char *text = g_strdup(good);
                g_autoptr(GlStateString) state = NULL;

                for (gint n = g_rand_int_range(rand, 1, 4); n > 0; n--)
                        text[g_rand_int_range(rand, 0, (gint32) strlen(good))] = (char) g_rand_int_range(rand, 1, 256);
                state = gl_state_string_parse(text, NULL);
                g_assert_true(!state || (state->host_id && state->uuid[0] && state->entries->len <= 2));
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/state-string/round-trip", test_round_trip);
        g_test_add_func("/state-string/size-and-letters", test_size_and_letters);
        g_test_add_func("/state-string/look", test_look);
        g_test_add_func("/state-string/refused", test_refused);
        g_test_add_func("/state-string/garbage", test_garbage);
        return g_test_run();
}
