/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "bus/bus-private.h"
#include "bus/options.h"
#include "core/names.h"
#include "core/obstacle.h"
#include "core/state-string.h"

#define MAX_DRIVER_BYTES 32

/* Pieces of arguments that several methods have in common. */

static gboolean refuse_word(GError **error, const char *what, const char *text, const char *known) {
        g_autofree char *quoted = gl_quote(text);

        g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS, "There is no %s %.300s; there are %s.", what, quoted,
                    known);
        return FALSE;
}

gboolean gl_read_mode(const char *text, GlMode *mode, GError **error) {
        return gl_mode_from_string(text, mode) ||
               refuse_word(error, "mode", text, "\"readonly\", \"shared\" and \"exclusive\"");
}

gboolean gl_read_type(const char *text, GlResourceType *type, GError **error) {
        return gl_resource_type_from_string(text, type) ||
               refuse_word(error, "resource type", text, "\"disk\" and \"lease\"");
}

gboolean gl_refuse_malformed(int negative_errno, GError **error) {
        g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS, "The arguments cannot be read: %s.",
                    g_strerror(-negative_errno));
        return FALSE;
}

/* --- resources --- */

/* Offsets of a lease file that mean something else there. */
static gboolean check_lease_offset(guint64 offset, GError **error) {
        if (offset != 0 && (offset < 100 || offset > 299) && offset < G_GUINT64_CONSTANT(1) << 60)
                return TRUE;
        g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS,
                    "A lease cannot be at offset %" G_GUINT64_FORMAT
                    "; 0, 100 to 299 and everything from 2^60 on are used for other locks.",
                    offset);
        return FALSE;
}

static gboolean check_lease_options(const GlLimits *limits, GlWanted *wanted, const char *path, gboolean has_path,
                                    gboolean has_offset, guint64 offset, GError **error) {
        if ((wanted->fd < 0 && !has_path) || !has_offset) {
                g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS,
                            "A lease needs the %s.",
                            has_offset ? "option \"path\": the lease file that it is in"
                                       : "option \"offset\": which byte of the lease file it is");
                return FALSE;
        }
        if ((has_path && !gl_check_resource_name(limits, GL_RESOURCE_DISK, path, error)) ||
            !check_lease_offset(offset, error))
                return FALSE;
        wanted->path = path;
        wanted->extent = (GlExtent){offset, offset + 1};
        return TRUE;
}

/* What a resource's options have besides those of its type. */
typedef enum {
        MORE_NOTHING,
        MORE_WAIT,    /* wait-ms */
        MORE_MODE,    /* mode */
        MORE_REPLACE, /* replace */
        MORE_FD,      /* of a disk: fd */
} More;

static GlOption more_option(GlCall *call, GlWanted *wanted, More more) {
        GlArguments *arguments = &call->arguments;

        switch (more) {
        case MORE_WAIT:
                return (GlOption){"wait-ms", 'u', &arguments->wait_ms, NULL};
        case MORE_MODE:
                return (GlOption){"mode", 's', &arguments->mode, NULL};
        case MORE_REPLACE:
                return (GlOption){"replace", 'b', &arguments->replace, NULL};
        case MORE_FD:
                if (wanted->type == GL_RESOURCE_DISK)
                        return (GlOption){"fd", 'h', &wanted->fd, NULL};
                return (GlOption){};
        case MORE_NOTHING:
        default:
                return (GlOption){};
        }
}

static gboolean read_disk_options(GlCall *call, GlWanted *wanted, More more, GError **error) {
        const GlOption options[] = {more_option(call, wanted, more), {}};

        return gl_options_read(call->message, options, error);
}

static gboolean read_lease_options(GlCall *call, GlWanted *wanted, More more, GError **error) {
        const GlLimits *limits = call->bus->parts.limits;
        const char *path = NULL, *lockspace = NULL;
        gboolean has_path = FALSE, has_offset = FALSE, has_lockspace = FALSE;
        guint64 offset = 0;
        GlOption options[5] = {{"offset", 't', &offset, &has_offset}, {"lockspace", 's', &lockspace, &has_lockspace}};
        guint n = 2;

        if (wanted->fd < 0)
                options[n++] = (GlOption){"path", 's', &path, &has_path};
        options[n] = more_option(call, wanted, more);

        if (!gl_options_read(call->message, options, error))
                return FALSE;
        if (has_lockspace && lockspace[0] != '\0' &&
            !gl_check_resource_name(limits, GL_RESOURCE_LEASE, lockspace, error))
                return FALSE;
        return check_lease_options(limits, wanted, path, has_path, has_offset, offset, error);
}

static gboolean read_resource_options(GlCall *call, GlWanted *wanted, More more, GError **error) {
        gboolean is_disk = wanted->type == GL_RESOURCE_DISK;

        return gl_check_resource_name(call->bus->parts.limits, wanted->type, wanted->name, error) &&
               (is_disk ? read_disk_options(call, wanted, more, error) : read_lease_options(call, wanted, more, error));
}

static gboolean read_resource(GlCall *call, gboolean with_fd, More more, GError **error) {
        const char *type_text, *name, *mode_text;
        GlResourceType type;
        GlMode mode;
        GlWanted *wanted;
        int fd = -1, r;

        r = with_fd ? sd_bus_message_read(call->message, "sshs", &type_text, &name, &fd, &mode_text)
                    : sd_bus_message_read(call->message, "sss", &type_text, &name, &mode_text);
        if (r < 0)
                return gl_refuse_malformed(r, error);
        if (!gl_read_type(type_text, &type, error) || !gl_read_mode(mode_text, &mode, error))
                return FALSE;

        wanted = gl_call_want(call, type, name, mode);
        wanted->fd = fd;
        return read_resource_options(call, wanted, more, error);
}

gboolean gl_read_resource(GlCall *call, gboolean with_fd, gboolean with_wait, GError **error) {
        return read_resource(call, with_fd, with_wait ? MORE_WAIT : with_fd ? MORE_REPLACE : MORE_NOTHING, error);
}

gboolean gl_read_looked_at(GlCall *call, const char *type_text, const char *name, GError **error) {
        GlResourceType type;

        if (!gl_read_type(type_text, &type, error))
                return FALSE;
        call->arguments.mode = "exclusive";
        /* To know who has it one needs to be able to read it, and no more. */
        return read_resource_options(call, gl_call_want(call, type, name, GL_MODE_READONLY), MORE_MODE, error);
}

gboolean gl_read_resource_list(GlCall *call, gboolean may_have_fds, GError **error) {
        const GlLimits *limits = call->bus->parts.limits;
        guint max = limits->resources_per_guest;
        gsize bytes = 0;
        int r = sd_bus_message_enter_container(call->message, 'a', "(sssa{sv})");

        while (r >= 0 && (r = sd_bus_message_enter_container(call->message, 'r', "sssa{sv}")) > 0) {
                if (call->wanted->len >= max) {
                        g_set_error(error, GL_ERROR, GL_ERROR_LIMIT_EXCEEDED,
                                    "A guest can have at most %u resources.", max);
                        return FALSE;
                }
                if (!read_resource(call, FALSE, may_have_fds ? MORE_FD : MORE_NOTHING, error))
                        return FALSE;
                bytes += strlen(g_array_index(call->wanted, GlWanted, call->wanted->len - 1).name);
                if (bytes > limits->guest_bytes) {
                        g_set_error(error, GL_ERROR, GL_ERROR_LIMIT_EXCEEDED,
                                    "A guest can have at most %u bytes of names and paths.", limits->guest_bytes);
                        return FALSE;
                }
                r = sd_bus_message_exit_container(call->message);
        }
        if (r >= 0)
                r = sd_bus_message_exit_container(call->message);
        return r >= 0 || gl_refuse_malformed(r, error);
}

/* --- options --- */

gboolean gl_read_no_options(GlCall *call, GError **error) {
        const GlOption none[] = {{}};

        return gl_options_read(call->message, none, error);
}

/* A call may be under way for long, and there may be many: what no call needs is refused before it is kept. */
static gboolean check_sizes(const GlArguments *arguments, GError **error) {
        g_autoptr(GlStateString) state = NULL;
        g_autofree char *quoted = NULL;

        if (arguments->driver && strlen(arguments->driver) > MAX_DRIVER_BYTES) {
                quoted = gl_quote(arguments->driver);
                g_set_error(error, GL_ERROR, GL_ERROR_NO_SUCH_DRIVER,
                            "There is no lease driver %.300s; see ListDrivers.", quoted);
                return FALSE;
        }
        if (arguments->state && strlen(arguments->state) > GL_STATE_STRING_MAX_BYTES)
                state = gl_state_string_parse(arguments->state, error); /* says what is wrong */
        else
                return TRUE;
        return state != NULL;
}

/* "end", which is the default, or OTHER. */
static gboolean read_choice(gboolean given, const char *text, const char *other, const char *what,
                            gboolean *is_other, GError **error) {
        g_autofree char *known = NULL;

        *is_other = given && g_str_equal(text, other);
        if (!given || *is_other || g_str_equal(text, "end"))
                return TRUE;
        known = g_strdup_printf("\"end\" and \"%s\"", other);
        return refuse_word(error, what, text, known);
}

/* The words among the options that were read. */
gboolean gl_check_words(GlCall *call, GError **error) {
        GlArguments *arguments = &call->arguments;

        if (arguments->has_on_lease_lost &&
            !gl_loss_action_from_string(arguments->on_lease_lost, &arguments->loss_action))
                return refuse_word(error, "action on a lost lease", arguments->on_lease_lost,
                                   "\"pause\", \"kill\" and \"notify\"");
        if (arguments->has_require_scope && !gl_scope_from_string(arguments->require_scope, &arguments->scope))
                return refuse_word(error, "scope", arguments->require_scope,
                                   "\"mount\", \"host\", \"shared\" and \"fenced\"");
        if (!read_choice(arguments->has_orphan, arguments->orphan, "keep", "treatment of an orphan",
                         &arguments->keep_orphan, error) ||
            !read_choice(arguments->has_left_over, arguments->left_over, "leave", "treatment of a supervisor",
                         &arguments->leave_supervisor, error))
                return FALSE;
        if (arguments->has_pid && arguments->has_pidfd) {
                g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS,
                            "Only one of the options \"pid\" and \"pidfd\" can be given.");
                return FALSE;
        }
        if (arguments->wait_ms > 86400000) {
                g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS,
                            "The option \"wait-ms\" can be at most 86400000, which is a day.");
                return FALSE;
        }
        return check_sizes(arguments, error);
}

#define GUEST_OPTIONS(a)                                                       \
        {"id", 'u', &(a)->id, NULL}, {"driver", 's', &(a)->driver, NULL},      \
        {"on-lease-lost", 's', &(a)->on_lease_lost, &(a)->has_on_lease_lost},  \
        {"require-scope", 's', &(a)->require_scope, &(a)->has_require_scope},  \
        {"owner-uid", 'u', &(a)->owner_uid, &(a)->has_owner_uid},            \
        {"keep", 'b', &(a)->keep, &(a)->has_keep}

#define PROCESS_OPTIONS(a) \
        {"pid", 'u', &(a)->pid, &(a)->has_pid}, {"pidfd", 'h', &(a)->pidfd, &(a)->has_pidfd}

#define ACQUIRE_OPTIONS(a)                                                                \
        PROCESS_OPTIONS(a), {"supervisor", 'b', &(a)->supervisor, NULL},                  \
        {"wait-ms", 'u', &(a)->wait_ms, NULL}, {"state", 's', &(a)->state, NULL},         \
        {"register-only", 'b', &(a)->register_only, NULL}

gboolean gl_read_guest_options(GlCall *call, gboolean starts, GError **error) {
        GlArguments *arguments = &call->arguments;
        const GlOption create[] = {GUEST_OPTIONS(arguments), {}};
        const GlOption start[] = {
                GUEST_OPTIONS(arguments), ACQUIRE_OPTIONS(arguments), {}};

        return gl_options_read(call->message, starts ? start : create, error) && gl_check_words(call, error);
}

gboolean gl_read_test_options(GlCall *call, GError **error) {
        GlArguments *arguments = &call->arguments;
        const GlOption options[] = {{"driver", 's', &arguments->driver, &arguments->has_driver},
                                    {"require-scope", 's', &arguments->require_scope, &arguments->has_require_scope},
                                    {"owner-uid", 'u', &arguments->owner_uid, &arguments->has_owner_uid},
                                    PROCESS_OPTIONS(arguments),
                                    {}};

        return gl_options_read(call->message, options, error) && gl_check_words(call, error);
}

gboolean gl_read_acquire_options(GlCall *call, GError **error) {
        GlArguments *arguments = &call->arguments;
        const GlOption options[] = {ACQUIRE_OPTIONS(arguments), {}};

        return gl_options_read(call->message, options, error) && gl_check_words(call, error);
}

gboolean gl_read_inherit_options(GlCall *call, GError **error) {
        GlArguments *arguments = &call->arguments;
        const GlOption options[] = {
                ACQUIRE_OPTIONS(arguments), {"resources", 'a', &arguments->resources, NULL}, {}};

        return gl_options_read(call->message, options, error) && gl_check_words(call, error);
}

/* --- processes --- */

gboolean gl_open_process(GlCall *call, GError **error) {
        const GlArguments *arguments = &call->arguments;

        if (arguments->has_pid)
                call->process = gl_process_open(arguments->pid, error);
        else if (arguments->has_pidfd)
                call->process = gl_process_open_pidfd(arguments->pidfd, error);
        else
                return TRUE;
        return call->process != NULL;
}

GlProcessRef gl_call_process_ref(const GlCall *call) {
        GlProcess *process = call->process;

        if (!process)
                return (GlProcessRef){};
        return (GlProcessRef){process->pid, process->start_time, {gl_process_ref(process), gl_process_clear}};
}

GlAcquireSpec gl_call_acquire_spec(const GlCall *call) {
        const GlArguments *arguments = &call->arguments;

        return (GlAcquireSpec){
                .process = gl_call_process_ref(call),
                .supervisor = arguments->supervisor,
                .register_only = arguments->register_only,
                .wait_ms = arguments->wait_ms,
                .state = arguments->state,
        };
}

GlResourceSpec gl_wanted_spec(const GlWanted *wanted) {
        return (GlResourceSpec){
                .type = wanted->type,
                .name = wanted->name,
                .mode = wanted->mode,
                .place = wanted->source->place,
                .source = gl_source_handle(wanted->source),
                .by_descriptor = wanted->fd >= 0,
                .replace = wanted->call->arguments.replace,
        };
}

void gl_resource_specs_clear(GlResourceSpec *specs, guint n_specs) {
        for (guint i = 0; i < n_specs; i++)
                gl_handle_unref(&specs[i].source);
}
