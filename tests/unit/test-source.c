/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage/source.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/error.h"
#include "storage/facts.h"

/*
 * Each test has a directory of its own with "a.img", "b.img" and, where we may mount, a tmpfs on "mnt" with
 * "c.img" and "deep/". The whole program lives in a mount namespace of its own, so its mounts end with it.
 */

#define PATIENCE (30 * G_USEC_PER_SEC)
#define SOMEBODY 65534

static gboolean may_mount;
static const GlExtent whole = {0, GL_EXTENT_END};

typedef struct {
        sd_event *event;
        GlWorkers *workers;
        char *dir;
        char *mnt;

        /* What the last resolving came to. */
        GlResolving *resolving;
        gboolean resolved;
        GlSource *source;
        GError *error;
} Fixture;

static char *in_dir(Fixture *fixture, const char *name) {
        return g_build_filename(fixture->dir, name, NULL);
}

static void make_file(Fixture *fixture, const char *name, const char *contents) {
        g_autofree char *path = in_dir(fixture, name);
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);

        g_assert_cmpint(fd, >=, 0);
        g_assert_cmpint(write(fd, contents, strlen(contents)), ==, strlen(contents));
        g_assert_cmpint(fchmod(fd, 0666), ==, 0);
        close(fd);
}

static void make_link(Fixture *fixture, const char *target, const char *name) {
        g_autofree char *path = in_dir(fixture, name);

        g_unlink(path);
        g_assert_cmpint(symlink(target, path), ==, 0);
}

static void make_dir(Fixture *fixture, const char *name) {
        g_autofree char *path = in_dir(fixture, name);

        g_assert_cmpint(g_mkdir(path, 0755), ==, 0);
}

static void new_workers(Fixture *fixture, const char *sysroot) {
        gl_workers_free(fixture->workers);
        fixture->workers = gl_workers_new(fixture->event, sysroot,
                                          &(GlWorkersLimits) {8, 8, 8, G_USEC_PER_SEC}, NULL);
        g_assert_nonnull(fixture->workers);
}

static void set_up(Fixture *fixture, gconstpointer data) {
        g_autofree char *made = g_dir_make_tmp("guestlock-source-XXXXXX", NULL);

        fixture->dir = realpath(made, NULL);
        g_assert_cmpint(chmod(fixture->dir, 0755), ==, 0);
        fixture->mnt = in_dir(fixture, "mnt");
        make_dir(fixture, "mnt");
        if (may_mount)
                g_assert_cmpint(mount("none", fixture->mnt, "tmpfs", 0, "mode=755,size=1m"), ==, 0);
        make_file(fixture, "a.img", "a");
        make_file(fixture, "b.img", "b");
        make_dir(fixture, "mnt/deep");
        make_file(fixture, "mnt/c.img", "c");
        g_assert_cmpint(sd_event_new(&fixture->event), >=, 0);
        new_workers(fixture, NULL);
}

static void forget(Fixture *fixture) {
        g_clear_pointer(&fixture->source, gl_source_unref);
        g_clear_error(&fixture->error);
        fixture->resolved = FALSE;
}

static void remove_tree(const char *path) {
        g_autoptr(GDir) dir = g_file_test(path, G_FILE_TEST_IS_SYMLINK) ? NULL : g_dir_open(path, 0, NULL);
        const char *name;

        while (dir && (name = g_dir_read_name(dir))) {
                g_autofree char *child = g_build_filename(path, name, NULL);

                umount2(child, MNT_DETACH | UMOUNT_NOFOLLOW);
                remove_tree(child);
        }
        g_remove(path);
}

static void tear_down(Fixture *fixture, gconstpointer data) {
        forget(fixture);
        gl_workers_free(fixture->workers);
        sd_event_unref(fixture->event);
        remove_tree(fixture->dir);
        free(fixture->dir);
        g_free(fixture->mnt);
}

static void on_resolved(GlSource *source, const GError *error, gpointer user_data) {
        Fixture *fixture = user_data;

        g_assert_false(fixture->resolved);
        g_assert_true((source == NULL) == (error != NULL));
        fixture->resolved = TRUE;
        fixture->source = source;
        fixture->error = error ? g_error_copy(error) : NULL;
}

static void run_until_resolved(Fixture *fixture) {
        gint64 deadline = g_get_monotonic_time() + PATIENCE;

        g_assert_false(fixture->resolved);
        while (!fixture->resolved && g_get_monotonic_time() < deadline)
                g_assert_cmpint(sd_event_run(fixture->event, PATIENCE), >=, 0);
        g_assert_true(fixture->resolved);
}

static void resolve_as(Fixture *fixture, uid_t uid, const char *path, GlMode mode) {
        const gid_t group = uid;
        g_autoptr(GlCredentials) credentials = gl_credentials_new(uid, &group, 1);

        forget(fixture);
        gl_source_resolve_path(fixture->workers, credentials, path, mode, whole, PATIENCE, on_resolved, fixture);
        run_until_resolved(fixture);
}

/* NAME is in the test's directory unless it is absolute. */
static void resolve(Fixture *fixture, const char *name) {
        g_autofree char *path = name[0] == '/' ? g_strdup(name) : in_dir(fixture, name);

        resolve_as(fixture, geteuid(), path, GL_MODE_EXCLUSIVE);
}

static void resolve_fd(Fixture *fixture, int fd, GlMode mode) {
        forget(fixture);
        gl_source_resolve_fd(fixture->workers, NULL, "vda", fd, mode, whole, PATIENCE, on_resolved, fixture);
        run_until_resolved(fixture);
}

static void assert_failed(Fixture *fixture, GlError code, const char *pattern) {
        g_assert_error(fixture->error, GL_ERROR, (int) code);
        if (!g_pattern_match_simple(pattern, fixture->error->message))
                g_error("\"%s\" does not match \"%s\"", fixture->error->message, pattern);
}

static void assert_is_file(Fixture *fixture, const char *name) {
        g_autofree char *path = in_dir(fixture, name);
        struct stat st;

        g_assert_no_error(fixture->error);
        g_assert_cmpint(stat(path, &st), ==, 0);
        g_assert_cmpuint(fixture->source->place->node.kind, ==, GL_NODE_FILE);
        g_assert_cmpuint(fixture->source->place->node.inode, ==, st.st_ino);
        if (major(st.st_dev) != 0) {
                g_assert_cmpuint(fixture->source->place->node.device, ==, st.st_dev);
                g_assert_cmpuint(fixture->source->place->n_ancestors, >=, 1);
        } else {
                /* The file system has a name, which no device number could be. */
                g_assert_cmpuint(fixture->source->place->node.device, !=, 0);
                g_assert_cmpuint(fixture->source->place->n_ancestors, ==, 0);
        }
        g_assert_false(fixture->source->block);
}

static void assert_leads_to(Fixture *fixture, const char *name, const char *canonical) {
        g_autofree char *path = in_dir(fixture, canonical);

        resolve(fixture, name);
        assert_is_file(fixture, canonical);
        g_assert_cmpstr(fixture->source->canonical, ==, path);
}

static void assert_opens(Fixture *fixture, GlMode mode, int access) {
        g_autoptr(GError) error = NULL;
        int fd = gl_source_open(fixture->source, mode, &error);
        struct stat st;

        g_assert_no_error(error);
        g_assert_cmpint(fstat(fd, &st), ==, 0);
        g_assert_cmpuint(st.st_ino, ==, fixture->source->place->node.inode);
        g_assert_cmpint(fcntl(fd, F_GETFL) & O_ACCMODE, ==, access);
        g_assert_cmpint(fcntl(fd, F_GETFD), ==, FD_CLOEXEC);
        close(fd);
}

static void assert_does_not_open(Fixture *fixture, GlMode mode, GlError code) {
        g_autoptr(GError) error = NULL;

        g_assert_no_error(fixture->error);
        g_assert_cmpint(gl_source_open(fixture->source, mode, &error), ==, -1);
        g_assert_error(error, GL_ERROR, (int) code);
}

static gboolean can_mount(void) {
        if (!may_mount)
                g_test_skip("needs leave to mount");
        return may_mount;
}

static gboolean is_root(void) {
        if (geteuid() != 0)
                g_test_skip("needs root");
        return geteuid() == 0;
}

/* --- ways to a file --- */

static void test_plain_file(Fixture *fixture, gconstpointer data) {
        assert_leads_to(fixture, "a.img", "a.img");
        g_assert_true(g_str_has_suffix(fixture->source->path, "/a.img"));
        g_assert_cmpint(fixture->source->fd, ==, -1);
        g_assert_cmpuint(fixture->source->registrant->uid, ==, geteuid());
        g_assert_cmpuint(fixture->source->place->extent.end, ==, GL_EXTENT_END);
        assert_opens(fixture, GL_MODE_EXCLUSIVE, O_RDWR);
        assert_opens(fixture, GL_MODE_SHARED, O_RDWR);
        assert_opens(fixture, GL_MODE_READONLY, O_RDONLY);
}

static void test_never_answers_at_once(Fixture *fixture, gconstpointer data) {
        g_autofree char *path = in_dir(fixture, "a.img");

        gl_source_resolve_path(fixture->workers, NULL, "", GL_MODE_SHARED, whole, PATIENCE, on_resolved, fixture);
        run_until_resolved(fixture);
        forget(fixture);
        gl_source_resolve_path(fixture->workers, NULL, path, GL_MODE_SHARED, whole, PATIENCE, on_resolved, fixture);
        run_until_resolved(fixture);
        g_assert_cmpuint(fixture->source->registrant->uid, ==, 0);
}

static void test_links_lead_to_one_place(Fixture *fixture, gconstpointer data) {
        g_autofree char *path = in_dir(fixture, "a.img"), *hard = in_dir(fixture, "hard.img");
        g_autoptr(GlPlace) place = NULL;

        resolve(fixture, "a.img");
        place = gl_place_ref(fixture->source->place);
        make_link(fixture, "a.img", "relative");
        make_link(fixture, path, "absolute");
        make_link(fixture, "./mnt/../relative", "twice");
        assert_leads_to(fixture, "relative", "a.img");
        assert_leads_to(fixture, "absolute", "a.img");
        assert_leads_to(fixture, "twice", "a.img");
        g_assert_true(gl_place_equal(place, fixture->source->place));

        g_assert_cmpint(link(path, hard), ==, 0);
        assert_leads_to(fixture, "hard.img", "hard.img");
        g_assert_true(gl_place_equal(place, fixture->source->place));
        resolve(fixture, "b.img");
        g_assert_false(gl_place_equal(place, fixture->source->place));
}

static void test_untidy_paths(Fixture *fixture, gconstpointer data) {
        g_autofree char *up = g_strdup_printf("/../..//%s/./b.img", fixture->dir);

        assert_leads_to(fixture, "mnt/../a.img", "a.img");
        assert_leads_to(fixture, "mnt/deep/../../a.img", "a.img");
        assert_leads_to(fixture, "mnt/deep/../c.img", "mnt/c.img");
        assert_leads_to(fixture, "./mnt//./c.img", "mnt/c.img");
        assert_leads_to(fixture, up, "b.img");
        resolve(fixture, "a.img/");
        assert_failed(fixture, GL_ERROR_STORAGE_UNAVAILABLE, "*not a directory.");
        resolve(fixture, "mnt/../a.img/");
        assert_failed(fixture, GL_ERROR_STORAGE_UNAVAILABLE, "*not a directory.");
        resolve(fixture, "mnt/../a.img/../b.img");
        assert_failed(fixture, GL_ERROR_STORAGE_UNAVAILABLE, "*not a directory.");
}

/* ".." is the parent of where a symlink led, not of the symlink. */
static void test_links_onto_another_mount(Fixture *fixture, gconstpointer data) {
        g_autofree char *away = in_dir(fixture, "mnt/c.img"), *back = in_dir(fixture, "a.img");

        make_link(fixture, "mnt/c.img", "to-mount");
        make_link(fixture, away, "to-mount-absolute");
        make_link(fixture, "mnt/deep", "deep");
        make_link(fixture, "../../a.img", "mnt/deep/back");
        make_link(fixture, back, "mnt/deep/back-absolute");
        assert_leads_to(fixture, "to-mount", "mnt/c.img");
        g_assert_cmpstr(fixture->source->storage, ==, may_mount ? fixture->mnt : fixture->source->storage);
        assert_opens(fixture, GL_MODE_EXCLUSIVE, O_RDWR);
        assert_leads_to(fixture, "to-mount-absolute", "mnt/c.img");
        assert_opens(fixture, GL_MODE_EXCLUSIVE, O_RDWR);
        assert_leads_to(fixture, "deep/../c.img", "mnt/c.img");
        assert_opens(fixture, GL_MODE_EXCLUSIVE, O_RDWR);
        assert_leads_to(fixture, "deep/back", "a.img");
        assert_opens(fixture, GL_MODE_READONLY, O_RDONLY);
        assert_leads_to(fixture, "deep/back-absolute", "a.img");
        assert_leads_to(fixture, "mnt/deep/back-absolute", "a.img");
        resolve(fixture, "deep/../a.img");
        assert_failed(fixture, GL_ERROR_STORAGE_UNAVAILABLE, "Disk \"*/deep/../a.img\" cannot be opened: no such *.");
        resolve(fixture, "to-mount/");
        assert_failed(fixture, GL_ERROR_STORAGE_UNAVAILABLE, "*not a directory.");
}

static void test_bind_mounts(Fixture *fixture, gconstpointer data) {
        g_autofree char *bound = in_dir(fixture, "bound"), *file = in_dir(fixture, "file.img");
        g_autofree char *original = in_dir(fixture, "mnt/c.img");
        g_autoptr(GlPlace) place = NULL;

        if (!can_mount())
                return;
        make_dir(fixture, "bound");
        make_file(fixture, "file.img", "");
        g_assert_cmpint(mount(fixture->mnt, bound, "none", MS_BIND, NULL), ==, 0);
        g_assert_cmpint(mount(original, file, "none", MS_BIND, NULL), ==, 0);

        resolve(fixture, "mnt/c.img");
        place = gl_place_ref(fixture->source->place);
        assert_leads_to(fixture, "bound/c.img", "bound/c.img");
        g_assert_true(gl_place_equal(place, fixture->source->place));
        g_assert_cmpstr(fixture->source->storage, ==, bound);
        assert_leads_to(fixture, "file.img", "file.img");
        g_assert_true(gl_place_equal(place, fixture->source->place));
        g_assert_cmpstr(fixture->source->storage, ==, file);
        assert_opens(fixture, GL_MODE_EXCLUSIVE, O_RDWR);
        assert_leads_to(fixture, "mnt/../file.img", "file.img");
}

static void test_rings_of_links_end(Fixture *fixture, gconstpointer data) {
        g_autofree char *here = in_dir(fixture, "ring"), *there = in_dir(fixture, "mnt/ring");

        make_link(fixture, "self", "self");
        make_link(fixture, there, "ring");
        make_link(fixture, here, "mnt/ring");
        resolve(fixture, "self");
        assert_failed(fixture, GL_ERROR_INVALID_ARGS, "*too many symbolic links.");
        resolve(fixture, "ring");
        assert_failed(fixture, GL_ERROR_INVALID_ARGS, "*too many symbolic links.");
        make_link(fixture, "x/mnt/../mnt/../mnt/../x", "x");
        resolve(fixture, "x");
        assert_failed(fixture, GL_ERROR_INVALID_ARGS, "*too many symbolic links.");
}

static void test_magic_links_are_refused(Fixture *fixture, gconstpointer data) {
        g_autofree char *path = in_dir(fixture, "a.img"), *by_fd = NULL, *by_root = NULL;
        int fd = open(path, O_RDWR | O_CLOEXEC);

        by_fd = g_strdup_printf("/proc/%d/fd/%d", getpid(), fd);
        by_root = g_strdup_printf("/proc/self/root%s", path);
        make_link(fixture, by_fd, "indirectly");
        resolve(fixture, by_fd);
        assert_failed(fixture, GL_ERROR_INVALID_ARGS, "*magic link*");
        resolve(fixture, by_root);
        assert_failed(fixture, GL_ERROR_INVALID_ARGS, "*magic link*");
        resolve(fixture, "indirectly");
        assert_failed(fixture, GL_ERROR_INVALID_ARGS, "*magic link*");
        close(fd);
}

static void test_bad_paths(Fixture *fixture, gconstpointer data) {
        g_autofree char *long_path = g_strnfill(4096, 'x'), *long_name = g_strnfill(300, 'x');

        long_path[0] = '/';
        resolve_as(fixture, geteuid(), "", GL_MODE_READONLY);
        assert_failed(fixture, GL_ERROR_INVALID_ARGS, "Disk \"\" cannot be opened: an empty path *.");
        resolve_as(fixture, geteuid(), "a.img", GL_MODE_READONLY);
        assert_failed(fixture, GL_ERROR_INVALID_ARGS, "*must be absolute.");
        resolve(fixture, long_path);
        assert_failed(fixture, GL_ERROR_INVALID_ARGS, "*longer than 4095 bytes.");
        resolve(fixture, long_name);
        assert_failed(fixture, GL_ERROR_INVALID_ARGS, "*name too long.");
        resolve(fixture, "missing.img");
        assert_failed(fixture, GL_ERROR_STORAGE_UNAVAILABLE, "Disk \"*/missing.img\" cannot be opened: no such *.");
        resolve(fixture, "a.img/x");
        assert_failed(fixture, GL_ERROR_STORAGE_UNAVAILABLE, "*not a directory.");
}

static void test_other_kinds_of_file(Fixture *fixture, gconstpointer data) {
        g_autofree char *fifo = in_dir(fixture, "fifo"), *name = in_dir(fixture, "socket");
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        g_assert_cmpint(mkfifo(fifo, 0600), ==, 0);
        g_strlcpy(address.sun_path, name, sizeof address.sun_path);
        g_assert_cmpint(bind(fd, (struct sockaddr *) &address, sizeof address), ==, 0);
        close(fd);
        resolve(fixture, "mnt");
        assert_failed(fixture, GL_ERROR_INVALID_ARGS, "Disk \"*/mnt\" is a directory; *.");
        resolve(fixture, "/");
        assert_failed(fixture, GL_ERROR_INVALID_ARGS, "* is a directory; *.");
        resolve(fixture, "fifo");
        assert_failed(fixture, GL_ERROR_INVALID_ARGS, "* is a FIFO; *.");
        resolve(fixture, "socket");
        assert_failed(fixture, GL_ERROR_INVALID_ARGS, "* is a socket; *.");
        resolve(fixture, "/dev/null");
        assert_failed(fixture, GL_ERROR_INVALID_ARGS, "* is a character device; *.");
}

static void test_lease_files_are_called_so(Fixture *fixture, gconstpointer data) {
        g_autofree char *path = in_dir(fixture, "mnt"), *good = in_dir(fixture, "a.img");
        const GlExtent byte = {7, 8};

        gl_source_resolve_path(fixture->workers, NULL, path, GL_MODE_EXCLUSIVE, byte, PATIENCE, on_resolved, fixture);
        run_until_resolved(fixture);
        assert_failed(fixture, GL_ERROR_INVALID_ARGS, "Lease file \"*\" is a directory; *.");
        forget(fixture);
        gl_source_resolve_path(fixture->workers, NULL, good, GL_MODE_EXCLUSIVE, byte, PATIENCE, on_resolved, fixture);
        run_until_resolved(fixture);
        g_assert_cmpuint(fixture->source->place->extent.start, ==, 7);
        g_assert_cmpuint(fixture->source->place->extent.end, ==, 8);
}

/* A /sys in which there are the devices 240:7 and 240:8, and the /proc that there is. */
static void make_up_devices(Fixture *fixture) {
        g_autofree char *root = in_dir(fixture, "root");

        make_dir(fixture, "root");
        make_link(fixture, "/proc", "root/proc");
        for (const char *const *dir = (const char *const[]){"sys", "sys/dev", "sys/dev/block", "sys/x", "sys/x/slaves",
                                                            "sys/x/holders", "sys/y", "sys/y/slaves", NULL};
             *dir; dir++) {
                g_autofree char *name = g_build_filename("root", *dir, NULL);

                make_dir(fixture, name);
        }
        make_link(fixture, "../../x", "root/sys/dev/block/240:7");
        make_link(fixture, "../../y", "root/sys/dev/block/240:8");
        new_workers(fixture, root);
}

static void test_block_devices(Fixture *fixture, gconstpointer data) {
        g_autofree char *one = in_dir(fixture, "mnt/one"), *two = in_dir(fixture, "mnt/two");
        g_autoptr(GlPlace) place = NULL;
        const dev_t device = makedev(240, 7); /* of the numbers for experiments: nothing is there to be opened */

        if (!can_mount())
                return;
        g_assert_cmpint(mknod(one, S_IFBLK | 0600, device), ==, 0);
        g_assert_cmpint(mknod(two, S_IFBLK | 0600, device), ==, 0);
        resolve(fixture, one);
        assert_failed(fixture, GL_ERROR_STORAGE_UNAVAILABLE, "*block device 240:7 cannot be found in /sys*");
        make_up_devices(fixture);
        resolve(fixture, one);
        g_assert_no_error(fixture->error);
        g_assert_true(fixture->source->block);
        g_assert_cmpuint(fixture->source->device, ==, device);
        g_assert_cmpuint(fixture->source->place->node.kind, ==, GL_NODE_BLOCK);
        g_assert_cmpuint(fixture->source->place->node.device, ==, device);
        g_assert_cmpuint(fixture->source->place->node.inode, ==, 0);
        g_assert_cmpint(fixture->source->kind, ==, GL_STORAGE_LOCAL);
        g_assert_nonnull(strstr(fixture->source->kind_reason, "device nodes"));
        place = gl_place_ref(fixture->source->place);
        resolve(fixture, two);
        g_assert_true(gl_place_equal(place, fixture->source->place));

        /* The node is made anew: the same device. Then it is another device. */
        g_unlink(two);
        g_assert_cmpint(mknod(two, S_IFBLK | 0600, device), ==, 0);
        assert_does_not_open(fixture, GL_MODE_READONLY, GL_ERROR_STORAGE_UNAVAILABLE);
        g_unlink(two);
        g_assert_cmpint(mknod(two, S_IFBLK | 0600, makedev(240, 8)), ==, 0);
        assert_does_not_open(fixture, GL_MODE_READONLY, GL_ERROR_STALE);

        g_assert_cmpint(mount("none", fixture->mnt, "none", MS_REMOUNT | MS_NODEV, NULL), ==, 0);
        resolve(fixture, one);
        assert_failed(fixture, GL_ERROR_ACCESS_DENIED, "*nodev.");
}

/* --- who may --- */

static void test_only_what_the_user_may_open(Fixture *fixture, gconstpointer data) {
        g_autofree char *path = in_dir(fixture, "a.img"), *dir = in_dir(fixture, "mnt");

        if (!is_root())
                return;
        resolve_as(fixture, SOMEBODY, path, GL_MODE_EXCLUSIVE);
        assert_is_file(fixture, "a.img");
        g_assert_cmpuint(fixture->source->registrant->uid, ==, SOMEBODY);
        assert_opens(fixture, GL_MODE_EXCLUSIVE, O_RDWR);

        g_assert_cmpint(chmod(path, 0644), ==, 0);
        assert_does_not_open(fixture, GL_MODE_EXCLUSIVE, GL_ERROR_ACCESS_DENIED);
        assert_opens(fixture, GL_MODE_READONLY, O_RDONLY);
        resolve_as(fixture, SOMEBODY, path, GL_MODE_SHARED);
        assert_failed(fixture, GL_ERROR_ACCESS_DENIED, "Disk \"*/a.img\" cannot be opened: permission denied.");
        resolve_as(fixture, SOMEBODY, path, GL_MODE_READONLY);
        g_assert_no_error(fixture->error);

        g_assert_cmpint(chmod(path, 0600), ==, 0);
        resolve_as(fixture, SOMEBODY, path, GL_MODE_READONLY);
        assert_failed(fixture, GL_ERROR_ACCESS_DENIED, "*permission denied.");
        resolve_as(fixture, 0, path, GL_MODE_EXCLUSIVE);
        g_assert_no_error(fixture->error);

        g_assert_cmpint(chmod(dir, 0700), ==, 0);
        make_link(fixture, "mnt/c.img", "inside");
        resolve_as(fixture, 0, (g_free(path), path = in_dir(fixture, "inside")), GL_MODE_READONLY);
        g_assert_no_error(fixture->error);
        resolve_as(fixture, SOMEBODY, path, GL_MODE_READONLY);
        assert_failed(fixture, GL_ERROR_ACCESS_DENIED, "*permission denied.");
}

static void test_read_only_file_systems(Fixture *fixture, gconstpointer data) {
        g_autofree char *path = in_dir(fixture, "mnt/c.img");

        if (!can_mount())
                return;
        g_assert_cmpint(mount("none", fixture->mnt, "none", MS_REMOUNT | MS_RDONLY, NULL), ==, 0);
        resolve_as(fixture, 0, path, GL_MODE_EXCLUSIVE);
        assert_failed(fixture, GL_ERROR_ACCESS_DENIED, "*read-only file system.");
        resolve_as(fixture, 0, path, GL_MODE_READONLY);
        g_assert_no_error(fixture->error);
        assert_opens(fixture, GL_MODE_READONLY, O_RDONLY);
}

/* --- what leads elsewhere by the time of the grant --- */

static void test_swapped_links_are_stale(Fixture *fixture, gconstpointer data) {
        make_file(fixture, "mnt/d.img", "d");
        make_link(fixture, "a.img", "link");
        resolve(fixture, "link");
        make_link(fixture, "b.img", "link");
        assert_does_not_open(fixture, GL_MODE_EXCLUSIVE, GL_ERROR_STALE);
        make_link(fixture, "mnt/c.img", "link");
        assert_does_not_open(fixture, GL_MODE_EXCLUSIVE, GL_ERROR_STALE);
        make_link(fixture, "mnt", "link");
        assert_does_not_open(fixture, GL_MODE_EXCLUSIVE, GL_ERROR_STALE);
        make_link(fixture, "a.img", "link");
        assert_opens(fixture, GL_MODE_EXCLUSIVE, O_RDWR);

        make_link(fixture, "mnt/c.img", "link");
        resolve(fixture, "link");
        assert_opens(fixture, GL_MODE_EXCLUSIVE, O_RDWR);
        make_link(fixture, "mnt/d.img", "link");
        assert_does_not_open(fixture, GL_MODE_EXCLUSIVE, GL_ERROR_STALE);
        make_link(fixture, "a.img", "link");
        assert_does_not_open(fixture, GL_MODE_EXCLUSIVE, GL_ERROR_STALE);
}

static void test_another_file_of_that_name_is_stale(Fixture *fixture, gconstpointer data) {
        g_autofree char *path = in_dir(fixture, "a.img"), *moved = in_dir(fixture, "moved.img");

        resolve(fixture, "a.img");
        g_assert_cmpint(rename(path, moved), ==, 0);
        assert_does_not_open(fixture, GL_MODE_EXCLUSIVE, GL_ERROR_STORAGE_UNAVAILABLE);
        make_file(fixture, "a.img", "another");
        assert_does_not_open(fixture, GL_MODE_EXCLUSIVE, GL_ERROR_STALE);
}

/* Many file systems give the number of a deleted inode to the next file; its birth tells them apart. */
static void test_an_inode_number_used_again_is_stale(Fixture *fixture, gconstpointer data) {
        g_autofree char *path = in_dir(fixture, "a.img");
        GlSource *source;

        resolve(fixture, "a.img");
        if (fixture->source->birth == 0) {
                g_test_skip("this file system knows no times of birth");
                return;
        }
        source = fixture->source;
        g_unlink(path);
        g_usleep(20 * 1000); /* births are told in ticks of the kernel's clock */
        make_file(fixture, "a.img", "again");
        assert_does_not_open(fixture, GL_MODE_EXCLUSIVE, GL_ERROR_STALE);

        /* Where the number was not used again: as if it had been. */
        fixture->source = NULL;
        resolve(fixture, "a.img");
        fixture->source->birth = source->birth;
        assert_does_not_open(fixture, GL_MODE_EXCLUSIVE, GL_ERROR_STALE);
        gl_source_unref(source);
}

/* Nor is anything but a file opened where the file system knows no times of birth. */
static void test_an_inode_number_that_a_fifo_got_is_stale(Fixture *fixture, gconstpointer data) {
        g_autofree char *path = in_dir(fixture, "a.img"), *kept = in_dir(fixture, "kept");
        GlPlace *before;
        struct stat st;
        GlNode node;

        resolve(fixture, "a.img");
        g_assert_cmpint(rename(path, kept), ==, 0);
        g_assert_cmpint(mkfifo(path, 0666), ==, 0);
        g_assert_cmpint(stat(path, &st), ==, 0);
        before = fixture->source->place;
        node = before->node;
        node.inode = st.st_ino;
        fixture->source->place = gl_place_new(&node, before->extent, NULL, 0);
        fixture->source->birth = 0;
        gl_place_unref(before);
        assert_does_not_open(fixture, GL_MODE_EXCLUSIVE, GL_ERROR_STALE);
        assert_does_not_open(fixture, GL_MODE_READONLY, GL_ERROR_STALE);
}

/* The real mount table, but the file system on POINT is said to be of TYPE, or (NULL) is left out. */
static void pretend_mount(Fixture *fixture, const char *point, const char *type) {
        g_autofree char *self = in_dir(fixture, "sysroot/proc/self"), *file = g_build_filename(self, "mountinfo", NULL);
        g_autofree char *text = NULL, *root = in_dir(fixture, "sysroot");
        g_autoptr(GString) table = g_string_new(NULL);
        g_auto(GStrv) lines = NULL;

        g_assert_true(g_file_get_contents("/proc/self/mountinfo", &text, NULL, NULL));
        lines = g_strsplit(text, "\n", -1);
        for (char **line = lines; *line && **line; line++) {
                g_auto(GStrv) fields = g_strsplit(*line, " ", 6);

                if (!g_str_equal(fields[4], point))
                        g_string_append_printf(table, "%s\n", *line);
                else if (type)
                        g_string_append_printf(table, "%s %s %s %s %s rw - %s x rw\n", fields[0], fields[1], fields[2],
                                               fields[3], fields[4], type);
        }
        g_assert_cmpint(g_mkdir_with_parents(self, 0755), ==, 0);
        g_assert_true(g_file_set_contents(file, table->str, -1, NULL));
        new_workers(fixture, root);
}

/* Such a link is not looked at again on another storage's thread: the file that it led to counts. */
static void test_links_on_storage_that_may_hang(Fixture *fixture, gconstpointer data) {
        g_autofree char *path = in_dir(fixture, "a.img");

        if (!can_mount())
                return;
        make_file(fixture, "mnt/d.img", "d");
        make_link(fixture, path, "mnt/link");
        pretend_mount(fixture, fixture->mnt, "nfs4");
        resolve(fixture, "mnt/link");
        assert_is_file(fixture, "a.img");
        make_link(fixture, "d.img", "mnt/link");
        assert_opens(fixture, GL_MODE_EXCLUSIVE, O_RDWR);
        g_unlink(path);
        make_file(fixture, "a.img", "another");
        assert_does_not_open(fixture, GL_MODE_EXCLUSIVE, GL_ERROR_STALE);

        /* On its own thread it is. */
        make_link(fixture, "c.img", "mnt/link");
        resolve(fixture, "mnt/link");
        assert_is_file(fixture, "mnt/c.img");
        make_link(fixture, "d.img", "mnt/link");
        assert_does_not_open(fixture, GL_MODE_EXCLUSIVE, GL_ERROR_STALE);
}

/* As an automount that appears on the way. */
static void test_mounts_that_the_table_does_not_know(Fixture *fixture, gconstpointer data) {
        if (!can_mount())
                return;
        pretend_mount(fixture, fixture->mnt, NULL);
        assert_leads_to(fixture, "mnt/c.img", "mnt/c.img");
        assert_leads_to(fixture, "mnt/deep/../c.img", "mnt/c.img");
        assert_leads_to(fixture, "mnt/../a.img", "a.img");
}

/* --- descriptors --- */

static int open_in_dir(Fixture *fixture, const char *name, int flags) {
        g_autofree char *path = in_dir(fixture, name);
        int fd = open(path, flags | O_CLOEXEC);

        g_assert_cmpint(fd, >=, 0);
        return fd;
}

static void test_descriptors(Fixture *fixture, gconstpointer data) {
        g_autofree char *path = in_dir(fixture, "mnt/c.img");
        int fd = open_in_dir(fixture, "mnt/c.img", O_RDWR);

        resolve_fd(fixture, fd, GL_MODE_EXCLUSIVE);
        close(fd);
        assert_is_file(fixture, "mnt/c.img");
        g_assert_cmpstr(fixture->source->path, ==, "vda");
        g_assert_cmpstr(fixture->source->canonical, ==, path);
        g_assert_true(fixture->source->fd_writable);
        if (may_mount)
                g_assert_cmpstr(fixture->source->storage, ==, fixture->mnt);
        assert_opens(fixture, GL_MODE_EXCLUSIVE, O_RDWR);
        g_unlink(path);
        assert_opens(fixture, GL_MODE_READONLY, O_RDONLY);
}

/* The caller's locks go with the caller: what is kept of his descriptor is not his description. */
static void test_descriptors_are_not_held_open(Fixture *fixture, gconstpointer data) {
        int fd = open_in_dir(fixture, "a.img", O_RDWR), other = open_in_dir(fixture, "a.img", O_RDWR);
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 1};

        g_assert_no_errno(fcntl(fd, F_OFD_SETLK, &lock));
        resolve_fd(fixture, fd, GL_MODE_EXCLUSIVE);
        assert_is_file(fixture, "a.img");
        g_assert_cmpint(fcntl(other, F_OFD_SETLK, &lock), ==, -1);
        close(fd);
        g_assert_no_errno(fcntl(other, F_OFD_SETLK, &lock));
        close(other);
}

static void test_descriptors_give_no_more_than_they_have(Fixture *fixture, gconstpointer data) {
        int reading = open_in_dir(fixture, "a.img", O_RDONLY), writing = open_in_dir(fixture, "a.img", O_WRONLY);
        int looking = open_in_dir(fixture, "a.img", O_PATH);

        resolve_fd(fixture, reading, GL_MODE_EXCLUSIVE);
        assert_failed(fixture, GL_ERROR_ACCESS_DENIED, "Disk \"vda\"*read-only descriptor*");
        resolve_fd(fixture, writing, GL_MODE_EXCLUSIVE);
        assert_failed(fixture, GL_ERROR_INVALID_ARGS, "*cannot be read from*");
        resolve_fd(fixture, looking, GL_MODE_READONLY);
        assert_failed(fixture, GL_ERROR_INVALID_ARGS, "*cannot be read from*");
        resolve_fd(fixture, -1, GL_MODE_READONLY);
        g_assert_nonnull(fixture->error);
        resolve_fd(fixture, reading, GL_MODE_READONLY);
        assert_is_file(fixture, "a.img");
        assert_opens(fixture, GL_MODE_READONLY, O_RDONLY);
        assert_does_not_open(fixture, GL_MODE_EXCLUSIVE, GL_ERROR_ACCESS_DENIED);
        close(reading);
        close(writing);
        close(looking);
}

static void test_other_kinds_of_descriptor(Fixture *fixture, gconstpointer data) {
        int dir = open_in_dir(fixture, ".", O_RDONLY | O_DIRECTORY), null = open("/dev/null", O_RDWR | O_CLOEXEC);
        int sockets[2], pipes[2];

        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), ==, 0);
        g_assert_cmpint(pipe2(pipes, O_CLOEXEC), ==, 0);
        resolve_fd(fixture, dir, GL_MODE_READONLY);
        assert_failed(fixture, GL_ERROR_INVALID_ARGS, "Disk \"vda\" is a directory; *.");
        resolve_fd(fixture, null, GL_MODE_EXCLUSIVE);
        assert_failed(fixture, GL_ERROR_INVALID_ARGS, "* is a character device; *.");
        resolve_fd(fixture, sockets[0], GL_MODE_EXCLUSIVE);
        assert_failed(fixture, GL_ERROR_INVALID_ARGS, "* is a socket; *.");
        resolve_fd(fixture, pipes[1], GL_MODE_READONLY);
        assert_failed(fixture, GL_ERROR_INVALID_ARGS, "* is a FIFO; *.");
        for (guint i = 0; i < 2; i++) {
                close(sockets[i]);
                close(pipes[i]);
        }
        close(dir);
        close(null);
}

/* A path that a descriptor has in another mount namespace may be somebody else's file here. */
static void test_descriptors_from_elsewhere(Fixture *fixture, gconstpointer data) {
        g_autofree char *key = NULL;
        struct stat st;
        int fd;

        if (!can_mount())
                return;
        fd = open_in_dir(fixture, "mnt/c.img", O_RDWR);
        g_assert_cmpint(fstat(fd, &st), ==, 0);
        g_assert_cmpint(umount2(fixture->mnt, MNT_DETACH), ==, 0);
        resolve_fd(fixture, fd, GL_MODE_EXCLUSIVE);
        close(fd);
        g_assert_no_error(fixture->error);
        key = g_strdup_printf("dev:%u:%u", major(st.st_dev), minor(st.st_dev));
        g_assert_cmpstr(fixture->source->storage, ==, key);
        g_assert_true(g_str_has_prefix(fixture->source->canonical, "(unreachable)"));
        g_assert_cmpuint(fixture->source->place->node.inode, ==, st.st_ino);
        assert_opens(fixture, GL_MODE_EXCLUSIVE, O_RDWR);

        fd = memfd_create("guest", MFD_CLOEXEC);
        resolve_fd(fixture, fd, GL_MODE_EXCLUSIVE);
        close(fd);
        g_assert_no_error(fixture->error);
        g_assert_true(g_str_has_prefix(fixture->source->canonical, "(unreachable)"));
}

/* --- storage that hangs --- */

static void wait_at_gate(gpointer data) {
        char byte;

        if (read(((int *) data)[0], &byte, 1) < 0)
                g_error("the gate is broken");
}

static void gate_passed(gpointer data) {
        ((int *) data)[2] = TRUE;
}

static void test_storage_that_hangs(Fixture *fixture, gconstpointer data) {
        g_autofree char *link = in_dir(fixture, "link");
        int gate[3] = {-1, -1, FALSE}; /* reading, writing, passed */
        GlResolving *cancelled;

        if (!can_mount())
                return;
        make_link(fixture, "mnt/c.img", "link");
        g_assert_cmpint(pipe2(gate, O_CLOEXEC), ==, 0);
        g_assert_true(
                gl_workers_submit(fixture->workers, fixture->mnt, 0, wait_at_gate, gate_passed, gate, NULL));

        gl_source_resolve_path(fixture->workers, NULL, link, GL_MODE_EXCLUSIVE, whole, 50 * 1000, on_resolved, fixture);
        run_until_resolved(fixture);
        assert_failed(fixture, GL_ERROR_STORAGE_UNAVAILABLE, "Disk \"*/link\"*has not answered for 0.05 seconds.");
        forget(fixture);
        cancelled = gl_source_resolve_path(fixture->workers, NULL, link, GL_MODE_EXCLUSIVE, whole, 10 * 1000,
                                           on_resolved, fixture);
        gl_resolving_cancel(cancelled);
        assert_leads_to(fixture, "a.img", "a.img");

        /* It comes back: the late answers go nowhere, and a new question is answered. */
        forget(fixture);
        close(gate[1]);
        while (!gate[2])
                g_assert_cmpint(sd_event_run(fixture->event, PATIENCE), >=, 0);
        assert_leads_to(fixture, "link", "mnt/c.img");
        close(gate[0]);
}

static void test_cancelling_a_failure(Fixture *fixture, gconstpointer data) {
        GlResolving *resolving = gl_source_resolve_path(fixture->workers, NULL, "relative", GL_MODE_EXCLUSIVE, whole,
                                                        PATIENCE, on_resolved, fixture);

        gl_resolving_cancel(resolving);
        g_assert_cmpint(sd_event_run(fixture->event, 0), ==, 0);
        g_assert_false(fixture->resolved);
}

/* --- how far locks reach --- */

static GlStorageKind kind_with(const char *type, const char *options) {
        GlMount mount = {.type = (char *) type, .options = (char *) options};
        GlFacts facts = {.kind = GL_STORAGE_SHARED};

        gl_facts_heed_mount(&facts, &mount);
        g_assert_true((facts.kind == GL_STORAGE_SHARED) == (facts.kind_reason == NULL));
        return facts.kind;
}

static void test_mount_options_that_keep_locks_here(void) {
        GlFacts facts = {.kind = GL_STORAGE_SHARED}, fuse = {.kind = GL_STORAGE_MOUNT};

        g_assert_cmpint(kind_with("nfs4", "rw,vers=4.2,local_lock=none"), ==, GL_STORAGE_SHARED);
        g_assert_cmpint(kind_with("nfs", "rw,vers=3,local_lock=flock"), ==, GL_STORAGE_SHARED);
        g_assert_cmpint(kind_with("nfs", "rw,vers=3,nolock,local_lock=none"), ==, GL_STORAGE_LOCAL);
        g_assert_cmpint(kind_with("nfs", "rw,local_lock=all"), ==, GL_STORAGE_LOCAL);
        g_assert_cmpint(kind_with("nfs", "local_lock=posix"), ==, GL_STORAGE_LOCAL);
        g_assert_cmpint(kind_with("gfs2", "rw,lockproto=lock_nolock"), ==, GL_STORAGE_LOCAL);
        g_assert_cmpint(kind_with("ocfs2", "rw,heartbeat=local"), ==, GL_STORAGE_LOCAL);
        g_assert_cmpint(kind_with("ocfs2", "rw,cluster_stack=o2cb"), ==, GL_STORAGE_LOCAL);
        g_assert_cmpint(kind_with("ocfs2", "rw,cluster_stack=pcmk"), ==, GL_STORAGE_SHARED);
        gl_facts_heed_mount(&facts, NULL);
        g_assert_cmpint(facts.kind, ==, GL_STORAGE_LOCAL);
        gl_facts_heed_mount(&fuse, NULL);
        g_assert_cmpint(fuse.kind, ==, GL_STORAGE_MOUNT);
}

static void test_overlayfs_is_the_file_below(Fixture *fixture, gconstpointer data) {
        g_autofree char *options = NULL, *point = in_dir(fixture, "over"), *path = in_dir(fixture, "over/c.img");
        g_autoptr(GlPlace) below = NULL;

        if (!can_mount())
                return;
        resolve(fixture, "mnt/c.img");
        g_assert_cmpint(fixture->source->kind, ==, GL_STORAGE_LOCAL);
        g_assert_null(fixture->source->kind_reason);
        below = gl_place_ref(fixture->source->place);
        make_dir(fixture, "over");
        make_dir(fixture, "lower");
        options = g_strdup_printf("lowerdir=%s:%s/lower", fixture->mnt, fixture->dir);
        if (mount("none", point, "overlay", 0, options) < 0) {
                g_test_skip("no overlayfs in this kernel");
                return;
        }
        resolve_as(fixture, 0, path, GL_MODE_READONLY);
        g_assert_no_error(fixture->error);
        g_assert_true(gl_place_same(fixture->source->place, below));
        g_assert_cmpint(fixture->source->kind, ==, GL_STORAGE_LOCAL);
        g_assert_nonnull(strstr(fixture->source->kind_reason, "overlayfs"));

        /* Out of sight. */
        g_assert_cmpint(mount("none", fixture->mnt, "tmpfs", 0, NULL), ==, 0);
        resolve_as(fixture, 0, path, GL_MODE_READONLY);
        g_assert_no_error(fixture->error);
        g_assert_false(gl_place_equal(fixture->source->place, below));
        g_assert_cmpint(fixture->source->kind, ==, GL_STORAGE_MOUNT);
        g_assert_nonnull(strstr(fixture->source->kind_reason, "overlayfs"));
        g_assert_cmpint(umount2(fixture->mnt, MNT_DETACH), ==, 0);
}

static void test_error_codes(void) {
        g_assert_cmpint(gl_error_code_from_errno(EACCES), ==, GL_ERROR_ACCESS_DENIED);
        g_assert_cmpint(gl_error_code_from_errno(EPERM), ==, GL_ERROR_ACCESS_DENIED);
        g_assert_cmpint(gl_error_code_from_errno(EROFS), ==, GL_ERROR_ACCESS_DENIED);
        g_assert_cmpint(gl_error_code_from_errno(ENAMETOOLONG), ==, GL_ERROR_INVALID_ARGS);
        g_assert_cmpint(gl_error_code_from_errno(ELOOP), ==, GL_ERROR_INVALID_ARGS);
        g_assert_cmpint(gl_error_code_from_errno(ENOENT), ==, GL_ERROR_STORAGE_UNAVAILABLE);
        g_assert_cmpint(gl_error_code_from_errno(EIO), ==, GL_ERROR_STORAGE_UNAVAILABLE);
        g_assert_cmpint(gl_error_code_from_errno(ESTALE), ==, GL_ERROR_STORAGE_UNAVAILABLE);
}

static void test_handles_carry_a_reference(Fixture *fixture, gconstpointer data) {
        GlHandle handle, other;

        resolve(fixture, "a.img");
        handle = gl_source_handle(fixture->source);
        other = gl_handle_ref(handle);
        g_clear_pointer(&fixture->source, gl_source_unref);
        gl_handle_unref(&handle);
        g_assert_true(g_str_has_suffix(((GlSource *) other.box)->path, "/a.img"));
        gl_handle_unref(&other);
        g_assert_null(other.box);
}

#define ADD(name, func) g_test_add("/source/" name, Fixture, NULL, set_up, func, tear_down)

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        /* Valgrind before 3.21 does not know openat2(), and there is no other safe way to walk. */
        if (syscall(SYS_openat2, -1, NULL, NULL, 0) < 0 && errno == ENOSYS) {
                puts("1..0 # SKIP no openat2() here (valgrind 3.19 lacks it)");
                return 0;
        }
        may_mount = unshare(CLONE_NEWNS) == 0 && mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) == 0;

        ADD("plain-file", test_plain_file);
        ADD("never-answers-at-once", test_never_answers_at_once);
        ADD("links-lead-to-one-place", test_links_lead_to_one_place);
        ADD("untidy-paths", test_untidy_paths);
        ADD("links-onto-another-mount", test_links_onto_another_mount);
        ADD("bind-mounts", test_bind_mounts);
        ADD("rings-of-links-end", test_rings_of_links_end);
        ADD("magic-links-are-refused", test_magic_links_are_refused);
        ADD("bad-paths", test_bad_paths);
        ADD("other-kinds-of-file", test_other_kinds_of_file);
        ADD("lease-files-are-called-so", test_lease_files_are_called_so);
        ADD("block-devices", test_block_devices);
        ADD("only-what-the-user-may-open", test_only_what_the_user_may_open);
        ADD("read-only-file-systems", test_read_only_file_systems);
        ADD("swapped-links-are-stale", test_swapped_links_are_stale);
        ADD("another-file-of-that-name-is-stale", test_another_file_of_that_name_is_stale);
        ADD("an-inode-number-that-a-fifo-got-is-stale", test_an_inode_number_that_a_fifo_got_is_stale);
        ADD("an-inode-number-used-again-is-stale", test_an_inode_number_used_again_is_stale);
        ADD("links-on-storage-that-may-hang", test_links_on_storage_that_may_hang);
        ADD("mounts-that-the-table-does-not-know", test_mounts_that_the_table_does_not_know);
        ADD("descriptors", test_descriptors);
        ADD("descriptors-are-not-held-open", test_descriptors_are_not_held_open);
        ADD("descriptors-give-no-more-than-they-have", test_descriptors_give_no_more_than_they_have);
        ADD("other-kinds-of-descriptor", test_other_kinds_of_descriptor);
        ADD("descriptors-from-elsewhere", test_descriptors_from_elsewhere);
        ADD("storage-that-hangs", test_storage_that_hangs);
        ADD("cancelling-a-failure", test_cancelling_a_failure);
        ADD("overlayfs-is-the-file-below", test_overlayfs_is_the_file_below);
        ADD("handles-carry-a-reference", test_handles_carry_a_reference);
        g_test_add_func("/source/mount-options-that-keep-locks-here", test_mount_options_that_keep_locks_here);
        g_test_add_func("/source/error-codes", test_error_codes);
        return g_test_run();
}
