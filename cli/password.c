/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * pkttyagent(1) as a child. It says that it is registered by closing a descriptor, before which no call must ask for a
 * password. It ends when we tell it to, or when we are gone: what it asks for is about this process.
 */

#include "password.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <glib.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static GPid agent;

static gboolean is_wanted(void) {
        return geteuid() != 0 && isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

/* Between fork and exec. */
static void prepare_agent(gpointer parent) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != GPOINTER_TO_INT(parent))
                _exit(1);
}

static void wait_for_close(int fd) {
        char byte;

        while (read(fd, &byte, 1) < 0 && errno == EINTR)
                ;
}

/*
 * A desktop's own agent comes first, for which this one has to be a fallback. But polkit finds a fallback only by way
 * of a session, and asks nobody where there is none, as after "setpriv", in a container, or without logind.
 */
static gboolean has_session(void) {
        const char *id = g_getenv("XDG_SESSION_ID");

        return id && *id;
}

/* Where it cannot be started nobody is asked, and the service says what is missing. */
void gl_password_agent_start(void) {
        const char *arguments[] = {"pkttyagent", "--notify-fd", "3", "--process", NULL, NULL, NULL};
        g_autofree char *process = NULL;
        int pipe[2], target = 3;

        if (!is_wanted() || !g_unix_open_pipe(pipe, FD_CLOEXEC, NULL))
                return;
        process = g_strdup_printf("%d", getpid());
        arguments[4] = process;
        if (has_session())
                arguments[5] = "--fallback";
        if (!g_spawn_async_with_pipes_and_fds(
                    NULL, arguments, NULL,
                    G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_CHILD_INHERITS_STDIN, prepare_agent,
                    GINT_TO_POINTER(getpid()), -1, -1, -1, &pipe[1], &target, 1, &agent, NULL, NULL, NULL, NULL))
                agent = 0;
        close(pipe[1]);
        if (agent)
                wait_for_close(pipe[0]);
        close(pipe[0]);
}

/* From before its prompt until the answer has been looked at, one of the agent's threads has a child: who asks PAM. */
gboolean gl_password_is_asked(void) {
        g_autofree char *tasks = g_strdup_printf("/proc/%d/task", agent);
        g_autoptr(GDir) directory = agent ? g_dir_open(tasks, 0, NULL) : NULL;
        gboolean has_child = FALSE;
        const char *task;

        while (directory && !has_child && (task = g_dir_read_name(directory))) {
                g_autofree char *file = g_build_filename(tasks, task, "children", NULL);
                g_autofree char *children = NULL;

                has_child = g_file_get_contents(file, &children, NULL, NULL) && *children;
        }
        return has_child;
}

void gl_password_agent_end(void) {
        if (!agent)
                return;
        kill(agent, SIGTERM);
        /* A stopped one would not hear that. */
        kill(agent, SIGCONT);
        while (waitpid(agent, NULL, 0) < 0 && errno == EINTR)
                ;
        agent = 0;
}
