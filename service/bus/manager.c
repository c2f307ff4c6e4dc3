/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "bus/bus-private.h"
#include "bus/errors.h"
#include "bus/options.h"
#include "core/names.h"
#include "core/obstacle.h"

/* org.guestlock1.Manager at /org/guestlock1. */

/* --- CreateGuest, StartGuest --- */

static gboolean read_identity(GlCall *call, GError **error) {
        GlArguments *arguments = &call->arguments;
        int r = sd_bus_message_read(call->message, "ss", &arguments->uuid, &arguments->name);

        if (r < 0)
                return gl_refuse_malformed(r, error);
        return gl_uuid_parse(arguments->uuid, call->uuid, error) &&
               gl_check_guest_name(call->bus->parts.limits, arguments->name, error);
}

static gboolean read_create(GlCall *call, GError **error) {
        return read_identity(call, error) && gl_read_guest_options(call, FALSE, error);
}

static gboolean read_start(GlCall *call, GError **error) {
        return read_identity(call, error) && gl_read_resource_list(call, TRUE, error) &&
               gl_read_guest_options(call, TRUE, error);
}

static gboolean prepare_own(GlCall *call, GError **error) {
        call->owner_uid = call->arguments.has_owner_uid ? call->arguments.owner_uid : gl_call_uid(call);
        if (call->owner_uid != G_MAXUINT32)
                return TRUE;
        g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS, "The option \"owner-uid\" is not the number of a user.");
        return FALSE;
}

/* What is made for one guest's run goes with that; what is made by itself stays. */
static GlGuestSpec guest_spec(const GlCall *call, gboolean keep) {
        const GlArguments *arguments = &call->arguments;

        return (GlGuestSpec){
                .uuid = call->uuid,
                .name = arguments->name,
                .owner_uid = call->owner_uid,
                .id = arguments->id,
                .driver = arguments->driver,
                .has_on_lease_lost = arguments->has_on_lease_lost,
                .on_lease_lost = arguments->loss_action,
                .has_require_scope = arguments->has_require_scope,
                .require_scope = arguments->scope,
                .transient = !(arguments->has_keep ? arguments->keep : keep),
        };
}

/* Whoever meets AlreadyExists wants to go on with what is there. */
static GError *name_existing(GlCall *call, GError *error) {
        GlGuest *guest = error->code == GL_ERROR_ALREADY_EXISTS
                                 ? gl_core_find_guest(call->bus->parts.core, call->owner_uid, call->uuid)
                                 : NULL;
        g_autofree char *path = guest ? gl_guest_path(guest) : NULL;
        GError *named;

        if (!path)
                return error;
        named = g_error_new(error->domain, error->code, "%s Its lock manager is %s.", error->message, path);
        g_error_free(error);
        return named;
}

static void run_create(GlCall *call) {
        GlRequest request = gl_call_request(call);
        GlGuestSpec spec = guest_spec(call, TRUE);
        g_autoptr(GError) error = NULL;
        GlChange answer = {};

        call->in_core = FALSE;
        answer.guest = gl_core_create_guest(call->bus->parts.core, &request, &spec, &error);
        gl_bus_pump(call->bus); /* signals go out before the reply */
        if (answer.guest) {
                gl_call_reply(call, &answer);
        } else {
                error = name_existing(call, g_steal_pointer(&error));
                gl_call_fail(call, error);
        }
}

static int fill_path(GlCall *call, const GlChange *answer, sd_bus_message *reply) {
        g_autofree char *path = gl_guest_path(answer->guest);

        return sd_bus_message_append(reply, "o", path);
}

static void run_start(GlCall *call) {
        GlRequest request = gl_call_request(call);
        GlGuestSpec spec = guest_spec(call, FALSE);
        GlAcquireSpec acquire = gl_call_acquire_spec(call);
        g_autofree GlResourceSpec *resources = g_new0(GlResourceSpec, call->wanted->len);

        for (guint i = 0; i < call->wanted->len; i++)
                resources[i] = gl_wanted_spec(&g_array_index(call->wanted, GlWanted, i));
        gl_core_start_guest(call->bus->parts.core, &request, &spec, resources, call->wanted->len, &acquire);
        gl_resource_specs_clear(resources, call->wanted->len);
        gl_handle_unref(&acquire.process.handle);
}

static int fill_started(GlCall *call, const GlChange *answer, sd_bus_message *reply) {
        g_autofree char *path = gl_guest_path(answer->guest);

        return sd_bus_message_append(reply, "ot", path, answer->generation);
}

/* --- GetGuest --- */

static gboolean read_get(GlCall *call, GError **error) {
        int r = sd_bus_message_read(call->message, "s", &call->arguments.uuid);

        if (r < 0)
                return gl_refuse_malformed(r, error);
        return gl_uuid_parse(call->arguments.uuid, call->uuid, error);
}

static void run_get(GlCall *call) {
        GlCore *core = call->bus->parts.core;
        g_autoptr(GError) error = NULL;
        GlChange answer = {};

        answer.guest = gl_core_find_guest(core, gl_call_uid(call), call->uuid);
        if (!answer.guest)
                answer.guest = gl_core_find_guest(core, 0, call->uuid);
        if (answer.guest) {
                gl_call_reply(call, &answer);
                return;
        }
        error = g_error_new(GL_ERROR, GL_ERROR_NO_SUCH_GUEST, "There is no guest %s of yours or of root.", call->uuid);
        gl_call_fail(call, error);
}

/* --- AttachGuest --- */

static gboolean read_attach(GlCall *call, GError **error) {
        GlArguments *arguments = &call->arguments;
        const GlOption options[] = {{"pid", 'u', &arguments->parameter_number, &arguments->has_parameter_number}, {}};

        return read_get(call, error) && gl_options_read(call->message, options, error);
}

static void run_attach(GlCall *call) {
        const GlArguments *arguments = &call->arguments;
        g_autoptr(GError) error = NULL;
        GlChange answer = {};

        answer.guest = gl_core_find_guest(call->bus->parts.core, call->owner_uid, call->uuid);
        if (!answer.guest)
                g_set_error(&error, GL_ERROR, GL_ERROR_NO_SUCH_GUEST, "There is no guest %s of yours.", call->uuid);
        if (answer.guest &&
            gl_core_may_attach(answer.guest, arguments->has_parameter_number, arguments->parameter_number, &error))
                gl_call_reply(call, &answer);
        else
                gl_call_fail(call, error);
}

/* --- GetGuestByPID --- */

static gboolean read_pid(GlCall *call, GError **error) {
        int r = sd_bus_message_read(call->message, "u", &call->arguments.parameter_number);

        return r >= 0 || gl_refuse_malformed(r, error);
}

static void run_get_by_pid(GlCall *call) {
        g_autoptr(GError) error = NULL;
        GlChange answer = {};

        answer.guest =
                gl_core_find_guest_by_pid(call->bus->parts.core, call->arguments.parameter_number, &error);
        if (answer.guest)
                gl_call_reply(call, &answer);
        else
                gl_call_fail(call, error);
}

/* --- lists: they need neither caller nor turn --- */

/* What an entry of a list takes besides its strings, with what it takes to align them. */
#define ENTRY_BYTES 64

typedef struct {
        sd_bus_message *reply;
        guint64 bytes;
        int r;
} Listing;

static void list_guest(GlGuest *guest, gpointer user_data) {
        Listing *listing = user_data;
        g_autofree char *path = gl_guest_path(guest);

        listing->bytes += ENTRY_BYTES + strlen(guest->uuid) + strlen(guest->name) + strlen(path);
        if (listing->r >= 0 && listing->bytes <= GL_MESSAGE_MAX_BYTES)
                listing->r = sd_bus_message_append(listing->reply, "(sssuuo)", guest->uuid, guest->name,
                                                   gl_guest_state_to_string(guest->state),
                                                   guest->processes[GL_PROCESS_GUEST].pid, guest->owner_uid, path);
}

static void list_driver(const char *name, const char *const *capabilities, gpointer user_data) {
        Listing *listing = user_data;

        if (listing->r >= 0)
                listing->r = sd_bus_message_open_container(listing->reply, 'r', "sas");
        if (listing->r >= 0)
                listing->r = sd_bus_message_append(listing->reply, "s", name);
        if (listing->r >= 0)
                listing->r = sd_bus_message_append_strv(listing->reply, (char **) capabilities);
        if (listing->r >= 0)
                listing->r = sd_bus_message_close_container(listing->reply);
}

static void list_all_guests(GlCore *core, Listing *listing) {
        gl_core_foreach_guest(core, list_guest, listing);
}

static void list_all_drivers(GlCore *core, Listing *listing) {
        gl_core_foreach_driver(core, list_driver, listing);
}

static int reply_list(GlBus *bus, sd_bus_message *message, const char *type, void (*list)(GlCore *, Listing *)) {
        g_autoptr(GError) error = NULL;
        Listing listing = {};

        listing.r = sd_bus_message_new_method_return(message, &listing.reply);
        if (listing.r >= 0)
                listing.r = sd_bus_message_open_container(listing.reply, 'a', type);
        if (listing.r >= 0)
                list(bus->parts.core, &listing);
        if (listing.r >= 0)
                listing.r = sd_bus_message_close_container(listing.reply);
        if (!gl_check_message_size(listing.bytes, "The list of guests", &error))
                listing.r = gl_bus_reply_error(message, error);
        else if (listing.r >= 0)
                listing.r = sd_bus_send(bus->connection, listing.reply, NULL);
        sd_bus_message_unref(listing.reply);

        return listing.r < 0 ? listing.r : 1;
}

static int list_guests(sd_bus_message *message, void *userdata, sd_bus_error *bus_error) {
        const GlOption none[] = {{}};
        g_autoptr(GError) error = NULL;

        if (!gl_options_read(message, none, &error))
                return gl_bus_reply_error(message, error);
        return reply_list(userdata, message, "(sssuuo)", list_all_guests);
}

static int list_drivers(sd_bus_message *message, void *userdata, sd_bus_error *bus_error) {
        return reply_list(userdata, message, "(sas)", list_all_drivers);
}

/* --- properties --- */

static int get_string(sd_bus *connection, const char *path, const char *interface, const char *property,
                      sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const GlBusParts *parts = &((GlBus *) userdata)->parts;
        const char *value = g_str_equal(property, "Version")  ? parts->version
                            : g_str_equal(property, "HostId")   ? parts->host_id
                            : g_str_equal(property, "HostName") ? parts->host_name
                                                                : parts->default_driver;

        return sd_bus_message_append(reply, "s", value);
}

static int get_count(sd_bus *connection, const char *path, const char *interface, const char *property,
                     sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        GlCore *core = ((GlBus *) userdata)->parts.core;
        guint count = g_str_equal(property, "NGuests") ? gl_core_n_guests(core) : gl_core_n_leases(core);

        return sd_bus_message_append(reply, "u", count);
}

/* --- the interface --- */

#define METHOD(handler, right_, read_, prepare_, run_, fill_)                                              \
        static int handler(sd_bus_message *message, void *userdata, sd_bus_error *error) {                 \
                static const GlMethod method = {.name = #handler, .right = right_, .read = read_,          \
                                                .prepare = prepare_, .run = run_, .fill = fill_};          \
                return gl_call_begin(userdata, &method, message, NULL);                                    \
        }

METHOD(create_guest, GL_RIGHT_ACQUIRE, read_create, prepare_own, run_create, fill_path)
METHOD(start_guest, GL_RIGHT_ACQUIRE, read_start, prepare_own, run_start, fill_started)
METHOD(attach_guest, GL_RIGHT_OWN, read_attach, prepare_own, run_attach, fill_path)
METHOD(get_guest, GL_RIGHT_NOTHING, read_get, NULL, run_get, fill_path)
METHOD(get_guest_by_pid, GL_RIGHT_NOTHING, read_pid, NULL, run_get_by_pid, fill_path)

static const sd_bus_vtable manager_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("CreateGuest", SD_BUS_ARGS("s", uuid, "s", name, "a{sv}", options),
                                SD_BUS_RESULT("o", guest), create_guest, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("StartGuest",
                                SD_BUS_ARGS("s", uuid, "s", name, "a(sssa{sv})", resources, "a{sv}", options),
                                SD_BUS_RESULT("o", guest, "t", generation), start_guest, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("AttachGuest", SD_BUS_ARGS("s", uuid, "a{sv}", options), SD_BUS_RESULT("o", guest),
                                attach_guest, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetGuest", SD_BUS_ARGS("s", uuid), SD_BUS_RESULT("o", guest), get_guest,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetGuestByPID", SD_BUS_ARGS("u", pid), SD_BUS_RESULT("o", guest), get_guest_by_pid,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListGuests", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("a(sssuuo)", guests),
                                list_guests, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("WhoHolds", SD_BUS_ARGS("s", type, "s", name, "a{sv}", options),
                                SD_BUS_RESULT("aa{sv}", obstacles), gl_bus_on_who_holds, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("TestAcquire",
                                SD_BUS_ARGS("s", uuid, "a(sssa{sv})", resources, "a{sv}", options),
                                SD_BUS_RESULT("aa{sv}", obstacles), gl_bus_on_test_acquire,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListDrivers", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(sas)", drivers), list_drivers,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("LoadDriver", SD_BUS_ARGS("s", name, "a{sv}", options), SD_BUS_NO_RESULT,
                                gl_bus_on_load_driver, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("UnloadDriver", SD_BUS_ARGS("s", name, "a{sv}", options), SD_BUS_NO_RESULT,
                                gl_bus_on_unload_driver, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Version", "s", get_string, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("HostId", "s", get_string, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("HostName", "s", get_string, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("DefaultDriver", "s", get_string, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("NGuests", "u", get_count, 0, 0),
        SD_BUS_PROPERTY("NLeases", "u", get_count, 0, 0),
        SD_BUS_VTABLE_END,
};

int gl_bus_add_manager(GlBus *bus) {
        return sd_bus_add_object_vtable(bus->connection, &bus->slots[bus->n_slots++], GL_MANAGER_PATH,
                                        GL_MANAGER_INTERFACE, manager_vtable, bus);
}
