/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <guestlock-resource.h>

#include <gio/gunixfdlist.h>

/* One of the property Resources. */
GuestlockResource *gl_resource_new_from_entry(GVariant *entry);

/* One that a signal names; mode may be NULL. */
GuestlockResource *gl_resource_new_from_words(const char *type, const char *name, const char *mode);

const char *gl_resource_type_word(GuestlockResource *self);
const char *gl_resource_mode_word(GuestlockResource *self);

/* -1: it has none, and is known by its path. */
int gl_resource_fd(GuestlockResource *self);

/* Options for RegisterResource and its like, floating; wait_ms 0 is left out. */
GVariant *gl_resource_options(GuestlockResource *self, guint wait_ms);
