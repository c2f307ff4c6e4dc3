/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "plan.h"

#include <sys/stat.h>

#include <guestlock-enum-types.h>

#include "backing-chain.h"
#include "client-lib/words.h"
#include "json.h"
#include "qemu-command-line.h"
#include "resources.h"
#include "table.h"

void gl_plan_clear(GlPlan *plan) {
        g_clear_pointer(&plan->disks, g_ptr_array_unref);
        g_clear_pointer(&plan->remarks, g_ptr_array_unref);
        g_clear_pointer(&plan->name, g_free);
        g_clear_pointer(&plan->uuid, g_free);
}

static gboolean scan(GlPlan *plan, const char *const *command, gboolean has_named, GError **error) {
        g_autofree char *directory = g_get_current_dir();
        g_autoptr(GlQemuCommandLine) line = gl_qemu_command_line_read(command, directory, plan->remarks, error);

        if (!line)
                return FALSE;
        /* Who has named its disks himself knows. */
        if (!line->is_qemu && has_named)
                g_ptr_array_set_size(plan->remarks, 0);
        g_ptr_array_unref(plan->disks);
        plan->disks = g_ptr_array_ref(line->disks);
        plan->name = g_steal_pointer(&line->name);
        plan->uuid = g_steal_pointer(&line->uuid);
        return TRUE;
}

static GlFoundDisk *find(const GlPlan *plan, const char *path) {
        for (guint i = 0; i < plan->disks->len; i++) {
                GlFoundDisk *disk = plan->disks->pdata[i];

                if (g_str_equal(disk->path, path))
                        return disk;
        }
        return NULL;
}

static gboolean add_named(GlPlan *plan, const char *text, GError **error) {
        g_autofree char *path = NULL;
        GuestlockMode mode;
        GlFoundDisk *disk;

        if (!gl_parse_disk(text, &path, &mode, error))
                return FALSE;
        disk = find(plan, path);
        if (!disk) {
                disk = g_new0(GlFoundDisk, 1);
                disk->path = g_steal_pointer(&path);
                disk->has_backing = disk->has_data_file = TRUE;
                g_ptr_array_add(plan->disks, disk);
        }
        g_free(disk->source);
        disk->source = g_strdup("--disk");
        disk->mode = mode;
        return TRUE;
}

/* qemu-img would wait for the other end of a FIFO. What cannot be looked at is refused when it is opened. */
static gboolean may_be_images(const GlPlan *plan, GError **error) {
        for (guint i = 0; i < plan->disks->len; i++) {
                const GlFoundDisk *disk = plan->disks->pdata[i];
                struct stat st;

                if (stat(disk->path, &st) < 0 || S_ISREG(st.st_mode) || S_ISBLK(st.st_mode))
                        continue;
                g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_REGULAR_FILE,
                            "Disk \"%s\" cannot be leased: it is neither a regular file nor a block device.",
                            disk->path);
                return FALSE;
        }
        return TRUE;
}

gboolean gl_plan_make(GlPlan *plan, const GlPlanOptions *options, const char *const *command, GError **error) {
        plan->disks = g_ptr_array_new_with_free_func((GDestroyNotify) gl_found_disk_free);
        plan->remarks = g_ptr_array_new_with_free_func(g_free);
        if (!options->no_scan && !scan(plan, command, options->disks != NULL, error))
                return FALSE;
        for (gsize i = 0; options->disks && options->disks[i]; i++)
                if (!add_named(plan, options->disks[i], error))
                        return FALSE;
        if (!may_be_images(plan, error))
                return FALSE;
        return options->no_backing ||
               gl_backing_chains_add(plan->disks, plan->remarks, GL_BACKING_CHAIN_PATIENCE_MS, NULL, error);
}

void gl_plan_print(const GlCli *cli, FILE *where, const GlPlan *plan) {
        static const GlColumn columns[] = {{"DISK", GL_COLUMN_SHRINKS},
                                           {"MODE", GL_COLUMN_PLAIN},
                                           {"FOUND", GL_COLUMN_SHRINKS | GL_COLUMN_OPTIONAL}};
        GlTable *table = gl_table_new(cli, where, columns, G_N_ELEMENTS(columns));

        for (guint i = 0; i < plan->disks->len; i++) {
                const GlFoundDisk *disk = plan->disks->pdata[i];

                gl_table_add_row(table);
                gl_table_set(table, 0, disk->path, GL_COLOUR_NONE);
                gl_table_set(table, 1, gl_word_of_value(GUESTLOCK_TYPE_MODE, disk->mode),
                             disk->mode == GUESTLOCK_MODE_READONLY ? GL_COLOUR_DIM : GL_COLOUR_BOLD);
                gl_table_set(table, 2, disk->source, GL_COLOUR_DIM);
        }
        gl_table_print(table, "  ");
}

void gl_plan_add_json(JsonBuilder *json, const GlPlan *plan) {
        json_builder_set_member_name(json, "disks");
        json_builder_begin_array(json);
        for (guint i = 0; i < plan->disks->len; i++) {
                const GlFoundDisk *disk = plan->disks->pdata[i];

                json_builder_begin_object(json);
                gl_json_add_text(json, "path", disk->path);
                gl_json_add_word(json, "mode", GUESTLOCK_TYPE_MODE, disk->mode);
                gl_json_add_text(json, "found", disk->source);
                json_builder_end_object(json);
        }
        json_builder_end_array(json);
        json_builder_set_member_name(json, "remarks");
        json_builder_begin_array(json);
        for (guint i = 0; i < plan->remarks->len; i++)
                json_builder_add_string_value(json, plan->remarks->pdata[i]);
        json_builder_end_array(json);
}

void gl_plan_add_to_request(const GlPlan *plan, GuestlockRequest *request) {
        for (guint i = 0; i < plan->disks->len; i++) {
                const GlFoundDisk *disk = plan->disks->pdata[i];

                guestlock_request_add_disk(request, disk->path, disk->mode);
        }
}

gboolean gl_plan_open(const GlPlan *plan, GuestlockRequest *request, GError **error) {
        for (guint i = 0; i < plan->disks->len; i++) {
                const GlFoundDisk *disk = plan->disks->pdata[i];
                g_autoptr(GuestlockResource) resource = guestlock_resource_open_disk(disk->path, disk->mode, error);

                if (!resource)
                        return FALSE;
                guestlock_request_add_resource(request, resource);
        }
        return TRUE;
}
