/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "drivers/file-drain.h"
#include "drivers/file-lease.h"
#include "drivers/file-obstacles.h"
#include "fuzz.h"
#include "storage/source.h"

/*
 * What /proc and /sys of a made-up root say of the block device 8:1, in three parts that are separated by lines "--":
 * its requests in flight, the mount table, the table of swap areas. Whoever is in the way is described in words that
 * can go over the bus, and the device is idle only if nothing at all is in flight.
 */

#define DEVICE makedev(8, 1)

static void check_obstacles(const char *sysroot) {
        g_autoptr(GPtrArray) obstacles = g_ptr_array_new_with_free_func((GDestroyNotify) gl_obstacle_free);
        g_autofree char *sentence = NULL;

        gl_file_obstacles_add_claim(obstacles, DEVICE, sysroot);
        g_assert_cmpuint(obstacles->len, >, 0);
        for (guint i = 0; i < obstacles->len; i++)
                fuzz_check_line(((GlObstacle *) obstacles->pdata[i])->via);
        sentence = gl_obstacles_to_sentence(GL_RESOURCE_DISK, "/dev/sda1", obstacles);
        fuzz_check_line(sentence);
}

/* Two numbers, whatever is after them. */
static gboolean says_nothing_in_flight(const char *text) {
        for (guint i = 0; i < 2; i++) {
                text += strspn(text, " \t\n\v\f\r");
                text += *text == '+' || *text == '-';
                if (*text != '0')
                        return FALSE;
                text += strspn(text, "0");
        }
        return !g_ascii_isdigit(*text);
}

static void check_drain(const char *sysroot, const char *in_flight) {
        static GlFileLease lease = {.fd = -1, .claim = -1, .mode = GL_MODE_EXCLUSIVE};
        GlSource source = {.kind = GL_STORAGE_LOCAL, .block = TRUE, .device = DEVICE};
        GlTarget target = {.type = GL_RESOURCE_DISK, .source = {&source, NULL}, .lease = &lease};
        const GlFileOptions options = {.sysroot = sysroot};

        if (lease.fd < 0)
                lease.fd = memfd_create("disk", MFD_CLOEXEC);
        gl_file_drain(&target, &options, FALSE, 0);
        g_assert_true(target.drained == !target.drain_reason);
        if (target.drained)
                g_assert_true(says_nothing_in_flight(in_flight));
        g_free(target.drain_reason);
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size) {
        static const char *const files[] = {"sys/dev/block/8:1/inflight", "proc/self/mountinfo", "proc/swaps"};
        g_autofree char *text = fuzz_text(data, size), *sysroot = fuzz_path("sysroot");
        g_auto(GStrv) parts = g_strsplit(text, "\n--\n", G_N_ELEMENTS(files));
        guint n_parts = g_strv_length(parts);

        for (guint i = 0; i < G_N_ELEMENTS(files); i++) {
                const char *part = i < n_parts ? parts[i] : "";
                g_autofree char *name = g_build_filename("sysroot", files[i], NULL);

                fuzz_write(name, part, strlen(part));
        }
        check_obstacles(sysroot);
        check_drain(sysroot, n_parts > 0 ? parts[0] : "");
        return 0;
}
