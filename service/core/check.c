/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/core-private.h"

#include <string.h>

/*
 * The periodic check: one wake-up for all guests, and then a *lane* for each storage of each driver, on which a few
 * resources at a time are out. A storage that hangs holds up its own lane, which is left alone until it answers, and no
 * other; and one that has very many leases is not kept busy by the check alone.
 *
 * A check belongs to no operation, and what is checked is not busy: any call can change or end it meanwhile. So a lane
 * knows resources by their names, and what was found out of one that is not what it was is dropped.
 */

#define CHUNK 64

typedef struct {
        guint32 owner_uid;
        char uuid[37];
        GlResourceType type;
        char *name; /* (owned) */
} Item;

typedef struct {
        char *driver;     /* (owned) */
        GQueue waiting;   /* of Item (owned) */
        GPtrArray *out;   /* (owned) (nullable) of Item: the targets of the job that is out, in their order */
} Lane;

static void item_free(gpointer data) {
        Item *item = data;

        g_free(item->name);
        g_free(item);
}

static void lane_free(gpointer data) {
        Lane *lane = data;

        g_queue_clear_full(&lane->waiting, item_free);
        g_clear_pointer(&lane->out, g_ptr_array_unref);
        g_free(lane->driver);
        g_free(lane);
}

GHashTable *gl_core_lanes_new(void) {
        return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, lane_free);
}

void gl_core_set_check_interval(GlCore *core, guint64 interval) {
        core->check_interval = interval;
        core->check_at = 0;
}

gint64 gl_core_next_check(GlCore *core) {
        if (core->check_interval == 0 || core->n_leases == 0)
                core->check_at = 0;
        else if (core->check_at == 0)
                core->check_at = core->now + (gint64) core->check_interval;
        return core->check_at ?: G_MAXINT64;
}

gboolean gl_core_is_checking(GlCore *core, const char *driver) {
        GHashTableIter iter;
        gpointer lane;

        g_hash_table_iter_init(&iter, core->lanes);
        while (g_hash_table_iter_next(&iter, NULL, &lane))
                if (((Lane *) lane)->out && g_str_equal(((Lane *) lane)->driver, driver))
                        return TRUE;
        return FALSE;
}

/* What is known to be lost, and broken, needs no look. */
static gboolean can_be_checked(const GlGuest *guest, const GlResource *resource) {
        const GlGuestData *data = gl_guest_data(guest);

        return (resource->state == GL_RESOURCE_HELD || resource->state == GL_RESOURCE_LOST) && resource->lease &&
               !resource->broken && !gl_resource_is_busy(resource) && !data->exiting && !data->releasing;
}

/* --- sending out --- */

static void add_target(GlTarget *target, const GlResource *resource) {
        gl_target_set_lease(target, resource);
        target->kept_by = resource->kept_by;
        target->size = resource->size;
        target->mtime = resource->mtime;
}

static GlResource *find(GlCore *core, const Item *item) {
        const GlGuest *guest = gl_core_find_guest(core, item->owner_uid, item->uuid);
        GlResource *resource = guest ? gl_guest_find_resource(guest, item->type, item->name) : NULL;

        return resource && can_be_checked(guest, resource) ? resource : NULL;
}

static void send_next(GlCore *core, Lane *lane) {
        g_autoptr(GPtrArray) items = g_ptr_array_new_with_free_func(item_free);
        GlResource *found[CHUNK];
        Item *item;
        GlJob *job;

        while (items->len < CHUNK && (item = g_queue_pop_head(&lane->waiting))) {
                found[items->len] = gl_core_has_driver(core, lane->driver) ? find(core, item) : NULL;
                if (found[items->len])
                        g_ptr_array_add(items, item);
                else
                        item_free(item);
        }
        if (items->len == 0)
                return;
        job = gl_job_new(GL_JOB_CHECK, lane->driver, items->len);
        job->realtime = core->realtime;
        job->adopting = TRUE; /* as there: a guest runs that has had it before */
        job->core_data = lane;
        for (guint i = 0; i < items->len; i++)
                add_target(&job->targets[i], found[i]);
        lane->out = g_steal_pointer(&items);
        gl_core_emit(core, GL_CHANGE_JOB, NULL)->job = job;
}

static Lane *lane_of(GlCore *core, const GlGuest *guest, const GlResource *resource) {
        const char *storage = core->hooks.storage_of ? core->hooks.storage_of(resource, core->user_data) : "";
        g_autofree char *key = g_strdup_printf("%s %s", guest->driver, storage);
        Lane *lane = g_hash_table_lookup(core->lanes, key);

        if (lane)
                return lane;
        lane = g_new0(Lane, 1);
        lane->driver = g_strdup(guest->driver);
        g_queue_init(&lane->waiting);
        g_hash_table_insert(core->lanes, g_steal_pointer(&key), lane);
        return lane;
}

static void add_resources(GlGuest *guest, gpointer user_data) {
        GlCore *core = user_data;

        for (guint i = 0; i < guest->resources->len; i++) {
                const GlResource *resource = g_ptr_array_index(guest->resources, i);
                Lane *lane;
                Item *item;

                if (!can_be_checked(guest, resource))
                        continue;
                lane = lane_of(core, guest, resource);
                if (lane->out)
                        continue;
                item = g_new(Item, 1);
                *item = (Item){.owner_uid = guest->owner_uid, .type = resource->type, .name = g_strdup(resource->name)};
                memcpy(item->uuid, guest->uuid, sizeof item->uuid);
                g_queue_push_tail(&lane->waiting, item);
        }
}

static gboolean is_idle(gpointer key, gpointer lane, gpointer user_data) {
        return !((Lane *) lane)->out;
}

void gl_core_begin_check(GlCore *core) {
        GHashTableIter iter;
        gpointer lane;

        core->check_at = core->now + (gint64) core->check_interval;
        gl_core_begin_audit(core);
        gl_core_foreach_guest(core, add_resources, core);
        g_hash_table_iter_init(&iter, core->lanes);
        while (g_hash_table_iter_next(&iter, NULL, &lane))
                if (!((Lane *) lane)->out)
                        send_next(core, lane);
        g_hash_table_foreach_remove(core->lanes, is_idle, NULL);
}

/* --- what was found --- */

static void note_whereabouts(GlCore *core, GlResource *resource, const GlTarget *target) {
        gboolean moved = target->whereabouts == GL_WHEREABOUTS_ELSEWHERE;
        g_autofree char *quoted = NULL;
        GlChange *change;

        if (target->whereabouts == GL_WHEREABOUTS_UNKNOWN || moved == resource->path_moved)
                return;
        resource->path_moved = moved;
        gl_core_touch(core, resource->guest, GL_PROPERTY_RESOURCES);
        if (!moved)
                return;
        quoted = gl_quote(resource->name);
        change = gl_core_emit(core, GL_CHANGE_PATH_MOVED, resource->guest);
        change->text = g_strdup(resource->name);
        change->message = g_strdup_printf("%s leads to something else than what the guest has leased, and goes on "
                                          "using, under this name.",
                                          quoted);
}

/* Whoever has inherited it keeps it, whatever was found in the same moment. */
static void note_keeping(GlCore *core, GlResource *resource, const GlTarget *target) {
        if (resource->kept_by == GL_KEPT_BY_HOLDER || resource->kept_by == target->kept_by)
                return;
        resource->kept_by = target->kept_by;
        gl_core_touch(core, resource->guest, GL_PROPERTY_RESOURCES);
}

static void note_loss(GlCore *core, GlResource *resource, const GlTarget *target) {
        g_autoptr(GPtrArray) one = g_ptr_array_new();

        resource->broken = TRUE;
        if (resource->state != GL_RESOURCE_HELD)
                return;
        g_ptr_array_add(one, resource);
        gl_core_lose(core, resource->guest, one, target->loss, target->loss_message, FALSE);
}

static void heed(GlCore *core, const Item *item, const GlTarget *target) {
        GlResource *resource = find(core, item);

        if (!resource || resource->lease != target->lease || resource->generation != target->generation ||
            resource->mode != target->mode)
                return;
        note_whereabouts(core, resource, target);
        note_keeping(core, resource, target);
        if (target->found == GL_FOUND_LOST) {
                note_loss(core, resource, target);
        } else if (target->found == GL_FOUND_HELD) {
                /* What is known of the image from when nobody else can have written to it. */
                resource->size = target->size;
                resource->mtime = target->mtime;
        }
}

void gl_core_check_done(GlCore *core, GlJob *job) {
        Lane *lane = job->core_data;
        g_autoptr(GPtrArray) items = g_steal_pointer(&lane->out);

        for (guint i = 0; i < job->n_targets; i++)
                heed(core, g_ptr_array_index(items, i), &job->targets[i]);
        gl_job_free(job);
        send_next(core, lane);
        g_hash_table_foreach_remove(core->lanes, is_idle, NULL);
}
