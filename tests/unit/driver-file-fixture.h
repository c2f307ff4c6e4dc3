/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "driver-conformance.h"

#include <sys/types.h>

#include "core/obstacle.h"
#include "drivers/file-locks.h"
#include "drivers/file.h"
#include "storage/source.h"

/*
 * The file driver on files of two storages in turn, /tmp and /dev/shm. Strangers are processes: the service names
 * no process that is itself.
 */

#define HOST 7
#define STRANGER_HOST 9
#define SIZE (64 * 1024)
#define DISK GL_RESOURCE_DISK
#define LEASE GL_RESOURCE_LEASE
#define R GL_MODE_READONLY
#define W GL_MODE_SHARED
#define X GL_MODE_EXCLUSIVE

typedef struct {
        GlDriverFixture fixture;
        sd_event *event;
        GlWorkers *workers;
        char *dirs[2];
        char *paths[GL_CONFORMANCE_PLACES];
        char *lease_file;
        GlSource *sources[GL_CONFORMANCE_PLACES];
        GlSource *leases[GL_CONFORMANCE_PLACES];
        pid_t strangers[GL_CONFORMANCE_PLACES];
        char *lockspace; /* (owned) (nullable) a directory that goes with the fixture */
} Fixture;

extern const GlDriverFixtureOps file_fixture_ops;

/* OPTIONS' strings outlive the fixture; its host number is HOST. */
GlDriverFixture *set_up_with(const GlFileOptions *options, guint max_threads);
GlDriverFixture *set_up(void);
void tear_down(GlDriverFixture *base);

const char *path_of(GlDriverFixture *fixture, guint nth, GlResourceType type);
void make_file(const char *path);
GlSource *resolve(Fixture *fixture, const char *path, GlMode mode, GlExtent extent);
void set_source(GlTarget *target, const char *name, GlSource *source);
GlLockLayout layout_of(guint nth, GlResourceType type, guint32 host_number);
/* Could a stranger take it? */
gboolean can_take(const char *path, guint nth, GlResourceType type, GlMode mode);
gboolean is_free(GlDriverFixture *fixture, guint nth, GlResourceType type, GlMode mode);
GlObstacle *first_obstacle(GlJob *job);

/* TRUE where the test program can test nothing, and has said why. */
gboolean skip_without_root_and_openat2(void);

/* --- strangers --- */

/* What the other process does with the file; 0 or a negative errno. */
typedef int (*Take)(int fd, gpointer data);

/*
 * A process that has PATH open and holds what TAKE takes, until it is ended. It dies with the test. Nothing of
 * the test's descriptors may live on in it: they carry locks.
 */
pid_t spawn(const char *path, Take take, gpointer data);
void end(pid_t pid);

typedef struct {
        GlLockLayout layout;
        GlMode mode;
} Locks;

/* DATA: Locks. */
int take_locks(int fd, gpointer data);
/* DATA: the length, 0 for the whole file. */
int take_posix(int fd, gpointer data);
