/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "bus/bus-private.h"
#include "core/names.h"

/*
 * WhoHolds and TestAcquire: who is in the way, for people and programs that want nothing yet. The answer is a
 * dictionary for each obstacle, in which what is not known is not there.
 */

/* What a dictionary takes besides the values of its strings: keys, signatures, numbers. */
#define DICTIONARY_BYTES 640

/* --- the answer --- */

/* Texts of other hosts and programs may be any bytes, and D-Bus strings may not. */
static int add_string(sd_bus_message *reply, const char *key, const char *value) {
        g_autofree char *valid = value ? g_utf8_make_valid(value, -1) : NULL;

        return valid ? sd_bus_message_append(reply, "{sv}", key, "s", valid) : 0;
}

static int add_strings(sd_bus_message *reply, const GlObstacle *obstacle) {
        const struct {
                const char *key, *value;
        } strings[] = {
                {"resource", obstacle->wanted},
                {"guest-uuid", obstacle->guest_uuid},
                {"guest-name", obstacle->guest_name},
                {"host", obstacle->host},
                {"command", obstacle->command},
                {"mode", obstacle->has_mode ? gl_mode_to_string(obstacle->mode) : NULL},
                {"name", obstacle->name},
                {"driver", obstacle->driver},
                {"scope", obstacle->has_scope ? gl_scope_to_string(obstacle->scope) : NULL},
                {"via", obstacle->via},
        };
        int r = 0;

        for (guint i = 0; r >= 0 && i < G_N_ELEMENTS(strings); i++)
                r = add_string(reply, strings[i].key, strings[i].value);
        return r;
}

static int add_numbers(sd_bus_message *reply, const GlObstacle *obstacle) {
        int r = 0;

        if (obstacle->has_object) {
                g_autofree char *path = gl_guest_path_of(obstacle->guest_uuid, obstacle->owner_uid);

                r = sd_bus_message_append(reply, "{sv}", "object", "o", path);
        }
        if (r >= 0 && obstacle->has_owner)
                r = sd_bus_message_append(reply, "{sv}", "owner-uid", "u", obstacle->owner_uid);
        if (r >= 0 && obstacle->pid != 0)
                r = sd_bus_message_append(reply, "{sv}", "pid", "u", obstacle->pid);
        if (r >= 0 && obstacle->since > 0)
                r = sd_bus_message_append(reply, "{sv}", "since-usec", "t", (guint64) obstacle->since);
        if (r >= 0 && obstacle->generation > 0)
                r = sd_bus_message_append(reply, "{sv}", "generation", "t", obstacle->generation);
        return r;
}

static gsize length_of(const char *text) {
        return text ? strlen(text) : 0;
}

/* Of a disk that very many read, the dictionaries could be longer than a message may be. */
static gboolean fits(GPtrArray *obstacles, GError **error) {
        guint64 bytes = 0;

        for (guint i = 0; i < obstacles->len; i++) {
                const GlObstacle *obstacle = g_ptr_array_index(obstacles, i);

                /* Each byte may become three, where it is not UTF-8. */
                bytes += DICTIONARY_BYTES + 3 * (length_of(obstacle->name) + length_of(obstacle->wanted) +
                                                 length_of(obstacle->via) + length_of(obstacle->guest_name) +
                                                 length_of(obstacle->command));
        }
        if (bytes <= GL_MESSAGE_MAX_BYTES)
                return TRUE;
        g_set_error(error, GL_ERROR, GL_ERROR_LIMIT_EXCEEDED,
                    "%u are in the way, more than fit into a message on the bus; ListGuests names the guests.",
                    obstacles->len);
        return FALSE;
}

static int fill_obstacles(GlCall *call, const GlChange *answer, sd_bus_message *reply) {
        GPtrArray *obstacles = answer->obstacles;
        int r = sd_bus_message_open_container(reply, 'a', "a{sv}");
        gboolean fit = fits(obstacles, &call->failure);

        for (guint i = 0; fit && r >= 0 && i < obstacles->len; i++) {
                r = sd_bus_message_open_container(reply, 'a', "{sv}");
                if (r >= 0)
                        r = add_strings(reply, g_ptr_array_index(obstacles, i));
                if (r >= 0)
                        r = add_numbers(reply, g_ptr_array_index(obstacles, i));
                if (r >= 0)
                        r = sd_bus_message_close_container(reply);
        }
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

/* --- WhoHolds --- */

/* Of the type "guest", which is no resource: the name is its uuid. */
static gboolean read_guest(GlCall *call, const char *name, GError **error) {
        char uuid[37];

        /* Not into call->uuid: this is about all guests of that uuid, and has no turn among the calls on one. */
        if (!gl_read_no_options(call, error) || !gl_uuid_parse(name, uuid, error))
                return FALSE;
        call->arguments.uuid = name;
        return TRUE;
}

static gboolean read_who(GlCall *call, GError **error) {
        const char *type, *name;
        int r = sd_bus_message_read(call->message, "ss", &type, &name);
        GlMode mode;

        if (r < 0)
                return gl_refuse_malformed(r, error);
        if (g_str_equal(type, "guest"))
                return read_guest(call, name, error);
        return gl_read_looked_at(call, type, name, error) && gl_read_mode(call->arguments.mode, &mode, error);
}

static gboolean prepare_who(GlCall *call, GError **error) {
        call->owner_uid = gl_call_uid(call);
        return TRUE;
}

static void reply_who_is(GlCall *call) {
        g_autoptr(GPtrArray) guests = NULL;
        char uuid[37];

        gl_uuid_parse(call->arguments.uuid, uuid, NULL);
        guests = gl_core_who_is(call->bus->parts.core, uuid);
        gl_call_reply(call, &(GlChange){.obstacles = guests});
}

static void run_who(GlCall *call) {
        GlResourceSpec spec;
        GlRequest request;

        if (call->arguments.uuid) {
                reply_who_is(call);
                return;
        }
        request = gl_call_request(call);
        spec = gl_wanted_spec(&g_array_index(call->wanted, GlWanted, 0));
        (void) gl_mode_from_string(call->arguments.mode, &spec.mode);
        gl_core_who_holds(call->bus->parts.core, &request, &spec);
        gl_resource_specs_clear(&spec, 1);
}

int gl_bus_on_who_holds(sd_bus_message *message, void *bus, sd_bus_error *error) {
        static const GlMethod method = {.name = "who_holds", .right = GL_RIGHT_INSPECT, .read = read_who,
                                        .prepare = prepare_who, .run = run_who, .fill = fill_obstacles};

        return gl_call_begin(bus, &method, message, NULL);
}

/* --- TestAcquire --- */

static gboolean refuse_beside(GError **error, const char *option, const char *what) {
        g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS, "The option \"%s\" %s.", option, what);
        return FALSE;
}

static gboolean read_test(GlCall *call, GError **error) {
        GlArguments *arguments = &call->arguments;
        int r = sd_bus_message_read(call->message, "s", &arguments->uuid);
        gboolean has_guest;

        if (r < 0)
                return gl_refuse_malformed(r, error);
        has_guest = arguments->uuid[0] != '\0';
        if ((has_guest && !gl_uuid_parse(arguments->uuid, call->uuid, error)) ||
            !gl_read_resource_list(call, FALSE, error) ||
            !gl_read_test_options(call, error))
                return FALSE;
        if (has_guest && arguments->has_driver)
                return refuse_beside(error, "driver", "is for a guest that is not there yet, without a uuid");
        if (has_guest && arguments->has_require_scope)
                return refuse_beside(error, "require-scope", "is for a guest that is not there yet, without a uuid");
        if (!has_guest && arguments->has_owner_uid)
                return refuse_beside(error, "owner-uid", "tells whose guest it is, and needs its uuid");
        return TRUE;
}

static GlGuest *find_tested(GlCall *call, GError **error) {
        GlGuest *guest = gl_core_find_guest(call->bus->parts.core, call->owner_uid, call->uuid);

        if (!guest)
                g_set_error(error, GL_ERROR, GL_ERROR_NO_SUCH_GUEST,
                            "There is no guest %s of user %" G_GUINT32_FORMAT ".", call->uuid, call->owner_uid);
        return guest;
}

static gboolean prepare_test(GlCall *call, GError **error) {
        call->owner_uid = call->arguments.has_owner_uid ? call->arguments.owner_uid : gl_call_uid(call);
        return call->uuid[0] == '\0' || find_tested(call, error);
}

static void run_test(GlCall *call) {
        g_autofree GlResourceSpec *resources = g_new0(GlResourceSpec, call->wanted->len);
        g_autoptr(GError) error = NULL;
        GlTestSpec test = {
                .guest = call->uuid[0] ? find_tested(call, &error) : NULL,
                .driver = call->arguments.driver,
                .has_require_scope = call->arguments.has_require_scope,
                .require_scope = call->arguments.scope,
        };
        GlRequest request;

        if (error) {
                gl_call_fail(call, error);
                return;
        }
        test.acquire = gl_call_acquire_spec(call);
        for (guint i = 0; i < call->wanted->len; i++)
                resources[i] = gl_wanted_spec(&g_array_index(call->wanted, GlWanted, i));
        request = gl_call_request(call);
        gl_core_test_acquire(call->bus->parts.core, &request, &test, resources, call->wanted->len);
        gl_resource_specs_clear(resources, call->wanted->len);
        gl_handle_unref(&test.acquire.process.handle);
}

int gl_bus_on_test_acquire(sd_bus_message *message, void *bus, sd_bus_error *error) {
        static const GlMethod method = {.name = "test_acquire", .right = GL_RIGHT_INSPECT, .read = read_test,
                                        .prepare = prepare_test, .run = run_test, .fill = fill_obstacles};

        return gl_call_begin(bus, &method, message, NULL);
}
