/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage/mounts.h"

/* Which mount a path lies on, by the mount table alone. */

static const char table[] =
        "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n"
        "24 27 0:6 / /dev rw - devtmpfs devtmpfs rw\n"
        "30 27 0:40 / /srv/with\\040space\\134\\043 rw shared:3 master:1 - nfs4 host:/x rw,local_lock=none\n"
        "31 27 0:41 / /srv rw - tmpfs  rw\n"
        "this is no line\n"
        "32 31 8:1 /a /srv/deep/er rw - xfs /dev/sda1 rw\n"
        "33 27 0:42 / /mnt rw - tmpfs one rw\n"
        "34 33 0:43 / /mnt rw - tmpfs two rw\n"
        "35 27 0:44 / /home rw - xfs /dev/sdb rw\n"
        "36 27 0:45 / /data\\040dir rw - fuse.sshfs a:b rw,user_id=1000\n"
        "37 27 0:46 / x - broken\n";

static guint64 mount_of(GPtrArray *mounts, const char *path) {
        const GlMount *mount = gl_mounts_find(mounts, path);

        return mount ? mount->id : 0;
}

static void test_mounts_are_found_by_name(void) {
        g_autoptr(GPtrArray) mounts = gl_mounts_parse(table);

        g_assert_cmpuint(mounts->len, ==, 9);
        g_assert_cmpuint(mount_of(mounts, "/"), ==, 27);
        g_assert_cmpuint(mount_of(mounts, "/etc/passwd"), ==, 27);
        g_assert_cmpuint(mount_of(mounts, "/dev"), ==, 24);
        g_assert_cmpuint(mount_of(mounts, "/dev/sda"), ==, 24);
        g_assert_cmpuint(mount_of(mounts, "/devices"), ==, 27);
        g_assert_cmpuint(mount_of(mounts, "/home/alice/a.img"), ==, 35);
        g_assert_cmpuint(mount_of(mounts, "/srv/deep/er/b.img"), ==, 32);
        g_assert_cmpuint(mount_of(mounts, "/srv/deep"), ==, 31);
        g_assert_cmpuint(mount_of(mounts, "/data dir/x"), ==, 36);
}

static void test_later_mounts_cover_earlier_ones(void) {
        g_autoptr(GPtrArray) mounts = gl_mounts_parse(table);

        /* Stacked on one point. */
        g_assert_cmpuint(mount_of(mounts, "/mnt/x"), ==, 34);
        /* Mounted on the root's directory before /srv was mounted over it. */
        g_assert_cmpuint(mount_of(mounts, "/srv/with space\\#/x"), ==, 31);
}

static void test_mount_lines_are_unescaped(void) {
        g_autoptr(GPtrArray) mounts = gl_mounts_parse(table);
        const GlMount *mount = mounts->pdata[2];

        g_assert_cmpstr(mount->point, ==, "/srv/with space\\#");
        g_assert_cmpstr(mount->type, ==, "nfs4");
        g_assert_cmpstr(mount->options, ==, "rw,local_lock=none");
        g_assert_cmpstr(((GlMount *) mounts->pdata[3])->options, ==, "rw");
}

static void test_odd_tables(void) {
        g_autoptr(GPtrArray) none = gl_mounts_parse("");
        g_autoptr(GPtrArray) chroot = gl_mounts_parse("9 5 0:1 / /srv rw - tmpfs t rw\n");
        g_autoptr(GPtrArray) ring = gl_mounts_parse("1 1 0:1 / / rw - tmpfs t rw\n1 1 0:1 / / rw - tmpfs t rw\n"
                                                    "2 3 0:1 / / rw - tmpfs t rw\n3 2 0:1 / / rw - tmpfs t rw\n");

        g_assert_null(gl_mounts_find(none, "/x"));
        g_assert_null(gl_mounts_find(chroot, "/x"));
        g_assert_cmpuint(mount_of(chroot, "/srv/x"), ==, 9);
        g_assert_cmpuint(mount_of(ring, "/x"), ==, 1);
}

static void assert_tidy(const char *path, const char *expected) {
        g_autofree char *tidy = gl_path_tidy(path);

        g_assert_cmpstr(tidy, ==, expected);
}

static void test_paths_are_tidied(void) {
        assert_tidy("/", "/");
        assert_tidy("//a/./b", "/a/b");
        assert_tidy("/a//../b", "/a/../b");
        assert_tidy("/a/b/", "/a/b/");
        assert_tidy("/a/b/.", "/a/b/");
        assert_tidy("/.a/..b/c.", "/.a/..b/c.");
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/mounts/are-found-by-name", test_mounts_are_found_by_name);
        g_test_add_func("/mounts/later-ones-cover-earlier-ones", test_later_mounts_cover_earlier_ones);
        g_test_add_func("/mounts/lines-are-unescaped", test_mount_lines_are_unescaped);
        g_test_add_func("/mounts/odd-tables", test_odd_tables);
        g_test_add_func("/mounts/paths-are-tidied", test_paths_are_tidied);
        return g_test_run();
}
