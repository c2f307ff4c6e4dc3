/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/names.h"

#include <string.h>

#include "core/error.h"
#include "core/obstacle.h"

static gboolean refuse(GError **error, const char *what, const char *text, const char *why) {
        /* What was given may be a megabyte of anything. */
        g_autofree char *shown = strlen(text) <= 255 ? gl_quote(text) : g_strdup_printf("of %zu bytes", strlen(text));

        g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS, "The %s %s %s.", what, shown, why);
        return FALSE;
}

gboolean gl_uuid_parse(const char *text, char lower[37], GError **error) {
        gboolean nil = TRUE;

        if (strlen(text) != 36 || !g_uuid_string_is_valid(text))
                return refuse(error, "uuid", text, "is not a uuid of 36 characters");
        for (guint i = 0; i < 36; i++)
                nil = nil && (text[i] == '0' || text[i] == '-');
        if (nil)
                return refuse(error, "uuid", text, "is nil, which names no guest");

        for (guint i = 0; i < 37; i++)
                lower[i] = g_ascii_tolower(text[i]);
        return TRUE;
}

static gboolean check_length(const char *what, const char *text, guint max, GError **error) {
        g_autofree char *why = NULL;

        if (text[0] == '\0')
                return refuse(error, what, text, "is empty");
        if (strlen(text) <= max)
                return TRUE;
        why = g_strdup_printf("is longer than %u bytes", max);
        return refuse(error, what, text, why);
}

gboolean gl_check_guest_name(const GlLimits *limits, const char *name, GError **error) {
        return check_length("guest name", name, limits->string_bytes, error);
}

gboolean gl_is_driver_name(const char *name) {
        gsize n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-");

        return n >= 1 && n <= 32 && name[n] == '\0';
}

gboolean gl_check_driver_name(const char *name, GError **error) {
        return gl_is_driver_name(name) ||
               refuse(error, "driver name", name, "is not 1 to 32 of a-z, 0-9 and \"-\"");
}

gboolean gl_check_resource_name(const GlLimits *limits, GlResourceType type, const char *name, GError **error) {
        if (type == GL_RESOURCE_LEASE)
                return check_length("lease key", name, limits->string_bytes, error);

        if (!check_length("path", name, limits->path_bytes, error))
                return FALSE;
        if (name[0] != '/')
                return refuse(error, "path", name, "is not absolute");
        return TRUE;
}

gboolean gl_check_reason(const GlLimits *limits, const char *reason, GError **error) {
        if (!check_length("reason", reason, limits->string_bytes, error))
                return FALSE;
        if (!g_utf8_validate(reason, -1, NULL))
                return refuse(error, "reason", reason, "is not UTF-8");
        for (const char *c = reason; *c; c++)
                if (g_ascii_iscntrl(*c))
                        return refuse(error, "reason", reason, "has a control character");
        return TRUE;
}
