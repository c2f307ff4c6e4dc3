/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <locale.h>

#include "backing-chain.h"
#include "qemu-command-line.h"

/* Says, as JSON for test-qemu-disks.py, which disks a command line has; with --chains also the layers below them. */

static const char *mode_word(GuestlockMode mode) {
        return mode == GUESTLOCK_MODE_EXCLUSIVE ? "exclusive" : mode == GUESTLOCK_MODE_SHARED ? "shared" : "readonly";
}

static void add_disk(JsonBuilder *builder, const GlFoundDisk *disk) {
        json_builder_begin_object(builder);
        json_builder_set_member_name(builder, "path");
        json_builder_add_string_value(builder, disk->path);
        json_builder_set_member_name(builder, "mode");
        json_builder_add_string_value(builder, mode_word(disk->mode));
        json_builder_set_member_name(builder, "format");
        json_builder_add_string_value(builder, disk->format);
        json_builder_set_member_name(builder, "source");
        json_builder_add_string_value(builder, disk->source);
        json_builder_end_object(builder);
}

static void print(const GlQemuCommandLine *line, GPtrArray *remarks) {
        g_autoptr(JsonBuilder) builder = json_builder_new();
        g_autoptr(JsonNode) root = NULL;
        g_autofree char *text = NULL;

        json_builder_begin_object(builder);
        json_builder_set_member_name(builder, "disks");
        json_builder_begin_array(builder);
        for (guint i = 0; i < line->disks->len; i++)
                add_disk(builder, line->disks->pdata[i]);
        json_builder_end_array(builder);
        json_builder_set_member_name(builder, "remarks");
        json_builder_begin_array(builder);
        for (guint i = 0; i < remarks->len; i++)
                json_builder_add_string_value(builder, remarks->pdata[i]);
        json_builder_end_array(builder);
        json_builder_end_object(builder);
        root = json_builder_get_root(builder);
        text = json_to_string(root, FALSE);
        g_print("%s\n", text);
}

int main(int argc, char **argv) {
        gboolean chains = argc > 1 && g_strcmp0(argv[1], "--chains") == 0;
        g_autofree char *directory = g_get_current_dir();
        g_autoptr(GPtrArray) remarks = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(GError) error = NULL;
        g_autoptr(GlQemuCommandLine) line = NULL;

        setlocale(LC_ALL, "C.UTF-8");
        line = gl_qemu_command_line_read((const char *const *) argv + 1 + chains, directory, remarks, &error);
        if (!line || (chains && !gl_backing_chains_add(line->disks, remarks, GL_BACKING_CHAIN_PATIENCE_MS, NULL,
                                                       &error))) {
                g_printerr("%s\n", error->message);
                return 1;
        }
        print(line, remarks);
        return 0;
}
