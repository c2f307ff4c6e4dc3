/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage/facts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include "core/error.h"
#include "core/obstacle.h"

/*
 * What a file is and what its file system makes of locks. Where that is in doubt the lesser promise is made:
 * a lock that does not reach other hosts, but is published as if it did, makes second writers.
 */

static const struct {
        guint32 magic; /* statfs's f_type */
        GlStorageKind kind;
        const char *reason;
} file_systems[] = {
        {0x00006969, GL_STORAGE_SHARED, NULL}, /* NFS */
        {0x00c36400, GL_STORAGE_SHARED, NULL}, /* CephFS */
        {0x01161970, GL_STORAGE_SHARED, NULL}, /* GFS2 */
        {0x7461636f, GL_STORAGE_SHARED, NULL}, /* OCFS2 */
        {0x0bd00bd0, GL_STORAGE_SHARED, NULL}, /* Lustre */
        {0x47504653, GL_STORAGE_SHARED, NULL}, /* GPFS */
        {0x65735546, GL_STORAGE_MOUNT, "locks of a FUSE file system cannot be relied on"}, /* virtiofs, too */
        {0x01021997, GL_STORAGE_MOUNT, "locks of a 9p file system cannot be relied on"},
        {0x786f4256, GL_STORAGE_MOUNT, "locks of a VirtualBox shared folder cannot be relied on"},
        {0x0000517b, GL_STORAGE_MOUNT, "locks of an SMB file system block the guest's own reads and writes"},
        {0xff534d42, GL_STORAGE_MOUNT, "locks of an SMB file system block the guest's own reads and writes"},
        {0xfe534d42, GL_STORAGE_MOUNT, "locks of an SMB file system block the guest's own reads and writes"},
        {0x5346414f, GL_STORAGE_MOUNT, "locks of AFS cannot be relied on"},
        {0x6b414653, GL_STORAGE_MOUNT, "locks of AFS cannot be relied on"},
        {OVERLAYFS_SUPER_MAGIC, GL_STORAGE_MOUNT, "on overlayfs a file has another identity than on the file system below"},
        {0x61756673, GL_STORAGE_MOUNT, "on aufs a file has another identity than on the file system below"},
        {0x0000f15f, GL_STORAGE_MOUNT, "on eCryptfs a file has another identity than on the file system below"},
};

/*
 * A file of /proc is what it is to whoever opens it, and that would be us: /proc/self is the service, and what checks
 * capabilities at the opening, and not the file's mode, would find ours.
 */
static gboolean is_made_up(guint32 magic) {
        static const guint32 made_up[] = {
                PROC_SUPER_MAGIC, SYSFS_MAGIC,    CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, DEBUGFS_MAGIC,
                TRACEFS_MAGIC,    SECURITYFS_MAGIC, PSTOREFS_MAGIC,   EFIVARFS_MAGIC,      BPF_FS_MAGIC,
                SELINUX_MAGIC,    SMACK_MAGIC,    NSFS_MAGIC,         BINFMTFS_MAGIC,      RDTGROUP_SUPER_MAGIC,
        };

        for (gsize i = 0; i < G_N_ELEMENTS(made_up); i++)
                if (made_up[i] == magic)
                        return TRUE;
        return FALSE;
}

/*
 * An anonymous device number is given to somebody else when the file system is unmounted. Where the file system has a
 * name of its own and the file a handle in it (for btrfs: the subvolume is in both), they are its identity.
 */
static void heed_anonymous(int fd, const struct statfs *fs, GlFacts *facts) {
        static const guint32 named[] = {BTRFS_SUPER_MAGIC, TMPFS_MAGIC, NFS_SUPER_MAGIC};
        union {
                struct file_handle handle;
                guint8 bytes[sizeof(struct file_handle) + MAX_HANDLE_SZ];
        } file = {.handle = {.handle_bytes = MAX_HANDLE_SZ}};
        guint32 mixed = 2166136261u;
        guint64 id = 0;
        int mount_id;

        for (gsize i = 0; i < G_N_ELEMENTS(named); i++)
                if (named[i] == facts->magic)
                        memcpy(&id, &fs->f_fsid, sizeof id);
        /* Never what a device number could be. */
        if (id != 0)
                facts->node.device = (id ^ facts->magic) | G_GUINT64_CONSTANT(1) << 63;
        if ((id == 0 && facts->magic != NFS_SUPER_MAGIC) ||
            name_to_handle_at(fd, "", &file.handle, &mount_id, AT_EMPTY_PATH) < 0)
                return;
        for (guint i = 0; i < file.handle.handle_bytes; i++)
                mixed = (mixed ^ file.handle.f_handle[i]) * 16777619u;
        facts->node.inode_generation = mixed;
}

static int read_kind(int fd, GlFacts *facts) {
        struct statfs fs;

        if (fstatfs(fd, &fs) < 0)
                return -errno;
        facts->magic = (guint32) fs.f_type;
        facts->nodev = (fs.f_flags & ST_NODEV) != 0;
        facts->made_up = facts->type == S_IFREG && is_made_up((guint32) fs.f_type);
        facts->kind = GL_STORAGE_LOCAL;
        facts->kind_reason = NULL;
        if (facts->type == S_IFBLK) {
                facts->kind_reason = "locks do not reach across the device nodes of a block device";
                return 0;
        }
        if (major(facts->fs_device) == 0)
                heed_anonymous(fd, &fs, facts);
        for (gsize i = 0; i < G_N_ELEMENTS(file_systems); i++) {
                if (file_systems[i].magic == (guint32) fs.f_type) {
                        facts->kind = file_systems[i].kind;
                        facts->kind_reason = file_systems[i].reason;
                }
        }
        return 0;
}

int gl_facts_read(int fd, GlFacts *facts) {
        GlFacts found = {};
        struct statx stx;
        int r;

        /* Neither size nor times: asking for those makes some network file systems write back first. */
        if (statx(fd, "", AT_EMPTY_PATH, STATX_TYPE | STATX_INO | STATX_NLINK | STATX_BTIME | STATX_MNT_ID, &stx) < 0)
                return -errno;
        found.type = stx.stx_mode & S_IFMT;
        found.n_links = stx.stx_nlink;
        found.fs_device = makedev(stx.stx_dev_major, stx.stx_dev_minor);
        found.inode = stx.stx_ino;
        found.mount_id = stx.stx_mnt_id;
        if (stx.stx_mask & STATX_BTIME)
                found.birth = (gint64) stx.stx_btime.tv_sec * G_GINT64_CONSTANT(1000000000) + stx.stx_btime.tv_nsec;
        if (found.type == S_IFBLK) {
                found.device = makedev(stx.stx_rdev_major, stx.stx_rdev_minor);
                found.node = (GlNode) {.kind = GL_NODE_BLOCK, .device = found.device};
        } else {
                found.node = (GlNode) {.kind = GL_NODE_FILE,
                                       .device = found.fs_device,
                                       .inode = stx.stx_ino};
        }
        r = read_kind(fd, &found);
        if (r < 0)
                return r;
        *facts = found;
        return 0;
}

static gboolean has_option(char **options, const char *const *wanted) {
        for (; *wanted; wanted++) {
                if (g_strv_contains((const char *const *) options, *wanted))
                        return TRUE;
        }
        return FALSE;
}

/* OCFS2's own cluster stack (o2cb) has no POSIX locks across hosts; the others are named among the options. */
static gboolean has_cluster_locks(char **options) {
        for (; *options; options++) {
                if (g_str_has_prefix(*options, "cluster_stack="))
                        return !g_str_equal(*options, "cluster_stack=o2cb");
        }
        return FALSE;
}

void gl_facts_heed_mount(GlFacts *facts, const GlMount *mount) {
        /* NFS, GFS2, and Lustre and OCFS2. */
        static const char *const local[] = {"nolock",     "local_lock=all", "local_lock=posix", "lockproto=lock_nolock",
                                            "localflock", "noflock",        "localflocks",      NULL};
        g_auto(GStrv) options = mount ? g_strsplit(mount->options, ",", -1) : NULL;

        if (facts->kind != GL_STORAGE_SHARED)
                return;
        if (!mount)
                facts->kind_reason = "its mount options are not known, because it lies in another mount namespace";
        else if (has_option(options, local))
                facts->kind_reason = "it is mounted with an option that keeps locks on this host";
        else if (g_str_equal(mount->type, "ocfs2") && !has_cluster_locks(options))
                facts->kind_reason = "the cluster stack of this OCFS2 keeps locks on each host";
        else
                return;
        facts->kind = GL_STORAGE_LOCAL;
}

gboolean gl_storage_is_patient(const char *type) {
        static const char *const patient[] = {"bcachefs", "btrfs", "devtmpfs", "erofs",  "exfat",    "ext2", "ext3",
                                              "ext4",     "f2fs",  "iso9660",  "jfs",    "overlay",  "ramfs", "rootfs",
                                              "squashfs", "tmpfs", "vfat",     "xfs",    "zfs",      NULL};

        return g_strv_contains(patient, type);
}

gboolean gl_facts_check_type(mode_t type, const char *what, GError **error) {
        const char *word = type == S_IFDIR    ? "a directory"
                           : type == S_IFIFO  ? "a FIFO"
                           : type == S_IFSOCK ? "a socket"
                           : type == S_IFCHR  ? "a character device"
                           : type == S_IFLNK  ? "a symbolic link"
                                              : "something else";

        if (type == S_IFREG || type == S_IFBLK)
                return TRUE;
        g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS,
                    "%s is %s; only regular files and block devices can be leased.", what, word);
        return FALSE;
}

gboolean gl_facts_check(const GlFacts *facts, const char *what, GError **error) {
        if (facts->made_up)
                g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS,
                            "%s is not on any storage, the kernel makes it up; only regular files and block devices "
                            "can be leased.",
                            what);
        return !facts->made_up && gl_facts_check_type(facts->type, what, error);
}

char *gl_source_describe(const char *name, GlExtent extent) {
        g_autofree char *quoted = gl_quote(name);
        gboolean whole = extent.start == 0 && extent.end == GL_EXTENT_END;

        return g_strdup_printf("%s %s", whole ? "Disk" : "Lease file", quoted);
}

int gl_error_code_from_errno(int saved_errno) {
        switch (saved_errno) {
        case EACCES:
        case EPERM:
        case EROFS:
                return GL_ERROR_ACCESS_DENIED;
        case EINVAL:
        case EISDIR:
        case ELOOP:
        case ENAMETOOLONG:
                return GL_ERROR_INVALID_ARGS;
        default:
                return GL_ERROR_STORAGE_UNAVAILABLE;
        }
}

void gl_source_set_error(GError **error, const char *what, int saved_errno) {
        g_autofree char *reason = g_strdup(g_strerror(saved_errno));

        if (saved_errno == ELOOP) {
                g_free(reason);
                reason = g_strdup("it leads through a magic link of /proc, or through too many symbolic links");
        }
        reason[0] = g_ascii_tolower(reason[0]);
        g_set_error(error, GL_ERROR, gl_error_code_from_errno(saved_errno), "%s cannot be opened: %s.", what, reason);
}

int gl_source_reopen(int fd, GlMode mode) {
        g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);

        /* Without O_NONBLOCK somebody's file lease (F_SETLEASE) could hold this thread for as long as he likes. */
        return open(path, (mode == GL_MODE_READONLY ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}
