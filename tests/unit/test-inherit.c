/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "core/core.h"
#include "core/error.h"
#include "core/inherit.h"

/* Which of a guest's locks go to whom. */

#define ALICE 1000
#define BOB   1001
#define DISK(name_) {GL_RESOURCE_DISK, name_}

static GlGuest *new_guest(void) {
        GlGuest *guest = gl_guest_record_new();

        guest->owner_uid = ALICE;
        guest->name = g_strdup("web1");
        return guest;
}

static GlResource *add(GlGuest *guest, const char *name, guint32 registered_by, gboolean by_descriptor) {
        GlResource *resource = gl_guest_record_add_resource(guest);

        resource->type = GL_RESOURCE_DISK;
        resource->name = g_strdup(name);
        resource->state = GL_RESOURCE_HELD;
        resource->scope = GL_SCOPE_HOST;
        resource->registered_by = registered_by;
        resource->by_descriptor = by_descriptor;
        return resource;
}

/* One of each kind of what a guest may hold. */
static GlGuest *new_motley_guest(void) {
        GlGuest *guest = new_guest();

        add(guest, "/alice-path", ALICE, FALSE);
        add(guest, "/alice-fd", ALICE, TRUE);
        add(guest, "/bob-fd", BOB, TRUE);
        add(guest, "/root-path", 0, FALSE);
        add(guest, "/root-fd", 0, TRUE);
        add(guest, "/mount", ALICE, TRUE)->scope = GL_SCOPE_MOUNT;
        add(guest, "/registered", ALICE, TRUE)->state = GL_RESOURCE_REGISTERED;
        add(guest, "/draining", ALICE, TRUE)->state = GL_RESOURCE_DRAINING;
        add(guest, "/lost", ALICE, TRUE)->state = GL_RESOURCE_LOST;
        return guest;
}

static char *names_of(GPtrArray *resources) {
        GString *names = g_string_new(NULL);

        for (guint i = 0; i < resources->len; i++)
                g_string_append_printf(names, "%s%s", i > 0 ? " " : "", ((GlResource *) resources->pdata[i])->name);
        return g_string_free(names, FALSE);
}

static void expect(const GlGuest *guest, guint32 uid, const GlResourceName *wanted, guint n, const char *expected) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GPtrArray) found = gl_guest_inheritable(guest, uid, wanted, n, &error);
        g_autofree char *names = NULL;

        g_assert_no_error(error);
        names = names_of(found);
        g_assert_cmpstr(names, ==, expected);
}

static void expect_refused(const GlGuest *guest, guint32 uid, const GlResourceName *wanted, guint n, GlError code,
                           const char *part) {
        g_autoptr(GError) error = NULL;

        g_assert_null(gl_guest_inheritable(guest, uid, wanted, n, &error));
        g_assert_error(error, GL_ERROR, (int) code);
        g_assert_nonnull(strstr(error->message, part));
        g_assert_true(g_str_has_suffix(error->message, "."));
}

static void test_all_that_there_is(void) {
        GlGuest *guest = new_motley_guest();

        expect(guest, 0, NULL, 0, "/alice-path /alice-fd /bob-fd /root-path /root-fd");
        expect(guest, ALICE, NULL, 0, "/alice-fd");
        /* Who manages the guest gets what he has brought, and not what its owner has. */
        expect(guest, BOB, NULL, 0, "/bob-fd");
        expect(guest, BOB + 1, NULL, 0, "");
        gl_guest_record_free(guest);
}

static void test_what_is_named(void) {
        static const GlResourceName both[] = {DISK("/root-fd"), DISK("/alice-path")};
        static const GlResourceName others[] = {DISK("/alice-path"), DISK("/bob-fd"), DISK("/root-path"),
                                                DISK("/root-fd"), DISK("/alice-fd")};
        static const GlResourceName one_too_many[] = {DISK("/alice-fd"), DISK("/root-path")};
        GlGuest *guest = new_motley_guest();

        expect(guest, 0, both, 2, "/root-fd /alice-path");
        expect(guest, ALICE, &others[4], 1, "/alice-fd");
        expect(guest, ALICE, others, 0, "");
        for (guint i = 0; i < 4; i++)
                expect_refused(guest, ALICE, &others[i], 1, GL_ERROR_ACCESS_DENIED, others[i].name);
        expect_refused(guest, ALICE, one_too_many, 2, GL_ERROR_ACCESS_DENIED, "/root-path");
        gl_guest_record_free(guest);
}

static void test_what_cannot_be(void) {
        static const GlResourceName wrong[] = {DISK("/mount"), DISK("/registered"), DISK("/draining"), DISK("/lost"),
                                               DISK("/absent"), {GL_RESOURCE_LEASE, "/alice-fd"}};
        static const GlError codes[] = {GL_ERROR_NOT_SUPPORTED, GL_ERROR_BAD_STATE, GL_ERROR_BAD_STATE,
                                        GL_ERROR_BAD_STATE, GL_ERROR_NO_SUCH_RESOURCE, GL_ERROR_NO_SUCH_RESOURCE};
        static const GlResourceName twice[] = {DISK("/alice-fd"), DISK("/alice-fd")};
        GlGuest *guest = new_motley_guest();

        for (guint i = 0; i < G_N_ELEMENTS(wrong); i++) {
                expect_refused(guest, ALICE, &wrong[i], 1, codes[i], wrong[i].name);
                expect_refused(guest, 0, &wrong[i], 1, codes[i], wrong[i].name);
        }
        expect_refused(guest, ALICE, twice, 2, GL_ERROR_INVALID_ARGS, "twice");
        gl_guest_record_free(guest);
}

static void test_as_many_as_a_message_takes(void) {
        GlGuest *guest = new_guest();
        GlResourceName wanted[GL_INHERIT_MAX + 1];
        g_autoptr(GPtrArray) found = NULL;

        for (guint i = 0; i <= GL_INHERIT_MAX; i++) {
                g_autofree char *name = g_strdup_printf("/disk%u", i);

                wanted[i] = (GlResourceName){GL_RESOURCE_DISK, add(guest, name, ALICE, TRUE)->name};
        }
        expect_refused(guest, ALICE, NULL, 0, GL_ERROR_LIMIT_EXCEEDED, "17 descriptors");
        expect_refused(guest, 0, NULL, 0, GL_ERROR_LIMIT_EXCEEDED, "\"resources\"");
        expect_refused(guest, 0, wanted, GL_INHERIT_MAX + 1, GL_ERROR_LIMIT_EXCEEDED, "17");
        found = gl_guest_inheritable(guest, ALICE, wanted + 1, GL_INHERIT_MAX, NULL);
        g_assert_cmpuint(found->len, ==, GL_INHERIT_MAX);
        /* What is not his does not count. */
        ((GlResource *) guest->resources->pdata[3])->registered_by = BOB;
        g_ptr_array_unref(found);
        found = gl_guest_inheritable(guest, ALICE, NULL, 0, NULL);
        g_assert_cmpuint(found->len, ==, GL_INHERIT_MAX);
        gl_guest_record_free(guest);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/inherit/all-that-there-is", test_all_that_there_is);
        g_test_add_func("/inherit/what-is-named", test_what_is_named);
        g_test_add_func("/inherit/what-cannot-be", test_what_cannot_be);
        g_test_add_func("/inherit/as-many-as-a-message-takes", test_as_many_as_a_message_takes);
        return g_test_run();
}
