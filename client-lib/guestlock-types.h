/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <gio/gio.h>

G_BEGIN_DECLS

#ifndef GUESTLOCK_PUBLIC
#define GUESTLOCK_PUBLIC extern
#endif

typedef struct _GuestlockDriver GuestlockDriver;
typedef struct _GuestlockGuest GuestlockGuest;
typedef struct _GuestlockManager GuestlockManager;
typedef struct _GuestlockObstacle GuestlockObstacle;
typedef struct _GuestlockRequest GuestlockRequest;
typedef struct _GuestlockResource GuestlockResource;

/*
 * The nick of each value of an enumeration is the word that the service has for it. The service may learn more words;
 * one that this version of the library does not know is UNKNOWN.
 */

/**
 * GuestlockResourceType:
 * @GUESTLOCK_RESOURCE_TYPE_UNKNOWN: something that this version of the library does not know
 * @GUESTLOCK_RESOURCE_TYPE_DISK: an image file or a block device, named by its absolute path
 * @GUESTLOCK_RESOURCE_TYPE_LEASE: a byte of a lease file, named by its key
 * @GUESTLOCK_RESOURCE_TYPE_GUEST: the guest itself, named by its uuid; only in [signal@Guest::lease-lost] and
 *   [method@Manager.who_holds_sync]
 *
 * What a resource is.
 *
 * Since: 0.1
 */
typedef enum {
        GUESTLOCK_RESOURCE_TYPE_UNKNOWN,
        GUESTLOCK_RESOURCE_TYPE_DISK,
        GUESTLOCK_RESOURCE_TYPE_LEASE,
        GUESTLOCK_RESOURCE_TYPE_GUEST,
} GuestlockResourceType;

/**
 * GuestlockMode:
 * @GUESTLOCK_MODE_UNKNOWN: not known
 * @GUESTLOCK_MODE_EXCLUSIVE: one writer
 * @GUESTLOCK_MODE_SHARED: writers that know of each other
 * @GUESTLOCK_MODE_READONLY: many readers and no writer
 *
 * How a guest uses a resource.
 *
 * Since: 0.1
 */
typedef enum {
        GUESTLOCK_MODE_UNKNOWN,
        GUESTLOCK_MODE_EXCLUSIVE,
        GUESTLOCK_MODE_SHARED,
        GUESTLOCK_MODE_READONLY,
} GuestlockMode;

/**
 * GuestlockState:
 * @GUESTLOCK_STATE_UNKNOWN: not known: the service does not run now, or knows more states than this library
 * @GUESTLOCK_STATE_NEW: nothing was taken yet
 * @GUESTLOCK_STATE_HELD: the guest has its leases
 * @GUESTLOCK_STATE_RELEASED: it had leases, and gave them back
 * @GUESTLOCK_STATE_LOST: a lease was lost: the guest must not write any more
 * @GUESTLOCK_STATE_MIGRATING: it is leaving this host
 * @GUESTLOCK_STATE_INCOMING: it is coming to this host
 * @GUESTLOCK_STATE_GONE: the service has no such guest any more; this never changes again
 *
 * The state of a guest.
 *
 * Since: 0.1
 */
typedef enum {
        GUESTLOCK_STATE_UNKNOWN,
        GUESTLOCK_STATE_NEW,
        GUESTLOCK_STATE_HELD,
        GUESTLOCK_STATE_RELEASED,
        GUESTLOCK_STATE_LOST,
        GUESTLOCK_STATE_MIGRATING,
        GUESTLOCK_STATE_INCOMING,
        GUESTLOCK_STATE_GONE,
} GuestlockState;

/**
 * GuestlockResourceState:
 * @GUESTLOCK_RESOURCE_STATE_UNKNOWN: not known
 * @GUESTLOCK_RESOURCE_STATE_REGISTERED: declared, nothing taken
 * @GUESTLOCK_RESOURCE_STATE_HELD: leased
 * @GUESTLOCK_RESOURCE_STATE_DRAINING: its guest is gone, what it wrote perhaps not yet
 * @GUESTLOCK_RESOURCE_STATE_LOST: the lease was lost
 * @GUESTLOCK_RESOURCE_STATE_RESERVED: reserved for a guest that is coming
 * @GUESTLOCK_RESOURCE_STATE_HANDOVER: on its way from one host to another
 *
 * The state of a resource.
 *
 * Since: 0.1
 */
typedef enum {
        GUESTLOCK_RESOURCE_STATE_UNKNOWN,
        GUESTLOCK_RESOURCE_STATE_REGISTERED,
        GUESTLOCK_RESOURCE_STATE_HELD,
        GUESTLOCK_RESOURCE_STATE_DRAINING,
        GUESTLOCK_RESOURCE_STATE_LOST,
        GUESTLOCK_RESOURCE_STATE_RESERVED,
        GUESTLOCK_RESOURCE_STATE_HANDOVER,
} GuestlockResourceState;

/**
 * GuestlockScope:
 * @GUESTLOCK_SCOPE_UNKNOWN: not known
 * @GUESTLOCK_SCOPE_MOUNT: guests that use it through the same mount
 * @GUESTLOCK_SCOPE_HOST: every guest of this host
 * @GUESTLOCK_SCOPE_SHARED: also other hosts that mount the same storage
 * @GUESTLOCK_SCOPE_FENCED: also hosts that were cut off and still run
 *
 * Whom a lease keeps out.
 *
 * Since: 0.1
 */
typedef enum {
        GUESTLOCK_SCOPE_UNKNOWN,
        GUESTLOCK_SCOPE_MOUNT,
        GUESTLOCK_SCOPE_HOST,
        GUESTLOCK_SCOPE_SHARED,
        GUESTLOCK_SCOPE_FENCED,
} GuestlockScope;

/**
 * GuestlockAction:
 * @GUESTLOCK_ACTION_UNKNOWN: not known; in a request: as the service is configured
 * @GUESTLOCK_ACTION_PAUSE: its process is stopped
 * @GUESTLOCK_ACTION_KILL: its process is ended
 * @GUESTLOCK_ACTION_NOTIFY: nothing beyond the signal
 *
 * What is done to a guest that loses a lease.
 *
 * Since: 0.1
 */
typedef enum {
        GUESTLOCK_ACTION_UNKNOWN,
        GUESTLOCK_ACTION_PAUSE,
        GUESTLOCK_ACTION_KILL,
        GUESTLOCK_ACTION_NOTIFY,
} GuestlockAction;

/**
 * GuestlockLossReason:
 * @GUESTLOCK_LOSS_REASON_UNKNOWN: not known
 * @GUESTLOCK_LOSS_REASON_REVOKED: an administrator took it away
 * @GUESTLOCK_LOSS_REASON_REPLACED: its lease or lock file is another one now
 * @GUESTLOCK_LOSS_REASON_STORAGE_LOST: its lock does not exist any more
 * @GUESTLOCK_LOSS_REASON_LOCKSPACE_LOST: the lockspace of its driver is lost
 * @GUESTLOCK_LOSS_REASON_TAKEN: somebody else has the resource
 *
 * Why a lease was lost.
 *
 * Since: 0.1
 */
typedef enum {
        GUESTLOCK_LOSS_REASON_UNKNOWN,
        GUESTLOCK_LOSS_REASON_REVOKED,
        GUESTLOCK_LOSS_REASON_REPLACED,
        GUESTLOCK_LOSS_REASON_STORAGE_LOST,
        GUESTLOCK_LOSS_REASON_LOCKSPACE_LOST,
        GUESTLOCK_LOSS_REASON_TAKEN,
} GuestlockLossReason;

/**
 * GuestlockReleaseReason:
 * @GUESTLOCK_RELEASE_REASON_UNKNOWN: not known
 * @GUESTLOCK_RELEASE_REASON_RELEASED: they were given back
 * @GUESTLOCK_RELEASE_REASON_GUEST_EXITED: the guest's last process is gone and its I/O is over
 * @GUESTLOCK_RELEASE_REASON_MIGRATED: another host has them
 * @GUESTLOCK_RELEASE_REASON_EXPIRED: a migration took too long
 * @GUESTLOCK_RELEASE_REASON_SHUTDOWN: the guest was shut down
 *
 * Why leases ended.
 *
 * Since: 0.1
 */
typedef enum {
        GUESTLOCK_RELEASE_REASON_UNKNOWN,
        GUESTLOCK_RELEASE_REASON_RELEASED,
        GUESTLOCK_RELEASE_REASON_GUEST_EXITED,
        GUESTLOCK_RELEASE_REASON_MIGRATED,
        GUESTLOCK_RELEASE_REASON_EXPIRED,
        GUESTLOCK_RELEASE_REASON_SHUTDOWN,
} GuestlockReleaseReason;

/**
 * GuestlockRevokeFlags:
 * @GUESTLOCK_REVOKE_FLAGS_NONE: nothing beyond what [property@Guest:on-lease-lost] says
 * @GUESTLOCK_REVOKE_FLAGS_KILL: the guest's processes are ended, whatever that says
 * @GUESTLOCK_REVOKE_FLAGS_DRAINED: of a guest that has ended, and whose lease does not, because something may still
 *   write that cannot be seen ([method@Resource.get_held_open_by] says so): the caller answers for it that nothing
 *   does, and the lease ends. What can be seen to write is `GUESTLOCK_ERROR_GUEST_RUNNING`
 *
 * What [method@Guest.revoke_sync] does beyond taking leases away.
 *
 * Since: 0.1
 */
typedef enum /*< flags >*/ {
        GUESTLOCK_REVOKE_FLAGS_NONE = 0,
        GUESTLOCK_REVOKE_FLAGS_KILL = 1 << 0,
        GUESTLOCK_REVOKE_FLAGS_DRAINED = 1 << 1,
} GuestlockRevokeFlags;

/**
 * GuestlockShutdownFlags:
 * @GUESTLOCK_SHUTDOWN_FLAGS_NONE: a process of the guest that lives is `GUESTLOCK_ERROR_GUEST_RUNNING`; a supervisor
 *   that is left over is ended
 * @GUESTLOCK_SHUTDOWN_FLAGS_KILL: the guest's processes are ended first
 * @GUESTLOCK_SHUTDOWN_FLAGS_LEAVE_SUPERVISOR: a supervisor that is left over is not touched, and is the guest's no
 *   more: the caller answers for it that nothing below it writes
 *
 * What [method@Guest.shutdown_sync] does to the guest's processes.
 *
 * Since: 0.1
 */
typedef enum /*< flags >*/ {
        GUESTLOCK_SHUTDOWN_FLAGS_NONE = 0,
        GUESTLOCK_SHUTDOWN_FLAGS_KILL = 1 << 0,
        GUESTLOCK_SHUTDOWN_FLAGS_LEAVE_SUPERVISOR = 1 << 1,
} GuestlockShutdownFlags;

G_END_DECLS
