/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <sys/types.h>

/*
 * The mount table, as the kernel tells it in /proc/self/mountinfo: which mount a path
 * lies under, found by its name alone, so that no mount is touched.
 */

typedef struct {
        guint64 id;
        guint64 parent;
        gboolean top;  /* its parent is not in the table: where every path begins */
        char *device;  /* (owned) "<major>:<minor>" of what is mounted */
        dev_t number;  /* the same as a number; one of major 0 is nobody's device */
        char *root;    /* (owned) which directory of its file system is the mount's root */
        char *point;   /* (owned) where it is mounted, absolute */
        char *type;    /* (owned) of the file system */
        char *source;  /* (owned) what is mounted, as the file system says */
        char *options; /* (owned) of the file system (not of the mount), separated by commas */
} GlMount;

/* TEXT is what mountinfo says; a line that cannot be understood is left out. Of GlMount, in the order of the text. */
GPtrArray *gl_mounts_parse(const char *text);

/*
 * The mount that the kernel would come to on the way along PATH, which is absolute and
 * without "..": mounts stacked on one point and points that a later mount has covered
 * are seen as the kernel sees them. NULL if the table knows none. (borrowed)
 */
const GlMount *gl_mounts_find(GPtrArray *mounts, const char *path);

/* PATH without "//" and "/./". A slash at the end stays: it says that a directory is meant. */
char *gl_path_tidy(const char *path);

/* Whether PATH is POINT or lies under it, by whole components. Both tidy. */
gboolean gl_path_is_under(const char *path, const char *point);

/* "8:1", FALSE for all else. */
gboolean gl_device_parse(const char *text, dev_t *device);

/* --- the live table: one thread --- */

typedef struct GlMountTable GlMountTable;

/*
 * Reads SYSROOT/proc/self/mountinfo (NULL is "/"), once, and again when the kernel says that it has changed;
 * with a SYSROOT every time.
 */
GlMountTable *gl_mount_table_new(const char *sysroot, GError **error);
void gl_mount_table_free(GlMountTable *table);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlMountTable, gl_mount_table_free)

/* As gl_mounts_find(), for any absolute PATH; one with ".." counts up to there. (borrowed) until the next look. */
const GlMount *gl_mount_table_find(GlMountTable *table, const char *path);
/* All there are now, for any thread that keeps the table from others meanwhile: what is returned never changes. (owned) */
GPtrArray *gl_mount_table_get(GlMountTable *table);
/* By the number that statx() calls stx_mnt_id; NULL for one of another mount namespace. Borrowed like that. */
const GlMount *gl_mount_table_find_id(GlMountTable *table, guint64 id);
