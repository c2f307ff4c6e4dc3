/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drivers/lockspace-names.h"

#include <string.h>
#include <sys/sysmacros.h>

/*
 * As libvirt's client of virtlockd (9.0) names things: what lies under /dev is called by the UUID of the logical volume,
 * where there is a directory for those and it is one, else by what scsi_id says of it, where there is a
 * directory for those and it says something; and everything else by the SHA-256 of its path.
 *
 * A path is hashed as it was registered and as it is without symbolic links, so that a virtlockd that knows either of
 * them is met. What came as a descriptor was given its name by the caller, who may call it what he likes: there only
 * where it really is counts.
 */

static void name_free(gpointer data) {
        GlLockspaceName *name = data;

        g_free(name->name);
        g_free(name);
}

static char *read_of_device(const GlSource *source, const char *sysroot, const char *attribute) {
        g_autofree char *number = g_strdup_printf("%u:%u", major(source->device), minor(source->device));
        g_autofree char *path = g_build_filename(sysroot ?: "/", "sys/dev/block", number, attribute, NULL);
        char *text = NULL;

        if (!source->block || !g_file_get_contents(path, &text, NULL, NULL))
                return NULL;
        return g_strstrip(text);
}

static gboolean is_made_of(const char *text, gsize length, const char *allowed) {
        return length > 0 && strlen(text) >= length && strspn(text, allowed) >= length;
}

/* "LVM-", then 32 characters for the group and 32 for the volume, which LVM itself writes with dashes. */
static char *find_lvm_name(const GlSource *source, const char *sysroot) {
        static const guint parts[] = {6, 4, 4, 4, 4, 4, 6};
        g_autofree char *uuid = read_of_device(source, sysroot, "dm/uuid");
        g_autoptr(GString) name = NULL;
        const char *at;

        if (!uuid || !g_str_has_prefix(uuid, "LVM-") ||
            !is_made_of(uuid + 4, 64, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"))
                return NULL;
        name = g_string_new(NULL);
        at = uuid + 4 + 32;
        for (gsize i = 0; i < G_N_ELEMENTS(parts); i++) {
                g_string_append_printf(name, "%s%.*s", i > 0 ? "-" : "", (int) parts[i], at);
                at += parts[i];
        }
        return g_string_free(g_steal_pointer(&name), FALSE);
}

/* scsi_id writes the type of the designator as one digit before it. */
static char *scsi_id_of_wwid(const char *wwid) {
        static const struct {
                const char *prefix;
                char digit;
        } types[] = {{"naa.", '3'}, {"eui.", '2'}};

        for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
                const char *rest = wwid + strlen(types[i].prefix);

                if (g_str_has_prefix(wwid, types[i].prefix) && is_made_of(rest, strlen(rest), "0123456789abcdef"))
                        return g_strdup_printf("%c%s", types[i].digit, rest);
        }
        return NULL;
}

/* Of a disk, of the disk that it is a partition of (scsi_id does not tell them apart), or of the paths to it. */
static char *find_scsi_name(const GlSource *source, const char *sysroot) {
        static const char hex[] = "0123456789abcdef";
        g_autofree char *wwid = read_of_device(source, sysroot, "device/wwid");
        g_autofree char *uuid = NULL;
        const char *multipath;

        if (!wwid)
                wwid = read_of_device(source, sysroot, "../device/wwid");
        if (wwid)
                return scsi_id_of_wwid(wwid);

        uuid = read_of_device(source, sysroot, "dm/uuid");
        multipath = uuid ? strstr(uuid, "mpath-") : NULL;
        if (!multipath || !is_made_of(multipath + 6, strlen(multipath + 6), hex))
                return NULL;
        return g_strdup(multipath + 6);
}

static void add(GPtrArray *names, GlLockspaceKind kind, char *text) {
        GlLockspaceName *name;

        for (guint i = 0; i < names->len; i++) {
                const GlLockspaceName *other = g_ptr_array_index(names, i);

                if (other->kind == kind && g_str_equal(other->name, text)) {
                        g_free(text);
                        return;
                }
        }
        name = g_new(GlLockspaceName, 1);
        *name = (GlLockspaceName){kind, text};
        g_ptr_array_add(names, name);
}

static void add_for_path(GPtrArray *names, const GlSource *source, const GlFileOptions *options, const char *path) {
        gboolean device = source->block && g_str_has_prefix(path, "/dev/");
        char *name = NULL;

        if (device && options->lockspaces[GL_LOCKSPACE_LVM])
                name = find_lvm_name(source, options->sysroot);
        if (name) {
                add(names, GL_LOCKSPACE_LVM, name);
                return;
        }
        if (device && options->lockspaces[GL_LOCKSPACE_SCSI])
                name = find_scsi_name(source, options->sysroot);
        if (name)
                add(names, GL_LOCKSPACE_SCSI, name);
        else if (options->lockspaces[GL_LOCKSPACE_FILES])
                add(names, GL_LOCKSPACE_FILES, g_compute_checksum_for_string(G_CHECKSUM_SHA256, path, -1));
}

static int compare_names(gconstpointer a, gconstpointer b) {
        const GlLockspaceName *first = *(const GlLockspaceName *const *) a;
        const GlLockspaceName *second = *(const GlLockspaceName *const *) b;

        return first->kind != second->kind ? (int) first->kind - (int) second->kind
                                           : strcmp(first->name, second->name);
}

/* A deleted file and one of another mount namespace have none that leads to them. */
static gboolean is_a_name(const char *canonical) {
        return canonical && canonical[0] == '/' && !g_str_has_suffix(canonical, " (deleted)");
}

GPtrArray *gl_lockspace_names(const GlSource *source, gboolean by_descriptor, const GlFileOptions *options) {
        GPtrArray *names = g_ptr_array_new_with_free_func(name_free);

        if (!by_descriptor && source->path)
                add_for_path(names, source, options, source->path);
        if (is_a_name(source->canonical))
                add_for_path(names, source, options, source->canonical);
        g_ptr_array_sort(names, compare_names);

        return names;
}
