/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "resource-calls.h"

#include "resource.h"

/* The calls that carry resources: one by its name or with a descriptor, or many by their names. */

static GlCall *add(GlOperation *op, const char *path, GuestlockResource *resource, const char *by_name,
                   const char *by_fd, guint wait_ms) {
        const char *name = gl_operation_text(op, guestlock_resource_get_name(resource));
        const char *type = gl_resource_type_word(resource), *mode = gl_resource_mode_word(resource);
        g_autoptr(GVariant) options = g_variant_ref_sink(gl_resource_options(resource, wait_ms));
        int fd = gl_resource_fd(resource), index;
        g_autoptr(GUnixFDList) fds = NULL;
        GError *error = NULL;

        if (fd < 0)
                return gl_operation_add(op, GL_GUEST, path, by_name,
                                        g_variant_new("(sss@a{sv})", type, name, mode, options), NULL);
        fds = g_unix_fd_list_new();
        index = g_unix_fd_list_append(fds, fd, &error);
        if (index < 0)
                gl_operation_fail(op, error);
        return gl_operation_add(op, GL_GUEST, path, by_fd,
                                g_variant_new("(sshs@a{sv})", type, name, index, mode, options), g_steal_pointer(&fds));
}

void gl_add_registering(GlOperation *op, const char *path, GuestlockResource *resource) {
        add(op, path, resource, "RegisterResource", "RegisterResourceFd", 0)->settled_by = GL_BIT(ALREADY_REGISTERED);
}

void gl_add_attaching(GlOperation *op, const char *path, GuestlockResource *resource, guint wait_ms) {
        add(op, path, resource, "AcquireResource", "AcquireResourceFd", wait_ms)->waits = wait_ms > 0;
}

/* Those of its type, and its descriptor. */
static GVariant *options_in_list(GlOperation *op, GuestlockResource *resource, GUnixFDList *fds) {
        g_autoptr(GVariant) options = g_variant_ref_sink(gl_resource_options(resource, 0));
        GVariantDict extended;
        GError *error = NULL;
        int index;

        g_variant_dict_init(&extended, options);
        if (gl_resource_fd(resource) >= 0) {
                index = g_unix_fd_list_append(fds, gl_resource_fd(resource), &error);
                if (index < 0)
                        gl_operation_fail(op, error);
                g_variant_dict_insert(&extended, "fd", "h", index);
        }
        return g_variant_dict_end(&extended);
}

GVariant *gl_list_of_resources(GlOperation *op, GPtrArray *resources, GUnixFDList *fds) {
        GVariantBuilder list;

        g_variant_builder_init(&list, G_VARIANT_TYPE("a(sssa{sv})"));
        for (guint i = 0; resources && i < resources->len; i++) {
                GuestlockResource *resource = resources->pdata[i];

                g_variant_builder_add(&list, "(sss@a{sv})", gl_resource_type_word(resource),
                                      gl_operation_text(op, guestlock_resource_get_name(resource)),
                                      gl_resource_mode_word(resource), options_in_list(op, resource, fds));
        }
        return g_variant_builder_end(&list);
}
