/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "obstacles.h"

#include <guestlock-enum-types.h>

#include "client-lib/words.h"
#include "screen.h"
#include "table.h"

/* The most telling of what is known. */
static char *text_of_holder(GuestlockObstacle *obstacle) {
        const char *name = guestlock_obstacle_get_guest_name(obstacle),
                   *uuid = guestlock_obstacle_get_guest_uuid(obstacle);
        const char *command = guestlock_obstacle_get_command(obstacle);

        if (name || uuid)
                return g_strdup_printf("guest \"%s\"", name ?: uuid);
        if (command)
                return g_strdup(command);
        return NULL;
}

static void add_row(GlTable *table, GuestlockObstacle *obstacle) {
        GuestlockMode mode = guestlock_obstacle_get_mode(obstacle);
        g_autofree char *holder = text_of_holder(obstacle);
        g_autofree char *pid = gl_text_of_pid(guestlock_obstacle_get_pid(obstacle));
        g_autofree char *since = gl_text_of_time(guestlock_obstacle_get_since(obstacle));
        const char *texts[] = {
                guestlock_obstacle_get_resource(obstacle),
                holder,
                pid,
                guestlock_obstacle_get_host(obstacle),
                mode ? gl_word_of_value(GUESTLOCK_TYPE_MODE, mode) : NULL,
                since,
                guestlock_obstacle_get_name(obstacle),
                guestlock_obstacle_get_via(obstacle),
        };

        gl_table_add_row(table);
        for (guint i = 0; i < G_N_ELEMENTS(texts); i++)
                gl_table_set(table, i, texts[i], i == 1 ? GL_COLOUR_BOLD : GL_COLOUR_NONE);
}

void gl_print_obstacles(const GlCli *cli, FILE *where, GPtrArray *obstacles) {
        static const GlColumn columns[] = {
                {"FOR", GL_COLUMN_SHRINKS},
                {"WHO", GL_COLUMN_SHRINKS},
                {"PID", GL_COLUMN_RIGHT},
                {"HOST", GL_COLUMN_SHRINKS},
                {"MODE", GL_COLUMN_OPTIONAL},
                {"SINCE", GL_COLUMN_OPTIONAL},
                {"AS", GL_COLUMN_SHRINKS | GL_COLUMN_OPTIONAL},
                {"HOW", GL_COLUMN_WRAPS},
        };
        GlTable *table = gl_table_new(cli, where, columns, G_N_ELEMENTS(columns));

        for (guint i = 0; i < obstacles->len; i++)
                add_row(table, obstacles->pdata[i]);
        gl_table_print(table, "  ");
}

char *gl_text_of_obstacle(GuestlockObstacle *obstacle) {
        g_autofree char *holder = text_of_holder(obstacle);
        const char *host = guestlock_obstacle_get_host(obstacle);
        guint pid = guestlock_obstacle_get_pid(obstacle);
        GString *text = g_string_new(holder ?: guestlock_obstacle_get_via(obstacle) ?: "somebody");

        if (pid || host)
                g_string_append(text, " (");
        if (pid)
                g_string_append_printf(text, "pid %u", pid);
        if (host)
                g_string_append_printf(text, "%shost %s", pid ? ", " : "", host);
        if (pid || host)
                g_string_append_c(text, ')');
        return g_string_free(text, FALSE);
}
