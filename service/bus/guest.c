/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "bus/bus-private.h"
#include "bus/errors.h"
#include "bus/options.h"
#include "core/names.h"
#include "core/obstacle.h"

/*
 * org.guestlock1.Guest: one fallback vtable for all guests, so that ten thousand of them cost no registration. A
 * handler's userdata is bus->found, which find_guest() fills in for the dispatch.
 */

/* --- SetParameter --- */

static const struct {
        const char *name;
        char type;
} parameters[] = {{"name", 's'}, {"id", 'u'}, {"on-lease-lost", 's'}, {"uuid", 's'}};

/* What no parameter takes is not kept for as long as the call is under way. */
static gboolean check_parameter(GlCall *call, GError **error) {
        GlArguments *arguments = &call->arguments;
        char uuid[37];

        if (g_str_equal(arguments->parameter, "name"))
                return gl_check_guest_name(call->bus->parts.limits, arguments->state, error);
        if (g_str_equal(arguments->parameter, "uuid"))
                return gl_uuid_parse(arguments->state, uuid, error);
        if (g_str_equal(arguments->parameter, "id"))
                return TRUE;
        arguments->on_lease_lost = g_steal_pointer(&arguments->state);
        arguments->has_on_lease_lost = TRUE;
        return gl_check_words(call, error);
}

static gboolean read_parameter_value(GlCall *call, guint i, GError **error) {
        GlArguments *arguments = &call->arguments;
        const char type[] = {parameters[i].type, '\0'};
        const char *contents;
        int r = sd_bus_message_peek_type(call->message, NULL, &contents);

        if (r >= 0 && !g_str_equal(contents, type)) {
                g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS, "The parameter \"%s\" has type '%s', not '%s'.",
                            parameters[i].name, type, contents);
                return FALSE;
        }
        if (r >= 0)
                r = sd_bus_message_read(call->message, "v", type,
                                        type[0] == 'u' ? (void *) &arguments->parameter_number
                                                       : (void *) &arguments->state);
        return r < 0 ? gl_refuse_malformed(r, error) : check_parameter(call, error);
}

static gboolean read_parameter(GlCall *call, GError **error) {
        GlArguments *arguments = &call->arguments;
        g_autofree char *quoted = NULL;
        int r = sd_bus_message_read(call->message, "s", &arguments->parameter);

        if (r < 0)
                return gl_refuse_malformed(r, error);
        for (guint i = 0; i < G_N_ELEMENTS(parameters); i++)
                if (g_str_equal(arguments->parameter, parameters[i].name))
                        return read_parameter_value(call, i, error);
        quoted = gl_quote(arguments->parameter);
        g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS,
                    "There is no parameter %.300s; there are \"name\", \"id\", \"on-lease-lost\" and \"uuid\".",
                    quoted);
        return FALSE;
}

static gboolean same_uuid(GlCall *call, GError **error) {
        char uuid[37];

        if (!gl_uuid_parse(call->arguments.state, uuid, error))
                return FALSE;
        if (g_str_equal(uuid, call->uuid))
                return TRUE;
        g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS, "The uuid of guest %s cannot be changed.", call->uuid);
        return FALSE;
}

static gboolean set_parameter(GlCall *call, const GlRequest *request, GError **error) {
        GlArguments *arguments = &call->arguments;
        GlCore *core = call->bus->parts.core;

        if (g_str_equal(arguments->parameter, "name"))
                return gl_core_set_name(core, request, call->guest, arguments->state, error);
        if (g_str_equal(arguments->parameter, "id"))
                return gl_core_set_id(core, request, call->guest, arguments->parameter_number, error);
        if (g_str_equal(arguments->parameter, "uuid"))
                return same_uuid(call, error);
        return gl_core_set_on_lease_lost(core, request, call->guest, arguments->loss_action, error);
}

/* Ends a call that the core has answered at once; signals go out before the reply. */
static void answer(GlCall *call, gboolean done, const GError *error) {
        call->in_core = FALSE;
        gl_bus_pump(call->bus);
        if (done)
                gl_call_reply(call, NULL);
        else
                gl_call_fail(call, error);
}

static void run_set_parameter(GlCall *call) {
        GlRequest request = gl_call_request(call);
        g_autoptr(GError) error = NULL;
        gboolean done = set_parameter(call, &request, &error);

        answer(call, done, error);
}

/* --- registering --- */

static gboolean read_register(GlCall *call, GError **error) {
        return gl_read_resource(call, FALSE, FALSE, error);
}

static gboolean read_register_fd(GlCall *call, GError **error) {
        return gl_read_resource(call, TRUE, FALSE, error);
}

/* What can be refused without opening anything is. */
static gboolean prepare_register(GlCall *call, GError **error) {
        const GlWanted *wanted = &g_array_index(call->wanted, GlWanted, 0);

        return gl_core_may_register(call->bus->parts.core, call->guest, wanted->type, wanted->mode, wanted->name,
                                    call->arguments.replace, error);
}

static void run_register(GlCall *call) {
        GlRequest request = gl_call_request(call);
        GlResourceSpec spec = gl_wanted_spec(&g_array_index(call->wanted, GlWanted, 0));
        g_autoptr(GError) error = NULL;
        gboolean done = gl_core_register(call->bus->parts.core, &request, call->guest, &spec, &error);

        gl_resource_specs_clear(&spec, 1);
        answer(call, done, error);
}

/* --- acquiring --- */

void gl_call_run_acquire(GlCall *call) {
        GlRequest request = gl_call_request(call);
        GlAcquireSpec spec = gl_call_acquire_spec(call);

        gl_core_acquire(call->bus->parts.core, &request, call->guest, &spec);
        gl_handle_unref(&spec.process.handle);
}

static int fill_generation(GlCall *call, const GlChange *change, sd_bus_message *reply) {
        return sd_bus_message_append(reply, "t", change->generation);
}

static gboolean read_plug(GlCall *call, GError **error) {
        return gl_read_resource(call, FALSE, TRUE, error) && gl_check_words(call, error);
}

static gboolean read_plug_fd(GlCall *call, GError **error) {
        return gl_read_resource(call, TRUE, TRUE, error) && gl_check_words(call, error);
}

static gboolean prepare_plug(GlCall *call, GError **error) {
        const GlWanted *wanted = &g_array_index(call->wanted, GlWanted, 0);

        return gl_core_may_plug(call->bus->parts.core, call->guest, wanted->type, wanted->mode, error);
}

static void run_plug(GlCall *call) {
        GlRequest request = gl_call_request(call);
        GlResourceSpec spec = gl_wanted_spec(&g_array_index(call->wanted, GlWanted, 0));

        gl_core_acquire_resource(call->bus->parts.core, &request, call->guest, &spec, call->arguments.wait_ms);
        gl_resource_specs_clear(&spec, 1);
}

/* --- looking and giving back --- */

static int fill_text(GlCall *call, const GlChange *change, sd_bus_message *reply) {
        return sd_bus_message_append(reply, "s", change->text ?: "");
}

static void run_inquire(GlCall *call) {
        GlRequest request = gl_call_request(call);

        gl_core_inquire(call->bus->parts.core, &request, call->guest);
}

static void run_release(GlCall *call) {
        GlRequest request = gl_call_request(call);

        gl_core_release(call->bus->parts.core, &request, call->guest);
}

static gboolean read_unplug(GlCall *call, GError **error) {
        GlArguments *arguments = &call->arguments;
        const char *type;
        int r = sd_bus_message_read(call->message, "ss", &type, &arguments->name);

        if (r < 0)
                return gl_refuse_malformed(r, error);
        return gl_read_type(type, &arguments->type, error) &&
               gl_check_resource_name(call->bus->parts.limits, arguments->type, arguments->name, error) &&
               gl_read_no_options(call, error);
}

static void run_unplug(GlCall *call) {
        GlRequest request = gl_call_request(call);

        gl_core_release_resource(call->bus->parts.core, &request, call->guest, call->arguments.type,
                                 call->arguments.name);
}

/* --- processes --- */

static gboolean read_set_child(GlCall *call, GError **error) {
        GlArguments *arguments = &call->arguments;
        const GlOption options[] = {{"pid", 'u', &arguments->pid, &arguments->has_pid},
                                    {"pidfd", 'h', &arguments->pidfd, &arguments->has_pidfd},
                                    {"orphan", 's', &arguments->orphan, &arguments->has_orphan},
                                    {}};

        if (!gl_options_read(call->message, options, error) || !gl_check_words(call, error))
                return FALSE;
        if (arguments->has_pid || arguments->has_pidfd)
                return TRUE;
        g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS,
                    "SetChild needs the guest's process: the option \"pid\" or \"pidfd\".");
        return FALSE;
}

static void run_set_child(GlCall *call) {
        GlRequest request = gl_call_request(call);
        GlProcessRef child = gl_call_process_ref(call);
        g_autoptr(GError) error = NULL;
        gboolean done = gl_core_set_child(call->bus->parts.core, &request, call->guest, &child,
                                          call->arguments.keep_orphan, &error);

        gl_handle_unref(&child.handle);
        answer(call, done, error);
}

static gboolean read_get_child(GlCall *call, GError **error) {
        const GlOption options[] = {{"wait-ms", 'u', &call->arguments.wait_ms, NULL}, {}};

        return gl_options_read(call->message, options, error) && gl_check_words(call, error);
}

static void run_get_child(GlCall *call) {
        GlRequest request = gl_call_request(call);

        gl_core_get_child(call->bus->parts.core, &request, call->guest, call->arguments.wait_ms);
}

static int fill_pid(GlCall *call, const GlChange *change, sd_bus_message *reply) {
        return sd_bus_message_append(reply, "u", change->pid);
}

static void run_restrict(GlCall *call) {
        GlRequest request = gl_call_request(call);
        g_autoptr(GError) error = NULL;
        gboolean done = gl_core_restrict(call->bus->parts.core, &request, call->guest, &error);

        answer(call, done, error);
}

static gboolean read_revoke(GlCall *call, GError **error) {
        const GlLimits *limits = call->bus->parts.limits;
        GlArguments *arguments = &call->arguments;
        const GlOption options[] = {
                {"kill", 'b', &arguments->kill, NULL}, {"drained", 'b', &arguments->drained, NULL}, {}};
        const char *type;
        int r = sd_bus_message_read(call->message, "sss", &type, &arguments->name, &arguments->reason);

        if (r < 0)
                return gl_refuse_malformed(r, error);
        arguments->all = !type[0] && !arguments->name[0];
        return (arguments->all || (gl_read_type(type, &arguments->type, error) &&
                                   gl_check_resource_name(limits, arguments->type, arguments->name, error))) &&
               gl_check_reason(limits, arguments->reason, error) && gl_options_read(call->message, options, error);
}

static void run_revoke(GlCall *call) {
        const GlArguments *arguments = &call->arguments;
        const GlRevocation revocation = {arguments->all, arguments->type, arguments->name, arguments->reason,
                                         arguments->kill, arguments->drained};
        GlRequest request = gl_call_request(call);
        g_autoptr(GError) error = NULL;
        gboolean done = gl_core_revoke(call->bus->parts.core, &request, call->guest, &revocation, &error);

        answer(call, done, error);
}

static gboolean read_shutdown(GlCall *call, GError **error) {
        GlArguments *arguments = &call->arguments;
        const GlOption options[] = {{"kill", 'b', &arguments->kill, NULL},
                                    {"supervisor", 's', &arguments->left_over, &arguments->has_left_over},
                                    {}};

        return gl_options_read(call->message, options, error) && gl_check_words(call, error);
}

static void run_shutdown(GlCall *call) {
        GlRequest request = gl_call_request(call);

        gl_core_shutdown(call->bus->parts.core, &request, call->guest, call->arguments.kill,
                         call->arguments.leave_supervisor);
}

static void run_free(GlCall *call) {
        GlRequest request = gl_call_request(call);

        gl_core_free_guest(call->bus->parts.core, &request, call->guest);
}

/* --- properties --- */

typedef int (*Getter)(const GlGuest *guest, sd_bus_message *reply);

#define GETTER(name, type, value)                                             \
        static int get_##name(const GlGuest *guest, sd_bus_message *reply) {  \
                return sd_bus_message_append(reply, type, value);             \
        }

GETTER(uuid, "s", guest->uuid)
GETTER(owner_uid, "u", guest->owner_uid)
GETTER(origin, "s", gl_origin_to_string(guest->origin))
GETTER(driver, "s", guest->driver)
GETTER(name, "s", guest->name)
GETTER(id, "u", guest->id)
GETTER(state, "s", gl_guest_state_to_string(guest->state))
GETTER(waiting, "b", guest->n_waiting > 0)
GETTER(pid, "u", guest->processes[GL_PROCESS_GUEST].pid)
GETTER(supervisor_pid, "u", guest->processes[GL_PROCESS_SUPERVISOR].pid)
GETTER(on_lease_lost, "s", gl_loss_action_to_string(guest->on_lease_lost))
GETTER(generation, "t", guest->generation)
GETTER(acquired_at, "t", (guint64) guest->acquired_at)

static int append_resource(sd_bus_message *reply, const GlResource *resource, const char *driver) {
        gboolean held = resource->state != GL_RESOURCE_REGISTERED;
        int r = sd_bus_message_open_container(reply, 'a', "{sv}");

        if (r >= 0)
                r = sd_bus_message_append(reply, "{sv}{sv}{sv}{sv}{sv}{sv}{sv}", "type", "s",
                                          gl_resource_type_to_string(resource->type), "name", "s", resource->name,
                                          "mode", "s", gl_mode_to_string(resource->mode), "state", "s",
                                          gl_resource_state_to_string(resource->state), "driver", "s", driver,
                                          "registered-by", "u", resource->registered_by, "path-moved", "b",
                                          resource->path_moved);
        if (r >= 0 && held)
                r = sd_bus_message_append(reply, "{sv}{sv}{sv}{sv}{sv}", "generation", "t", resource->generation,
                                          "scope", "s", gl_scope_to_string(resource->scope), "scope-reason", "s",
                                          resource->scope_reason ?: "", "since-usec", "t", (guint64) resource->since,
                                          "kept-by", "s", gl_kept_by_to_string(resource->kept_by));
        else if (r >= 0 && resource->scope_reason)
                r = sd_bus_message_append(reply, "{sv}", "scope-reason", "s", resource->scope_reason);
        if (r >= 0 && resource->held_open_by)
                r = sd_bus_message_append(reply, "{sv}", "held-open-by", "s", resource->held_open_by);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int get_resources(const GlGuest *guest, sd_bus_message *reply) {
        int r = sd_bus_message_open_container(reply, 'a', "a{sv}");

        for (guint i = 0; r >= 0 && i < guest->resources->len; i++)
                r = append_resource(reply, g_ptr_array_index(guest->resources, i), guest->driver);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

/* `property` is the core's bit for it, 0 for what never changes. */
static const struct {
        const char *name;
        Getter get;
        guint property;
} getters[] = {
        {"Uuid", get_uuid, 0},
        {"OwnerUid", get_owner_uid, 0},
        {"Origin", get_origin, 0},
        {"Driver", get_driver, 0},
        {"Name", get_name, GL_PROPERTY_NAME},
        {"Id", get_id, GL_PROPERTY_ID},
        {"State", get_state, GL_PROPERTY_STATE},
        {"Waiting", get_waiting, GL_PROPERTY_WAITING},
        {"Pid", get_pid, GL_PROPERTY_PID},
        {"SupervisorPid", get_supervisor_pid, GL_PROPERTY_SUPERVISOR_PID},
        {"OnLeaseLost", get_on_lease_lost, GL_PROPERTY_ON_LEASE_LOST},
        {"Generation", get_generation, GL_PROPERTY_GENERATION},
        {"AcquiredAt", get_acquired_at, GL_PROPERTY_ACQUIRED_AT},
        {"Resources", get_resources, GL_PROPERTY_RESOURCES},
};

static int get_property(sd_bus *connection, const char *path, const char *interface, const char *property,
                        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const GlFound *found = userdata;

        for (guint i = 0; i < G_N_ELEMENTS(getters); i++)
                if (g_str_equal(getters[i].name, property))
                        return getters[i].get(found->guest, reply);
        return -ENOENT;
}

void gl_bus_emit_properties(GlBus *bus, const GlGuest *guest, guint properties) {
        g_autofree char *path = gl_guest_path(guest);
        const char *names[G_N_ELEMENTS(getters) + 1] = {};
        guint n = 0;

        for (guint i = 0; i < G_N_ELEMENTS(getters); i++)
                if (getters[i].property & properties)
                        names[n++] = getters[i].name;
        sd_bus_emit_properties_changed_strv(bus->connection, path, GL_GUEST_INTERFACE, (char **) names);
}

/* --- the interface --- */

#define METHOD(handler, right_, read_, prepare_, run_, fill_)                                              \
        static int handler(sd_bus_message *message, void *userdata, sd_bus_error *error) {                 \
                static const GlMethod method = {.name = #handler, .right = right_, .read = read_,          \
                                                .prepare = prepare_, .run = run_, .fill = fill_};          \
                const GlFound *found = userdata;                                                           \
                return gl_call_begin(found->bus, &method, message, found->guest);                          \
        }

METHOD(on_set_parameter, GL_RIGHT_OWN, read_parameter, NULL, run_set_parameter, NULL)
METHOD(on_register, GL_RIGHT_ACQUIRE, read_register, prepare_register, run_register, NULL)
METHOD(on_register_fd, GL_RIGHT_ACQUIRE, read_register_fd, prepare_register, run_register, NULL)
METHOD(on_acquire, GL_RIGHT_ACQUIRE, gl_read_acquire_options, NULL, gl_call_run_acquire, fill_generation)
METHOD(on_inquire, GL_RIGHT_OWN, gl_read_no_options, NULL, run_inquire, fill_text)
METHOD(on_release, GL_RIGHT_CHANGE, gl_read_no_options, NULL, run_release, fill_text)
METHOD(on_plug, GL_RIGHT_ACQUIRE, read_plug, prepare_plug, run_plug, fill_generation)
METHOD(on_plug_fd, GL_RIGHT_ACQUIRE, read_plug_fd, prepare_plug, run_plug, fill_generation)
METHOD(on_unplug, GL_RIGHT_CHANGE, read_unplug, NULL, run_unplug, NULL)
METHOD(on_set_child, GL_RIGHT_CHANGE, read_set_child, NULL, run_set_child, NULL)
METHOD(on_get_child, GL_RIGHT_OWN, read_get_child, NULL, run_get_child, fill_pid)
METHOD(on_restrict, GL_RIGHT_OWN, gl_read_no_options, NULL, run_restrict, NULL)
METHOD(on_revoke, GL_RIGHT_REVOKE, read_revoke, NULL, run_revoke, NULL)
METHOD(on_shutdown, GL_RIGHT_OWN, read_shutdown, NULL, run_shutdown, NULL)
METHOD(on_free, GL_RIGHT_OWN, gl_read_no_options, NULL, run_free, NULL)

#define CHANGES(name, type) SD_BUS_PROPERTY(name, type, get_property, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)
#define CONSTANT(name, type) SD_BUS_PROPERTY(name, type, get_property, 0, SD_BUS_VTABLE_PROPERTY_CONST)

static const sd_bus_vtable guest_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("SetParameter", SD_BUS_ARGS("s", key, "v", value),
                                SD_BUS_NO_RESULT, on_set_parameter, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("RegisterResource", SD_BUS_ARGS("s", type, "s", name, "s", mode, "a{sv}", options),
                                SD_BUS_NO_RESULT, on_register, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("RegisterResourceFd",
                                SD_BUS_ARGS("s", type, "s", name, "h", fd, "s", mode, "a{sv}", options),
                                SD_BUS_NO_RESULT, on_register_fd, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Acquire", SD_BUS_ARGS("a{sv}", options),
                                SD_BUS_RESULT("t", generation), on_acquire, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Inquire", SD_BUS_ARGS("a{sv}", options),
                                SD_BUS_RESULT("s", state), on_inquire, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Release", SD_BUS_ARGS("a{sv}", options),
                                SD_BUS_RESULT("s", state), on_release, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("AcquireInherit", SD_BUS_ARGS("a{sv}", options),
                                SD_BUS_RESULT("t", generation, "ah", locks), gl_bus_on_acquire_inherit,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("AcquireResource", SD_BUS_ARGS("s", type, "s", name, "s", mode, "a{sv}", options),
                                SD_BUS_RESULT("t", generation), on_plug, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("AcquireResourceFd",
                                SD_BUS_ARGS("s", type, "s", name, "h", fd, "s", mode, "a{sv}", options),
                                SD_BUS_RESULT("t", generation), on_plug_fd, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ReleaseResource", SD_BUS_ARGS("s", type, "s", name, "a{sv}", options),
                                SD_BUS_NO_RESULT, on_unplug, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetSupervisorPath", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", program),
                                gl_bus_on_get_supervisor_path, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetSupervisorArgs", SD_BUS_ARGS("a{sv}", options),
                                SD_BUS_RESULT("as", arguments), gl_bus_on_get_supervisor_args,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("SetChild", SD_BUS_ARGS("a{sv}", options),
                                SD_BUS_NO_RESULT, on_set_child, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetChild", SD_BUS_ARGS("a{sv}", options),
                                SD_BUS_RESULT("u", pid), on_get_child, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Restrict", SD_BUS_ARGS("a{sv}", options),
                                SD_BUS_NO_RESULT, on_restrict, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Revoke", SD_BUS_ARGS("s", type, "s", name, "s", reason, "a{sv}", options),
                                SD_BUS_NO_RESULT, on_revoke, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Shutdown", SD_BUS_ARGS("a{sv}", options),
                                SD_BUS_NO_RESULT, on_shutdown, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Free", SD_BUS_ARGS("a{sv}", options),
                                SD_BUS_NO_RESULT, on_free, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_SIGNAL_WITH_ARGS("LeasesAcquired", SD_BUS_ARGS("t", generation, "a(sss)", leases), 0),
        SD_BUS_SIGNAL_WITH_ARGS("LeasesReleased", SD_BUS_ARGS("s", reason, "a(ss)", leases), 0),
        SD_BUS_SIGNAL_WITH_ARGS("LeaseLost",
                                SD_BUS_ARGS("s", type, "s", name, "s", reason, "a{sv}", details), 0),
        CONSTANT("Uuid", "s"),
        CONSTANT("OwnerUid", "u"),
        CONSTANT("Origin", "s"),
        CONSTANT("Driver", "s"),
        CHANGES("Name", "s"),
        CHANGES("Id", "u"),
        CHANGES("State", "s"),
        CHANGES("Waiting", "b"),
        CHANGES("Pid", "u"),
        CHANGES("SupervisorPid", "u"),
        CHANGES("OnLeaseLost", "s"),
        CHANGES("Generation", "t"),
        CHANGES("AcquiredAt", "t"),
        SD_BUS_PROPERTY("Resources", "aa{sv}", get_property, 0,
                        SD_BUS_VTABLE_PROPERTY_EMITS_INVALIDATION | SD_BUS_VTABLE_PROPERTY_EXPLICIT),
        SD_BUS_VTABLE_END,
};

/* --- the objects --- */

static int find_guest(sd_bus *connection, const char *path, const char *interface, void *userdata, void **found,
                      sd_bus_error *error) {
        GlBus *bus = userdata;
        guint32 owner_uid;
        char uuid[37];

        if (!gl_guest_path_parse(path, uuid, &owner_uid))
                return 0;
        bus->found = (GlFound){bus, gl_core_find_guest(bus->parts.core, owner_uid, uuid)};
        *found = &bus->found;
        return bus->found.guest != NULL;
}

typedef struct {
        char **paths;
        guint n;
} Enumeration;

static void enumerate_guest(GlGuest *guest, gpointer user_data) {
        Enumeration *enumeration = user_data;
        g_autofree char *path = gl_guest_path(guest);

        enumeration->paths[enumeration->n++] = g_strdup(path);
}

/*
 * Asked for every node on the way to a guest; only the container's children are all of them. sd-bus frees with
 * free().
 */
static int enumerate_guests(sd_bus *connection, const char *prefix, void *userdata, char ***nodes,
                            sd_bus_error *error) {
        GlBus *bus = userdata;
        Enumeration enumeration = {};

        if (!g_str_equal(prefix, GL_GUESTS_PATH) && !g_str_equal(prefix, GL_MANAGER_PATH))
                return 0;
        enumeration.paths = g_new0(char *, gl_core_n_guests(bus->parts.core) + 1);
        gl_core_foreach_guest(bus->parts.core, enumerate_guest, &enumeration);
        *nodes = enumeration.paths;
        return 0;
}

int gl_bus_add_guests(GlBus *bus) {
        int r = sd_bus_add_fallback_vtable(bus->connection, &bus->slots[bus->n_slots++], GL_GUESTS_PATH,
                                           GL_GUEST_INTERFACE, guest_vtable, find_guest, bus);

        if (r >= 0)
                r = sd_bus_add_node_enumerator(bus->connection, &bus->slots[bus->n_slots++], GL_GUESTS_PATH,
                                               enumerate_guests, bus);
        if (r >= 0)
                r = sd_bus_add_object_manager(bus->connection, &bus->slots[bus->n_slots++], GL_MANAGER_PATH);
        return r;
}
