/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/path.h"

#include <string.h>

#include "core/names.h"

char *gl_guest_path_of(const char *uuid, guint32 owner_uid) {
        char label[37];

        for (guint i = 0; i < sizeof label; i++)
                label[i] = uuid[i] == '-' ? '_' : uuid[i];
        if (owner_uid == 0)
                return g_strdup_printf(GL_GUESTS_PATH "/%s", label);
        return g_strdup_printf(GL_GUESTS_PATH "/%s_u%" G_GUINT32_FORMAT, label, owner_uid);
}

char *gl_guest_path(const GlGuest *guest) {
        return gl_guest_path_of(guest->uuid, guest->owner_uid);
}

static gboolean parse_owner(const char *suffix, guint32 *owner_uid) {
        guint64 uid;

        if (suffix[0] == '\0') {
                *owner_uid = 0;
                return TRUE;
        }
        /* Neither _u0 nor leading zeros, nor the white space that GLib lets pass: each guest has one path. */
        if (!g_str_has_prefix(suffix, "_u") || suffix[2] == '0' || !g_ascii_isdigit(suffix[2]) ||
            !g_ascii_string_to_unsigned(suffix + 2, 10, 1, G_MAXUINT32 - 1, &uid, NULL))
                return FALSE;
        *owner_uid = (guint32) uid;
        return TRUE;
}

gboolean gl_guest_path_parse(const char *path, char uuid[37], guint32 *owner_uid) {
        const char *label = path + strlen(GL_GUESTS_PATH "/");
        char text[37], lower[37];
        guint32 owner;

        if (!g_str_has_prefix(path, GL_GUESTS_PATH "/") || strlen(label) < 36)
                return FALSE;
        for (guint i = 0; i < 36; i++) {
                if (label[i] == '-')
                        return FALSE;
                text[i] = label[i] == '_' ? '-' : label[i];
        }
        text[36] = '\0';
        if (!gl_uuid_parse(text, lower, NULL) || strcmp(text, lower) != 0 || !parse_owner(label + 36, &owner))
                return FALSE;

        memcpy(uuid, lower, sizeof lower);
        *owner_uid = owner;
        return TRUE;
}
