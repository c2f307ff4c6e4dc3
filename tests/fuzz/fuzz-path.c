/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/path.h"

#include <string.h>

#include "core/names.h"
#include "fuzz.h"

/* The path of an object on the bus: each guest has one, and one only. */

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size) {
        g_autofree char *path = fuzz_text(data, size);
        g_autofree char *again = NULL;
        char lower[37];
        GlGuest guest = {.uuid = "untouched", .owner_uid = 7};

        if (!gl_guest_path_parse(path, guest.uuid, &guest.owner_uid)) {
                g_assert_cmpstr(guest.uuid, ==, "untouched");
                g_assert_cmpuint(guest.owner_uid, ==, 7);
                return 0;
        }
        g_assert_true(gl_uuid_parse(guest.uuid, lower, NULL));
        g_assert_cmpstr(guest.uuid, ==, lower);
        again = gl_guest_path(&guest);
        g_assert_cmpstr(again, ==, path);
        g_assert_true(g_variant_is_object_path(path));
        return 0;
}
