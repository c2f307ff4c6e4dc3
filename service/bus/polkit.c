/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/polkit.h"

#include "bus/polkit-messages.h"
#include "core/error.h"

/*
 * Two lanes, one for silent questions and one for dialogs, each with a bound of its own on what is
 * under way. In a lane every uid has a queue, and the uids take turns: however much one asks,
 * another's question is at most one turn away from polkit. And polkit, which works on one question after the other,
 * has one silent one of each uid before it at most: it keeps no turns.
 *
 * A query is in exactly one queue, `where`: its uid's while it waits, the lane's while polkit has it,
 * or `decided`, whose answers a deferred event source delivers, because nobody is to hear
 * the answer before ask() returned. A query whose asker is gone stays under way until polkit
 * answers it (at once when a dialog is cancelled), since for as long it counts against what the
 * bus allows us; it counts against its uid as well, so that one with an authentication
 * agent that hangs blocks itself only.
 *
 * Whatever is not a clear yes is a no.
 */

/* Of one uid. polkit waits a moment for us between two of them, and another's need not wait for a second one. */
#define SILENT_AT_ONCE 1

typedef struct {
        guint max_under_way;
        guint max_at_once;   /* of these, one uid's */
        guint max_per_uid; /* waiting and under way; more is refused */
        GQueue under_way;  /* of GlQuery */
        GHashTable *users; /* (owned) uid → User (owned), those with queries */
        GQueue turns;      /* of User with a waiting query that may be under way; the next one first */
} Lane;

typedef struct {
        guint32 uid;
        guint n_queries;
        guint n_under_way;
        GQueue waiting; /* of GlQuery */
        gboolean has_turn;
        GList turn;     /* in the lane's `turns` */
} User;

typedef struct {
        GlAuthority authority;
        sd_bus *bus;               /* (owned) */
        sd_event_source *deliver;  /* (owned) */
        guint64 timeout;
        guint64 last_cancellation;
        Lane silent, dialogs;
        GQueue decided; /* of GlQuery */
} Polkit;

struct GlQuery {
        Polkit *polkit;
        Lane *lane; /* (nullable) once it is decided */
        User *user; /* (nullable) likewise */
        GQueue *where;
        GList link;                 /* in `where` */
        gint64 asked;               /* µs, monotonic */
        sd_bus_message *message;    /* (owned) (nullable) until it is sent */
        sd_bus_slot *slot;          /* (owned) (nullable) while polkit is asked */
        char *cancellation;         /* (owned) (nullable) a dialog's id */
        GlAnswered answered;        /* (nullable) once the asker is gone */
        gpointer user_data;
        GlAnswer answer;
        GError *error; /* (owned) (nullable) */
};

/* --- where a query is --- */

static void move_query(GlQuery *query, GQueue *where) {
        if (query->where)
                g_queue_unlink(query->where, &query->link);
        query->where = where;
        if (where)
                g_queue_push_tail_link(where, &query->link);
}

static void query_free(GlQuery *query) {
        move_query(query, NULL);
        sd_bus_slot_unref(query->slot);
        sd_bus_message_unref(query->message);
        g_free(query->cancellation);
        g_clear_error(&query->error);
        g_free(query);
}

static User *get_user(Lane *lane, guint32 uid) {
        User *user = g_hash_table_lookup(lane->users, GUINT_TO_POINTER(uid));

        if (!user) {
                user = g_new0(User, 1);
                user->uid = uid;
                user->turn.data = user;
                g_hash_table_insert(lane->users, GUINT_TO_POINTER(uid), user);
        }
        return user;
}

/* After whatever may have changed it. */
static void update_turn(Lane *lane, User *user) {
        gboolean wants_turn = !g_queue_is_empty(&user->waiting) && user->n_under_way < lane->max_at_once;

        if (wants_turn && !user->has_turn)
                g_queue_push_tail_link(&lane->turns, &user->turn);
        else if (!wants_turn && user->has_turn)
                g_queue_unlink(&lane->turns, &user->turn);
        user->has_turn = wants_turn;
}

static void join_lane(GlQuery *query, Lane *lane, User *user) {
        query->lane = lane;
        query->user = user;
        query->asked = g_get_monotonic_time();
        user->n_queries++;
        move_query(query, &user->waiting);
        update_turn(lane, user);
}

static void leave_lane(GlQuery *query) {
        Lane *lane = g_steal_pointer(&query->lane);
        User *user = g_steal_pointer(&query->user);

        user->n_under_way -= query->where == &lane->under_way;
        move_query(query, NULL);
        update_turn(lane, user);
        if (--user->n_queries == 0)
                g_hash_table_remove(lane->users, GUINT_TO_POINTER(user->uid));
}

/* The query whose turn it is, under way from now on; NULL if there is none, or too much is under way. */
static GlQuery *take_turn(Lane *lane) {
        GlQuery *query;
        User *user;

        if (g_queue_is_empty(&lane->turns) || lane->under_way.length >= lane->max_under_way)
                return NULL;
        user = g_queue_pop_head_link(&lane->turns)->data;
        user->has_turn = FALSE;
        query = g_queue_peek_head(&user->waiting);
        move_query(query, &lane->under_way);
        user->n_under_way++;
        update_turn(lane, user);
        return query;
}

/* --- answers --- */

static void decide(GlQuery *query, GlAnswer answer, GError *error) {
        query->answer = answer;
        query->error = error;
        move_query(query, &query->polkit->decided);
        sd_event_source_set_enabled(query->polkit->deliver, SD_EVENT_ONESHOT);
}

static int on_deliver(sd_event_source *source, void *user_data) {
        Polkit *polkit = user_data;
        GlQuery *query = g_queue_peek_head(&polkit->decided);

        if (!query)
                return 0;
        move_query(query, NULL);
        if (!g_queue_is_empty(&polkit->decided))
                sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        query->answered(query->answer, query->error, query->user_data);
        query_free(query);
        return 0;
}

/* --- asking --- */

static void go_on(Lane *lane);

/* When polkit hangs nobody waits for the turns of all that he has asked before. */
static void deny_overdue(Polkit *polkit, Lane *lane) {
        gint64 overdue = g_get_monotonic_time() - (gint64) polkit->timeout;
        g_autoptr(GList) users = g_hash_table_get_values(lane->users);

        for (GList *at = users; at; at = at->next) {
                User *user = at->data;
                GlQuery *query;
                guint n = user->waiting.length;

                for (; n > 0 && (query = g_queue_peek_head(&user->waiting))->asked <= overdue; n--) {
                        leave_lane(query);
                        decide(query, GL_ANSWER_NO, gl_polkit_silence());
                }
        }
}

static int on_answer(sd_bus_message *reply, void *user_data, sd_bus_error *unused) {
        GlQuery *query = user_data;
        Lane *lane = query->lane;
        g_autoptr(GError) error = NULL;
        GlAnswer answer;

        query->slot = sd_bus_slot_unref(query->slot);
        leave_lane(query);
        if (!query->cancellation && sd_bus_error_has_name(sd_bus_message_get_error(reply), SD_BUS_ERROR_NO_REPLY))
                deny_overdue(query->polkit, lane);
        go_on(lane);
        /* The last thing, because it may be the end of this authority. */
        if (query->answered) {
                answer = gl_polkit_read_answer(reply, query->cancellation != NULL, &error);
                query->answered(answer, error, query->user_data);
        }
        query_free(query);
        return 1;
}

static void deny_unasked(GlQuery *query, int r) {
        decide(query, GL_ANSWER_NO,
               g_error_new(GL_ERROR, GL_ERROR_ACCESS_DENIED, "polkit cannot be asked whether this is allowed: %s.",
                           g_strerror(-r)));
}

static void go_on(Lane *lane) {
        GlQuery *query;

        while ((query = take_turn(lane))) {
                Polkit *polkit = query->polkit;
                int r;

                r = sd_bus_call_async(polkit->bus, &query->slot, query->message, on_answer, query,
                                      query->cancellation ? UINT64_MAX : polkit->timeout);
                query->message = sd_bus_message_unref(query->message);
                if (r < 0) {
                        leave_lane(query);
                        deny_unasked(query, r);
                }
        }
}

static gboolean has_room(const Lane *lane, guint32 uid) {
        const User *user = g_hash_table_lookup(lane->users, GUINT_TO_POINTER(uid));

        return (user ? user->n_queries : 0) < lane->max_per_uid;
}

static GlQuery *polkit_ask(GlAuthority *authority, const char *sender, guint32 uid, const GlQuestion *question,
                           gboolean interactive, GlAnswered answered, gpointer user_data) {
        Polkit *polkit = (Polkit *) authority;
        Lane *lane = interactive ? &polkit->dialogs : &polkit->silent;
        GlQuery *query = g_new0(GlQuery, 1);
        int r;

        query->polkit = polkit;
        query->link.data = query;
        query->answered = answered;
        query->user_data = user_data;
        if (uid == 0) {
                decide(query, GL_ANSWER_YES, NULL);
                return query;
        }
        if (!has_room(lane, uid)) {
                decide(query, GL_ANSWER_NO,
                       g_error_new(GL_ERROR, GL_ERROR_LIMIT_EXCEEDED,
                                   "User %u is being asked for a password %u times already; answer one of them first.",
                                   uid, lane->max_per_uid));
                return query;
        }
        if (interactive)
                query->cancellation = g_strdup_printf("guestlock-%" G_GUINT64_FORMAT, ++polkit->last_cancellation);
        r = gl_polkit_write_question(polkit->bus, sender, question, query->cancellation, &query->message);
        if (r < 0) {
                deny_unasked(query, r);
                return query;
        }
        join_lane(query, lane, get_user(lane, uid));
        go_on(lane);
        return query;
}

/* --- ending --- */

/* polkit answers the question then. Should this not get through, the bus is gone, and the question with it. */
static void take_dialog_away(GlQuery *query) {
        sd_bus_message *message = NULL;

        if (sd_bus_message_new_method_call(query->polkit->bus, &message, POLKIT_NAME, POLKIT_PATH, POLKIT_INTERFACE,
                                           "CancelCheckAuthorization") >= 0 &&
            sd_bus_message_set_auto_start(message, FALSE) >= 0 &&
            sd_bus_message_append(message, "s", query->cancellation) >= 0)
                (void) sd_bus_call_async(query->polkit->bus, NULL, message, NULL, NULL, 0);
        sd_bus_message_unref(message);
}

static void polkit_cancel(GlAuthority *authority, GlQuery *query) {
        if (query->lane && query->where == &query->lane->under_way) {
                query->answered = NULL;
                if (query->cancellation)
                        take_dialog_away(query);
                return;
        }
        if (query->lane)
                leave_lane(query);
        query_free(query);
}

static void lane_init(Lane *lane, guint max_under_way, guint max_at_once, guint max_per_uid) {
        lane->max_under_way = max_under_way;
        lane->max_at_once = max_at_once;
        lane->max_per_uid = max_per_uid;
        lane->users = g_hash_table_new_full(NULL, NULL, NULL, g_free);
}

static void lane_clear(Lane *lane) {
        GlQuery *query;
        User *user;

        while ((query = g_queue_peek_head(&lane->under_way))) {
                if (query->answered && query->cancellation)
                        take_dialog_away(query);
                leave_lane(query);
                query_free(query);
        }
        /* With nothing under way whoever waits has a turn. */
        while ((user = g_queue_peek_head(&lane->turns))) {
                query = g_queue_peek_head(&user->waiting);
                leave_lane(query);
                query_free(query);
        }
        g_hash_table_unref(lane->users);
}

static void polkit_free(GlAuthority *authority) {
        Polkit *polkit = (Polkit *) authority;
        GlQuery *query;

        lane_clear(&polkit->silent);
        lane_clear(&polkit->dialogs);
        while ((query = g_queue_peek_head(&polkit->decided)))
                query_free(query);
        sd_event_source_disable_unref(polkit->deliver);
        sd_bus_unref(polkit->bus);
        g_free(polkit);
}

static const GlAuthorityOps polkit_ops = {
        .ask = polkit_ask,
        .cancel = polkit_cancel,
        .free = polkit_free,
};

GlAuthority *gl_polkit_authority_new(sd_bus *bus, guint max_queries, guint max_dialogs, guint64 timeout) {
        Polkit *polkit = g_new0(Polkit, 1);
        int r;

        g_assert(max_queries >= 2);
        polkit->authority.ops = &polkit_ops;
        polkit->bus = sd_bus_ref(bus);
        polkit->timeout = timeout;
        lane_init(&polkit->dialogs, max_queries / 2, max_dialogs, max_dialogs);
        lane_init(&polkit->silent, max_queries - max_queries / 2, SILENT_AT_ONCE, G_MAXUINT);

        r = sd_event_add_defer(sd_bus_get_event(bus), &polkit->deliver, on_deliver, polkit);
        if (r >= 0)
                r = sd_event_source_set_enabled(polkit->deliver, SD_EVENT_OFF);
        if (r < 0)
                g_error("Cannot prepare to deliver polkit's answers: %s.", g_strerror(-r));
        return &polkit->authority;
}
