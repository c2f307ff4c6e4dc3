/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Whose parent we are. A process whose own parent has ended becomes the child of the nearest subreaper above it, which
 * we are; so when the guest's first process has ended, what it has left behind is found here.
 */

#include "supervisor/descendants.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
        pid_t pid;
        guint64 start_time;
} Child;

gboolean gl_parse_stat(const char *text, char *state, pid_t *parent, guint64 *start_time) {
        /* The second field is the process's own text in parentheses, and may hold anything, ") " too. */
        const char *rest = strrchr(text, ')');
        guint64 found_start;
        char found_state;
        int found_parent;

        if (!rest || sscanf(rest,
                            ") %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d "
                            "%*d %" G_GUINT64_FORMAT,
                            &found_state, &found_parent, &found_start) != 3)
                return FALSE;
        *state = found_state;
        *parent = found_parent;
        *start_time = found_start;
        return TRUE;
}

static gint compare(gconstpointer a, gconstpointer b) {
        const Child *first = a, *second = b;

        return (first->start_time > second->start_time) - (first->start_time < second->start_time);
}

static GArray *find_children(void) {
        GArray *children = g_array_new(FALSE, FALSE, sizeof(Child));
        g_autoptr(GDir) proc = g_dir_open("/proc", 0, NULL);
        const char *name;

        while (proc && (name = g_dir_read_name(proc))) {
                g_autofree char *path = g_build_filename("/proc", name, "stat", NULL), *text = NULL;
                Child child = {atoi(name), 0};
                pid_t parent;
                char state;

                if (g_ascii_isdigit(name[0]) && g_file_get_contents(path, &text, NULL, NULL) &&
                    gl_parse_stat(text, &state, &parent, &child.start_time) && parent == getpid() && state != 'Z')
                        g_array_append_val(children, child);
        }
        g_array_sort(children, compare);
        return children;
}

GArray *gl_children(void) {
        g_autoptr(GArray) children = find_children();
        GArray *pids = g_array_new(FALSE, FALSE, sizeof(pid_t));

        for (guint i = 0; i < children->len; i++)
                g_array_append_val(pids, g_array_index(children, Child, i).pid);
        return pids;
}
