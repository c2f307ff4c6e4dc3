/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage/credentials.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * Only the file-system ids change, never the real or effective ones: a thread with a user's ids could be
 * signalled by that user, and the signal would end the whole service. The kernel takes the capabilities that
 * override file permissions out of the effective set when the file-system uid leaves 0, and puts them back when it
 * returns.
 *
 * The calls are raw. The C library's setgroups() changes every thread of the process, and the loop's thread
 * must stay root.
 */

/* On 32-bit machines the plain calls carry 16-bit ids. */
#ifdef SYS_setgroups32
#define CALL_GETGROUPS SYS_getgroups32
#define CALL_SETGROUPS SYS_setgroups32
#define CALL_SETFSGID SYS_setfsgid32
#define CALL_SETFSUID SYS_setfsuid32
#else
#define CALL_GETGROUPS SYS_getgroups
#define CALL_SETGROUPS SYS_setgroups
#define CALL_SETFSGID SYS_setfsgid
#define CALL_SETFSUID SYS_setfsuid
#endif

/* Who has no group at all gets the one that nothing should belong to. */
#define NO_GROUP 65534

/* An id that does not exist: setfsuid() and setfsgid() then change nothing, and tell the present one. */
#define PRESENT ((uid_t) -1)

/* What setfsuid() takes away and gives back: CAP_FS_MASK of the kernel, as far as opening a file goes. */
#define FILE_CAPABILITIES (1U << CAP_DAC_OVERRIDE | 1U << CAP_DAC_READ_SEARCH | 1U << CAP_FOWNER)

GlCredentials *gl_credentials_new(uid_t uid, const gid_t *groups, guint n_groups) {
        GlCredentials *credentials = g_atomic_rc_box_alloc0(sizeof(GlCredentials) + n_groups * sizeof(gid_t));

        credentials->uid = uid;
        credentials->gid = n_groups > 0 ? groups[0] : uid == 0 ? 0 : NO_GROUP;
        credentials->n_groups = n_groups;
        for (guint i = 0; i < n_groups; i++)
                credentials->groups[i] = groups[i];
        return credentials;
}

GlCredentials *gl_credentials_ref(GlCredentials *credentials) {
        return g_atomic_rc_box_acquire(credentials);
}

void gl_credentials_unref(GlCredentials *credentials) {
        if (credentials)
                g_atomic_rc_box_release(credentials);
}

static int compare_groups(const void *a, const void *b) {
        gid_t one = *(const gid_t *) a, other = *(const gid_t *) b;

        return one < other ? -1 : one > other;
}

/* The kernel keeps the groups sorted. */
static gboolean has_groups(const gid_t *groups, guint n_groups) {
        g_autofree gid_t *wanted = g_memdup2(groups, n_groups * sizeof(gid_t));
        g_autofree gid_t *present = g_new0(gid_t, n_groups + 1);

        if (syscall(CALL_GETGROUPS, 0, NULL) != (long) n_groups ||
            syscall(CALL_GETGROUPS, (int) n_groups + 1, present) != (long) n_groups)
                return FALSE;
        if (n_groups == 0)
                return TRUE;
        qsort(wanted, n_groups, sizeof(gid_t), compare_groups);
        qsort(present, n_groups, sizeof(gid_t), compare_groups);
        return memcmp(wanted, present, n_groups * sizeof(gid_t)) == 0;
}

/* The file capabilities that this thread may have at all, and those that are in effect. */
static void read_capabilities(guint32 *permitted, guint32 *effective) {
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};

        if (syscall(SYS_capget, &header, data) < 0)
                g_error("The capabilities of a worker thread cannot be read: %s.", g_strerror(errno));
        *permitted = data[0].permitted & FILE_CAPABILITIES;
        *effective = data[0].effective & FILE_CAPABILITIES;
}

static void change_to(uid_t uid, gid_t gid, const gid_t *groups, guint n_groups) {
        guint32 permitted, effective;

        if (syscall(CALL_SETGROUPS, (int) n_groups, groups) < 0 || !has_groups(groups, n_groups))
                g_error("A worker thread could not take the groups of uid %u.", uid);
        syscall(CALL_SETFSGID, gid);
        if ((gid_t) syscall(CALL_SETFSGID, PRESENT) != gid)
                g_error("A worker thread could not take the group %u of uid %u.", gid, uid);
        syscall(CALL_SETFSUID, uid);
        if ((uid_t) syscall(CALL_SETFSUID, PRESENT) != uid)
                g_error("A worker thread could not take the identity of uid %u.", uid);

        read_capabilities(&permitted, &effective);
        if (effective != (uid == 0 ? permitted : 0))
                g_error("A worker thread has file capabilities 0x%x as uid %u.", effective, uid);
}

void gl_credentials_assume(const GlCredentials *credentials) {
        if (credentials && credentials->uid != 0)
                change_to(credentials->uid, credentials->gid, credentials->groups, credentials->n_groups);
}

void gl_credentials_drop(void) {
        if ((uid_t) syscall(CALL_SETFSUID, PRESENT) != geteuid())
                change_to(0, 0, NULL, 0);
}
