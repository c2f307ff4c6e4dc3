/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "interfaces.h"

#include "interface-info.h"

/*
 * The contract as gdbus-codegen makes it of introspection/. Calls go out by the name of the service and not through a
 * GDBusProxy: a proxy sends to the process that had the name when the loop ran last, which is a dead one after a crash,
 * needs a match rule on the bus for each guest (a connection may have 512), and asks for the properties of each after a
 * restart (128 calls may be under way).
 */

static const struct {
        const char *interface, *method, *type;
} common[] = {
        {"org.freedesktop.DBus.Properties", "Get", "(v)"},
        {"org.freedesktop.DBus.Properties", "GetAll", "(a{sv})"},
        {"org.freedesktop.DBus.ObjectManager", "GetManagedObjects", "(a{oa{sa{sv}}})"},
        {"org.freedesktop.DBus", "GetNameOwner", "(s)"},
        {"org.freedesktop.DBus", "NameHasOwner", "(b)"},
};

GVariantType *gl_interfaces_reply_type(const char *interface, const char *method) {
        GDBusInterfaceInfo *infos[] = {(GDBusInterfaceInfo *) &org_guestlock1_manager_interface,
                                       (GDBusInterfaceInfo *) &org_guestlock1_guest_interface};
        g_autoptr(GString) type = g_string_new("(");
        const GDBusMethodInfo *info = NULL;

        for (gsize i = 0; i < G_N_ELEMENTS(common); i++)
                if (g_str_equal(common[i].interface, interface) && g_str_equal(common[i].method, method))
                        return g_variant_type_new(common[i].type);
        for (gsize i = 0; i < G_N_ELEMENTS(infos) && !info; i++)
                if (g_str_equal(infos[i]->name, interface))
                        info = g_dbus_interface_info_lookup_method(infos[i], method);
        if (!info)
                return NULL;
        for (GDBusArgInfo **arg = info->out_args; arg && *arg; arg++)
                g_string_append(type, (*arg)->signature);
        g_string_append_c(type, ')');
        return g_variant_type_new(type->str);
}
