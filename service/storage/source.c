/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage/source.h"

#include <errno.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "storage/facts.h"
#include "storage/stack.h"
#include "storage/walk.h"

/*
 * Opening a source again for the grant, on the thread of the storage that it was found on.
 *
 * The path that the caller gave is walked once more, leg by leg as it was at registration. Each leg stays on its
 * mount, and each leg's end must be where the next one began; otherwise the path leads elsewhere now, and
 * the source is stale. So a symlink that was swapped is noticed, and not followed: this thread comes to no mount
 * that it was not at before.
 *
 * A leg over another storage that could hang (NFS, FUSE, …) is not for this thread. Where there was one, the canonical
 * path alone is walked, on this storage, and a symlink over there that was swapped since the registration is not
 * noticed here.
 *
 * What is found has to be a file of the same inode with the same birth, or the same block device, and to be in the same
 * place once it is open.
 */

static void source_clear(gpointer data) {
        GlSource *source = data;

        g_clear_pointer(&source->registrant, gl_credentials_unref);
        g_clear_pointer(&source->path, g_free);
        g_clear_pointer(&source->canonical, g_free);
        g_clear_pointer(&source->storage, g_free);
        g_clear_pointer(&source->legs, g_ptr_array_unref);
        g_clear_pointer(&source->place, gl_place_unref);
        g_clear_pointer(&source->stacks, gl_stacks_unref);
        if (source->fd >= 0)
                close(source->fd);
}

GlHandle gl_source_handle(GlSource *source) {
        return (GlHandle) {.box = gl_source_ref(source), .clear = source_clear};
}

GlSource *gl_source_ref(GlSource *source) {
        return g_atomic_rc_box_acquire(source);
}

void gl_source_unref(GlSource *source) {
        if (source)
                g_atomic_rc_box_release_full(source, source_clear);
}

GlSource *gl_source_restore(GlWorkers *workers, GlCredentials *registrant, const char *path, const char *canonical,
                            GlPlace *place, GlExtent extent, gint64 birth, dev_t device) {
        GlSource *source = g_atomic_rc_box_new0(GlSource);

        source->registrant = gl_credentials_ref(registrant);
        source->path = g_strdup(path ?: canonical);
        source->canonical = g_strdup(canonical);
        source->storage = gl_workers_storage_of(workers, canonical);
        source->legs = g_ptr_array_new_with_free_func((GDestroyNotify) gl_leg_free);
        source->fd = -1;
        source->place = gl_place_ref(place);
        source->stacks = gl_stacks_ref(gl_workers_stacks(workers));
        source->extent = extent;
        source->birth = birth;
        source->block = device != 0;
        source->device = device;
        source->self = source->block ? (GlNode){.kind = GL_NODE_BLOCK, .device = device} : place->node;
        return source;
}

static gboolean is_same(const GlSource *source, const GlFacts *facts) {
        /* A FIFO may have got the inode's number. */
        if (facts->type != (source->block ? S_IFBLK : S_IFREG) ||
            !gl_node_equal(&source->self, &facts->node))
                return FALSE;
        return source->block || source->birth == 0 || facts->birth == 0 || source->birth == facts->birth;
}

static void set_stale(GError **error, const char *what) {
        g_set_error(error, GL_ERROR, GL_ERROR_STALE,
                    "%s is not what it was when it was registered: the path leads to something else now. Register it "
                    "again.",
                    what);
}

/* An O_PATH descriptor of what the legs lead to. */
static int walk_again(const GlSource *source, const char *what, GError **error) {
        for (guint i = 0; i < source->legs->len; i++) {
                const GlLeg *leg = source->legs->pdata[i];
                const GlLeg *known = i + 1 < source->legs->len ? source->legs->pdata[i + 1] : NULL;
                g_autoptr(GlLeg) next = NULL;
                int fd, r = gl_leg_walk(leg, &fd, &next);

                if (r < 0) {
                        gl_source_set_error(error, what, -r);
                        return -1;
                }
                if (!next && !known)
                        return fd;
                if (fd >= 0)
                        close(fd);
                if (!next || !known || !g_str_equal(next->path, known->path))
                        break;
        }
        set_stale(error, what);
        return -1;
}

/*
 * Once more from what is open now: what it lies on may have changed while its name and its number have not. Sets the
 * error. As the service itself: what there is to see of devices is not the registrant's.
 */
static gboolean is_in_place(const GlSource *source, int fd, GlFacts *facts, GlMode mode, const char *what,
                            GError **error) {
        const char *limit;
        g_autoptr(GlPlace) place =
                gl_stacks_find(source->stacks, fd, facts, mode, source->extent, what, &limit, error);

        if (place && !gl_place_same(place, source->place))
                set_stale(error, what);
        return place && gl_place_same(place, source->place);
}

/* To open a file of an overlay for writing may make another one of it. */
static gboolean may_be_opened(const GlSource *source, int found, GlFacts *facts, GlMode mode, const char *what,
                              GError **error) {
        gboolean may;

        if (facts->magic != OVERLAYFS_SUPER_MAGIC || mode == GL_MODE_READONLY)
                return TRUE;
        gl_credentials_drop();
        may = is_in_place(source, found, facts, mode, what, error);
        gl_credentials_assume(source->registrant);
        return may;
}

/* As the registrant. */
static int open_path(const GlSource *source, GlMode mode, const char *what, GlFacts *facts, GError **error) {
        int found = walk_again(source, what, error), fd = -1, r;

        if (found < 0)
                return -1;
        r = gl_facts_read(found, facts);
        if (r < 0) {
                gl_source_set_error(error, what, -r);
        } else if (!is_same(source, facts)) {
                set_stale(error, what);
        } else if (may_be_opened(source, found, facts, mode, what, error)) {
                fd = gl_source_reopen(found, mode);
                if (fd < 0)
                        gl_source_set_error(error, what, errno);
        }
        close(found);
        return fd;
}

/*
 * The descriptor itself is the permission, so root opens it again; on NFS, root may be nobody there, and the
 * registrant may. It cannot lead to another inode than it did.
 */
static int open_descriptor(const GlSource *source, GlMode mode, const char *what, GlFacts *facts, GError **error) {
        int fd, r;

        if (mode != GL_MODE_READONLY && !source->fd_writable) {
                g_set_error(error, GL_ERROR, GL_ERROR_ACCESS_DENIED,
                            "%s cannot be opened for writing: it was registered with a read-only descriptor.", what);
                return -1;
        }
        r = gl_facts_read(source->fd, facts);
        if (r < 0) {
                gl_source_set_error(error, what, -r);
                return -1;
        }
        if (facts->magic == OVERLAYFS_SUPER_MAGIC && !is_in_place(source, source->fd, facts, mode, what, error))
                return -1;
        fd = gl_source_reopen(source->fd, mode);
        if (fd < 0 && (errno == EACCES || errno == EPERM)) {
                gl_credentials_assume(source->registrant);
                fd = gl_source_reopen(source->fd, mode);
                gl_credentials_drop();
        }
        if (fd < 0)
                gl_source_set_error(error, what, errno);
        return fd;
}

int gl_source_open(const GlSource *source, GlMode mode, GError **error) {
        g_autofree char *what = gl_source_describe(source->path, source->extent);
        GlFacts facts;
        int fd;

        if (source->fd >= 0) {
                fd = open_descriptor(source, mode, what, &facts, error);
        } else {
                gl_credentials_assume(source->registrant);
                fd = open_path(source, mode, what, &facts, error);
                gl_credentials_drop();
        }
        if (fd >= 0 && !is_in_place(source, fd, &facts, mode, what, error)) {
                close(fd);
                return -1;
        }
        return fd;
}

gboolean gl_source_is(const GlSource *source, int fd) {
        g_autoptr(GlPlace) place = NULL;
        const char *limit;
        GlFacts facts;

        if (gl_facts_read(fd, &facts) < 0 || facts.type != (source->block ? S_IFBLK : S_IFREG))
                return FALSE;
        place = gl_stacks_find(source->stacks, fd, &facts, GL_MODE_READONLY, source->extent, "", &limit, NULL);
        return place && gl_place_equal(place, source->place);
}

static GlWhereabouts find_path(const GlSource *source) {
        g_autoptr(GError) error = NULL;
        GlWhereabouts whereabouts;
        GlFacts facts;
        int fd = walk_again(source, source->path, &error), r;

        if (fd < 0)
                return error->code == GL_ERROR_STALE ? GL_WHEREABOUTS_ELSEWHERE : GL_WHEREABOUTS_UNKNOWN;
        r = gl_facts_read(fd, &facts);
        whereabouts = r < 0                    ? GL_WHEREABOUTS_UNKNOWN
                      : is_same(source, &facts) ? GL_WHEREABOUTS_HERE
                                                : GL_WHEREABOUTS_ELSEWHERE;
        close(fd);
        return whereabouts;
}

GlWhereabouts gl_source_find(const GlSource *source) {
        GlWhereabouts whereabouts;

        if (source->fd >= 0)
                return GL_WHEREABOUTS_HERE;
        gl_credentials_assume(source->registrant);
        whereabouts = find_path(source);
        gl_credentials_drop();
        return whereabouts;
}
