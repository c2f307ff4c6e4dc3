/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qemu-command-line.h"

#include <string.h>

#include "fuzz.h"

/*
 * QEMU's arguments, one in a line. Whatever they are: a disk has an absolute path, is found once, in a known mode; what
 * a person gets to read fits a terminal; and -snapshot finds the same files, none of them in a stronger mode.
 */

static void check_disks(GPtrArray *disks) {
        g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);

        for (guint i = 0; i < disks->len; i++) {
                const GlFoundDisk *disk = disks->pdata[i];

                g_assert_true(disk->path[0] == '/');
                g_assert_true(g_utf8_validate(disk->path, -1, NULL));
                g_assert_true(g_hash_table_add(seen, disk->path));
                g_assert_true(disk->mode == GUESTLOCK_MODE_EXCLUSIVE || disk->mode == GUESTLOCK_MODE_SHARED ||
                              disk->mode == GUESTLOCK_MODE_READONLY);
                g_assert_true(!disk->is_snapshot || disk->mode == GUESTLOCK_MODE_READONLY);
                fuzz_check_line(disk->source);
                g_assert_true(disk->source[0] == '-');
        }
}

static GlQemuCommandLine *read_arguments(char *const *words, gboolean snapshot) {
        g_autoptr(GPtrArray) command = g_ptr_array_new();
        g_autoptr(GPtrArray) remarks = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(GError) error = NULL;
        GlQemuCommandLine *line;

        g_ptr_array_add(command, (gpointer) "qemu-system-x86_64");
        if (snapshot)
                g_ptr_array_add(command, (gpointer) "-snapshot");
        for (; *words; words++)
                g_ptr_array_add(command, *words);
        g_ptr_array_add(command, NULL);
        line = gl_qemu_command_line_read((const char *const *) command->pdata, "/dir", remarks, &error);
        for (guint i = 0; i < remarks->len; i++)
                fuzz_check_line(remarks->pdata[i]);
        g_assert_true((line != NULL) == (error == NULL));
        if (error) {
                g_assert_true(error->domain == G_OPTION_ERROR);
                fuzz_check_line(error->message);
        }
        return line;
}

static const GlFoundDisk *find(GPtrArray *disks, const char *path) {
        for (guint i = 0; i < disks->len; i++) {
                const GlFoundDisk *disk = disks->pdata[i];

                if (strcmp(disk->path, path) == 0)
                        return disk;
        }
        return NULL;
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size) {
        g_autofree char *text = fuzz_text(data, size);
        g_auto(GStrv) words = g_strsplit(text, "\n", -1);
        g_autoptr(GlQemuCommandLine) line = read_arguments(words, FALSE);
        g_autoptr(GlQemuCommandLine) snapshot = read_arguments(words, TRUE);

        g_assert_true((line != NULL) == (snapshot != NULL));
        if (!line)
                return 0;
        check_disks(line->disks);
        check_disks(snapshot->disks);
        g_assert_cmpuint(line->disks->len, ==, snapshot->disks->len);
        for (guint i = 0; i < line->disks->len; i++) {
                const GlFoundDisk *disk = line->disks->pdata[i];
                const GlFoundDisk *with = find(snapshot->disks, disk->path);

                g_assert_true(with && with->mode >= disk->mode);
        }
        return 0;
}
