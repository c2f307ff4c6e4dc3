/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "message.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_DEPTH 16

typedef struct {
        sd_bus_message *message;
        char open[MAX_DEPTH]; /* what ends each container that is open */
        guint depth;
} Writer;

sd_bus *fuzz_message_bus(void) {
        static sd_bus *bus;
        int fds[2];

        if (bus)
                return bus;
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), ==, 0);
        g_assert_cmpint(sd_bus_new(&bus), >=, 0);
        g_assert_cmpint(sd_bus_set_fd(bus, fds[0], fds[0]), >=, 0);
        g_assert_cmpint(sd_bus_negotiate_fds(bus, TRUE), >=, 0);
        g_assert_cmpint(sd_bus_start(bus), >=, 0);
        return bus;
}

static int descriptor(const char *number) {
        static int fds[3] = {-1, -1, -1};

        if (fds[0] < 0) {
                fds[0] = open("/dev/null", O_RDWR | O_CLOEXEC);
                fds[1] = open("/", O_PATH | O_CLOEXEC);
                fds[2] = open("/dev/zero", O_RDONLY | O_CLOEXEC);
        }
        return fds[g_ascii_strtoull(number, NULL, 10) % G_N_ELEMENTS(fds)];
}

static int append_basic(sd_bus_message *message, char type, const char *text) {
        union {
                guint8 y;
                guint16 q;
                guint32 u;
                guint64 t;
                double d;
                int b, h;
        } value = {};

        switch (type) {
        case 's':
        case 'o':
        case 'g':
                return sd_bus_message_append_basic(message, type, text);
        case 'h':
                value.h = descriptor(text);
                break;
        case 'b':
                value.b = text[0] == '1';
                break;
        case 'd':
                value.d = g_ascii_strtod(text, NULL);
                break;
        case 'y':
        case 'n':
        case 'q':
        case 'i':
        case 'u':
        case 'x':
        case 't':
                value.t = g_ascii_strtoull(text, NULL, 10); /* little endian only, as the test machines are */
                break;
        default:
                return -EINVAL;
        }
        return sd_bus_message_append_basic(message, type, &value);
}

/* Variants in variants first, as many as TEXT begins with. */
static int append_value(sd_bus_message *message, const char *text) {
        gsize depth = strspn(text, "v");
        const char *signature;
        int r = 0;

        if (depth > MAX_DEPTH || text[depth] == '\0')
                return -EINVAL;
        for (gsize i = 0; r >= 0 && i < depth; i++) {
                signature = i + 1 < depth ? "v" : (char[]){text[depth], '\0'};
                r = sd_bus_message_open_container(message, 'v', signature);
        }
        if (r >= 0)
                r = append_basic(message, text[depth], text + depth + 1);
        for (gsize i = 0; r >= 0 && i < depth; i++)
                r = sd_bus_message_close_container(message);
        return r;
}

static int append_entry(sd_bus_message *message, char *text) {
        char *value = strchr(text, '=');
        g_autofree char *variant = NULL;
        int r;

        if (!value)
                return -EINVAL;
        *value++ = '\0';
        variant = g_strconcat("v", value, NULL);
        r = sd_bus_message_open_container(message, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append_basic(message, 's', text);
        if (r >= 0)
                r = append_value(message, variant);
        return r < 0 ? r : sd_bus_message_close_container(message);
}

static int open_container(Writer *writer, char type, const char *contents, char end) {
        if (writer->depth == MAX_DEPTH)
                return -EINVAL;
        writer->open[writer->depth++] = end;
        return sd_bus_message_open_container(writer->message, type, contents);
}

static int append_line(Writer *writer, char *line) {
        switch (line[0]) {
        case '[':
                return open_container(writer, 'a', "{sv}", ']');
        case '<':
                return open_container(writer, 'a', "(sssa{sv})", '>');
        case '(':
                return open_container(writer, 'r', "sssa{sv}", ')');
        case ']':
        case '>':
        case ')':
                if (writer->depth == 0 || writer->open[writer->depth - 1] != line[0])
                        return -EINVAL;
                writer->depth--;
                return sd_bus_message_close_container(writer->message);
        case 'k':
                return append_entry(writer->message, line + 1);
        default:
                return append_value(writer->message, line);
        }
}

sd_bus_message *fuzz_message(sd_bus *bus, const char *text) {
        g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
        Writer writer = {};
        int r = sd_bus_message_new_method_call(bus, &writer.message, NULL, "/x", "x.Y", "Z");

        for (guint i = 0; r >= 0 && lines[i]; i++)
                if (lines[i][0])
                        r = append_line(&writer, lines[i]);
        while (r >= 0 && writer.depth > 0)
                r = append_line(&writer, (char[]){writer.open[writer.depth - 1], '\0'});
        if (r >= 0)
                r = sd_bus_message_seal(writer.message, 1, 0);
        if (r >= 0)
                r = sd_bus_message_rewind(writer.message, TRUE);
        if (r >= 0)
                return writer.message;
        sd_bus_message_unref(writer.message);
        return NULL;
}
