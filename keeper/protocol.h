/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>

/*
 * What the service and guestlock-keeper say to each other, over a SOCK_SEQPACKET socket of the unix family, both on one
 * host. A request is one message, of one of the two sizes below, and is answered with the serial that it came with.
 * Answers need not come in the order of the requests: closing a descriptor can take for ever. Requests take effect in
 * the order of one connection.
 *
 * A keeper outlives the service that it was started by, and newer ones: what is here stays as it is. Something new is
 * a new type, which an old keeper answers by closing the connection.
 */

#define GL_KEEPER_VERSION 1
#define GL_KEEPER_MAX_FDS 250 /* the kernel carries 253 a message */

enum {
        /* Requests. */
        GL_KEEPER_PING = 1,
        GL_KEEPER_KEEP = 2, /* GlKeeperDescriptors: in place of what KEY had, whose closing is awaited */
        GL_KEEPER_DROP = 3, /* what KEY has is closed; success if that is nothing */
        GL_KEEPER_LIST = 4,
        /* Answers. */
        GL_KEEPER_DONE = 64, /* to all but LIST: result is 0 or a negative errno, and then nothing has changed */
        GL_KEEPER_ENTRY = 65, /* GlKeeperDescriptors: to LIST, one for each key, in ascending order */
        GL_KEEPER_END = 66,   /* to LIST */
};

/* Native byte order. Fields that a type does not use are 0. */
typedef struct {
        uint32_t version;
        uint32_t type;
        uint64_t serial;
        uint64_t key; /* never 0 in KEEP and DROP */
        int32_t result;
        uint32_t n; /* KEEP, ENTRY: descriptors that come with the message, 1 to GL_KEEPER_MAX_FDS; else 0 */
} GlKeeperHead;

/* KEEP and ENTRY alone. */
typedef struct {
        GlKeeperHead head;
        uint8_t tags[256]; /* one for each descriptor, with a meaning for the service only */
} GlKeeperDescriptors;

_Static_assert(sizeof(GlKeeperHead) == 32 && sizeof(GlKeeperDescriptors) == 288, "both sides have to agree");
