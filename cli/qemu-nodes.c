/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qemu-nodes-private.h"

#include <stdarg.h>
#include <string.h>

/*
 * QEMU's block layer is a graph of nodes. At its lower end are protocol nodes (`file`, `host_device`), which are what
 * gets a lease; above them formats (`qcow2`) and filters (`throttle`, and `raw`, which is as good as one); above these
 * devices. Here it is built from options; qemu-uses.c goes through it. A node refers only to nodes that are there
 * already, so there are no circles.
 */

/* Of a graph; walking it is recursive. */
#define MAX_HEIGHT 100

static const char *const protocols[] = {"file", "host_device", "host_cdrom", "io_uring", NULL};
static const char *const other_protocols[] = {
        "ftp", "ftps", "gluster", "http", "https", "iscsi", "nbd", "nfs", "null-aio", "null-co", "nvme",
        "nvme-io_uring", "rbd", "ssh", "virtio-blk-vfio-pci", "virtio-blk-vhost-user", "virtio-blk-vhost-vdpa",
        "vvfat", NULL,
};
static const char *const filters[] = {
        "raw", "luks", "throttle", "copy-on-read", "blkdebug", "blkverify", "blklogwrites", "blkreplay", "compress",
        "preallocate", "quorum", "copy-before-write", "snapshot-access", "replication", NULL,
};
/* The members by which nodes have others below them, beside `children`. */
static const char *const child_names[] = {"file", "data-file", "backing", "image", "test", "raw", "log", "target",
                                          NULL};

static void node_free(gpointer data) {
        GlQemuNode *node = data;

        g_free(node->source);
        g_free(node->driver);
        g_free(node->path);
        g_array_unref(node->children);
        g_free(node);
}

GlQemuNodes *gl_qemu_nodes_new(const char *directory, GPtrArray *remarks) {
        GlQemuNodes *nodes = g_new(GlQemuNodes, 1);

        *nodes = (GlQemuNodes){
                .directory = directory,
                .remarks = remarks,
                .all = g_ptr_array_new_with_free_func(node_free),
                .by_name = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL),
        };
        return nodes;
}

void gl_qemu_nodes_free(GlQemuNodes *nodes) {
        if (!nodes)
                return;
        g_hash_table_unref(nodes->by_name);
        g_ptr_array_unref(nodes->all);
        g_free(nodes);
}

GlQemuNode *gl_qemu_nodes_find(GlQemuNodes *nodes, const char *name) {
        return g_hash_table_lookup(nodes->by_name, name);
}

void gl_qemu_node_set_snapshot(GlQemuNode *node) {
        node->read_only = node->is_snapshot = TRUE;
}

gboolean gl_qemu_node_is_below(const GlQemuNode *node) {
        return node->is_below;
}

void gl_qemu_nodes_remark(GlQemuNodes *nodes, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        g_ptr_array_add(nodes->remarks, g_strdup_vprintf(format, arguments));
        va_end(arguments);
}

/* --- making nodes --- */

/*
 * As QEMU will open it. ".." stays where it is: after a symbolic link it leads elsewhere than it looks, and only who
 * opens it can tell.
 */
static char *absolute_path(GlQemuNodes *nodes, const char *path) {
        g_autofree char *absolute = g_path_is_absolute(path) ? g_strdup(path)
                                                             : g_build_filename(nodes->directory, path, NULL);

        if (strstr(absolute, "/../") || g_str_has_suffix(absolute, "/.."))
                return g_steal_pointer(&absolute);
        return g_canonicalize_filename(absolute, NULL);
}

static GlQemuNode *new_node(GlQemuNodes *nodes, const char *driver, const char *source) {
        GlQemuNode *node = g_new(GlQemuNode, 1);

        *node = (GlQemuNode){
                .source = g_strdup(source),
                .driver = g_strdup(driver),
                .children = g_array_new(FALSE, FALSE, sizeof(Child)),
        };
        g_ptr_array_add(nodes->all, node);
        return node;
}

static void add_child(GlQemuNodes *nodes, GlQemuNode *node, Role role, GlQemuNode *below) {
        Child child = {.role = role, .node = below};

        if (below->height + 1 > MAX_HEIGHT) {
                gl_qemu_nodes_remark(nodes, "The nodes of %s are more than %d deep; what is below that gets no lease.",
                                     node->source, MAX_HEIGHT);
                return;
        }
        below->is_below = TRUE;
        node->height = MAX(node->height, below->height + 1);
        g_array_append_val(node->children, child);
}

/* The protocol node of a path. NULL: it is none that could be leased. */
static GlQemuNode *add_file(GlQemuNodes *nodes, const char *driver, const char *path, const char *source) {
        GlQemuNode *node;

        if (g_str_has_prefix(path, "/dev/fdset/")) {
                g_autofree char *shown = gl_qemu_quote(path);

                gl_qemu_nodes_remark(nodes, "%s: %s is a descriptor that QEMU is given; name what it is with --disk.",
                                     source, shown);
                return NULL;
        }
        if (!*path)
                return NULL;
        node = new_node(nodes, driver, source);
        node->path = absolute_path(nodes, path);
        return node;
}

/* What comes before the first colon, if no slash does: QEMU takes that for a protocol. */
static gboolean has_protocol(const char *filename) {
        return filename[strcspn(filename, ":/")] == ':';
}

/* The path in a file name which -drive or a header has; NULL and a remark: it is on no path of this host. */
static const char *path_of_filename(GlQemuNodes *nodes, const char *filename, const char *source) {
        static const char *const local[] = {"file:", "host_device:", "host_cdrom:"};
        g_autofree char *shown = NULL;

        for (guint i = 0; i < G_N_ELEMENTS(local); i++) {
                if (g_str_has_prefix(filename, local[i]))
                        return filename + strlen(local[i]);
        }
        if (!has_protocol(filename))
                return filename;
        shown = gl_qemu_quote(filename);
        gl_qemu_nodes_remark(nodes, "%s: %s is no file or device of this host, and gets no lease.", source, shown);
        return NULL;
}

static GlQemuNode *add_node(GlQemuNodes *nodes, JsonObject *options, const char *filename, gboolean read_only,
                            gboolean is_storage, const char *source);

static void add_member(GlQemuNodes *nodes, GlQemuNode *node, JsonNode *member, Role role, gboolean is_storage) {
        GlQemuNode *below = NULL;

        if (JSON_NODE_HOLDS_OBJECT(member)) {
                below = add_node(nodes, json_node_get_object(member), NULL,
                                 role == ROLE_BACKING || node->read_only, is_storage, node->source);
        } else if (JSON_NODE_HOLDS_VALUE(member) && json_node_get_value_type(member) == G_TYPE_STRING) {
                const char *name = json_node_get_string(member);

                below = gl_qemu_nodes_find(nodes, name);
                if (!below && *name) {
                        g_autofree char *shown = gl_qemu_quote(name);

                        gl_qemu_nodes_remark(nodes, "%s refers to a node %s, which no option before it describes.",
                                             node->source, shown);
                }
        }
        if (below)
                add_child(nodes, node, role, below);
}

/* An array, or an object with the keys "0", "1" and so on. */
static void add_members(GlQemuNodes *nodes, GlQemuNode *node, JsonNode *members) {
        if (JSON_NODE_HOLDS_ARRAY(members)) {
                JsonArray *array = json_node_get_array(members);

                for (guint i = 0; i < json_array_get_length(array); i++)
                        add_member(nodes, node, json_array_get_element(array, i), ROLE_FILE, FALSE);
        } else if (JSON_NODE_HOLDS_OBJECT(members)) {
                JsonObject *object = json_node_get_object(members);
                g_autoptr(GList) names = json_object_get_members(object);

                for (GList *at = names; at; at = at->next)
                        add_member(nodes, node, json_object_get_member(object, at->data), ROLE_FILE, FALSE);
        }
}

/* Options for the backing file leave it to the header which one that is, unless they name a file. */
static gboolean replaces_backing(JsonNode *backing) {
        JsonObject *object = JSON_NODE_HOLDS_OBJECT(backing) ? json_node_get_object(backing) : NULL;
        JsonObject *file = object ? gl_qemu_get_object(object, "file") : NULL;

        return !object || gl_qemu_get_string(object, "file") || gl_qemu_get_string(object, "filename") ||
               (file && (gl_qemu_get_string(file, "filename") || gl_qemu_get_string(file, "driver")));
}

gboolean gl_qemu_node_is_filter(const GlQemuNode *node) {
        return node->driver && g_strv_contains(filters, node->driver);
}

/* What OPTIONS say of the layer below, or of one below that; those between have to be looked for in the header. */
static JsonNode *find_backing(JsonObject *options, gboolean *is_next) {
        JsonNode *backing = json_object_get_member(options, "backing");

        for (*is_next = TRUE; backing && !replaces_backing(backing); *is_next = FALSE)
                backing = json_object_get_member(json_node_get_object(backing), "backing");
        return backing;
}

/* HAS_FILE: the file below it comes from elsewhere. */
static void add_children(GlQemuNodes *nodes, GlQemuNode *node, JsonObject *options, gboolean has_file) {
        gboolean is_next = FALSE;
        JsonNode *member;

        for (guint i = 0; child_names[i]; i++) {
                Role role = strcmp(child_names[i], "backing") == 0     ? ROLE_BACKING
                            : strcmp(child_names[i], "data-file") == 0 ? ROLE_DATA
                                                                       : ROLE_FILE;

                member = role == ROLE_BACKING ? find_backing(options, &is_next)
                                              : json_object_get_member(options, child_names[i]);
                if (!member || (has_file && strcmp(child_names[i], "file") == 0))
                        continue;
                node->backing_given = node->backing_given || (role == ROLE_BACKING && is_next);
                node->data_given = node->data_given || role == ROLE_DATA;
                add_member(nodes, node, member, role, role != ROLE_BACKING);
        }
        member = json_object_get_member(options, "children");
        if (member)
                add_members(nodes, node, member);
}

/* The file of that name which is below an image; OPTIONS may say more of it. */
static void add_named_file(GlQemuNodes *nodes, GlQemuNode *node, JsonObject *options, const char *filename) {
        g_autoptr(JsonObject) none = json_object_new();
        JsonObject *more = gl_qemu_get_object(options, "file");
        GlQemuNode *file = add_node(nodes, more ? more : none, filename, node->read_only, TRUE, node->source);

        if (file)
                add_child(nodes, node, ROLE_FILE, file);
}

/* A format or a filter; FILENAME (nullable) is of the file below it. */
static GlQemuNode *add_image(GlQemuNodes *nodes, JsonObject *options, const char *filename, gboolean read_only,
                             const char *source) {
        const char *driver = gl_qemu_get_string(options, "driver");
        guint remarks = nodes->remarks->len;
        GlQemuNode *node = new_node(nodes, driver, source);

        node->read_only = read_only;
        node->is_window = json_object_has_member(options, "offset") || json_object_has_member(options, "size");
        if (filename)
                add_named_file(nodes, node, options, filename);
        add_children(nodes, node, options, filename != NULL);
        /* Where something below it is not understood, there is a remark about that. */
        if (node->children->len == 0 && nodes->remarks->len == remarks) {
                g_autofree char *shown = driver ? gl_qemu_quote(driver) : g_strdup("which is not named");

                gl_qemu_nodes_remark(nodes,
                                     "%s: what its driver, %s, opens is no known file or device of this host, and gets "
                                     "no lease.",
                                     source, shown);
        }
        return node;
}

/* IS_STORAGE: where no driver is named, it is that of a file, and not found out from what is in it. */
static GlQemuNode *add_node(GlQemuNodes *nodes, JsonObject *options, const char *filename, gboolean read_only,
                            gboolean is_storage, const char *source) {
        const char *driver = gl_qemu_get_string(options, "driver");
        const char *literal = gl_qemu_get_string(options, "filename");
        const char *name = gl_qemu_get_string(options, "node-name");
        GlQemuNode *node = NULL;

        read_only = gl_qemu_get_boolean(options, "read-only", read_only);
        if (driver ? g_strv_contains(protocols, driver) : (filename || literal) && is_storage) {
                const char *path = filename ? path_of_filename(nodes, filename, source) : literal;

                if (path)
                        node = add_file(nodes, driver ? driver : "file", path, source);
                if (node)
                        node->read_only = read_only;
        } else if (driver && g_strv_contains(other_protocols, driver)) {
                node = add_image(nodes, options, NULL, read_only, source);
        } else if (driver || filename || json_object_has_member(options, "file") ||
                   json_object_has_member(options, "backing")) {
                node = add_image(nodes, options, filename, read_only, source);
        } else if (literal) {
                GlQemuNode *file = add_file(nodes, "file", literal, source);

                node = file ? new_node(nodes, NULL, source) : NULL;
                if (node) {
                        node->read_only = file->read_only = read_only;
                        add_child(nodes, node, ROLE_FILE, file);
                }
        }
        if (node && name)
                g_hash_table_replace(nodes->by_name, g_strdup(name), node);
        return node;
}

/* What OPTIONS say goes before what stands in the file name. */
static JsonObject *join(JsonObject *options, JsonObject *more) {
        g_autoptr(GList) names = json_object_get_members(options);

        for (GList *at = names; at; at = at->next)
                json_object_set_member(more, at->data, json_object_dup_member(options, at->data));
        return more;
}

GlQemuNode *gl_qemu_nodes_add(GlQemuNodes *nodes, JsonObject *options, const char *filename, const char *source) {
        g_autoptr(JsonObject) joined = NULL;
        g_autoptr(GError) error = NULL;

        if (filename && g_str_has_prefix(filename, "json:")) {
                JsonObject *inside = gl_qemu_json_parse(filename + strlen("json:"), &error);

                if (!inside) {
                        gl_qemu_nodes_remark(nodes, "%s: what follows \"json:\" could not be read: %s.", source,
                                             error->message);
                        return NULL;
                }
                options = joined = join(options, inside);
                filename = NULL;
        }
        return add_node(nodes, options, filename && *filename ? filename : NULL, FALSE, FALSE, source);
}
