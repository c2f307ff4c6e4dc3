/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <string.h>

#include "house-private.h"

/* Calls, their answers and signals, and how these read in the log. */

struct Call {
        House *house;
        char *member;
        gboolean quiet;
        sd_bus_slot *slot;
        sd_bus_message *reply; /* (owned) (nullable) */
};

/* --- messages in words --- */

void house_append_string(House *house, GString *out, const char *text) {
        g_autofree char *dir = g_strconcat(house->dir, "/", NULL);

        if (g_str_has_prefix(text, PATH_BASE))
                text += strlen(PATH_BASE);
        else if (g_str_has_prefix(text, dir))
                text += strlen(dir);
        else if (g_str_has_prefix(text, "org.guestlock1."))
                text += strlen("org.guestlock1.");
        g_string_append(out, text);
}

static void format_number(House *house, GString *out, guint32 number) {
        for (guint i = 0; number > 0 && i < house->children->len; i++) {
                if (g_array_index(house->children, GPid, i) == (GPid) number) {
                        g_string_append_printf(out, "P%u", i + 1);
                        return;
                }
        }
        g_string_append_printf(out, "%u", number);
}

static void format_all(House *house, GString *out, sd_bus_message *message, const char *separator);

static void format_container(House *house, GString *out, sd_bus_message *message, char type, const char *contents) {
        gboolean is_dict = type == 'a' && contents[0] == '{';
        const char *around = type == 'r' ? "()" : type == 'a' ? is_dict ? "{}" : "[]" : "";

        fixture_must(sd_bus_message_enter_container(message, type, contents));
        if (around[0])
                g_string_append_c(out, around[0]);
        format_all(house, out, message, type == 'e' ? "=" : ",");
        if (around[0])
                g_string_append_c(out, around[1]);
        fixture_must(sd_bus_message_exit_container(message));
}

static gboolean format_next(House *house, GString *out, sd_bus_message *message) {
        const char *contents, *text;
        union {
                guint32 u;
                guint64 t;
                int b;
        } value;
        char type;
        int r = sd_bus_message_peek_type(message, &type, &contents);

        fixture_must(r);
        if (r == 0)
                return FALSE;
        switch (type) {
        case 's':
        case 'o':
                fixture_must(sd_bus_message_read_basic(message, type, &text));
                house_append_string(house, out, text);
                break;
        case 'u':
                fixture_must(sd_bus_message_read_basic(message, type, &value.u));
                format_number(house, out, value.u);
                break;
        case 't':
                fixture_must(sd_bus_message_read_basic(message, type, &value.t));
                g_string_append(out, value.t == 0 ? "0" : "#");
                break;
        case 'b':
                fixture_must(sd_bus_message_read_basic(message, type, &value.b));
                g_string_append(out, value.b ? "true" : "false");
                break;
        default:
                format_container(house, out, message, type, contents);
        }
        return TRUE;
}

static void format_all(House *house, GString *out, sd_bus_message *message, const char *separator) {
        for (guint i = 0;; i++) {
                gsize before = out->len;

                g_string_append(out, i > 0 ? separator : "");
                if (!format_next(house, out, message)) {
                        g_string_truncate(out, before);
                        return;
                }
        }
}

static const char *name_of_error(const char *name) {
        static const char *const prefixes[] = {"org.guestlock1.Error.", "org.freedesktop.DBus.Error."};

        for (guint i = 0; i < G_N_ELEMENTS(prefixes); i++)
                if (g_str_has_prefix(name, prefixes[i]))
                        return name + strlen(prefixes[i]);
        return name;
}

void house_log_signal(House *house, sd_bus_message *signal) {
        house_append_string(house, house->log, sd_bus_message_get_path(signal));
        g_string_append_printf(house->log, " %s ", sd_bus_message_get_member(signal));
        if (g_str_equal(sd_bus_message_get_member(signal), "InterfacesAdded"))
                format_next(house, house->log, signal); /* the object; tests look at its properties by themselves */
        else
                format_all(house, house->log, signal, " ");
        g_string_append_c(house->log, '\n');
        fixture_must(sd_bus_message_rewind(signal, TRUE));
}

/* --- calls --- */

void house_call_free(gpointer data) {
        Call *call = data;

        sd_bus_slot_unref(call->slot);
        sd_bus_message_unref(call->reply);
        g_free(call->member);
        g_free(call);
}

static int on_reply(sd_bus_message *reply, void *user_data, sd_bus_error *unused) {
        Call *call = user_data;
        const sd_bus_error *error = sd_bus_message_get_error(reply);

        call->reply = sd_bus_message_ref(reply);
        if (!call->quiet)
                g_string_append_printf(call->house->log, "<- %s%s%s\n", call->member, error ? ": " : "",
                                       error ? name_of_error(error->name) : "");
        return 1;
}

sd_bus_message *new_call(House *house, const char *sender, const char *path, const char *member) {
        const char *dot = strrchr(member, '.');
        const char *own = g_str_equal(path, MANAGER) ? "org.guestlock1.Manager" : "org.guestlock1.Guest";
        g_autofree char *interface = dot ? g_strndup(member, (gsize) (dot - member)) : g_strdup(own);
        sd_bus_message *message;

        fixture_must(sd_bus_message_new_method_call(house->bus, &message, house->direct ? NULL : "org.guestlock1", path,
                                                    interface, dot ? dot + 1 : member));
        if (!house->direct)
                fixture_must(sd_bus_message_set_sender(message, sender));
        return message;
}

Call *send_message(House *house, sd_bus_message *message) {
        Call *call = g_new0(Call, 1);

        call->house = house;
        call->member = g_strdup(sd_bus_message_get_member(message));
        g_ptr_array_add(house->calls, call);
        fixture_must(sd_bus_call_async(house->bus, &call->slot, message, on_reply, call, 60 * G_USEC_PER_SEC));
        sd_bus_message_unref(message);
        return call;
}

Call *send_call(House *house, const char *sender, const char *path, const char *member, const char *types, ...) {
        sd_bus_message *message = new_call(house, sender, path, member);
        va_list arguments;

        va_start(arguments, types);
        if (types[0])
                fixture_must(sd_bus_message_appendv(message, types, arguments));
        va_end(arguments);
        return send_message(house, message);
}

static const sd_bus_error *await(Call *call) {
        const sd_bus_error *error;

        fixture_run_until(call->house->event, call->reply);
        fixture_must(sd_bus_message_rewind(call->reply, TRUE));
        error = sd_bus_message_get_error(call->reply);
        return error;
}

sd_bus_message *await_reply(Call *call) {
        const sd_bus_error *error = await(call);

        if (error)
                g_error("%s: %s: %s", call->member, error->name, error->message);
        return call->reply;
}

const sd_bus_error *await_error(Call *call) {
        const sd_bus_error *error = await(call);

        if (!error)
                g_error("%s has succeeded.", call->member);
        return error;
}

void forget_calls(House *house) {
        for (guint i = house->calls->len; i > 0; i--)
                if (((Call *) g_ptr_array_index(house->calls, i - 1))->reply)
                        g_ptr_array_remove_index(house->calls, i - 1);
        g_string_truncate(house->log, 0);
        g_string_truncate(house->questions, 0);
        gl_fake_driver_clear_log(house->driver);
}

char *in_words(House *house, sd_bus_message *message) {
        GString *words = g_string_new(NULL);

        format_all(house, words, message, " ");
        fixture_must(sd_bus_message_rewind(message, TRUE));
        return g_string_free(words, FALSE);
}

void expect_reply(Call *call, const char *signature, const char *contents) {
        sd_bus_message *reply = await_reply(call);
        g_autofree char *got = in_words(call->house, reply);

        g_assert_cmpstr(sd_bus_message_get_signature(reply, TRUE), ==, signature);
        if (contents)
                g_assert_cmpstr(got, ==, contents);
}

void expect_error(Call *call, const char *error, const char *part) {
        const sd_bus_error *got = await(call);

        if (!got)
                g_error("%s has succeeded, where %s was expected.", call->member, error);
        if (!g_str_equal(name_of_error(got->name), error) || !strstr(got->message, part))
                g_error("%s: %s: %s; expected was %s: … %s …", call->member, got->name, got->message, error, part);
        /* A sentence. */
        g_assert_true(g_str_has_suffix(got->message, ".") || !g_str_has_prefix(got->name, "org.guestlock1."));
}

/* A call of the test's own, which is not in the log. */
static Call *look(Call *call) {
        call->quiet = TRUE;
        return call;
}

/* Whatever the service has sent before is here afterwards. */
static void catch_up(House *house) {
        await_reply(look(send_call(house, ROOT, MANAGER, "org.freedesktop.DBus.Peer.Ping", "")));
}

void expect_no_answer(Call *call) {
        house_settle(call->house);
        if (call->reply)
                g_error("%s has been answered.", call->member);
}

void expect_log(House *house, const char *expected) {
        catch_up(house);
        g_assert_cmpstr(house->log->str, ==, expected);
        g_string_truncate(house->log, 0);
}

void forget_log(House *house) {
        catch_up(house);
        g_string_truncate(house->log, 0);
}

/* --- what most tests begin with --- */

const char *create(House *house, const char *sender, int n) {
        g_autofree char *uuid = g_strdup_printf(UUID_BASE "%d", n);
        g_autofree char *name = g_strdup_printf("web%d", n);
        const char *path;

        fixture_must(sd_bus_message_read(
                await_reply(send_call(house, sender, MANAGER, "CreateGuest", "ssa{sv}", uuid, name, 0)), "o", &path));
        return house_keep(house, g_strdup(path));
}

static Call *send_resource(House *house, const char *sender, const char *guest, const char *member, const char *name,
                           const char *mode, gboolean with_wait, guint32 wait_ms) {
        const char *path = house_file(house, name);
        g_autofree char *with_fd = g_strconcat(member, "Fd", NULL);
        gboolean by_path = has_openat2();
        sd_bus_message *message = new_call(house, sender, guest, by_path ? member : with_fd);
        int fd = by_path ? -1 : open(path, O_RDWR | O_CLOEXEC);

        fixture_must(sd_bus_message_append(message, "ss", "disk", path));
        if (!by_path)
                fixture_must(sd_bus_message_append(message, "h", fd));
        fixture_must(sd_bus_message_append(message, "s", mode));
        if (with_wait)
                fixture_must(sd_bus_message_append(message, "a{sv}", 1, "wait-ms", "u", wait_ms));
        else
                fixture_must(sd_bus_message_append(message, "a{sv}", 0));
        if (fd >= 0)
                close(fd);
        return send_message(house, message);
}

Call *send_register(House *house, const char *sender, const char *guest, const char *name, const char *mode) {
        return send_resource(house, sender, guest, "RegisterResource", name, mode, FALSE, 0);
}

Call *send_plug(House *house, const char *sender, const char *guest, const char *name, const char *mode,
                guint32 wait_ms) {
        return send_resource(house, sender, guest, "AcquireResource", name, mode, wait_ms > 0, wait_ms);
}

void register_disk(House *house, const char *sender, const char *guest, const char *name, const char *mode) {
        expect_reply(send_register(house, sender, guest, name, mode), "", "");
}

const char *create_held(House *house, const char *sender, int n, const char *name) {
        const char *guest = create(house, sender, n);

        register_disk(house, sender, guest, name, "exclusive");
        succeed(house, sender, guest, "Acquire", "t", "#", "a{sv}", 0);
        return guest;
}

void expect_property(House *house, const char *path, const char *property, const char *signature,
                     const char *contents) {
        const char *interface = g_str_equal(path, MANAGER) ? "org.guestlock1.Manager" : "org.guestlock1.Guest";
        Call *call = look(send_call(house, BOB, path, PROPERTIES "Get", "ss", interface, property));
        const char *found;

        fixture_must(sd_bus_message_peek_type(await_reply(call), NULL, &found));
        g_assert_cmpstr(found, ==, signature);
        expect_reply(call, "v", contents);
}

typedef struct {
        const char *type, *name, *mode, *state;
} ShownResource;

static void read_entry(sd_bus_message *message, ShownResource *shown) {
        const struct {
                const char *key, **value;
        } wanted[] = {{"type", &shown->type}, {"name", &shown->name}, {"mode", &shown->mode}, {"state", &shown->state}};
        const char *key;
        guint i = 0;

        fixture_must(sd_bus_message_read(message, "s", &key));
        while (i < G_N_ELEMENTS(wanted) && !g_str_equal(wanted[i].key, key))
                i++;
        if (i < G_N_ELEMENTS(wanted))
                fixture_must(sd_bus_message_read(message, "v", "s", wanted[i].value));
        else
                fixture_must(sd_bus_message_skip(message, "v"));
}

void expect_resources(House *house, const char *path, const char *expected) {
        g_autoptr(GString) got = g_string_new(NULL);
        sd_bus_message *reply = await_reply(
                look(send_call(house, BOB, path, PROPERTIES "Get", "ss", "org.guestlock1.Guest", "Resources")));

        fixture_must(sd_bus_message_enter_container(reply, 'v', "aa{sv}"));
        fixture_must(sd_bus_message_enter_container(reply, 'a', "a{sv}"));
        while (sd_bus_message_enter_container(reply, 'a', "{sv}") > 0) {
                ShownResource shown = {};

                while (sd_bus_message_enter_container(reply, 'e', "sv") > 0) {
                        read_entry(reply, &shown);
                        fixture_must(sd_bus_message_exit_container(reply));
                }
                fixture_must(sd_bus_message_exit_container(reply));
                g_string_append(got, got->len > 0 ? ", " : "");
                house_append_string(house, got, shown.name);
                g_string_append_printf(got, " %s %s", shown.mode, shown.state);
        }
        g_assert_cmpstr(got->str, ==, expected);
}
