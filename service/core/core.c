/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/core-private.h"

#include <string.h>

/*
 * The registry: guests by (owner, uuid) and by pid, processes, and the calls that need no operation.
 */

/* µs between two attempts to save what has happened already. */
#define SAVE_INTERVAL ((gint64) G_USEC_PER_SEC)

static void owner_list_free(gpointer data) {
        g_ptr_array_unref(data);
}

static void guest_free(GlCore *core, GlGuest *guest) {
        for (guint i = 0; i < guest->resources->len; i++)
                gl_resource_drop_claim(core, g_ptr_array_index(guest->resources, i));
        gl_guest_drop_ghosts(core, guest);
        g_free(guest->core_data);
        guest->core_data = NULL;
}

GlCore *gl_core_new(const GlLimits *limits, const char *host_id, const char *host_name, const GlCoreHooks *hooks,
                    gpointer user_data) {
        GlCore *core = g_new0(GlCore, 1);

        core->limits = *limits;
        core->host_id = g_strdup(host_id);
        core->host_name = g_strdup(host_name);
        if (hooks)
                core->hooks = *hooks;
        core->user_data = user_data;
        core->default_on_lease_lost = GL_LOSS_PAUSE;
        core->default_require_scope = GL_SCOPE_MOUNT;
        core->drivers = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        core->guests = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        core->starting = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        core->owners = g_hash_table_new_full(NULL, NULL, NULL, owner_list_free);
        core->pids = g_hash_table_new_full(NULL, NULL, NULL, owner_list_free);
        core->last_generations = g_hash_table_new_full(gl_node_hash, gl_node_equal, NULL, gl_last_generation_free);
        core->table = gl_table_new();
        core->dirty = g_ptr_array_new();
        core->lanes = gl_core_lanes_new();
        core->audits = gl_core_audits_new();

        return core;
}

static void free_guests(GlCore *core, GHashTable *guests) {
        GHashTableIter iter;
        gpointer guest;

        g_hash_table_iter_init(&iter, guests);
        while (g_hash_table_iter_next(&iter, NULL, &guest)) {
                guest_free(core, guest);
                gl_guest_record_free(guest);
        }
        g_hash_table_unref(guests);
}

void gl_core_free(GlCore *core) {
        GlChange *change;

        if (!core)
                return;

        while (core->ops.head)
                gl_op_free(core, core->ops.head->data);
        while ((change = gl_core_take_change(core)))
                gl_change_free(change);
        free_guests(core, core->guests);
        free_guests(core, core->starting);
        gl_core_forget_jobs(core);
        gl_core_forget_looks(core);
        g_hash_table_unref(core->drivers);
        g_hash_table_unref(core->owners);
        g_hash_table_unref(core->pids);
        g_hash_table_unref(core->last_generations);
        gl_table_free(core->table);
        gl_table_free(core->ahead);
        g_ptr_array_unref(core->dirty);
        g_hash_table_unref(core->lanes);
        g_ptr_array_unref(core->audits);
        g_free(core->default_driver);
        g_free(core->host_id);
        g_free(core->host_name);
        g_free(core);
}

void gl_core_set_defaults(GlCore *core, const char *driver, GlLossAction on_lease_lost, GlScope require_scope) {
        g_free(core->default_driver);
        core->default_driver = g_strdup(driver);
        core->default_on_lease_lost = on_lease_lost;
        core->default_require_scope = require_scope;
}

/* --- finding guests --- */

static char *make_key(guint32 owner_uid, const char *uuid) {
        return g_strdup_printf("%" G_GUINT32_FORMAT "/%s", owner_uid, uuid);
}

static GlGuest *look_up(GHashTable *guests, guint32 owner_uid, const char *uuid) {
        g_autofree char *key = make_key(owner_uid, uuid);

        return g_hash_table_lookup(guests, key);
}

GlGuest *gl_core_find_guest(GlCore *core, guint32 owner_uid, const char *uuid) {
        char lower[37];

        return gl_uuid_parse(uuid, lower, NULL) ? look_up(core->guests, owner_uid, lower) : NULL;
}

GlGuest *gl_core_find_guest_by_pid(GlCore *core, guint32 pid, GError **error) {
        GPtrArray *guests = g_hash_table_lookup(core->pids, GUINT_TO_POINTER(pid));

        if (pid == 0 || !guests) {
                g_set_error(error, GL_ERROR, GL_ERROR_NO_SUCH_GUEST,
                            "Process %" G_GUINT32_FORMAT " is not the process of any guest.", pid);
                return NULL;
        }
        if (guests->len > 1) {
                g_set_error(error, GL_ERROR, GL_ERROR_INVALID_ARGS,
                            "Process %" G_GUINT32_FORMAT " belongs to %u guests; ask for one of them by its uuid.",
                            pid, guests->len);
                return NULL;
        }
        return g_ptr_array_index(guests, 0);
}

void gl_core_foreach_guest(GlCore *core, GlGuestFunc func, gpointer user_data) {
        GHashTableIter iter;
        gpointer guest;

        g_hash_table_iter_init(&iter, core->guests);
        while (g_hash_table_iter_next(&iter, NULL, &guest))
                func(guest, user_data);
}

guint gl_core_n_guests(GlCore *core) {
        return g_hash_table_size(core->guests);
}

guint gl_core_n_leases(GlCore *core) {
        return core->n_leases;
}

/* --- what is said of guests --- */

char *gl_guest_describe(const GlGuest *guest) {
        g_autofree char *name = gl_quote(guest->name);

        return g_strdup_printf("Guest %s (%s)", name, guest->uuid);
}

gboolean gl_guest_refuse(const GlGuest *guest, GError **error, const char *why) {
        g_autofree char *who = gl_guest_describe(guest);

        g_set_error(error, GL_ERROR, GL_ERROR_BAD_STATE, "%s is in state %s: %s.", who,
                    gl_guest_state_to_string(guest->state), why);
        return FALSE;
}

void gl_guest_set_state(GlCore *core, GlGuest *guest, GlGuestState state) {
        if (guest->state == state)
                return;
        guest->state = state;
        if (state == GL_GUEST_RELEASED)
                gl_guest_data(guest)->released_at = core->now;
        gl_core_touch(core, guest, GL_PROPERTY_STATE);
}

gboolean gl_guest_save(GlCore *core, GlGuest *guest, GError **error) {
        GlGuestData *data = gl_guest_data(guest);

        if (guest->hidden || !core->hooks.save)
                return TRUE;
        if (core->hooks.save(guest, core->user_data, error)) {
                data->unsaved = FALSE;
                return TRUE;
        }
        if (error)
                return FALSE;
        /* What is there says that it holds what others may have by now. Nothing is better, and needs no space. */
        if (core->hooks.forget && !gl_guest_has_leases(guest) && guest->ghosts->len == 0)
                core->hooks.forget(guest, core->user_data);
        data->unsaved = TRUE;
        if (core->save_at == 0)
                core->save_at = core->now + SAVE_INTERVAL;
        return FALSE;
}

static void save_again(GlGuest *guest, gpointer core) {
        if (gl_guest_data(guest)->unsaved)
                (void) gl_guest_save(core, guest, NULL);
}

void gl_core_save_again(GlCore *core) {
        core->save_at = 0;
        gl_core_foreach_guest(core, save_again, core);
}

/* --- processes --- */

static void pids_add(GlCore *core, guint32 pid, GlGuest *guest) {
        GPtrArray *guests = g_hash_table_lookup(core->pids, GUINT_TO_POINTER(pid));

        if (!guests) {
                guests = g_ptr_array_new();
                g_hash_table_insert(core->pids, GUINT_TO_POINTER(pid), guests);
        }
        if (!g_ptr_array_find(guests, guest, NULL))
                g_ptr_array_add(guests, guest);
}

static void pids_remove(GlCore *core, guint32 pid, GlGuest *guest) {
        GPtrArray *guests = g_hash_table_lookup(core->pids, GUINT_TO_POINTER(pid));

        if (guests && g_ptr_array_remove_fast(guests, guest) && guests->len == 0)
                g_hash_table_remove(core->pids, GUINT_TO_POINTER(pid));
}

static guint pid_property(GlProcessRole role) {
        return role == GL_PROCESS_GUEST ? GL_PROPERTY_PID : GL_PROPERTY_SUPERVISOR_PID;
}

void gl_guest_unbind(GlCore *core, GlGuest *guest, GlProcessRole role) {
        GlProcessRef *process = &guest->processes[role];
        guint32 pid = process->pid;

        if (pid == 0)
                return;
        gl_handle_unref(&process->handle);
        *process = (GlProcessRef){};
        for (guint i = 0; i < GL_N_PROCESSES; i++)
                if (guest->processes[i].pid == pid)
                        pid = 0;
        if (pid != 0)
                pids_remove(core, pid, guest);
        gl_core_touch(core, guest, pid_property(role));
}

void gl_guest_bind(GlCore *core, GlGuest *guest, GlProcessRole role, const GlProcessRef *process) {
        GlProcessRef *bound = &guest->processes[role];

        if (bound->pid == process->pid && bound->start_time == process->start_time)
                return;
        gl_guest_unbind(core, guest, role);
        *bound = (GlProcessRef){process->pid, process->start_time, gl_handle_ref(process->handle)};
        guest->supervised |= role == GL_PROCESS_SUPERVISOR;
        if (!guest->hidden)
                pids_add(core, process->pid, guest);
        gl_core_touch(core, guest, pid_property(role));
}

void gl_guest_signal(GlCore *core, GlGuest *guest, GlProcessRole role, int signal) {
        const GlProcessRef *process = &guest->processes[role];
        GlChange *change;

        if (process->pid == 0)
                return;
        change = gl_core_emit(core, GL_CHANGE_SIGNAL_PROCESS, guest);
        change->process = (GlProcessRef){process->pid, process->start_time, gl_handle_ref(process->handle)};
        change->signal = signal;
}

/* It is the guest's process already, or none is. */
static gboolean bind_child(GlCore *core, const GlRequest *request, GlGuest *guest, const GlProcessRef *child,
                           gboolean keep_orphan, GError **error) {
        gboolean is_new = guest->processes[GL_PROCESS_GUEST].pid == 0, before = guest->orphan_kept, saved;

        if (!is_new && before == keep_orphan)
                return TRUE;
        gl_core_enter(core, request->now, request->realtime);
        gl_guest_bind(core, guest, GL_PROCESS_GUEST, child);
        guest->orphan_kept = keep_orphan;
        saved = gl_guest_save(core, guest, error);
        if (!saved)
                guest->orphan_kept = before;
        if (saved && is_new) {
                GlChange *change = gl_core_emit(core, GL_CHANGE_WATCH_PROCESS, guest);

                change->process = (GlProcessRef){child->pid, child->start_time, gl_handle_ref(child->handle)};
                core->again = TRUE;
        } else if (is_new) {
                gl_guest_unbind(core, guest, GL_PROCESS_GUEST);
        }
        gl_core_leave(core);

        return saved;
}

gboolean gl_core_set_child(GlCore *core, const GlRequest *request, GlGuest *guest, const GlProcessRef *child,
                           gboolean keep_orphan, GError **error) {
        const GlProcessRef *bound = &guest->processes[GL_PROCESS_GUEST];

        if (guest->state == GL_GUEST_LOST)
                return gl_guest_refuse(guest, error, "no process can be named; Release it or shut it down first");
        if (bound->pid == child->pid && bound->start_time == child->start_time)
                return bind_child(core, request, guest, child, keep_orphan, error);
        if (bound->pid != 0) {
                g_autofree char *who = gl_guest_describe(guest);

                g_set_error(error, GL_ERROR, GL_ERROR_ALREADY_EXISTS,
                            "%s has a process already, %" G_GUINT32_FORMAT ", which still runs.", who, bound->pid);
                return FALSE;
        }
        if (gl_guest_data(guest)->exiting)
                return gl_guest_refuse(guest, error, "its process has just ended; wait until its leases are released");
        return bind_child(core, request, guest, child, keep_orphan, error);
}

/* --- the registry --- */

GPtrArray *gl_core_guests_of(GlCore *core, guint32 uid) {
        return g_hash_table_lookup(core->owners, GUINT_TO_POINTER(uid));
}

static void owners_add(GlCore *core, GlGuest *guest) {
        GPtrArray *guests = gl_core_guests_of(core, guest->owner_uid);

        if (!guests) {
                guests = g_ptr_array_new();
                g_hash_table_insert(core->owners, GUINT_TO_POINTER(guest->owner_uid), guests);
        }
        g_ptr_array_add(guests, guest);
}

static void owners_remove(GlCore *core, GlGuest *guest) {
        GPtrArray *guests = gl_core_guests_of(core, guest->owner_uid);

        if (g_ptr_array_remove(guests, guest) && guests->len == 0)
                g_hash_table_remove(core->owners, GUINT_TO_POINTER(guest->owner_uid));
}

void gl_guest_insert(GlCore *core, GlGuest *guest) {
        char *key = make_key(guest->owner_uid, guest->uuid);

        if (guest->hidden)
                g_hash_table_remove(core->starting, key);
        else
                owners_add(core, guest);
        guest->hidden = FALSE;
        for (guint role = 0; role < GL_N_PROCESSES; role++)
                if (guest->processes[role].pid > 0)
                        pids_add(core, guest->processes[role].pid, guest);
        g_hash_table_insert(core->guests, key, guest);
}

static void forget(GlCore *core, GlGuest *guest) {
        for (guint role = 0; role < GL_N_PROCESSES; role++)
                gl_guest_unbind(core, guest, role);
        owners_remove(core, guest);
        g_ptr_array_remove_fast(core->dirty, guest);
        guest_free(core, guest);
}

void gl_guest_replace(GlCore *core, GlGuest *guest) {
        g_autofree char *key = make_key(guest->owner_uid, guest->uuid);

        g_assert(gl_guest_data(guest)->n_ops == 0 && gl_guest_data(guest)->n_jobs == 0);
        g_hash_table_remove(core->guests, key);
        forget(core, guest);
        gl_core_emit(core, GL_CHANGE_GUEST_REMOVED, guest);
}

void gl_guest_remove(GlCore *core, GlGuest *guest) {
        if (core->hooks.forget)
                core->hooks.forget(guest, core->user_data);
        gl_guest_replace(core, guest);
}

void gl_guest_discard(GlCore *core, GlGuest *guest) {
        g_autofree char *key = make_key(guest->owner_uid, guest->uuid);

        g_assert(guest->hidden && gl_guest_data(guest)->n_jobs == 0);
        g_hash_table_remove(core->starting, key);
        forget(core, guest);
        gl_guest_record_free(guest);
}

/* --- making guests --- */

static gboolean check_spec(GlCore *core, const GlRequest *request, const GlGuestSpec *spec, char uuid[37],
                           GError **error) {
        const char *driver = spec->driver ?: core->default_driver;

        if (!gl_uuid_parse(spec->uuid, uuid, error) ||
            (request && !gl_check_guest_name(&core->limits, spec->name, error)))
                return FALSE;
        if (request && (!driver || !gl_core_has_driver(core, driver))) {
                g_autofree char *quoted = gl_quote(driver ?: "");

                g_set_error(error, GL_ERROR, GL_ERROR_NO_SUCH_DRIVER,
                            "The lease driver %.300s is not loaded; see ListDrivers and LoadDriver.", quoted);
                return FALSE;
        }
        if (request && spec->owner_uid != request->uid && !request->may_manage) {
                g_set_error(error, GL_ERROR, GL_ERROR_ACCESS_DENIED,
                            "User %" G_GUINT32_FORMAT " may not make a guest of user %" G_GUINT32_FORMAT ".",
                            request->uid, spec->owner_uid);
                return FALSE;
        }
        if (look_up(core->starting, spec->owner_uid, uuid)) {
                g_set_error(error, GL_ERROR, GL_ERROR_ALREADY_EXISTS, "Guest %s is being started already.", uuid);
                return FALSE;
        }
        return TRUE;
}

GlGuest *gl_guest_new_from_spec(GlCore *core, const GlRequest *request, const GlGuestSpec *spec, GError **error) {
        GlGuest *guest;
        GlGuestData *data;
        char uuid[37];

        if (!check_spec(core, request, spec, uuid, error) ||
            (request && !gl_core_check_guest_quota(core, spec->owner_uid, error)))
                return NULL;

        guest = gl_guest_record_new();
        data = g_new0(GlGuestData, 1);
        guest->core_data = data;
        memcpy(guest->uuid, uuid, sizeof uuid);
        guest->owner_uid = spec->owner_uid;
        guest->name = g_strdup(spec->name);
        guest->id = spec->id;
        guest->driver = g_strdup(spec->driver ?: core->default_driver);
        guest->on_lease_lost = spec->has_on_lease_lost ? spec->on_lease_lost : core->default_on_lease_lost;
        guest->require_scope = spec->has_require_scope ? spec->require_scope : core->default_require_scope;
        guest->transient = spec->transient;
        guest->hidden = TRUE;
        g_hash_table_insert(core->starting, make_key(guest->owner_uid, guest->uuid), guest);
        owners_add(core, guest);

        return guest;
}

static gboolean check_not_there(GlCore *core, const GlGuestSpec *spec, GError **error) {
        GlGuest *guest = gl_core_find_guest(core, spec->owner_uid, spec->uuid);
        g_autofree char *who = NULL;

        if (!guest)
                return TRUE;
        who = gl_guest_describe(guest);
        g_set_error(error, GL_ERROR, GL_ERROR_ALREADY_EXISTS, "%s exists already, in state %s.", who,
                    gl_guest_state_to_string(guest->state));
        return FALSE;
}

GlGuest *gl_core_create_guest(GlCore *core, const GlRequest *request, const GlGuestSpec *spec, GError **error) {
        GlGuest *guest = NULL;

        gl_core_enter(core, request->now, request->realtime);
        if (check_not_there(core, spec, error))
                guest = gl_guest_new_from_spec(core, request, spec, error);
        if (guest && !gl_guest_check_byte_quota(core, guest, 0, error)) {
                gl_guest_discard(core, guest);
                guest = NULL;
        }
        if (guest) {
                gl_guest_insert(core, guest);
                if (gl_guest_save(core, guest, error)) {
                        gl_core_emit(core, GL_CHANGE_GUEST_ADDED, guest);
                } else {
                        g_autofree char *key = make_key(guest->owner_uid, guest->uuid);

                        g_hash_table_remove(core->guests, key);
                        forget(core, guest);
                        gl_guest_record_free(guest);
                        guest = NULL;
                }
        }
        gl_core_leave(core);

        return guest;
}

/* --- parameters --- */

/* Saves; when that fails everything is as it was. */
#define SET_PARAMETER(core, request, guest, field, value, property)                  \
        ({                                                                           \
                typeof((guest)->field) before_ = (guest)->field;                     \
                gboolean saved_;                                                     \
                gl_core_enter(core, (request)->now, (request)->realtime);            \
                (guest)->field = (value);                                            \
                saved_ = gl_guest_save(core, guest, error);                          \
                if (!saved_)                                                         \
                        (guest)->field = before_;                                    \
                else if (before_ != (guest)->field)                                  \
                        gl_core_touch(core, guest, property);                        \
                gl_core_leave(core);                                                 \
                saved_;                                                              \
        })

gboolean gl_core_set_name(GlCore *core, const GlRequest *request, GlGuest *guest, const char *name, GError **error) {
        char *before = guest->name, *after;

        if (!gl_check_guest_name(&core->limits, name, error) ||
            (strlen(name) > strlen(before) &&
             !gl_guest_check_byte_quota(core, guest, strlen(name) - strlen(before), error)))
                return FALSE;
        if (g_str_equal(before, name))
                return TRUE;

        after = g_strdup(name);
        if (!SET_PARAMETER(core, request, guest, name, after, GL_PROPERTY_NAME)) {
                g_free(after);
                return FALSE;
        }
        g_free(before);
        return TRUE;
}

gboolean gl_core_set_id(GlCore *core, const GlRequest *request, GlGuest *guest, guint32 id, GError **error) {
        return SET_PARAMETER(core, request, guest, id, id, GL_PROPERTY_ID);
}

gboolean gl_core_set_on_lease_lost(GlCore *core, const GlRequest *request, GlGuest *guest, GlLossAction action,
                                   GError **error) {
        if (guest->state == GL_GUEST_LOST)
                return gl_guest_refuse(guest, error, "what happens on a loss cannot be changed after it; "
                                                     "Release, Shutdown and Acquire are possible");
        return SET_PARAMETER(core, request, guest, on_lease_lost, action, GL_PROPERTY_ON_LEASE_LOST);
}
