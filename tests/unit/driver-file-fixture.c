/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "driver-file-fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <linux/openat2.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/error.h"

/* --- strangers --- */

pid_t spawn(const char *path, Take take, gpointer data) {
        int ready[2], result = -1;
        pid_t parent = getpid(), pid;

        g_assert_no_errno(pipe(ready));
        pid = fork();
        g_assert_cmpint(pid, >=, 0);
        if (pid == 0) {
                int fd;

                g_assert_no_errno(prctl(PR_SET_PDEATHSIG, SIGKILL));
                if (getppid() != parent || dup2(ready[1], 3) != 3)
                        _exit(1);
                close_range(4, ~0U, 0);
                fd = open(path, O_RDWR);
                result = fd < 0 ? -errno : take(fd, data);
                if (write(3, &result, sizeof result) != sizeof result)
                        _exit(1);
                for (;;)
                        pause();
        }

        close(ready[1]);
        g_assert_cmpint(read(ready[0], &result, sizeof result), ==, sizeof result);
        close(ready[0]);
        g_assert_cmpint(result, ==, 0);
        return pid;
}

void end(pid_t pid) {
        g_assert_no_errno(kill(pid, SIGKILL));
        g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
}

int take_locks(int fd, gpointer data) {
        const Locks *locks = data;
        GlLockConflict conflict;

        return gl_locks_take(fd, &locks->layout, locks->mode, &conflict);
}

int take_posix(int fd, gpointer data) {
        struct flock lock = {.l_type = F_WRLCK, .l_len = GPOINTER_TO_INT(data)};

        return fcntl(fd, F_SETLK, &lock) < 0 ? -errno : 0;
}

/* --- the fixture --- */

GlLockLayout layout_of(guint nth, GlResourceType type, guint32 host_number) {
        return (GlLockLayout){
                .owner = type == DISK ? GL_BYTE_OWNER : 400 + nth, .disk = type == DISK, .host_number = host_number};
}

const char *path_of(GlDriverFixture *fixture, guint nth, GlResourceType type) {
        return type == DISK ? ((Fixture *) fixture)->paths[nth] : ((Fixture *) fixture)->lease_file;
}

void make_file(const char *path) {
        g_autoptr(GError) error = NULL;

        g_file_set_contents(path, "", 0, &error);
        g_assert_no_error(error);
        g_assert_no_errno(truncate(path, SIZE));
}

static void on_resolved(GlSource *source, const GError *error, gpointer user_data) {
        g_assert_no_error(error);
        *(GlSource **) user_data = source;
}

static void iterate(GlDriverFixture *fixture) {
        g_assert_cmpint(sd_event_run(((Fixture *) fixture)->event, 100000), >=, 0);
}

GlSource *resolve(Fixture *fixture, const char *path, GlMode mode, GlExtent extent) {
        gid_t group = 0;
        g_autoptr(GlCredentials) root = gl_credentials_new(0, &group, 1);
        GlSource *source = NULL;

        gl_source_resolve_path(fixture->workers, root, path, mode, extent, 60 * G_USEC_PER_SEC, on_resolved, &source);
        while (!source)
                iterate(&fixture->fixture);
        return source;
}

void set_source(GlTarget *target, const char *name, GlSource *source) {
        target->name = g_strdup(name);
        target->place = gl_place_ref(source->place);
        target->source = gl_source_handle(source);
}

static void set_target(GlDriverFixture *base, GlTarget *target, guint nth, GlResourceType type) {
        Fixture *fixture = (Fixture *) base;
        const char *path = path_of(base, nth, type);
        GlSource **source = type == DISK ? &fixture->sources[nth] : &fixture->leases[nth];

        if (!*source)
                *source = resolve(fixture, path, X,
                                  type == DISK ? (GlExtent){0, GL_EXTENT_END} : (GlExtent){400 + nth, 401 + nth});
        set_source(target, type == DISK ? path : "a-lease", *source);
}

gboolean can_take(const char *path, guint nth, GlResourceType type, GlMode mode) {
        GlLockLayout layout = layout_of(nth, type, STRANGER_HOST);
        GlLockConflict conflict;
        int fd = open(path, O_RDWR | O_CLOEXEC), r;

        g_assert_cmpint(fd, >=, 0);
        r = gl_locks_take(fd, &layout, mode, &conflict);
        close(fd);
        g_assert_true(r == 0 || r == -EAGAIN);
        return r == 0;
}

gboolean is_free(GlDriverFixture *fixture, guint nth, GlResourceType type, GlMode mode) {
        return can_take(path_of(fixture, nth, type), nth, type, mode);
}

static guint32 occupy(GlDriverFixture *fixture, guint nth, GlResourceType type, GlMode mode) {
        Locks locks = {.layout = layout_of(nth, type, STRANGER_HOST), .mode = mode};
        pid_t pid = spawn(path_of(fixture, nth, type), take_locks, &locks);

        g_assert_cmpint(((Fixture *) fixture)->strangers[nth], ==, 0);
        ((Fixture *) fixture)->strangers[nth] = pid;
        return (guint32) pid;
}

static void vacate(GlDriverFixture *fixture, guint nth) {
        end(((Fixture *) fixture)->strangers[nth]);
        ((Fixture *) fixture)->strangers[nth] = 0;
}

static void replace(GlDriverFixture *fixture, guint nth) {
        const char *path = path_of(fixture, nth, DISK);
        g_autofree char *aside = g_strconcat(path, ".new", NULL);

        make_file(aside);
        g_assert_no_errno(g_rename(aside, path));
}

static void remove_directory(const char *path) {
        g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
        const char *name;

        g_assert_nonnull(dir);
        while ((name = g_dir_read_name(dir))) {
                g_autofree char *file = g_build_filename(path, name, NULL);

                g_assert_no_errno(g_remove(file));
        }
        g_assert_no_errno(g_rmdir(path));
}

void tear_down(GlDriverFixture *base) {
        Fixture *fixture = (Fixture *) base;

        for (guint i = 0; i < GL_CONFORMANCE_PLACES; i++) {
                if (fixture->strangers[i] > 0)
                        vacate(base, i);
                g_unlink(fixture->paths[i]);
                g_free(fixture->paths[i]);
                gl_source_unref(fixture->sources[i]);
                gl_source_unref(fixture->leases[i]);
        }
        g_unlink(fixture->lease_file);
        g_free(fixture->lease_file);
        for (guint i = 0; i < 2; i++) {
                g_assert_no_errno(g_rmdir(fixture->dirs[i]));
                g_free(fixture->dirs[i]);
        }
        gl_driver_free(base->driver);
        gl_workers_free(fixture->workers);
        if (fixture->lockspace)
                remove_directory(fixture->lockspace);
        g_free(fixture->lockspace);
        sd_event_unref(fixture->event);
        g_free(fixture);
}

const GlDriverFixtureOps file_fixture_ops = {
        .set_up = set_up,
        .tear_down = tear_down,
        .set_target = set_target,
        .is_free = is_free,
        .occupy = occupy,
        .vacate = vacate,
        .replace = replace,
        .iterate = iterate,
};

GlDriverFixture *set_up_with(const GlFileOptions *options, guint max_threads) {
        static const char *const templates[] = {"/tmp/guestlock-driver-XXXXXX", "/dev/shm/guestlock-driver-XXXXXX"};
        Fixture *fixture = g_new0(Fixture, 1);
        g_autoptr(GError) error = NULL;

        fixture->fixture.ops = &file_fixture_ops;
        g_assert_cmpint(sd_event_new(&fixture->event), >=, 0);
        fixture->workers = gl_workers_new(fixture->event, NULL,
                                          &(GlWorkersLimits) {max_threads, 8, 8, 10 * G_USEC_PER_SEC}, &error);
        g_assert_no_error(error);
        fixture->fixture.driver = gl_file_driver_new(fixture->workers, options);
        for (guint i = 0; i < 2; i++) {
                fixture->dirs[i] = g_mkdtemp(g_strdup(templates[i]));
                g_assert_nonnull(fixture->dirs[i]);
        }
        for (guint i = 0; i < GL_CONFORMANCE_PLACES; i++) {
                fixture->paths[i] = g_strdup_printf("%s/disk-%u", fixture->dirs[i % 2], i);
                make_file(fixture->paths[i]);
        }
        fixture->lease_file = g_build_filename(fixture->dirs[0], "leases", NULL);
        make_file(fixture->lease_file);
        return &fixture->fixture;
}

GlDriverFixture *set_up(void) {
        const GlFileOptions options = {.host_number = HOST};

        return set_up_with(&options, 8);
}

GlObstacle *first_obstacle(GlJob *job) {
        g_assert_error(job->error, GL_ERROR, GL_ERROR_CONFLICT);
        return g_ptr_array_index(job->obstacles, 0);
}

/* Old valgrinds do not know it, and without it no source can be opened. */
static gboolean has_openat2(void) {
        struct open_how how = {.flags = O_PATH | O_CLOEXEC};
        long fd = syscall(SYS_openat2, AT_FDCWD, "/", &how, sizeof how);

        if (fd < 0)
                return FALSE;
        close((int) fd);
        return TRUE;
}

gboolean skip_without_root_and_openat2(void) {
        if (geteuid() == 0 && has_openat2())
                return FALSE;
        g_print("1..0 # SKIP %s\n", geteuid() != 0 ? "this needs root" : "no openat2() here (valgrind 3.19 lacks it)");
        return TRUE;
}
