/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backing-chain.h"

#include <stdlib.h>
#include <string.h>

/*
 * qemu-img reads the headers, as the user who runs us, so that what stands in an image is parsed with no more rights
 * than his. It gets an absolute path, in which it sees neither an option nor a protocol; -U lets it read while a guest
 * has the image. It may be caught in storage that does not answer, where no signal reaches it: then it is left behind.
 */

typedef struct {
        GSubprocess *process; /* (owned) */
        char *out, *err;      /* (owned) (nullable) */
        GError *error;        /* (owned) (nullable) */
        gboolean is_done, is_late;
        GCancellable *give_up; /* (owned) */
} Run;

void gl_layer_free(GlLayer *layer) {
        if (!layer)
                return;
        g_free(layer->path);
        g_free(layer);
}

/* --- qemu-img --- */

static void run_clear(Run *run) {
        g_clear_object(&run->process);
        g_clear_object(&run->give_up);
        g_clear_pointer(&run->out, g_free);
        g_clear_pointer(&run->err, g_free);
        g_clear_error(&run->error);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Run, run_clear)

static gboolean on_late(gpointer data) {
        Run *run = data;

        run->is_late = TRUE;
        g_cancellable_cancel(run->give_up);
        return G_SOURCE_REMOVE;
}

static void on_cancelled(GCancellable *cancellable, gpointer data) {
        g_cancellable_cancel(data);
}

static void on_done(GObject *process, GAsyncResult *result, gpointer data) {
        Run *run = data;

        g_subprocess_communicate_utf8_finish(G_SUBPROCESS(process), result, &run->out, &run->err, &run->error);
        run->is_done = TRUE;
}

static void wait_for_end(Run *run, guint patience_ms, GCancellable *cancellable) {
        GMainContext *context = g_main_context_get_thread_default();
        g_autoptr(GSource) patience = g_timeout_source_new(patience_ms);
        gulong handler = 0;

        run->give_up = g_cancellable_new();
        if (cancellable)
                handler = g_cancellable_connect(cancellable, G_CALLBACK(on_cancelled), g_object_ref(run->give_up),
                                                g_object_unref);
        g_source_set_callback(patience, on_late, run, NULL);
        g_source_attach(patience, context);
        g_subprocess_communicate_utf8_async(run->process, NULL, run->give_up, on_done, run);
        while (!run->is_done)
                g_main_context_iteration(context, TRUE);
        g_source_destroy(patience);
        g_cancellable_disconnect(cancellable, handler);
        if (run->error)
                g_subprocess_force_exit(run->process);
}

/* What qemu-img said is wrong, in one line. */
static gboolean fail_as_told(const char *path, const char *err, GError **error) {
        g_autofree char *shown = gl_qemu_quote(path), *text = g_strdup(err);
        const char *why;

        g_strdelimit(g_strstrip(text), "\n", ' ');
        why = g_str_has_prefix(text, "qemu-img: ") ? text + strlen("qemu-img: ") : text;
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED,
                    "qemu-img cannot read which layers %s has: %s%s Use --no-backing-chain to go on without them.",
                    shown, *why ? why : "it has ended without a word.", *why && !g_str_has_suffix(why, ".") ? "." : "");
        return FALSE;
}

static gboolean start(Run *run, const char *const *command, GError **error) {
        g_autoptr(GError) trouble = NULL;

        run->process = g_subprocess_newv(command, G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_PIPE,
                                         &trouble);
        if (run->process)
                return TRUE;
        if (g_error_matches(trouble, G_SPAWN_ERROR, G_SPAWN_ERROR_NOENT))
                g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_FAILED,
                                    "qemu-img is not installed (Debian has it in qemu-utils); without it, use "
                                    "--no-backing-chain, and name the layers below the images with --disk.");
        else
                g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "qemu-img could not be started: %s.",
                            trouble->message);
        return FALSE;
}

static char *ask_qemu_img(const char *path, const char *format, guint patience_ms, GCancellable *cancellable,
                          GError **error) {
        const char *command[] = {"qemu-img", "info", "-U", "--backing-chain", "--output=json", "-f", format, "--",
                                 path, NULL};
        const char *without_format[] = {"qemu-img", "info", "-U", "--backing-chain", "--output=json", "--", path, NULL};
        g_autofree char *shown = gl_qemu_quote(path);
        g_auto(Run) run = {0};

        if (g_cancellable_set_error_if_cancelled(cancellable, error) ||
            !start(&run, format ? command : without_format, error))
                return NULL;
        wait_for_end(&run, patience_ms, cancellable);
        if (run.is_late) {
                g_set_error(error, G_IO_ERROR, G_IO_ERROR_TIMED_OUT,
                            "qemu-img has not read %s in %.3g s: the storage of it or of a layer below does not answer.",
                            shown, patience_ms / 1000.0);
                return NULL;
        }
        if (run.error) {
                if (!g_cancellable_set_error_if_cancelled(cancellable, error))
                        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED,
                                    "What qemu-img says of %s cannot be read: %s.", shown, run.error->message);
                return NULL;
        }
        if (!g_subprocess_get_successful(run.process)) {
                fail_as_told(path, run.err, error);
                return NULL;
        }
        return g_steal_pointer(&run.out);
}

/* --- what it said --- */

/* Image headers have relative names, so what we get may go up. Here, unlike in a command line, we may look where to. */
static char *straighten(const char *path) {
        char *real = strstr(path, "/../") ? realpath(path, NULL) : NULL;
        char *copy = g_strdup(real ? real : path);

        free(real);
        return copy;
}

static void add_layer(GPtrArray *layers, const char *filename, gboolean is_data, const char *source,
                      GPtrArray *remarks) {
        g_autofree char *directory = g_get_current_dir();
        g_autoptr(GPtrArray) disks = g_ptr_array_new_with_free_func((GDestroyNotify) gl_found_disk_free);
        g_autoptr(GlQemuNodes) nodes = gl_qemu_nodes_new(directory, remarks);
        g_autoptr(JsonObject) options = json_object_new();
        GlQemuNode *node = gl_qemu_nodes_add(nodes, options, filename, source);

        if (node)
                gl_qemu_nodes_use(nodes, node, GL_QEMU_USE_READ, disks);
        for (guint i = 0; i < disks->len; i++) {
                const GlFoundDisk *disk = disks->pdata[i];
                GlLayer *layer = g_new(GlLayer, 1);

                *layer = (GlLayer){.path = straighten(disk->path), .is_data = is_data};
                g_ptr_array_add(layers, layer);
        }
}

/* The files beside an image in which its data are: qcow2's data-file, VMDK's extents. */
static void add_data(GPtrArray *layers, JsonObject *image, gboolean is_top, const char *source, GPtrArray *remarks) {
        JsonObject *specific = gl_qemu_get_object(image, "format-specific");
        JsonObject *data = specific ? gl_qemu_get_object(specific, "data") : NULL;
        const char *file = data ? gl_qemu_get_string(data, "data-file") : NULL;
        JsonNode *member = data ? json_object_get_member(data, "extents") : NULL;
        JsonArray *extents = member && JSON_NODE_HOLDS_ARRAY(member) ? json_node_get_array(member) : NULL;

        if (file)
                add_layer(layers, file, is_top, source, remarks);
        for (guint i = 0; extents && i < json_array_get_length(extents); i++) {
                JsonNode *extent = json_array_get_element(extents, i);

                file = JSON_NODE_HOLDS_OBJECT(extent) ? gl_qemu_get_string(json_node_get_object(extent), "filename")
                                                      : NULL;
                if (file && g_strcmp0(file, gl_qemu_get_string(image, "filename")) != 0)
                        add_layer(layers, file, is_top, source, remarks);
        }
}

static GPtrArray *parse_chain(const char *path, const char *text, GPtrArray *remarks, GError **error) {
        g_autoptr(GPtrArray) layers = g_ptr_array_new_with_free_func((GDestroyNotify) gl_layer_free);
        g_autoptr(JsonParser) parser = json_parser_new();
        g_autofree char *shown = gl_qemu_quote(path), *source = g_strdup_printf("A layer of %s", shown);
        JsonNode *root = json_parser_load_from_data(parser, text, -1, NULL) ? json_parser_get_root(parser) : NULL;
        JsonArray *chain = root && JSON_NODE_HOLDS_ARRAY(root) ? json_node_get_array(root) : NULL;

        for (guint i = 0; chain && i < json_array_get_length(chain); i++) {
                JsonNode *element = json_array_get_element(chain, i);
                JsonObject *image = JSON_NODE_HOLDS_OBJECT(element) ? json_node_get_object(element) : NULL;
                const char *filename = image ? gl_qemu_get_string(image, "filename") : NULL;

                if (!filename) {
                        chain = NULL;
                        break;
                }
                if (i > 0)
                        add_layer(layers, filename, FALSE, source, remarks);
                add_data(layers, image, i == 0, source, remarks);
        }
        if (chain)
                return g_steal_pointer(&layers);
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED,
                    "What qemu-img says of %s is not understood; use --no-backing-chain, and name the layers below "
                    "with --disk.",
                    shown);
        return NULL;
}

GPtrArray *gl_backing_chain_read(const char *path, const char *format, GPtrArray *remarks, guint patience_ms,
                                 GCancellable *cancellable, GError **error) {
        g_autofree char *text = NULL;

        g_return_val_if_fail(g_path_is_absolute(path), NULL);
        text = ask_qemu_img(path, format, patience_ms, cancellable, error);
        return text ? parse_chain(path, text, remarks, error) : NULL;
}

/* --- chains of disks --- */

static void add_found(GPtrArray *disks, const GlFoundDisk *top, const GlLayer *layer) {
        g_autofree char *shown = gl_qemu_quote(top->path);
        GlFoundDisk *disk = g_new(GlFoundDisk, 1);

        *disk = (GlFoundDisk){
                .path = g_strdup(layer->path),
                .source = g_strdup_printf(layer->is_data ? "data of %s" : "below %s", shown),
                .mode = layer->is_data ? top->mode : GUESTLOCK_MODE_READONLY,
                .is_snapshot = top->is_snapshot,
        };
        gl_found_disks_add(disks, disk);
}

gboolean gl_backing_chains_add(GPtrArray *disks, GPtrArray *remarks, guint patience_ms, GCancellable *cancellable,
                               GError **error) {
        guint n = disks->len;

        for (guint i = 0; i < n; i++) {
                const GlFoundDisk *disk = disks->pdata[i];
                g_autoptr(GPtrArray) layers = NULL;

                if (!disk->has_backing && !disk->has_data_file)
                        continue;
                layers = gl_backing_chain_read(disk->path, disk->format, remarks, patience_ms, cancellable, error);
                if (!layers)
                        return FALSE;
                for (guint j = 0; j < layers->len; j++) {
                        const GlLayer *layer = layers->pdata[j];

                        if (layer->is_data ? disk->has_data_file : disk->has_backing)
                                add_found(disks, disk, layer);
                }
        }
        return TRUE;
}
