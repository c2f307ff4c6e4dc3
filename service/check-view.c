/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A service with a mount namespace of its own (PrivateTmp=, ProtectHome=, PrivateDevices= and their like make one) may
 * see other files than its callers under one name, and would lock those. So each place where something is mounted, here
 * or for process 1, and the directories that sandboxes are known to cover, are looked at through both processes' roots:
 * it has to be the same inode. What only makes a mount read-only passes.
 */

#include "check-parts.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "core/obstacle.h"
#include "storage/mounts.h"

static const char *const always[] = {
        "/",    "/dev",      "/etc", "/home", "/media", "/mnt", "/opt",     "/root",
        "/run", "/run/user", "/srv", "/tmp",  "/usr",   "/var", "/var/lib", "/var/tmp",
};

/* No images are there, and each service has its own, or a read-only one, as a matter of course. */
static const char *const never[] = {"/proc", "/sys", "/run/credentials", "/run/systemd", "/dev/mqueue"};

static char *proc_path(const char *sysroot, const char *process, const char *rest) {
        return g_build_filename(sysroot ?: "/", "proc", process, rest, NULL);
}

static gboolean is_left_out(const char *path) {
        for (gsize i = 0; i < G_N_ELEMENTS(never); i++)
                if (gl_path_is_under(path, never[i]))
                        return TRUE;
        return FALSE;
}

static void add_mount_points(GPtrArray *places, const char *sysroot, const char *process) {
        g_autofree char *path = proc_path(sysroot, process, "mountinfo"), *text = NULL;
        g_autoptr(GPtrArray) mounts = NULL;

        if (!g_file_get_contents(path, &text, NULL, NULL))
                return;
        mounts = gl_mounts_parse(text);
        for (guint i = 0; i < mounts->len; i++) {
                const GlMount *mount = g_ptr_array_index(mounts, i);

                if (!is_left_out(mount->point) &&
                    !g_ptr_array_find_with_equal_func(places, mount->point, g_str_equal, NULL))
                        g_ptr_array_add(places, g_strdup(mount->point));
        }
}

/*
 * 0, or the errno. Asks no server that may not answer, and mounts nothing. A symbolic link is looked at itself: it
 * would lead through our own root.
 */
static int look(const char *root, const char *path, struct statx *st) {
        g_autofree char *full = g_build_filename(root, path, NULL);
        int flags = AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT | AT_SYMLINK_NOFOLLOW;

        return statx(AT_FDCWD, full, flags, STATX_INO | STATX_TYPE, st) < 0 ? errno : 0;
}

static gboolean is_same(const char *root, const char *other_root, const char *path) {
        struct statx a = {0}, b = {0};
        int of_a = look(root, path, &a), of_b = look(other_root, path, &b);

        if (of_a != 0 || of_b != 0)
                return of_a == of_b;
        return a.stx_dev_major == b.stx_dev_major && a.stx_dev_minor == b.stx_dev_minor && a.stx_ino == b.stx_ino;
}

/* The places that differ, quoted and with commas. */
static char *find_differences(const char *sysroot, const char *process) {
        g_autofree char *root = proc_path(sysroot, process, "root"), *other_root = proc_path(sysroot, "1", "root");
        g_autoptr(GPtrArray) places = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(GString) found = g_string_new(NULL);

        for (gsize i = 0; i < G_N_ELEMENTS(always); i++)
                g_ptr_array_add(places, g_strdup(always[i]));
        add_mount_points(places, sysroot, process);
        add_mount_points(places, sysroot, "1");
        for (guint i = 0; i < places->len; i++) {
                g_autofree char *quoted = gl_quote(g_ptr_array_index(places, i));

                if (!is_same(root, other_root, g_ptr_array_index(places, i)))
                        g_string_append_printf(found, "%s%s", found->len > 0 ? ", " : "", quoted);
        }
        return g_string_free(g_steal_pointer(&found), FALSE);
}

void gl_check_view(GlFindings *findings, const char *sysroot, guint32 pid) {
        g_autofree char *process = pid == 0 ? g_strdup("self") : g_strdup_printf("%" G_GUINT32_FORMAT, pid);
        g_autofree char *path = proc_path(sysroot, process, "ns/mnt"), *first_path = proc_path(sysroot, "1", "ns/mnt");
        g_autofree char *namespace = g_file_read_link(path, NULL), *first = g_file_read_link(first_path, NULL);
        g_autofree char *differences = NULL;

        if (!namespace || !first) {
                gl_findings_warning(
                        findings,
                        "whether the service sees the files that its callers see cannot be told: the mount namespace "
                        "of process 1 is hidden from this process, which has to be root with CAP_SYS_PTRACE");
                return;
        }
        if (g_str_equal(namespace, first)) {
                gl_findings_ok(findings, "the service sees the files that its callers see");
                return;
        }
        differences = find_differences(sysroot, process);
        if (differences[0])
                gl_findings_problem(findings,
                                    "the service sees other files than its callers at %s, and would lock those: its "
                                    "unit must not have PrivateTmp=, ProtectHome=, PrivateDevices=, "
                                    "InaccessiblePaths=, TemporaryFileSystem= or the like",
                                    differences);
        else
                gl_findings_warning(findings,
                                    "the service has a mount namespace of its own; it sees the files that its "
                                    "callers see now, but perhaps not what is mounted later: let its unit do "
                                    "without ProtectSystem=, ReadOnlyPaths=, PrivateMounts= and the like");
}
