/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drivers/lockspace-record.h"

#include <string.h>

#include "core/error.h"
#include "fuzz.h"

/*
 * The record beside a lock file, which another host has written. One that was accepted is written and read again, and
 * is the same; what it says of people can be put into a message.
 */

static void check_same(const GlLockspaceRecord *record, const GlLockspaceRecord *again) {
        g_assert_cmpuint(record->generations.exclusive, ==, again->generations.exclusive);
        g_assert_cmpuint(record->generations.shared, ==, again->generations.shared);
        g_assert_cmpint(record->mode, ==, again->mode);
        g_assert_cmpint(record->since, ==, again->since);
        g_assert_cmpuint(record->pid, ==, again->pid);
        g_assert_cmpuint(record->host_number, ==, again->host_number);
        g_assert_cmpstr(record->guest_uuid, ==, again->guest_uuid);
        g_assert_cmpstr(record->guest_name, ==, again->guest_name);
        g_assert_cmpstr(record->host_id, ==, again->host_id);
        g_assert_cmpstr(record->host_name, ==, again->host_name);
        g_assert_cmpstr(record->path, ==, again->path);
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GlLockspaceRecord) record = gl_lockspace_record_read((const char *) data, size, &error);
        g_autoptr(GlLockspaceRecord) again = NULL;
        g_autofree char *text = NULL;
        gsize length;

        if (!record) {
                g_assert_error(error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE);
                fuzz_check_line(error->message);
                return 0;
        }
        g_assert_no_error(error);
        g_assert_cmpuint(strlen(record->guest_uuid), ==, 36);
        g_assert_true(record->mode <= GL_MODE_EXCLUSIVE && record->since >= 0);
        /* Generations are counted on from here. */
        g_assert_cmpuint(MAX(record->generations.exclusive, record->generations.shared), <=, G_MAXINT64);
        g_assert_true(g_utf8_validate(record->guest_name, -1, NULL) && g_utf8_validate(record->host_name, -1, NULL));

        text = gl_lockspace_record_write(record, &length);
        g_assert_true(g_str_is_ascii(text));
        again = gl_lockspace_record_read(text, length, &error);
        g_assert_no_error(error);
        check_same(record, again);
        return 0;
}
