/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "driver-file-fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <linux/loop.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/error.h"
#include "drivers/file-obstacles.h"

/* DATA: bytes, ended by 0; read locks, as QEMU's. */
static int take_bytes(int fd, gpointer data) {
        for (const guint *byte = data; *byte; byte++) {
                struct flock lock = {.l_type = F_RDLCK, .l_start = *byte, .l_len = 1};

                if (fcntl(fd, F_OFD_SETLK, &lock) < 0)
                        return -errno;
        }
        return 0;
}

static int take_nothing(int fd, gpointer data) {
        return 0;
}

static guint n_descriptors(void) {
        g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
        guint n = 0;

        while (g_dir_read_name(dir))
                n++;
        return n;
}

/* --- whom it meets --- */

static void test_virtlockd(void) {
        GlDriverFixture *fixture = set_up();
        pid_t pid = spawn(path_of(fixture, 0, DISK), take_posix, GINT_TO_POINTER(1));

        for (GlMode mode = R; mode <= X; mode++) {
                GlJob *job = gl_fixture_take(fixture, 0, 1, DISK, mode);

                g_assert_cmpuint(job->obstacles->len, ==, 1);
                gl_assert_names_pid(job, (guint32) pid);
                g_assert_cmpint(first_obstacle(job)->mode, ==, X);
                g_assert_nonnull(strstr(first_obstacle(job)->via, "byte 0"));
                g_assert_false(job->brief);
                gl_assert_refused(job, GL_ERROR_CONFLICT);
        }

        end(pid);
        gl_fixture_give_back(fixture, gl_fixture_have(fixture, 0, 1, DISK, X));
        tear_down(fixture);
}

/* We keep virtlockd out as well. */
static void test_keeps_virtlockd_out(void) {
        GlDriverFixture *fixture = set_up();
        int fd = open(path_of(fixture, 0, DISK), O_RDWR | O_CLOEXEC);

        for (GlMode mode = R; mode <= X; mode++) {
                GlJob *job = gl_fixture_have(fixture, 0, 1, DISK, mode);

                g_assert_cmpint(take_posix(fd, GINT_TO_POINTER(1)), ==, -EAGAIN);
                gl_fixture_give_back(fixture, job);
                g_assert_cmpint(take_posix(fd, GINT_TO_POINTER(1)), ==, 0);
                g_assert_no_errno(fcntl(fd, F_SETLK, &(struct flock){.l_type = F_UNLCK}));
        }
        close(fd);
        tear_down(fixture);
}

static void test_whole_file(void) {
        GlDriverFixture *fixture = set_up();
        pid_t pid = spawn(path_of(fixture, 0, DISK), take_posix, GINT_TO_POINTER(0));
        GlJob *job = gl_fixture_take(fixture, 0, 1, DISK, R);

        gl_assert_names_pid(job, (guint32) pid);
        g_assert_cmpstr(first_obstacle(job)->via, ==, "it has locked the whole file");
        gl_assert_refused(job, GL_ERROR_CONFLICT);
        end(pid);
        tear_down(fixture);
}

static void check_qemu(GlDriverFixture *fixture, const guint *bytes, GlMode qemus, guint goes_with) {
        pid_t pid = spawn(path_of(fixture, 0, DISK), take_bytes, (gpointer) bytes);

        for (GlMode mode = R; mode <= X; mode++) {
                GlJob *job = gl_fixture_take(fixture, 0, 1, DISK, mode);

                if (goes_with & (1U << mode)) {
                        g_assert_no_error(job->error);
                        gl_fixture_give_back(fixture, job);
                        continue;
                }
                gl_assert_names_pid(job, (guint32) pid);
                g_assert_true(first_obstacle(job)->has_mode);
                g_assert_cmpint(first_obstacle(job)->mode, ==, qemus);
                g_assert_nonnull(strstr(first_obstacle(job)->via, "QEMU"));
                g_assert_true(job->brief);
                gl_assert_refused(job, GL_ERROR_CONFLICT);
        }
        end(pid);
}

static void test_unmanaged_qemu(void) {
        static const guint writer[] = {100, 101, 201, 0}, reader[] = {100, 201, 0}, shared_writer[] = {100, 101, 0};
        GlDriverFixture *fixture = set_up();

        check_qemu(fixture, writer, X, 0);
        check_qemu(fixture, reader, R, 1U << R);
        check_qemu(fixture, shared_writer, W, 1U << W);
        tear_down(fixture);
}

/* A QEMU on the image is the guest's own then. */
static void test_managed_qemu(void) {
        static const guint writer[] = {100, 101, 201, 0};
        GlDriverFixture *fixture = set_up();
        pid_t pid = spawn(path_of(fixture, 0, DISK), take_bytes, (gpointer) writer);

        for (guint adopting = 0; adopting <= 1; adopting++) {
                GlJob *job = gl_fixture_new_job(fixture, GL_JOB_TAKE, 0, 1, DISK, X);

                job->adopting = adopting == 1;
                job->holder_pid = adopting ? 0 : (guint32) pid;
                g_assert_no_error(gl_fixture_run(fixture, job)->error);
                gl_fixture_give_back(fixture, job);
        }
        end(pid);
        tear_down(fixture);
}

static void test_raise_against_qemu(void) {
        static const guint reader[] = {100, 201, 0};
        GlDriverFixture *fixture = set_up();
        GlJob *job = gl_fixture_have(fixture, 0, 1, DISK, R);
        pid_t pid = spawn(path_of(fixture, 0, DISK), take_bytes, (gpointer) reader);
        GlJob *change = gl_fixture_change(fixture, job, X);

        gl_assert_names_pid(change, (guint32) pid);
        g_assert_true(change->brief);
        gl_assert_refused(change, GL_ERROR_CONFLICT);
        gl_fixture_assert_held(fixture, 0, DISK, R);

        end(pid);
        gl_fixture_give_back(fixture, job);
        tear_down(fixture);
}

/* Somebody who is just acquiring. */
static void test_next_is_brief(void) {
        GlDriverFixture *fixture = set_up();
        struct flock lock = {.l_type = F_WRLCK, .l_start = (off_t) GL_BYTE_NEXT, .l_len = 1};
        int fd = open(path_of(fixture, 0, DISK), O_RDWR | O_CLOEXEC);
        GlJob *job;

        g_assert_no_errno(fcntl(fd, F_OFD_SETLK, &lock));
        job = gl_fixture_take(fixture, 0, 1, DISK, R);
        g_assert_true(job->brief);
        /* That is this process, which names no process that is itself. */
        g_assert_cmpuint(first_obstacle(job)->pid, ==, 0);
        g_assert_nonnull(first_obstacle(job)->via);
        gl_assert_refused(job, GL_ERROR_CONFLICT);

        close(fd);
        gl_fixture_give_back(fixture, gl_fixture_have(fixture, 0, 1, DISK, R));
        tear_down(fixture);
}

static void test_other_host_is_named(void) {
        static const guint32 hosts[] = {0, HOST - 1, HOST + 1, 1234, G_MAXUINT32};
        GlDriverFixture *fixture = set_up();

        for (guint i = 0; i < G_N_ELEMENTS(hosts); i++) {
                g_autofree char *number = g_strdup_printf("host number %u", hosts[i]);
                GlLockLayout layout = layout_of(0, DISK, hosts[i]);
                int fd = open(path_of(fixture, 0, DISK), O_RDWR | O_CLOEXEC);
                GlLockConflict conflict;
                GlJob *job;

                g_assert_cmpint(gl_locks_take(fd, &layout, X, &conflict), ==, 0);
                job = gl_fixture_take(fixture, 0, 1, DISK, R);
                g_assert_true(g_str_has_suffix(first_obstacle(job)->via, number));
                g_assert_false(job->brief);
                gl_assert_refused(job, GL_ERROR_CONFLICT);
                close(fd);
        }
        tear_down(fixture);
}

/* --- what it locks --- */

static gboolean is_locked(int fd, guint64 first, guint64 last) {
        return gl_locks_look_at_range(fd, first, last, NULL) == -EAGAIN;
}

static void test_bytes(void) {
        for (GlMode mode = R; mode <= X; mode++) {
                GlDriverFixture *fixture = set_up();
                int fd = open(path_of(fixture, 0, DISK), O_RDONLY | O_CLOEXEC);
                GlJob *job = gl_fixture_have(fixture, 0, 1, DISK, mode);

                g_assert_true(is_locked(fd, 0, 0));
                g_assert_false(is_locked(fd, 1, GL_BYTE_HOST + HOST - 1));
                g_assert_true(is_locked(fd, GL_BYTE_HOST + HOST, GL_BYTE_HOST + HOST));
                g_assert_false(is_locked(fd, GL_BYTE_HOST + HOST + 1, GL_BYTE_NEXT));
                g_assert_cmpint(is_locked(fd, GL_BYTE_READER, GL_BYTE_READER), ==, mode == R);
                g_assert_cmpint(is_locked(fd, GL_BYTE_WRITER, GL_BYTE_WRITER), ==, mode == W);
                g_assert_false(is_locked(fd, GL_BYTE_WRITER + 1, G_MAXINT64 - 1));
                gl_fixture_give_back(fixture, job);
                g_assert_false(is_locked(fd, 0, G_MAXINT64 - 1));

                job = gl_fixture_have(fixture, 0, 1, LEASE, mode);
                close(fd);
                fd = open(path_of(fixture, 0, LEASE), O_RDONLY | O_CLOEXEC);
                g_assert_true(is_locked(fd, 400, 400));
                g_assert_false(is_locked(fd, 0, 399));
                g_assert_false(is_locked(fd, 401, G_MAXINT64 - 1));
                gl_fixture_give_back(fixture, job);
                close(fd);
                tear_down(fixture);
        }
}

/* Exits with 1 when it could have written to one of the places, 0 when told to stop. */
static pid_t spawn_intruder(GlDriverFixture *fixture, int stop[2]) {
        pid_t pid;

        g_assert_no_errno(pipe2(stop, O_NONBLOCK));
        pid = fork();
        g_assert_cmpint(pid, >=, 0);
        if (pid == 0) {
                int fds[GL_CONFORMANCE_PLACES];
                char byte;

                prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (dup2(stop[0], 3) != 3)
                        _exit(2);
                close_range(4, ~0U, 0);
                for (guint i = 0; i < GL_CONFORMANCE_PLACES; i++)
                        fds[i] = open(path_of(fixture, i, DISK), O_RDWR);
                do {
                        for (guint i = 0; i < GL_CONFORMANCE_PLACES; i++)
                                if (take_posix(fds[i], GINT_TO_POINTER(1)) == 0)
                                        _exit(1);
                } while (read(3, &byte, 1) < 0);
                _exit(0);
        }
        close(stop[0]);
        return pid;
}

/* Readonly leases are raised onto another description, and nobody may get in between the two. */
static void test_raise_leaves_no_gap(void) {
        GlDriverFixture *fixture = set_up();
        GlJob *jobs[GL_CONFORMANCE_PLACES];
        int stop[2], status;
        pid_t pid;

        for (guint i = 0; i < GL_CONFORMANCE_PLACES; i++)
                jobs[i] = gl_fixture_have(fixture, i, 1, DISK, R);
        pid = spawn_intruder(fixture, stop);
        for (guint i = 0; i < GL_CONFORMANCE_PLACES; i++) {
                gl_job_free(gl_fixture_change(fixture, jobs[i], i % 3 == 0 ? W : X));
                gl_job_free(gl_fixture_change(fixture, jobs[i], R));
        }
        close(stop[1]);
        g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
        g_assert_true(WIFEXITED(status));
        g_assert_cmpint(WEXITSTATUS(status), ==, 0);
        for (guint i = 0; i < GL_CONFORMANCE_PLACES; i++)
                gl_fixture_give_back(fixture, jobs[i]);
        tear_down(fixture);
}

static void test_no_descriptor_is_left(void) {
        GlDriverFixture *fixture = set_up();
        GlJob *job;
        guint n;

        gl_fixture_give_back(fixture, gl_fixture_have(fixture, 0, 8, DISK, X));
        fixture->ops->occupy(fixture, 5, DISK, R);
        n = n_descriptors();

        gl_assert_refused(gl_fixture_take(fixture, 0, 8, DISK, X), GL_ERROR_CONFLICT);
        g_assert_cmpuint(n_descriptors(), ==, n);
        job = gl_fixture_have(fixture, 5, 1, DISK, R);
        gl_assert_refused(gl_fixture_change(fixture, job, X), GL_ERROR_CONFLICT);
        g_assert_cmpuint(n_descriptors(), ==, n + 1);
        fixture->ops->vacate(fixture, 5);
        gl_job_free(gl_fixture_change(fixture, job, X));
        g_assert_cmpuint(n_descriptors(), ==, n + 1);
        gl_fixture_give_back(fixture, job);
        g_assert_cmpuint(n_descriptors(), ==, n);
        fixture->ops->replace(fixture, 7);
        gl_assert_refused(gl_fixture_take(fixture, 0, 8, DISK, X), GL_ERROR_STALE);
        g_assert_cmpuint(n_descriptors(), ==, n);
        tear_down(fixture);
}

/* The process may live on, with a thread that hangs in the kernel. */
static void test_nothing_is_leased_without_driver(void) {
        GlDriverFixture *fixture = set_up();
        GlJob *kept = gl_fixture_have(fixture, 0, 4, DISK, X), *changed = gl_fixture_have(fixture, 4, 1, DISK, R);
        GlFileOptions options = {.host_number = HOST};

        gl_fixture_give_back(fixture, gl_fixture_have(fixture, 5, 1, DISK, X));
        gl_job_free(gl_fixture_change(fixture, changed, X));
        g_assert_false(is_free(fixture, 3, DISK, R));
        gl_driver_free(fixture->driver);
        for (guint i = 0; i < 6; i++)
                g_assert_true(is_free(fixture, i, DISK, X));

        gl_job_free(kept);
        gl_job_free(changed);
        fixture->driver = gl_file_driver_new(((Fixture *) fixture)->workers, &options);
        tear_down(fixture);
}

/* One thread for two storages: one of the groups finds none. */
static void test_no_worker(void) {
        GlDriverFixture *fixture = set_up_with(&(GlFileOptions){.host_number = HOST}, 1);
        GlJob *job = gl_fixture_new_job(fixture, GL_JOB_TAKE, 0, 2, DISK, X);

        gl_assert_refused(gl_fixture_run(fixture, job), GL_ERROR_LIMIT_EXCEEDED);
        for (guint i = 0; i < 2; i++)
                g_assert_true(is_free(fixture, i, DISK, X));
        tear_down(fixture);
}

typedef struct {
        int wake_up[2];
        gboolean done;
} Hang;

static void hang(gpointer data) {
        char byte;

        (void) !read(((Hang *) data)->wake_up[0], &byte, 1);
}

static void pass(gpointer data) {
}

static void hung(gpointer data) {
        ((Hang *) data)->done = TRUE;
}

/* What one storage refuses is free again while another one hangs. */
static void test_refusal_waits_for_nobody(void) {
        GlDriverFixture *fixture = set_up();
        GlWorkers *workers = ((Fixture *) fixture)->workers;
        GlJob *job = gl_fixture_new_job(fixture, GL_JOB_TAKE, 0, 3, DISK, X);
        const GlSource *first = job->targets[0].source.box, *second = job->targets[1].source.box;
        Hang state = {0}, passed = {0};

        if (g_str_equal(second->storage, first->storage)) {
                g_test_skip("/dev/shm is not a storage of its own");
                gl_job_free(job);
                tear_down(fixture);
                return;
        }
        fixture->ops->occupy(fixture, 2, DISK, X);
        g_assert_no_errno(pipe2(state.wake_up, O_CLOEXEC));
        g_assert_true(gl_workers_submit(workers, second->storage, 0, hang, hung, &state, NULL));
        gl_fixture_start(fixture, job);

        /* Behind what the job has to do on the first storage. */
        g_assert_true(gl_workers_submit(workers, first->storage, 0, pass, hung, &passed, NULL));
        while (!passed.done)
                fixture->ops->iterate(fixture);
        g_assert_cmpuint(fixture->n_done, ==, 0);
        g_assert_true(is_free(fixture, 0, DISK, X));

        g_assert_cmpint(write(state.wake_up[1], "", 1), ==, 1);
        gl_fixture_wait(fixture);
        g_assert_true(state.done);
        gl_assert_refused(job, GL_ERROR_CONFLICT);
        for (guint i = 0; i < 2; i++)
                g_assert_true(is_free(fixture, i, DISK, X));
        close(state.wake_up[0]);
        close(state.wake_up[1]);
        tear_down(fixture);
}

/* --- how far it reaches --- */

static void test_untrusted_locks(void) {
        GlDriverFixture *fixture = set_up();
        GlJob *job = gl_fixture_new_job(fixture, GL_JOB_TAKE, 0, 1, DISK, X);
        GlSource *source = job->targets[0].source.box;

        source->kind = GL_STORAGE_MOUNT;
        source->kind_reason = "locks lie here";
        job->targets[0].require_scope = GL_SCOPE_MOUNT;
        g_assert_no_error(gl_fixture_run(fixture, job)->error);
        g_assert_cmpint(job->targets[0].scope, ==, GL_SCOPE_MOUNT);
        g_assert_cmpstr(job->targets[0].scope_reason, ==, "locks lie here");
        g_assert_true(is_free(fixture, 0, DISK, X));
        gl_job_free(gl_fixture_change(fixture, job, R));
        g_assert_true(is_free(fixture, 0, DISK, X));
        gl_fixture_give_back(fixture, job);

        job = gl_fixture_new_job(fixture, GL_JOB_TAKE, 0, 1, DISK, X);
        job->targets[0].require_scope = GL_SCOPE_HOST;
        gl_fixture_run(fixture, job);
        g_assert_nonnull(strstr(job->error->message, "locks lie here"));
        gl_assert_refused(job, GL_ERROR_STORAGE_UNAVAILABLE);
        tear_down(fixture);
}

static void test_shared_storage(void) {
        GlDriverFixture *fixture = set_up();
        GlJob *job = gl_fixture_new_job(fixture, GL_JOB_TAKE, 0, 1, DISK, X);

        ((GlSource *) job->targets[0].source.box)->kind = GL_STORAGE_SHARED;
        job->targets[0].require_scope = GL_SCOPE_SHARED;
        g_assert_no_error(gl_fixture_run(fixture, job)->error);
        g_assert_cmpint(job->targets[0].scope, ==, GL_SCOPE_SHARED);
        gl_fixture_assert_held(fixture, 0, DISK, X);
        gl_fixture_give_back(fixture, job);
        tear_down(fixture);
}

/* --- draining --- */

/* Whether what JOB holds has drained; REASON (nullable) has to be in the reason why not. */
static void assert_drained(GlDriverFixture *fixture, GlJob **job, const char *reason) {
        GlJob *drain = gl_fixture_run(fixture, gl_fixture_follow(fixture, GL_JOB_DRAIN, *job, (*job)->targets[0].mode));

        g_assert_no_error(drain->error);
        g_assert_cmpint(drain->targets[0].drained, ==, reason == NULL);
        if (reason)
                g_assert_nonnull(strstr(drain->targets[0].drain_reason, reason));
        else
                g_assert_null(drain->targets[0].drain_reason);
        gl_job_free(*job);
        *job = drain;
}

/* Whether it is taken to have drained when an administrator says that nothing writes which cannot be seen. */
static void assert_insisted(GlDriverFixture *fixture, GlJob **job, gboolean drained) {
        GlJob *drain = gl_fixture_follow(fixture, GL_JOB_DRAIN, *job, (*job)->targets[0].mode);

        drain->targets[0].insist = TRUE;
        gl_fixture_run(fixture, drain);
        g_assert_cmpint(drain->targets[0].drained, ==, drained);
        g_assert_cmpint(drain->targets[0].writer_seen, ==, !drained);
        gl_job_free(*job);
        *job = drain;
}

/* What was written until the end shows: a state string is made of it. */
static void test_giving_back_looks_a_last_time(void) {
        GlDriverFixture *fixture = set_up();
        GlJob *job = gl_fixture_have(fixture, 0, 1, DISK, X);
        g_autoptr(GlJob) back = NULL;
        Fixture *file = (Fixture *) fixture;
        int fd = open(file->paths[0], O_WRONLY | O_CLOEXEC);
        struct stat st;

        g_assert_no_errno(fd);
        do { /* times of files are told in ticks of the kernel's clock */
                g_usleep(1000);
                g_assert_no_errno(ftruncate(fd, SIZE + 512));
                g_assert_no_errno(fstat(fd, &st));
        } while ((guint64) st.st_mtim.tv_sec * 1000000000 + (guint64) st.st_mtim.tv_nsec <= job->targets[0].mtime);
        close(fd);
        back = gl_fixture_run(fixture, gl_fixture_follow(fixture, GL_JOB_GIVE_BACK, job, X));
        g_assert_cmpuint(back->targets[0].size, ==, SIZE + 512);
        g_assert_cmpuint(back->targets[0].mtime, >, job->targets[0].mtime);
        gl_job_free(job);
        tear_down(fixture);
}

/* What a dead process has in flight: an open description that no process has, here one that lies in a socket. */
static void post(const int sockets[2], int fd) {
        char byte = 0;
        struct iovec iov = {.iov_base = &byte, .iov_len = 1};
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control = {.header = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))}};
        struct msghdr message = {
                .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};

        memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
        g_assert_cmpint(sendmsg(sockets[0], &message, 0), ==, 1);
        close(fd);
}

static void test_drain_waits_for_the_kernel(void) {
        for (GlMode mode = R; mode <= X; mode++) {
                GlDriverFixture *fixture = set_up();
                GlJob *job = gl_fixture_have(fixture, 0, 1, DISK, mode);
                int sockets[2], only_path;

                assert_drained(fixture, &job, NULL);
                g_assert_no_errno(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets));
                post(sockets, open(path_of(fixture, 0, DISK), O_RDWR | O_CLOEXEC));
                /* One that can do no I/O explains nothing. */
                only_path = open(path_of(fixture, 0, DISK), O_PATH | O_CLOEXEC);
                assert_drained(fixture, &job, mode == R ? NULL : "kernel");
                assert_insisted(fixture, &job, TRUE);
                close(only_path);
                close(sockets[0]);
                close(sockets[1]);
                assert_drained(fixture, &job, NULL);
                gl_fixture_give_back(fixture, job);
                tear_down(fixture);
        }
}

static void test_drain_sees_who_else_has_it_open(void) {
        GlDriverFixture *fixture = set_up();
        GlJob *job = gl_fixture_have(fixture, 0, 1, DISK, X);
        pid_t pid = spawn(path_of(fixture, 0, DISK), take_nothing, NULL);
        int fd;

        assert_drained(fixture, &job, NULL);
        end(pid);

        fd = open(path_of(fixture, 0, DISK), O_RDONLY | O_CLOEXEC);
        assert_drained(fixture, &job, NULL);
        close(fd);
        gl_fixture_give_back(fixture, job);
        tear_down(fixture);
}

static void test_drain_of_two_shared_leases(void) {
        GlDriverFixture *fixture = set_up();
        GlJob *one = gl_fixture_have(fixture, 0, 1, DISK, W), *two = gl_fixture_have(fixture, 0, 1, DISK, W);

        assert_drained(fixture, &one, NULL);
        gl_fixture_give_back(fixture, one);
        gl_fixture_give_back(fixture, two);
        tear_down(fixture);
}

static void test_drain_waits_for_qemu(void) {
        static const guint writer[] = {100, 101, 0};
        GlDriverFixture *fixture = set_up();
        GlJob *job = gl_fixture_have(fixture, 0, 1, DISK, X), *shared;
        pid_t pid = spawn(path_of(fixture, 0, DISK), take_bytes, (gpointer) writer);
        g_autofree char *number = g_strdup_printf("process %d", pid);

        assert_drained(fixture, &job, number);
        assert_insisted(fixture, &job, FALSE);
        end(pid);
        assert_drained(fixture, &job, NULL);
        gl_fixture_give_back(fixture, job);

        /* Another guest that shares the disk goes on. */
        shared = gl_fixture_have(fixture, 0, 1, DISK, W);
        pid = spawn(path_of(fixture, 0, DISK), take_bytes, (gpointer) writer);
        assert_drained(fixture, &shared, NULL);
        end(pid);
        gl_fixture_give_back(fixture, shared);
        tear_down(fixture);
}

static void test_drain_waits_for_unseen_qemu(void) {
        for (GlMode mode = W; mode <= X; mode++) {
                static const guint writer[] = {100, 101, 0};
                GlDriverFixture *fixture = set_up();
                GlJob *job = gl_fixture_have(fixture, 0, 1, DISK, mode);
                int fd = open(path_of(fixture, 0, DISK), O_RDWR | O_CLOEXEC), sockets[2];

                g_assert_no_errno(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets));
                g_assert_cmpint(take_bytes(fd, (gpointer) writer), ==, 0);
                post(sockets, fd);
                assert_drained(fixture, &job, "QEMU's locks");
                assert_insisted(fixture, &job, TRUE);
                close(sockets[0]);
                close(sockets[1]);
                assert_drained(fixture, &job, NULL);
                gl_fixture_give_back(fixture, job);
                tear_down(fixture);
        }
}

/* --- block devices --- */

/*
 * A loop device over PATH that goes when the last descriptor of it is closed, however the test ends. -1 where there are
 * none to be had.
 */
static int attach_loop(const char *path, char **device) {
        int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), file = open(path, O_RDWR | O_CLOEXEC), fd = -1;

        for (guint attempt = 0; control >= 0 && fd < 0 && attempt < 20; attempt++) {
                struct loop_config config = {.fd = (guint32) file, .info.lo_flags = LO_FLAGS_AUTOCLEAR};
                int number = ioctl(control, LOOP_CTL_GET_FREE);

                if (number < 0)
                        break;
                g_free(*device);
                *device = g_strdup_printf("/dev/loop%d", number);
                g_strlcpy((char *) config.info.lo_file_name, path, sizeof config.info.lo_file_name);
                fd = open(*device, O_RDWR | O_CLOEXEC);
                if (fd >= 0 && ioctl(fd, LOOP_CONFIGURE, &config) < 0) {
                        close(fd);
                        fd = -1;
                }
        }
        if (control >= 0)
                close(control);
        close(file);
        return fd;
}

typedef struct {
        GlDriverFixture *fixture;
        char *device;
        int loop;
        GlSource *source;
} Block;

static gboolean set_up_block(Block *block) {
        *block = (Block){.fixture = set_up()};
        block->loop = attach_loop(path_of(block->fixture, 0, DISK), &block->device);
        if (block->loop < 0) {
                g_test_skip("there are no loop devices to be had");
                g_free(block->device);
                tear_down(block->fixture);
                return FALSE;
        }
        block->source = resolve((Fixture *) block->fixture, block->device, X, (GlExtent){0, GL_EXTENT_END});
        return TRUE;
}

static void tear_down_block(Block *block) {
        gl_source_unref(block->source);
        g_free(block->device);
        close(block->loop);
        tear_down(block->fixture);
}

static GlJob *take_block(Block *block, GlMode mode) {
        GlJob *job = gl_job_new(GL_JOB_TAKE, "file", 1);

        job->targets[0].mode = mode;
        set_source(&job->targets[0], block->device, block->source);
        return gl_fixture_run(block->fixture, job);
}

/* A descriptor, or -1 with errno EBUSY. udev looks at new devices for a moment, too. */
static int claim(Block *block) {
        int fd = open(block->device, O_RDONLY | O_EXCL | O_CLOEXEC);

        g_assert_true(fd >= 0 || errno == EBUSY);
        return fd;
}

static void test_block_claim(void) {
        g_autoptr(GlJob) change = NULL;
        GlJob *job;
        Block block;
        int fd;

        if (!set_up_block(&block))
                return;

        job = take_block(&block, X);
        g_assert_no_error(job->error);
        g_assert_cmpuint(job->targets[0].size, ==, SIZE);
        g_assert_cmpuint(job->targets[0].mtime, ==, 0);
        g_assert_cmpint(job->targets[0].scope, ==, GL_SCOPE_HOST);
        g_assert_false(can_take(block.device, 0, DISK, R));
        g_assert_cmpint(claim(&block), <, 0);

        change = gl_fixture_change(block.fixture, job, W);
        g_assert_no_error(change->error);
        fd = claim(&block);
        g_assert_cmpint(fd, >=, 0);

        /* A claim of somebody else keeps it from being raised again, and it stays as it was. */
        gl_job_free(g_steal_pointer(&change));
        change = gl_fixture_change(block.fixture, job, X);
        g_assert_error(change->error, GL_ERROR, GL_ERROR_CONFLICT);
        g_assert_true(change->brief);
        g_assert_true(can_take(block.device, 0, DISK, W));
        close(fd);

        gl_job_free(g_steal_pointer(&change));
        change = gl_fixture_change(block.fixture, job, X);
        g_assert_no_error(change->error);
        g_assert_cmpint(claim(&block), <, 0);
        assert_drained(block.fixture, &job, NULL);
        gl_fixture_give_back(block.fixture, job);
        fd = claim(&block);
        g_assert_cmpint(fd, >=, 0);
        close(fd);
        tear_down_block(&block);
}

static void test_block_claimed(void) {
        GlJob *job;
        Block block;
        guint n;
        int fd;

        if (!set_up_block(&block))
                return;

        fd = claim(&block);
        g_assert_cmpint(fd, >=, 0);
        job = take_block(&block, W);
        g_assert_no_error(job->error);
        gl_fixture_give_back(block.fixture, job);
        n = n_descriptors();
        job = take_block(&block, X);
        g_assert_true(job->brief);
        g_assert_nonnull(strstr(first_obstacle(job)->via, "claimed"));
        gl_assert_refused(job, GL_ERROR_CONFLICT);
        g_assert_cmpuint(n_descriptors(), ==, n);
        g_assert_true(can_take(block.device, 0, DISK, X));

        close(fd);
        job = take_block(&block, X);
        g_assert_no_error(job->error);
        gl_fixture_give_back(block.fixture, job);
        tear_down_block(&block);
}

/* The device has the file open for as long as it exists: nothing that would have to end. */
static void test_drain_behind_a_loop_device(void) {
        GlJob *job;
        Block block;

        if (!set_up_block(&block))
                return;

        job = gl_fixture_have(block.fixture, 0, 1, DISK, X);
        assert_drained(block.fixture, &job, NULL);
        gl_fixture_give_back(block.fixture, job);
        tear_down_block(&block);
}

/* --- who claims a device, from a made-up /proc and /sys --- */

static void write_file(const char *root, const char *path, const char *text) {
        g_autofree char *full = g_build_filename(root, path, NULL);
        g_autofree char *dir = g_path_get_dirname(full);

        g_assert_no_errno(g_mkdir_with_parents(dir, 0700));
        g_assert_true(g_file_set_contents(full, text, -1, NULL));
}

static void remove_tree(const char *path) {
        g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
        const char *name;

        while (dir && (name = g_dir_read_name(dir))) {
                g_autofree char *child = g_build_filename(path, name, NULL);

                remove_tree(child);
        }
        g_assert_no_errno(g_remove(path));
}

static void test_claims_are_explained(void) {
        g_autoptr(GPtrArray) obstacles = g_ptr_array_new_with_free_func((GDestroyNotify) gl_obstacle_free);
        g_autofree char *root = g_dir_make_tmp("guestlock-driver-XXXXXX", NULL);

        write_file(root, "proc/self/mountinfo",
                   "25 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
                   "26 25 250:7 / /srv/a\\040disk rw - ext4 /dev/x rw\n"
                   "27 25 250:70 / /srv/other rw - ext4 /dev/y rw\n");
        write_file(root, "sys/dev/block/250:7/holders/dm-3", "");

        gl_file_obstacles_add_claim(obstacles, makedev(250, 7), root);
        g_assert_cmpuint(obstacles->len, ==, 2);
        g_assert_cmpstr(((GlObstacle *) obstacles->pdata[0])->via, ==, "it is mounted on \"/srv/a disk\"");
        g_assert_cmpstr(((GlObstacle *) obstacles->pdata[1])->via, ==, "the device dm-3 is made of it");

        gl_file_obstacles_add_claim(obstacles, makedev(250, 8), root);
        g_assert_cmpuint(obstacles->len, ==, 3);

        /* A disk is claimed by whoever has claimed a partition of it. */
        write_file(root, "sys/dev/block/250:16/disk1p2/partition", "2\n");
        write_file(root, "sys/dev/block/250:16/disk1p2/dev", "250:70\n");
        write_file(root, "sys/dev/block/250:16/queue/dev", "250:7\n");
        gl_file_obstacles_add_uses(obstacles, makedev(250, 16), root);
        g_assert_cmpuint(obstacles->len, ==, 4);
        g_assert_cmpstr(((GlObstacle *) obstacles->pdata[3])->via, ==,
                        "its partition disk1p2 is mounted on \"/srv/other\"");
        remove_tree(root);
}

static void test_loop_devices_are_found(void) {
        g_autoptr(GPtrArray) obstacles = g_ptr_array_new_with_free_func((GDestroyNotify) gl_obstacle_free);
        g_autofree char *root = g_dir_make_tmp("guestlock-driver-XXXXXX", NULL);

        write_file(root, "proc/self/mountinfo", "26 25 7:3 / /mnt rw - ext4 /dev/loop3 rw\n");
        write_file(root, "sys/block/loop3/dev", "7:3\n");
        write_file(root, "sys/block/loop3/loop/backing_file", "/srv/a.img\n");
        write_file(root, "sys/block/loop4/loop/backing_file", "/srv/a.img2\n");
        write_file(root, "sys/block/loop5/dev", "7:5\n");
        write_file(root, "sys/block/sda/loop/backing_file", "/srv/a.img\n");
        gl_file_obstacles_add_loops(obstacles, "/srv/a.img", root);
        g_assert_cmpuint(obstacles->len, ==, 2);
        g_assert_cmpstr(((GlObstacle *) obstacles->pdata[0])->via, ==, "loop3 is backed by it");
        g_assert_cmpstr(((GlObstacle *) obstacles->pdata[1])->via, ==, "loop3 is mounted on \"/mnt\"");
        gl_file_obstacles_add_loops(obstacles, "/srv/b.img", root);
        g_assert_cmpuint(obstacles->len, ==, 2);
        remove_tree(root);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        if (skip_without_root_and_openat2())
                return 0;

        gl_driver_conformance_add("/driver-file/conformance", &file_fixture_ops);
        g_test_add_func("/driver-file/virtlockd", test_virtlockd);
        g_test_add_func("/driver-file/keeps-virtlockd-out", test_keeps_virtlockd_out);
        g_test_add_func("/driver-file/whole-file", test_whole_file);
        g_test_add_func("/driver-file/unmanaged-qemu", test_unmanaged_qemu);
        g_test_add_func("/driver-file/managed-qemu", test_managed_qemu);
        g_test_add_func("/driver-file/raise-against-qemu", test_raise_against_qemu);
        g_test_add_func("/driver-file/giving-back-looks-a-last-time", test_giving_back_looks_a_last_time);
        g_test_add_func("/driver-file/next-is-brief", test_next_is_brief);
        g_test_add_func("/driver-file/other-host-is-named", test_other_host_is_named);
        g_test_add_func("/driver-file/bytes", test_bytes);
        g_test_add_func("/driver-file/raise-leaves-no-gap", test_raise_leaves_no_gap);
        g_test_add_func("/driver-file/no-descriptor-is-left", test_no_descriptor_is_left);
        g_test_add_func("/driver-file/nothing-is-leased-without-driver", test_nothing_is_leased_without_driver);
        g_test_add_func("/driver-file/no-worker", test_no_worker);
        g_test_add_func("/driver-file/refusal-waits-for-nobody", test_refusal_waits_for_nobody);
        g_test_add_func("/driver-file/untrusted-locks", test_untrusted_locks);
        g_test_add_func("/driver-file/shared-storage", test_shared_storage);
        g_test_add_func("/driver-file/drain-waits-for-the-kernel", test_drain_waits_for_the_kernel);
        g_test_add_func("/driver-file/drain-sees-who-else-has-it-open", test_drain_sees_who_else_has_it_open);
        g_test_add_func("/driver-file/drain-of-two-shared-leases", test_drain_of_two_shared_leases);
        g_test_add_func("/driver-file/drain-waits-for-qemu", test_drain_waits_for_qemu);
        g_test_add_func("/driver-file/drain-waits-for-unseen-qemu", test_drain_waits_for_unseen_qemu);
        g_test_add_func("/driver-file/block-claim", test_block_claim);
        g_test_add_func("/driver-file/block-claimed", test_block_claimed);
        g_test_add_func("/driver-file/drain-behind-a-loop-device", test_drain_behind_a_loop_device);
        g_test_add_func("/driver-file/claims-are-explained", test_claims_are_explained);
        g_test_add_func("/driver-file/loop-devices", test_loop_devices_are_found);
        return g_test_run();
}
