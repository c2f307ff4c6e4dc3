/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/callers.h"

#include <errno.h>

#include "core/error.h"

/*
 * A caller is in `known` from its first look-up until it leaves, whether or not its
 * credentials are there yet; the look-ups made meanwhile wait in its queue and are
 * answered in their order, also when one of them makes another. The match on NameOwnerChanged is
 * asked for before any question about a caller, and the bus keeps the order: a caller that
 * leaves after its question was answered is always heard of, and one that left before
 * makes the question fail. Unique names are never used twice, so nobody inherits an entry.
 *
 * The groups are those that the bus tells, in its order. Where it tells none (an old kernel), the name
 * service could say, but that can block on a network; such a caller is in no group but NOBODYS_GROUP.
 */

#define NOBODYS_GROUP 65534

#define BUS_NAME "org.freedesktop.DBus"
#define BUS_PATH "/org/freedesktop/DBus"

struct GlCallers {
        sd_bus *bus; /* (owned) */
        GlCallerGone gone;
        gpointer user_data;
        GHashTable *known;   /* (owned) sender → Record (owned) */
        sd_bus_slot *match;  /* (owned) (nullable) none without a bus */
        gboolean direct;     /* there is no bus: one peer is at the other end */
        gboolean pretending; /* with `direct`: the peer's uid is `pretended` */
        guint32 pretended;
};

typedef struct {
        GlCallerReady ready;
        gpointer user_data;
} Waiter;

typedef struct {
        GlCaller caller;
        GlCallers *callers;    /* valid until the caller is gone */
        sd_bus_slot *question; /* (owned) (nullable) while the bus is asked */
        GQueue waiters;        /* of Waiter (owned) */
        gboolean answering;    /* the waiters are being called */
} Record;

G_STATIC_ASSERT(G_STRUCT_OFFSET(Record, caller) == 0);

/* --- one caller --- */

GlCaller *gl_caller_ref(GlCaller *caller) {
        return g_rc_box_acquire(caller);
}

static void record_clear(gpointer data) {
        Record *record = data;

        sd_bus_slot_unref(record->question);
        g_queue_clear_full(&record->waiters, g_free);
        g_hash_table_unref(record->caller.granted);
        gl_credentials_unref(record->caller.credentials);
        g_free(record->caller.sender);
}

void gl_caller_unref(GlCaller *caller) {
        if (caller)
                g_rc_box_release_full(caller, record_clear);
}

static Record *record_new(GlCallers *callers, const char *sender, GlCredentials *credentials) {
        Record *record = g_rc_box_new0(Record);

        record->callers = callers;
        record->caller.sender = g_strdup(sender);
        record->caller.credentials = credentials;
        record->caller.granted = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        g_hash_table_insert(callers->known, record->caller.sender, record);
        return record;
}

static void add_waiter(Record *record, GlCallerReady ready, gpointer user_data) {
        Waiter *waiter = g_new(Waiter, 1);

        *waiter = (Waiter){ready, user_data};
        g_queue_push_tail(&record->waiters, waiter);
}

/* Calls those who wait, and those who join them from within a call. */
static void answer(Record *record, const GError *error) {
        g_autoptr(GlCaller) keep = gl_caller_ref(&record->caller);
        Waiter *next;

        record->answering = TRUE;
        while ((next = g_queue_pop_head(&record->waiters))) {
                g_autofree Waiter *waiter = next;

                waiter->ready(keep, error, waiter->user_data);
        }
        record->answering = FALSE;
}

static void leave(Record *record) {
        g_autoptr(GlCaller) caller = &record->caller; /* the table's reference */
        g_autoptr(GError) error = NULL;
        GlCallers *callers = record->callers;

        g_hash_table_remove(callers->known, caller->sender);
        caller->gone = TRUE;
        record->question = sd_bus_slot_unref(record->question);
        error = g_error_new(GL_ERROR, GL_ERROR_CANCELLED, "The caller %s has left the bus.", caller->sender);
        answer(record, error);
        callers->gone(caller, callers->user_data);
}

/* --- credentials --- */

/*
 * UID and GROUPS as they may be assumed. -1 is no user and no group: to the system calls that
 * change identities it means "leave it as it is", which here would be root.
 */
static GlCredentials *make_credentials(uid_t uid, const GArray *groups) {
        g_autoptr(GArray) usable = g_array_new(FALSE, FALSE, sizeof(gid_t));
        const gid_t nobodys = NOBODYS_GROUP;

        if (uid == (uid_t) -1)
                return NULL;
        for (guint i = 0; i < groups->len; i++) {
                gid_t gid = g_array_index(groups, gid_t, i);

                if (gid != (gid_t) -1)
                        g_array_append_val(usable, gid);
        }
        if (usable->len == 0)
                g_array_append_val(usable, nobodys);
        return gl_credentials_new(uid, (const gid_t *) (gpointer) usable->data, usable->len);
}

static int read_groups(sd_bus_message *reply, GArray *groups) {
        const void *gids;
        gsize size;
        int r;

        r = sd_bus_message_enter_container(reply, 'v', "au");
        if (r < 0)
                return r;
        r = sd_bus_message_read_array(reply, 'u', &gids, &size);
        if (r < 0)
                return r;
        G_STATIC_ASSERT(sizeof(gid_t) == sizeof(guint32));
        g_array_set_size(groups, 0);
        if (size > 0)
                g_array_append_vals(groups, gids, size / sizeof(gid_t));
        return sd_bus_message_exit_container(reply);
}

static int read_credential(sd_bus_message *reply, uid_t *uid, guint32 *pid, GArray *groups) {
        const char *key;
        int r;

        r = sd_bus_message_read_basic(reply, 's', &key);
        if (r < 0)
                return r;
        if (g_str_equal(key, "UnixUserID"))
                return sd_bus_message_read(reply, "v", "u", uid);
        if (g_str_equal(key, "ProcessID"))
                return sd_bus_message_read(reply, "v", "u", pid);
        if (g_str_equal(key, "UnixGroupIDs"))
                return read_groups(reply, groups);
        return sd_bus_message_skip(reply, "v");
}

/* What GetConnectionCredentials answered, or NULL where it names no user. */
static GlCredentials *read_credentials(sd_bus_message *reply, guint32 *pid) {
        g_autoptr(GArray) groups = g_array_new(FALSE, FALSE, sizeof(gid_t));
        uid_t uid = (uid_t) -1;
        int r;

        if (sd_bus_message_enter_container(reply, 'a', "{sv}") <= 0)
                return NULL;
        while ((r = sd_bus_message_enter_container(reply, 'e', "sv")) > 0)
                if (read_credential(reply, &uid, pid, groups) < 0 || sd_bus_message_exit_container(reply) < 0)
                        return NULL;
        return r < 0 ? NULL : make_credentials(uid, groups);
}

static int on_credentials(sd_bus_message *reply, void *user_data, sd_bus_error *unused) {
        Record *record = user_data;
        const sd_bus_error *failure = sd_bus_message_get_error(reply);
        g_autoptr(GError) error = NULL;

        record->question = sd_bus_slot_unref(record->question);
        if (failure && sd_bus_error_has_name(failure, SD_BUS_ERROR_NAME_HAS_NO_OWNER)) {
                leave(record);
                return 1;
        }
        if (!failure)
                record->caller.credentials = read_credentials(reply, &record->caller.pid);
        if (!record->caller.credentials)
                g_set_error(&error, GL_ERROR, GL_ERROR_ACCESS_DENIED, "The bus does not say which user %s is%s%s.",
                            record->caller.sender, failure ? ": " : "", failure ? failure->message : "");
        answer(record, error);
        return 1;
}

static void ask(Record *record) {
        g_autoptr(GError) error = NULL;
        int r;

        r = sd_bus_call_method_async(record->callers->bus, &record->question, BUS_NAME, BUS_PATH, BUS_NAME,
                                     "GetConnectionCredentials", on_credentials, record, "s", record->caller.sender);
        if (r >= 0)
                return;
        error = g_error_new(GL_ERROR, GL_ERROR_ACCESS_DENIED, "The bus cannot be asked which user %s is: %s.",
                            record->caller.sender, g_strerror(-r));
        answer(record, error);
}

/* --- without a bus --- */

static GlCredentials *read_peer(sd_bus *bus) {
        g_autoptr(GArray) groups = g_array_new(FALSE, FALSE, sizeof(gid_t));
        sd_bus_creds *creds;
        const gid_t *more;
        uid_t uid = (uid_t) -1;
        gid_t gid;
        int n;

        if (sd_bus_get_owner_creds(bus, SD_BUS_CREDS_EUID | SD_BUS_CREDS_EGID | SD_BUS_CREDS_SUPPLEMENTARY_GIDS,
                                   &creds) < 0)
                return NULL;
        if (sd_bus_creds_get_euid(creds, &uid) < 0)
                uid = (uid_t) -1;
        if (sd_bus_creds_get_egid(creds, &gid) >= 0)
                g_array_append_val(groups, gid);
        n = sd_bus_creds_get_supplementary_gids(creds, &more);
        if (n > 0)
                g_array_append_vals(groups, more, n);
        sd_bus_creds_unref(creds);
        return make_credentials(uid, groups);
}

static GlCredentials *find_peer_credentials(GlCallers *callers) {
        g_autoptr(GArray) none = NULL;

        if (!callers->pretending)
                return read_peer(callers->bus);
        none = g_array_new(FALSE, FALSE, sizeof(gid_t));
        return make_credentials(callers->pretended, none);
}

/* One caller per uid, so that a test can play several. */
static Record *find_peer(GlCallers *callers) {
        g_autoptr(GlCredentials) credentials = find_peer_credentials(callers);
        g_autofree char *sender = NULL;
        Record *record;

        if (!credentials)
                return NULL;
        sender = g_strdup_printf(":peer-%u", credentials->uid);
        record = g_hash_table_lookup(callers->known, sender);
        return record ?: record_new(callers, sender, g_steal_pointer(&credentials));
}

void gl_callers_pretend(GlCallers *callers, guint32 uid) {
        g_assert(callers->direct);
        callers->pretending = TRUE;
        callers->pretended = uid;
}

/* --- all of them --- */

static Record *find_caller(GlCallers *callers, sd_bus_message *message) {
        const char *sender;
        Record *record;

        /* A peer could write any sender into its messages; a bus overwrites it. */
        if (callers->direct)
                return find_peer(callers);
        sender = sd_bus_message_get_sender(message);
        if (!sender)
                return NULL;
        record = g_hash_table_lookup(callers->known, sender);
        return record ?: record_new(callers, sender, NULL);
}

void gl_callers_look_up(GlCallers *callers, sd_bus_message *message, GlCallerReady ready, gpointer user_data) {
        Record *record = find_caller(callers, message);

        if (!record) {
                g_autoptr(GError) error = g_error_new_literal(GL_ERROR, GL_ERROR_ACCESS_DENIED,
                                                              "Nobody says which user this call is from.");

                ready(NULL, error, user_data);
                return;
        }
        if (record->caller.credentials && !record->answering) {
                ready(&record->caller, NULL, user_data);
                return;
        }
        add_waiter(record, ready, user_data);
        if (!record->question && !record->answering)
                ask(record);
}

static int on_name_owner_changed(sd_bus_message *signal, void *user_data, sd_bus_error *unused) {
        GlCallers *callers = user_data;
        const char *name;
        Record *record;

        /*
         * Anybody may send us such a signal, and sd-bus lets it pass for the bus's: of who sends from a unique name it
         * does not know whether he has the well-known one of the match as well.
         */
        if (g_strcmp0(sd_bus_message_get_sender(signal), BUS_NAME) != 0 || sd_bus_message_read(signal, "s", &name) < 0)
                return 0;
        record = g_hash_table_lookup(callers->known, name);
        if (!record)
                return 0;
        leave(record);
        return 1;
}

void gl_callers_free(GlCallers *callers) {
        GHashTableIter iter;
        gpointer record;

        if (!callers)
                return;
        sd_bus_slot_unref(callers->match);
        while (g_hash_table_iter_init(&iter, callers->known), g_hash_table_iter_next(&iter, NULL, &record))
                leave(record);
        g_hash_table_unref(callers->known);
        sd_bus_unref(callers->bus);
        g_free(callers);
}

GlCallers *gl_callers_new(sd_bus *bus, GlCallerGone gone, gpointer user_data, GError **error) {
        g_autoptr(GlCallers) callers = g_new0(GlCallers, 1);
        int r;

        callers->bus = sd_bus_ref(bus);
        callers->gone = gone;
        callers->user_data = user_data;
        callers->known = g_hash_table_new(g_str_hash, g_str_equal);
        callers->direct = sd_bus_is_bus_client(bus) <= 0;
        if (callers->direct)
                return g_steal_pointer(&callers);

        /* Should the bus refuse the match, sd-bus closes the connection: nobody is served without it. */
        r = sd_bus_add_match_async(bus, &callers->match,
                                   "type='signal',sender='" BUS_NAME "',path='" BUS_PATH "',interface='" BUS_NAME "',"
                                   "member='NameOwnerChanged',arg2=''",
                                   on_name_owner_changed, NULL, callers);
        if (r < 0) {
                g_set_error(error, GL_ERROR, GL_ERROR_DRIVER_FAILED,
                            "The bus cannot be asked to say which callers leave: %s.", g_strerror(-r));
                return NULL;
        }
        return g_steal_pointer(&callers);
}
