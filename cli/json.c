/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "json.h"

#include <stdio.h>

#include <guestlock-enum-types.h>

#include "client-lib/words.h"
#include "screen.h"

JsonBuilder *gl_json_begin(void) {
        JsonBuilder *json = json_builder_new();

        json_builder_begin_object(json);
        return json;
}

/*
 * JSON-GLib escapes what ASCII has of control characters, and a terminal obeys others as well. What is not ASCII stands
 * in strings alone.
 */
static char *escape(const char *text) {
        GString *escaped = g_string_new(NULL);

        for (const char *at = text; *at; at = g_utf8_next_char(at)) {
                gunichar character = g_utf8_get_char(at);

                if (character < 0x80 || gl_screen_is_printable(character))
                        g_string_append_unichar(escaped, character);
                else if (character < 0x10000)
                        g_string_append_printf(escaped, "\\u%04x", character);
                else
                        g_string_append_printf(escaped, "\\u%04x\\u%04x", 0xd800 + ((character - 0x10000) >> 10),
                                               0xdc00 + (character & 0x3ff));
        }
        return g_string_free(escaped, FALSE);
}

static void print(JsonBuilder *json, gboolean pretty) {
        g_autoptr(JsonNode) root = NULL;
        g_autofree char *text = NULL;
        g_autofree char *escaped = NULL;

        json_builder_end_object(json);
        root = json_builder_get_root(json);
        text = json_to_string(root, pretty);
        escaped = escape(text);
        puts(escaped);
        fflush(stdout);
}

void gl_json_print(JsonBuilder *json) {
        print(json, TRUE);
}

void gl_json_print_line(JsonBuilder *json) {
        print(json, FALSE);
}

/* --- members --- */

void gl_json_add_text(JsonBuilder *json, const char *key, const char *text) {
        g_autofree char *valid = text ? g_utf8_make_valid(text, -1) : NULL;

        if (!valid)
                return;
        json_builder_set_member_name(json, key);
        json_builder_add_string_value(json, valid);
}

/* What JSON has is signed; a generation is µs since 1970, and far from that. */
void gl_json_add_number(JsonBuilder *json, const char *key, guint64 number) {
        if (!number)
                return;
        json_builder_set_member_name(json, key);
        json_builder_add_int_value(json, (gint64) number);
}

void gl_json_add_flag(JsonBuilder *json, const char *key, gboolean flag) {
        json_builder_set_member_name(json, key);
        json_builder_add_boolean_value(json, flag);
}

void gl_json_add_word(JsonBuilder *json, const char *key, GType type, int value) {
        if (value != 0) /* UNKNOWN in each */
                gl_json_add_text(json, key, gl_word_of_value(type, value));
}

void gl_json_add_words(JsonBuilder *json, const char *key, const char *const *words) {
        json_builder_set_member_name(json, key);
        json_builder_begin_array(json);
        for (gsize i = 0; words[i]; i++)
                json_builder_add_string_value(json, words[i]);
        json_builder_end_array(json);
}

/* --- objects --- */

void gl_json_add_guest(JsonBuilder *json, GuestlockGuest *guest, GPtrArray *resources) {
        json_builder_begin_object(json);
        gl_json_add_text(json, "uuid", guestlock_guest_get_uuid(guest));
        gl_json_add_text(json, "name", guestlock_guest_get_name(guest));
        gl_json_add_number(json, "id", guestlock_guest_get_id(guest));
        json_builder_set_member_name(json, "owner-uid");
        json_builder_add_int_value(json, guestlock_guest_get_owner_uid(guest));
        gl_json_add_word(json, "state", GUESTLOCK_TYPE_STATE, guestlock_guest_get_state(guest));
        gl_json_add_flag(json, "waiting", guestlock_guest_get_waiting(guest));
        gl_json_add_number(json, "pid", guestlock_guest_get_pid(guest));
        gl_json_add_number(json, "supervisor-pid", guestlock_guest_get_supervisor_pid(guest));
        gl_json_add_text(json, "origin", guestlock_guest_get_origin(guest));
        gl_json_add_text(json, "driver", guestlock_guest_get_driver(guest));
        gl_json_add_word(json, "on-lease-lost", GUESTLOCK_TYPE_ACTION, guestlock_guest_get_on_lease_lost(guest));
        gl_json_add_number(json, "generation", guestlock_guest_get_generation(guest));
        gl_json_add_number(json, "acquired-at-usec", guestlock_guest_get_acquired_at(guest));
        gl_json_add_text(json, "object", guestlock_guest_get_object_path(guest));
        if (resources) {
                json_builder_set_member_name(json, "resources");
                json_builder_begin_array(json);
                for (guint i = 0; i < resources->len; i++)
                        gl_json_add_resource(json, resources->pdata[i]);
                json_builder_end_array(json);
        }
        json_builder_end_object(json);
}

void gl_json_add_resource(JsonBuilder *json, GuestlockResource *resource) {
        json_builder_begin_object(json);
        gl_json_add_word(json, "type", GUESTLOCK_TYPE_RESOURCE_TYPE, guestlock_resource_get_resource_type(resource));
        gl_json_add_text(json, "name", guestlock_resource_get_name(resource));
        gl_json_add_word(json, "mode", GUESTLOCK_TYPE_MODE, guestlock_resource_get_mode(resource));
        gl_json_add_word(json, "state", GUESTLOCK_TYPE_RESOURCE_STATE, guestlock_resource_get_state(resource));
        gl_json_add_number(json, "generation", guestlock_resource_get_generation(resource));
        gl_json_add_word(json, "scope", GUESTLOCK_TYPE_SCOPE, guestlock_resource_get_scope(resource));
        gl_json_add_text(json, "scope-reason", guestlock_resource_get_scope_reason(resource));
        gl_json_add_number(json, "since-usec", guestlock_resource_get_since(resource));
        gl_json_add_text(json, "kept-by", guestlock_resource_get_kept_by(resource));
        gl_json_add_text(json, "held-open-by", guestlock_resource_get_held_open_by(resource));
        gl_json_add_text(json, "driver", guestlock_resource_get_driver(resource));
        gl_json_add_flag(json, "path-moved", guestlock_resource_get_path_moved(resource));
        json_builder_end_object(json);
}

void gl_json_add_obstacle(JsonBuilder *json, GuestlockObstacle *obstacle) {
        guint owner = guestlock_obstacle_get_owner_uid(obstacle);

        json_builder_begin_object(json);
        gl_json_add_text(json, "resource", guestlock_obstacle_get_resource(obstacle));
        gl_json_add_text(json, "guest-uuid", guestlock_obstacle_get_guest_uuid(obstacle));
        gl_json_add_text(json, "guest-name", guestlock_obstacle_get_guest_name(obstacle));
        gl_json_add_text(json, "object", guestlock_obstacle_get_object_path(obstacle));
        if (owner != G_MAXUINT) {
                json_builder_set_member_name(json, "owner-uid");
                json_builder_add_int_value(json, owner);
        }
        gl_json_add_text(json, "host", guestlock_obstacle_get_host(obstacle));
        gl_json_add_number(json, "pid", guestlock_obstacle_get_pid(obstacle));
        gl_json_add_text(json, "command", guestlock_obstacle_get_command(obstacle));
        gl_json_add_word(json, "mode", GUESTLOCK_TYPE_MODE, guestlock_obstacle_get_mode(obstacle));
        gl_json_add_text(json, "name", guestlock_obstacle_get_name(obstacle));
        gl_json_add_number(json, "since-usec", guestlock_obstacle_get_since(obstacle));
        gl_json_add_text(json, "driver", guestlock_obstacle_get_driver(obstacle));
        gl_json_add_word(json, "scope", GUESTLOCK_TYPE_SCOPE, guestlock_obstacle_get_scope(obstacle));
        gl_json_add_number(json, "generation", guestlock_obstacle_get_generation(obstacle));
        gl_json_add_text(json, "via", guestlock_obstacle_get_via(obstacle));
        json_builder_end_object(json);
}

void gl_json_print_guest(GuestlockGuest *guest, GPtrArray *resources) {
        g_autoptr(JsonBuilder) json = gl_json_begin();

        json_builder_set_member_name(json, "guest");
        gl_json_add_guest(json, guest, resources);
        gl_json_print(json);
}
