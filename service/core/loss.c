/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/core-private.h"

#include <signal.h>

/*
 * What happens when leases are lost, whoever found out: adoption, the periodic check, or an administrator who revokes.
 * It is saved, announced, and then acted on. Nothing is given back by that: what is lost stays blocked for others until
 * the guest's processes are gone, as a process that was stopped can go on, and writes.
 *
 * A process that is to be ended is asked first only while all that it lost is still locked for it (it was revoked):
 * one that ends of its own accord writes what it has in memory to a disk that somebody else may have by now. It does
 * not get longer for that than TERM_TIME, and none any more when the service was killed meanwhile.
 */

/* µs between SIGTERM and SIGKILL. */
#define TERM_TIME (5 * (gint64) G_USEC_PER_SEC)

static void attempt_kill(GlCore *core, GlOp *op);

/* Parked until the processes are gone or have had their time. */
static const GlOpKind kill_kind = {"end", attempt_kill, .without_driver = TRUE};

static void signal_all(GlCore *core, GlGuest *guest, int signal) {
        for (guint role = 0; role < GL_N_PROCESSES; role++)
                gl_guest_signal(core, guest, role, signal);
}

static void attempt_kill(GlCore *core, GlOp *op) {
        GlGuest *guest = op->guest;

        if (gl_guest_has_process(guest) && op->not_before > core->now) {
                gl_op_park(op, op->not_before);
                return;
        }
        signal_all(core, guest, SIGKILL);
        guest->killing = FALSE;
        gl_op_free(core, op);
}

static void kill_at(GlCore *core, GlGuest *guest, gint64 at) {
        GlOp *op = gl_op_new(core, &kill_kind, NULL, guest);

        op->not_before = at;
        gl_op_submit(core, op);
}

/* ALREADY: it has been asked before. */
static void ask_to_end(GlCore *core, GlGuest *guest, gboolean already) {
        signal_all(core, guest, SIGTERM);
        if (!already)
                kill_at(core, guest, core->now + TERM_TIME);
}

void gl_core_ask_to_end(GlCore *core, GlGuest *guest) {
        gboolean already = guest->killing;

        guest->killing = TRUE;
        ask_to_end(core, guest, already);
}

/* What it lost is not locked for it any more, so that it gets no time. */
void gl_core_resume_kill(GlCore *core, GlGuest *guest) {
        if (guest->killing)
                kill_at(core, guest, core->now);
}

static gboolean are_still_ours(GPtrArray *resources) {
        for (guint i = 0; i < resources->len; i++) {
                const GlResource *resource = g_ptr_array_index(resources, i);

                if (!resource->lease || resource->broken)
                        return FALSE;
        }
        return TRUE;
}

/* One that is stopped hears nothing but SIGKILL. */
static gboolean may_end_by_itself(const GlGuest *guest, GPtrArray *resources, GlLossReason reason) {
        return reason == GL_LOST_REVOKED && !guest->stopped_by_us && gl_guest_has_process(guest) &&
               are_still_ours(resources);
}

static void act(GlCore *core, GlGuest *guest, GlLossAction action, gboolean ask, gboolean already) {
        switch (action) {
        case GL_LOSS_PAUSE:
                gl_guest_signal(core, guest, GL_PROCESS_GUEST, SIGSTOP);
                break;
        case GL_LOSS_KILL:
                if (ask)
                        ask_to_end(core, guest, already);
                else
                        signal_all(core, guest, SIGKILL);
                break;
        case GL_LOSS_NOTIFY:
                break;
        }
}

static void announce(GlCore *core, GlGuest *guest, GArray *items, GlLossReason reason, const char *message,
                     GlLossAction action, gboolean ask) {
        GlChange *change = gl_core_emit(core, GL_CHANGE_LEASE_LOST, guest);

        change->items = items;
        change->text = g_strdup(gl_loss_reason_to_string(reason));
        change->message = g_strdup(message);
        change->action = action;
        change->remaining = action == GL_LOSS_KILL && ask ? TERM_TIME : 0;
}

static void announce_all(GlCore *core, GlGuest *guest, GPtrArray *resources, GlLossReason reason, const char *message,
                         GlLossAction action, gboolean ask) {
        if (resources->len == 0)
                announce(core, guest, gl_items_of(resources), reason, message, action, ask);
        for (guint i = 0; i < resources->len; i++) {
                g_autoptr(GPtrArray) one = g_ptr_array_new();

                g_ptr_array_add(one, g_ptr_array_index(resources, i));
                announce(core, guest, gl_items_of(one), reason, message, action, ask);
        }
}

void gl_core_lose(GlCore *core, GlGuest *guest, GPtrArray *resources, GlLossReason reason, const char *message,
                  gboolean kill) {
        GlLossAction action = kill ? GL_LOSS_KILL : guest->on_lease_lost;
        gboolean ask = may_end_by_itself(guest, resources, reason), already = guest->killing;

        for (guint i = 0; i < resources->len; i++)
                gl_resource_set_state(core, g_ptr_array_index(resources, i), GL_RESOURCE_LOST);
        gl_guest_set_state(core, guest, GL_GUEST_LOST);
        if (action == GL_LOSS_PAUSE && guest->processes[GL_PROCESS_GUEST].pid != 0)
                guest->stopped_by_us = TRUE;
        guest->killing |= action == GL_LOSS_KILL && ask;
        gl_guest_save(core, guest, NULL); /* if that fails it is lost all the same */
        announce_all(core, guest, resources, reason, message, action, ask);
        act(core, guest, action, ask, already);
}

void gl_core_kill_for_loss(GlCore *core, GlGuest *guest) {
        g_autoptr(GPtrArray) lost = gl_guest_resources_in(guest, GL_RESOURCE_LOST);
        gboolean ask = may_end_by_itself(guest, lost, GL_LOST_REVOKED), already = guest->killing;

        guest->killing |= ask;
        gl_guest_save(core, guest, NULL);
        act(core, guest, GL_LOSS_KILL, ask, already);
}

void gl_core_act_on_loss(GlCore *core, GlGuest *guest) {
        act(core, guest, guest->on_lease_lost, FALSE, FALSE);
}
