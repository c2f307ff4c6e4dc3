/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "bus/bus-private.h"
#include "bus/options.h"
#include "core/names.h"
#include "fuzz.h"
#include "message.h"

/*
 * The arguments of calls, as message.h makes them of text; the first line is the letter of what reads them. What was
 * accepted is within the contract, and is read the same again; what is refused has a sentence that says so, and options
 * that were refused have changed nothing and left the message behind them.
 */

/* --- options by themselves --- */

typedef struct {
        const char *name;
        guint32 id;
        guint64 offset;
        gboolean keep;
        int fd;
        gboolean has[5];
} Values;

#define TABLE(values)                                                                           \
        (const GlOption[]) {                                                                    \
                {"name", 's', &(values).name, &(values).has[0]},                                \
                {"id", 'u', &(values).id, &(values).has[1]},                                    \
                {"offset", 't', &(values).offset, &(values).has[2]},                            \
                {"keep", 'b', &(values).keep, &(values).has[3]},                                \
                {"pidfd", 'h', &(values).fd, &(values).has[4]}, {}                              \
        }

static gboolean is_same(const Values *a, const Values *b) {
        return g_strcmp0(a->name, b->name) == 0 && a->id == b->id && a->offset == b->offset && a->keep == b->keep &&
               (a->fd >= 0) == (b->fd >= 0) && memcmp(a->has, b->has, sizeof a->has) == 0;
}

/* What was read, as lines again. */
static char *write_options(const Values *values) {
        GString *text = g_string_new("[\n");

        if (values->has[0])
                g_string_append_printf(text, "kname=s%s\n", values->name);
        if (values->has[1])
                g_string_append_printf(text, "kid=u%u\n", values->id);
        if (values->has[2])
                g_string_append_printf(text, "koffset=t%" G_GUINT64_FORMAT "\n", values->offset);
        if (values->has[3])
                g_string_append_printf(text, "kkeep=b%d\n", values->keep);
        if (values->has[4])
                g_string_append_printf(text, "kpidfd=h0\n");
        return g_string_free(text, FALSE);
}

static void check_read_again(const Values *values) {
        Values again = {"", 7, 8, 2, -9, {5, 5, 5, 5, 5}};
        g_autofree char *text = write_options(values);
        sd_bus_message *message = values->has[0] && strchr(values->name, '\n') ? NULL
                                                                               : fuzz_message(fuzz_message_bus(), text);

        if (!message)
                return;
        g_assert_true(gl_options_read(message, TABLE(again), NULL));
        g_assert_true(is_same(values, &again));
        sd_bus_message_unref(message);
}

/* TEXT is made a message that has one more argument behind it. */
static void check_options(const char *text) {
        g_autofree char *sealed = g_strconcat(text, "\n]\nsEND", NULL);
        sd_bus_message *message = fuzz_message(fuzz_message_bus(), sealed);
        Values values = {"", 7, 8, 2, -9, {5, 5, 5, 5, 5}}, untouched = values;
        g_autoptr(GError) error = NULL;
        const char *end;

        if (!message)
                return;
        if (gl_options_read(message, TABLE(values), &error)) {
                g_assert_no_error(error);
                check_read_again(&values);
        } else {
                fuzz_check_error(error);
                g_assert_true(is_same(&values, &untouched));
        }
        if (g_str_equal(sd_bus_message_get_signature(message, TRUE), "a{sv}s"))
                g_assert_cmpint(sd_bus_message_read(message, "s", &end), ==, 1);
        sd_bus_message_unref(message);
}

/* --- calls --- */

static void check_wanted(const GlWanted *wanted, const GlLimits *limits) {
        const char *path = wanted->path;
        guint64 offset = wanted->extent.start;

        g_assert_true(wanted->type <= GL_RESOURCE_LEASE && wanted->mode <= GL_MODE_EXCLUSIVE);
        g_assert_true(gl_check_resource_name(limits, wanted->type, wanted->name, NULL));
        g_assert_cmpuint(wanted->extent.start, <, wanted->extent.end);
        g_assert_true(wanted->fd >= 0 || (path && path[0] == '/' && strlen(path) <= limits->path_bytes));
        if (wanted->type == GL_RESOURCE_DISK) {
                g_assert_true(offset == 0 && wanted->extent.end == GL_EXTENT_END);
                return;
        }
        g_assert_true(offset > 0 && (offset < 100 || offset > 299) && offset < G_GUINT64_CONSTANT(1) << 60);
        g_assert_cmpuint(wanted->extent.end, ==, offset + 1);
}

static gboolean read_resource(GlCall *call, GError **error) {
        return gl_read_resource(call, FALSE, FALSE, error);
}

static gboolean read_resource_and_wait(GlCall *call, GError **error) {
        return gl_read_resource(call, FALSE, TRUE, error) && gl_check_words(call, error);
}

static gboolean read_fd(GlCall *call, GError **error) {
        return gl_read_resource(call, TRUE, FALSE, error);
}

static gboolean read_fd_and_wait(GlCall *call, GError **error) {
        return gl_read_resource(call, TRUE, TRUE, error) && gl_check_words(call, error);
}

static gboolean read_create(GlCall *call, GError **error) {
        return gl_read_guest_options(call, FALSE, error);
}

static gboolean read_start(GlCall *call, GError **error) {
        return gl_read_resource_list(call, TRUE, error) && gl_read_guest_options(call, TRUE, error);
}

static gboolean read_looked_at(GlCall *call, GError **error) {
        const char *type, *name;
        GlMode mode;
        int r = sd_bus_message_read(call->message, "ss", &type, &name);

        if (r < 0)
                return gl_refuse_malformed(r, error);
        return gl_read_looked_at(call, type, name, error) && gl_read_mode(call->arguments.mode, &mode, error);
}

static gboolean read_test(GlCall *call, GError **error) {
        return gl_read_resource_list(call, FALSE, error) && gl_read_test_options(call, error);
}

static const struct {
        char letter;
        gboolean (*read)(GlCall *call, GError **error);
} readers[] = {
        {'r', read_resource},  {'R', read_resource_and_wait}, {'f', read_fd},
        {'F', read_fd_and_wait}, {'c', read_create},          {'s', read_start},
        {'a', gl_read_acquire_options}, {'n', gl_read_no_options},
        {'w', read_looked_at},   {'t', read_test},
};

static void check_arguments(const GlCall *call) {
        const GlArguments *arguments = &call->arguments;

        g_assert_cmpuint(arguments->wait_ms, <=, 86400000);
        g_assert_true(!arguments->has_pid || !arguments->has_pidfd);
        g_assert_true(arguments->loss_action <= GL_LOSS_NOTIFY && arguments->scope <= GL_SCOPE_FENCED);
        g_assert_true(!arguments->has_on_lease_lost ||
                      g_str_equal(gl_loss_action_to_string(arguments->loss_action), arguments->on_lease_lost));
        g_assert_true(!arguments->has_require_scope ||
                      g_str_equal(gl_scope_to_string(arguments->scope), arguments->require_scope));
        g_assert_true(!arguments->has_pidfd || arguments->pidfd >= 0);
        for (guint i = 0; i < call->wanted->len; i++)
                check_wanted(&g_array_index(call->wanted, GlWanted, i), call->bus->parts.limits);
}

static void check_call(char letter, const char *text) {
        static GlLimits limits;
        GlBus bus = {.parts = {.limits = &limits}};
        GlCall call = {.bus = &bus, .arguments = {.pidfd = -1}};
        g_autoptr(GError) error = NULL;

        gl_limits_set_defaults(&limits);
        call.message = fuzz_message(fuzz_message_bus(), text);
        if (!call.message)
                return;
        call.wanted = g_array_new(FALSE, TRUE, sizeof(GlWanted));
        for (guint i = 0; i < G_N_ELEMENTS(readers); i++) {
                if (readers[i].letter != letter)
                        continue;
                if (readers[i].read(&call, &error)) {
                        g_assert_no_error(error);
                        check_arguments(&call);
                } else {
                        fuzz_check_error(error);
                }
        }
        g_assert_cmpuint(call.wanted->len, <=, limits.resources_per_guest);
        g_array_unref(call.wanted);
        sd_bus_message_unref(call.message);
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size) {
        g_autofree char *letter = NULL;
        g_autofree char *text = fuzz_text_after_line(data, size, &letter);

        if (g_str_equal(letter, "o"))
                check_options(text);
        else
                check_call(letter[0], text);
        return 0;
}
