/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "fuzz.h"
#include "store/state-file.h"

/*
 * A guest's state file. One that was read, written again from what was read, is the same guest: its text can be read,
 * and written once more it does not change. What is refused is refused with a reason.
 */

#define BOOT "00112233445566778899aabbccddeeff"

/* A file's name has to be that of the guest in it, which is beside the point here: it gets the right one. */
static char *name_for(const char *data, gsize size) {
        g_autoptr(GKeyFile) file = g_key_file_new();
        g_autofree char *uuid = NULL;
        guint64 uid;

        if (size == 0 || !g_key_file_load_from_data(file, data, size, G_KEY_FILE_NONE, NULL))
                return g_strdup("none");
        uuid = g_key_file_get_value(file, "guest", "uuid", NULL);
        uid = g_key_file_get_uint64(file, "guest", "owner-uid", NULL);
        return gl_state_file_name(uuid ?: "", (guint32) uid);
}

static GlSavedGuest *read_guest(const char *data, gsize size) {
        g_autofree char *name = name_for(data, size);
        g_autoptr(GError) error = NULL;
        GlSavedGuest *saved = gl_state_file_read(name, data, size, BOOT, &error);

        if (saved) {
                g_assert_no_error(error);
                return saved;
        }
        fuzz_check_line(error->message);
        g_assert_cmpuint(strlen(error->message), >, 0);
        return NULL;
}

static void clear_source(gpointer data) {
        GlSource *source = data;

        g_free(source->path);
        g_free(source->canonical);
        g_clear_pointer(&source->registrant, gl_credentials_unref);
}

/* As the adoption of a guest does, without looking for the files. */
static void find_resource(GlResource *resource, const GlSavedSource *saved) {
        GlSource *source = g_atomic_rc_box_new0(GlSource);

        g_assert_true(saved->extent.start < saved->extent.end);
        g_assert_true(!saved->path || saved->path[0] == '/');
        g_assert_cmpuint(saved->registrant->n_groups, >, 0);
        g_assert_true(g_utf8_validate(resource->name, -1, NULL) && resource->name[0]);
        source->path = g_strdup(saved->path);
        source->canonical = g_strdup(saved->canonical);
        source->registrant = gl_credentials_ref(saved->registrant);
        source->birth = saved->birth;
        resource->source = (GlHandle){source, clear_source};
        resource->place = gl_place_new(&saved->node, saved->extent, NULL, 0);
}

static char *write_guest(const GlSavedGuest *saved, gsize *size) {
        g_autoptr(GError) error = NULL;
        char *text;

        g_assert_cmpuint(saved->record->resources->len, ==, saved->saved->len);
        g_assert_true(g_utf8_validate(saved->record->name, -1, NULL) && saved->record->name[0]);
        for (guint i = 0; i < saved->saved->len; i++)
                find_resource(g_ptr_array_index(saved->record->resources, i), g_ptr_array_index(saved->saved, i));
        text = gl_state_file_write(saved->record, BOOT, size, &error);
        g_assert_no_error(error);
        return text;
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size) {
        g_autoptr(GlSavedGuest) saved = read_guest((const char *) data, size), again = NULL;
        g_autofree char *written = NULL, *rewritten = NULL;
        gsize length, other_length;

        if (!saved)
                return 0;
        written = write_guest(saved, &length);
        again = read_guest(written, length);
        g_assert_nonnull(again);
        rewritten = write_guest(again, &other_length);
        g_assert_cmpmem(written, length, rewritten, other_length);
        return 0;
}
