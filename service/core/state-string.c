/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/state-string.h"

#include <string.h>

#include "core/error.h"
#include "core/names.h"

#define PREFIX      "guestlock1"
#define MAX_ENTRIES 1024

static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._";
static const char kind_letters[] = {[GL_NODE_FILE] = 'f', [GL_NODE_BLOCK] = 'b', [GL_NODE_DISK] = 'w'};
static const char type_letters[] = {[GL_RESOURCE_DISK] = 'd', [GL_RESOURCE_LEASE] = 'l'};
static const char mode_letters[] = {[GL_MODE_READONLY] = 'r', [GL_MODE_SHARED] = 'w', [GL_MODE_EXCLUSIVE] = 'x'};

void gl_state_look(guint64 size, guint64 mtime, char look[12]) {
        guint64 digest = 0xcbf29ce484222325; /* FNV-1a, 64 bit: tells looks apart, keeps nobody honest */
        guint64 words[] = {size, mtime};
        const guint8 *bytes = (const guint8 *) words;

        if (mtime == 0) {
                strcpy(look, "-");
                return;
        }
        for (gsize i = 0; i < sizeof words; i++)
                digest = (digest ^ bytes[i]) * 0x100000001b3;
        for (guint i = 0; i < 11; i++) {
                look[i] = digits[digest & 63];
                digest >>= 6;
        }
        look[11] = '\0';
}

static void append_number(GString *text, char before, guint64 number) {
        char written[13], *at = written + sizeof written - 1;

        *at = '\0';
        do {
                *--at = digits[number & 63];
                number >>= 6;
        } while (number > 0);
        *--at = before;
        g_string_append(text, at);
}

static gboolean parse_number(const char *text, guint64 max, guint64 *number) {
        guint64 parsed = 0;

        if (text[0] == '\0')
                return FALSE;
        for (; *text; text++) {
                const char *digit = memchr(digits, *text, 64);

                if (!digit || parsed > max >> 6)
                        return FALSE;
                parsed = parsed << 6 | (guint64) (digit - digits);
        }
        if (parsed > max)
                return FALSE;
        *number = parsed;
        return TRUE;
}

/*
 * With more resources than there are by default not all need fit. One that is left out has no proof that nobody else had
 * it: to acquire with such a string is Stale, and a string that is too long could not be given back at all.
 */
void gl_state_string_add(GString *text, const GlResource *resource) {
        GlNode node = gl_place_key(resource->place);
        gsize before = text->len;
        char look[12];

        g_string_append_printf(text, ";r=%c%c", type_letters[resource->type], mode_letters[resource->mode]);
        append_number(text, kind_letters[node.kind], node.device);
        append_number(text, ',', node.inode);
        append_number(text, ',', node.inode_generation);
        append_number(text, ',', resource->generation);
        gl_state_look(resource->size, resource->mtime, look);
        g_string_append_printf(text, ",%s", look);
        if (text->len > GL_STATE_STRING_MAX_BYTES)
                g_string_truncate(text, before);
}

GString *gl_state_string_begin(const GlGuest *guest, const char *host_id) {
        GString *text = g_string_new(PREFIX);

        g_string_append_printf(text, ";host=%s;guest=%s", host_id, guest->uuid);
        return text;
}

char *gl_state_string_make(const GlGuest *guest, const char *host_id) {
        GString *text = gl_state_string_begin(guest, host_id);

        for (guint i = 0; i < guest->resources->len; i++) {
                const GlResource *resource = g_ptr_array_index(guest->resources, i);

                if (resource->state == GL_RESOURCE_HELD || resource->state == GL_RESOURCE_DRAINING)
                        gl_state_string_add(text, resource);
        }

        return g_string_free(text, FALSE);
}

static gboolean parse_letter(char letter, const char *letters, gsize n, guint *value) {
        const char *at = letter ? memchr(letters, letter, n) : NULL;

        if (!at)
                return FALSE;
        *value = (guint) (at - letters);
        return TRUE;
}

static gboolean parse_entry(const char *text, GlStateEntry *entry) {
        g_auto(GStrv) parts = g_strsplit(text, ",", 6);
        guint64 inode_generation;
        guint type, mode;

        if (g_strv_length(parts) != 5 || strlen(parts[0]) < 4 ||
            !parse_letter(parts[0][0], type_letters, sizeof type_letters, &type) ||
            !parse_letter(parts[0][1], mode_letters, sizeof mode_letters, &mode) ||
            !parse_letter(parts[0][2], kind_letters, sizeof kind_letters, &entry->node.kind) ||
            !parse_number(parts[0] + 3, G_MAXUINT64, &entry->node.device) ||
            !parse_number(parts[1], G_MAXUINT64, &entry->node.inode) ||
            !parse_number(parts[2], G_MAXUINT32, &inode_generation) ||
            !parse_number(parts[3], G_MAXUINT64, &entry->generation) || strlen(parts[4]) >= sizeof entry->look ||
            parts[4][0] == '\0')
                return FALSE;

        entry->type = type;
        entry->mode = mode;
        entry->node.inode_generation = (guint32) inode_generation;
        strcpy(entry->look, parts[4]);
        return TRUE;
}

static gboolean parse_fields(char **fields, GlStateString *state) {
        for (guint i = 1; fields[i]; i++) {
                GlStateEntry entry = {};

                if (g_str_has_prefix(fields[i], "host=") && !state->host_id) {
                        state->host_id = g_strdup(fields[i] + strlen("host="));
                } else if (g_str_has_prefix(fields[i], "guest=") && !state->uuid[0]) {
                        if (!gl_uuid_parse(fields[i] + strlen("guest="), state->uuid, NULL))
                                return FALSE;
                } else if (g_str_has_prefix(fields[i], "r=") && state->entries->len < MAX_ENTRIES) {
                        if (!parse_entry(fields[i] + strlen("r="), &entry))
                                return FALSE;
                        g_array_append_val(state->entries, entry);
                } else {
                        return FALSE;
                }
        }
        return state->host_id && state->uuid[0];
}

GlStateString *gl_state_string_parse(const char *text, GError **error) {
        g_autoptr(GlStateString) state = g_new0(GlStateString, 1);
        g_auto(GStrv) fields = NULL;

        state->entries = g_array_new(FALSE, TRUE, sizeof(GlStateEntry));
        if (strlen(text) <= GL_STATE_STRING_MAX_BYTES) {
                fields = g_strsplit(text, ";", -1);
                if (fields[0] && g_str_equal(fields[0], PREFIX) && parse_fields(fields, state))
                        return g_steal_pointer(&state);
        }

        g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS,
                    "The option \"state\" is not what Release or Inquire of guestlock returned.");
        return NULL;
}

void gl_state_string_free(GlStateString *state) {
        if (!state)
                return;
        g_free(state->host_id);
        g_array_unref(state->entries);
        g_free(state);
}

const GlStateEntry *gl_state_string_find(const GlStateString *state, const GlNode *node) {
        for (guint i = 0; i < state->entries->len; i++) {
                const GlStateEntry *entry = &g_array_index(state->entries, GlStateEntry, i);

                if (gl_node_equal(&entry->node, node))
                        return entry;
        }
        return NULL;
}
