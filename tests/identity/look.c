/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/table.h"
#include "storage/stack.h"

/*
 * What the service makes of names, without the service: for a kernel that has nothing else on it, and to see what it
 * costs.
 *
 *   look pair A B    "same", "overlap" or "apart": whether two guests can have them, by the lock table
 *   look uses A      what the host uses it for, one in a line
 *   look place A     the node, the extent and what it sits on
 *   look cost A N    µs that it takes to find its place, the median of N, and of what the host uses
 */

static GlStacks *stacks;

static GlPlace *find(const char *path, dev_t *device, GError **error) {
        int fd = open(path, O_PATH | O_CLOEXEC);
        GlPlace *place = NULL;
        const char *limit;
        GlFacts facts;

        if (fd < 0 || gl_facts_read(fd, &facts) < 0) {
                fprintf(stderr, "%s: %s\n", path, strerror(errno));
                exit(2);
        }
        place = gl_stacks_find(stacks, fd, &facts, GL_MODE_EXCLUSIVE, (GlExtent){0, GL_EXTENT_END}, path, &limit, error);
        close(fd);
        *device = facts.type == S_IFBLK ? facts.device : 0;
        return place;
}

static GlPlace *must_find(const char *path, dev_t *device) {
        g_autoptr(GError) error = NULL;
        GlPlace *place = find(path, device, &error);

        if (!place) {
                printf("refused: %s\n", error->message);
                exit(1);
        }
        return place;
}

static const char *compare(GlPlace *one, GlPlace *other) {
        g_autoptr(GlTable) table = gl_table_new();

        if (gl_place_same(one, other))
                return "same";
        gl_table_enter(table, one, GL_MODE_EXCLUSIVE, NULL);
        return gl_table_conflicts(table, other, GL_MODE_READONLY, NULL, NULL) ? "overlap" : "apart";
}

static void show_uses(const GlPlace *place, dev_t device) {
        g_autoptr(GPtrArray) uses = gl_stacks_find_uses(stacks, place, device);

        for (guint i = 0; i < uses->len; i++)
                puts(uses->pdata[i]);
}

static void show_place(const GlPlace *place) {
        g_autofree char *node = gl_node_to_string(&place->node);

        printf("%s %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT " %s\n", node, place->extent.start, place->extent.end,
               place->via ?: "");
        for (guint i = 0; i < place->n_ancestors; i++) {
                g_autofree char *below = gl_node_to_string(&place->ancestors[i].node);

                printf("  on %s %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT "\n", below, place->ancestors[i].extent.start,
                       place->ancestors[i].extent.end);
        }
}

static int compare_times(gconstpointer a, gconstpointer b) {
        return *(const gint64 *) a < *(const gint64 *) b ? -1 : 1;
}

static void show_cost(const char *path, guint n) {
        g_autofree gint64 *found = g_new0(gint64, n), *used = g_new0(gint64, n);
        dev_t device;

        for (guint i = 0; i < n; i++) {
                gint64 begin = g_get_monotonic_time(), middle;
                g_autoptr(GlPlace) place = must_find(path, &device);
                g_autoptr(GPtrArray) uses = NULL;

                middle = g_get_monotonic_time();
                uses = gl_stacks_find_uses(stacks, place, device);
                used[i] = g_get_monotonic_time() - middle;
                found[i] = middle - begin;
        }
        qsort(found, n, sizeof *found, compare_times);
        qsort(used, n, sizeof *used, compare_times);
        printf("%" G_GINT64_FORMAT " %" G_GINT64_FORMAT "\n", found[n / 2], used[n / 2]);
}

int main(int argc, char **argv) {
        g_autoptr(GlPlace) one = NULL, other = NULL;
        dev_t device, second;

        if (argc < 3)
                return 2;
        stacks = gl_stacks_new(NULL);
        one = must_find(argv[2], &device);
        if (g_str_equal(argv[1], "pair") && argc == 4) {
                other = must_find(argv[3], &second);
                puts(compare(one, other));
        } else if (g_str_equal(argv[1], "uses")) {
                show_uses(one, device);
        } else if (g_str_equal(argv[1], "place")) {
                show_place(one);
        } else if (g_str_equal(argv[1], "cost") && argc == 4 && atoi(argv[3]) > 0) {
                show_cost(argv[2], (guint) atoi(argv[3]));
        } else {
                return 2;
        }
        gl_stacks_unref(stacks);
        return 0;
}
