/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qemu-command-line.h"

/* What a real QEMU makes of command lines is in client/test-qemu-disks.py; here is what none would start with or take. */

#define QEMU "qemu-system-x86_64"
#define MAX_WORDS 16

typedef struct {
        const char *name;
        const char *command[MAX_WORDS];
        const char *disks;  /* "X" exclusive, "W" shared, "R" readonly, before the path, in the order found */
        const char *remark; /* (nullable) in the one remark that there is */
} Case;

static const Case cases[] = {
        /* which of the words are QEMU's */
        {"plain", {QEMU, "a.img"}, "X/dir/a.img"},
        {"with a path", {"/usr/libexec/qemu-kvm", "-hda", "a"}, "X/dir/a"},
        {"taskset", {"taskset", "-c", "1", QEMU, "-hda", "a"}, "X/dir/a"},
        {"env", {"env", "QEMU=/usr/bin/" QEMU, "kvm", "-hda", "a"}, "X/dir/a"},
        {"user", {"sudo", "-u", "kvm", QEMU, "-hda", "a"}, "X/dir/a"},
        {"log", {"strace", "-o", QEMU ".log", QEMU "-7.2", "-hda", "a"}, "X/dir/a"},
        {"shell", {"sh", "-c", "exec " QEMU " -hda a"}, "", "--disk"},
        {"shell, name first", {"sh", "-c", QEMU " -hda a"}, "", "--disk"},
        {"none", {"sleep", "1"}, "", "--disk"},
        {"empty", {NULL}, "", "--disk"},
        {"no arguments", {QEMU}, ""},

        /* which of them are options' arguments */
        {"argument of another", {QEMU, "-kernel", "k", "-append", "-hda x", "-initrd", "i", "-bios", "b"}, ""},
        {"none after a flag", {QEMU, "-nodefaults", "a", "--no-reboot"}, "X/dir/a"},
        {"two dashes", {QEMU, "--drive", "file=a,format=raw"}, "X/dir/a"},
        {"new flag", {QEMU, "-brand-new", "-hda", "a"}, "X/dir/a"},
        {"new option", {QEMU, "-brand-new", "value", "-hda", "a"}, "X/dir/a", "\"value\""},
        {"other storage", {QEMU, "-virtfs", "local,path=/x,mount_tag=x", "-fsdev", "local,path=/y,id=y"}, ""},
        {"configuration file", {QEMU, "-readconfig", "vm.cfg"}, "", "vm.cfg"},
        {"set", {QEMU, "-set", "drive.a.file=b"}, "", "drive.a.file=b"},

        /* each short option */
        {"floppies", {QEMU, "-fda", "a", "-fdb", "b"}, "X/dir/a X/dir/b"},
        {"flash", {QEMU, "-pflash", "a", "-mtdblock", "b", "-sd", "c"}, "X/dir/a X/dir/b X/dir/c"},
        {"cdrom", {QEMU, "-cdrom", "a", "-hdd", "b"}, "R/dir/a X/dir/b"},
        {"no comma in hda", {QEMU, "-hda", "a,readonly=on"}, "X/dir/a,readonly=on"},

        /* paths */
        {"absolute", {QEMU, "/b/./c//d"}, "X/b/c/d"},
        {"up stays", {QEMU, "../b", "-hdb", "/l/../c"}, "X/dir/../b X/l/../c"},
        {"twice", {QEMU, "-cdrom", "a", "-hda", "./a"}, "X/dir/a"},
        {"twice read", {QEMU, "-cdrom", "a", "-drive", "file=a,readonly=on"}, "R/dir/a"},
        {"protocol", {QEMU, "nbd:localhost:10809"}, "", "nbd:localhost:10809"},
        {"colon after a slash", {QEMU, "./nbd:x"}, "X/dir/nbd:x"},
        {"file:", {QEMU, "file:nbd:x"}, "X/dir/nbd:x"},
        {"host_device:", {QEMU, "-drive", "file=host_device:/dev/sda"}, "X/dev/sda"},
        {"fat", {QEMU, "fat:rw:/srv"}, "", "fat:rw:/srv"},
        {"fdset", {QEMU, "-drive", "file=/dev/fdset/1"}, "", "--disk"},
        {"broken json:", {QEMU, "json:{"}, "", "json:"},
        {"control characters", {QEMU, "nbd:\x1b[2J"}, "", "\\u001b[2J"},
        {"protocol only where it is one", {QEMU, "-drive", "file.filename=nbd:x,driver=raw"}, "X/dir/nbd:x"},
        {"driver of a protocol", {QEMU, "-drive", "driver=nbd,file=x"}, "", "nbd"},

        /* -drive */
        {"comma", {QEMU, "-drive", "file=a,,b,,,readonly=on"}, "R/dir/a,b,"},
        {"last one counts", {QEMU, "-drive", "file=a,file=b,snapshot=on,snapshot=off"}, "X/dir/b"},
        {"not read-only", {QEMU, "-drive", "file=a,noreadonly"}, "X/dir/a"},
        {"empty", {QEMU, "-drive", "if=ide,media=cdrom,id=cd"}, ""},
        {"no file", {QEMU, "-drive", "file=,if=ide"}, ""},
        {"yes", {QEMU, "-drive", "file=a,readonly=yes"}, "R/dir/a"},
        {"snapshot of one", {QEMU, "-drive", "file=a,snapshot=on", "-hdb", "b"}, "R/dir/a X/dir/b"},
        {"snapshot of none", {QEMU, "-drive", "file=a,nosnapshot", "-snapshot"}, "X/dir/a"},
        {"snapshot of all", {QEMU, "-drive", "file=a", "-hdb", "b", "-snapshot"}, "R/dir/a R/dir/b"},

        {"a layer below the next", {QEMU, "-drive", "file=a,backing.backing.file.filename=b"}, "X/dir/a R/dir/b"},
        {"the file's own options", {QEMU, "-drive", "file=a,file.driver=raw,file.file.locking=off"}, "X/dir/a"},
        {"what is not said", {QEMU, "-drive", "file.locking=off"}, "", "not named"},

        /* -blockdev and the devices */
        {"unknown reference", {QEMU, "-blockdev", "raw,node-name=a,file=b"}, "", "\"b\""},
        {"no JSON", {QEMU, "-blockdev", "{driver"}, "", "-blockdev"},
        {"two objects", {QEMU, "-blockdev", "{} {}"}, "", "-blockdev"},
        {"white space", {QEMU, "json: {\"driver\": \"file\", \"filename\": \"a\"} "}, "X/dir/a"},
        {"single quotes", {QEMU, "-blockdev", "{'driver':'file','filename':'it\\'s \"a\"','node-name':'n'}"},
         "X/dir/it's \"a\""},
        {"two devices, one shares",
         {QEMU, "-drive", "if=none,id=d,format=raw,file=a", "-device", "x,drive=d,share-rw=on", "-device", "y,drive=d"},
         "X/dir/a"},
        {"two devices, the other one shares",
         {QEMU, "-drive", "if=none,id=d,format=raw,file=a", "-device", "y,drive=d", "-device", "x,drive=d,share-rw=on"},
         "X/dir/a"},
        {"read-only file", {QEMU, "-blockdev", "file,node-name=f,filename=a,read-only=on"}, "R/dir/a"},
        {"two devices share",
         {QEMU, "-drive", "if=none,id=d,format=raw,file=a", "-device", "x,drive=d,share-rw=on", "-device",
          "y,drive=d,share-rw=on"},
         "W/dir/a"},
        {"shares what it does not know", {QEMU, "-drive", "if=none,id=d,file=a", "-device", "x,drive=d,share-rw=on"},
         "X/dir/a", "share-rw"},
        {"one file, a disk and a base",
         {QEMU, "-blockdev", "file,node-name=f,filename=a", "-blockdev", "raw,node-name=r,file=f", "-blockdev",
          "qcow2,node-name=q,file.driver=file,file.filename=b,backing=f", "-device", "x,drive=r"},
         "X/dir/a X/dir/b"},
        {"an image in a part of a file",
         {QEMU, "-blockdev",
          "qcow2,node-name=q,file.driver=raw,file.offset=512,file.file.driver=file,file.file.filename=a"},
         "X/dir/a", "part of a file"},
        {"device without a drive", {QEMU, "-device", "{\"driver\":\"virtio-net-pci\"}", "-device", "e1000"}, ""},
};

static const char *letter(GuestlockMode mode) {
        return mode == GUESTLOCK_MODE_EXCLUSIVE ? "X" : mode == GUESTLOCK_MODE_SHARED ? "W" : "R";
}

static char *describe(GPtrArray *disks) {
        GString *text = g_string_new(NULL);

        for (guint i = 0; i < disks->len; i++) {
                const GlFoundDisk *disk = disks->pdata[i];

                g_string_append_printf(text, "%s%s%s", i > 0 ? " " : "", letter(disk->mode), disk->path);
        }
        return g_string_free(text, FALSE);
}

static void test_case(gconstpointer data) {
        const Case *of = data;
        g_autoptr(GPtrArray) remarks = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(GError) error = NULL;
        g_autoptr(GlQemuCommandLine) line = gl_qemu_command_line_read(of->command, "/dir", remarks, &error);
        g_autofree char *disks = NULL;

        g_assert_no_error(error);
        disks = describe(line->disks);
        g_assert_cmpstr(disks, ==, of->disks);
        for (guint i = 0; i < remarks->len; i++)
                g_test_message("%s", (char *) remarks->pdata[i]);
        g_assert_cmpuint(remarks->len, ==, of->remark ? 1 : 0);
        if (of->remark && !strstr(remarks->pdata[0], of->remark))
                g_error("\"%s\" does not say %s", (char *) remarks->pdata[0], of->remark);
}

static GlQemuCommandLine *read_line(const char *const *command) {
        g_autoptr(GPtrArray) remarks = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(GError) error = NULL;
        GlQemuCommandLine *line = gl_qemu_command_line_read(command, "/dir", remarks, &error);

        g_assert_no_error(error);
        g_assert_cmpuint(remarks->len, ==, 0);
        return line;
}

static void test_guest(void) {
        const char *const plain[] = {QEMU, "-name", "web1", "-uuid", "4dea22b3-1d52-d8f3-2516-782e98ab3fa0", NULL};
        const char *const options[] = {QEMU, "-name", "guest=a,,b,debug-threads=on", NULL};
        const char *const nothing[] = {QEMU, "-name", "debug-threads=on", NULL};
        g_autoptr(GlQemuCommandLine) first = read_line(plain), second = read_line(options), third = read_line(nothing);

        g_assert_cmpstr(first->name, ==, "web1");
        g_assert_cmpstr(first->uuid, ==, "4dea22b3-1d52-d8f3-2516-782e98ab3fa0");
        g_assert_cmpstr(second->name, ==, "a,b");
        g_assert_null(second->uuid);
        g_assert_null(third->name);
}

/* The one disk of this command line. */
static void check_disk(const char *option, const char *argument, const char *source, const char *format,
                       const char *flags) {
        const char *const command[] = {QEMU, option, argument, NULL};
        g_autoptr(GPtrArray) remarks = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(GlQemuCommandLine) line = gl_qemu_command_line_read(command, "/dir", remarks, NULL);
        g_autoptr(GString) found = g_string_new(NULL);
        const GlFoundDisk *disk = line->disks->pdata[0];

        g_assert_cmpstr(disk->source, ==, source);
        g_assert_cmpstr(disk->format, ==, format);
        g_string_append_printf(found, "%s%s%s", disk->has_backing ? "backing " : "",
                               disk->has_data_file ? "data " : "", disk->is_snapshot ? "snapshot " : "");
        g_assert_cmpstr(found->str, ==, flags);
}

static void test_what_a_disk_is(void) {
        check_disk("-hda", "a", "-hda", NULL, "backing data ");
        check_disk("-drive", "id=b,file=b,format=raw", "-drive \"b\"", "raw", "");
        check_disk("-drive", "file=d,format=qcow2,snapshot=on", "-drive", "qcow2", "backing data snapshot ");
        check_disk("-drive", "file=d,backing.backing.file.filename=e", "-drive", NULL, "backing data ");
        check_disk("-blockdev", "file,node-name=c,filename=c", "-blockdev \"c\"", NULL, "");
        check_disk("-blockdev", "qcow2,node-name=c,file.driver=file,file.filename=c,backing=", "-blockdev \"c\"",
                   "qcow2", "data ");
        check_disk("-blockdev",
                   "qcow2,node-name=c,file.driver=file,file.filename=c,data-file.driver=file,data-file.filename=d",
                   "-blockdev \"c\"", "qcow2", "backing ");
        check_disk("-blockdev",
                   "qcow2,node-name=c,file.driver=raw,file.size=512,file.file.driver=file,file.file.filename=a",
                   "-blockdev \"c\"", "raw", "");
}

static void check_refusal(const char *const *command, const char *word) {
        g_autoptr(GPtrArray) remarks = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(GError) error = NULL;

        g_assert_null(gl_qemu_command_line_read(command, "/dir", remarks, &error));
        g_assert_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE);
        if (!strstr(error->message, word))
                g_error("\"%s\" does not say %s", error->message, word);
}

static void test_refusals(void) {
        check_refusal((const char *const[]){QEMU, "-hda", NULL}, "-hda");
        check_refusal((const char *const[]){QEMU, "-drive", "file=\xff", NULL}, "-drive");
        check_refusal((const char *const[]){QEMU, "-hdb", "\xc3(", NULL}, "-hdb");
        check_refusal((const char *const[]){QEMU, "\xff", NULL}, "the image");
}

/* Depth and the number of ways through a graph are in the hands of whoever writes a command line. */
static void test_deep(void) {
        g_autoptr(GPtrArray) command = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(GPtrArray) remarks = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(GlQemuCommandLine) line = NULL;
        g_autofree char *nested = g_strnfill(100000, '[');

        g_ptr_array_add(command, g_strdup(QEMU));
        g_ptr_array_add(command, g_strdup("-blockdev"));
        g_ptr_array_add(command, g_strdup_printf("{\"a\":%s", nested));
        for (guint i = 0; i < 200; i++) {
                g_ptr_array_add(command, g_strdup("-blockdev"));
                g_ptr_array_add(command, g_strdup_printf(i == 0 ? "file,node-name=n%u,filename=a"
                                                                : "quorum,node-name=n%u,children.0=n%u,children.1=n%u",
                                                         i, i - 1, i - 1));
        }
        g_ptr_array_add(command, NULL);
        line = gl_qemu_command_line_read((const char *const *) command->pdata, "/dir", remarks, NULL);
        g_assert_cmpuint(line->disks->len, ==, 1);
        /* One about the brackets, and one about each child of the node that is one too many. */
        g_assert_cmpuint(remarks->len, ==, 3);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *path = g_strdelimit(g_strdup(cases[i].name), " ", '-');
                g_autofree char *full = g_strdup_printf("/qemu-command-line/case/%02u-%s", i, path);

                g_test_add_data_func(full, &cases[i], test_case);
        }
        g_test_add_func("/qemu-command-line/guest", test_guest);
        g_test_add_func("/qemu-command-line/what-a-disk-is", test_what_a_disk_is);
        g_test_add_func("/qemu-command-line/refusals", test_refusals);
        g_test_add_func("/qemu-command-line/deep", test_deep);
        return g_test_run();
}
