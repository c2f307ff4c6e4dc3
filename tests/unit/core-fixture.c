/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core-fixture.h"

/*
 * The driver keeps a lock table of its own, from which it can be seen whether the core keeps the promise. A disk is a
 * file of its own unless core_set_place() says otherwise.
 */

static const char *const code_names[GL_N_ERRORS] = {
        [GL_ERROR_CONFLICT] = "Conflict",
        [GL_ERROR_BAD_STATE] = "BadState",
        [GL_ERROR_NO_SUCH_GUEST] = "NoSuchGuest",
        [GL_ERROR_NO_SUCH_RESOURCE] = "NoSuchResource",
        [GL_ERROR_ALREADY_EXISTS] = "AlreadyExists",
        [GL_ERROR_ALREADY_REGISTERED] = "AlreadyRegistered",
        [GL_ERROR_NOT_SUPPORTED] = "NotSupported",
        [GL_ERROR_TIMEOUT] = "Timeout",
        [GL_ERROR_CANCELLED] = "Cancelled",
        [GL_ERROR_STALE] = "Stale",
        [GL_ERROR_LEASE_LOST] = "LeaseLost",
        [GL_ERROR_GUEST_RUNNING] = "GuestRunning",
        [GL_ERROR_NO_CHILD] = "NoChild",
        [GL_ERROR_LIMIT_EXCEEDED] = "LimitExceeded",
        [GL_ERROR_NO_SUCH_DRIVER] = "NoSuchDriver",
        [GL_ERROR_DRIVER_IN_USE] = "DriverInUse",
        [GL_ERROR_DRIVER_FAILED] = "DriverFailed",
        [GL_ERROR_STORAGE_UNAVAILABLE] = "StorageUnavailable",
        [GL_ERROR_INVALID_ARGS] = "InvalidArgs",
        [GL_ERROR_ACCESS_DENIED] = "AccessDenied",
};

static const char mode_letters[] = {[GL_MODE_READONLY] = 'R', [GL_MODE_SHARED] = 'W', [GL_MODE_EXCLUSIVE] = 'X'};

const char *core_code_name(int code) {
        if (code < 0)
                return "ok";
        g_assert_nonnull(code_names[code]);
        return code_names[code];
}

/* --- the world --- */

static void disk_free(gpointer data) {
        CoreDisk *disk = data;

        gl_place_unref(disk->place);
        g_free(disk);
}

CoreDisk *core_disk(CoreFixture *f, const char *name) {
        CoreDisk *disk = g_hash_table_lookup(f->disks, name);
        GlNode node = {.kind = GL_NODE_FILE, .device = 1, .inode = g_hash_table_size(f->disks) + 1};

        if (disk)
                return disk;
        disk = g_new0(CoreDisk, 1);
        disk->place = gl_place_new(&node, (GlExtent){0, GL_EXTENT_END}, NULL, 0);
        disk->error = -1;
        disk->size = 4096;
        disk->mtime = 1;
        g_hash_table_insert(f->disks, g_strdup(name), disk);
        return disk;
}

void core_set_place(CoreFixture *f, const char *name, GlPlace *place) {
        CoreDisk *disk = core_disk(f, name);

        gl_place_unref(disk->place);
        disk->place = gl_place_ref(place);
}

static void add_line(CoreFixture *f, const char *format, ...) G_GNUC_PRINTF(2, 3);

static void add_line(CoreFixture *f, const char *format, ...) {
        va_list arguments;

        if (f->silent)
                return;
        va_start(arguments, format);
        g_string_append_vprintf(f->lines, format, arguments);
        va_end(arguments);
        g_string_append_c(f->lines, '\n');
}

static gboolean save(const GlGuest *guest, gpointer user_data, GError **error) {
        CoreFixture *f = user_data;

        g_assert_false(guest->hidden);
        if (f->save_fails) {
                g_set_error(error, GL_ERROR, GL_ERROR_DRIVER_FAILED, "The disk is full.");
                return FALSE;
        }
        f->n_saved++;
        g_hash_table_add(f->saved, g_strdup_printf("%u/%s", guest->owner_uid, guest->uuid));
        return TRUE;
}

static void forget(const GlGuest *guest, gpointer user_data) {
        CoreFixture *f = user_data;
        g_autofree char *key = g_strdup_printf("%u/%s", guest->owner_uid, guest->uuid);

        f->n_forgotten++;
        g_hash_table_remove(f->saved, key);
}

static const char *storage_of(const GlResource *resource, gpointer user_data) {
        return core_disk(user_data, resource->name)->storage ?: "";
}

static void make_core(CoreFixture *f) {
        static const char *const everything[] = {"disk", "lease", "hotplug", "shared", "readonly", NULL};
        static const char *const little[] = {"disk", NULL};
        static const GlCoreHooks hooks = {.save = save, .forget = forget, .storage_of = storage_of};

        f->core = gl_core_new(&f->limits, "hostid1", "kvm1", &hooks, f);
        gl_core_add_driver(f->core, "test", everything);
        gl_core_add_driver(f->core, "little", little);
        f->locks = gl_table_new();
}

CoreFixture *core_fixture_new(void) {
        CoreFixture *f = g_new0(CoreFixture, 1);

        gl_limits_set_defaults(&f->limits);
        f->now = 1000 * G_USEC_PER_SEC;
        f->realtime = 1800000000 * (gint64) G_USEC_PER_SEC;
        f->uid = 1000;
        f->sender = ":1.1";
        f->disks = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, disk_free);
        f->jobs = g_ptr_array_new_with_free_func((GDestroyNotify) gl_job_free);
        f->audits = g_ptr_array_new_with_free_func((GDestroyNotify) gl_job_free);
        f->leases = g_ptr_array_new();
        f->lines = g_string_new(NULL);
        f->generations = g_array_new(FALSE, FALSE, sizeof(guint64));
        f->saved = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        f->code = -1;
        make_core(f);
        return f;
}

static void lose_core(CoreFixture *f) {
        gl_core_free(f->core);
        g_ptr_array_set_size(f->jobs, 0);
        g_ptr_array_set_size(f->audits, 0);
        while (f->leases->len > 0)
                gl_table_drop(f->locks, g_ptr_array_steal_index_fast(f->leases, 0));
        gl_table_free(f->locks);
}

void core_restart(CoreFixture *f) {
        lose_core(f);
        make_core(f);
}

static void count_held(GlGuest *guest, gpointer data) {
        for (guint i = 0; i < guest->resources->len; i++)
                if (((GlResource *) g_ptr_array_index(guest->resources, i))->lease)
                        ++*(guint *) data;
        for (guint i = 0; i < guest->ghosts->len; i++)
                if (((GlResource *) g_ptr_array_index(guest->ghosts, i))->lease)
                        ++*(guint *) data;
}

void core_fixture_free(CoreFixture *f) {
        guint n_held = 0;

        while (f->jobs->len > 0)
                core_answer(f);
        gl_core_foreach_guest(f->core, count_held, &n_held);
        g_assert_cmpuint(f->leases->len, ==, n_held);

        lose_core(f);
        g_hash_table_unref(f->disks);
        g_ptr_array_unref(f->jobs);
        g_ptr_array_unref(f->audits);
        g_ptr_array_unref(f->leases);
        g_string_free(f->lines, TRUE);
        g_array_unref(f->generations);
        g_hash_table_unref(f->saved);
        g_free(f->message);
        g_free(f->text);
        g_free(f);
}

/* --- the driver --- */

static GError *refusal_of(CoreFixture *f, GlJob *job) {
        for (guint i = 0; i < job->n_targets; i++) {
                const CoreDisk *disk = core_disk(f, job->targets[i].name);

                if (disk->error < 0)
                        continue;
                job->brief = disk->brief;
                return g_error_new(GL_ERROR, disk->error, "Disk \"%s\" says so.", job->targets[i].name);
        }
        return NULL;
}

static void look(CoreFixture *f, GlTarget *target) {
        const CoreDisk *disk = core_disk(f, target->name);

        target->size = disk->size;
        target->mtime = disk->mtime;
        target->scope = GL_SCOPE_HOST;
        target->drained = !disk->undrained || (target->insist && !disk->writer_seen);
        target->writer_seen = disk->writer_seen;
}

static void remember(CoreFixture *f, GlJob *job, GlTarget *target) {
        CoreDisk *disk = core_disk(f, target->name);

        target->recorded = disk->recorded;
        if (!disk->remembers || job->adopting || target->mode == GL_MODE_READONLY)
                return;
        job->generation = MAX(job->generation, MAX(disk->recorded.exclusive, disk->recorded.shared) + 1);
        job->generation_is_recorded = TRUE;
        if (target->mode == GL_MODE_EXCLUSIVE)
                disk->recorded.exclusive = job->generation;
        else
                disk->recorded.shared = job->generation;
}

static void perform_take(CoreFixture *f, GlJob *job) {
        job->error = refusal_of(f, job);
        for (guint i = 0; i < job->n_targets && !job->error; i++) {
                GlTarget *target = &job->targets[i];

                g_assert_null(target->lease);
                g_assert_false(gl_table_conflicts(f->locks, target->place, target->mode, NULL, NULL));
                target->lease = gl_table_enter(f->locks, target->place, target->mode, NULL);
                g_ptr_array_add(f->leases, target->lease);
                look(f, target);
                remember(f, job, target);
        }
}

static void perform_change_mode(CoreFixture *f, GlJob *job) {
        GlTarget *target = &job->targets[0];
        GlClaim *lease = target->lease;

        g_assert_cmpuint(job->n_targets, ==, 1);
        g_assert_cmpint(lease->mode, ==, target->held_mode);
        job->error = refusal_of(f, job);
        if (job->error)
                return;
        g_assert_false(gl_table_conflicts(f->locks, target->place, target->mode, lease, NULL));
        gl_table_set_mode(f->locks, lease, target->mode);
        remember(f, job, target);
}

static void perform_check(CoreFixture *f, GlJob *job) {
        for (guint i = 0; i < job->n_targets; i++) {
                GlTarget *target = &job->targets[i];
                const CoreDisk *disk = core_disk(f, target->name);

                if (!g_ptr_array_find(f->leases, target->lease, NULL)) {
                        g_assert_null(job->guest_uuid); /* only the check of all may come too late */
                        continue;
                }
                target->found = disk->unknown ? GL_FOUND_UNKNOWN : disk->lost ? GL_FOUND_LOST : GL_FOUND_HELD;
                target->loss = disk->loss;
                target->loss_message = disk->lost ? g_strdup("The test says so.") : NULL;
                target->whereabouts = disk->whereabouts;
                target->kept_by = disk->kept_by;
        }
}

static void perform_audit(CoreFixture *f, GlJob *job) {
        for (guint i = 0; i < job->n_targets; i++) {
                GlTarget *target = &job->targets[i];

                g_assert_true(!target->draining || (target->pids[0] == 0 && target->pids[1] == 0));
                target->held_open_by = g_strdup(core_disk(f, target->name)->held_open_by);
        }
        gl_core_job_done(f->core, job, f->now, f->realtime);
}

/* It says nothing of itself, so that it stands in nobody's way. */
static void start_audit(CoreFixture *f, GlJob *job) {
        f->n_audits++;
        f->n_audited = job->n_targets;
        if (f->audits_hang)
                g_ptr_array_add(f->audits, job);
        else
                perform_audit(f, job);
}

void core_answer_audits(CoreFixture *f) {
        while (f->audits->len > 0)
                perform_audit(f, g_ptr_array_steal_index(f->audits, 0));
        core_drain(f);
}

static void perform_look(CoreFixture *f, GlJob *job) {
        job->error = refusal_of(f, job);
        for (guint i = 0; i < job->n_targets && !job->error; i++) {
                GlTarget *target = &job->targets[i];
                const CoreDisk *disk = core_disk(f, target->name);
                GlObstacle *obstacle;

                target->obstacles = g_ptr_array_new_with_free_func((GDestroyNotify) gl_obstacle_free);
                if (!disk->stranger && !disk->stranger_is_own)
                        continue;
                obstacle = gl_obstacle_new();
                obstacle->pid = disk->stranger;
                obstacle->own = disk->stranger_is_own;
                g_ptr_array_add(target->obstacles, obstacle);
        }
}

static void perform(CoreFixture *f, GlJob *job) {
        if (job->kind == GL_JOB_LOOK)
                perform_look(f, job);
        if (job->kind == GL_JOB_CHECK)
                perform_check(f, job);
        if (job->kind == GL_JOB_TAKE)
                perform_take(f, job);
        if (job->kind == GL_JOB_CHANGE_MODE)
                perform_change_mode(f, job);
        for (guint i = 0; i < job->n_targets; i++) {
                GlTarget *target = &job->targets[i];

                if (job->kind != GL_JOB_TAKE)
                        look(f, target);
                if (job->kind == GL_JOB_GIVE_BACK) {
                        g_assert_true(g_ptr_array_remove_fast(f->leases, target->lease));
                        gl_table_drop(f->locks, g_steal_pointer(&target->lease));
                }
        }
        gl_core_job_done(f->core, job, f->now, f->realtime);
}

static void start_job(CoreFixture *f, GlJob *job) {
        gboolean hangs = f->hangs;

        for (guint i = 0; i < job->n_targets; i++)
                hangs |= core_disk(f, job->targets[i].name)->hangs;
        if (hangs)
                g_ptr_array_add(f->jobs, job);
        else
                perform(f, job);
}

void core_answer_nth(CoreFixture *f, guint index) {
        g_assert_cmpuint(f->jobs->len, >, index);
        perform(f, g_ptr_array_steal_index(f->jobs, index));
        core_drain(f);
}

void core_answer(CoreFixture *f) {
        core_answer_nth(f, 0);
}

void core_answer_all(CoreFixture *f) {
        for (guint n = f->jobs->len; n > 0; n--)
                core_answer(f);
}

/* --- changes into lines --- */

static const char *words_of(guint properties, GString *text) {
        static const char *const words[] = {"name", "id", "state", "waiting", "pid", "supervisor-pid",
                                            "on-lease-lost", "generation", "acquired-at", "resources"};

        for (guint i = 0; i < G_N_ELEMENTS(words); i++)
                if (properties & (1u << i))
                        g_string_append_printf(text, "%s%s", text->len > 0 ? "," : "", words[i]);
        return text->str;
}

static void append_resource(GString *text, const char *name, gboolean with_mode, GlMode mode) {
        g_string_append_printf(text, "%s%s", text->len > 0 ? "," : "", name);
        if (with_mode)
                g_string_append_printf(text, ":%c", mode_letters[mode]);
}

static const char *items_of(const GlChange *change, GString *text) {
        for (guint i = 0; i < change->items->len; i++) {
                const GlItem *item = &g_array_index(change->items, GlItem, i);

                append_resource(text, item->name, change->kind == GL_CHANGE_LEASES_ACQUIRED, item->mode);
        }
        return text->str;
}

static const char *targets_of(const GlJob *job, GString *text) {
        for (guint i = 0; i < job->n_targets; i++)
                append_resource(text, job->targets[i].name,
                                job->kind == GL_JOB_TAKE || job->kind == GL_JOB_CHANGE_MODE ||
                                        job->kind == GL_JOB_LOOK,
                                job->targets[i].mode);
        return text->str;
}

/* Which of those seen so far it is, from 1 on. */
static guint ordinal_of(CoreFixture *f, guint64 generation) {
        for (guint i = 0; i < f->generations->len; i++)
                if (g_array_index(f->generations, guint64, i) == generation)
                        return i + 1;
        /* A new one is larger than each before. */
        g_assert_true(f->generations->len == 0 ||
                      g_array_index(f->generations, guint64, f->generations->len - 1) < generation);
        g_array_append_val(f->generations, generation);
        return f->generations->len;
}

static void append_obstacle(GString *text, const GlObstacle *obstacle) {
        g_string_append_c(text, ' ');
        if (obstacle->guest_name)
                g_string_append(text, obstacle->guest_name);
        else
                g_string_append_printf(text, "%u", obstacle->pid);
        if (obstacle->has_mode)
                g_string_append_printf(text, ":%c", mode_letters[obstacle->mode]);
        if (obstacle->name)
                g_string_append_printf(text, "=%s", obstacle->name);
        if (obstacle->via)
                g_string_append_printf(text, " (%s)", obstacle->via);
        if (obstacle->wanted)
                g_string_append_printf(text, ">%s", obstacle->wanted);
}

static void add_reply(CoreFixture *f, const GlChange *change) {
        g_autoptr(GString) result = g_string_new(NULL);

        f->n_replies++;
        f->code = change->error ? change->error->code : -1;
        if (f->silent)
                return;
        if (change->error) {
                g_assert_true(change->error->domain == GL_ERROR);
                g_free(f->message);
                f->message = g_strdup(change->error->message);
        }
        if (change->text) {
                g_free(f->text);
                f->text = g_strdup(change->text);
                g_string_append(result, change->text[0] ? " <state>" : " <>");
        }
        if (change->generation)
                g_string_append_printf(result, " g%u", ordinal_of(f, change->generation));
        for (guint i = 0; change->obstacles && i < change->obstacles->len; i++)
                append_obstacle(result, g_ptr_array_index(change->obstacles, i));
        if (change->pid)
                g_string_append_printf(result, " pid %u", change->pid);
        add_line(f, "reply %u %s%s", GPOINTER_TO_UINT(change->call), core_code_name(f->code), result->str);
}

static void take_change(CoreFixture *f, GlChange *change) {
        static const char *const kinds[] = {"take",    "give-back", "mode",  "drain",
                                            "inspect", "check",     "audit", "look"};
        g_autoptr(GString) text = g_string_new(NULL);
        const char *name = change->guest ? change->guest->name : NULL;

        if (f->on_change)
                f->on_change(change, f->on_change_data);
        switch (change->kind) {
        case GL_CHANGE_GUEST_ADDED:
                add_line(f, "added %s", name);
                break;
        case GL_CHANGE_GUEST_REMOVED:
                add_line(f, "removed %s", name);
                break;
        case GL_CHANGE_PROPERTIES:
                add_line(f, "changed %s %s", name, words_of(change->properties, text));
                break;
        case GL_CHANGE_LEASES_ACQUIRED:
                if (!f->silent)
                        add_line(f, "acquired %s g%u %s", name, ordinal_of(f, change->generation),
                                 items_of(change, text));
                break;
        case GL_CHANGE_LEASES_RELEASED:
                add_line(f, "released %s %s %s", name, gl_release_reason_to_string(change->reason),
                         items_of(change, text));
                break;
        case GL_CHANGE_LEASE_LOST:
                g_assert_true(change->message && change->message[0]);
                add_line(f, "lost %s %s %s%s", name, change->text, items_of(change, text),
                         change->remaining == 5 * G_USEC_PER_SEC ? " in 5 s" : "");
                break;
        case GL_CHANGE_PATH_MOVED:
                g_assert_true(change->message && change->message[0]);
                add_line(f, "moved %s %s", name, change->text);
                break;
        case GL_CHANGE_STORAGE_HANGS:
                g_assert_true(change->message && change->message[0]);
                add_line(f, "hangs %s %s", name, change->text);
                break;
        case GL_CHANGE_DRAINS_SLOWLY:
                g_assert_true(change->message && change->message[0]);
                add_line(f, "slow %s %s", name, change->text);
                break;
        case GL_CHANGE_HELD_OPEN:
                g_assert_true(change->message && change->message[0]);
                add_line(f, "held open %s %s", name, change->text);
                break;
        case GL_CHANGE_WATCH_PROCESS:
                add_line(f, "watch %u", change->process.pid);
                break;
        case GL_CHANGE_SIGNAL_PROCESS:
                add_line(f, "signal %u %d", change->process.pid, change->signal);
                break;
        case GL_CHANGE_JOB:
                if (change->job->kind == GL_JOB_AUDIT) {
                        start_audit(f, g_steal_pointer(&change->job));
                        break;
                }
                add_line(f, "%s%s%s %s", kinds[change->job->kind], name ? " " : "", name ?: "",
                         targets_of(change->job, text));
                start_job(f, g_steal_pointer(&change->job));
                break;
        case GL_CHANGE_WAITS:
                add_line(f, "waits %u", GPOINTER_TO_UINT(change->call));
                break;
        case GL_CHANGE_REPLY:
                add_reply(f, change);
                break;
        }
}

void core_drain(CoreFixture *f) {
        GlChange *next;

        while ((next = gl_core_take_change(f->core))) {
                g_autoptr(GlChange) change = next;

                take_change(f, change);
        }
}

void core_expect_lines(CoreFixture *f, const char *file, int line, const char *function, ...) {
        g_autoptr(GString) expected = g_string_new(NULL);
        const char *one;
        va_list lines;

        va_start(lines, function);
        while ((one = va_arg(lines, const char *)))
                g_string_append_printf(expected, "%s\n", one);
        va_end(lines);
        if (!g_str_equal(f->lines->str, expected->str)) {
                g_autofree char *message = g_strdup_printf("\ngot:\n%sexpected:\n%s", f->lines->str, expected->str);

                g_assertion_message(G_LOG_DOMAIN, file, line, function, message);
        }
        core_forget_lines(f);
}

void core_forget_lines(CoreFixture *f) {
        g_string_set_size(f->lines, 0);
}

static void append_described(GString *text, GPtrArray *resources, const char *suffix) {
        for (guint i = 0; i < resources->len; i++) {
                const GlResource *resource = g_ptr_array_index(resources, i);

                g_string_append_printf(text, " %s:%c %s%s", resource->name, mode_letters[resource->mode],
                                       gl_resource_state_to_string(resource->state), suffix);
        }
}

char *core_describe(CoreFixture *f, const char *name) {
        const GlGuest *guest = core_guest(f, name);
        GString *text;

        if (!guest)
                return g_strdup("none");
        text = g_string_new(gl_guest_state_to_string(guest->state));
        append_described(text, guest->resources, "");
        append_described(text, guest->ghosts, " and unplugged");
        return g_string_free(text, FALSE);
}

/* --- verbs --- */

void core_make_uuid(const char *guest, char uuid[37]) {
        g_snprintf(uuid, 37, "%08x-0000-4000-8000-000000000001", g_str_hash(guest));
}

GlGuest *core_guest(CoreFixture *f, const char *guest) {
        char uuid[37];

        core_make_uuid(guest, uuid);
        return gl_core_find_guest(f->core, f->uid, uuid);
}

static GlGuest *must_be_there(CoreFixture *f, const char *name) {
        GlGuest *guest = core_guest(f, name);

        g_assert_nonnull(guest);
        return guest;
}

GlResource *core_resource(CoreFixture *f, const char *guest, const char *name) {
        return gl_guest_find_resource(must_be_there(f, guest), name[0] == '/' ? GL_RESOURCE_DISK : GL_RESOURCE_LEASE,
                                      name);
}

/* A call that replies gets the next number. */
GlRequest core_request(CoreFixture *f) {
        return (GlRequest){
                .uid = f->uid,
                .sender = f->sender,
                .may_manage = f->may_manage,
                .now = f->now,
                .realtime = f->realtime,
                .call = GUINT_TO_POINTER(++f->n_calls),
        };
}

static GlRequest request_without_reply(CoreFixture *f) {
        GlRequest request = core_request(f);

        f->n_calls--;
        request.call = NULL;
        return request;
}

static int take_error(CoreFixture *f, GError *error) {
        f->code = error ? error->code : -1;
        if (error) {
                g_assert_true(error->domain == GL_ERROR);
                g_free(f->message);
                f->message = g_strdup(error->message);
                g_error_free(error);
        }
        core_drain(f);
        return f->code;
}

GlResourceSpec core_parse_resource(CoreFixture *f, const char *text, char **name) {
        const char *colon = strrchr(text, ':');
        const char *letter = colon ? memchr(mode_letters, colon[1], sizeof mode_letters) : NULL;

        g_assert_nonnull(letter);
        *name = g_strndup(text, (gsize) (colon - text));
        return (GlResourceSpec){
                .type = text[0] == '/' ? GL_RESOURCE_DISK : GL_RESOURCE_LEASE,
                .name = *name,
                .mode = (GlMode) (letter - mode_letters),
                .place = core_disk(f, *name)->place,
        };
}

static GlAcquireSpec acquire_spec(const CoreOptions *options) {
        return (GlAcquireSpec){
                .process = {.pid = options->pid, .start_time = options->pid * 10},
                .supervisor = options->supervisor,
                .register_only = options->register_only,
                .wait_ms = options->wait_ms,
                .state = options->state,
        };
}

static int create(CoreFixture *f, const char *guest, gboolean transient) {
        GlRequest request = request_without_reply(f);
        char uuid[37];
        GlGuestSpec spec = {.uuid = uuid, .name = guest, .owner_uid = f->uid, .driver = f->driver,
                            .transient = transient};
        GError *error = NULL;
        GlGuest *made;

        core_make_uuid(guest, uuid);
        made = gl_core_create_guest(f->core, &request, &spec, &error);
        g_assert_true(!made == !!error);
        return take_error(f, error);
}

int core_create(CoreFixture *f, const char *guest) {
        return create(f, guest, FALSE);
}

int core_create_transient(CoreFixture *f, const char *guest) {
        return create(f, guest, TRUE);
}

int core_register(CoreFixture *f, const char *guest, const char *resource) {
        GlRequest request = request_without_reply(f);
        g_autofree char *name = NULL;
        GlResourceSpec spec = core_parse_resource(f, resource, &name);
        GError *error = NULL;
        gboolean done = gl_core_register(f->core, &request, must_be_there(f, guest), &spec, &error);

        g_assert_true(done == !error);
        return take_error(f, error);
}

static int set_child(CoreFixture *f, const char *guest, guint32 pid, gboolean keep_orphan) {
        GlRequest request = request_without_reply(f);
        GlProcessRef process = {.pid = pid, .start_time = pid * 10};
        GError *error = NULL;
        gboolean done = gl_core_set_child(f->core, &request, must_be_there(f, guest), &process, keep_orphan, &error);

        g_assert_true(done == !error);
        return take_error(f, error);
}

int core_set_child(CoreFixture *f, const char *guest, guint32 pid) {
        return set_child(f, guest, pid, FALSE);
}

int core_set_child_keeping_orphan(CoreFixture *f, const char *guest, guint32 pid) {
        return set_child(f, guest, pid, TRUE);
}

void core_acquire_with(CoreFixture *f, const char *guest, const CoreOptions *options) {
        GlRequest request = core_request(f);
        GlAcquireSpec spec = acquire_spec(options);

        gl_core_acquire(f->core, &request, must_be_there(f, guest), &spec);
        core_drain(f);
}

void core_start_with(CoreFixture *f, const char *guest, const char *resources, const CoreOptions *options) {
        GlRequest request = core_request(f);
        GlAcquireSpec acquire = acquire_spec(options);
        g_auto(GStrv) parts = g_strsplit(resources, " ", -1), names = NULL;
        guint n = resources[0] ? g_strv_length(parts) : 0;
        g_autofree GlResourceSpec *specs = g_new0(GlResourceSpec, n + 1);
        char uuid[37];
        GlGuestSpec spec = {.uuid = uuid, .name = guest, .owner_uid = f->uid, .driver = f->driver,
                            .transient = !options->keep};

        core_make_uuid(guest, uuid);
        names = g_new0(char *, n + 1);
        for (guint i = 0; i < n; i++)
                specs[i] = core_parse_resource(f, parts[i], &names[i]);
        gl_core_start_guest(f->core, &request, &spec, specs, n, &acquire);
        core_drain(f);
}

void core_who(CoreFixture *f, const char *resource) {
        GlRequest request = core_request(f);
        g_autofree char *name = NULL;
        GlResourceSpec spec = core_parse_resource(f, resource, &name);

        gl_core_who_holds(f->core, &request, &spec);
        core_drain(f);
}

void core_test(CoreFixture *f, const char *guest, const char *resources, guint32 pid) {
        GlRequest request = core_request(f);
        GlTestSpec test = {.guest = guest ? must_be_there(f, guest) : NULL, .driver = f->driver,
                           .acquire = acquire_spec(&(CoreOptions){.pid = pid})};
        g_auto(GStrv) parts = g_strsplit(resources, " ", -1), names = NULL;
        guint n = resources[0] ? g_strv_length(parts) : 0;
        g_autofree GlResourceSpec *specs = g_new0(GlResourceSpec, n + 1);

        names = g_new0(char *, n + 1);
        for (guint i = 0; i < n; i++)
                specs[i] = core_parse_resource(f, parts[i], &names[i]);
        gl_core_test_acquire(f->core, &request, &test, specs, n);
        core_drain(f);
}

void core_inquire(CoreFixture *f, const char *guest) {
        GlRequest request = core_request(f);

        gl_core_inquire(f->core, &request, must_be_there(f, guest));
        core_drain(f);
}

void core_release(CoreFixture *f, const char *guest) {
        GlRequest request = core_request(f);

        gl_core_release(f->core, &request, must_be_there(f, guest));
        core_drain(f);
}

void core_plug(CoreFixture *f, const char *guest, const char *resource, guint32 wait_ms) {
        GlRequest request = core_request(f);
        g_autofree char *name = NULL;
        GlResourceSpec spec = core_parse_resource(f, resource, &name);

        gl_core_acquire_resource(f->core, &request, must_be_there(f, guest), &spec, wait_ms);
        core_drain(f);
}

void core_unplug(CoreFixture *f, const char *guest, const char *name) {
        GlRequest request = core_request(f);
        GlResourceType type = name[0] == '/' ? GL_RESOURCE_DISK : GL_RESOURCE_LEASE;

        gl_core_release_resource(f->core, &request, must_be_there(f, guest), type, name);
        core_drain(f);
}

void core_get_child(CoreFixture *f, const char *guest, guint32 wait_ms) {
        GlRequest request = core_request(f);

        gl_core_get_child(f->core, &request, must_be_there(f, guest), wait_ms);
        core_drain(f);
}

void core_shutdown(CoreFixture *f, const char *guest, gboolean kill) {
        GlRequest request = core_request(f);

        gl_core_shutdown(f->core, &request, must_be_there(f, guest), kill, FALSE);
        core_drain(f);
}

void core_shutdown_leaving_supervisor(CoreFixture *f, const char *guest, gboolean kill) {
        GlRequest request = core_request(f);

        gl_core_shutdown(f->core, &request, must_be_there(f, guest), kill, TRUE);
        core_drain(f);
}

void core_free_guest(CoreFixture *f, const char *guest) {
        GlRequest request = core_request(f);

        gl_core_free_guest(f->core, &request, must_be_there(f, guest));
        core_drain(f);
}

int core_revoke(CoreFixture *f, const char *guest, const char *name, gboolean kill) {
        GlRequest request = request_without_reply(f);
        GlRevocation revocation = {name[0] == '\0', name[0] == '/' ? GL_RESOURCE_DISK : GL_RESOURCE_LEASE, name,
                                   "The test wants it.", kill, f->says_drained};
        GError *error = NULL;
        gboolean done = gl_core_revoke(f->core, &request, must_be_there(f, guest), &revocation, &error);

        g_assert_true(done == !error);
        return take_error(f, error);
}

int core_restrict(CoreFixture *f, const char *guest) {
        GlRequest request = request_without_reply(f);
        GError *error = NULL;
        gboolean done = gl_core_restrict(f->core, &request, must_be_there(f, guest), &error);

        g_assert_true(done == !error);
        return take_error(f, error);
}

int core_attach(CoreFixture *f, const char *guest, guint32 pid) {
        GError *error = NULL;
        gboolean done = gl_core_may_attach(must_be_there(f, guest), pid != 0, pid, &error);

        g_assert_true(done == !error);
        return take_error(f, error);
}

void core_have_registered(CoreFixture *f, const char *guest, const char *resources) {
        g_auto(GStrv) parts = g_strsplit(resources, " ", -1);

        g_assert_cmpstr(core_code_name(core_create(f, guest)), ==, "ok");
        for (guint i = 0; parts[i]; i++)
                g_assert_cmpstr(core_code_name(core_register(f, guest, parts[i])), ==, "ok");
        core_forget_lines(f);
}

void core_have(CoreFixture *f, const char *guest, const char *resources, guint32 pid) {
        core_have_registered(f, guest, resources);
        core_acquire(f, guest, .pid = pid);
        g_assert_cmpstr(core_code_name(f->code), ==, "ok");
        core_forget_lines(f);
}

static void clear_nothing(gpointer data) {
}

static GlHandle new_handle(void) {
        return (GlHandle){g_atomic_rc_box_alloc0(1), clear_nothing};
}

void core_restore(CoreFixture *f, const char *name, GlGuestState guest_state, const char *resources,
                  GlResourceState state, guint32 pid) {
        g_auto(GStrv) parts = g_strsplit(resources, " ", -1);
        GlGuest *record = gl_guest_record_new();
        GError *error = NULL;

        core_make_uuid(name, record->uuid);
        record->owner_uid = f->uid;
        record->name = g_strdup(name);
        record->driver = g_strdup(f->driver ?: "test");
        record->state = guest_state;
        record->generation = 1000;
        record->killing = f->killing;
        if (pid != 0)
                record->processes[GL_PROCESS_GUEST] = (GlProcessRef){pid, pid * 10, new_handle()};
        for (guint i = 0; parts[i] && parts[i][0]; i++) {
                GlResource *resource = gl_guest_record_add_resource(record);
                char *resource_name;
                GlResourceSpec spec = core_parse_resource(f, parts[i], &resource_name);

                resource->type = spec.type;
                resource->name = resource_name;
                resource->mode = spec.mode;
                resource->state = state;
                resource->place = gl_place_ref(spec.place);
                resource->source = new_handle();
                resource->generation = state == GL_RESOURCE_REGISTERED ? 0 : 1000;
                resource->unplugged = g_strcmp0(resource_name, f->unplugged) == 0;
                if (resource->unplugged)
                        resource->state = GL_RESOURCE_LOST;
                resource->size = core_disk(f, resource_name)->size;
                resource->mtime = core_disk(f, resource_name)->mtime;
        }
        g_assert_nonnull(gl_core_restore_guest(f->core, record, &error));
        g_assert_no_error(error);
        gl_guest_record_free(record);
        core_drain(f);
}

void core_retake(CoreFixture *f, const char *guest) {
        gl_core_retake(f->core, must_be_there(f, guest), GUINT_TO_POINTER(++f->n_calls), f->now, f->realtime);
        core_drain(f);
}

/* Somebody may be our predecessor, just dying: the last attempt is the one that counts. */
void core_retake_at_last(CoreFixture *f, const char *guest) {
        core_retake(f, guest);
        core_advance(f, 999);
        core_forget_lines(f);
        core_advance(f, 1);
}

void core_have_lost(CoreFixture *f, const char *guest, const char *lost, const char *kept, guint32 pid) {
        g_autofree char *both = g_strdup_printf("%s%s%s", lost, kept[0] ? " " : "", kept);
        g_auto(GStrv) parts = g_strsplit(lost, " ", -1);

        for (guint i = 0; parts[i]; i++) {
                *strrchr(parts[i], ':') = '\0';
                core_disk(f, parts[i])->error = GL_ERROR_CONFLICT;
        }
        core_restore(f, guest, GL_GUEST_HELD, both, GL_RESOURCE_HELD, pid);
        core_retake_at_last(f, guest);
        g_assert_cmpint(core_guest(f, guest)->state, ==, GL_GUEST_LOST);
        core_forget_lines(f);
}

void core_exit(CoreFixture *f, guint32 pid) {
        gl_core_process_gone(f->core, pid, pid * 10, f->now, f->realtime);
        core_drain(f);
}

void core_refuse(CoreFixture *f, guint32 pid) {
        gl_core_process_refused(f->core, pid, pid * 10, f->now, f->realtime);
        core_drain(f);
}

void core_leave_bus(CoreFixture *f, const char *sender) {
        gl_core_caller_gone(f->core, sender, f->now, f->realtime);
        core_drain(f);
}

void core_advance(CoreFixture *f, gint64 ms) {
        gint64 end = f->now + ms * 1000, at;

        while ((at = gl_core_next_tick(f->core)) <= end) {
                g_assert_cmpint(at, >, f->now); /* one that is never satisfied would keep the service busy */
                f->realtime += at - f->now;
                f->now = at;
                gl_core_tick(f->core, f->now, f->realtime);
                core_drain(f);
        }
        f->realtime += end - f->now;
        f->now = end;
}
