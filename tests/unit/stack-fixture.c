/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stack-fixture.h"

#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

void gl_stack_set_up(GlStackFixture *fixture, gconstpointer data) {
        fixture->root = g_dir_make_tmp("guestlock-stack-XXXXXX", NULL);
        g_assert_nonnull(fixture->root);
        gl_stack_write(fixture, "proc/self/mountinfo", "1 0 0:1 / / rw - rootfs rootfs rw\n");
        gl_stack_write(fixture, "proc/swaps", "Filename Type Size Used Priority\n");
        fixture->stacks = gl_stacks_new(fixture->root);
}

static void remove_tree(const char *path) {
        g_autoptr(GDir) dir = g_file_test(path, G_FILE_TEST_IS_SYMLINK) ? NULL : g_dir_open(path, 0, NULL);
        const char *name;

        while (dir && (name = g_dir_read_name(dir))) {
                g_autofree char *child = g_build_filename(path, name, NULL);

                remove_tree(child);
        }
        g_remove(path);
}

void gl_stack_tear_down(GlStackFixture *fixture, gconstpointer data) {
        gl_stacks_unref(fixture->stacks);
        remove_tree(fixture->root);
        g_free(fixture->root);
}

static char *path_of(GlStackFixture *fixture, const char *path) {
        g_autofree char *full = g_build_filename(fixture->root, path, NULL), *dir = g_path_get_dirname(full);

        g_assert_cmpint(g_mkdir_with_parents(dir, 0755), ==, 0);
        return g_steal_pointer(&full);
}

void gl_stack_write(GlStackFixture *fixture, const char *path, const char *text) {
        g_autofree char *full = path_of(fixture, path);
        FILE *file = fopen(full, "we");

        /* In place: who has it open reads the new text. */
        g_assert_nonnull(file);
        g_assert_cmpint(fputs(text, file), >=, 0);
        g_assert_cmpint(fclose(file), ==, 0);
}

void gl_stack_remove(GlStackFixture *fixture, const char *path) {
        g_autofree char *full = path_of(fixture, path);

        remove_tree(full);
        g_assert_false(g_file_test(full, G_FILE_TEST_EXISTS));
}

static void add_link(GlStackFixture *fixture, const char *path, const char *target) {
        g_autofree char *full = path_of(fixture, path);

        g_unlink(full);
        g_assert_cmpint(symlink(target, full), ==, 0);
}

static void write_of(GlStackFixture *fixture, const char *device, const char *attribute, const char *text) {
        g_autofree char *path = g_build_filename("sys/devices", device, attribute, NULL);
        g_autofree char *line = g_strconcat(text, "\n", NULL);

        gl_stack_write(fixture, path, line);
}

/* DEVICE below sys/devices, so many levels deep. */
static void add_device(GlStackFixture *fixture, const char *device, const char *number) {
        g_autofree char *link = g_build_filename("sys/dev/block", number, NULL);
        g_autofree char *target = g_build_filename("../../devices", device, NULL);

        write_of(fixture, device, "dev", number);
        add_link(fixture, link, target);
}

static void add_directory(GlStackFixture *fixture, const char *device, const char *name) {
        g_autofree char *path = g_build_filename("sys/devices", device, name, "x", NULL);

        g_free(path_of(fixture, path));
}

static void add_slaves(GlStackFixture *fixture, const char *device, const char *slaves) {
        g_auto(GStrv) names = g_strsplit(slaves, " ", -1);

        add_directory(fixture, device, "slaves");
        for (guint i = 0; names[i] && names[i][0]; i++) {
                g_autofree char *base = g_path_get_basename(names[i]);
                g_autofree char *slave = g_build_filename("sys/devices", device, "slaves", base, NULL);
                g_autofree char *below = g_build_filename("../..", names[i], NULL);
                g_autofree char *holder = g_build_filename("sys/devices", names[i], "holders", device, NULL);
                g_autofree char *above = g_strdup_printf("%s../../%s", strchr(names[i], '/') ? "../" : "", device);

                add_link(fixture, slave, below);
                add_link(fixture, holder, above);
        }
}

void gl_stack_add_disk(GlStackFixture *fixture, const char *device, const char *number, const char *name) {
        static guint sequence = 1;
        g_autofree char *text = g_strdup_printf("%u", sequence++);

        add_device(fixture, device, number);
        add_directory(fixture, device, "slaves");
        add_directory(fixture, device, "holders");
        write_of(fixture, device, "diskseq", text);
        if (name)
                write_of(fixture, device, "device/wwid", name);
}

void gl_stack_add_partition(GlStackFixture *fixture, const char *disk, const char *device, const char *number,
                            guint64 start, guint64 size) {
        g_autofree char *path = g_build_filename(disk, device, NULL);
        g_autofree char *start_text = g_strdup_printf("%" G_GUINT64_FORMAT, start);
        g_autofree char *size_text = g_strdup_printf("%" G_GUINT64_FORMAT, size);

        add_device(fixture, path, number);
        add_directory(fixture, path, "holders");
        write_of(fixture, path, "partition", "1");
        write_of(fixture, path, "start", start_text);
        write_of(fixture, path, "size", size_text);
}

void gl_stack_add_map(GlStackFixture *fixture, const char *device, const char *number, const char *uuid,
                      const char *slaves, const char *table) {
        g_autofree char *path = g_strdup_printf("dev/mapper/%s.table", number);

        gl_stack_add_disk(fixture, device, number, NULL);
        write_of(fixture, device, "dm/uuid", uuid);
        add_slaves(fixture, device, slaves);
        if (table)
                gl_stack_write(fixture, path, table);
}

void gl_stack_add_array(GlStackFixture *fixture, const char *device, const char *number, const char *slaves) {
        gl_stack_add_disk(fixture, device, number, NULL);
        add_slaves(fixture, device, slaves);
}

static dev_t parse(const char *number) {
        dev_t device;

        g_assert_true(gl_device_parse(number, &device));
        return device;
}

GlPlace *gl_stack_place(GlStackFixture *fixture, const char *number) {
        g_autoptr(GError) error = NULL;
        GlPlace *place = gl_stacks_find_device(fixture->stacks, parse(number), (GlExtent){0, GL_EXTENT_END}, &error);

        g_assert_no_error(error);
        return place;
}

void gl_stack_fails(GlStackFixture *fixture, const char *number, const char *what) {
        g_autoptr(GError) error = NULL;

        g_assert_null(
                gl_stacks_find_device(fixture->stacks, parse(number), (GlExtent){0, GL_EXTENT_END}, &error));
        g_assert_nonnull(error);
        if (!strstr(error->message, what))
                g_error("\"%s\" is not in: %s", what, error->message);
}

static gboolean meets(GlPlace *held, GlMode held_mode, const GlPlace *asked, GlMode asked_mode) {
        g_autoptr(GlTable) table = gl_table_new();

        gl_table_enter(table, held, held_mode, NULL);
        return gl_table_conflicts(table, asked, asked_mode, NULL, NULL);
}

gboolean gl_stack_together(GlStackFixture *fixture, const char *one, GlMode one_mode, const char *other,
                           GlMode other_mode) {
        g_autoptr(GlPlace) first = gl_stack_place(fixture, one), second = gl_stack_place(fixture, other);
        gboolean conflict = meets(first, one_mode, second, other_mode);

        g_assert_cmpint(meets(second, other_mode, first, one_mode), ==, conflict);
        return !conflict;
}
