/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "json.h"
#include "obstacles.h"
#include "resources.h"
#include "screen.h"

static void add_json(JsonBuilder *json, const char *path, GPtrArray *holders) {
        json_builder_begin_object(json);
        gl_json_add_text(json, "path", path);
        json_builder_set_member_name(json, "holders");
        json_builder_begin_array(json);
        for (guint i = 0; i < holders->len; i++)
                gl_json_add_obstacle(json, holders->pdata[i]);
        json_builder_end_array(json);
        json_builder_end_object(json);
}

static void print(const GlCli *cli, const char *path, GPtrArray *holders) {
        g_autofree char *printable = gl_screen_printable(path);

        printf("\"%s\" is %s%s%s\n", printable,
               gl_screen_begin(stdout, holders->len ? GL_COLOUR_WARNING : GL_COLOUR_GOOD),
               holders->len ? "in use:" : "not in use.", gl_screen_end(stdout));
        gl_print_obstacles(cli, stdout, holders);
}

static GPtrArray *ask(GuestlockManager *manager, const char *path, GError **error) {
        return guestlock_manager_who_holds_sync(manager, GUESTLOCK_RESOURCE_TYPE_DISK, path, NULL, error);
}

static gboolean check_arguments(char **arguments, GError **error) {
        for (gsize i = 0; arguments[i]; i++) {
                g_autofree char *path = gl_parse_path(arguments[i], error);

                if (!path)
                        return FALSE;
        }
        return TRUE;
}

static gboolean who(GlCli *cli, char **arguments, GError **error) {
        GuestlockManager *manager = check_arguments(arguments, error) ? gl_cli_manager_who_asks(cli, error) : NULL;
        g_autoptr(JsonBuilder) json = gl_json_begin();

        if (!manager)
                return FALSE;
        json_builder_set_member_name(json, "disks");
        json_builder_begin_array(json);
        for (gsize i = 0; arguments[i]; i++) {
                g_autofree char *path = gl_parse_path(arguments[i], error);
                g_autoptr(GPtrArray) holders = path ? ask(manager, path, error) : NULL;

                if (!holders)
                        return FALSE;
                if (cli->json)
                        add_json(json, path, holders);
                else
                        print(cli, path, holders);
        }
        json_builder_end_array(json);
        if (cli->json)
                gl_json_print(json);
        return TRUE;
}

const GlCommand gl_command_who = {
        .name = "who",
        .arguments = "PATH…",
        .summary = "Who uses a disk, whatever path he uses it by",
        .description =
                "Guests of this host and of others, a QEMU that has no lease, virtlockd, programs, mounts and swap.\n"
                "Nothing is taken to find out.\n",
        .min_arguments = 1,
        .max_arguments = G_MAXUINT,
        .run = who,
};
