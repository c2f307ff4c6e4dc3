/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "store/generations.h"
#include "store/state-file.h"

#define UUID "4dea22b3-1d52-d8f3-2516-782e98ab3fa0"
#define BOOT "00112233445566778899aabbccddeeff"

/* Every control character, quotes, what a key file treats in its own way, and no ASCII. */
#define NASTY                                                                                                          \
        "\f \t\x01\x02\x03\x04\x05\x06\x07\b\v\r\x0e\x1b\x1f\x7f\\s\\\"[x]=;# gr\xc3\xbc\xc3\x9f\n\xf0\x9f\x92\xbe \\"

typedef struct {
        char *root, *runtime, *state, *guests, *set_aside, *log;
        GlStore *store;
} Fixture;

static GlStore *open_store(Fixture *fixture) {
        g_autoptr(GError) error = NULL;
        GlStore *store = gl_store_new(fixture->runtime, fixture->state, BOOT, &error);

        g_assert_no_error(error);
        return store;
}

static void setup(Fixture *fixture, gconstpointer data) {
        fixture->root = g_dir_make_tmp("guestlock-test-XXXXXX", NULL);
        fixture->runtime = g_build_filename(fixture->root, "run", "guestlock", NULL);
        fixture->state = g_build_filename(fixture->root, "lib", NULL);
        fixture->guests = g_build_filename(fixture->runtime, "guests", NULL);
        fixture->set_aside = g_build_filename(fixture->runtime, "set-aside", NULL);
        fixture->log = g_build_filename(fixture->state, "generations", NULL);
        fixture->store = open_store(fixture);
}

static void remove_tree(const char *path) {
        g_autoptr(GDir) directory = NULL;
        const char *name;

        if (!g_file_test(path, G_FILE_TEST_IS_SYMLINK))
                directory = g_dir_open(path, 0, NULL);
        while (directory && (name = g_dir_read_name(directory))) {
                g_autofree char *child = g_build_filename(path, name, NULL);

                remove_tree(child);
        }
        g_remove(path);
}

static void teardown(Fixture *fixture, gconstpointer data) {
        gl_store_free(fixture->store);
        remove_tree(fixture->root);
        g_free(fixture->log);
        g_free(fixture->set_aside);
        g_free(fixture->guests);
        g_free(fixture->state);
        g_free(fixture->runtime);
        g_free(fixture->root);
}

/* --- guests to be saved --- */

static GlGuest *new_guest(const char *name) {
        GlGuest *guest = gl_guest_record_new();

        memcpy(guest->uuid, UUID, sizeof(guest->uuid));
        guest->owner_uid = 1000;
        guest->name = g_strdup(name);
        guest->id = 7;
        guest->driver = g_strdup("file");
        guest->origin = GL_ORIGIN_ADOPTED;
        guest->state = GL_GUEST_HELD;
        guest->on_lease_lost = GL_LOSS_KILL;
        guest->require_scope = GL_SCOPE_HOST;
        guest->processes[GL_PROCESS_GUEST] = (GlProcessRef){.pid = 4242, .start_time = G_MAXUINT64};
        guest->processes[GL_PROCESS_SUPERVISOR] = (GlProcessRef){.pid = 4241, .start_time = 12345};
        guest->generation = G_MAXUINT64 - 1;
        guest->acquired_at = G_GINT64_CONSTANT(1795356187000000);
        guest->state_string = g_strdup("v1;" NASTY);
        guest->transient = TRUE;
        guest->restricted = TRUE;
        guest->stopped_by_us = TRUE;
        guest->killing = TRUE;
        guest->supervised = TRUE;
        guest->orphan_kept = TRUE;
        return guest;
}

static void clear_source(gpointer data) {
        GlSource *source = data;

        g_free(source->path);
        g_free(source->canonical);
        g_clear_pointer(&source->registrant, gl_credentials_unref);
}

static GlSource *add_resource(GlGuest *guest, GlResourceType type, const char *name, GlExtent extent) {
        static const gid_t groups[] = {1000, 27, 44};
        GlNode node = {
                .kind = GL_NODE_FILE, .device = 0xfe01, .inode = 99 + guest->resources->len, .inode_generation = 5};
        const GlAncestor below[] = {{{.kind = GL_NODE_BLOCK, .device = 0xfe01, .inode = 3}, {512, G_MAXUINT64}, 77},
                                    {{.kind = GL_NODE_DISK, .device = G_MAXUINT64, .inode = 1}, {0, 4096}, 0}};
        GlResource *resource = gl_guest_record_add_resource(guest);
        GlSource *source = g_atomic_rc_box_new0(GlSource);

        resource->type = type;
        resource->name = g_strdup(name);
        resource->mode = GL_MODE_SHARED;
        resource->state = GL_RESOURCE_DRAINING;
        resource->place = gl_place_new(&node, extent, below, guest->resources->len % 3);
        resource->source = (GlHandle){source, clear_source};
        resource->registered_by = 1000;
        resource->generation = 17;
        resource->scope = GL_SCOPE_SHARED;
        resource->scope_reason = g_strdup(NASTY);
        resource->kept_by = GL_KEPT_BY_HOLDER;
        resource->since = 1795356187000001;
        resource->size = 1ull << 40;
        resource->mtime = 1795356187000000002;
        source->fd = -1;
        source->path = g_strdup("/srv/" NASTY);
        source->canonical = g_strdup("/srv/\xff\xfe" NASTY);
        source->birth = -5;
        source->extent = extent;
        if (type == GL_RESOURCE_LEASE) { /* one byte of a partition, which is another one of the disk */
                source->block = TRUE;
                source->device = 0x801;
                source->extent = (GlExtent){7, 8};
        }
        source->registrant = gl_credentials_new(1000, groups, G_N_ELEMENTS(groups));
        return source;
}

static GlGuest *new_nasty_guest(void) {
        GlGuest *guest = new_guest(NASTY);
        GlSource *source;

        add_resource(guest, GL_RESOURCE_DISK, "/srv/" NASTY, (GlExtent){0, GL_EXTENT_END});
        source = add_resource(guest, GL_RESOURCE_LEASE, NASTY, (GlExtent){300, 301});
        ((GlResource *) guest->resources->pdata[1])->by_descriptor = TRUE;
        g_clear_pointer(&source->registrant, gl_credentials_unref);
        return guest;
}

static void save(GlStore *store, const GlGuest *guest) {
        g_autoptr(GError) error = NULL;

        g_assert_true(gl_store_save(store, guest, &error));
        g_assert_no_error(error);
}

static guint count_files(const char *path) {
        g_autoptr(GDir) directory = g_dir_open(path, 0, NULL);
        guint n = 0;

        while (g_dir_read_name(directory))
                n++;
        return n;
}

/* --- tests: one guest and back --- */

static void assert_same_guest(const GlGuest *a, const GlGuest *b) {
        g_assert_cmpstr(a->uuid, ==, b->uuid);
        g_assert_cmpuint(a->owner_uid, ==, b->owner_uid);
        g_assert_cmpstr(a->name, ==, b->name);
        g_assert_cmpuint(a->id, ==, b->id);
        g_assert_cmpstr(a->driver, ==, b->driver);
        g_assert_cmpint(a->origin, ==, b->origin);
        g_assert_cmpint(a->state, ==, b->state);
        g_assert_cmpint(a->on_lease_lost, ==, b->on_lease_lost);
        g_assert_cmpint(a->require_scope, ==, b->require_scope);
        for (guint role = 0; role < GL_N_PROCESSES; role++) {
                g_assert_cmpuint(a->processes[role].pid, ==, b->processes[role].pid);
                g_assert_cmpuint(a->processes[role].start_time, ==, b->processes[role].start_time);
                g_assert_null(b->processes[role].handle.box);
        }
        g_assert_cmpuint(a->generation, ==, b->generation);
        g_assert_cmpint(a->acquired_at, ==, b->acquired_at);
        g_assert_cmpstr(a->state_string, ==, b->state_string);
        g_assert_cmpint(a->transient, ==, b->transient);
        g_assert_cmpint(a->restricted, ==, b->restricted);
        g_assert_cmpint(a->stopped_by_us, ==, b->stopped_by_us);
        g_assert_cmpint(a->killing, ==, b->killing);
        g_assert_cmpint(a->supervised, ==, b->supervised);
        g_assert_cmpint(a->orphan_kept, ==, b->orphan_kept);
}

static void assert_same_resource(const GlResource *a, const GlResource *b, const GlSavedSource *saved) {
        const GlSource *source = a->source.box;
        g_autoptr(GlPlace) back = NULL;

        g_assert_cmpint(a->type, ==, b->type);
        g_assert_cmpstr(a->name, ==, b->name);
        g_assert_cmpint(a->mode, ==, b->mode);
        g_assert_cmpint(a->state, ==, b->state);
        g_assert_cmpuint(a->registered_by, ==, b->registered_by);
        g_assert_cmpint(a->by_descriptor, ==, b->by_descriptor);
        g_assert_cmpuint(a->generation, ==, b->generation);
        g_assert_cmpint(a->scope, ==, b->scope);
        g_assert_cmpstr(a->scope_reason, ==, b->scope_reason);
        g_assert_cmpint(a->kept_by, ==, b->kept_by);
        g_assert_cmpint(a->since, ==, b->since);
        g_assert_cmpuint(a->size, ==, b->size);
        g_assert_cmpuint(a->mtime, ==, b->mtime);
        g_assert_null(b->place);
        g_assert_null(b->source.box);

        g_assert_true(gl_node_equal(&a->place->node, &saved->node));
        g_assert_cmpuint(a->place->extent.start, ==, saved->extent.start);
        g_assert_cmpuint(a->place->extent.end, ==, saved->extent.end);
        back = gl_place_new(&saved->node, saved->extent, (gconstpointer) saved->below->data, saved->below->len);
        g_assert_true(gl_place_same(a->place, back));
        g_assert_cmpuint(source->device, ==, saved->device);
        g_assert_cmpuint(source->extent.start, ==, saved->asked.start);
        g_assert_cmpuint(source->extent.end, ==, saved->asked.end);
        g_assert_cmpstr(source->canonical, ==, saved->canonical);
        g_assert_cmpint(source->birth, ==, saved->birth);
}

static void test_everything_comes_back(Fixture *fixture, gconstpointer data) {
        GlGuest *guest = new_nasty_guest();
        g_autoptr(GPtrArray) problems = g_ptr_array_new_with_free_func(g_free), guests = NULL;
        const GlSavedGuest *back;
        const GlSavedSource *disk, *lease;

        save(fixture->store, guest);
        guests = gl_store_load(fixture->store, problems);
        g_assert_cmpuint(problems->len, ==, 0);
        g_assert_cmpuint(gl_store_count_unknown(fixture->store), ==, 0);
        g_assert_cmpuint(guests->len, ==, 1);
        back = g_ptr_array_index(guests, 0);
        assert_same_guest(guest, back->record);
        g_assert_cmpuint(back->record->resources->len, ==, 2);
        g_assert_cmpuint(back->saved->len, ==, 2);
        disk = g_ptr_array_index(back->saved, 0);
        lease = g_ptr_array_index(back->saved, 1);
        assert_same_resource(guest->resources->pdata[0], back->record->resources->pdata[0], disk);
        assert_same_resource(guest->resources->pdata[1], back->record->resources->pdata[1], lease);

        g_assert_cmpstr(disk->path, ==, "/srv/" NASTY);
        g_assert_cmpuint(disk->registrant->uid, ==, 1000);
        g_assert_cmpuint(disk->registrant->n_groups, ==, 3);
        g_assert_cmpuint(disk->registrant->gid, ==, 1000);
        g_assert_cmpuint(disk->registrant->groups[2], ==, 44);
        /* What came by a descriptor has no path, and root needs no credentials. */
        g_assert_null(lease->path);
        g_assert_cmpuint(lease->registrant->uid, ==, 0);
        g_assert_cmpuint(lease->registrant->gid, ==, 0);
        gl_guest_record_free(guest);
}

/* What was lost and unplugged comes after the others, one of which may have its name by now. */
static void test_ghosts_come_back(Fixture *fixture, gconstpointer data) {
        GlGuest *guest = new_guest("haunted");
        g_autoptr(GPtrArray) guests = NULL;
        const GlGuest *back;
        GlResource *ghost;

        add_resource(guest, GL_RESOURCE_DISK, "/srv/a.img", (GlExtent){0, GL_EXTENT_END});
        ghost = g_ptr_array_steal_index(guest->resources, 0);
        ghost->state = GL_RESOURCE_LOST;
        ghost->unplugged = TRUE;
        g_ptr_array_add(guest->ghosts, ghost);
        add_resource(guest, GL_RESOURCE_DISK, "/srv/a.img", (GlExtent){0, GL_EXTENT_END});
        save(fixture->store, guest);
        guests = gl_store_load(fixture->store, NULL);
        g_assert_cmpuint(guests->len, ==, 1);
        back = ((GlSavedGuest *) guests->pdata[0])->record;
        g_assert_cmpuint(back->resources->len, ==, 2);
        g_assert_false(((GlResource *) back->resources->pdata[0])->unplugged);
        g_assert_true(((GlResource *) back->resources->pdata[1])->unplugged);
        gl_guest_record_free(guest);
}

static void test_saving_replaces(Fixture *fixture, gconstpointer data) {
        GlGuest *guest = new_guest("before"), *roots = new_guest("root's");
        g_autofree char *path = g_build_filename(fixture->guests, UUID "_u1000", NULL);
        g_autofree char *roots_path = g_build_filename(fixture->guests, UUID, NULL);
        g_autoptr(GPtrArray) guests = NULL;
        struct stat st;

        roots->owner_uid = 0;
        save(fixture->store, guest);
        save(fixture->store, roots);
        g_free(guest->name);
        guest->name = g_strdup("after");
        save(fixture->store, guest);
        g_assert_cmpint(stat(path, &st), ==, 0);
        g_assert_cmpuint(st.st_mode & 07777, ==, 0600);
        g_assert_cmpuint(count_files(fixture->guests), ==, 2);

        /* Another service reads what this one wrote. */
        gl_store_free(fixture->store);
        fixture->store = open_store(fixture);
        guests = gl_store_load(fixture->store, NULL);
        g_assert_cmpuint(guests->len, ==, 2);
        g_assert_cmpstr(((GlSavedGuest *) guests->pdata[0])->record->name, ==, "root's");
        g_assert_cmpstr(((GlSavedGuest *) guests->pdata[1])->record->name, ==, "after");

        gl_store_forget(fixture->store, guest);
        gl_store_forget(fixture->store, guest);
        g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
        g_assert_true(g_file_test(roots_path, G_FILE_TEST_EXISTS));
        gl_guest_record_free(roots);
        gl_guest_record_free(guest);
}

/* Writing ends after BYTES of any file, as on a full file system. */
static void limit_file_size(rlim_t bytes) {
        struct rlimit limit;

        signal(SIGXFSZ, SIG_IGN);
        g_assert_cmpint(getrlimit(RLIMIT_FSIZE, &limit), ==, 0);
        limit.rlim_cur = MIN(bytes, limit.rlim_max);
        g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &limit), ==, 0);
}

static void test_a_save_that_fails_leaves_the_old(Fixture *fixture, gconstpointer data) {
        GlGuest *guest = new_guest("before");
        g_autoptr(GPtrArray) guests = NULL;
        g_autoptr(GError) error = NULL;
        gboolean saved;

        save(fixture->store, guest);
        g_free(guest->name);
        guest->name = g_strdup("after");
        limit_file_size(100);
        saved = gl_store_save(fixture->store, guest, &error);
        limit_file_size(RLIM_INFINITY);
        g_assert_false(saved);
        g_assert_error(error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE);
        g_assert_nonnull(strstr(error->message, "\"after\" (" UUID ")"));
        g_assert_nonnull(strstr(error->message, fixture->guests));
        g_assert_cmpuint(count_files(fixture->guests), ==, 1);
        guests = gl_store_load(fixture->store, NULL);
        g_assert_cmpstr(((GlSavedGuest *) guests->pdata[0])->record->name, ==, "before");
        gl_guest_record_free(guest);
}

static void test_what_cannot_be_found_again_is_not_saved(Fixture *fixture, gconstpointer data) {
        GlGuest *guest = new_guest("web");
        GlResource *resource;
        g_autoptr(GError) error = NULL;

        add_resource(guest, GL_RESOURCE_DISK, "/srv/a.img", (GlExtent){0, GL_EXTENT_END});
        resource = guest->resources->pdata[0];
        gl_handle_unref(&resource->source);
        g_assert_false(gl_store_save(fixture->store, guest, &error));
        g_assert_error(error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE);
        g_assert_nonnull(strstr(error->message, "\"/srv/a.img\""));
        g_assert_cmpuint(count_files(fixture->guests), ==, 0);
        gl_guest_record_free(guest);
}

/* --- tests: damage --- */

static char *good_text(gsize *length) {
        GlGuest *guest = new_nasty_guest();
        char *text = gl_state_file_write(guest, BOOT, length, NULL);

        g_assert_nonnull(text);
        gl_guest_record_free(guest);
        return text;
}

static char *why_refused(const char *text, gsize length) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GlSavedGuest) saved = gl_state_file_read(UUID "_u1000", text, length, BOOT, &error);

        g_assert_true(!saved == !!error);
        return error ? g_strdup(error->message) : NULL;
}

static void test_truncated_anywhere(void) {
        gsize length = 0;
        g_autofree char *text = good_text(&length), *whole = why_refused(text, length);

        g_assert_null(whole);
        g_assert_cmpint(text[length - 1], ==, '\n');
        /* Without the last newline it is whole. */
        for (gsize n = 0; n < length - 1; n++) {
                g_autofree char *why = why_refused(text, n);

                g_assert_nonnull(why);
        }
}

static void test_no_key_may_be_missing(void) {
        static const char *const optional[] = {"state-string=", "path=", "scope-reason=", NULL};
        gsize length = 0;
        g_autofree char *text = good_text(&length);
        g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

        for (guint i = 0; lines[i] && lines[i][0]; i++) {
                g_autofree char *line = lines[i], *rest = g_strdup(lines[i + 1]), *without = NULL, *why = NULL;
                gboolean may = FALSE;

                for (guint j = 0; optional[j]; j++)
                        may = may || g_str_has_prefix(line, optional[j]);
                lines[i] = g_strdup("");
                without = g_strjoinv("\n", lines);
                why = why_refused(without, strlen(without));
                if ((why == NULL) != may)
                        g_error("without \"%s\": %s", line, why ?: "taken");
                g_free(lines[i]);
                lines[i] = g_steal_pointer(&line);
                g_assert_cmpstr(rest, ==, lines[i + 1]);
        }
}

/* TEXT with the first line that begins with KEY, after GROUP, replaced by LINE. */
static char *with_line(const char *text, const char *group, const char *key, const char *line) {
        const char *at = strstr(text, group), *end;

        g_assert_nonnull(at);
        at = strstr(at, key);
        g_assert_nonnull(at);
        end = strchr(at + 1, '\n');
        return g_strdup_printf("%.*s%s%s", (int) (at - text), text, line, end);
}

static void test_wrong_values(void) {
        static const struct {
                const char *group, *key, *line, *why;
        } wrong[] = {
                {"[guestlock]", "version=", "version=2", "version 2"},
                {"[guestlock]", "version=", "version=-1", "\"version\""},
                {"[guestlock]", "version=", "version=one", "\"version\""},
                {"[guestlock]", "boot-id=", "boot-id=\"ffff\"", "before this boot"},
                {"[guestlock]", "[guestlock]", "[other]\n[guestlock]", "groups"},
                {"[guest]", "[guest]", "[guests]", "groups"},
                {"[guest]", "uuid=", "uuid=4DEA22B3-1d52-d8f3-2516-782e98ab3fa0", "\"uuid\""},
                {"[guest]", "uuid=", "uuid=4dea22b3-1d52-d8f3-2516-782e98ab3fa00", "\"uuid\""},
                {"[guest]", "uuid=", "uuid=../../../../etc/passwd", "\"uuid\""},
                {"[guest]", "uuid=", "uuid=4dea22b3-1d52-d8f3-2516-782e98ab3fa1", "its name"},
                {"[guest]", "owner-uid=", "owner-uid=1001", "its name"},
                {"[guest]", "owner-uid=", "owner-uid=4294967296", "\"owner-uid\""},
                {"[guest]", "name=", "name=\"\"", "\"name\""},
                {"[guest]", "name=", "name=web", "\"name\""},
                {"[guest]", "name=", "name=\"", "\"name\""},
                {"[guest]", "name=", "name=\"a\"b\"", "\"name\""},
                {"[guest]", "name=", "name=\"a\\\"", "\"name\""},
                {"[guest]", "name=", "name=\"\\x\"", "\"name\""},
                {"[guest]", "name=", "name=\"\\000\"", "\"name\""},
                {"[guest]", "name=", "name=\"\\400\"", "\"name\""},
                {"[guest]", "name=", "name=\"\\37\"", "\"name\""},
                {"[guest]", "name=", "name=\"\\377\"", "UTF-8"},
                {"[guest]", "\nid=", "\nid=4294967296", "\"id\""},
                {"[guest]", "driver=", "driver=../file", "\"driver\""},
                {"[guest]", "driver=", "driver=", "\"driver\""},
                {"[guest]", "driver=", "driver=abcdefghijklmnopqrstuvwxyzabcdefg", "\"driver\""},
                {"[guest]", "origin=", "origin=stolen", "\"origin\""},
                {"[guest]", "state=", "state=", "\"state\""},
                {"[guest]", "state=", "state=incoming", "\"state\""},
                {"[guest]", "on-lease-lost=", "on-lease-lost=explode", "\"on-lease-lost\""},
                {"[guest]", "require-scope=", "require-scope=world", "\"require-scope\""},
                {"[guest]", "generation=", "generation=18446744073709551616", "\"generation\""},
                {"[guest]", "acquired-at=", "acquired-at=-1", "\"acquired-at\""},
                {"[guest]", "transient=", "transient=1", "\"transient\""},
                {"[guest]", "restricted=", "restricted=", "\"restricted\""},
                {"[guest]", "stopped-by-us=", "stopped-by-us=1", "\"stopped-by-us\""},
                {"[guest]", "state-string=", "state-string=\"\\351\"", "\"state-string\" in [guest] is not UTF-8"},
                {"[guest]", "\npid=", "\npid=4194305", "\"pid\""},
                {"[guest]", "\nstart-time=", "\nstart-time=x", "\"start-time\""},
                {"[guest]", "supervisor-pid=", "supervisor-pid=1.5", "\"supervisor-pid\""},
                {"[resource 0]", "[resource 0]", "[resource 00]", "groups"},
                {"[resource 0]", "type=", "type=guest", "\"type\" in [resource 0]"},
                {"[resource 0]", "name=", "name=\"\\001\\377\"", "UTF-8"},
                {"[resource 0]", "mode=", "mode=rw", "\"mode\""},
                {"[resource 0]", "state=", "state=free", "\"state\" in [resource 0]"},
                {"[resource 0]", "node=", "node=", "\"node\""},
                {"[resource 0]", "node=", "node=zfe01-1-1", "\"node\""},
                {"[resource 0]", "extent-start=", "extent-start=18446744073709551615", "\"extent-end\""},
                {"[resource 0]", "extent-end=", "extent-end=0", "\"extent-end\""},
                {"[resource 0]", "path=", "path=\"srv\"", "\"path\""},
                {"[resource 0]", "path=", "path=\"\"", "\"path\""},
                {"[resource 0]", "birth=", "birth=now", "\"birth\""},
                {"[resource 0]", "registrant-uid=", "registrant-uid=4294967295", "\"registrant-uid\""},
                {"[resource 0]", "registrant-groups=", "registrant-groups=", "\"registrant-groups\""},
                {"[resource 0]", "registrant-groups=", "registrant-groups=1  2", "\"registrant-groups\""},
                {"[resource 0]", "registrant-groups=", "registrant-groups=1 4294967295", "\"registrant-groups\""},
                {"[resource 0]", "scope=", "scope=", "\"scope\""},
                {"[resource 0]", "kept-by=", "kept-by=me", "\"kept-by\""},
                {"[resource 0]", "since=", "since=-1", "\"since\""},
                {"[resource 1]", "[resource 1]", "[resource 2]", "groups"},
                {"[resource 1]", "mtime=", "mtime=0\n[more]", "groups"},
                {"[end]", "resources=", "resources=1", "groups"},
                {"[end]", "resources=", "resources=\xc3\xbc", "plain text"},
        };
        gsize length = 0;
        g_autofree char *text = good_text(&length);

        for (gsize i = 0; i < G_N_ELEMENTS(wrong); i++) {
                g_autofree char *changed = with_line(text, wrong[i].group, wrong[i].key, wrong[i].line);
                g_autofree char *why = why_refused(changed, strlen(changed));

                if (!why || !strstr(why, wrong[i].why))
                        g_error("%s %s: %s", wrong[i].group, wrong[i].line, why ?: "taken");
        }
}

static void test_over_long_and_twice(void) {
        GlGuest *guest = new_guest("web");
        gsize length = 0;
        g_autofree char *nasty = good_text(&length), *name = g_strnfill(4097, 'x');
        g_autofree char *line = g_strdup_printf("name=\"%s\"", name),
                        *long_text = with_line(nasty, "[guest]", "name=", line);
        g_autofree char *why_long = why_refused(long_text, strlen(long_text)), *twice = NULL, *why_twice = NULL;

        g_assert_nonnull(strstr(why_long, "too long"));
        add_resource(guest, GL_RESOURCE_DISK, "/srv/a.img", (GlExtent){0, GL_EXTENT_END});
        add_resource(guest, GL_RESOURCE_DISK, "/srv/a.img", (GlExtent){0, GL_EXTENT_END});
        twice = gl_state_file_write(guest, BOOT, &length, NULL);
        why_twice = why_refused(twice, length);
        g_assert_nonnull(strstr(why_twice, "another resource's name"));
        gl_guest_record_free(guest);
}

/* Whatever the bytes are: a guest or a reason, never a crash. The sequence is the same each time. */
static void test_any_bytes(void) {
        g_autoptr(GRand) random = g_rand_new_with_seed(20);
        gsize length = 0;
        g_autofree char *text = good_text(&length);
        guint n_refused = 0;

        for (guint i = 0; i < 2000; i++) {
                g_autofree char *damaged = g_memdup2(text, length), *why = NULL;

                for (int j = g_rand_int_range(random, 1, 4); j > 0; j--)
                        damaged[g_rand_int_range(random, 0, (gint32) length)] =
                                (char) (i % 2 ? g_rand_int_range(random, 0, 256) : g_rand_int_range(random, 32, 127));
                why = why_refused(damaged, length);
                n_refused += why != NULL;
        }
        g_assert_cmpuint(n_refused, >, 1000);
}

static char *put(Fixture *fixture, const char *name, const char *text) {
        char *path = g_build_filename(fixture->guests, name, NULL);

        g_assert_true(g_file_set_contents(path, text, -1, NULL));
        return path;
}

static gboolean is_in(const char *directory, const char *name) {
        g_autofree char *path = g_build_filename(directory, name, NULL);

        return g_file_test(path, G_FILE_TEST_EXISTS) || g_file_test(path, G_FILE_TEST_IS_SYMLINK);
}

static void test_bad_ones_are_set_aside_and_the_rest_is_read(Fixture *fixture, gconstpointer data) {
        static const char *const bad[] = {UUID, "a-directory", "a-link", "empty", "foreign", NULL};
        GlGuest *guest = new_nasty_guest();
        g_autoptr(GPtrArray) problems = g_ptr_array_new_with_free_func(g_free), guests = NULL, again = NULL;
        g_autofree char *directory = g_build_filename(fixture->guests, "a-directory", NULL), *foreign = NULL,
                        *empty = NULL;
        g_autofree char *link = g_build_filename(fixture->guests, "a-link", NULL), *other = NULL, *left = NULL;

        save(fixture->store, guest);
        foreign = put(fixture, "foreign", "[guestlock]\nversion=1\nboot-id=\"0\"\n");
        empty = put(fixture, "empty", "");
        other = put(fixture, UUID, "[guestlock]\nversion=99\n");
        left = put(fixture, ".tmp-" UUID, "[guestlo");
        g_assert_cmpint(g_mkdir(directory, 0700), ==, 0);
        g_assert_cmpint(symlink("/etc/passwd", link), ==, 0);

        guests = gl_store_load(fixture->store, problems);
        g_assert_cmpuint(guests->len, ==, 1);
        g_assert_cmpuint(problems->len, ==, 5);
        for (guint i = 0; bad[i]; i++) {
                g_autofree char *named = g_strdup_printf("\"%s/%s\" was set aside in", fixture->guests, bad[i]);

                g_assert_nonnull(strstr(problems->pdata[i], named));
                g_assert_true(is_in(fixture->set_aside, bad[i]));
                g_assert_false(is_in(fixture->guests, bad[i]));
        }
        g_assert_nonnull(strstr(problems->pdata[0], "version 99"));
        g_assert_false(is_in(fixture->guests, ".tmp-" UUID));

        again = gl_store_load(fixture->store, problems);
        g_assert_cmpuint(again->len, ==, 1);
        g_assert_cmpuint(problems->len, ==, 5);
        /* Which is known as long as they are there. */
        g_assert_cmpuint(gl_store_count_unknown(fixture->store), >, 0);
        gl_guest_record_free(guest);
}

/* --- tests: directories --- */

static void expect_refused(Fixture *fixture, const char *named, const char *why) {
        g_autoptr(GError) error = NULL;

        g_assert_null(gl_store_new(fixture->runtime, fixture->state, BOOT, &error));
        g_assert_error(error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE);
        if (!strstr(error->message, named) || !strstr(error->message, why))
                g_error("\"%s\" does not name %s and say \"%s\"", error->message, named, why);
}

static mode_t mode_of(const char *path) {
        struct stat st;

        g_assert_cmpint(stat(path, &st), ==, 0);
        return st.st_mode & 07777;
}

static void test_directories_are_made_private(Fixture *fixture, gconstpointer data) {
        g_autoptr(GlStore) store = NULL;

        g_assert_cmpuint(mode_of(fixture->runtime), ==, 0700);
        g_assert_cmpuint(mode_of(fixture->guests), ==, 0700);
        g_assert_cmpuint(mode_of(fixture->state), ==, 0700);
        g_assert_cmpint(g_chmod(fixture->guests, 0755), ==, 0);
        g_assert_cmpint(g_chmod(fixture->runtime, 0755), ==, 0);
        store = open_store(fixture);
        g_assert_cmpuint(mode_of(fixture->guests), ==, 0700);
}

static void test_directories_that_may_be_others_are_refused(Fixture *fixture, gconstpointer data) {
        g_autofree char *elsewhere = g_build_filename(fixture->root, "elsewhere", NULL);

        g_assert_cmpint(g_chmod(fixture->guests, 0770), ==, 0);
        expect_refused(fixture, fixture->guests, "written to by others");
        g_assert_cmpint(g_rmdir(fixture->guests), ==, 0);
        g_assert_cmpint(g_mkdir(elsewhere, 0700), ==, 0);
        g_assert_cmpint(symlink(elsewhere, fixture->guests), ==, 0);
        expect_refused(fixture, fixture->guests, "no symbolic link");
        g_assert_cmpint(g_remove(fixture->guests), ==, 0);
        if (geteuid() == 0) {
                g_assert_cmpint(g_mkdir(fixture->guests, 0700), ==, 0);
                g_assert_cmpint(chown(fixture->guests, 12345, 0), ==, 0);
                expect_refused(fixture, fixture->guests, "uid 12345");
                g_assert_cmpint(g_rmdir(fixture->guests), ==, 0);
        }
        g_assert_cmpint(g_chmod(fixture->runtime, 0707), ==, 0);
        expect_refused(fixture, fixture->runtime, "written to by others");
}

static void test_directories_that_cannot_be_made_are_named(Fixture *fixture, gconstpointer data) {
        g_free(fixture->state);
        fixture->state = g_build_filename(fixture->log, "below-a-file", NULL);
        expect_refused(fixture, fixture->state, "cannot be made");
}

/* --- tests: generations --- */

typedef struct {
        guint n;
        guint64 exclusive[8], shared[8]; /* by inode */
} Noted;

static void note(const GlNode *node, GlMode mode, guint64 generation, gpointer data) {
        Noted *noted = data;

        g_assert_cmpuint(node->inode, <, 8);
        noted->n++;
        (mode == GL_MODE_SHARED ? noted->shared : noted->exclusive)[node->inode] = generation;
}

static void compact(Fixture *fixture, guint max_nodes, Noted *noted) {
        int directory = open(fixture->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        g_autoptr(GlGenerations) generations = gl_generations_open(directory, fixture->state, NULL);
        g_autoptr(GError) error = NULL;

        *noted = (Noted){0};
        g_assert_true(gl_generations_compact(generations, max_nodes, note, noted, &error));
        g_assert_no_error(error);
        close(directory);
}

static void record(Fixture *fixture, guint64 inode, GlMode mode, guint64 generation) {
        GlNode node = {.kind = GL_NODE_FILE, .device = 1, .inode = inode};

        gl_store_record_generation(fixture->store, &node, mode, generation);
}

static gsize log_length(Fixture *fixture) {
        struct stat st;

        g_assert_cmpint(stat(fixture->log, &st), ==, 0);
        return (gsize) st.st_size;
}

static void test_generations_come_back(Fixture *fixture, gconstpointer data) {
        Noted noted;
        gsize length;

        record(fixture, 1, GL_MODE_EXCLUSIVE, 10);
        length = log_length(fixture);
        record(fixture, 1, GL_MODE_READONLY, 11);
        g_assert_cmpuint(log_length(fixture), ==, length);
        record(fixture, 1, GL_MODE_EXCLUSIVE, 12);
        record(fixture, 1, GL_MODE_SHARED, 13);
        record(fixture, 1, GL_MODE_EXCLUSIVE, 11);
        record(fixture, 2, GL_MODE_SHARED, G_MAXUINT64);
        record(fixture, 3, GL_MODE_EXCLUSIVE, 5);

        compact(fixture, 100, &noted);
        g_assert_cmpuint(noted.n, ==, 4);
        g_assert_cmpuint(noted.exclusive[1], ==, 12);
        g_assert_cmpuint(noted.shared[1], ==, 13);
        g_assert_cmpuint(noted.shared[2], ==, G_MAXUINT64);
        g_assert_cmpuint(noted.exclusive[3], ==, 5);
        g_assert_cmpuint(log_length(fixture), <, length * 5);
        g_assert_cmpuint(count_files(fixture->state), ==, 1);

        /* The nodes granted last stay. */
        compact(fixture, 2, &noted);
        g_assert_cmpuint(noted.n, ==, 3);
        g_assert_cmpuint(noted.exclusive[3], ==, 0);
        compact(fixture, 100, &noted);
        g_assert_cmpuint(noted.n, ==, 3);
}

static void test_appending_goes_on_after_compaction(Fixture *fixture, gconstpointer data) {
        GlCore *core = gl_core_new(&(GlLimits){0}, "id", "host", NULL, NULL);
        Noted noted;

        record(fixture, 1, GL_MODE_EXCLUSIVE, 10);
        gl_store_load_generations(fixture->store, core);
        record(fixture, 2, GL_MODE_EXCLUSIVE, 20);
        compact(fixture, 100, &noted);
        g_assert_cmpuint(noted.n, ==, 2);
        g_assert_cmpuint(noted.exclusive[2], ==, 20);
        gl_core_free(core);
}

static void test_broken_lines_are_passed_over(Fixture *fixture, gconstpointer data) {
        static const char text[] =
                "f1-1-0 exclusive 10\n\n\0\0\0\n"
                "f1-2-0 exclusive 20 \nf1-2-0 readonly 20\nf1-2-0 exclusive\nf1-2-0 exclusive 0\n"
                "f1-2-0 exclusive 18446744073709551616\nf1-3-0 shared 30\0\n"
                "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxf1-4-0 shared 40\n"
                "f1-5-0 shared 50\nf1-6-0 exclusive 6";
        Noted noted;

        g_assert_true(g_file_set_contents(fixture->log, text, sizeof(text) - 1, NULL));
        compact(fixture, 100, &noted);
        g_assert_cmpuint(noted.n, ==, 2);
        g_assert_cmpuint(noted.exclusive[1], ==, 10);
        g_assert_cmpuint(noted.shared[5], ==, 50);
}

static void test_a_full_disk_loses_no_generation(Fixture *fixture, gconstpointer data) {
        Noted noted;

        if (g_test_subprocess()) {
                gl_store_free(fixture->store);
                fixture->store = open_store(fixture);
                record(fixture, 1, GL_MODE_EXCLUSIVE, 10);
                limit_file_size(log_length(fixture) + 7);
                record(fixture, 2, GL_MODE_EXCLUSIVE, 20);
                record(fixture, 3, GL_MODE_EXCLUSIVE, 30);
                limit_file_size(RLIM_INFINITY);
                record(fixture, 4, GL_MODE_EXCLUSIVE, 40);
                compact(fixture, 100, &noted);
                g_assert_cmpuint(noted.n, ==, 4);
                g_assert_cmpuint(noted.exclusive[2], ==, 20);
                g_assert_cmpuint(noted.exclusive[3], ==, 30);
                return;
        }
        g_test_trap_subprocess(NULL, 0, 0);
        g_test_trap_assert_passed();
        /* Said, and said once. */
        g_test_trap_assert_stderr("*generations of leases cannot be written to*");
        g_test_trap_assert_stderr_unmatched("*cannot be written to*cannot be written to*");
}

/* Not even compaction works, and the last line is torn: the next one does not continue it. */
static void test_a_torn_line_and_no_room(Fixture *fixture, gconstpointer data) {
        int directory = open(fixture->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        g_autoptr(GlGenerations) generations = NULL;
        g_autoptr(GError) error = NULL;
        GlNode node = {.kind = GL_NODE_FILE, .device = 1, .inode = 2};
        gboolean compacted;
        Noted noted = {0};

        g_assert_true(g_file_set_contents(fixture->log, "f1-1-0 exclusive 10\nf1-3-0 excl", -1, NULL));
        generations = gl_generations_open(directory, fixture->state, NULL);
        limit_file_size(5);
        compacted = gl_generations_compact(generations, 100, note, &noted, &error);
        limit_file_size(RLIM_INFINITY);
        g_assert_false(compacted);
        g_assert_error(error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE);
        g_assert_cmpuint(noted.exclusive[1], ==, 10);
        g_assert_cmpuint(count_files(fixture->state), ==, 1);

        g_assert_true(gl_generations_append(generations, &node, GL_MODE_EXCLUSIVE, 20, NULL));
        compact(fixture, 100, &noted);
        g_assert_cmpuint(noted.n, ==, 2);
        g_assert_cmpuint(noted.exclusive[2], ==, 20);
        close(directory);
}

static void test_a_log_of_others_is_refused(Fixture *fixture, gconstpointer data) {
        g_assert_cmpint(g_chmod(fixture->log, 0666), ==, 0);
        expect_refused(fixture, fixture->log, "remove it");
        g_assert_cmpint(g_remove(fixture->log), ==, 0);
        g_assert_cmpint(symlink("/dev/null", fixture->log), ==, 0);
        expect_refused(fixture, fixture->log, "symbolic links");
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
#define ADD(path, func) g_test_add("/store/" path, Fixture, NULL, setup, func, teardown)
        ADD("everything-comes-back", test_everything_comes_back);
        ADD("ghosts-come-back", test_ghosts_come_back);
        ADD("saving-replaces", test_saving_replaces);
        ADD("a-save-that-fails-leaves-the-old", test_a_save_that_fails_leaves_the_old);
        ADD("what-cannot-be-found-again-is-not-saved", test_what_cannot_be_found_again_is_not_saved);
        g_test_add_func("/store/truncated-anywhere", test_truncated_anywhere);
        g_test_add_func("/store/no-key-may-be-missing", test_no_key_may_be_missing);
        g_test_add_func("/store/wrong-values", test_wrong_values);
        g_test_add_func("/store/over-long-and-twice", test_over_long_and_twice);
        g_test_add_func("/store/any-bytes", test_any_bytes);
        ADD("bad-ones-are-set-aside-and-the-rest-is-read", test_bad_ones_are_set_aside_and_the_rest_is_read);
        ADD("directories-are-made-private", test_directories_are_made_private);
        ADD("directories-that-may-be-others-are-refused", test_directories_that_may_be_others_are_refused);
        ADD("directories-that-cannot-be-made-are-named", test_directories_that_cannot_be_made_are_named);
        ADD("generations-come-back", test_generations_come_back);
        ADD("appending-goes-on-after-compaction", test_appending_goes_on_after_compaction);
        ADD("broken-lines-are-passed-over", test_broken_lines_are_passed_over);
        ADD("a-full-disk-loses-no-generation", test_a_full_disk_loses_no_generation);
        ADD("a-torn-line-and-no-room", test_a_torn_line_and_no_room);
        ADD("a-log-of-others-is-refused", test_a_log_of_others_is_refused);
        return g_test_run();
}
