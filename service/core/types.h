/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

/*
 * The words of the contract as enumerations, each with its text on the bus. The
 * ..._from_string() functions leave the output untouched when the text is unknown.
 */

typedef enum {
        GL_MODE_READONLY,  /* many readers, no writer */
        GL_MODE_SHARED,    /* writers that know of each other */
        GL_MODE_EXCLUSIVE, /* one writer */
} GlMode;

typedef enum {
        GL_RESOURCE_DISK,  /* an image file or a block device */
        GL_RESOURCE_LEASE, /* a named region of a lease file */
} GlResourceType;

typedef enum {
        GL_GUEST_NEW,
        GL_GUEST_HELD,
        GL_GUEST_RELEASED,
        GL_GUEST_LOST,
} GlGuestState;

typedef enum {
        GL_RESOURCE_REGISTERED, /* declared, nothing taken */
        GL_RESOURCE_HELD,
        GL_RESOURCE_DRAINING, /* its guest is gone, its I/O perhaps not */
        GL_RESOURCE_LOST,
} GlResourceState;

/* How far a lease's promise reaches; each value includes the ones before it. */
typedef enum {
        GL_SCOPE_MOUNT,
        GL_SCOPE_HOST,
        GL_SCOPE_SHARED,
        GL_SCOPE_FENCED,
} GlScope;

/* Whose descriptors keep the kernel's locks. */
typedef enum {
        GL_KEPT_BY_SERVICE,
        GL_KEPT_BY_KEEPER,
        GL_KEPT_BY_HOLDER,
} GlKeptBy;

/* What is done to a guest that lost a lease. */
typedef enum {
        GL_LOSS_PAUSE,
        GL_LOSS_KILL,
        GL_LOSS_NOTIFY,
} GlLossAction;

/* Why a lease was lost. */
typedef enum {
        GL_LOST_REVOKED,        /* an administrator took it away */
        GL_LOST_REPLACED,       /* what it was locked in is not what others find there now */
        GL_LOST_STORAGE_LOST,   /* its lock is gone, and nobody has it */
        GL_LOST_LOCKSPACE_LOST, /* so is the lockspace */
        GL_LOST_TAKEN,          /* somebody else has it */
} GlLossReason;

typedef enum {
        GL_ORIGIN_STARTED,
        GL_ORIGIN_ADOPTED,
} GlOrigin;

typedef enum {
        GL_RELEASE_RELEASED,
        GL_RELEASE_GUEST_EXITED,
        GL_RELEASE_SHUTDOWN,
} GlReleaseReason;

const char *gl_mode_to_string(GlMode mode);
const char *gl_resource_type_to_string(GlResourceType type);
const char *gl_guest_state_to_string(GlGuestState state);
const char *gl_resource_state_to_string(GlResourceState state);
const char *gl_scope_to_string(GlScope scope);
const char *gl_kept_by_to_string(GlKeptBy kept_by);
const char *gl_loss_action_to_string(GlLossAction action);
const char *gl_loss_reason_to_string(GlLossReason reason);
const char *gl_origin_to_string(GlOrigin origin);
const char *gl_release_reason_to_string(GlReleaseReason reason);

gboolean gl_mode_from_string(const char *text, GlMode *mode);
gboolean gl_resource_type_from_string(const char *text, GlResourceType *type);
gboolean gl_guest_state_from_string(const char *text, GlGuestState *state);
gboolean gl_resource_state_from_string(const char *text, GlResourceState *state);
gboolean gl_scope_from_string(const char *text, GlScope *scope);
gboolean gl_kept_by_from_string(const char *text, GlKeptBy *kept_by);
gboolean gl_loss_action_from_string(const char *text, GlLossAction *action);
gboolean gl_origin_from_string(const char *text, GlOrigin *origin);
