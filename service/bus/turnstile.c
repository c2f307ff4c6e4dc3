/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/turnstile.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "bus/errors.h"
#include "core/error.h"

/*
 * The bus gives us everybody's calls in one row, and to carry one out takes far longer than to read it. So the row is
 * read as fast as it comes, into a lane for each user, and the lanes take turns: when there is nothing to read, or
 * after every READS_PER_TURN calls that were read, since in a flood there always is. What exceeds a lane's length is refused,
 * which costs little. uid 0 has a lane as well, without an end.
 *
 * A filter sees each message before any object does. A call whose turn has come is put back into the connection's own
 * queue, from which it is read again at once, and this time the filter lets it pass. Calls of one connection stay in
 * their order, as they all are of one user.
 *
 * While there is something that the bus has not taken from us, nobody has a turn. A client that asks for long lists and
 * never reads an answer makes the bus stop listening to us in the end; what we would say meanwhile has to be kept.
 */

#define READS_PER_TURN  8
#define READS_AT_ONCE   64
#define PAUSE           (5 * 1000) /* µs, until it is looked again whether the bus has taken everything */
#define UID_NOT_KNOWN   G_MAXUINT32

typedef struct {
        guint32 uid;
        GQueue calls; /* of sd_bus_message (owned) */
        GList turn;   /* in `turns` */
} Lane;

struct GlTurnstile {
        sd_bus *bus;            /* (owned) */
        GlCallers *callers;     /* (borrowed) */
        sd_bus_slot *filter;    /* (owned) */
        sd_event_source *next;  /* (owned) */
        sd_event_source *pause; /* (owned) */
        GHashTable *lanes;      /* (owned) uid → Lane (owned), those with calls */
        GQueue turns;           /* of Lane; the next one first */
        sd_bus_message *passing; /* (borrowed from the connection's queue) (nullable) */
        guint n_inside;         /* calls whose sender is being looked up, that are in a lane, or that pass */
        guint n_read;           /* since the last turn */
};

typedef struct {
        GlTurnstile *turnstile;
        sd_bus_message *call; /* (owned) */
} Arrival;

/* --- lanes --- */

static Lane *get_lane(GlTurnstile *turnstile, guint32 uid) {
        Lane *lane = g_hash_table_lookup(turnstile->lanes, GUINT_TO_POINTER(uid));

        if (!lane) {
                lane = g_new0(Lane, 1);
                lane->uid = uid;
                lane->turn.data = lane;
                g_hash_table_insert(turnstile->lanes, GUINT_TO_POINTER(uid), lane);
                g_queue_push_tail_link(&turnstile->turns, &lane->turn);
        }
        return lane;
}

static void remove_if_empty(GlTurnstile *turnstile, Lane *lane) {
        if (lane->calls.length > 0)
                return;
        g_queue_unlink(&turnstile->turns, &lane->turn);
        g_hash_table_remove(turnstile->lanes, GUINT_TO_POINTER(lane->uid));
}

static void message_unref(gpointer message) {
        sd_bus_message_unref(message);
}

static void lane_free(gpointer data) {
        Lane *lane = data;

        g_queue_clear_full(&lane->calls, message_unref);
        g_free(lane);
}

static sd_bus_message *take_next(GlTurnstile *turnstile) {
        GList *turn = g_queue_pop_head_link(&turnstile->turns);
        Lane *lane = turn->data;
        sd_bus_message *call = g_queue_pop_head(&lane->calls);

        g_queue_push_tail_link(&turnstile->turns, turn);
        remove_if_empty(turnstile, lane);
        return call;
}

/* --- turns --- */

static gboolean bus_has_taken_all(GlTurnstile *turnstile) {
        guint64 n;

        return sd_bus_get_n_queued_write(turnstile->bus, &n) < 0 || n == 0;
}

static void go_on_later(GlTurnstile *turnstile) {
        sd_event_source_set_enabled(turnstile->next, SD_EVENT_ON);
}

static void wait_for_bus(GlTurnstile *turnstile) {
        sd_event_source_set_time_relative(turnstile->pause, PAUSE);
        sd_event_source_set_enabled(turnstile->pause, SD_EVENT_ONESHOT);
}

static void give_turn(GlTurnstile *turnstile) {
        sd_bus_message *call;
        int r;

        if (turnstile->passing || turnstile->turns.length == 0)
                return;
        turnstile->n_read = 0;
        if (!bus_has_taken_all(turnstile)) {
                wait_for_bus(turnstile);
                return;
        }
        call = take_next(turnstile);
        r = sd_bus_enqueue_for_read(turnstile->bus, call);
        if (r >= 0) {
                turnstile->passing = call;
        } else {
                sd_bus_reply_method_errno(call, r, NULL);
                turnstile->n_inside--;
        }
        go_on_later(turnstile);
        sd_bus_message_unref(call);
}

/*
 * The loop reads one message each time round, which costs more than the reading. Many are read here, and those whose
 * turn has come dispatched.
 */
static int on_next(sd_event_source *source, int fd, uint32_t revents, void *user_data) {
        GlTurnstile *turnstile = user_data;
        int r = 1;

        for (guint i = 0; i < READS_AT_ONCE && r > 0; i++)
                r = sd_bus_process(turnstile->bus, NULL);
        if (r > 0)
                return 0;
        sd_event_source_set_enabled(source, SD_EVENT_OFF);
        give_turn(turnstile);
        return 0;
}

static int on_pause_over(sd_event_source *source, uint64_t usec, void *user_data) {
        give_turn(user_data);
        return 0;
}

/* --- arriving --- */

static void refuse(sd_bus_message *call, guint32 uid) {
        g_autoptr(GError) error = NULL;

        if (sd_bus_message_get_expect_reply(call) <= 0)
                return;
        error = g_error_new(GL_ERROR, GL_ERROR_LIMIT_EXCEEDED,
                            "User %" G_GUINT32_FORMAT " has sent %u calls that have not had their turn yet; wait for "
                            "their answers first.",
                            uid, GL_TURNSTILE_MAX_PER_UID);
        gl_bus_reply_error(call, error);
}

static void join_lane(GlTurnstile *turnstile, sd_bus_message *call, guint32 uid) {
        Lane *lane = get_lane(turnstile, uid);

        if (uid != 0 && lane->calls.length >= GL_TURNSTILE_MAX_PER_UID) {
                turnstile->n_inside--;
                refuse(call, uid);
                return;
        }
        g_queue_push_tail(&lane->calls, sd_bus_message_ref(call));
        go_on_later(turnstile);
}

static void caller_known(GlCaller *caller, const GError *error, gpointer user_data) {
        g_autofree Arrival *arrival = user_data;
        GlTurnstile *turnstile = arrival->turnstile;

        if (caller && caller->gone)
                turnstile->n_inside--;
        else
                join_lane(turnstile, arrival->call, error ? UID_NOT_KNOWN : caller->credentials->uid);
        sd_bus_message_unref(arrival->call);
}

/* A call is read by itself: more of them would still be in the socket. */
static gboolean is_alone(GlTurnstile *turnstile) {
        int more;

        return turnstile->n_inside == 0 && ioctl(sd_bus_get_fd(turnstile->bus), FIONREAD, &more) == 0 && more == 0 &&
               bus_has_taken_all(turnstile);
}

static void arrive(GlTurnstile *turnstile, sd_bus_message *call) {
        Arrival *arrival = g_new(Arrival, 1);

        *arrival = (Arrival){turnstile, sd_bus_message_ref(call)};
        turnstile->n_inside++;
        turnstile->n_read++;
        gl_callers_look_up(turnstile->callers, call, caller_known, arrival);
        if (turnstile->n_read >= READS_PER_TURN)
                give_turn(turnstile);
}

static int on_message(sd_bus_message *message, void *user_data, sd_bus_error *unused) {
        GlTurnstile *turnstile = user_data;

        if (message == turnstile->passing) {
                turnstile->passing = NULL;
                turnstile->n_inside--;
                return 0;
        }
        if (sd_bus_message_is_method_call(message, NULL, NULL) <= 0 || is_alone(turnstile))
                return 0;
        arrive(turnstile, message);
        return 1;
}

/* --- making and ending --- */

void gl_turnstile_drop(GlTurnstile *turnstile, const GlCaller *caller) {
        Lane *lane = caller->credentials ? g_hash_table_lookup(turnstile->lanes,
                                                               GUINT_TO_POINTER(caller->credentials->uid))
                                         : NULL;

        for (GList *link = lane ? lane->calls.head : NULL, *next; link; link = next) {
                next = link->next;
                if (!g_str_equal(sd_bus_message_get_sender(link->data), caller->sender))
                        continue;
                sd_bus_message_unref(link->data);
                g_queue_delete_link(&lane->calls, link);
                turnstile->n_inside--;
        }
        if (lane)
                remove_if_empty(turnstile, lane);
}

void gl_turnstile_free(GlTurnstile *turnstile) {
        if (!turnstile)
                return;
        sd_bus_slot_unref(turnstile->filter);
        sd_event_source_disable_unref(turnstile->next);
        sd_event_source_disable_unref(turnstile->pause);
        g_hash_table_unref(turnstile->lanes);
        sd_bus_unref(turnstile->bus);
        g_free(turnstile);
}

/*
 * Not a deferred source: one that is enabled again and again comes before everything else of its priority each time,
 * and the storage's answers would never be heard. A descriptor that can always be read from has its turn with them.
 */
static int add_next(GlTurnstile *turnstile, sd_event *event) {
        int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
        int r;

        if (fd < 0)
                return -errno;
        r = sd_event_add_io(event, &turnstile->next, fd, EPOLLIN, on_next, turnstile);
        if (r < 0) {
                close(fd);
                return r;
        }
        sd_event_source_set_io_fd_own(turnstile->next, TRUE);
        return sd_event_source_set_enabled(turnstile->next, SD_EVENT_OFF);
}

GlTurnstile *gl_turnstile_new(sd_bus *bus, GlCallers *callers, GError **error) {
        g_autoptr(GlTurnstile) turnstile = g_new0(GlTurnstile, 1);
        sd_event *event = sd_bus_get_event(bus);
        int r;

        turnstile->bus = sd_bus_ref(bus);
        turnstile->callers = callers;
        turnstile->lanes = g_hash_table_new_full(NULL, NULL, NULL, lane_free);
        r = sd_bus_add_filter(bus, &turnstile->filter, on_message, turnstile);
        if (r >= 0)
                r = add_next(turnstile, event);
        if (r >= 0)
                r = sd_event_add_time_relative(event, &turnstile->pause, CLOCK_MONOTONIC, 0, 1000, on_pause_over,
                                               turnstile);
        if (r >= 0)
                r = sd_event_source_set_enabled(turnstile->pause, SD_EVENT_OFF);
        if (r < 0) {
                g_set_error(error, GL_ERROR, GL_ERROR_DRIVER_FAILED, "Calls cannot be made to take turns: %s.",
                            g_strerror(-r));
                return NULL;
        }
        return g_steal_pointer(&turnstile);
}
