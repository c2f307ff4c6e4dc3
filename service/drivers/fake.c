/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drivers/fake.h"

#include "core/error.h"

/*
 * One list of who has which place in which mode; the driver's own leases and strangers' differ in `pid` alone.
 * Nothing here looks at the service's lock table: like a kernel, it refuses also what one service asks for twice.
 */

typedef struct {
        GlPlace *place; /* (owned) */
        GlMode mode;
        guint32 pid;    /* 0: a lease of ours */
        char *command;  /* (owned) (nullable) */
        gboolean lost;  /* is in nobody's way */
} Hold;

typedef struct {
        GlJob *job;
        GlJobDone done;
        gpointer user_data;
} HeldJob;

typedef struct {
        GlDriver driver;
        GPtrArray *holds;     /* (owned) of Hold */
        GHashTable *replaced; /* (owned) set of GlNode */
        GQueue held_jobs;     /* of HeldJob */
        gboolean holding;
        guint drain_asks;
        GlScope scope;
        GlWhereabouts whereabouts;
        GString *log;

        GError *next_error;        /* (owned) (nullable) */
        GPtrArray *next_obstacles; /* (owned) (nullable) */
        gboolean next_brief;
} Fake;

static void hold_free(gpointer data) {
        Hold *hold = data;

        gl_place_unref(hold->place);
        g_free(hold->command);
        g_free(hold);
}

static Hold *fake_add(Fake *fake, const GlPlace *place, GlMode mode) {
        Hold *hold = g_new0(Hold, 1);

        hold->place = gl_place_ref((GlPlace *) place);
        hold->mode = mode;
        g_ptr_array_add(fake->holds, hold);
        return hold;
}

static gboolean is_in_the_way(const Hold *hold, const GlPlace *place, GlMode mode) {
        return !hold->lost && gl_node_equal(&hold->place->node, &place->node) &&
               gl_extent_overlaps(hold->place->extent, place->extent) &&
               (hold->mode != mode || mode == GL_MODE_EXCLUSIVE);
}

/* Adds who keeps TARGET from its mode to OBSTACLES, except its own lease. */
static void find_obstacles(Fake *fake, const GlTarget *target, GPtrArray *obstacles) {
        for (guint i = 0; i < fake->holds->len; i++) {
                const Hold *hold = g_ptr_array_index(fake->holds, i);
                GlObstacle *obstacle;

                if (hold == target->lease || !is_in_the_way(hold, target->place, target->mode))
                        continue;
                obstacle = gl_obstacle_new();
                obstacle->pid = hold->pid;
                obstacle->command = g_strdup(hold->command);
                obstacle->has_mode = TRUE;
                obstacle->mode = hold->mode;
                obstacle->own = hold->pid == 0;
                obstacle->via = g_strdup(hold->pid ? "a stranger" : "another lease");
                g_ptr_array_add(obstacles, obstacle);
        }
}

static gboolean fail_as_told(Fake *fake, GlJob *job) {
        if (!fake->next_error)
                return FALSE;

        job->error = g_steal_pointer(&fake->next_error);
        job->obstacles = g_steal_pointer(&fake->next_obstacles);
        job->brief = fake->next_brief;
        return TRUE;
}

static gboolean check_targets(Fake *fake, GlJob *job) {
        for (guint i = 0; i < job->n_targets; i++) {
                const GlTarget *target = &job->targets[i];

                if (g_hash_table_contains(fake->replaced, &target->place->node)) {
                        g_set_error(&job->error, GL_ERROR, GL_ERROR_STALE, "Disk \"%s\" is another one now.",
                                    target->name);
                        return FALSE;
                }
                if (target->require_scope > fake->scope) {
                        g_set_error(&job->error, GL_ERROR, GL_ERROR_STORAGE_UNAVAILABLE,
                                    "Disk \"%s\" can only be leased with scope \"%s\".", target->name,
                                    gl_scope_to_string(fake->scope));
                        return FALSE;
                }
        }
        return TRUE;
}

static gboolean check_free(Fake *fake, GlJob *job) {
        g_autoptr(GPtrArray) obstacles = g_ptr_array_new_with_free_func((GDestroyNotify) gl_obstacle_free);
        g_autoptr(GString) message = g_string_new(NULL);

        for (guint i = 0; i < job->n_targets; i++) {
                g_autoptr(GPtrArray) own = g_ptr_array_new_with_free_func((GDestroyNotify) gl_obstacle_free);
                g_autofree char *sentence = NULL;

                find_obstacles(fake, &job->targets[i], own);
                if (own->len == 0)
                        continue;
                sentence = gl_obstacles_to_sentence(job->targets[i].type, job->targets[i].name, own);
                g_string_append_printf(message, "%s%s", message->len > 0 ? " " : "", sentence);
                g_ptr_array_extend_and_steal(obstacles, g_steal_pointer(&own));
        }
        if (obstacles->len == 0)
                return TRUE;

        job->error = g_error_new_literal(GL_ERROR, GL_ERROR_CONFLICT, message->str);
        job->obstacles = g_steal_pointer(&obstacles);
        return FALSE;
}

static void inspect(GlTarget *target) {
        target->size = 1024 * 1024;
        target->mtime = 1;
}

static void take(Fake *fake, GlJob *job) {
        if (fail_as_told(fake, job) || !check_targets(fake, job) || !check_free(fake, job))
                return;

        for (guint i = 0; i < job->n_targets; i++) {
                GlTarget *target = &job->targets[i];

                target->lease = fake_add(fake, target->place, target->mode);
                target->scope = fake->scope;
                g_free(target->scope_reason);
                target->scope_reason = g_strdup("it is made up");
                target->kept_by = GL_KEPT_BY_SERVICE;
                inspect(target);
        }
}

static void give_back(Fake *fake, GlJob *job) {
        for (guint i = 0; i < job->n_targets; i++) {
                Hold *hold = g_steal_pointer(&job->targets[i].lease);

                inspect(&job->targets[i]);
                if (hold)
                        g_assert_true(g_ptr_array_remove(fake->holds, hold));
        }
}

static void drain(Fake *fake, GlJob *job) {
        for (guint i = 0; i < job->n_targets; i++) {
                GlTarget *target = &job->targets[i];

                target->drained = fake->drain_asks == 0;
                g_clear_pointer(&target->drain_reason, g_free);
                if (target->drained)
                        continue;
                fake->drain_asks--;
                target->drain_reason = g_strdup("the test says so");
        }
}

static void check(Fake *fake, GlJob *job) {
        for (guint i = 0; i < job->n_targets; i++) {
                GlTarget *target = &job->targets[i];
                g_autoptr(GPtrArray) others = g_ptr_array_new_with_free_func((GDestroyNotify) gl_obstacle_free);

                inspect(target);
                target->whereabouts = fake->whereabouts;
                target->found = GL_FOUND_HELD;
                if (!((Hold *) target->lease)->lost)
                        continue;
                find_obstacles(fake, target, others);
                target->found = GL_FOUND_LOST;
                target->loss = others->len > 0 ? GL_LOST_TAKEN : GL_LOST_STORAGE_LOST;
                target->loss_message = others->len > 0 ? gl_obstacles_to_sentence(target->type, target->name, others)
                                                       : g_strdup("The test has taken the lock away.");
        }
}

static void look(Fake *fake, GlJob *job) {
        if (!check_targets(fake, job))
                return;
        for (guint i = 0; i < job->n_targets; i++) {
                GlTarget *target = &job->targets[i];

                target->obstacles = g_ptr_array_new_with_free_func((GDestroyNotify) gl_obstacle_free);
                find_obstacles(fake, target, target->obstacles);
                inspect(target);
        }
}

static void do_job(Fake *fake, GlJob *job) {
        switch (job->kind) {
        case GL_JOB_TAKE:
                take(fake, job);
                break;
        case GL_JOB_GIVE_BACK:
                give_back(fake, job);
                break;
        case GL_JOB_CHANGE_MODE:
                if (!fail_as_told(fake, job) && check_free(fake, job))
                        ((Hold *) job->targets[0].lease)->mode = job->targets[0].mode;
                break;
        case GL_JOB_DRAIN:
                drain(fake, job);
                break;
        case GL_JOB_INSPECT:
                for (guint i = 0; i < job->n_targets; i++)
                        inspect(&job->targets[i]);
                break;
        case GL_JOB_CHECK:
                check(fake, job);
                break;
        case GL_JOB_LOOK:
                look(fake, job);
                break;
        case GL_JOB_AUDIT:
                break;
        }
}

static void log_job(Fake *fake, const GlJob *job) {
        static const char *const kinds[] = {"take",    "give-back", "change-mode", "drain",
                                            "inspect", "check",     "audit",       "look"};

        g_string_append(fake->log, kinds[job->kind]);
        for (guint i = 0; i < job->n_targets; i++)
                g_string_append_printf(fake->log, "%s %s %s", i > 0 ? "," : "", job->targets[i].name,
                                       gl_mode_to_string(job->targets[i].mode));
        g_string_append_c(fake->log, '\n');
}

static void fake_start(GlDriver *driver, GlJob *job, GlJobDone done, gpointer user_data) {
        Fake *fake = (Fake *) driver;
        HeldJob *held;

        log_job(fake, job);
        if (!fake->holding) {
                do_job(fake, job);
                done(job, user_data);
                return;
        }

        held = g_new(HeldJob, 1);
        *held = (HeldJob){.job = job, .done = done, .user_data = user_data};
        g_queue_push_tail(&fake->held_jobs, held);
}

static void fake_free(GlDriver *driver) {
        Fake *fake = (Fake *) driver;

        g_assert_true(g_queue_is_empty(&fake->held_jobs));
        g_ptr_array_unref(fake->holds);
        g_hash_table_unref(fake->replaced);
        g_string_free(fake->log, TRUE);
        g_clear_error(&fake->next_error);
        g_clear_pointer(&fake->next_obstacles, g_ptr_array_unref);
        g_free(fake);
}

static const GlDriverOps fake_ops = {
        .name = "fake",
        .capabilities = (const char *const[]){"disk", "lease", "hotplug", "shared", "readonly", NULL},
        .start = fake_start,
        .free = fake_free,
};

GlDriver *gl_fake_driver_new(void) {
        Fake *fake = g_new0(Fake, 1);

        fake->driver.ops = &fake_ops;
        fake->holds = g_ptr_array_new_with_free_func(hold_free);
        fake->replaced = g_hash_table_new_full(gl_node_hash, gl_node_equal, g_free, NULL);
        g_queue_init(&fake->held_jobs);
        fake->scope = GL_SCOPE_HOST;
        fake->whereabouts = GL_WHEREABOUTS_HERE;
        fake->log = g_string_new(NULL);

        return &fake->driver;
}

void gl_fake_driver_fail_next(GlDriver *driver, GError *error, GPtrArray *obstacles, gboolean brief) {
        Fake *fake = (Fake *) driver;

        g_assert_null(fake->next_error);
        fake->next_error = error;
        fake->next_obstacles = obstacles;
        fake->next_brief = brief;
}

void gl_fake_driver_hold_jobs(GlDriver *driver, gboolean hold) {
        ((Fake *) driver)->holding = hold;
}

guint gl_fake_driver_release_jobs(GlDriver *driver) {
        Fake *fake = (Fake *) driver;
        guint n = g_queue_get_length(&fake->held_jobs);

        /* Those that come from a done() are held back again. */
        for (guint i = 0; i < n; i++) {
                g_autofree HeldJob *held = g_queue_pop_head(&fake->held_jobs);

                do_job(fake, held->job);
                held->done(held->job, held->user_data);
        }
        return n;
}

void gl_fake_driver_drain_after(GlDriver *driver, guint n_asks) {
        ((Fake *) driver)->drain_asks = n_asks;
}

void gl_fake_driver_set_scope(GlDriver *driver, GlScope scope) {
        ((Fake *) driver)->scope = scope;
}

void gl_fake_driver_occupy(GlDriver *driver, const GlPlace *place, GlMode mode, guint32 pid, const char *command) {
        Hold *hold;

        g_assert_true(gl_fake_driver_is_free(driver, place, mode));
        hold = fake_add((Fake *) driver, place, mode);
        hold->pid = pid;
        hold->command = g_strdup(command);
}

void gl_fake_driver_vacate(GlDriver *driver, const GlPlace *place) {
        Fake *fake = (Fake *) driver;

        for (guint i = fake->holds->len; i > 0; i--) {
                const Hold *hold = g_ptr_array_index(fake->holds, i - 1);

                if (hold->pid != 0 && gl_place_equal(hold->place, place))
                        g_ptr_array_remove_index(fake->holds, i - 1);
        }
}

gboolean gl_fake_driver_is_free(GlDriver *driver, const GlPlace *place, GlMode mode) {
        Fake *fake = (Fake *) driver;

        for (guint i = 0; i < fake->holds->len; i++)
                if (is_in_the_way(g_ptr_array_index(fake->holds, i), place, mode))
                        return FALSE;
        return TRUE;
}

void gl_fake_driver_lose(GlDriver *driver, const GlPlace *place) {
        Fake *fake = (Fake *) driver;

        for (guint i = 0; i < fake->holds->len; i++) {
                Hold *hold = g_ptr_array_index(fake->holds, i);

                hold->lost |= hold->pid == 0 && gl_place_equal(hold->place, place);
        }
}

void gl_fake_driver_move_paths(GlDriver *driver, GlWhereabouts whereabouts) {
        ((Fake *) driver)->whereabouts = whereabouts;
}

void gl_fake_driver_replace(GlDriver *driver, const GlPlace *place) {
        g_hash_table_add(((Fake *) driver)->replaced, g_memdup2(&place->node, sizeof place->node));
}

guint gl_fake_driver_n_leases(GlDriver *driver) {
        Fake *fake = (Fake *) driver;
        guint n = 0;

        for (guint i = 0; i < fake->holds->len; i++)
                if (((Hold *) g_ptr_array_index(fake->holds, i))->pid == 0)
                        n++;
        return n;
}

const char *gl_fake_driver_log(GlDriver *driver) {
        return ((Fake *) driver)->log->str;
}

void gl_fake_driver_clear_log(GlDriver *driver) {
        g_string_truncate(((Fake *) driver)->log, 0);
}
