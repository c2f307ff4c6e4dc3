/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/state-string.h"

#include <string.h>

#include "core/core.h"
#include "fuzz.h"

/*
 * What a caller brings back as the state of a guest. A state that was accepted is written as a guest's that has these
 * resources, in no more room, and read again; all but the looks, which the writer makes, has to be the same.
 */

static GlGuest *guest_of(const GlStateString *state) {
        GlGuest *guest = gl_guest_record_new();

        strcpy(guest->uuid, state->uuid);
        for (guint i = 0; i < state->entries->len; i++) {
                const GlStateEntry *entry = &g_array_index(state->entries, GlStateEntry, i);
                GlResource *resource = gl_guest_record_add_resource(guest);

                resource->type = entry->type;
                resource->mode = entry->mode;
                resource->state = i % 2 == 0 ? GL_RESOURCE_HELD : GL_RESOURCE_DRAINING;
                resource->place = gl_place_new(&entry->node, (GlExtent){0, GL_EXTENT_END}, NULL, 0);
                resource->generation = entry->generation;
        }
        return guest;
}

static void check_entry(const GlStateString *state, const GlStateEntry *entry, const GlStateEntry *again) {
        const GlStateEntry *found = gl_state_string_find(state, &entry->node);

        g_assert_true(found && found <= entry && gl_node_equal(&found->node, &entry->node));
        g_assert_true(entry->type <= GL_RESOURCE_LEASE && entry->mode <= GL_MODE_EXCLUSIVE);
        g_assert_true(entry->node.kind <= GL_NODE_DISK);
        g_assert_cmpuint(strnlen(entry->look, sizeof entry->look), <, sizeof entry->look);
        g_assert_true(entry->type == again->type && entry->mode == again->mode);
        g_assert_true(gl_node_equal(&entry->node, &again->node));
        g_assert_cmpuint(entry->generation, ==, again->generation);
        g_assert_cmpstr(again->look, ==, "-");
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size) {
        g_autofree char *text = fuzz_text(data, size), *written = NULL;
        g_autoptr(GlStateString) state = NULL, again = NULL;
        g_autoptr(GError) error = NULL;
        GlGuest *guest;

        state = gl_state_string_parse(text, &error);
        if (!state) {
                fuzz_check_error(error);
                return 0;
        }
        g_assert_no_error(error);
        guest = guest_of(state);
        written = gl_state_string_make(guest, state->host_id);
        gl_guest_record_free(guest);
        g_assert_cmpuint(strlen(written), <=, strlen(text));

        again = gl_state_string_parse(written, NULL);
        g_assert_nonnull(again);
        g_assert_cmpstr(state->host_id, ==, again->host_id);
        g_assert_cmpstr(state->uuid, ==, again->uuid);
        g_assert_cmpuint(state->entries->len, ==, again->entries->len);
        for (guint i = 0; i < state->entries->len; i++)
                check_entry(state, &g_array_index(state->entries, GlStateEntry, i),
                            &g_array_index(again->entries, GlStateEntry, i));
        return 0;
}
