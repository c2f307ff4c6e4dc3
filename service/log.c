/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define SD_JOURNAL_SUPPRESS_LOCATION

#include "log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

/*
 * systemd says in JOURNAL_STREAM which device and inode the stream to the journal has. If stderr
 * still is that one, the message goes to the journal by its own protocol, which has room for
 * fields; if it was redirected, or the journal does not take it, it is printed. Nothing is kept between
 * two messages, so any thread may log.
 */

static gboolean stderr_is_journal(void) {
        const char *stream = getenv("JOURNAL_STREAM");
        unsigned long long device, inode;
        struct stat st;

        return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
               st.st_dev == device && st.st_ino == inode;
}

static gboolean send_to_journal(int priority, const char *message_id, const char *const *fields, const char *message) {
        g_autoptr(GPtrArray) entries = g_ptr_array_new_with_free_func(g_free);
        g_autofree struct iovec *iov = NULL;

        g_ptr_array_add(entries, g_strdup_printf("PRIORITY=%d", priority));
        g_ptr_array_add(entries, g_strconcat("MESSAGE=", message, NULL));
        if (message_id)
                g_ptr_array_add(entries, g_strconcat("MESSAGE_ID=", message_id, NULL));
        for (; fields && fields[0]; fields += 2)
                if (fields[1])
                        g_ptr_array_add(entries, g_strconcat(fields[0], "=", fields[1], NULL));

        iov = g_new(struct iovec, entries->len);
        for (guint i = 0; i < entries->len; i++)
                iov[i] = (struct iovec){.iov_base = entries->pdata[i], .iov_len = strlen(entries->pdata[i])};
        return sd_journal_sendv(iov, (int) entries->len) >= 0;
}

static void print(int priority, const char *message) {
        g_autoptr(GString) line = g_string_new(NULL);

        /* For journald and the like, which read a line's priority there; people do without. */
        if (!isatty(STDERR_FILENO))
                g_string_printf(line, "<%d>", priority);
        /* What a caller chose must not be able to look like a line of ours. */
        for (const char *c = message; *c; c++)
                g_string_append_c(line, g_ascii_iscntrl(*c) ? '?' : *c);
        g_string_append_c(line, '\n');

        /* All at once, so that lines of two threads do not mix. When it fails there is nobody left to tell. */
        if (write(STDERR_FILENO, line->str, line->len) < 0)
                return;
}

static void send_or_print(int priority, const char *message_id, const char *const *fields, const char *message) {
        if (!stderr_is_journal() || !send_to_journal(priority, message_id, fields, message))
                print(priority, message);
}

void gl_log(int priority, const char *message_id, const char *format, ...) {
        g_autofree char *message = NULL;
        va_list arguments;

        va_start(arguments, format);
        message = g_strdup_vprintf(format, arguments);
        va_end(arguments);
        send_or_print(priority, message_id, NULL, message);
}

void gl_log_fields(int priority, const char *message_id, const char *const *fields, const char *format, ...) {
        g_autofree char *message = NULL;
        va_list arguments;

        va_start(arguments, format);
        message = g_strdup_vprintf(format, arguments);
        va_end(arguments);
        send_or_print(priority, message_id, fields, message);
}
