/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/obstacle.h"

/* Thousands may read an image, and what is in the way of its writer is said at each try: once so many bytes name
 * holders, the others are counted. */
#define LONGEST_SENTENCE (64 * 1024)

GlObstacle *gl_obstacle_new(void) {
        return g_new0(GlObstacle, 1);
}

void gl_obstacle_free(GlObstacle *obstacle) {
        if (!obstacle)
                return;

        g_free(obstacle->guest_uuid);
        g_free(obstacle->guest_name);
        g_free(obstacle->host);
        g_free(obstacle->command);
        g_free(obstacle->name);
        g_free(obstacle->driver);
        g_free(obstacle->via);
        g_free(obstacle->wanted);
        g_free(obstacle);
}

/* Escapes what would break a line or a quotation and lets every printable character stand; bytes that are not
 * UTF-8 become \xNN. */
char *gl_quote(const char *text) {
        GString *quoted = g_string_new("\"");

        for (const char *at = text; *at;) {
                gunichar c = g_utf8_get_char_validated(at, -1);

                if (c == (gunichar) -1 || c == (gunichar) -2) {
                        g_string_append_printf(quoted, "\\x%02x", (guint8) *at++);
                        continue;
                }
                if (c == '"' || c == '\\')
                        g_string_append_c(quoted, '\\');
                if (c == ' ' || (g_unichar_isprint(c) && !g_unichar_isspace(c) &&
                                 g_unichar_type(c) != G_UNICODE_SPACE_SEPARATOR))
                        g_string_append_unichar(quoted, c);
                else if (c < 0x80)
                        g_string_append_printf(quoted, "\\x%02x", c);
                else
                        g_string_append_printf(quoted, "\\u{%x}", c);
                at = g_utf8_next_char(at);
        }

        return g_string_free(g_string_append_c(quoted, '"'), FALSE);
}

static void append_detail(GString *details, const char *separator, char *detail) {
        if (details->len > 0)
                g_string_append(details, separator);
        g_string_append(details, detail);
        g_free(detail);
}

/* The holder, with what is known of it in brackets: guest "web1" (4dea…, pid 4242, host kvm1). */
static char *describe_holder(const GlObstacle *obstacle) {
        g_autoptr(GString) details = g_string_new(NULL);
        g_autofree char *who = NULL;

        if (obstacle->guest_uuid) {
                g_autofree char *name = gl_quote(obstacle->guest_name ?: "");

                who = g_strdup_printf("guest %s", name);
                append_detail(details, ", ", g_strdup(obstacle->guest_uuid));
        } else if (obstacle->command) {
                g_autofree char *command = gl_quote(obstacle->command);

                who = g_strdup_printf("program %s", command);
        } else {
                who = g_strdup(obstacle->pid > 0 ? "a program" : "somebody");
        }
        if (obstacle->pid > 0)
                append_detail(details, ", ", g_strdup_printf("pid %" G_GUINT32_FORMAT, obstacle->pid));
        if (obstacle->host)
                append_detail(details, ", ", g_strdup_printf("host %s", obstacle->host));

        return details->len > 0 ? g_strdup_printf("%s (%s)", who, details->str) : g_steal_pointer(&who);
}

static char *describe_hold(const GlObstacle *obstacle) {
        GString *text = g_string_new("holds it");

        if (obstacle->name) {
                g_autofree char *name = gl_quote(obstacle->name);

                g_string_append_printf(text, " as %s", name);
        }
        if (obstacle->has_mode)
                g_string_append_printf(text, ", %s", gl_mode_to_string(obstacle->mode));
        if (obstacle->since > 0) {
                g_autoptr(GDateTime) since = g_date_time_new_from_unix_local(obstacle->since / G_USEC_PER_SEC);
                g_autofree char *when = g_date_time_format(since, "%Y-%m-%d %H:%M:%S");

                g_string_append_printf(text, ", since %s", when);
        }
        if (obstacle->via)
                g_string_append_printf(text, " (%s)", obstacle->via);

        return g_string_free(text, FALSE);
}

static void append_obstacle(GString *sentence, const char *separator, const GlObstacle *obstacle) {
        g_autofree char *holder = describe_holder(obstacle);
        g_autofree char *hold = describe_hold(obstacle);

        g_string_append_printf(sentence, "%s%s %s", separator, holder, hold);
}

char *gl_obstacles_to_sentence(GlResourceType type, const char *name, GPtrArray *obstacles) {
        g_autofree char *quoted = gl_quote(name);
        GString *sentence = g_string_new(NULL);

        g_string_append_printf(sentence, "%s %s is in use", type == GL_RESOURCE_DISK ? "Disk" : "Lease", quoted);
        for (guint i = 0; obstacles && i < obstacles->len; i++) {
                if (sentence->len >= LONGEST_SENTENCE) {
                        g_string_append_printf(sentence, "; and %u others", obstacles->len - i);
                        break;
                }
                append_obstacle(sentence, i == 0 ? ": " : "; ", g_ptr_array_index(obstacles, i));
        }

        return g_string_free(g_string_append_c(sentence, '.'), FALSE);
}
