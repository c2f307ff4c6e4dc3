/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/core-private.h"

#include <string.h>

/* The caps on what callers can make: their defaults, and the checks. uid 0 is exempt from those per uid. */

void gl_limits_set_defaults(GlLimits *limits) {
        *limits = (GlLimits){
                .guests_per_uid = 128,
                .guests = 16384,
                .resources_per_guest = 64,
                .unbound_guests_per_uid = 16,
                .waiting_per_uid = 32,
                .string_bytes = 255,
                .path_bytes = 4095,
                .guest_bytes = 64 * 1024,
                .uid_bytes = 1024 * 1024,
                .storage_timeout = 10 * G_USEC_PER_SEC,
                .foreign_retry = 250 * 1000,
                .brief_patience = G_USEC_PER_SEC,
        };
}

/* --- guests --- */

/* An owner at his cap loses the guest that has been released for longest: it holds nothing and runs nothing. */
static GlGuest *find_oldest(GlCore *core, guint32 uid) {
        GPtrArray *guests = gl_core_guests_of(core, uid);
        GlGuest *oldest = NULL;

        for (guint i = 0; guests && i < guests->len; i++) {
                GlGuest *guest = g_ptr_array_index(guests, i);
                const GlGuestData *data = gl_guest_data(guest);

                if (guest->state != GL_GUEST_RELEASED || gl_guest_has_process(guest) || data->n_ops > 0 ||
                    gl_guest_has_leases(guest))
                        continue;
                if (!oldest || data->released_at < gl_guest_data(oldest)->released_at)
                        oldest = guest;
        }
        return oldest;
}

static gboolean is_at_cap(GlCore *core, guint32 uid) {
        GPtrArray *guests = gl_core_guests_of(core, uid);

        return uid != 0 && guests && guests->len >= core->limits.guests_per_uid;
}

static gboolean is_full(GlCore *core) {
        return g_hash_table_size(core->guests) + g_hash_table_size(core->starting) >= core->limits.guests;
}

gboolean gl_core_has_guest_quota(GlCore *core, guint32 uid, GError **error) {
        gboolean at_cap = is_at_cap(core, uid);

        if ((!at_cap && !is_full(core)) || find_oldest(core, uid))
                return TRUE;
        if (at_cap)
                g_set_error(error, GL_ERROR, GL_ERROR_LIMIT_EXCEEDED,
                            "User %" G_GUINT32_FORMAT " has %u guests already, the most that is allowed; free one "
                            "first.",
                            uid, gl_core_guests_of(core, uid)->len);
        else
                g_set_error(error, GL_ERROR, GL_ERROR_LIMIT_EXCEEDED,
                            "This host has %u guests already, the most that is allowed (MaxGuests).",
                            core->limits.guests);
        return FALSE;
}

static gboolean make_room(GlCore *core, guint32 uid, GError **error) {
        if (!gl_core_has_guest_quota(core, uid, error))
                return FALSE;
        gl_guest_remove(core, find_oldest(core, uid));
        return TRUE;
}

gboolean gl_core_check_guest_quota(GlCore *core, guint32 uid, GError **error) {
        return (!is_at_cap(core, uid) || make_room(core, uid, error)) &&
               (!is_full(core) || make_room(core, uid, error));
}

gboolean gl_guest_check_unbound_quota(GlCore *core, const GlGuest *guest, guint32 pid, GError **error) {
        GPtrArray *guests = gl_core_guests_of(core, guest->owner_uid);
        guint n = 0;

        if (guest->owner_uid == 0 || pid != 0 || gl_guest_has_process(guest) || guest->state == GL_GUEST_HELD)
                return TRUE;
        for (guint i = 0; guests && i < guests->len; i++) {
                const GlGuest *other = g_ptr_array_index(guests, i);

                n += other->state == GL_GUEST_HELD && !gl_guest_has_process(other) && !gl_guest_data(other)->exiting;
        }
        if (n < core->limits.unbound_guests_per_uid)
                return TRUE;
        g_set_error(error, GL_ERROR, GL_ERROR_LIMIT_EXCEEDED,
                    "User %" G_GUINT32_FORMAT " has %u guests without a process that hold leases, the most that is "
                    "allowed; name the guest's process with the option \"pid\".",
                    guest->owner_uid, n);
        return FALSE;
}

gboolean gl_op_check_unbound_quota(GlCore *core, GlOp *op, GError **error) {
        return gl_guest_check_unbound_quota(core, op->guest, op->process.pid, error);
}

/* --- strings --- */

static gsize bytes_of(const GlGuest *guest) {
        gsize bytes = strlen(guest->name);

        for (guint i = 0; i < guest->resources->len; i++)
                bytes += strlen(((const GlResource *) g_ptr_array_index(guest->resources, i))->name);
        return bytes;
}

gboolean gl_guest_check_byte_quota(GlCore *core, const GlGuest *guest, gsize more, GError **error) {
        GPtrArray *guests = gl_core_guests_of(core, guest->owner_uid);
        gsize bytes = more;

        if (bytes_of(guest) + more > core->limits.guest_bytes) {
                g_autofree char *who = gl_guest_describe(guest);

                g_set_error(error, GL_ERROR, GL_ERROR_LIMIT_EXCEEDED, "%s has more than %u bytes of names and paths.",
                            who, core->limits.guest_bytes);
                return FALSE;
        }
        for (guint i = 0; guests && guest->owner_uid != 0 && i < guests->len; i++)
                bytes += bytes_of(g_ptr_array_index(guests, i));
        if (guest->owner_uid != 0 && bytes > core->limits.uid_bytes) {
                g_set_error(error, GL_ERROR, GL_ERROR_LIMIT_EXCEEDED,
                            "The guests of user %" G_GUINT32_FORMAT " have more than %u bytes of names and paths.",
                            guest->owner_uid, core->limits.uid_bytes);
                return FALSE;
        }
        return TRUE;
}
