/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/who-private.h"

#include "core/capabilities.h"

/*
 * Who is in the way, asked without wanting it. The table knows the guests, the drivers know everybody else: they are
 * sent to look, and when the last one has answered the table is asked as it is then. Nothing waits in any queue, and
 * nothing is entered anywhere: whatever is asked is a copy, which nobody but the answer sees.
 *
 * A driver that looks meets the locks of our own leases too, in this process, the keeper and the guests. Whose they are
 * it cannot tell; so what the table has is said by the table alone.
 */

/* Characters of a name that say how two meet. */
#define NAME_IN_WORDS 80

/* --- what is known of a lease --- */

static gboolean sits_on(const GlPlace *place, const GlNode *node) {
        for (guint i = 0; i < place->n_ancestors; i++)
                if (gl_node_equal(&place->ancestors[i].node, node))
                        return TRUE;
        return FALSE;
}

static gboolean is_within(GlExtent inner, GlExtent outer) {
        return outer.start <= inner.start && inner.end <= outer.end;
}

/* The names stand in full beside this. */
static char *quote_end(const char *name) {
        glong length = g_utf8_strlen(name, -1);
        g_autofree char *end = NULL;

        if (length <= NAME_IN_WORDS)
                return gl_quote(name);
        end = g_strconcat("…", g_utf8_offset_to_pointer(name, length - NAME_IN_WORDS), NULL);
        return gl_quote(end);
}

/* How what is held and what is asked for meet; NULL: they are the same. */
static char *describe_relation(const GlPlace *held, const char *held_name, const GlPlace *asked,
                               const char *asked_name) {
        g_autofree char *first = quote_end(held_name), *second = quote_end(asked_name);

        if (gl_place_equal(held, asked))
                return NULL;
        if (gl_node_equal(&held->node, &asked->node)) {
                if (is_within(held->extent, asked->extent))
                        return g_strdup_printf("%s is a part of %s", first, second);
                if (is_within(asked->extent, held->extent))
                        return g_strdup_printf("%s is a part of %s", second, first);
                return g_strdup_printf("%s and %s overlap", first, second);
        }
        if (sits_on(held, &asked->node))
                return g_strdup_printf("%s lies on %s", first, second);
        if (sits_on(asked, &held->node))
                return g_strdup_printf("%s lies on %s", second, first);
        return g_strdup_printf("%s and %s lie on the same storage", first, second);
}

/* Why it is in the way although its guest does not simply use it. */
static char *describe_state(const GlClaim *claim) {
        const GlResource *resource = claim->owner;

        if (resource->state == GL_RESOURCE_DRAINING)
                return g_strdup_printf("its process has ended, but %s",
                                       resource->drain_reason ?: "its writes perhaps not yet");
        if (resource->state == GL_RESOURCE_LOST)
                return g_strdup("it has lost the lease, and its process still lives");
        return claim->pending ? g_strdup("its storage has not answered yet") : NULL;
}

/* Both are consumed. */
static char *join_words(char *first, char *second) {
        g_autofree char *head = first, *tail = second;

        return head && tail ? g_strdup_printf("%s; %s", head, tail) : g_strdup(head ?: tail);
}

static GlObstacle *obstacle_of_guest(GlCore *core, const GlGuest *guest) {
        GlObstacle *obstacle = gl_obstacle_new();

        obstacle->guest_uuid = g_strdup(guest->uuid);
        obstacle->guest_name = g_strdup(guest->name);
        obstacle->host = g_strdup(core->host_name);
        obstacle->driver = g_strdup(guest->driver);
        obstacle->pid = guest->processes[GL_PROCESS_GUEST].pid ?: guest->processes[GL_PROCESS_SUPERVISOR].pid;
        obstacle->has_owner = TRUE;
        obstacle->owner_uid = guest->owner_uid;
        obstacle->has_object = !guest->hidden;
        return obstacle;
}

GlObstacle *gl_core_obstacle_of(GlCore *core, const GlClaim *claim, const GlPlace *place, const char *name) {
        const GlResource *resource = claim->owner;
        GlObstacle *obstacle = obstacle_of_guest(core, resource->guest);

        obstacle->name = g_strdup(resource->name);
        obstacle->has_mode = TRUE;
        obstacle->mode = claim->mode;
        obstacle->via = join_words(describe_state(claim),
                                   join_words(describe_relation(claim->place, resource->name, place, name),
                                              g_strdup(claim->place->via)));
        if (resource->state == GL_RESOURCE_REGISTERED) /* just being taken */
                return obstacle;
        obstacle->has_scope = TRUE;
        obstacle->scope = resource->scope;
        obstacle->since = resource->since;
        obstacle->generation = resource->generation;
        return obstacle;
}

/* --- a look --- */

static void asked_free(gpointer data) {
        GlAsked *asked = data;

        g_free(asked->name);
        gl_place_unref(asked->place);
        gl_handle_unref(&asked->source);
        g_ptr_array_unref(asked->foreign);
        g_free(asked);
}

static GPtrArray *new_obstacles(void) {
        return g_ptr_array_new_with_free_func((GDestroyNotify) gl_obstacle_free);
}

GlLook *gl_look_new(GlCore *core, const GlRequest *request) {
        GlLook *look = g_new0(GlLook, 1);

        look->call = request->call;
        look->uid = request->uid;
        look->overdue_at = core->now + (gint64) core->limits.storage_timeout;
        look->asked = g_ptr_array_new_with_free_func(asked_free);
        look->obstacles = new_obstacles();
        look->drivers = g_ptr_array_new_with_free_func(g_free);
        look->link.data = look;
        g_queue_push_tail_link(&core->looks, &look->link);
        return look;
}

void gl_look_free(GlCore *core, GlLook *look) {
        g_queue_unlink(&core->looks, &look->link);
        g_ptr_array_unref(look->asked);
        g_ptr_array_unref(look->obstacles);
        g_ptr_array_unref(look->drivers);
        g_clear_error(&look->error);
        g_free(look);
}

GlAsked *gl_look_ask(GlLook *look, const GlResourceSpec *resource) {
        GlAsked *asked = g_new0(GlAsked, 1);

        asked->type = resource->type;
        asked->name = g_strdup(resource->name);
        asked->mode = resource->mode;
        asked->place = gl_place_ref(resource->place);
        asked->source = gl_handle_ref(resource->source);
        asked->by_descriptor = resource->by_descriptor;
        asked->foreign = new_obstacles();
        g_ptr_array_add(look->asked, asked);
        return asked;
}

void gl_look_send(GlCore *core, GlLook *look, const char *driver) {
        GlJob *job;

        if (look->asked->len == 0)
                return;
        job = gl_job_new(GL_JOB_LOOK, driver, look->asked->len);
        job->id = ++core->last_job;
        job->owner_uid = look->uid;
        job->holder_pid = look->holder_pid;
        job->with_users = look->with_users;
        job->realtime = core->realtime;
        job->core_data = look;
        for (guint i = 0; i < look->asked->len; i++) {
                const GlAsked *asked = g_ptr_array_index(look->asked, i);
                GlTarget *target = &job->targets[i];

                target->type = asked->type;
                target->name = g_strdup(asked->name);
                target->by_descriptor = asked->by_descriptor;
                target->place = gl_place_ref(asked->place);
                target->source = gl_handle_ref(asked->source);
                target->mode = asked->mode;
                target->require_scope = look->require_scope;
        }
        g_ptr_array_add(look->drivers, g_strdup(driver));
        gl_core_emit(core, GL_CHANGE_JOB, NULL)->job = job;
}

/* --- the answer --- */

/* Of the guest that asks, and what it asks about: it would be raised or lowered, or is. */
static gboolean is_own(const GlLook *look, const GlAsked *asked, const GlClaim *claim) {
        const GlGuest *guest = ((const GlResource *) claim->owner)->guest;

        return look->uuid[0] && guest->owner_uid == look->owner_uid && g_str_equal(guest->uuid, look->uuid) &&
               gl_place_equal(claim->place, asked->place);
}

static gboolean has_process(const GlGuest *guest, guint32 pid) {
        for (guint role = 0; role < GL_N_PROCESSES; role++)
                if (guest->processes[role].pid == pid)
                        return TRUE;
        return FALSE;
}

/* What a driver has met is one of CLAIMS: the lock of a lease, or what its guest itself has locked. */
static gboolean is_claimed(const GlObstacle *obstacle, GPtrArray *claims) {
        for (guint i = 0; i < claims->len; i++) {
                const GlResource *resource = ((const GlClaim *) g_ptr_array_index(claims, i))->owner;

                if (obstacle->own || (obstacle->pid != 0 && has_process(resource->guest, obstacle->pid)))
                        return TRUE;
        }
        return FALSE;
}

static void add_obstacle(const GlLook *look, const GlAsked *asked, GPtrArray *found, GlObstacle *obstacle) {
        if (look->several)
                obstacle->wanted = g_strdup(asked->name);
        g_ptr_array_add(found, obstacle);
}

static void add_obstacles(GlCore *core, const GlLook *look, const GlAsked *asked, GPtrArray *found) {
        g_autoptr(GPtrArray) in_the_way = g_ptr_array_new(), there = g_ptr_array_new();

        gl_table_conflicts(core->table, asked->place, asked->mode, NULL, in_the_way);
        gl_table_conflicts(core->table, asked->place, GL_MODE_EXCLUSIVE, NULL, there);
        for (guint i = 0; i < in_the_way->len; i++) {
                const GlClaim *claim = g_ptr_array_index(in_the_way, i);

                if (!is_own(look, asked, claim))
                        add_obstacle(look, asked, found, gl_core_obstacle_of(core, claim, asked->place, asked->name));
        }
        while (asked->foreign->len > 0) {
                g_autoptr(GlObstacle) obstacle = g_ptr_array_steal_index(asked->foreign, 0);

                /* Processes that can be seen are this host's. */
                if (obstacle->pid != 0 && !obstacle->host)
                        obstacle->host = g_strdup(core->host_name);
                if (!is_claimed(obstacle, there))
                        add_obstacle(look, asked, found, g_steal_pointer(&obstacle));
        }
}

void gl_look_settle(GlCore *core, GlLook *look) {
        GlChange *reply;

        if (look->drivers->len > 0)
                return;
        if (look->call) {
                reply = gl_core_emit(core, GL_CHANGE_REPLY, NULL);
                reply->call = look->call;
                reply->error = g_steal_pointer(&look->error);
                if (!reply->error) {
                        for (guint i = 0; i < look->asked->len; i++)
                                add_obstacles(core, look, g_ptr_array_index(look->asked, i), look->obstacles);
                        reply->obstacles = g_ptr_array_ref(look->obstacles);
                }
        }
        gl_look_free(core, look);
}

/* --- what drivers say --- */

static void heed_target(GlLook *look, GlAsked *asked, GlTarget *target) {
        g_autofree char *quoted = NULL;

        if (target->obstacles)
                g_ptr_array_extend_and_steal(asked->foreign, g_steal_pointer(&target->obstacles));
        if (!asked->lost || look->error ||
            (target->mtime != 0 && target->mtime == asked->mtime && target->size == asked->size))
                return;
        quoted = gl_quote(asked->name);
        look->error = g_error_new(GL_ERROR, GL_ERROR_LEASE_LOST,
                                  "The lease of %s was lost, and somebody else may have written to it since; release "
                                  "it or shut the guest down.",
                                  quoted);
}

void gl_core_look_done(GlCore *core, GlJob *job) {
        GlLook *look = job->core_data;
        guint index;

        if (!look->error)
                look->error = g_steal_pointer(&job->error);
        for (guint i = 0; !look->error && i < job->n_targets; i++)
                heed_target(look, g_ptr_array_index(look->asked, i), &job->targets[i]);
        if (g_ptr_array_find_with_equal_func(look->drivers, job->driver, g_str_equal, &index))
                g_ptr_array_remove_index(look->drivers, index);
        gl_job_free(job);
        gl_look_settle(core, look);
}

gboolean gl_core_is_looking(GlCore *core, const char *driver) {
        for (GList *link = core->looks.head; link; link = link->next)
                if (g_ptr_array_find_with_equal_func(((GlLook *) link->data)->drivers, driver, g_str_equal, NULL))
                        return TRUE;
        return FALSE;
}

void gl_core_forget_looks(GlCore *core) {
        while (core->looks.head)
                gl_look_free(core, core->looks.head->data);
}

/* --- storage that does not answer --- */

gint64 gl_core_next_overdue_look(GlCore *core) {
        for (GList *link = core->looks.head; link; link = link->next) {
                const GlLook *look = link->data;

                if (look->call)
                        return look->overdue_at;
        }
        return G_MAXINT64;
}

void gl_core_fail_overdue_looks(GlCore *core) {
        for (GList *link = core->looks.head; link; link = link->next) {
                GlLook *look = link->data;
                const GlAsked *first = g_ptr_array_index(look->asked, 0);
                g_autofree char *quoted = gl_quote(first->name);
                GlChange *reply;

                if (look->overdue_at > core->now)
                        break;
                if (!look->call)
                        continue;
                reply = gl_core_emit(core, GL_CHANGE_REPLY, NULL);
                reply->call = g_steal_pointer(&look->call);
                reply->error = g_error_new(GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE,
                                           "The storage of %s has not answered for %" G_GUINT64_FORMAT " s.", quoted,
                                           core->limits.storage_timeout / G_USEC_PER_SEC);
        }
}

/* --- the calls --- */

typedef struct {
        GlCore *core;
        GlLook *look;
        const char *capability;
} Ask;

static void ask_driver(const char *name, const char *const *capabilities, gpointer user_data) {
        const Ask *ask = user_data;

        if (gl_capabilities_include(capabilities, ask->capability))
                gl_look_send(ask->core, ask->look, name);
}

void gl_core_who_holds(GlCore *core, const GlRequest *request, const GlResourceSpec *spec) {
        Ask ask = {core, NULL, spec->type == GL_RESOURCE_DISK ? GL_CAPABILITY_DISK : GL_CAPABILITY_LEASE};

        gl_core_enter(core, request->now, request->realtime);
        ask.look = gl_look_new(core, request);
        ask.look->with_users = TRUE;
        gl_look_ask(ask.look, spec);
        gl_core_foreach_driver(core, ask_driver, &ask);
        gl_look_settle(core, ask.look);
        gl_core_leave(core);
}

GPtrArray *gl_core_who_is(GlCore *core, const char *uuid) {
        GPtrArray *found = new_obstacles();
        GHashTableIter iter;
        gpointer data;

        g_hash_table_iter_init(&iter, core->guests);
        while (g_hash_table_iter_next(&iter, NULL, &data)) {
                const GlGuest *guest = data;
                GlObstacle *obstacle;

                if (!g_str_equal(guest->uuid, uuid))
                        continue;
                obstacle = obstacle_of_guest(core, guest);
                obstacle->since = guest->acquired_at;
                obstacle->generation = guest->generation;
                obstacle->via = g_strdup_printf("it exists, in state %s", gl_guest_state_to_string(guest->state));
                g_ptr_array_add(found, obstacle);
        }
        return found;
}
