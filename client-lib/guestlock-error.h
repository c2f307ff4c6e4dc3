/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <guestlock-types.h>

G_BEGIN_DECLS

#define GUESTLOCK_ERROR (guestlock_error_quark())

/**
 * GuestlockError:
 * @GUESTLOCK_ERROR_CONFLICT: somebody else has a resource; the message names everybody in the way
 * @GUESTLOCK_ERROR_BAD_STATE: not in the guest's present state
 * @GUESTLOCK_ERROR_NO_SUCH_GUEST: there is no such guest
 * @GUESTLOCK_ERROR_NO_SUCH_RESOURCE: the guest has no such resource
 * @GUESTLOCK_ERROR_ALREADY_EXISTS: there is such a guest, or such a process, already
 * @GUESTLOCK_ERROR_ALREADY_REGISTERED: the guest has this resource already
 * @GUESTLOCK_ERROR_NOT_SUPPORTED: the driver, or this version of the service, cannot do that
 * @GUESTLOCK_ERROR_TIMEOUT: somebody else still has a resource after the time to wait
 * @GUESTLOCK_ERROR_CANCELLED: another call ended this one (a cancellable gives `G_IO_ERROR_CANCELLED`)
 * @GUESTLOCK_ERROR_STALE: what was said is not true any more
 * @GUESTLOCK_ERROR_LEASE_LOST: a lost lease cannot be had again
 * @GUESTLOCK_ERROR_GUEST_RUNNING: a process of the guest lives
 * @GUESTLOCK_ERROR_NO_CHILD: the guest has no process
 * @GUESTLOCK_ERROR_LIMIT_EXCEEDED: a limit is reached
 * @GUESTLOCK_ERROR_NO_SUCH_DRIVER: the driver is not loaded
 * @GUESTLOCK_ERROR_DRIVER_IN_USE: the driver has leases
 * @GUESTLOCK_ERROR_DRIVER_FAILED: the driver, or the service itself, has failed
 * @GUESTLOCK_ERROR_STORAGE_UNAVAILABLE: the storage fails, or the lease would not have the required scope
 * @GUESTLOCK_ERROR_INVALID_ARGS: an argument or an option is not valid
 * @GUESTLOCK_ERROR_ACCESS_DENIED: polkit, or the permissions of a file, say no
 * @GUESTLOCK_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED: yes, if somebody gave a password; see
 *   [property@Manager:interactive]
 * @GUESTLOCK_ERROR_UNKNOWN_OBJECT: the guest is gone
 * @GUESTLOCK_ERROR_UNAVAILABLE: the service cannot be reached
 *
 * What can go wrong. The message is the service's sentence for a person. What GIO finds by itself, as
 * `G_IO_ERROR_CANCELLED`, keeps its own domain.
 *
 * Since: 0.1
 */
typedef enum {
        GUESTLOCK_ERROR_CONFLICT,
        GUESTLOCK_ERROR_BAD_STATE,
        GUESTLOCK_ERROR_NO_SUCH_GUEST,
        GUESTLOCK_ERROR_NO_SUCH_RESOURCE,
        GUESTLOCK_ERROR_ALREADY_EXISTS,
        GUESTLOCK_ERROR_ALREADY_REGISTERED,
        GUESTLOCK_ERROR_NOT_SUPPORTED,
        GUESTLOCK_ERROR_TIMEOUT,
        GUESTLOCK_ERROR_CANCELLED,
        GUESTLOCK_ERROR_STALE,
        GUESTLOCK_ERROR_LEASE_LOST,
        GUESTLOCK_ERROR_GUEST_RUNNING,
        GUESTLOCK_ERROR_NO_CHILD,
        GUESTLOCK_ERROR_LIMIT_EXCEEDED,
        GUESTLOCK_ERROR_NO_SUCH_DRIVER,
        GUESTLOCK_ERROR_DRIVER_IN_USE,
        GUESTLOCK_ERROR_DRIVER_FAILED,
        GUESTLOCK_ERROR_STORAGE_UNAVAILABLE,
        GUESTLOCK_ERROR_INVALID_ARGS,
        GUESTLOCK_ERROR_ACCESS_DENIED,
        GUESTLOCK_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED,
        GUESTLOCK_ERROR_UNKNOWN_OBJECT,
        GUESTLOCK_ERROR_UNAVAILABLE,
} GuestlockError;

GUESTLOCK_PUBLIC
GQuark guestlock_error_quark(void);

G_END_DECLS
