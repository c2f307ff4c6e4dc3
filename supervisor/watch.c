/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One loop, and nothing in it waits for anybody: calls to the service are asynchronous. Here is what it has to do with
 * the service; the guest's processes are in watch-guest.c.
 *
 * While the service lives, losses are its business alone. What it says is reported on stderr, and what it gives back or
 * locks otherwise is not looked after any more. While it is not there we look at the locks ourselves, every
 * CHECK_INTERVAL, and carry out what the guest has asked for in case of a loss. We do not start the service: who
 * stopped it may have reasons, and whoever calls it starts it.
 */

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#include "core/error.h"
#include "supervisor/acquire.h"
#include "supervisor/locks.h"
#include "supervisor/watch-private.h"

/* A lock that nobody has may have been given back by a service that was killed before it could say so; the one that is
 * started next takes it again. */
#define MAX_GONE   3
#define LAST_WORDS (5 * G_USEC_PER_SEC)

static void connect_again(GlWatch *watch);

/* --- losses --- */

/* While the service lives: what it does not keep on our description any more is not ours to look after. */
static void forget_what_is_gone(GlWatch *watch) {
        GPtrArray *locks = watch->options->locks;

        for (guint i = locks->len; i > 0; i--) {
                GlLockFinding found = gl_held_lock_check(g_ptr_array_index(locks, i - 1));

                if (found == GL_LOCK_GONE || found == GL_LOCK_TAKEN)
                        g_ptr_array_remove_index(locks, i - 1);
        }
}

static void act(GlWatch *watch, const GlHeldLock *lock, GlLockFinding found) {
        static const char *const words[] = {[GL_LOSS_PAUSE] = "the guest is stopped",
                                            [GL_LOSS_KILL] = "the guest is killed",
                                            [GL_LOSS_NOTIFY] = "nothing is done to the guest"};

        fprintf(stderr, "guestlock-supervisor: The lease on disk \"%s\" is lost: %s. The lease service is not there; "
                        "%s.\n",
                lock->name, found == GL_LOCK_TAKEN ? "somebody else has it" : "its lock is gone",
                words[watch->action]);
        if (watch->action == GL_LOSS_KILL) {
                gl_watch_kill_all(watch);
        } else if (watch->action == GL_LOSS_PAUSE) {
                watch->paused = TRUE;
                gl_watch_signal_guest(watch, SIGSTOP);
        }
}

/* Each loss is acted on once. */
static void check_locks(GlWatch *watch) {
        GPtrArray *locks = watch->options->locks;

        for (guint i = locks->len; i > 0; i--) {
                GlHeldLock *lock = g_ptr_array_index(locks, i - 1);
                GlLockFinding found = gl_held_lock_check(lock);

                lock->n_gone = found == GL_LOCK_GONE ? lock->n_gone + 1 : 0;
                if (found != GL_LOCK_TAKEN && lock->n_gone < MAX_GONE)
                        continue;
                act(watch, lock, found);
                g_ptr_array_remove_index(locks, i - 1);
        }
}

static void set_timer(sd_event_source *timer, gboolean on) {
        if (on)
                sd_event_source_set_time_relative(timer, CHECK_INTERVAL);
        sd_event_source_set_enabled(timer, on ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
}

static int check_due(sd_event_source *source, uint64_t usec, void *data) {
        GlWatch *watch = data;

        set_timer(source, TRUE);
        check_locks(watch);
        connect_again(watch);
        return 0;
}

/* --- the service --- */

/* The guest that we have stopped has its lease after all: nobody had it, and the service has taken it again. */
static int state_read(sd_bus_message *reply, void *data, sd_bus_error *unused) {
        GlWatch *watch = data;
        const char *state;

        watch->get_state = sd_bus_slot_unref(watch->get_state);
        if (sd_bus_message_get_error(reply) || sd_bus_message_read(reply, "v", "s", &state) < 0)
                return 0;
        if (watch->paused && g_str_equal(state, "held"))
                gl_watch_signal_guest(watch, SIGCONT);
        watch->paused = FALSE;
        return 0;
}

/* By its unique name, which starts nobody. SLOT is (nullable). */
static void ask_for(GlWatch *watch, const char *property, sd_bus_message_handler_t handler, sd_bus_slot **slot) {
        const GlCalls *calls = watch->options->calls;

        (void) sd_bus_call_method_async(calls->bus, slot, watch->owner, calls->guest, "org.freedesktop.DBus.Properties",
                                        "Get", handler, watch, "ss", GL_GUEST_INTERFACE, property);
}

static void ask_for_state(GlWatch *watch) {
        watch->get_state = sd_bus_slot_unref(watch->get_state);
        ask_for(watch, "State", state_read, &watch->get_state);
}

static void set_owner(GlWatch *watch, const char *owner) {
        gboolean lives = owner && owner[0];

        g_free(watch->owner);
        watch->owner = lives ? g_strdup(owner) : NULL;
        set_timer(watch->check_timer, !lives);
        for (guint i = 0; i < watch->options->locks->len; i++)
                ((GlHeldLock *) g_ptr_array_index(watch->options->locks, i))->n_gone = 0;
        if (lives && watch->paused)
                ask_for_state(watch);
        if (lives && watch->named == 0)
                gl_watch_name_next(watch);
}

static int owner_changed(sd_bus_message *message, void *data, sd_bus_error *unused) {
        const char *name, *before, *now;

        if (sd_bus_message_read(message, "sss", &name, &before, &now) > 0 && g_str_equal(name, GL_SERVICE))
                set_owner(data, now);
        return 0;
}

static int action_read(sd_bus_message *reply, void *data, sd_bus_error *unused) {
        const char *action;

        if (!sd_bus_message_get_error(reply) && sd_bus_message_read(reply, "v", "s", &action) > 0)
                (void) gl_loss_action_from_string(action, &((GlWatch *) data)->action);
        return 0;
}

static int owner_found(sd_bus_message *reply, void *data, sd_bus_error *unused) {
        const char *owner = NULL;

        if (!sd_bus_message_get_error(reply) && sd_bus_message_read(reply, "s", &owner) > 0) {
                set_owner(data, owner);
                forget_what_is_gone(data);
                /* What was changed while nobody listened. */
                ask_for(data, "OnLeaseLost", action_read, NULL);
        } else {
                set_owner(data, NULL);
        }
        return 0;
}

/* Anybody can send us a signal. */
static gboolean is_from_service(const GlWatch *watch, sd_bus_message *message) {
        return g_strcmp0(sd_bus_message_get_sender(message), watch->owner) == 0;
}

static int lease_lost(sd_bus_message *message, void *data, sd_bus_error *unused) {
        const char *type, *name, *reason;

        if (is_from_service(data, message) && sd_bus_message_read(message, "sss", &type, &name, &reason) > 0)
                fprintf(stderr, "guestlock-supervisor: The lease on %s \"%s\" is lost: %s.\n", type, name, reason);
        return 0;
}

static int leases_acquired(sd_bus_message *message, void *data, sd_bus_error *unused) {
        const char *type, *name, *mode;
        GlWatch *watch = data;
        int r;

        if (!is_from_service(watch, message))
                return 0;
        r = sd_bus_message_skip(message, "t");
        if (r >= 0)
                r = sd_bus_message_enter_container(message, 'a', "(sss)");
        while (r >= 0 && (r = sd_bus_message_read(message, "(sss)", &type, &name, &mode)) > 0) {
                GlHeldLock *lock = gl_held_locks_find(watch->options->locks, type, name);

                if (lock)
                        (void) gl_mode_from_string(mode, &lock->mode);
        }
        forget_what_is_gone(watch);
        return 0;
}

static int leases_released(sd_bus_message *message, void *data, sd_bus_error *unused) {
        if (is_from_service(data, message))
                forget_what_is_gone(data);
        return 0;
}

static int read_changed(GlWatch *watch, sd_bus_message *message) {
        const char *name, *action;
        int r = sd_bus_message_read(message, "s", &name);

        if (r < 0)
                return r;
        if (!g_str_equal(name, "OnLeaseLost"))
                return sd_bus_message_skip(message, "v");
        r = sd_bus_message_read(message, "v", "s", &action);
        if (r > 0)
                (void) gl_loss_action_from_string(action, &watch->action);
        return r;
}

/* The new value is in it: to be asked for it the service might not live long enough. */
static int properties_changed(sd_bus_message *message, void *data, sd_bus_error *unused) {
        int r;

        if (!is_from_service(data, message))
                return 0;
        r = sd_bus_message_skip(message, "s");
        if (r >= 0)
                r = sd_bus_message_enter_container(message, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(message, 'e', "sv")) > 0) {
                r = read_changed(data, message);
                if (r >= 0)
                        r = sd_bus_message_exit_container(message);
        }
        return 0;
}

/* --- the bus --- */

static int listen_to(GlWatch *watch) {
        static const struct {
                const char *interface, *member;
                sd_bus_message_handler_t handler;
        } signals[] = {{GL_GUEST_INTERFACE, "LeaseLost", lease_lost},
                       {GL_GUEST_INTERFACE, "LeasesAcquired", leases_acquired},
                       {GL_GUEST_INTERFACE, "LeasesReleased", leases_released},
                       {"org.freedesktop.DBus.Properties", "PropertiesChanged", properties_changed}};
        const GlCalls *calls = watch->options->calls;
        int r;

        r = sd_bus_add_match_async(calls->bus, NULL,
                                   "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
                                   "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='" GL_SERVICE "'",
                                   owner_changed, NULL, watch);
        for (guint i = 0; r >= 0 && i < G_N_ELEMENTS(signals); i++)
                r = sd_bus_match_signal_async(calls->bus, NULL, GL_SERVICE, calls->guest, signals[i].interface,
                                              signals[i].member, signals[i].handler, NULL, watch);
        if (r >= 0)
                r = sd_bus_call_method_async(calls->bus, NULL, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                             "org.freedesktop.DBus", "GetNameOwner", owner_found, watch, "s",
                                             GL_SERVICE);
        /* Not with the loop: see hear_the_last(). */
        if (r >= 0)
                r = sd_bus_set_close_on_exit(calls->bus, FALSE);
        return r < 0 ? r : sd_bus_attach_event(calls->bus, watch->event, SD_EVENT_PRIORITY_NORMAL);
}

/* Nobody tells us when the bus has gone, but the timer goes from then on. */
static int bus_gone(sd_bus_message *message, void *data, sd_bus_error *unused) {
        set_owner(data, NULL);
        return 0;
}

static int connect_bus(GlWatch *watch) {
        GlCalls *calls = watch->options->calls;
        int r = 0;

        if (!calls->bus)
                r = sd_bus_open_system_with_description(&calls->bus, "guestlock-supervisor");
        if (r >= 0)
                r = sd_bus_match_signal(calls->bus, NULL, "org.freedesktop.DBus.Local", "/org/freedesktop/DBus/Local",
                                        "org.freedesktop.DBus.Local", "Disconnected", bus_gone, watch);
        return r < 0 ? r : listen_to(watch);
}

static void disconnect(GlWatch *watch) {
        GlCalls *calls = watch->options->calls;

        watch->set_child = sd_bus_slot_unref(watch->set_child);
        watch->get_state = sd_bus_slot_unref(watch->get_state);
        if (calls->bus)
                sd_bus_detach_event(calls->bus);
        gl_calls_clear(calls);
}

/* On the bus; NULL where there is none. (owned) */
static char *own_name(const GlWatch *watch) {
        sd_bus *bus = watch->options->calls->bus;
        const char *name;

        return bus && sd_bus_get_unique_name(bus, &name) >= 0 ? g_strdup(name) : NULL;
}

static void connect_again(GlWatch *watch) {
        GlCalls *calls = watch->options->calls;

        if (calls->bus && sd_bus_is_open(calls->bus) > 0)
                return;
        disconnect(watch);
        if (connect_bus(watch) < 0)
                disconnect(watch);
}

/*
 * A guest that was killed may have been so by the service, which has said why before. What it has said comes before
 * the answer to whatever it is asked now; by its unique name, which starts nobody.
 */
static void hear_the_last(GlWatch *watch) {
        __attribute__((cleanup(sd_bus_message_unrefp))) sd_bus_message *call = NULL;
        sd_bus *bus = watch->options->calls->bus;

        if (!WIFSIGNALED(watch->status) || !watch->owner || !bus || sd_bus_is_open(bus) <= 0)
                return;
        if (sd_bus_message_new_method_call(bus, &call, watch->owner, "/", "org.freedesktop.DBus.Peer", "Ping") < 0)
                return;
        /* What has come by then is heard, whether it answers or not. */
        (void) sd_bus_call(bus, call, LAST_WORDS, NULL, NULL);
        while (sd_bus_process(bus, NULL) > 0)
                ;
}

/* --- the loop --- */

static int add_sources(GlWatch *watch) {
        int r = gl_watch_add_guest(watch);

        if (r >= 0)
                r = sd_event_add_time_relative(watch->event, &watch->check_timer, CLOCK_MONOTONIC, CHECK_INTERVAL, 0,
                                               check_due, watch);
        /* What the bus has to say of the service comes first. */
        return r < 0 ? r : sd_event_source_set_priority(watch->check_timer, SD_EVENT_PRIORITY_IDLE);
}

static void watch_clear(GlWatch *watch) {
        disconnect(watch);
        sd_event_source_disable_unref(watch->check_timer);
        sd_event_source_disable_unref(watch->name_timer);
        sd_event_unref(watch->event);
        g_free(watch->owner);
}

/* What the service says of the guest is to be heard from its first moment on, so that comes before. */
static gboolean let_go(GlWatch *watch, GError **error) {
        const GlWatchOptions *options = watch->options;
        g_autofree char *name = own_name(watch);
        g_autofree char *name_now = NULL;

        if (!gl_supervisor_set_child(options->calls, options->child->pidfd, options->keep_orphan, error))
                return FALSE;
        /* The call has connected anew: nobody listens there yet. */
        name_now = own_name(watch);
        if (g_strcmp0(name, name_now) != 0 && connect_bus(watch) < 0)
                disconnect(watch);
        return gl_child_let_go(options->child, error);
}

gboolean gl_supervisor_watch(const GlWatchOptions *options, int *status, GError **error) {
        GlWatch watch = {.options = options,
                       .action = options->on_lease_lost,
                       .first = options->child->pid,
                       .named = options->child->pid};
        int r = sd_event_new(&watch.event);

        if (r >= 0)
                r = add_sources(&watch);
        /* Without a bus the timer tries again. */
        if (r >= 0 && connect_bus(&watch) < 0)
                disconnect(&watch);
        if (r >= 0 && !let_go(&watch, error)) {
                watch_clear(&watch);
                return FALSE;
        }
        if (r >= 0)
                r = sd_event_loop(watch.event);
        if (r >= 0)
                hear_the_last(&watch);
        watch_clear(&watch);
        if (r >= 0) {
                *status = watch.status;
                return TRUE;
        }
        g_set_error(error, GL_ERROR, GL_ERROR_DRIVER_FAILED, "The guest cannot be looked after: %s.", g_strerror(-r));
        return FALSE;
}
