/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <glib/gstdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "driver-conformance.h"
#include "drivers/loader.h"

/* The plugin guest-only as the service loads it, from a copy that is root's. */

typedef struct {
        GlDriverFixture fixture;
        char *directory, *file;
        GlLoadedDriver *loaded;
} Fixture;

static GlDriverFixture *set_up(void);

static void tear_down(GlDriverFixture *base) {
        Fixture *fixture = (Fixture *) base;

        gl_loaded_driver_unload(fixture->loaded);
        g_assert_cmpint(g_unlink(fixture->file), ==, 0);
        g_assert_cmpint(g_rmdir(fixture->directory), ==, 0);
        g_free(fixture->file);
        g_free(fixture->directory);
        g_free(fixture);
}

static void set_target(GlDriverFixture *fixture, GlTarget *target, guint nth, GlResourceType type) {
        GlNode node = {.kind = GL_NODE_FILE, .device = 1, .inode = 1 + nth};

        target->name = g_strdup_printf("%s-%u", gl_resource_type_to_string(type), nth);
        target->place = gl_place_new(&node, (GlExtent){0, GL_EXTENT_END}, NULL, 0);
}

/* No case that applies has anything to take, or to wait for. */
static const GlDriverFixtureOps ops = {.set_up = set_up, .tear_down = tear_down, .set_target = set_target};

static GlDriverFixture *set_up(void) {
        Fixture *fixture = g_new0(Fixture, 1);
        const GlPluginHost host = {.host_id = "id-of-kvm1", .host_name = "kvm1"};
        g_autofree char *plugin = NULL;
        g_autoptr(GError) error = NULL;
        gsize length;

        fixture->fixture.ops = &ops;
        fixture->directory = g_dir_make_tmp("guestlock-test-XXXXXX", NULL);
        g_assert_nonnull(fixture->directory);
        fixture->file = g_build_filename(fixture->directory, "guest-only.so", NULL);
        g_assert_true(g_file_get_contents(GUEST_ONLY, &plugin, &length, NULL));
        g_assert_true(g_file_set_contents_full(fixture->file, plugin, (gssize) length, G_FILE_SET_CONTENTS_NONE, 0644,
                                               NULL));
        fixture->loaded = gl_loaded_driver_new(fixture->directory, "guest-only", &host, &error);
        g_assert_no_error(error);
        fixture->fixture.driver = fixture->loaded->driver;
        return &fixture->fixture;
}

static void test_capabilities(void) {
        GlDriverFixture *fixture = set_up();

        g_assert_cmpstrv(fixture->driver->ops->capabilities, ((const char *const[]){"guest-only", NULL}));
        tear_down(fixture);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        if (geteuid() != 0) {
                g_print("1..0 # SKIP needs root: drivers are root's\n");
                return 77;
        }
        umask(022);
        gl_driver_conformance_add("/driver-guest-only/conformance", &ops);
        g_test_add_func("/driver-guest-only/capabilities", test_capabilities);
        return g_test_run();
}
