/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/release-private.h"

/*
 * What others do to a guest's leases: Revoke takes them away, at once and whatever the guest has under way; Restrict
 * leaves them to those who may manage.
 *
 * Where the guest has no process there is nobody whose end could be waited for: an unbound lease ends when it is
 * revoked, and others can have the resource as soon as it is given back.
 *
 * A guest that has ended, and whose leases drain, gives them back by itself. Only when an administrator says expressly
 * that nothing writes any more, is what cannot be seen not waited for; what can be seen has to be ended instead.
 */

static void attempt_unblock(GlCore *core, GlOp *op);
static void unblock_job_done(GlCore *core, GlOp *op, GlJob *job, GPtrArray *resources);

/* Gives back what is lost and unblocked. */
static const GlOpKind unblock_kind = {"Revoke", attempt_unblock, unblock_job_done};

/* --- of a guest without a process --- */

static void attempt_unblock(GlCore *core, GlOp *op) {
        const GPtrArray *resources = op->guest->resources;
        gboolean busy = FALSE;

        g_ptr_array_set_size(op->resources, 0);
        for (guint i = 0; i < resources->len; i++) {
                GlResource *resource = g_ptr_array_index(resources, i);

                if (!resource->unblocked)
                        continue;
                if (gl_resource_is_busy(resource))
                        busy = TRUE;
                else if (resource->lease)
                        g_ptr_array_add(op->resources, resource);
                else
                        gl_resource_drop_claim(core, resource);
        }
        if (op->resources->len > 0)
                gl_op_start_job(core, op, gl_op_new_job(core, op, GL_JOB_GIVE_BACK, op->resources));
        else if (busy)
                gl_op_park(op, 0);
        else
                gl_op_free(core, op);
}

static void unblock_job_done(GlCore *core, GlOp *op, GlJob *job, GPtrArray *resources) {
        gl_job_take_looks(job, resources);
        gl_op_submit(core, op);
}

/* --- Revoke --- */

static gboolean find_revoked(GlCore *core, GlGuest *guest, const GlRevocation *revocation, GPtrArray *held,
                             gboolean *any) {
        *any = FALSE;
        for (guint i = 0; i < guest->resources->len; i++) {
                GlResource *resource = g_ptr_array_index(guest->resources, i);

                if (!revocation->all &&
                    (resource->type != revocation->type || !g_str_equal(resource->name, revocation->name)))
                        continue;
                if (resource->state == GL_RESOURCE_HELD)
                        g_ptr_array_add(held, resource);
                if (resource->state != GL_RESOURCE_REGISTERED)
                        *any = TRUE;
        }
        if (revocation->all && gl_guest_is_leased_alone(core, guest))
                *any = guest->state == GL_GUEST_HELD || guest->state == GL_GUEST_LOST;
        return *any;
}

static gboolean fail_not_held(const GlGuest *guest, const GlRevocation *revocation, GError **error) {
        g_autofree char *who = gl_guest_describe(guest);
        g_autofree char *quoted = revocation->all ? NULL : gl_quote(revocation->name);

        if (revocation->all)
                g_set_error(error, GL_ERROR, GL_ERROR_NO_SUCH_RESOURCE, "%s has no leases.", who);
        else
                g_set_error(error, GL_ERROR, GL_ERROR_NO_SUCH_RESOURCE, "%s has no lease of %s %s.", who,
                            gl_resource_type_to_string(revocation->type), quoted);
        return FALSE;
}

/* --- of a guest that has ended --- */

static gboolean fail_written(const GlGuest *guest, const GlResource *resource, GError **error) {
        g_autofree char *who = gl_guest_describe(guest), *quoted = gl_quote(resource->name);

        g_set_error(error, GL_ERROR, GL_ERROR_GUEST_RUNNING,
                    "%s has ended, but its lease on %s cannot end: %s. End that first.", who, quoted,
                    resource->drain_reason ?: "it is still written to");
        return FALSE;
}

static void tell_insisted(GlCore *core, GlGuest *guest, const GlResource *resource, const char *reason) {
        g_autofree char *quoted = gl_quote(resource->name);
        GlChange *change;

        if (!resource->drain_reason)
                return;
        change = gl_core_emit(core, GL_CHANGE_HELD_OPEN, guest);
        change->text = g_strdup(resource->name);
        change->message = g_strdup_printf("Its lease on %s was revoked (%s) although it could not be seen that nothing "
                                          "writes any more: %s.",
                                          quoted, reason, resource->drain_reason);
}

static gboolean insist(GlCore *core, GlGuest *guest, const GlRevocation *revocation, GError **error) {
        g_autoptr(GPtrArray) draining = gl_guest_resources_in(guest, GL_RESOURCE_DRAINING);

        for (guint i = draining->len; i > 0; i--) {
                const GlResource *resource = g_ptr_array_index(draining, i - 1);

                if (!revocation->all &&
                    (resource->type != revocation->type || !g_str_equal(resource->name, revocation->name)))
                        g_ptr_array_remove_index(draining, i - 1);
                else if (resource->writer_seen)
                        return fail_written(guest, resource, error);
        }
        for (guint i = 0; i < draining->len; i++) {
                GlResource *resource = g_ptr_array_index(draining, i);

                tell_insisted(core, guest, resource, revocation->reason);
                resource->insisted = TRUE;
        }
        return TRUE;
}

/* --- of one that runs --- */

static gboolean acquires_of(const GlOp *op, gconstpointer guest) {
        return op->guest == guest && gl_op_is_acquire(op);
}

static void take_away(GlCore *core, GlGuest *guest, GPtrArray *held, const GlRevocation *revocation) {
        gboolean unbound = !gl_guest_has_process(guest);

        gl_ops_cancel(core, acquires_of, guest, "The guest's leases have been revoked.");
        for (guint i = 0; i < held->len; i++)
                ((GlResource *) g_ptr_array_index(held, i))->unblocked = unbound;
        if (held->len > 0 || guest->state == GL_GUEST_HELD)
                gl_core_lose(core, guest, held, GL_LOST_REVOKED, revocation->reason, revocation->kill);
        else if (revocation->kill && guest->state == GL_GUEST_LOST)
                gl_core_kill_for_loss(core, guest);
        if (unbound && held->len > 0)
                gl_op_submit(core, gl_op_new(core, &unblock_kind, NULL, guest));
}

gboolean gl_core_revoke(GlCore *core, const GlRequest *request, GlGuest *guest, const GlRevocation *revocation,
                        GError **error) {
        g_autoptr(GPtrArray) held = g_ptr_array_new();
        gboolean any, done = TRUE;

        if (!gl_check_reason(&core->limits, revocation->reason, error))
                return FALSE;
        if (!find_revoked(core, guest, revocation, held, &any))
                return fail_not_held(guest, revocation, error);
        gl_core_enter(core, request->now, request->realtime);
        if (gl_guest_data(guest)->exiting)
                done = !revocation->drained || insist(core, guest, revocation, error);
        else
                take_away(core, guest, held, revocation);
        gl_core_leave(core);
        return done;
}

/* --- Restrict, AttachGuest --- */

gboolean gl_core_restrict(GlCore *core, const GlRequest *request, GlGuest *guest, GError **error) {
        gboolean before = guest->restricted, saved;

        gl_core_enter(core, request->now, request->realtime);
        guest->restricted = TRUE;
        saved = gl_guest_save(core, guest, error);
        if (!saved)
                guest->restricted = before;
        gl_core_leave(core);
        return saved;
}

gboolean gl_core_may_attach(const GlGuest *guest, gboolean has_pid, guint32 pid, GError **error) {
        const GlProcessRef *child = &guest->processes[GL_PROCESS_GUEST];
        const GlProcessRef *supervisor = &guest->processes[GL_PROCESS_SUPERVISOR];
        g_autofree char *who = NULL;

        if (has_pid && (pid == 0 || (pid != child->pid && pid != supervisor->pid))) {
                who = gl_guest_describe(guest);
                g_set_error(error, GL_ERROR, GL_ERROR_STALE,
                            "%s does not run as process %" G_GUINT32_FORMAT " (any more).", who, pid);
                return FALSE;
        }
        if ((guest->state == GL_GUEST_NEW || guest->state == GL_GUEST_RELEASED) && !gl_guest_has_process(guest))
                return gl_guest_refuse(guest, error, "it does not run; GetGuest finds its lock manager");
        return TRUE;
}
