/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drivers/file-audit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "drivers/file-lease.h"
#include "drivers/file-locks.h"
#include "drivers/holders.h"
#include "storage/source.h"

/*
 * The kernel says of each descriptor which locks its own description has. One with the locks of a lease of ours is a
 * copy of the lease's descriptor: it was inherited, or sent over a socket. Of an exclusive lease that is certain; the
 * read locks of the others anybody may have who can read the image, and who has them is in the way as much.
 *
 * Those who have one by right are the service, the keeper and the guests that have the lease, with all that descends
 * from them: a child has what its parent had until it is another program. What has outlived its guest descends from
 * nobody of ours any more.
 *
 * Not seen are descriptors that are on their way in a socket, and processes of PID namespaces beside ours. That is
 * said.
 *
 * The walk takes as long as there are descriptors on the host. It has a thread of its own, that of /proc, and touches
 * no lease and no storage.
 */

#define STORAGE     "/proc"
#define MAX_NAMED   4
#define MAX_DESCENT 256

/* --- what is said --- */

static GlLockLayout layout_of(const GlTarget *target, guint32 host_number) {
        const GlSource *source = target->source.box;
        gboolean disk = target->type == GL_RESOURCE_DISK;

        return (GlLockLayout){
                .owner = disk ? GL_BYTE_OWNER : source->extent.start, .disk = disk, .host_number = host_number};
}

static gboolean has_our_lock(const GlHolder *holder, const GlLockLayout *layout, GlMode mode) {
        return gl_holder_has_lock(holder, layout->owner, mode == GL_MODE_EXCLUSIVE) &&
               (!layout->disk || gl_holder_has_lock(holder, GL_BYTE_HOST + layout->host_number, FALSE));
}

static gboolean has_qemu_lock(const GlHolder *holder) {
        for (guint64 byte = GL_BYTE_QEMU_FIRST; byte <= GL_BYTE_QEMU_LAST; byte++)
                if (gl_holder_has_lock(holder, byte, FALSE))
                        return TRUE;
        return FALSE;
}

static void name(GString *text, guint *n, const GlHolder *holder, const char *what) {
        if (++*n > MAX_NAMED)
                return;
        g_string_append_printf(text, "%sprocess %u (%s) %s", text->len > 0 ? "; " : "", holder->pid,
                               holder->command ?: "unknown", what);
}

char *gl_file_audit_judge(const GlTarget *target, GPtrArray *holders, guint32 host_number, GlAuditKnows knows,
                          gpointer user_data) {
        GlLockLayout layout = layout_of(target, host_number);
        g_autoptr(GString) text = g_string_new(NULL);
        gboolean writer_seen = FALSE;
        guint n = 0;

        for (guint i = 0; i < holders->len; i++) {
                const GlHolder *holder = g_ptr_array_index(holders, i);
                gboolean lock = has_our_lock(holder, &layout, target->held_mode);
                gboolean qemu = target->draining && has_qemu_lock(holder);

                if ((!lock && !qemu) || knows(holder->pid, user_data))
                        continue;
                writer_seen |= qemu;
                name(text, &n, holder,
                     qemu               ? "still has the image open, with QEMU's locks on it"
                     : target->draining ? "still has its lock's descriptor open"
                                        : "has its lock's descriptor open");
        }
        if (n > MAX_NAMED)
                g_string_append_printf(text, "; and %u more", n - MAX_NAMED);
        if (target->draining && !writer_seen)
                g_string_append_printf(text,
                                       "%sno visible process writes to it; the kernel still may, or a descriptor of it "
                                       "is on its way in a socket, in another PID namespace or on another host",
                                       text->len > 0 ? "; " : "");
        return text->len > 0 ? g_strdup(text->str) : NULL;
}

/* --- the walk --- */

typedef struct {
        GlJob *job;
        GlJobDone done;
        gpointer user_data;
        guint32 host_number;
        guint32 keeper;     /* 0: none */
        GArray *files;      /* (owned) of GlFileId, each once */
        GPtrArray *targets; /* (owned) for each of these: GPtrArray of GlTarget (borrowed) */
} Audit;

/* Whose the leases on one file are. */
typedef struct {
        const Audit *audit;
        const GPtrArray *targets; /* (borrowed) */
} Owners;

static gboolean is_owner(const Owners *owners, guint32 pid) {
        if (pid == (guint32) getpid() || pid == owners->audit->keeper)
                return TRUE;
        for (guint i = 0; i < owners->targets->len; i++) {
                const GlTarget *target = g_ptr_array_index(owners->targets, i);

                if (pid == target->pids[0] || pid == target->pids[1])
                        return TRUE;
        }
        return FALSE;
}

static gboolean knows(guint32 pid, gpointer user_data) {
        for (guint i = 0; i < MAX_DESCENT && pid > 1; i++) {
                if (is_owner(user_data, pid))
                        return TRUE;
                pid = gl_parent_of_pid(pid);
        }
        return FALSE;
}

/* For each file. */
static GPtrArray *sort_holders(const Audit *audit, GPtrArray *all) {
        GPtrArray *sorted = g_ptr_array_new_with_free_func((GDestroyNotify) g_ptr_array_unref);

        for (guint i = 0; i < audit->files->len; i++)
                g_ptr_array_add(sorted, g_ptr_array_new());
        for (guint i = 0; i < all->len; i++) {
                GlHolder *holder = g_ptr_array_index(all, i);

                g_ptr_array_add(g_ptr_array_index(sorted, holder->file), holder);
        }
        return sorted;
}

static void walk(gpointer data) {
        Audit *audit = data;
        g_autoptr(GPtrArray) all =
                gl_holders_find_files((const GlFileId *) (gpointer) audit->files->data, audit->files->len);
        g_autoptr(GPtrArray) sorted = sort_holders(audit, all);

        for (guint i = 0; i < audit->files->len; i++) {
                Owners owners = {audit, g_ptr_array_index(audit->targets, i)};

                for (guint j = 0; j < owners.targets->len; j++) {
                        GlTarget *target = g_ptr_array_index(owners.targets, j);

                        target->held_open_by = gl_file_audit_judge(target, g_ptr_array_index(sorted, i),
                                                                   audit->host_number, knows, &owners);
                }
        }
}

static void walked(gpointer data) {
        Audit *audit = data;
        GlJobDone done = audit->done;
        gpointer user_data = audit->user_data;
        GlJob *job = audit->job;

        g_array_unref(audit->files);
        g_ptr_array_unref(audit->targets);
        g_free(audit);
        done(job, user_data);
}

/* --- what is looked for --- */

/* As /proc shows it: the kernel's own numbers, of a device the node by which it was opened. No server is asked. */
static gboolean find_file(const GlTarget *target, GlFileId *file) {
        const GlSource *source = target->source.box;
        const GlFileLease *lease = target->lease;
        struct statx st;

        if (source->kind == GL_STORAGE_MOUNT)
                return FALSE; /* there are no locks */
        if (statx(lease->fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &st) < 0)
                return FALSE;
        *file = (GlFileId){makedev(st.stx_dev_major, st.stx_dev_minor), st.stx_ino};
        return TRUE;
}

static guint hash_file(gconstpointer key) {
        return g_int64_hash(&((const GlFileId *) key)->inode);
}

static gboolean equal_files(gconstpointer a, gconstpointer b) {
        const GlFileId *first = a, *second = b;

        return first->inode == second->inode && first->device == second->device;
}

static void collect_files(Audit *audit) {
        g_autoptr(GHashTable) known = g_hash_table_new_full(hash_file, equal_files, g_free, NULL);

        for (guint i = 0; i < audit->job->n_targets; i++) {
                GlTarget *target = &audit->job->targets[i];
                GPtrArray *same;
                GlFileId file;

                if (!find_file(target, &file))
                        continue;
                same = g_hash_table_lookup(known, &file);
                if (!same) {
                        same = g_ptr_array_new();
                        g_hash_table_insert(known, g_memdup2(&file, sizeof file), same);
                        g_ptr_array_add(audit->targets, same);
                        g_array_append_val(audit->files, file);
                }
                g_ptr_array_add(same, target);
        }
}

void gl_file_start_audit(GlWorkers *workers, const GlFileOptions *options, GlJob *job, GlJobDone done,
                         gpointer user_data) {
        Audit *audit = g_new(Audit, 1);
        g_autoptr(GError) error = NULL;

        *audit = (Audit){.job = job,
                         .done = done,
                         .user_data = user_data,
                         .host_number = options->host_number,
                         .files = g_array_new(FALSE, FALSE, sizeof(GlFileId)),
                         .targets = g_ptr_array_new_with_free_func((GDestroyNotify) g_ptr_array_unref)};
        if (options->keeping && options->keeping->pid)
                audit->keeper = options->keeping->pid(options->keeping);
        collect_files(audit);
        /* Without a thread nothing is found out this time. */
        if (audit->files->len == 0 || !gl_workers_submit_chore(workers, STORAGE, 0, walk, walked, audit, &error))
                walked(audit);
}
