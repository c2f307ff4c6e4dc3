/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/error.h"
#include "drivers/lockspace-names.h"
#include "drivers/lockspace-record.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* What lock files are called, on a made-up /sys, and what records say. */

/* --- names --- */

typedef struct {
        char *root;
        GlFileOptions options;
        gboolean by_descriptor;
} Fixture;

static void setup(Fixture *fixture, gconstpointer data) {
        fixture->root = g_dir_make_tmp("guestlock-test-XXXXXX", NULL);
        fixture->options = (GlFileOptions){.sysroot = fixture->root};
        for (guint i = 0; i < GL_N_LOCKSPACES; i++)
                fixture->options.lockspaces[i] = "/srv/lockspace";
}

static void remove_tree(const char *path) {
        g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
        const char *name;

        while (dir && (name = g_dir_read_name(dir))) {
                g_autofree char *below = g_build_filename(path, name, NULL);

                if (g_file_test(below, G_FILE_TEST_IS_SYMLINK))
                        g_unlink(below);
                else
                        remove_tree(below);
        }
        g_remove(path);
}

static void teardown(Fixture *fixture, gconstpointer data) {
        remove_tree(fixture->root);
        g_free(fixture->root);
}

static void put(Fixture *fixture, const char *attribute, const char *text) {
        g_autofree char *path = g_build_filename(fixture->root, "sys/dev/block", attribute, NULL);
        g_autofree char *directory = g_path_get_dirname(path);

        g_assert_cmpint(g_mkdir_with_parents(directory, 0700), ==, 0);
        g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

static char *hash(const char *path) {
        return g_compute_checksum_for_string(G_CHECKSUM_SHA256, path, -1);
}

/* EXPECTED: NULL-terminated pairs of a kind's letter and a name; a path stands for its hash. */
static void assert_names(Fixture *fixture, const GlSource *source, const char *const *expected) {
        g_autoptr(GPtrArray) names = gl_lockspace_names(source, fixture->by_descriptor, &fixture->options);
        static const char letters[] = "FLS";

        for (guint i = 0; i < names->len; i++) {
                const GlLockspaceName *name = g_ptr_array_index(names, i);
                gboolean found = FALSE;

                for (guint j = 0; expected[j] && !found; j++) {
                        g_autofree char *hashed = expected[j][1] == '/' ? hash(expected[j] + 1) : NULL;

                        found = letters[name->kind] == expected[j][0] &&
                                g_str_equal(name->name, hashed ?: expected[j] + 1);
                }
                if (!found)
                        g_error("it is kept as %c %s", letters[name->kind], name->name);
        }
        g_assert_cmpuint(names->len, ==, g_strv_length((char **) expected));
}

#define expect(fixture, source, ...) assert_names(fixture, source, (const char *const[]){__VA_ARGS__, NULL})

static void test_paths(Fixture *fixture, gconstpointer data) {
        GlSource source = {.path = (char *) "/srv/link", .canonical = (char *) "/srv/a.img"};

        /* What sha256sum says of "/srv/a.img": libvirt's client has the same. */
        expect(fixture, &source, "F/srv/link", "F2b6011ba5d563292bf53a35f00c7b345640583bc4e94cca624e490f135ff7c13");
}

static void test_one_name(Fixture *fixture, gconstpointer data) {
        GlSource source = {.path = (char *) "/srv/a.img", .canonical = (char *) "/srv/a.img"};

        expect(fixture, &source, "F/srv/a.img");
        fixture->options.lockspaces[GL_LOCKSPACE_FILES] = NULL;
        assert_names(fixture, &source, (const char *const[]){NULL});
}

/* The caller may have called it like another one's disk. */
static void test_descriptors(Fixture *fixture, gconstpointer data) {
        GlSource source = {.path = (char *) "/srv/b.img", .canonical = (char *) "/srv/a.img"};

        fixture->by_descriptor = TRUE;
        expect(fixture, &source, "F/srv/a.img");
        source.canonical = (char *) "/srv/a.img (deleted)";
        assert_names(fixture, &source, (const char *const[]){NULL});
        source.canonical = (char *) "(unreachable)/srv/a.img";
        assert_names(fixture, &source, (const char *const[]){NULL});
        source.canonical = NULL;
        assert_names(fixture, &source, (const char *const[]){NULL});
}

static void test_logical_volume(Fixture *fixture, gconstpointer data) {
        GlSource source = {.block = TRUE, .device = makedev(253, 3), .path = (char *) "/dev/vg/lv",
                           .canonical = (char *) "/dev/dm-3"};

        put(fixture, "253:3/dm/uuid", "LVM-0123456789ABCDEFGHIJKLMNOPQRSTUV06UgP52rhbw3Bo3mdRWeoLpytOSAa2ky\n");
        expect(fixture, &source, "L06UgP5-2rhb-w3Bo-3mdR-WeoL-pytO-SAa2ky");
        /* By a name that is not under /dev, virtlockd's client knows no device. */
        source.path = (char *) "/srv/link";
        expect(fixture, &source, "F/srv/link", "L06UgP5-2rhb-w3Bo-3mdR-WeoL-pytO-SAa2ky");
        source.path = (char *) "/dev/vg/lv";
        fixture->options.lockspaces[GL_LOCKSPACE_LVM] = NULL;
        expect(fixture, &source, "F/dev/vg/lv", "F/dev/dm-3");
}

static void test_scsi(Fixture *fixture, gconstpointer data) {
        GlSource source = {.block = TRUE, .device = makedev(8, 16), .path = (char *) "/dev/sdb",
                           .canonical = (char *) "/dev/sdb"};

        put(fixture, "8:16/device/wwid", "naa.600508b400105e210000900000490000\n");
        expect(fixture, &source, "S3600508b400105e210000900000490000");
        put(fixture, "8:16/device/wwid", "eui.0025385b71b00b27\n");
        expect(fixture, &source, "S20025385b71b00b27");
        /* Nothing that scsi_id would say the same way. */
        put(fixture, "8:16/device/wwid", "t10.ATA     QEMU HARDDISK    QM00001\n");
        expect(fixture, &source, "F/dev/sdb");
        put(fixture, "8:16/device/wwid", "naa.../../etc\n");
        expect(fixture, &source, "F/dev/sdb");
        put(fixture, "8:16/device/wwid", "naa.600508b400105e210000900000490000\n");
        fixture->options.lockspaces[GL_LOCKSPACE_SCSI] = NULL;
        expect(fixture, &source, "F/dev/sdb");
}

static void test_partition(Fixture *fixture, gconstpointer data) {
        GlSource source = {.block = TRUE, .device = makedev(8, 17), .path = (char *) "/dev/sdb1",
                           .canonical = (char *) "/dev/sdb1"};
        g_autofree char *link = g_build_filename(fixture->root, "sys/dev/block/8:17", NULL);

        put(fixture, "sdb/device/wwid", "naa.600508b400105e210000900000490000\n");
        put(fixture, "sdb/sdb1/partition", "1\n");
        g_assert_cmpint(symlink("sdb/sdb1", link), ==, 0);
        expect(fixture, &source, "S3600508b400105e210000900000490000");
}

static void test_multipath(Fixture *fixture, gconstpointer data) {
        GlSource source = {.block = TRUE, .device = makedev(253, 0), .path = (char *) "/dev/mapper/mpatha",
                           .canonical = (char *) "/dev/dm-0"};

        put(fixture, "253:0/dm/uuid", "mpath-3600508b400105e210000900000490000\n");
        expect(fixture, &source, "S3600508b400105e210000900000490000");
        put(fixture, "253:0/dm/uuid", "part1-mpath-3600508b400105e210000900000490000\n");
        expect(fixture, &source, "S3600508b400105e210000900000490000");
        put(fixture, "253:0/dm/uuid", "CRYPT-LUKS2-0123-luks\n");
        expect(fixture, &source, "F/dev/mapper/mpatha", "F/dev/dm-0");
}

/* --- records --- */

static const GlLockspaceRecord example = {
        .generations = {.exclusive = 1800000000000001, .shared = G_MAXINT64},
        .mode = GL_MODE_SHARED,
        .since = 1800000000000000,
        .pid = 4242,
        .host_number = G_MAXUINT32,
        .guest_uuid = (char *) "4dea22b3-1d52-d8f3-2516-782e98ab3fa0",
        .guest_name = (char *) "web \"1\"\n\t[x]; # \xc3\xa4",
        .host_id = (char *) "00000000000000000000000000000009",
        .host_name = (char *) "",
        .path = (char *) "/srv/\xff\x01 =.img",
};

static void test_record_round_trip(void) {
        gsize length;
        g_autofree char *text = gl_lockspace_record_write(&example, &length);
        g_autoptr(GError) error = NULL;
        g_autoptr(GlLockspaceRecord) record = gl_lockspace_record_read(text, length, &error);

        g_assert_no_error(error);
        g_assert_true(g_str_is_ascii(text));
        g_assert_cmpuint(record->generations.exclusive, ==, example.generations.exclusive);
        g_assert_cmpuint(record->generations.shared, ==, example.generations.shared);
        g_assert_cmpint(record->mode, ==, example.mode);
        g_assert_cmpint(record->since, ==, example.since);
        g_assert_cmpuint(record->pid, ==, example.pid);
        g_assert_cmpuint(record->host_number, ==, example.host_number);
        g_assert_cmpstr(record->guest_uuid, ==, example.guest_uuid);
        g_assert_cmpstr(record->guest_name, ==, example.guest_name);
        g_assert_cmpstr(record->host_id, ==, example.host_id);
        g_assert_cmpstr(record->host_name, ==, example.host_name);
        g_assert_cmpstr(record->path, ==, example.path);
}

static void assert_refused(const char *text, gsize length, const char *what) {
        g_autoptr(GError) error = NULL;

        g_assert_null(gl_lockspace_record_read(text, length, &error));
        g_assert_error(error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE);
        if (!strstr(error->message, what))
                g_error("expected \"%s\" in: %s", what, error->message);
}

static void test_damaged_records(void) {
        static const struct {
                const char *line, *instead, *what;
        } cases[] = {
                {"version=1", "version=2", "its version is 2, not 1"},
                {"version=1", "version=", "its version is no such number"},
                {"version=1", "", "its version is missing"},
                {"generation-exclusive=1800000000000001", "generation-exclusive=-1", "its generation-exclusive is no"},
                {"generation-shared=9223372036854775807", "generation-shared=9223372036854775808", "generation-shared"},
                {"mode=shared", "mode=Shared", "its mode is not known"},
                {"pid=4242", "pid=x", "its pid"},
                {"host-number=4294967295", "host-number=4294967296", "its host-number"},
                {"guest-uuid=4dea22b3-1d52-d8f3-2516-782e98ab3fa0", "guest-uuid=x", "its guest-uuid"},
                {"host-name=\"\"", "host-name=", "its host-name is not a text in quotes"},
                {"host-name=\"\"", "host-name=\"\\377\"", "its host-name is not UTF-8"},
                {"host-name=\"\"", "host-nam=\"\"", "its host-name is missing"},
                {"[lease]", "[lesse]", "is missing"},
                {"[lease]", "", "no key file"},
        };
        gsize length;
        g_autofree char *text = gl_lockspace_record_write(&example, &length), *large = g_malloc0(65537);

        for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_auto(GStrv) parts = g_strsplit(text, cases[i].line, 2);
                g_autofree char *other = g_strjoinv(cases[i].instead, parts);

                g_assert_cmpuint(g_strv_length(parts), ==, 2);
                assert_refused(other, strlen(other), cases[i].what);
        }
        assert_refused("", 0, "is missing");
        assert_refused(large, 65537, "larger");
        /* Truncated anywhere. */
        for (gsize n = 0; n + 2 < length; n++) {
                g_autoptr(GError) error = NULL;
                g_autoptr(GlLockspaceRecord) record = gl_lockspace_record_read(text, n, &error);

                if (record)
                        g_error("%" G_GSIZE_FORMAT " bytes of %" G_GSIZE_FORMAT " are taken for a record", n, length);
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
#define ADD(path, func) g_test_add("/lockspace/names/" path, Fixture, NULL, setup, func, teardown)
        ADD("paths", test_paths);
        ADD("one-name", test_one_name);
        ADD("descriptors", test_descriptors);
        ADD("logical-volume", test_logical_volume);
        ADD("scsi", test_scsi);
        ADD("partition", test_partition);
        ADD("multipath", test_multipath);
        g_test_add_func("/lockspace/record/round-trip", test_record_round_trip);
        g_test_add_func("/lockspace/record/damaged", test_damaged_records);
        return g_test_run();
}
