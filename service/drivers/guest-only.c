/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drivers/plugin.h"

/*
 * The driver `guest-only`, a plugin: it leases the guest and nothing that the guest uses. Two managers cannot run one
 * guest twice with it, and its disks are nobody's concern here: something else looks after them (a cluster file system,
 * a storage that fences), or nothing does.
 *
 * The guest is leased by the service's own registry, so that no work is left: the core sends a driver of this kind no
 * resource. One that came all the same is refused, and never taken in appearance.
 */

static void start(GlDriver *driver, GlJob *job, GlJobDone done, gpointer user_data) {
        if (job->n_targets > 0) {
                g_autofree char *quoted = gl_quote(job->targets[0].name);

                job->error = g_error_new(GL_ERROR, GL_ERROR_NOT_SUPPORTED,
                                         "The driver \"guest-only\" leases guests alone, and not %s %s.",
                                         gl_resource_type_to_string(job->targets[0].type), quoted);
        }
        done(job, user_data);
}

static void free_driver(GlDriver *driver) {
        g_free(driver);
}

static const GlDriverOps ops = {
        .name = "guest-only",
        .capabilities = (const char *const[]){GL_CAPABILITY_GUEST_ONLY, NULL},
        .start = start,
        .free = free_driver,
};

static GlDriver *make(const GlPluginHost *host, GError **error) {
        GlDriver *driver = g_new0(GlDriver, 1);

        driver->ops = &ops;
        return driver;
}

const GlPlugin guestlock_driver = {GL_PLUGIN_HEADER, .ops = &ops, .make = make};
