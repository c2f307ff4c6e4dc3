/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "drivers/file-audit.h"
#include "storage/source.h"
#include "drivers/file-locks.h"
#include "drivers/holders.h"

/* What is said of those who have an image open, and who they are. */

#define HOST 7

static gboolean knows_less_than_100(guint32 pid, gpointer user_data) {
        return pid < 100;
}

/* LOCKS: o, h, q: our byte for writing, our host's, one of QEMU's; r: our byte for reading. */
static void add_holder(GPtrArray *holders, guint32 pid, const char *locks) {
        GlHolder *holder = g_new0(GlHolder, 1);

        holder->pid = pid;
        holder->command = pid == 999 ? NULL : g_strdup("prog");
        holder->locks = g_array_new(FALSE, FALSE, sizeof(GlHeldRange));
        for (; *locks; locks++) {
                guint64 byte = *locks == 'h' ? GL_BYTE_HOST + HOST : *locks == 'q' ? 201 : GL_BYTE_OWNER;
                GlHeldRange range = {byte, byte, *locks == 'o'};

                g_array_append_val(holder->locks, range);
        }
        g_ptr_array_add(holders, holder);
}

static void check_says(GPtrArray *holders, GlMode mode, gboolean draining, const char *expected) {
        GlTarget target = {.type = GL_RESOURCE_DISK, .held_mode = mode, .draining = draining};
        g_autofree char *said = gl_file_audit_judge(&target, holders, HOST, knows_less_than_100, NULL);

        g_assert_cmpstr(said, ==, expected);
}

#define UNSEEN                                                                                                         \
        "no visible process writes to it; the kernel still may, or a descriptor of it is on its way in a socket, "     \
        "in another PID namespace or on another host"

static void test_of_a_guest_that_runs(void) {
        g_autoptr(GPtrArray) holders = g_ptr_array_new_with_free_func(gl_holder_free);

        check_says(holders, GL_MODE_EXCLUSIVE, FALSE, NULL);
        add_holder(holders, 99, "ohq");
        add_holder(holders, 200, "");  /* has it open */
        add_holder(holders, 201, "q"); /* a QEMU's: refused, or told of, elsewhere */
        add_holder(holders, 202, "o"); /* virtlockd's */
        add_holder(holders, 203, "rh");
        check_says(holders, GL_MODE_EXCLUSIVE, FALSE, NULL);
        check_says(holders, GL_MODE_SHARED, FALSE, "process 203 (prog) has its lock's descriptor open");
        add_holder(holders, 999, "oh");
        check_says(holders, GL_MODE_EXCLUSIVE, FALSE, "process 999 (unknown) has its lock's descriptor open");
}

static void test_of_a_guest_that_has_ended(void) {
        g_autoptr(GPtrArray) holders = g_ptr_array_new_with_free_func(gl_holder_free);

        add_holder(holders, 99, "ohq");
        add_holder(holders, 200, "");
        check_says(holders, GL_MODE_EXCLUSIVE, TRUE, UNSEEN);
        add_holder(holders, 300, "oh");
        check_says(holders, GL_MODE_EXCLUSIVE, TRUE,
                   "process 300 (prog) still has its lock's descriptor open; " UNSEEN);
        add_holder(holders, 301, "q");
        check_says(holders, GL_MODE_EXCLUSIVE, TRUE,
                   "process 300 (prog) still has its lock's descriptor open; process 301 (prog) still has the image "
                   "open, with QEMU's locks on it");
        for (guint pid = 302; pid < 310; pid++)
                add_holder(holders, pid, "q");
        g_ptr_array_remove_range(holders, 0, 5);
        check_says(holders, GL_MODE_EXCLUSIVE, TRUE,
                   "process 303 (prog) still has the image open, with QEMU's locks on it; "
                   "process 304 (prog) still has the image open, with QEMU's locks on it; "
                   "process 305 (prog) still has the image open, with QEMU's locks on it; "
                   "process 306 (prog) still has the image open, with QEMU's locks on it; and 3 more");
}

/* A lease file's byte, which no host's byte goes with. */
static void test_of_a_lease_file(void) {
        g_autoptr(GPtrArray) holders = g_ptr_array_new_with_free_func(gl_holder_free);
        GlNode node = {.kind = GL_NODE_FILE, .device = 1, .inode = 2};
        GlPlace *place = gl_place_new(&node, (GlExtent){5, 6}, NULL, 0);
        GlSource source = {.extent = place->extent};
        GlTarget target = {.type = GL_RESOURCE_LEASE, .held_mode = GL_MODE_EXCLUSIVE, .place = place,
                           .source = {.box = &source}};
        g_autofree char *said = NULL;
        GlHeldRange range = {5, 5, TRUE};

        add_holder(holders, 200, "oh");
        g_assert_null(gl_file_audit_judge(&target, holders, HOST, knows_less_than_100, NULL));
        g_array_append_val(((GlHolder *) g_ptr_array_index(holders, 0))->locks, range);
        said = gl_file_audit_judge(&target, holders, HOST, knows_less_than_100, NULL);
        g_assert_cmpstr(said, ==, "process 200 (prog) has its lock's descriptor open");
        gl_place_unref(place);
}

static GlFileId make_file(int *fd, int flags) {
        char path[] = "/dev/shm/guestlock-audit-XXXXXX";
        struct stat st;
        int first = mkstemp(path);

        g_assert_cmpint(first, >=, 0);
        *fd = open(path, flags | O_CLOEXEC);
        g_assert_cmpint(*fd, >=, 0);
        close(first);
        unlink(path);
        g_assert_cmpint(fstat(*fd, &st), ==, 0);
        return (GlFileId){st.st_dev, st.st_ino};
}

static const GlHolder *ourselves(GPtrArray *holders, guint file) {
        const GlHolder *found = NULL;

        for (guint i = 0; i < holders->len; i++) {
                const GlHolder *holder = g_ptr_array_index(holders, i);

                if (holder->pid != (guint32) getpid() || holder->file != file)
                        continue;
                g_assert_null(found);
                found = holder;
        }
        return found;
}

static void test_walk(void) {
        int fds[3], again;
        GlFileId files[4] = {make_file(&fds[0], O_RDWR), make_file(&fds[1], O_RDONLY), make_file(&fds[2], O_PATH)};
        struct flock lock = {.l_type = F_WRLCK, .l_start = 3, .l_len = 1};
        g_autoptr(GPtrArray) holders = NULL;

        files[3] = (GlFileId){files[0].device + 1, files[0].inode}; /* on another device */
        g_assert_cmpint(fcntl(fds[0], F_OFD_SETLK, &lock), ==, 0);
        again = dup(fds[0]);
        holders = gl_holders_find_files(files, G_N_ELEMENTS(files));
        g_assert_nonnull(ourselves(holders, 0));
        g_assert_true(gl_holder_has_lock(ourselves(holders, 0), 3, TRUE));
        g_assert_nonnull(ourselves(holders, 0)->command);
        g_assert_nonnull(ourselves(holders, 1));
        g_assert_cmpuint(ourselves(holders, 1)->locks->len, ==, 0);
        g_assert_null(ourselves(holders, 2));
        g_assert_null(ourselves(holders, 3));
        for (guint i = 0; i < 3; i++)
                close(fds[i]);
        close(again);
}

static void test_parents(void) {
        g_assert_cmpuint(gl_parent_of_pid((guint32) getpid()), ==, getppid());
        g_assert_cmpuint(gl_parent_of_pid(1), ==, 0);
        g_assert_cmpuint(gl_parent_of_pid(G_MAXINT32), ==, 0);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/audit/of-a-guest-that-runs", test_of_a_guest_that_runs);
        g_test_add_func("/audit/of-a-guest-that-has-ended", test_of_a_guest_that_has_ended);
        g_test_add_func("/audit/of-a-lease-file", test_of_a_lease_file);
        g_test_add_func("/audit/walk", test_walk);
        g_test_add_func("/audit/parents", test_parents);
        return g_test_run();
}
