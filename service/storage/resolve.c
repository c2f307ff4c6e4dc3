/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "core/error.h"
#include "storage/facts.h"
#include "storage/source.h"
#include "storage/stack.h"
#include "storage/walk.h"

/*
 * Finding out what a path or a descriptor leads to. The loop knows the mount table and says which worker walks the next
 * leg; the worker walks it with the caller's credentials, and comes back with the end of the way (and what
 * is there) or with the next leg.
 *
 * While a piece of work is out, the fields marked as the worker's belong to it. A resolving that was
 * cancelled or has timed out meanwhile has lost its callback, and is freed when the work comes back.
 */

#define MAX_PATH_BYTES 4095
/* As many changes of storage as the kernel follows symlinks. */
#define MAX_LEGS 40

struct GlResolving {
        GlWorkers *workers;         /* (borrowed) */
        GlStacks *stacks;           /* (owned) */
        GlCredentials *credentials; /* (owned) */
        char *name;                 /* (owned) as the caller gave it */
        char *what;                 /* (owned) "Disk "/srv/a.img"", for sentences */
        GlMode mode;
        GlExtent extent;
        GlSourceResolved resolved; /* (nullable) NULL: called, or nobody waits any more */
        gpointer user_data;
        guint64 timeout;
        sd_event_source *timer; /* (owned) the timeout, or a failure that waits to be told */
        GError *failure;        /* (owned) (nullable) that failure */
        GlPiece *piece;         /* (nullable) the piece of work that is out */

        GPtrArray *legs; /* (owned) of GlLeg: the way so far */
        int fd;          /* (owned) the caller's descriptor, or -1 */
        gboolean fd_writable;
        char *fd_storage; /* (owned) (nullable) */
        guint64 fd_mount;

        /* The worker's. */
        GlLeg *next;     /* (owned) (nullable) */
        GlFacts facts;
        GlPlace *place;    /* (owned) (nullable) */
        const char *limit; /* (static) (nullable) */
        char *canonical; /* (owned) (nullable) */
        GError *error;   /* (owned) (nullable) */
};

static void resolving_free(GlResolving *resolving) {
        sd_event_source_disable_unref(resolving->timer);
        g_clear_pointer(&resolving->credentials, gl_credentials_unref);
        g_clear_pointer(&resolving->legs, g_ptr_array_unref);
        g_clear_pointer(&resolving->next, gl_leg_free);
        g_clear_pointer(&resolving->place, gl_place_unref);
        g_clear_pointer(&resolving->stacks, gl_stacks_unref);
        g_clear_error(&resolving->failure);
        g_clear_error(&resolving->error);
        g_free(resolving->name);
        g_free(resolving->what);
        g_free(resolving->fd_storage);
        g_free(resolving->canonical);
        if (resolving->fd >= 0)
                close(resolving->fd);
        g_free(resolving);
}

static void give_up(GlResolving *resolving) {
        resolving->resolved = NULL;
        resolving->timer = sd_event_source_disable_unref(resolving->timer);
        if (resolving->piece && gl_workers_withdraw(resolving->workers, resolving->piece))
                resolving->piece = NULL;
        if (!resolving->piece)
                resolving_free(resolving);
}

void gl_resolving_cancel(GlResolving *resolving) {
        give_up(resolving);
}

/* SOURCE is consumed. */
static void finish(GlResolving *resolving, GlSource *source, const GError *error) {
        resolving->resolved(source, error, resolving->user_data);
        give_up(resolving);
}

/* --- on a worker's thread --- */

static gboolean check_access(int fd, GlMode mode, const GlFacts *facts, const char *what, GError **error) {
        int access = mode == GL_MODE_READONLY ? R_OK : R_OK | W_OK;

        if (facts->type == S_IFBLK && facts->nodev) {
                g_set_error(error, GL_ERROR, GL_ERROR_ACCESS_DENIED,
                            "%s cannot be opened: its file system is mounted nodev.", what);
                return FALSE;
        }
        /* AT_EACCESS: with the file-system ids of this thread, and not with the real ones. */
        if (syscall(SYS_faccessat2, fd, "", access, AT_EMPTY_PATH | AT_EACCESS) < 0) {
                gl_source_set_error(error, what, errno);
                return FALSE;
        }
        return TRUE;
}

static gboolean look_at(GlResolving *resolving, int fd, GError **error) {
        int r = gl_facts_read(fd, &resolving->facts);

        if (r < 0) {
                gl_source_set_error(error, resolving->what, -r);
                return FALSE;
        }
        return gl_facts_check(&resolving->facts, resolving->what, error);
}

/* As the service itself, which sees of devices what the user does not. */
static void find_place(GlResolving *resolving, int fd) {
        GlFacts *facts = &resolving->facts;

        resolving->place = gl_stacks_find(resolving->stacks, fd, facts, resolving->mode, resolving->extent,
                                          resolving->what, &resolving->limit, &resolving->error);
        if (facts->type == S_IFBLK)
                facts->birth = gl_stacks_sequence(resolving->stacks, facts->device);
}

static void work_walk(gpointer data) {
        GlResolving *resolving = data;
        const GlLeg *leg = resolving->legs->pdata[resolving->legs->len - 1];
        gboolean arrived;
        int fd = -1, r;

        gl_credentials_assume(resolving->credentials);
        r = gl_leg_walk(leg, &fd, &resolving->next);
        if (r < 0)
                gl_source_set_error(&resolving->error, resolving->what, -r);
        arrived = fd >= 0 && look_at(resolving, fd, &resolving->error) &&
                  check_access(fd, resolving->mode, &resolving->facts, resolving->what, &resolving->error);
        gl_credentials_drop();

        if (arrived) {
                resolving->canonical = gl_path_of_fd(fd);
                /* Removed meanwhile, or moved out of what can be reached. */
                if (resolving->facts.n_links == 0 || !resolving->canonical || resolving->canonical[0] != '/')
                        gl_source_set_error(&resolving->error, resolving->what, ENOENT);
                else
                        find_place(resolving, fd);
        }
        if (fd >= 0)
                close(fd);
}

/*
 * What is kept is not the caller's description but one without any access: his may have locks on it (QEMU's, say),
 * which would live on in our copy after he is gone, and an open file of ours would pass for I/O of his.
 */
static gboolean let_go_of_description(GlResolving *resolving, GError **error) {
        g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", resolving->fd);
        int fd = open(path, O_PATH | O_CLOEXEC);

        if (fd < 0) {
                gl_source_set_error(error, resolving->what, errno);
                return FALSE;
        }
        close(resolving->fd);
        resolving->fd = fd;
        return TRUE;
}

static void work_look(gpointer data) {
        GlResolving *resolving = data;

        if (look_at(resolving, resolving->fd, &resolving->error) &&
            let_go_of_description(resolving, &resolving->error))
                find_place(resolving, resolving->fd);
}

/* --- on the loop --- */

/* The way that gl_source_open() may go on STORAGE's thread: the given one if no leg of it could make that hang. */
static GPtrArray *legs_to_keep(GlResolving *resolving, const char *canonical, const char *storage) {
        GPtrArray *legs;

        for (guint i = 0; i < resolving->legs->len; i++) {
                const GlLeg *leg = resolving->legs->pdata[i];

                if (!leg->patient && !g_str_equal(leg->storage, storage)) {
                        legs = g_ptr_array_new_with_free_func((GDestroyNotify) gl_leg_free);
                        g_ptr_array_add(legs, gl_leg_new(canonical, strlen(storage)));
                        return legs;
                }
        }
        return g_ptr_array_ref(resolving->legs);
}

static GlSource *make_source(GlResolving *resolving) {
        GlSource *source = g_atomic_rc_box_new0(GlSource);
        GlFacts *facts = &resolving->facts;
        GlMountTable *mounts = gl_workers_mounts(resolving->workers);
        const GlMount *mount = resolving->fd_storage ? gl_mount_table_find_id(mounts, resolving->fd_mount)
                                                     : gl_mount_table_find(mounts, resolving->canonical);

        source->registrant = gl_credentials_ref(resolving->credentials);
        source->path = g_strdup(resolving->name);
        source->fd = -1;
        if (resolving->fd_storage) {
                source->storage = g_steal_pointer(&resolving->fd_storage);
                source->fd = resolving->fd;
                source->fd_writable = resolving->fd_writable;
                resolving->fd = -1;
        } else {
                source->storage = g_strdup(mount ? mount->point : "/");
        }
        source->legs = legs_to_keep(resolving, resolving->canonical, source->storage);
        gl_facts_heed_mount(facts, mount);
        source->canonical = g_steal_pointer(&resolving->canonical);
        source->stacks = gl_stacks_ref(resolving->stacks);
        source->self = facts->node;
        source->extent = resolving->extent;
        source->place = g_steal_pointer(&resolving->place);
        source->limit = resolving->limit;
        source->birth = facts->birth;
        source->kind = facts->kind;
        source->kind_reason = facts->kind_reason;
        source->block = facts->type == S_IFBLK;
        source->device = facts->device;
        return source;
}

static void on_work_done(gpointer data);

static gboolean submit(GlResolving *resolving, const char *storage, GlWork work, GError **error) {
        resolving->piece = gl_workers_submit(resolving->workers, storage, resolving->credentials->uid, work,
                                            on_work_done, resolving, error);
        return resolving->piece != NULL;
}

/* LEG is consumed. */
static gboolean walk_on(GlResolving *resolving, GlLeg *leg, GError **error) {
        g_autofree char *start = leg->base ? g_strndup(leg->path, leg->base) : g_strdup(leg->path);
        const GlMount *mount = gl_mount_table_find(gl_workers_mounts(resolving->workers), start);

        leg->storage = g_strdup(mount ? mount->point : "/");
        leg->patient = mount && gl_storage_is_patient(mount->type);
        if (leg->base == 0)
                leg->base = strlen(leg->storage);
        g_ptr_array_add(resolving->legs, leg);
        if (resolving->legs->len > MAX_LEGS) {
                gl_source_set_error(error, resolving->what, ELOOP);
                return FALSE;
        }
        return submit(resolving, leg->storage, work_walk, error);
}

static void on_work_done(gpointer data) {
        GlResolving *resolving = data;

        resolving->piece = NULL;
        if (!resolving->resolved) {
                resolving_free(resolving);
                return;
        }
        if (!resolving->error && resolving->next &&
            walk_on(resolving, g_steal_pointer(&resolving->next), &resolving->error))
                return;
        finish(resolving, resolving->error ? NULL : make_source(resolving), resolving->error);
}

static int on_timeout(sd_event_source *timer, uint64_t usec, void *user_data) {
        GlResolving *resolving = user_data;
        g_autoptr(GError) error = NULL;

        g_set_error(&error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE,
                    "%s cannot be looked at: its storage has not answered for %.3g seconds.", resolving->what,
                    (double) resolving->timeout / G_USEC_PER_SEC);
        finish(resolving, NULL, error);
        return 0;
}

static int on_failure(sd_event_source *source, void *user_data) {
        GlResolving *resolving = user_data;

        finish(resolving, NULL, resolving->failure);
        return 0;
}

static GlResolving *resolving_new(GlWorkers *workers, GlCredentials *credentials, const char *name, GlMode mode,
                                  GlExtent extent, guint64 timeout, GlSourceResolved resolved, gpointer user_data) {
        static const gid_t root = 0;
        GlResolving *resolving = g_new0(GlResolving, 1);

        resolving->workers = workers;
        resolving->stacks = gl_stacks_ref(gl_workers_stacks(workers));
        resolving->credentials = credentials ? gl_credentials_ref(credentials) : gl_credentials_new(0, &root, 1);
        resolving->name = g_strdup(name);
        resolving->what = gl_source_describe(name, extent);
        resolving->mode = mode;
        resolving->extent = extent;
        resolving->timeout = timeout;
        resolving->resolved = resolved;
        resolving->user_data = user_data;
        resolving->legs = g_ptr_array_new_with_free_func((GDestroyNotify) gl_leg_free);
        resolving->fd = -1;
        return resolving;
}

/* Sees to it that the callback comes: with what `failure` says, or in the end with the timeout. */
static GlResolving *under_way(GlResolving *resolving) {
        sd_event *event = gl_workers_event(resolving->workers);
        int r;

        if (resolving->failure)
                r = sd_event_add_defer(event, &resolving->timer, on_failure, resolving);
        else
                r = sd_event_add_time_relative(event, &resolving->timer, CLOCK_MONOTONIC, resolving->timeout, 1000,
                                               on_timeout, resolving);
        if (r < 0)
                g_error("The event loop takes no more work: %s.", g_strerror(-r));
        return resolving;
}

static gboolean check_path(const char *path, const char *what, GError **error) {
        const char *problem = path[0] == '\0'                ? "an empty path leads nowhere"
                              : path[0] != '/'               ? "the path must be absolute"
                              : strlen(path) > MAX_PATH_BYTES ? "the path is longer than 4095 bytes"
                                                             : NULL;

        if (problem)
                g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS, "%s cannot be opened: %s.", what, problem);
        return !problem;
}

GlResolving *gl_source_resolve_path(GlWorkers *workers, GlCredentials *credentials, const char *path, GlMode mode,
                                    GlExtent extent, guint64 timeout, GlSourceResolved resolved, gpointer user_data) {
        GlResolving *resolving =
                resolving_new(workers, credentials, path, mode, extent, timeout, resolved, user_data);

        if (check_path(path, resolving->what, &resolving->failure))
                walk_on(resolving, gl_leg_new(path, 0), &resolving->failure);
        return under_way(resolving);
}

/* What can be said of the caller's descriptor without touching its file system. */
static gboolean check_descriptor(GlResolving *resolving, GError **error) {
        int flags = fcntl(resolving->fd, F_GETFL), access = flags & O_ACCMODE;
        struct stat st;

        if (flags < 0 || !(resolving->canonical = gl_path_of_fd(resolving->fd))) {
                gl_source_set_error(error, resolving->what, errno);
                return FALSE;
        }
        /* "socket:[4711]", "pipe:[4711]", "anon_inode:…": nothing there can hang. */
        if (resolving->canonical[0] != '/' && fstat(resolving->fd, &st) == 0 &&
            !gl_facts_check_type(st.st_mode & S_IFMT, resolving->what, error))
                return FALSE;
        if ((flags & O_PATH) || (access != O_RDONLY && access != O_RDWR)) {
                g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS,
                            "%s was passed as a descriptor that cannot be read from; open it for reading, or for "
                            "reading and writing.",
                            resolving->what);
                return FALSE;
        }
        resolving->fd_writable = access == O_RDWR;
        if (resolving->mode != GL_MODE_READONLY && !resolving->fd_writable) {
                g_set_error(error, GL_ERROR, GL_ERROR_ACCESS_DENIED,
                            "%s was passed as a read-only descriptor, which does for the mode readonly alone.",
                            resolving->what);
                return FALSE;
        }
        return TRUE;
}

/*
 * The worker for a descriptor. One that comes from another mount namespace has a path there which may be
 * something else here: that path must not pass for one of ours.
 */
static gboolean find_descriptor(GlResolving *resolving, GError **error) {
        const GlMount *mount;
        struct statx stx;

        /* Asking for nothing brings the mount and the device, and no server is asked for it. */
        if (statx(resolving->fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &stx) < 0) {
                gl_source_set_error(error, resolving->what, errno);
                return FALSE;
        }
        resolving->fd_mount = stx.stx_mnt_id;
        mount = gl_mount_table_find_id(gl_workers_mounts(resolving->workers), resolving->fd_mount);
        if (mount && gl_path_is_under(resolving->canonical, mount->point)) {
                resolving->fd_storage = g_strdup(mount->point);
        } else {
                g_autofree char *elsewhere = g_steal_pointer(&resolving->canonical);

                resolving->canonical = g_strconcat("(unreachable)", elsewhere, NULL);
                resolving->fd_storage = g_strdup_printf("dev:%u:%u", stx.stx_dev_major, stx.stx_dev_minor);
        }
        return TRUE;
}

GlResolving *gl_source_resolve_fd(GlWorkers *workers, GlCredentials *credentials, const char *name, int fd, GlMode mode,
                                  GlExtent extent, guint64 timeout, GlSourceResolved resolved, gpointer user_data) {
        GlResolving *resolving =
                resolving_new(workers, credentials, name, mode, extent, timeout, resolved, user_data);
        GError **error = &resolving->failure;

        resolving->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (resolving->fd < 0)
                gl_source_set_error(error, resolving->what, errno);
        else if (check_descriptor(resolving, error) && find_descriptor(resolving, error))
                submit(resolving, resolving->fd_storage, work_look, error);
        return under_way(resolving);
}
