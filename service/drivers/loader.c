/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drivers/loader.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "core/names.h"
#include "core/obstacle.h"

/*
 * Code that runs as root, so it has to be root's: each directory on the way is opened beneath the one before it and
 * looked at, then the file, and the file that was looked at is what is loaded, through its descriptor. A directory that
 * everybody may write to and that is sticky, as /tmp, is no way in, as what is root's in it nobody else can replace;
 * the last one, where a new file would be a new driver, may not be of that kind.
 *
 * The dynamic linker knows a module by the name that it was loaded by, and gives what it has already when it hears that
 * name again: the descriptor stays open for as long as the module is there, so that no other gets its number. Should
 * something have kept a module in memory all the same, what another driver would get is the wrong one, which has
 * another name inside and is refused.
 */

static gboolean fail(GError **error, const char *path, const char *what) {
        g_autofree char *quoted = gl_quote(path);

        g_set_error(error, GL_ERROR, GL_ERROR_DRIVER_FAILED, "%s %s.", quoted, what);
        return FALSE;
}

static gboolean fail_errno(GError **error, const char *path, int saved_errno) {
        g_autofree char *what = NULL, *quoted = NULL;

        if (saved_errno == ENOENT) {
                quoted = gl_quote(path);
                g_set_error(error, GL_ERROR, GL_ERROR_NO_SUCH_DRIVER, "%s does not exist.", quoted);
                return FALSE;
        }
        if (saved_errno == ELOOP)
                return fail(error, path, "is a symbolic link");
        what = g_strdup_printf("cannot be opened: %s", g_strerror(saved_errno));
        return fail(error, path, what);
}

/* --- looking --- */

static gboolean is_roots_alone(const char *path, const struct stat *st, gboolean may_be_sticky, GError **error) {
        g_autofree char *what = NULL;

        if (st->st_uid != 0) {
                what = g_strdup_printf("belongs to uid %u and not to root, who would run it", st->st_uid);
                return fail(error, path, what);
        }
        if ((st->st_mode & (S_IWGRP | S_IWOTH)) && !(may_be_sticky && (st->st_mode & S_ISVTX)))
                return fail(error, path, "can be written to by others than root; chmod go-w it");
        return TRUE;
}

static int open_beneath(int parent, const char *name, int flags, const char *path, mode_t type, struct stat *st,
                        GError **error) {
        int fd = openat(parent, name, flags | O_NOFOLLOW | O_CLOEXEC);
        gboolean looked = fd >= 0 && fstat(fd, st) == 0;

        if (looked && (st->st_mode & S_IFMT) == type)
                return fd;
        if (looked)
                fail(error, path, type == S_IFDIR ? "is no directory" : "is no regular file");
        else
                fail_errno(error, path, errno);
        if (fd >= 0)
                close(fd);
        return -1;
}

/* DIRECTORY, with nothing on the way that others could change; -1. */
static int open_directory(const char *directory, GError **error) {
        g_autofree char *whole = realpath(directory, NULL);
        g_auto(GStrv) parts = NULL;
        g_autoptr(GString) path = g_string_new("/");
        struct stat st;
        int fd;

        if (!whole) {
                fail_errno(error, directory, errno);
                return -1;
        }
        parts = g_strsplit(whole + 1, "/", -1);
        fd = open_beneath(AT_FDCWD, "/", O_PATH | O_DIRECTORY, path->str, S_IFDIR, &st, error);
        for (guint i = 0; fd >= 0; i++) {
                gboolean last = !parts[i] || !parts[i][0];
                int next = -1;

                if (is_roots_alone(path->str, &st, !last, error)) {
                        if (last)
                                return fd;
                        g_string_append_printf(path, "%s%s", i > 0 ? "/" : "", parts[i]);
                        next = open_beneath(fd, parts[i], O_PATH, path->str, S_IFDIR, &st, error);
                }
                close(fd);
                fd = next;
        }
        return -1;
}

static int open_trusted(const char *directory, const char *name, GError **error) {
        g_autofree char *file = g_strconcat(name, ".so", NULL), *path = g_build_filename(directory, file, NULL);
        int parent = open_directory(directory, error), fd;
        struct stat st;

        if (parent < 0)
                return -1;
        /* A FIFO would keep us waiting for somebody to write to it. */
        fd = open_beneath(parent, file, O_RDONLY | O_NONBLOCK | O_NOCTTY, path, S_IFREG, &st, error);
        close(parent);
        if (fd >= 0 && !is_roots_alone(path, &st, FALSE, error)) {
                close(fd);
                return -1;
        }
        return fd;
}

static int open_file(const char *directory, const char *name, GError **error) {
        g_autoptr(GError) why = NULL;
        int fd;

        if (!gl_check_driver_name(name, error))
                return -1;
        fd = open_trusted(directory, name, &why);
        if (fd < 0)
                g_set_error(error, GL_ERROR, why->code,
                            why->code == GL_ERROR_NO_SUCH_DRIVER ? "There is no lease driver \"%s\": %s"
                                                                 : "The driver \"%s\" is not loaded: %s",
                            name, why->message);
        return fd;
}

gboolean gl_loaded_driver_check(const char *directory, const char *name, GError **error) {
        int fd = open_file(directory, name, error);

        if (fd < 0)
                return FALSE;
        close(fd);
        return TRUE;
}

/* --- loading --- */

static gboolean refuse(GError **error, const char *name, const char *why) {
        g_set_error(error, GL_ERROR, GL_ERROR_DRIVER_FAILED, "The driver \"%s\" cannot be used: %s.", name, why);
        return FALSE;
}

static gboolean check_plugin(const GlPlugin *plugin, const char *name, GError **error) {
        g_autofree char *why = NULL;
        const char *fault;

        if (plugin->abi != GL_PLUGIN_ABI) {
                why = g_strdup_printf("it was built for version %u of what drivers and guestlockd have in common, and "
                                      "this is version %u",
                                      plugin->abi, GL_PLUGIN_ABI);
                return refuse(error, name, why);
        }
        if (plugin->size != sizeof(GlPlugin) || plugin->layout != GL_PLUGIN_LAYOUT)
                return refuse(error, name, "it was built with another guestlockd; build and install both together");
        if (!plugin->ops || !plugin->make || !plugin->ops->start || !plugin->ops->free)
                return refuse(error, name, "it is not complete");
        if (g_strcmp0(plugin->ops->name, name) != 0)
                return refuse(error, name, "it calls itself by another name than its file's");
        fault = gl_capabilities_find_fault(plugin->ops->capabilities);
        return !fault || refuse(error, name, fault);
}

/* What the dynamic linker says names a descriptor's path first, which tells nobody anything. */
static const char *last_dl_error(const char *path) {
        const char *said = dlerror() ?: "the dynamic linker does not say why";

        if (g_str_has_prefix(said, path))
                said += strlen(path) + strspn(said + strlen(path), ": ");
        return said;
}

static gboolean open_module(GlLoadedDriver *loaded, const char *name, GError **error) {
        g_autofree char *path = g_strdup_printf("/proc/%d/fd/%d", getpid(), loaded->fd);

        loaded->module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        return loaded->module || refuse(error, name, last_dl_error(path));
}

static gboolean make_driver(GlLoadedDriver *loaded, const char *name, const GlPluginHost *host, GError **error) {
        const GlPlugin *plugin = dlsym(loaded->module, GL_PLUGIN_SYMBOL);
        g_autoptr(GError) why = NULL;

        if (!plugin)
                return refuse(error, name, "its file has no symbol \"" GL_PLUGIN_SYMBOL "\"");
        if (!check_plugin(plugin, name, error))
                return FALSE;
        loaded->driver = plugin->make(host, &why);
        if (!loaded->driver) {
                g_set_error(error, GL_ERROR, GL_ERROR_DRIVER_FAILED, "The driver \"%s\" could not begin: %s", name,
                            why ? why->message : "it does not say why.");
                return FALSE;
        }
        return loaded->driver->ops == plugin->ops || refuse(error, name, "what it makes is another driver");
}

GlLoadedDriver *gl_loaded_driver_new(const char *directory, const char *name, const GlPluginHost *host,
                                     GError **error) {
        int fd = open_file(directory, name, error);
        GlLoadedDriver *loaded;

        if (fd < 0)
                return NULL;
        loaded = g_new0(GlLoadedDriver, 1);
        loaded->fd = fd;
        if (open_module(loaded, name, error) && make_driver(loaded, name, host, error))
                return loaded;
        gl_loaded_driver_unload(loaded);
        return NULL;
}

void gl_loaded_driver_unload(GlLoadedDriver *loaded) {
        if (!loaded)
                return;
        gl_driver_free(loaded->driver);
        if (loaded->module)
                dlclose(loaded->module);
        close(loaded->fd);
        g_free(loaded);
}

void gl_loaded_driver_leave(GlLoadedDriver *loaded) {
        if (!loaded)
                return;
        gl_driver_free(loaded->driver);
        g_free(loaded);
}
