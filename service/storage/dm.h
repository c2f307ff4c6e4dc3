/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "storage/sysfs.h"

/* A device that a target lies on, and which part of it. */
typedef struct {
        dev_t number;
        guint64 start; /* bytes */
        guint64 end;   /* G_MAXUINT64: to its end */
        gboolean handed_out; /* what has it there hands its parts out itself: they never overlap */
} GlDmPiece;

typedef struct {
        gboolean window; /* all of it is one piece, byte by byte */
        GArray *pieces;  /* (owned) of GlDmPiece */
} GlDmTable;

void gl_dm_table_free(GlDmTable *table);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GlDmTable, gl_dm_table_free)

/*
 * What a table says, in the words of "dmsetup table", as far as all its targets are known to say it; NULL otherwise, and
 * then whatever is in sysfs's slaves is all that is known.
 */
GlDmTable *gl_dm_table_parse(const char *text);

/*
 * The live table of the device, by the kernel's control node; with a SYSROOT the text of
 * SYSROOT/dev/mapper/<major>:<minor>.table. NULL where there is none to be had, or it says what is not known. A key
 * of dm-crypt is never read.
 */
char *gl_dm_table_read(const char *sysroot, dev_t number);
