/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core-fixture.h"

/*
 * A random walk over everything that can be asked of the core and that can happen to it, with storage that answers in
 * any order, fails, loses locks, and hangs. After each step everything that must always hold is looked at: the table has the claims
 * of the resources and nothing else, nobody holds what conflicts, what the signals said is what is, who is parked has a
 * reason to be, and each call is answered once. At the end everything goes, and nothing is left.
 *
 * With --verbose it tells what it does.
 */

#define N_GUESTS 6
#define N_DISKS  7
#define FIRST_UID 1000
#define N_UIDS   2
#define WAS_LOST 99

/* What somebody who only listens knows of a guest. */
typedef struct {
        char *name;
        guint32 id;
        GlGuestState state;
        gboolean waiting;
        guint32 pids[GL_N_PROCESSES];
        guint64 generation;
        gint64 acquired_at;
        char *resources;
        GHashTable *leases; /* name → mode + 1, or WAS_LOST */
} Listener;

typedef struct {
        CoreFixture *f;
        GRand *rand;
        GHashTable *listeners; /* GlGuest → Listener */
        GArray *replies;       /* of guint8, by call */
        GArray *pids;          /* that live */
        guint32 last_pid;
        guint n_granted, n_refused;
} Walk;

static gboolean one_in(Walk *w, gint32 n) {
        return g_rand_int_range(w->rand, 0, n) == 0;
}

static guint below(Walk *w, guint n) {
        return (guint) g_rand_int_range(w->rand, 0, (gint32) n);
}

/* --- the listener --- */

static void listener_free(gpointer data) {
        Listener *listener = data;

        g_free(listener->name);
        g_free(listener->resources);
        g_hash_table_unref(listener->leases);
        g_free(listener);
}

static char *describe_resources(const GlGuest *guest) {
        GString *text = g_string_new(NULL);

        for (guint i = 0; i < guest->resources->len; i++) {
                const GlResource *resource = g_ptr_array_index(guest->resources, i);

                g_string_append_printf(text, "%s %s %s ", resource->name, gl_mode_to_string(resource->mode),
                                       gl_resource_state_to_string(resource->state));
                if (resource->state != GL_RESOURCE_REGISTERED)
                        g_string_append_printf(text, "%" G_GUINT64_FORMAT " %" G_GINT64_FORMAT ";",
                                               resource->generation, resource->since);
        }
        return g_string_free(text, FALSE);
}

static void listen_to_properties(Listener *listener, const GlGuest *guest, guint properties) {
        if (properties & GL_PROPERTY_NAME) {
                g_free(listener->name);
                listener->name = g_strdup(guest->name);
        }
        if (properties & GL_PROPERTY_ID)
                listener->id = guest->id;
        if (properties & GL_PROPERTY_STATE)
                listener->state = guest->state;
        if (properties & GL_PROPERTY_WAITING)
                listener->waiting = guest->n_waiting > 0;
        if (properties & GL_PROPERTY_PID)
                listener->pids[GL_PROCESS_GUEST] = guest->processes[GL_PROCESS_GUEST].pid;
        if (properties & GL_PROPERTY_SUPERVISOR_PID)
                listener->pids[GL_PROCESS_SUPERVISOR] = guest->processes[GL_PROCESS_SUPERVISOR].pid;
        if (properties & GL_PROPERTY_GENERATION)
                listener->generation = guest->generation;
        if (properties & GL_PROPERTY_ACQUIRED_AT)
                listener->acquired_at = guest->acquired_at;
        if (properties & GL_PROPERTY_RESOURCES) {
                g_free(listener->resources);
                listener->resources = describe_resources(guest);
        }
}

static void listen_to_leases(Listener *listener, const GlChange *change) {
        for (guint i = 0; i < change->items->len; i++) {
                const GlItem *item = &g_array_index(change->items, GlItem, i);

                if (change->kind == GL_CHANGE_LEASES_ACQUIRED)
                        g_hash_table_insert(listener->leases, g_strdup(item->name), GUINT_TO_POINTER(item->mode + 1));
                else
                        g_assert_true(g_hash_table_remove(listener->leases, item->name));
        }
}

static void listen_to_loss(Listener *listener, const GlChange *change) {
        for (guint i = 0; i < change->items->len; i++) {
                const GlItem *item = &g_array_index(change->items, GlItem, i);

                g_assert_true(g_hash_table_contains(listener->leases, item->name));
                g_hash_table_insert(listener->leases, g_strdup(item->name), GUINT_TO_POINTER(WAS_LOST));
        }
}

static gboolean is_leased(gpointer name, gpointer mode, gpointer user_data) {
        return GPOINTER_TO_UINT(mode) != WAS_LOST;
}

static void on_reply(Walk *w, const GlChange *change) {
        guint call = GPOINTER_TO_UINT(change->call);

        g_assert_cmpuint(call, >, 0);
        if (call >= w->replies->len)
                g_array_set_size(w->replies, call + 1);
        g_assert_cmpuint(g_array_index(w->replies, guint8, call)++, ==, 0);
        *(change->error ? &w->n_refused : &w->n_granted) += 1;
}

static void on_change(const GlChange *change, gpointer data) {
        Walk *w = data;
        Listener *listener = change->guest ? g_hash_table_lookup(w->listeners, change->guest) : NULL;

        switch (change->kind) {
        case GL_CHANGE_GUEST_ADDED:
                g_assert_null(listener);
                listener = g_new0(Listener, 1);
                listener->leases = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
                g_hash_table_insert(w->listeners, change->guest, listener);
                listen_to_properties(listener, change->guest, ~0u);
                break;
        case GL_CHANGE_GUEST_REMOVED:
                g_assert_null(g_hash_table_find(listener->leases, is_leased, NULL));
                g_hash_table_remove(w->listeners, change->guest);
                break;
        case GL_CHANGE_PROPERTIES:
                g_assert_cmpuint(change->properties, !=, 0);
                listen_to_properties(listener, change->guest, change->properties);
                break;
        case GL_CHANGE_LEASES_ACQUIRED:
        case GL_CHANGE_LEASES_RELEASED:
                listen_to_leases(listener, change);
                break;
        case GL_CHANGE_LEASE_LOST:
                listen_to_loss(listener, change);
                break;
        case GL_CHANGE_REPLY:
                on_reply(w, change);
                break;
        default:
                break;
        }
}

static void check_listener(Walk *w, GlGuest *guest) {
        const Listener *listener = g_hash_table_lookup(w->listeners, guest);
        g_autofree char *resources = describe_resources(guest);
        guint n = 0, n_told = 0;
        GHashTableIter iter;
        gpointer mode;

        g_assert_nonnull(listener);
        g_assert_cmpstr(listener->name, ==, guest->name);
        g_assert_cmpuint(listener->id, ==, guest->id);
        g_assert_cmpint(listener->state, ==, guest->state);
        g_assert_cmpint(listener->waiting, ==, guest->n_waiting > 0);
        for (guint role = 0; role < GL_N_PROCESSES; role++)
                g_assert_cmpuint(listener->pids[role], ==, guest->processes[role].pid);
        g_assert_cmpuint(listener->generation, ==, guest->generation);
        g_assert_cmpint(listener->acquired_at, ==, guest->acquired_at);
        g_assert_cmpstr(listener->resources, ==, resources);

        for (guint i = 0; i < guest->resources->len; i++) {
                const GlResource *resource = g_ptr_array_index(guest->resources, i);
                guint told = GPOINTER_TO_UINT(g_hash_table_lookup(listener->leases, resource->name));

                if (resource->state == GL_RESOURCE_LOST)
                        g_assert_cmpuint(told, ==, WAS_LOST);
                if (resource->state == GL_RESOURCE_HELD ||
                    (resource->state == GL_RESOURCE_DRAINING && told != WAS_LOST)) {
                        n++;
                        g_assert_cmpuint(told, ==, resource->mode + 1);
                }
        }
        g_hash_table_iter_init(&iter, listener->leases);
        while (g_hash_table_iter_next(&iter, NULL, &mode))
                n_told += is_leased(NULL, mode, NULL);
        g_assert_cmpuint(n_told, ==, n);
}

/* --- what always holds --- */

typedef struct {
        guint n_claims, n_leases, n_saved;
} Counts;

static void check_resource(Walk *w, const GlGuest *guest, const GlResource *resource, Counts *counts) {
        const GlClaim *claim = resource->claim;

        g_assert_true(resource->guest == guest);
        counts->n_leases += resource->state != GL_RESOURCE_REGISTERED;
        if (resource->state == GL_RESOURCE_REGISTERED && resource->job == 0) {
                g_assert_null(claim);
                g_assert_null(resource->lease);
        }
        if (resource->state == GL_RESOURCE_HELD && resource->job == 0)
                g_assert_nonnull(resource->lease);
        /* What is lost stays blocked, but what was nobody's; what was unplugged, until it has been given back. */
        if (resource->state != GL_RESOURCE_REGISTERED && !resource->unblocked)
                g_assert_true(claim || (gl_guest_data(guest)->exiting && !resource->lease &&
                                        g_ptr_array_find(guest->ghosts, resource, NULL)));
        if (resource->state != GL_RESOURCE_REGISTERED && resource->job == 0 && claim) {
                g_assert_false(claim->pending);
                g_assert_cmpint(claim->mode, ==, resource->mode);
        }
        if (resource->lease && resource->job == 0) {
                g_assert_true(g_ptr_array_find(w->f->leases, resource->lease, NULL));
                g_assert_cmpint(((const GlClaim *) resource->lease)->mode, ==, resource->mode);
        }
        if (!claim)
                return;
        counts->n_claims++;
        g_assert_true(claim->owner == resource && claim->place == resource->place);
        g_assert_false(gl_table_conflicts(w->f->core->table, claim->place, claim->mode, claim, NULL));
}

static gboolean wants_what_an_earlier_one_wants(GlCore *core, const GlOp *op, const GlResource *resource) {
        for (GList *link = core->ops.head; link->data != op; link = link->next) {
                const GlOp *earlier = link->data;

                for (guint i = 0; earlier->parked && earlier->deadline != 0 && i < earlier->resources->len; i++) {
                        g_autoptr(GlTable) table = gl_table_new();
                        GlResource *wanted = g_ptr_array_index(earlier->resources, i);

                        gl_table_enter(table, wanted->place, gl_op_mode(earlier, wanted), NULL);
                        if (gl_table_conflicts(table, resource->place, gl_op_mode(op, resource), NULL, NULL))
                                return TRUE;
                }
        }
        return FALSE;
}

/* Whoever is parked will be woken, and has a reason to be. */
static void check_parked(Walk *w, const GlOp *op) {
        GlCore *core = w->f->core;
        gboolean reason = FALSE;

        g_assert_true(op->parked || op->n_jobs > 0);
        if (!op->parked)
                return;
        if (op->settle_until != 0) {
                g_assert_true(core->outstanding.length > 0 || gl_guest_has_process(op->guest) ||
                              gl_guest_data(op->guest)->exiting);
                return;
        }
        if (!gl_op_is_acquire(op) || op->retry_at != 0)
                return;
        g_assert_cmpint(op->deadline, >, core->now);
        for (guint i = 0; i < op->resources->len && !reason; i++) {
                const GlResource *resource = g_ptr_array_index(op->resources, i);

                reason = gl_table_conflicts(core->table, resource->place, gl_op_mode(op, resource), resource->claim,
                                            NULL) ||
                         wants_what_an_earlier_one_wants(core, op, resource);
        }
        g_assert_true(reason);
}

static void check_guest(Walk *w, const GlGuest *guest, Counts *counts) {
        const GlGuestData *data = gl_guest_data(guest);
        guint n_ops = 0, n_waiting = 0;

        for (GList *link = w->f->core->ops.head; link; link = link->next) {
                const GlOp *op = link->data;

                if (op->guest != guest)
                        continue;
                n_ops++;
                n_waiting += op->waiting;
                check_parked(w, op);
        }
        g_assert_cmpuint(data->n_ops, ==, n_ops);
        g_assert_cmpuint(guest->n_waiting, ==, n_waiting);
        g_assert_cmpuint(data->properties, ==, 0);
        for (guint i = 0; i < guest->ghosts->len; i++) {
                check_resource(w, guest, g_ptr_array_index(guest->ghosts, i), counts);
                counts->n_leases--; /* it is the guest's no more */
        }
        for (guint i = 0; i < guest->resources->len; i++)
                check_resource(w, guest, g_ptr_array_index(guest->resources, i), counts);
        if (guest->state == GL_GUEST_NEW || (guest->state == GL_GUEST_RELEASED && !gl_guest_has_process(guest)))
                g_assert_true(!gl_guest_has_leases(guest) || data->exiting);
        if (data->exiting)
                g_assert_false(gl_guest_has_process(guest));
}

static void check_everything(Walk *w) {
        GlCore *core = w->f->core;
        Counts counts = {};
        guint n_of_guests = 0;
        GHashTableIter iter;
        guint n_unsaved = 0;
        gpointer next;

        g_hash_table_iter_init(&iter, core->guests);
        while (g_hash_table_iter_next(&iter, NULL, &next)) {
                GlGuest *guest = next;
                g_autofree char *key = g_strdup_printf("%u/%s", guest->owner_uid, guest->uuid);

                check_guest(w, guest, &counts);
                check_listener(w, guest);
                g_assert_false(guest->hidden);
                g_assert_false(gl_guest_data(guest)->removing);
                /* What could not be saved is tried again, and meanwhile there is rather nothing. */
                if (!g_hash_table_contains(w->f->saved, key)) {
                        g_assert_true(gl_guest_data(guest)->unsaved && core->save_at != 0);
                        n_unsaved++;
                }
        }
        g_assert_cmpuint(counts.n_leases, ==, gl_core_n_leases(core));
        g_hash_table_iter_init(&iter, core->starting);
        while (g_hash_table_iter_next(&iter, NULL, &next)) {
                check_guest(w, next, &counts);
                g_assert_true(((GlGuest *) next)->hidden);
        }
        g_assert_cmpuint(counts.n_claims, ==, gl_table_size(core->table));
        g_assert_cmpuint(g_hash_table_size(core->guests), ==, g_hash_table_size(w->listeners));
        g_assert_cmpuint(g_hash_table_size(core->guests), ==, g_hash_table_size(w->f->saved) + n_unsaved);
        for (guint i = 0; i < w->f->jobs->len; i++)
                n_of_guests += ((GlJob *) g_ptr_array_index(w->f->jobs, i))->guest_uuid != NULL;
        g_assert_cmpuint(core->outstanding.length, ==, n_of_guests);
        g_assert_cmpuint(core->dirty->len, ==, 0);
        g_assert_false(core->again);
        g_assert_null(core->ahead);
}

/* --- steps --- */

/* Files on one file system, a volume on the same device, two partitions that overlap, a whole device, a key. */
static void make_disks(Walk *w) {
        static const char *const names[N_DISKS] = {"/file1", "/file2", "/volume", "/part1", "/part2", "/whole", "key"};
        GlNode device = {.kind = GL_NODE_BLOCK, .device = 8};

        for (guint i = 0; i < 3; i++) {
                GlAncestor below_it = {device, {i < 2 ? 0 : 50, 100}, i < 2 ? 7 : 9};
                GlNode node = {.kind = GL_NODE_FILE, .device = 1, .inode = 100 + i};
                g_autoptr(GlPlace) place = gl_place_new(&node, (GlExtent){0, GL_EXTENT_END}, &below_it, 1);

                core_set_place(w->f, names[i], place);
        }
        for (guint i = 3; i < 6; i++) {
                GlExtent extents[] = {{40, 60}, {55, 200}, {0, GL_EXTENT_END}};
                g_autoptr(GlPlace) place = gl_place_new(&device, extents[i - 3], NULL, 0);

                core_set_place(w->f, names[i], place);
        }
        core_disk(w->f, names[6]);
}

static const char *random_name(Walk *w) {
        static const char *const names[N_DISKS] = {"/file1", "/file2", "/volume", "/part1", "/part2", "/whole", "key"};

        return names[below(w, N_DISKS)];
}

static const char *random_resource(Walk *w, char text[32]) {
        g_snprintf(text, 32, "%s:%c", random_name(w), "RWXX"[below(w, 4)]);
        return text;
}

static guint32 random_pid(Walk *w) {
        if (w->pids->len > 0 && one_in(w, 3))
                return g_array_index(w->pids, guint32, below(w, w->pids->len));
        w->last_pid++;
        g_array_append_val(w->pids, w->last_pid);
        return w->last_pid;
}

static guint random_wait(Walk *w) {
        return one_in(w, 2) ? 0 : 1 + below(w, 3000);
}

static void step_acquire(Walk *w, const char *guest) {
        CoreOptions options = {.wait_ms = random_wait(w), .supervisor = one_in(w, 4)};

        if (!one_in(w, 4))
                options.pid = random_pid(w);
        options.register_only = options.pid != 0 && one_in(w, 5);
        if (one_in(w, 5))
                options.state = w->f->text;
        core_acquire_with(w->f, guest, &options);
}

static void step_start(Walk *w, const char *guest) {
        CoreOptions options = {.wait_ms = random_wait(w), .keep = one_in(w, 3), .supervisor = one_in(w, 4)};
        char one[32], two[32];
        g_autofree char *both = g_strdup_printf("%s %s", random_resource(w, one), random_resource(w, two));

        if (!one_in(w, 4))
                options.pid = random_pid(w);
        core_start_with(w->f, guest, one_in(w, 2) ? one : both, &options);
}

static void step_exit(Walk *w) {
        guint nth = w->pids->len > 0 ? below(w, w->pids->len) : 0;

        if (w->pids->len == 0)
                return;
        core_exit(w->f, g_array_index(w->pids, guint32, nth));
        g_array_remove_index_fast(w->pids, nth);
}

/* What the storage is like from now on. */
static void step_storage(Walk *w) {
        static const int errors[] = {-1, -1, -1, -1, -1, -1, GL_ERROR_CONFLICT, GL_ERROR_STORAGE_UNAVAILABLE};
        CoreDisk *disk = core_disk(w->f, random_name(w));

        disk->error = errors[below(w, G_N_ELEMENTS(errors))];
        disk->brief = one_in(w, 2);
        disk->undrained = one_in(w, 4);
        disk->lost = one_in(w, 5);
        disk->unknown = one_in(w, 10);
        disk->mtime += one_in(w, 4);
        w->f->save_fails = one_in(w, 12);
}

static void step_of_guest(Walk *w, const char *guest, guint what) {
        char resource[32];

        switch (what) {
        case 0:
                core_register(w->f, guest, random_resource(w, resource));
                break;
        case 1 ... 3:
                step_acquire(w, guest);
                break;
        case 4 ... 5:
                core_release(w->f, guest);
                break;
        case 6:
                core_inquire(w->f, guest);
                break;
        case 7 ... 9:
                core_plug(w->f, guest, random_resource(w, resource), random_wait(w));
                break;
        case 10:
                core_unplug(w->f, guest, random_name(w));
                break;
        case 11:
                core_set_child(w->f, guest, random_pid(w));
                break;
        case 12:
                core_get_child(w->f, guest, random_wait(w));
                break;
        case 13:
                core_shutdown(w->f, guest, one_in(w, 2));
                break;
        case 14:
                core_free_guest(w->f, guest);
                break;
        case 15:
                core_revoke(w->f, guest, one_in(w, 2) ? "" : random_name(w), one_in(w, 3));
                break;
        default:
                step_start(w, guest);
                break;
        }
}

static void step(Walk *w) {
        static const char *const guests[N_GUESTS] = {"g0", "g1", "g2", "g3", "g4", "g5"};
        static const char *const senders[] = {":1.1", ":1.2", ":1.3", ":1.4"};
        guint nth = below(w, N_GUESTS), what = below(w, 37);
        const char *guest = guests[nth];

        w->f->uid = FIRST_UID + nth % N_UIDS;
        w->f->sender = senders[below(w, G_N_ELEMENTS(senders))];
        if (g_test_verbose())
                g_print("# step %u of %s\n", what, guest);
        if (what < 17 && core_guest(w->f, guest))
                step_of_guest(w, guest, what);
        else if (what < 17)
                one_in(w, 2) ? (void) core_create(w->f, guest) : step_start(w, guest);
        else if (what < 29 && w->f->jobs->len > 0)
                core_answer_nth(w->f, below(w, w->f->jobs->len));
        else if (what < 31)
                one_in(w, 3) ? step_exit(w) : core_advance(w->f, below(w, 1000));
        else if (what < 32)
                core_leave_bus(w->f, w->f->sender);
        else if (what < 33)
                step_storage(w);
        else
                core_advance(w->f, one_in(w, 30) ? 11000 : below(w, 400));
        if (g_test_verbose())
                g_print("%s", w->f->lines->str);
        core_forget_lines(w->f);
        check_everything(w);
}

/* --- the end --- */

static void answer_everything(Walk *w) {
        for (guint i = 0; i < 1000 && w->f->jobs->len > 0; i++) {
                core_answer(w->f);
                check_everything(w);
        }
        g_assert_cmpuint(w->f->jobs->len, ==, 0);
}

static void collect_guest(GlGuest *guest, gpointer guests) {
        g_ptr_array_add(guests, guest);
}

static void free_all_guests(Walk *w) {
        g_autoptr(GPtrArray) guests = g_ptr_array_new();

        gl_core_foreach_guest(w->f->core, collect_guest, guests);
        for (guint i = 0; i < guests->len; i++) {
                GlRequest release = core_request(w->f), freeing;

                gl_core_release(w->f->core, &release, g_ptr_array_index(guests, i));
                core_drain(w->f);
                freeing = core_request(w->f);
                gl_core_free_guest(w->f->core, &freeing, g_ptr_array_index(guests, i));
                core_drain(w->f);
                check_everything(w);
        }
}

static void end_walk(Walk *w) {
        GlCore *core = w->f->core;
        GHashTableIter iter;
        gpointer disk;

        w->f->save_fails = FALSE;
        w->f->hangs = FALSE;
        g_hash_table_iter_init(&iter, w->f->disks);
        while (g_hash_table_iter_next(&iter, NULL, &disk)) {
                ((CoreDisk *) disk)->error = -1;
                ((CoreDisk *) disk)->undrained = ((CoreDisk *) disk)->lost = ((CoreDisk *) disk)->unknown = FALSE;
        }
        answer_everything(w);
        while (w->pids->len > 0)
                step_exit(w);
        core_advance(w->f, 20000); /* longer than anybody waits */
        check_everything(w);
        g_assert_cmpuint(core->ops.length, ==, 0);
        for (guint call = 1; call <= w->f->n_calls; call++)
                g_assert_cmpuint(g_array_index(w->replies, guint8, call), ==, 1);

        free_all_guests(w);
        g_assert_cmpuint(gl_core_n_guests(core), ==, 0);
        g_assert_cmpuint(gl_core_n_leases(core), ==, 0);
        g_assert_cmpuint(g_hash_table_size(core->starting), ==, 0);
        g_assert_cmpuint(g_hash_table_size(core->owners), ==, 0);
        g_assert_cmpuint(g_hash_table_size(core->pids), ==, 0);
        g_assert_cmpuint(gl_table_size(core->table), ==, 0);
        g_assert_cmpuint(gl_table_size(w->f->locks), ==, 0);
        g_assert_cmpuint(core->ops.length, ==, 0);
        g_assert_cmpint(gl_core_next_tick(core), ==, G_MAXINT64);
}

static void test_walk(gconstpointer seed) {
        g_autoptr(CoreFixture) f = core_fixture_new();
        Walk w = {
                .f = f,
                .rand = g_rand_new_with_seed(GPOINTER_TO_UINT(seed)),
                .listeners = g_hash_table_new_full(NULL, NULL, NULL, listener_free),
                .replies = g_array_new(FALSE, TRUE, sizeof(guint8)),
                .pids = g_array_new(FALSE, FALSE, sizeof(guint32)),
        };

        f->hangs = TRUE;
        f->on_change = on_change;
        f->on_change_data = &w;
        gl_core_set_check_interval(f->core, G_USEC_PER_SEC);
        make_disks(&w);
        for (guint i = 0; i < 6000; i++)
                step(&w);
        end_walk(&w);
        g_assert_cmpuint(w.n_granted, >, 100); /* it has been about something */
        g_assert_cmpuint(w.n_refused, >, 100);
        f->on_change = NULL;

        g_rand_free(w.rand);
        g_hash_table_unref(w.listeners);
        g_array_unref(w.replies);
        g_array_unref(w.pids);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        for (guint seed = 1; seed <= 16; seed++) {
                g_autofree char *path = g_strdup_printf("/core-walk/%u", seed);

                g_test_add_data_func(path, GUINT_TO_POINTER(seed), test_walk);
        }
        return g_test_run();
}
