/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "configuration.h"

#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"

/*
 * The configuration: one file, and after a line "--" one in conf.d. What was accepted is within its limits, and says
 * the same when it is written out in full; what is refused names the file.
 */

#define SEPARATOR "\n--\n"

static void check_ranges(const GlConfiguration *configuration) {
        const GlLimits *limits = &configuration->limits;
        gsize n = strspn(configuration->default_driver, "abcdefghijklmnopqrstuvwxyz0123456789-");
        guint64 seconds = limits->storage_timeout / G_USEC_PER_SEC;

        g_assert_true(n >= 1 && n <= 32 && !configuration->default_driver[n]);
        g_assert_true(!configuration->host_name || configuration->host_name[0]);
        g_assert_true(limits->guests_per_uid >= 1 && limits->guests >= 1);
        g_assert_true(limits->resources_per_guest >= 1 && limits->resources_per_guest <= 1024);
        g_assert_true(limits->string_bytes >= 1 && limits->string_bytes <= 4096);
        g_assert_true(limits->path_bytes >= 1 && limits->path_bytes <= 4095);
        g_assert_true(limits->guest_bytes >= 4096 && limits->uid_bytes >= 4096);
        g_assert_true(seconds >= 1 && seconds <= 3600);
        g_assert_true(configuration->max_stuck_per_uid >= 1 && configuration->max_worker_threads >= 1);
        g_assert_true(configuration->max_dialogs_per_uid <= 100);
}

static char *to_text(const GlConfiguration *configuration) {
        const GlLimits *limits = &configuration->limits;

        return g_strdup_printf(
                "[guestlock]\nDefaultDriver=%s\nOnLeaseLost=%s\nRequireScope=%s\nHostName=%s\n"
                "[limits]\nMaxGuestsPerUid=%u\nMaxGuests=%u\nMaxResourcesPerGuest=%u\nMaxUnboundGuestsPerUid=%u\n"
                "MaxWaitingPerUid=%u\nMaxDialogsPerUid=%u\nMaxStringBytes=%u\nMaxPathBytes=%u\nMaxBytesPerGuest=%u\n"
                "MaxBytesPerUid=%u\nMaxStuckPerUid=%u\nMaxWorkerThreads=%u\nStorageTimeoutSec=%" G_GUINT64_FORMAT "\n",
                configuration->default_driver, gl_loss_action_to_string(configuration->on_lease_lost),
                gl_scope_to_string(configuration->require_scope), configuration->host_name ?: "",
                limits->guests_per_uid, limits->guests, limits->resources_per_guest, limits->unbound_guests_per_uid,
                limits->waiting_per_uid, configuration->max_dialogs_per_uid, limits->string_bytes, limits->path_bytes,
                limits->guest_bytes, limits->uid_bytes, configuration->max_stuck_per_uid,
                configuration->max_worker_threads, limits->storage_timeout / G_USEC_PER_SEC);
}

static GlConfiguration *load(const char *text, gsize size, const char *more, gsize more_size, GError **error) {
        g_autofree char *path = fuzz_path("etc/guestlockd.conf"), *second = fuzz_path("etc/conf.d/10-more.conf");

        fuzz_write("etc/guestlockd.conf", text, size);
        if (more)
                fuzz_write("etc/conf.d/10-more.conf", more, more_size);
        else
                unlink(second);
        return gl_configuration_load(path, error);
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size) {
        g_autoptr(GlConfiguration) configuration = NULL, again = NULL;
        g_autofree char *written = NULL, *rewritten = NULL;
        g_autoptr(GError) error = NULL;
        const char *text = (const char *) data, *more = size ? memmem(data, size, SEPARATOR, strlen(SEPARATOR)) : NULL;
        gsize first = more ? (gsize) (more - text) : size;

        if (more)
                more += strlen(SEPARATOR);
        configuration = load(text, first, more, more ? size - first - strlen(SEPARATOR) : 0, &error);
        if (!configuration) {
                fuzz_check_error(error);
                g_assert_nonnull(strstr(error->message, ".conf\""));
                return 0;
        }
        g_assert_no_error(error);
        g_assert_cmpuint(configuration->files->len, ==, more ? 2 : 1);
        check_ranges(configuration);

        written = to_text(configuration);
        again = load(written, strlen(written), NULL, 0, &error);
        g_assert_no_error(error);
        rewritten = to_text(again);
        g_assert_cmpstr(written, ==, rewritten);
        return 0;
}
