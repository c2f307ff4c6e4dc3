/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define SD_JOURNAL_SUPPRESS_LOCATION

#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

static GString *journal; /* what was sent to it, one field a line */
static int journal_result;

/* The program's own definition goes before libsystemd's: no test may write into the machine's journal. */
int sd_journal_sendv(const struct iovec *iov, int n) {
        for (int i = 0; journal_result >= 0 && i < n; i++)
                g_string_append_printf(journal, "%.*s\n", (int) iov[i].iov_len, (char *) iov[i].iov_base);
        return journal_result;
}

typedef struct {
        int saved;
        int reader;
} Capture;

static void redirect_stderr(Capture *capture, gconstpointer unused) {
        int ends[2];

        g_assert_no_errno(pipe2(ends, O_CLOEXEC | O_NONBLOCK));
        capture->saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
        capture->reader = ends[0];
        g_assert_no_errno(dup2(ends[1], STDERR_FILENO));
        close(ends[1]);
        journal = g_string_new(NULL);
        journal_result = 0;
        unsetenv("JOURNAL_STREAM");
}

static void restore_stderr(Capture *capture, gconstpointer unused) {
        g_assert_no_errno(dup2(capture->saved, STDERR_FILENO));
        close(capture->saved);
        close(capture->reader);
        g_string_free(journal, TRUE);
        unsetenv("JOURNAL_STREAM");
}

static void pretend_journal(guint64 inode_difference) {
        g_autofree char *stream = NULL;
        struct stat st;

        g_assert_no_errno(fstat(STDERR_FILENO, &st));
        stream = g_strdup_printf("%" G_GUINT64_FORMAT ":%" G_GUINT64_FORMAT, (guint64) st.st_dev,
                                 (guint64) st.st_ino + inode_difference);
        g_assert_true(g_setenv("JOURNAL_STREAM", stream, TRUE));
}

static void assert_printed(Capture *capture, const char *expected) {
        char buffer[512];
        ssize_t n = read(capture->reader, buffer, sizeof(buffer) - 1);

        if (n < 0) {
                g_assert_cmpint(errno, ==, EAGAIN);
                n = 0;
        }
        buffer[n] = '\0';
        g_assert_cmpstr(buffer, ==, expected);
}

static void test_prints_one_line(Capture *capture, gconstpointer unused) {
        gl_log(LOG_WARNING, NULL, "Guest \"%s\" is %d.", "web\n<0>1", 7);
        assert_printed(capture, "<4>Guest \"web?<0>1\" is 7.\n");
        g_assert_cmpstr(journal->str, ==, "");
}

static void test_sends_fields_to_journal(Capture *capture, gconstpointer unused) {
        const char *const fields[] = {GL_FIELD_GUEST, "4dea22b3", GL_FIELD_STORAGE, NULL, GL_FIELD_RESOURCE,
                                      "/a\nb",        NULL};

        pretend_journal(0);
        gl_log_fields(LOG_ERR, GL_MESSAGE_LEASE_LOST, fields, "Disk %s is gone.", "/a");
        g_assert_cmpstr(journal->str, ==,
                        "PRIORITY=3\nMESSAGE=Disk /a is gone.\nMESSAGE_ID=" GL_MESSAGE_LEASE_LOST
                        "\nGUESTLOCK_GUEST=4dea22b3\nGUESTLOCK_RESOURCE=/a\nb\n");
        assert_printed(capture, "");
}

static void test_sends_without_id(Capture *capture, gconstpointer unused) {
        pretend_journal(0);
        gl_log(LOG_INFO, NULL, "It is well.");
        g_assert_cmpstr(journal->str, ==, "PRIORITY=6\nMESSAGE=It is well.\n");
}

static void test_redirected_stderr_is_printed(Capture *capture, gconstpointer unused) {
        pretend_journal(1);
        gl_log(LOG_INFO, GL_MESSAGE_STARTED, "It is well.");
        g_assert_true(g_setenv("JOURNAL_STREAM", "not a stream", TRUE));
        gl_log(LOG_INFO, GL_MESSAGE_STARTED, "Still.");
        assert_printed(capture, "<6>It is well.\n<6>Still.\n");
        g_assert_cmpstr(journal->str, ==, "");
}

static void test_journal_that_fails_is_printed(Capture *capture, gconstpointer unused) {
        journal_result = -ECONNREFUSED;
        pretend_journal(0);
        gl_log(LOG_INFO, NULL, "It is well.");
        assert_printed(capture, "<6>It is well.\n");
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
#define ADD(name, function) g_test_add(name, Capture, NULL, redirect_stderr, function, restore_stderr)
        ADD("/log/prints-one-line", test_prints_one_line);
        ADD("/log/sends-fields-to-journal", test_sends_fields_to_journal);
        ADD("/log/sends-without-id", test_sends_without_id);
        ADD("/log/redirected-stderr-is-printed", test_redirected_stderr_is_printed);
        ADD("/log/journal-that-fails-is-printed", test_journal_that_fails_is_printed);
        return g_test_run();
}
