/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/acquire-private.h"

/*
 * StartGuest: a guest that nobody sees before it has what it was started with, and that is gone without a trace if it
 * does not get it. It takes the place of a guest of the same name that has been released.
 */

static void attempt_start(GlCore *core, GlOp *op);
static void start_failed(GlCore *core, GlOp *op);

const GlOpKind gl_start_kind = {"StartGuest", attempt_start, gl_op_taken, start_failed};

/* The guest of that name that StartGuest would replace. */
static gboolean may_start_over(const GlGuest *guest, GError **error) {
        g_autofree char *who = NULL;

        if (!guest || (guest->state == GL_GUEST_RELEASED && !gl_guest_has_process(guest) &&
                       gl_guest_data(guest)->n_ops == 0 && !gl_guest_has_leases(guest)))
                return TRUE;
        who = gl_guest_describe(guest);
        g_set_error(error, GL_ERROR, GL_ERROR_ALREADY_EXISTS, "%s exists already, in state %s.", who,
                    gl_guest_state_to_string(guest->state));
        return FALSE;
}

gboolean gl_op_may_still_start(GlCore *core, const GlOp *op, GError **error) {
        return op->kind != &gl_start_kind ||
               may_start_over(gl_core_find_guest(core, op->guest->owner_uid, op->guest->uuid), error);
}

static void attempt_start(GlCore *core, GlOp *op) {
        GError *error = NULL;

        if (gl_op_ends_with_guest(core, op))
                return;
        if (gl_op_may_still_start(core, op, &error))
                gl_op_attempt_to_take(core, op);
        else
                gl_op_fail(core, op, error);
}

static void start_failed(GlCore *core, GlOp *op) {
        if (op->guest->hidden)
                gl_guest_data(op->guest)->removing = TRUE;
}

void gl_guest_show_started(GlCore *core, GlGuest *guest) {
        GlGuest *before = gl_core_find_guest(core, guest->owner_uid, guest->uuid);

        if (before)
                gl_guest_replace(core, before);
        gl_guest_insert(core, guest);
        gl_core_emit(core, GL_CHANGE_GUEST_ADDED, guest);
}

/* The same holder and the same list: the call has been made before, and its answer was lost. */
static gboolean started_the_same(const GlGuest *guest, const GlResourceSpec *resources, guint n_resources,
                                 const GlAcquireSpec *spec) {
        const GlProcessRef *bound = &guest->processes[spec->supervisor ? GL_PROCESS_SUPERVISOR : GL_PROCESS_GUEST];

        if (guest->state != GL_GUEST_HELD || gl_guest_data(guest)->exiting || guest->resources->len != n_resources ||
            bound->pid != spec->process.pid || bound->start_time != spec->process.start_time)
                return FALSE;
        for (guint i = 0; i < n_resources; i++) {
                const GlResource *resource = gl_guest_find_resource(guest, resources[i].type, resources[i].name);

                if (!resource || resource->mode != resources[i].mode ||
                    !gl_place_equal(resource->place, resources[i].place))
                        return FALSE;
        }
        return TRUE;
}

static GlGuest *make_started(GlCore *core, const GlRequest *request, const GlGuestSpec *spec,
                             const GlResourceSpec *resources, guint n_resources, GError **error) {
        GlGuest *guest = gl_guest_new_from_spec(core, request, spec, error);

        if (!guest)
                return NULL;
        if (!gl_core_driver_can_lease(core, guest, error)) {
                gl_guest_discard(core, guest);
                return NULL;
        }
        for (guint i = 0; i < n_resources; i++) {
                if (!gl_core_add_resource(core, guest, request->uid, &resources[i], error)) {
                        gl_guest_discard(core, guest);
                        return NULL;
                }
        }
        return guest;
}

void gl_core_start_guest(GlCore *core, const GlRequest *request, const GlGuestSpec *spec,
                         const GlResourceSpec *resources, guint n_resources, const GlAcquireSpec *acquire) {
        GlGuest *before = gl_core_find_guest(core, spec->owner_uid, spec->uuid), *guest = NULL;
        g_autoptr(GlStateString) state = NULL;
        GError *error = NULL;

        gl_core_enter(core, request->now, request->realtime);
        if (before && started_the_same(before, resources, n_resources, acquire)) {
                GlOp *op = gl_op_new(core, &gl_start_kind, request, before);

                gl_op_succeed(core, op, before->generation, NULL, 0);
        } else if (acquire->register_only) {
                g_set_error(&error, GL_ERROR, GL_ERROR_INVALID_ARGS,
                            "StartGuest takes leases; \"register-only\" is an option of Acquire alone.");
        } else if ((!acquire->state || !acquire->state[0] || (state = gl_state_string_parse(acquire->state, &error))) &&
                   may_start_over(before, &error)) {
                guest = make_started(core, request, spec, resources, n_resources, &error);
        }

        if (guest) {
                GlOp *op = gl_op_new(core, &gl_start_kind, request, guest);

                for (guint i = 0; !gl_guest_is_leased_alone(core, guest) && i < guest->resources->len; i++)
                        g_ptr_array_add(op->resources, g_ptr_array_index(guest->resources, i));
                op->state = g_steal_pointer(&state);
                gl_op_set_acquire_spec(core, op, acquire);
                gl_op_submit(core, op);
        } else if (error) {
                gl_core_reply_error(core, request, error);
        }
        gl_core_leave(core);
}
