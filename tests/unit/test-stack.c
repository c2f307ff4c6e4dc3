/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stack-fixture.h"

#include <string.h>
#include <sys/sysmacros.h>

#include "storage/dm.h"

/*
 * What devices are made of, told by a made-up /sys: what is hard to come by as much as what every machine has. Which two
 * can be held together is asked of the real lock table.
 */

#define R GL_MODE_READONLY
#define W GL_MODE_SHARED
#define X GL_MODE_EXCLUSIVE
#define SECTOR 512
#define GIB_SECTORS (G_GUINT64_CONSTANT(2) * 1024 * 1024)

static void assert_same(GlStackFixture *fixture, const char *one, const char *other) {
        g_autoptr(GlPlace) first = gl_stack_place(fixture, one), second = gl_stack_place(fixture, other);

        g_assert_true(gl_place_same(first, second));
}

static void assert_differ(GlStackFixture *fixture, const char *one, const char *other) {
        g_autoptr(GlPlace) first = gl_stack_place(fixture, one), second = gl_stack_place(fixture, other);

        g_assert_false(gl_node_equal(&first->node, &second->node));
        g_assert_true(gl_stack_together(fixture, one, X, other, X));
}

/* In each pair of modes as two that overlap, and are not one and the same. */
static void assert_overlap(GlStackFixture *fixture, const char *one, const char *other) {
        for (GlMode first = R; first <= X; first++)
                for (GlMode second = R; second <= X; second++)
                        g_assert_cmpint(gl_stack_together(fixture, one, first, other, second), ==,
                                        first == second && first != X);
}

static void assert_apart(GlStackFixture *fixture, const char *one, const char *other) {
        for (GlMode first = R; first <= X; first++)
                for (GlMode second = R; second <= X; second++)
                        g_assert_true(gl_stack_together(fixture, one, first, other, second));
}

/* --- disks --- */

static void test_disks(GlStackFixture *fixture, gconstpointer data) {
        g_autoptr(GlPlace) before = NULL, after = NULL;

        gl_stack_add_disk(fixture, "vda", "254:0", NULL);
        gl_stack_add_disk(fixture, "vdb", "254:16", NULL);
        assert_differ(fixture, "254:0", "254:16");
        before = gl_stack_place(fixture, "254:0");
        g_assert_cmpuint(before->node.kind, ==, GL_NODE_BLOCK);
        g_assert_cmpuint(before->node.device, ==, makedev(254, 0));
        g_assert_cmpuint(before->n_ancestors, ==, 0);
        g_assert_null(before->via);

        /* Another disk that got the number. */
        gl_stack_add_disk(fixture, "vda", "254:0", NULL);
        after = gl_stack_place(fixture, "254:0");
        g_assert_false(gl_place_equal(before, after));
        g_assert_cmpint(gl_stacks_sequence(fixture->stacks, makedev(254, 0)), ==, after->node.inode);
}

static void test_partitions(GlStackFixture *fixture, gconstpointer data) {
        g_autoptr(GlPlace) place = NULL;

        gl_stack_add_disk(fixture, "sda", "8:0", NULL);
        gl_stack_add_partition(fixture, "sda", "sda1", "8:1", 2048, 4096);
        gl_stack_add_partition(fixture, "sda", "sda2", "8:2", 6144, 4096);
        place = gl_stack_place(fixture, "8:1");
        g_assert_cmpuint(place->node.device, ==, makedev(8, 0));
        g_assert_cmpuint(place->extent.start, ==, 2048 * SECTOR);
        g_assert_cmpuint(place->extent.end, ==, 6144 * SECTOR);
        g_assert_cmpstr(place->via, ==, "sda1 is part of sda");
        assert_overlap(fixture, "8:0", "8:1");
        assert_apart(fixture, "8:1", "8:2");
        g_assert_cmpint(gl_stacks_sequence(fixture->stacks, makedev(8, 1)), ==, place->node.inode);
}

static void test_part_of_a_part(GlStackFixture *fixture, gconstpointer data) {
        g_autoptr(GlPlace) place = NULL;
        GlExtent inside = {SECTOR, 3 * SECTOR}, beyond = {0, 100000 * SECTOR};

        gl_stack_add_disk(fixture, "sda", "8:0", NULL);
        gl_stack_add_partition(fixture, "sda", "sda1", "8:1", 100, 10);
        place = gl_stacks_find_device(fixture->stacks, makedev(8, 1), inside, NULL);
        g_assert_cmpuint(place->extent.start, ==, 101 * SECTOR);
        g_assert_cmpuint(place->extent.end, ==, 103 * SECTOR);
        gl_place_unref(place);
        place = gl_stacks_find_device(fixture->stacks, makedev(8, 1), beyond, NULL);
        g_assert_cmpuint(place->extent.end, ==, 110 * SECTOR);
}

/* --- one disk, several devices --- */

static void test_multipath(GlStackFixture *fixture, gconstpointer data) {
        static const char *const all[] = {"8:0", "8:16", "8:32", "253:0"};

        gl_stack_add_disk(fixture, "sda", "8:0", "naa.600508B4000971CA");
        gl_stack_add_disk(fixture, "sdb", "8:16", "naa.600508b4000971ca");
        gl_stack_add_disk(fixture, "sdc", "8:32", "naa.600508b4000971ca");
        gl_stack_add_map(fixture, "dm-0", "253:0", "mpath-3600508b4000971ca", "sda sdb", NULL);
        for (guint i = 0; i < G_N_ELEMENTS(all); i++)
                for (guint j = 0; j < G_N_ELEMENTS(all); j++)
                        assert_same(fixture, all[i], all[j]);

        /* Its partition, by the map and by a path. */
        gl_stack_add_partition(fixture, "sda", "sda1", "8:1", 2048, 4096);
        gl_stack_add_map(fixture, "dm-1", "253:1", "part1-mpath-3600508b4000971ca", "dm-0",
                         "0 4096 linear 253:0 2048\n");
        assert_same(fixture, "8:1", "253:1");
        assert_overlap(fixture, "253:1", "8:32");
}

static void test_names_that_are_none(GlStackFixture *fixture, gconstpointer data) {
        static const char *const texts[] = {"t10.ATA     QEMU HARDDISK    QM00001", "naa.0000000000000000", "naa.1",
                                            "scsi_debug", "naa.600508b4000971cg", ""};

        for (guint i = 0; i < G_N_ELEMENTS(texts); i++) {
                gl_stack_add_disk(fixture, "sda", "8:0", texts[i]);
                gl_stack_add_disk(fixture, "sdb", "8:16", texts[i]);
                assert_differ(fixture, "8:0", "8:16");
        }
}

static void test_nvme(GlStackFixture *fixture, gconstpointer data) {
        const char *const numbers[] = {"259:0", "259:1", "259:2"};
        const char *const devices[] = {"nvme0n1", "nvme1n1", "nvme2n1"};

        for (guint i = 0; i < 3; i++)
                gl_stack_add_disk(fixture, devices[i], numbers[i], NULL);
        gl_stack_write(fixture, "sys/devices/nvme0n1/wwid", "eui.0123456789abcdef0025385b71b00000\n");
        gl_stack_write(fixture, "sys/devices/nvme1n1/wwid", "uuid.58fd5e5e-d6a3-4d80-9d37-0e4d0f2f5f4e\n");
        gl_stack_write(fixture, "sys/devices/nvme1n1/nguid", "01234567-89ab-cdef-0025-385b71b00000\n");
        gl_stack_write(fixture, "sys/devices/nvme2n1/wwid", "nvme.8086-4d79-5153-00000001\n");
        gl_stack_write(fixture, "sys/devices/nvme2n1/eui", "00 25 38 5b 71 b0 00 00\n");
        assert_same(fixture, "259:0", "259:1");
        assert_differ(fixture, "259:0", "259:2");
}

static void test_multipath_without_a_name(GlStackFixture *fixture, gconstpointer data) {
        gl_stack_add_disk(fixture, "sda", "8:0", NULL);
        gl_stack_add_disk(fixture, "sdb", "8:16", NULL);
        gl_stack_add_map(fixture, "dm-0", "253:0", "mpath-QEMU_1", "sda sdb", NULL);
        gl_stack_add_map(fixture, "dm-1", "253:1", "mpath-QEMU_2", "sda", NULL);
        assert_overlap(fixture, "253:0", "8:0");
        assert_overlap(fixture, "253:0", "8:16");
        assert_same(fixture, "253:1", "8:0"); /* one path alone is a window */
}

/* --- LVM --- */

static void add_volume_group(GlStackFixture *fixture) {
        gl_stack_add_disk(fixture, "sda", "8:0", NULL);
        gl_stack_add_partition(fixture, "sda", "sda1", "8:1", 2048, GIB_SECTORS);
        gl_stack_add_disk(fixture, "sdb", "8:16", NULL);
        gl_stack_add_map(fixture, "dm-0", "253:0", "LVM-one", "sda/sda1", "0 8192 linear 8:1 2048\n");
        gl_stack_add_map(fixture, "dm-1", "253:1", "LVM-two", "sda/sda1 sdb",
                         "0 8192 linear 8:1 10240\n8192 4096 linear 8:16 2048\n");
        gl_stack_add_map(fixture, "dm-2", "253:2", "LVM-striped", "sda/sda1 sdb",
                         "0 8192 striped 2 128 8:1 18432 8:16 6144\n");
}

static void test_volumes(GlStackFixture *fixture, gconstpointer data) {
        g_autoptr(GlPlace) one = NULL, two = NULL, striped = NULL;

        add_volume_group(fixture);
        one = gl_stack_place(fixture, "253:0");
        g_assert_cmpuint(one->node.device, ==, makedev(8, 0));
        g_assert_cmpuint(one->extent.start, ==, (2048 + 2048) * SECTOR);
        g_assert_cmpuint(one->extent.end, ==, (2048 + 2048 + 8192) * SECTOR);

        two = gl_stack_place(fixture, "253:1");
        g_assert_cmpuint(two->node.device, ==, makedev(253, 1));
        g_assert_cmpuint(two->n_ancestors, ==, 2);
        g_assert_cmpuint(two->ancestors[1].node.device, ==, makedev(8, 16));
        g_assert_cmpuint(two->ancestors[1].extent.start, ==, 2048 * SECTOR);
        g_assert_cmpuint(two->ancestors[1].extent.end, ==, 6144 * SECTOR);

        striped = gl_stack_place(fixture, "253:2");
        g_assert_cmpuint(striped->ancestors[0].extent.end - striped->ancestors[0].extent.start, ==, 4096 * SECTOR);

        assert_apart(fixture, "253:0", "253:1");
        assert_apart(fixture, "253:1", "253:2");
        for (guint i = 0; i < 3; i++) {
                const char *const volumes[] = {"253:0", "253:1", "253:2"};

                assert_overlap(fixture, volumes[i], "8:0");
                assert_overlap(fixture, volumes[i], "8:1");
        }
        assert_overlap(fixture, "253:1", "8:16");
        assert_apart(fixture, "253:0", "8:16");
}

/* Without the kernel's control node only the devices below are known, and a volume overlaps all on them. */
static void test_volumes_without_tables(GlStackFixture *fixture, gconstpointer data) {
        add_volume_group(fixture);
        gl_stack_remove(fixture, "dev/mapper");
        assert_overlap(fixture, "253:0", "253:1");
        assert_overlap(fixture, "253:0", "8:1");
        assert_overlap(fixture, "253:1", "8:16");
        assert_apart(fixture, "253:0", "8:16");
}

static void test_thin_volumes(GlStackFixture *fixture, gconstpointer data) {
        add_volume_group(fixture);
        gl_stack_add_map(fixture, "dm-10", "253:10", "LVM-pool_tmeta", "sda/sda1", "0 2048 linear 8:1 40960\n");
        gl_stack_add_map(fixture, "dm-11", "253:11", "LVM-pool_tdata", "sda/sda1", "0 8192 linear 8:1 43008\n");
        gl_stack_add_map(fixture, "dm-12", "253:12", "LVM-pool-tpool", "dm-10 dm-11",
                         "0 8192 thin-pool 253:10 253:11 128 0 0\n");
        gl_stack_add_map(fixture, "dm-13", "253:13", "LVM-thin1", "dm-12", "0 8192 thin 253:12 1\n");
        gl_stack_add_map(fixture, "dm-14", "253:14", "LVM-thin2", "dm-12", "0 8192 thin 253:12 2\n");
        assert_apart(fixture, "253:13", "253:14");
        assert_apart(fixture, "253:13", "253:0");
        assert_overlap(fixture, "253:13", "253:12");
        assert_overlap(fixture, "253:13", "253:11");
        assert_overlap(fixture, "253:14", "8:0");
        g_assert_false(gl_stack_together(fixture, "253:13", X, "253:13", X));
}

static void test_snapshots(GlStackFixture *fixture, gconstpointer data) {
        add_volume_group(fixture);
        gl_stack_add_map(fixture, "dm-20", "253:20", "LVM-root-real", "sda/sda1", "0 8192 linear 8:1 61440\n");
        gl_stack_add_map(fixture, "dm-21", "253:21", "LVM-snap-cow", "sdb", "0 2048 linear 8:16 40960\n");
        gl_stack_add_map(fixture, "dm-22", "253:22", "LVM-root", "dm-20", "0 8192 snapshot-origin 253:20\n");
        gl_stack_add_map(fixture, "dm-23", "253:23", "LVM-snap", "dm-20 dm-21",
                         "0 8192 snapshot 253:20 253:21 P 8\n");
        assert_apart(fixture, "253:22", "253:23");
        assert_overlap(fixture, "253:22", "253:20");
        assert_overlap(fixture, "253:23", "253:21");
        assert_overlap(fixture, "253:23", "8:16");
}

/* --- arrays, and what is not known --- */

static void test_arrays(GlStackFixture *fixture, gconstpointer data) {
        gl_stack_add_disk(fixture, "sda", "8:0", NULL);
        gl_stack_add_disk(fixture, "sdb", "8:16", NULL);
        gl_stack_add_disk(fixture, "sdc", "8:32", NULL);
        gl_stack_add_array(fixture, "md0", "9:0", "sda sdb");
        gl_stack_add_partition(fixture, "md0", "md0p1", "259:0", 2048, 4096);
        gl_stack_add_partition(fixture, "md0", "md0p2", "259:1", 6144, 4096);
        assert_overlap(fixture, "9:0", "8:0");
        assert_overlap(fixture, "9:0", "8:16");
        assert_apart(fixture, "9:0", "8:32");
        assert_apart(fixture, "259:0", "259:1");
        assert_overlap(fixture, "259:0", "9:0");
        assert_overlap(fixture, "259:0", "8:16");
}

static void test_what_is_not_known(GlStackFixture *fixture, gconstpointer data) {
        gl_stack_add_disk(fixture, "sda", "8:0", NULL);
        gl_stack_add_disk(fixture, "sdb", "8:16", NULL);
        gl_stack_add_map(fixture, "dm-0", "253:0", "CRYPT-LUKS2-1", "sda", NULL);
        gl_stack_add_map(fixture, "dm-1", "253:1", "", "sda", "0 100 flakey 8:0 0 1 1\n");
        gl_stack_add_map(fixture, "dm-2", "253:2", "", "sdb", "0 100 linear 8:16 0\n100 100 error\n");
        gl_stack_add_map(fixture, "dm-3", "253:3", "", "sdb", "0 100 linear 8:16 1000\n");
        assert_overlap(fixture, "253:0", "8:0");
        assert_overlap(fixture, "253:0", "253:1");
        assert_apart(fixture, "253:0", "253:2");
        assert_overlap(fixture, "253:2", "253:3");
}

static void test_nothing_below(GlStackFixture *fixture, gconstpointer data) {
        gl_stack_add_map(fixture, "dm-0", "253:0", "", "", "0 100 error\n");
        gl_stack_add_map(fixture, "dm-1", "253:1", "", "", "0 100 zero\n");
        assert_differ(fixture, "253:0", "253:1");
}

static void test_six_deep(GlStackFixture *fixture, gconstpointer data) {
        g_autoptr(GlPlace) place = NULL;

        /* Disks, partitions, an array, a volume on that, encrypted, and a thin pool's data and a volume of that. */
        gl_stack_add_disk(fixture, "sda", "8:0", NULL);
        gl_stack_add_disk(fixture, "sdb", "8:16", NULL);
        gl_stack_add_partition(fixture, "sda", "sda1", "8:1", 2048, 1 << 20);
        gl_stack_add_partition(fixture, "sdb", "sdb1", "8:17", 2048, 1 << 20);
        gl_stack_add_partition(fixture, "sdb", "sdb2", "8:18", 1 << 21, 1 << 20);
        gl_stack_add_array(fixture, "md0", "9:0", "sda/sda1 sdb/sdb1");
        gl_stack_add_map(fixture, "dm-0", "253:0", "LVM-a", "md0", "0 8192 linear 9:0 2048\n");
        gl_stack_add_map(fixture, "dm-1", "253:1", "CRYPT-LUKS2-1", "dm-0", NULL);
        gl_stack_add_map(fixture, "dm-2", "253:2", "LVM-pool", "dm-0 dm-1", "0 8192 thin-pool 253:1 253:1 128 0\n");
        gl_stack_add_map(fixture, "dm-3", "253:3", "LVM-thin", "dm-2", "0 8192 thin 253:2 1\n");
        place = gl_stack_place(fixture, "253:3");
        g_assert_cmpuint(place->n_ancestors, >=, 5);
        for (guint i = 0; i < 7; i++) {
                const char *const below[] = {"253:2", "253:1", "253:0", "9:0", "8:1", "8:16", "8:17"};

                assert_overlap(fixture, "253:3", below[i]);
        }
        assert_apart(fixture, "253:3", "8:18");
}

/* --- loop devices --- */

static void test_loop_devices(GlStackFixture *fixture, gconstpointer data) {
        g_autoptr(GlPlace) place = NULL;

        gl_stack_add_disk(fixture, "sda", "8:0", NULL);
        gl_stack_add_disk(fixture, "loop0", "7:0", NULL);
        gl_stack_add_disk(fixture, "loop1", "7:1", NULL);
        gl_stack_add_disk(fixture, "loop2", "7:2", NULL);
        gl_stack_write(fixture, "srv/a.img", "image");
        for (guint i = 0; i < 2; i++) {
                g_autofree char *file = g_strdup_printf("sys/devices/loop%u/loop/backing_file", i);
                g_autofree char *offset = g_strdup_printf("sys/devices/loop%u/loop/offset", i);
                g_autofree char *limit = g_strdup_printf("sys/devices/loop%u/loop/sizelimit", i);

                gl_stack_write(fixture, file, "/srv/a.img\n");
                gl_stack_write(fixture, offset, i == 0 ? "0\n" : "65536\n");
                gl_stack_write(fixture, limit, i == 0 ? "65536\n" : "0\n");
        }
        place = gl_stack_place(fixture, "7:1");
        g_assert_cmpuint(place->node.kind, ==, GL_NODE_FILE);
        g_assert_cmpuint(place->extent.start, ==, 65536);
        g_assert_cmpuint(place->extent.end, ==, GL_EXTENT_END);
        g_assert_cmpstr(place->via, ==, "loop1 is backed by \"/srv/a.img\"");
        assert_apart(fixture, "7:0", "7:1");
        assert_differ(fixture, "7:0", "7:2"); /* which has none */
        gl_stack_remove(fixture, "srv/a.img");
        gl_stack_fails(fixture, "7:0", "the file behind loop of device loop0 cannot be read");
}

/* --- refused --- */

static void test_what_cannot_be_read(GlStackFixture *fixture, gconstpointer data) {
        gl_stack_fails(fixture, "8:0", "block device 8:0 cannot be found in /sys");
        add_volume_group(fixture);
        gl_stack_remove(fixture, "sys/devices/sda/sda1/start");
        gl_stack_fails(fixture, "8:1", "the place of partition of device sda1 cannot be read");
        gl_stack_fails(fixture, "253:0", "sda1");
        gl_stack_write(fixture, "sys/devices/sda/sda1/start", "many\n");
        gl_stack_fails(fixture, "253:1", "sda1");
        gl_stack_write(fixture, "sys/devices/sda/sda1/start", "18446744073709551615\n");
        gl_stack_fails(fixture, "8:1", "sda1");
        gl_stack_remove(fixture, "sys/devices/sdb/slaves");
        gl_stack_fails(fixture, "8:16", "slaves");
        gl_stack_remove(fixture, "sys/devices/dm-0/dm");
        gl_stack_fails(fixture, "253:0", "dm/uuid of device dm-0 cannot be read");
        gl_stack_add_array(fixture, "md0", "9:0", "sda");
        gl_stack_remove(fixture, "sys/devices/sda/dev");
        gl_stack_fails(fixture, "9:0", "slaves/sda/dev of device md0 cannot be read");
}

static void test_rings_and_towers(GlStackFixture *fixture, gconstpointer data) {
        g_autoptr(GString) slaves = g_string_new("sda");

        gl_stack_add_map(fixture, "dm-0", "253:0", "", "dm-1", "0 8 linear 253:1 0\n");
        gl_stack_add_map(fixture, "dm-1", "253:1", "", "dm-0", "0 8 linear 253:0 0\n");
        gl_stack_fails(fixture, "253:0", "deep");

        /* Each of two on both of the two below: as many parts as no place has. */
        gl_stack_add_disk(fixture, "sda", "8:0", NULL);
        for (guint i = 0; i < 20; i++) {
                g_autofree char *number = g_strdup_printf("9:%u", i), *name = g_strdup_printf("md%u", i);

                gl_stack_add_array(fixture, name, number, slaves->str);
                g_string_append_printf(slaves, " %s", name);
        }
        gl_stack_fails(fixture, "9:19", "parts");
}

/* --- the host --- */

static char *uses_of(GlStackFixture *fixture, const char *number) {
        g_autoptr(GlPlace) place = gl_stack_place(fixture, number);
        g_autoptr(GPtrArray) uses = NULL;
        dev_t device;

        g_assert_true(gl_device_parse(number, &device));
        uses = gl_stacks_find_uses(fixture->stacks, place, device);
        g_ptr_array_add(uses, NULL);
        return g_strjoinv("; ", (char **) uses->pdata);
}

static void assert_uses(GlStackFixture *fixture, const char *number, const char *expected) {
        g_autofree char *uses = uses_of(fixture, number);

        g_assert_cmpstr(uses, ==, expected);
}

static void test_what_the_host_uses(GlStackFixture *fixture, gconstpointer data) {
        add_volume_group(fixture);
        gl_stack_add_disk(fixture, "sdc", "8:32", NULL);
        gl_stack_write(fixture, "proc/self/mountinfo",
                       "1 0 0:1 / / rw - rootfs rootfs rw\n2 1 253:1 / /home rw - ext4 /dev/vg/two rw\n");
        assert_uses(fixture, "253:1", "it is mounted on \"/home\"");
        assert_uses(fixture, "253:0", "");
        assert_uses(fixture, "253:2", "");
        assert_uses(fixture, "8:32", "");
        assert_uses(fixture, "8:16",
                    "the device dm-1, which shares storage with it, is mounted on \"/home\"; "
                    "the device dm-1 is made of it; the device dm-2 is made of it");
        /* The partition's holders are the disk's. */
        assert_uses(fixture, "8:0",
                    "the device dm-1, which shares storage with it, is mounted on \"/home\"; "
                    "the device dm-0 is made of sda1; the device dm-1 is made of sda1; the device dm-2 is made of sda1");
}

static void test_paths_have_no_holder(GlStackFixture *fixture, gconstpointer data) {
        gl_stack_add_disk(fixture, "sda", "8:0", "naa.600508b4000971ca");
        gl_stack_add_disk(fixture, "sdb", "8:16", "naa.600508b4000971ca");
        gl_stack_add_map(fixture, "dm-0", "253:0", "mpath-3600508b4000971ca", "sda sdb", NULL);
        gl_stack_add_map(fixture, "dm-1", "253:1", "part1-mpath-3600508b4000971ca", "dm-0",
                         "0 4096 linear 253:0 2048\n");
        for (guint i = 0; i < 3; i++)
                assert_uses(fixture, (const char *const[]){"8:0", "8:16", "253:0"}[i], "");
        gl_stack_write(fixture, "proc/self/mountinfo",
                       "1 0 0:1 / / rw - rootfs rootfs rw\n2 1 253:1 / /boot rw - ext4 /dev/dm-1 rw\n");
        assert_uses(fixture, "8:16", "the device dm-1, which shares storage with it, is mounted on \"/boot\"");
}

/* --- tables as text --- */

static void test_tables(void) {
        static const char *const wrong[] = {"", "0 8", "0 8 linear", "0 8 linear 8:0", "0 8 linear sda 0",
                                            "0 8 linear 8:0 x", "0 x linear 8:0 0", "0 0 linear 8:0 0",
                                            "0 8 striped 2 128 8:0 0 8:16", "0 8 striped 0 128 8:0 0", "0 8 thin 8:0",
                                            "0 8 crypt aes 00 0 8:0 0", "0 8 linear 8:0 0\n8 8 raid raid1 1 0 0",
                                            "0 8 linear 99999:0 0", "0 36028797018963968 linear 8:0 0",
                                            "0 36028797018963967 linear 8:0 36028797018963967"};
        g_autoptr(GlDmTable) window = gl_dm_table_parse("0 8 linear 8:0 16\n");
        g_autoptr(GlDmTable) late = gl_dm_table_parse("8 8 linear 8:0 16\n");
        g_autoptr(GlDmTable) origin = gl_dm_table_parse("0 8 thin 253:0 7 253:9");

        for (guint i = 0; i < G_N_ELEMENTS(wrong); i++) {
                g_test_message("%s", wrong[i]);
                g_assert_null(gl_dm_table_parse(wrong[i]));
        }
        g_assert_true(window->window);
        g_assert_false(late->window);
        g_assert_cmpuint(origin->pieces->len, ==, 2);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
#define ADD(name, test)                                                                                                \
        g_test_add("/stack/" name, GlStackFixture, NULL, gl_stack_set_up, test, gl_stack_tear_down)
        ADD("disks", test_disks);
        ADD("partitions", test_partitions);
        ADD("part-of-a-part", test_part_of_a_part);
        ADD("multipath", test_multipath);
        ADD("names-that-are-none", test_names_that_are_none);
        ADD("nvme", test_nvme);
        ADD("multipath-without-a-name", test_multipath_without_a_name);
        ADD("volumes", test_volumes);
        ADD("volumes-without-tables", test_volumes_without_tables);
        ADD("thin-volumes", test_thin_volumes);
        ADD("snapshots", test_snapshots);
        ADD("arrays", test_arrays);
        ADD("what-is-not-known", test_what_is_not_known);
        ADD("nothing-below", test_nothing_below);
        ADD("six-deep", test_six_deep);
        ADD("loop-devices", test_loop_devices);
        ADD("what-cannot-be-read", test_what_cannot_be_read);
        ADD("rings-and-towers", test_rings_and_towers);
        ADD("what-the-host-uses", test_what_the_host_uses);
        ADD("paths-have-no-holder", test_paths_have_no_holder);
        g_test_add_func("/stack/tables", test_tables);
        return g_test_run();
}
