/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage/dm.h"

#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "storage/mounts.h"

/*
 * Device-mapper's tables. sysfs has the devices below a map, but not which parts of them; that is in the table alone.
 * The kernel is first asked for the types of the targets, and for the table only if all are ones that are known: that of
 * dm-crypt has the key in it.
 */

#define SECTOR 512
#define BUFFER (64 * 1024)

static const char *const known[] = {"linear", "striped", "thin", "thin-pool", "snapshot", "snapshot-origin", NULL};

void gl_dm_table_free(GlDmTable *table) {
        if (!table)
                return;
        g_array_unref(table->pieces);
        g_free(table);
}

static gboolean parse_sectors(const char *text, guint64 *bytes) {
        if (!text || !g_ascii_string_to_unsigned(text, 10, 0, G_MAXUINT64 / SECTOR, bytes, NULL))
                return FALSE;
        *bytes *= SECTOR;
        return TRUE;
}

/* DEVICE at OFFSET, and LENGTH bytes of it (0: all). */
static gboolean add_piece(GlDmTable *table, const char *device, const char *offset, guint64 length) {
        GlDmPiece piece = {.end = G_MAXUINT64};

        if (!device || !gl_device_parse(device, &piece.number) || (offset && !parse_sectors(offset, &piece.start)) ||
            length > G_MAXUINT64 - 1 - piece.start)
                return FALSE;
        if (length > 0)
                piece.end = piece.start + length;
        g_array_append_val(table->pieces, piece);
        return TRUE;
}

/* "2 128 8:0 384 8:16 384": each stripe has the same share. */
static gboolean add_stripes(GlDmTable *table, char **words, guint n_words, guint64 length) {
        guint64 n;

        if (n_words < 4 || !g_ascii_string_to_unsigned(words[0], 10, 1, 1024, &n, NULL) || n_words < 2 + 2 * n)
                return FALSE;
        for (guint i = 0; i < n; i++)
                if (!add_piece(table, words[2 + 2 * i], words[3 + 2 * i], (length + n - 1) / n))
                        return FALSE;
        return TRUE;
}

static void hand_out_last(GlDmTable *table) {
        g_array_index(table->pieces, GlDmPiece, table->pieces->len - 1).handed_out = TRUE;
}

static gboolean add_whole(GlDmTable *table, const char *device, gboolean handed_out) {
        if (!add_piece(table, device, NULL, 0))
                return FALSE;
        if (handed_out)
                hand_out_last(table);
        return TRUE;
}

static gboolean add_target(GlDmTable *table, const char *type, guint64 length, char **words) {
        guint n_words = g_strv_length(words);

        if (g_str_equal(type, "linear"))
                return n_words >= 2 && length > 0 && add_piece(table, words[0], words[1], length);
        if (g_str_equal(type, "striped"))
                return length > 0 && add_stripes(table, words, n_words, length);
        /* Of the pool's blocks none is in two volumes, but for those that were shared when a snapshot was made, and they
         * are copied before one of the two writes to them. An external origin is read only. */
        if (g_str_equal(type, "thin"))
                return n_words >= 2 && add_whole(table, words[0], TRUE) &&
                       (n_words < 3 || add_whole(table, words[2], TRUE));
        if (g_str_equal(type, "thin-pool"))
                return n_words >= 2 && add_whole(table, words[0], FALSE) && add_whole(table, words[1], FALSE);
        if (g_str_equal(type, "snapshot"))
                return n_words >= 2 && add_whole(table, words[0], TRUE) && add_whole(table, words[1], FALSE);
        if (g_str_equal(type, "snapshot-origin"))
                return n_words >= 1 && add_whole(table, words[0], TRUE);
        return FALSE;
}

GlDmTable *gl_dm_table_parse(const char *text) {
        g_autoptr(GlDmTable) table = g_new0(GlDmTable, 1);
        g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
        gboolean linear = FALSE;
        guint n = 0;

        table->pieces = g_array_new(FALSE, TRUE, sizeof(GlDmPiece));
        for (guint i = 0; lines[i]; i++) {
                g_auto(GStrv) words = NULL;
                guint64 start, length;

                if (!g_strstrip(lines[i])[0])
                        continue;
                words = g_strsplit(lines[i], " ", -1);
                if (g_strv_length(words) < 3 || !parse_sectors(words[0], &start) || !parse_sectors(words[1], &length) ||
                    !add_target(table, words[2], length, words + 3))
                        return NULL;
                linear = g_str_equal(words[2], "linear") && start == 0;
                n++;
        }
        if (n == 0)
                return NULL;
        table->window = linear && n == 1;
        return g_steal_pointer(&table);
}

/* The targets in DMI, one a line; NULL if one is of a type that is not known. */
static char *targets_to_text(const struct dm_ioctl *dmi) {
        g_autoptr(GString) text = g_string_new(NULL);
        const char *begin = (const char *) dmi + dmi->data_start, *end = (const char *) dmi + dmi->data_size;
        const char *at = begin;

        for (guint i = 0; i < dmi->target_count; i++) {
                const struct dm_target_spec *spec = (const void *) at;
                char type[DM_MAX_TYPE_NAME + 1] = "";

                if (at + sizeof *spec > end)
                        return NULL;
                memcpy(type, spec->target_type, DM_MAX_TYPE_NAME);
                if (!g_strv_contains(known, type))
                        return NULL;
                g_string_append_printf(text, "%" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT " %s ",
                                       (guint64) spec->sector_start, (guint64) spec->length, type);
                g_string_append_len(text, (const char *) (spec + 1),
                                    (gssize) strnlen((const char *) (spec + 1), end - (const char *) (spec + 1)));
                g_string_append_c(text, '\n');
                at = begin + spec->next;
        }
        return g_string_free(g_steal_pointer(&text), FALSE);
}

static char *ask(int control, dev_t number, guint32 flags) {
        g_autofree struct dm_ioctl *dmi = g_malloc0(BUFFER);

        dmi->version[0] = DM_VERSION_MAJOR;
        dmi->data_size = BUFFER;
        dmi->data_start = sizeof *dmi;
        dmi->dev = number;
        dmi->flags = flags;
        if (ioctl(control, DM_TABLE_STATUS, dmi) < 0 || (dmi->flags & DM_BUFFER_FULL_FLAG) || dmi->target_count == 0)
                return NULL;
        return targets_to_text(dmi);
}

char *gl_dm_table_read(const char *sysroot, dev_t number) {
        g_autofree char *types = NULL;
        char *table = NULL;
        int control;

        if (sysroot) {
                g_autofree char *path = g_strdup_printf("%s/dev/mapper/%u:%u.table", sysroot,
                                                        major(number), minor(number));

                return g_file_get_contents(path, &table, NULL, NULL) ? table : NULL;
        }
        control = open("/dev/" DM_DIR "/" DM_CONTROL_NODE, O_RDWR | O_CLOEXEC);
        if (control < 0)
                return NULL;
        /* A status takes the device's thin pool or snapshot to the disk first, unless it is told not to. */
        types = ask(control, number, DM_NOFLUSH_FLAG);
        if (types)
                table = ask(control, number, DM_STATUS_TABLE_FLAG | DM_NOFLUSH_FLAG);
        close(control);
        return table;
}
