/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/core-private.h"

#include <string.h>

/*
 * The audit: who else has what carries a lock of ours? A copy of its descriptor keeps a lock in the kernel after its
 * guest, the service and who keeps it besides are gone, and can unlock it before. And who keeps the lease of a guest
 * that is gone from ending?
 *
 * To answer that a driver looks at every process there is. So it is asked about all leases together, as part of
 * the periodic check, and when a dead guest's lease has not drained within a moment; never twice at a time. As in a
 * check, what is looked at is not busy for that, and is known by its name when the answer comes.
 */

typedef struct {
        guint32 owner_uid;
        char uuid[37];
        GlResourceType type;
        char *name; /* (owned) */
        guint64 generation;
} Item;

typedef struct {
        const GlJob *job; /* (borrowed) */
        char *driver;     /* (owned) */
        GArray *items;    /* (owned) of Item, in the order of the targets */
} Audit;

static void item_clear(gpointer data) {
        g_free(((Item *) data)->name);
}

static void audit_free(gpointer data) {
        Audit *audit = data;

        g_array_unref(audit->items);
        g_free(audit->driver);
        g_free(audit);
}

GPtrArray *gl_core_audits_new(void) {
        return g_ptr_array_new_with_free_func(audit_free);
}

gboolean gl_core_is_auditing(GlCore *core, const char *driver) {
        for (guint i = 0; i < core->audits->len; i++)
                if (g_str_equal(((const Audit *) g_ptr_array_index(core->audits, i))->driver, driver))
                        return TRUE;
        return FALSE;
}

/* --- asking --- */

/* While its lease is being changed, what carries it cannot be said. */
static gboolean can_be_audited(const GlResource *resource) {
        if (resource->state == GL_RESOURCE_REGISTERED || !resource->lease)
                return FALSE;
        return resource->state == GL_RESOURCE_DRAINING || (!resource->broken && !gl_resource_is_busy(resource));
}

static void add_target(GlTarget *target, const GlResource *resource) {
        const GlGuest *guest = resource->guest;

        gl_target_set_lease(target, resource);
        target->draining = resource->state == GL_RESOURCE_DRAINING;
        for (guint role = 0; role < G_N_ELEMENTS(target->pids); role++)
                target->pids[role] = guest->processes[role].pid;
}

typedef struct {
        const char *driver;
        GPtrArray *resources; /* (owned) of GlResource (borrowed) */
} Wanted;

static void add_resources(GlGuest *guest, gpointer user_data) {
        Wanted *wanted = user_data;

        if (!g_str_equal(guest->driver, wanted->driver))
                return;
        for (guint i = 0; i < guest->resources->len; i++)
                if (can_be_audited(g_ptr_array_index(guest->resources, i)))
                        g_ptr_array_add(wanted->resources, g_ptr_array_index(guest->resources, i));
}

static void audit_driver(const char *driver, const char *const *capabilities, gpointer user_data) {
        GlCore *core = user_data;
        g_autoptr(GPtrArray) resources = g_ptr_array_new();
        Wanted wanted = {driver, resources};
        Audit *audit;
        GlJob *job;

        gl_core_foreach_guest(core, add_resources, &wanted);
        if (resources->len == 0)
                return;
        job = gl_job_new(GL_JOB_AUDIT, driver, resources->len);
        audit = g_new(Audit, 1);
        *audit = (Audit){job, g_strdup(driver), g_array_sized_new(FALSE, FALSE, sizeof(Item), resources->len)};
        g_array_set_clear_func(audit->items, item_clear);
        for (guint i = 0; i < resources->len; i++) {
                const GlResource *resource = g_ptr_array_index(resources, i);
                Item item = {.owner_uid = resource->guest->owner_uid,
                             .type = resource->type,
                             .name = g_strdup(resource->name),
                             .generation = resource->generation};

                memcpy(item.uuid, resource->guest->uuid, sizeof item.uuid);
                g_array_append_val(audit->items, item);
                add_target(&job->targets[i], resource);
        }
        g_ptr_array_add(core->audits, audit);
        gl_core_emit(core, GL_CHANGE_JOB, NULL)->job = job;
}

void gl_core_begin_audit(GlCore *core) {
        core->audit_again = core->audits->len > 0;
        if (!core->audit_again)
                gl_core_foreach_driver(core, audit_driver, core);
}

/* --- what was found --- */

static void tell(GlCore *core, const GlResource *resource) {
        g_autofree char *quoted = gl_quote(resource->name);
        GlChange *change = gl_core_emit(core, GL_CHANGE_HELD_OPEN, resource->guest);

        change->text = g_strdup(resource->name);
        if (resource->state == GL_RESOURCE_DRAINING)
                change->message = g_strdup_printf("Its lease on %s cannot end: %s.", quoted, resource->held_open_by);
        else
                change->message =
                        g_strdup_printf("Its lease on %s is open to others, who can unlock it, and would keep "
                                        "it from ending: %s.",
                                        quoted, resource->held_open_by);
}

/* An operator hears of each once. */
static void heed(GlCore *core, const Item *item, const GlTarget *target) {
        const GlGuest *guest = gl_core_find_guest(core, item->owner_uid, item->uuid);
        GlResource *resource = guest ? gl_guest_find_resource(guest, item->type, item->name) : NULL;

        if (!resource || resource->generation != item->generation || !can_be_audited(resource) ||
            (resource->state == GL_RESOURCE_DRAINING) != target->draining ||
            g_strcmp0(resource->held_open_by, target->held_open_by) == 0)
                return;
        g_free(resource->held_open_by);
        resource->held_open_by = g_strdup(target->held_open_by);
        gl_core_touch(core, resource->guest, GL_PROPERTY_RESOURCES);
        if (resource->held_open_by)
                tell(core, resource);
}

void gl_core_audit_done(GlCore *core, GlJob *job) {
        for (guint i = 0; i < core->audits->len; i++) {
                const Audit *audit = g_ptr_array_index(core->audits, i);

                if (audit->job != job)
                        continue;
                for (guint j = 0; j < job->n_targets; j++)
                        heed(core, &g_array_index(audit->items, Item, j), &job->targets[j]);
                g_ptr_array_remove_index_fast(core->audits, i);
                break;
        }
        gl_job_free(job);
        if (core->audit_again)
                gl_core_begin_audit(core);
}
