/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "cli.h"

/*
 * The guest that somebody calls by its uuid, its pid or its name; a name that looks like a uuid is not found,
 * and one that is another guest's pid is nobody's. Notes the word in cli. Of guests of one name or uuid the caller's
 * own is meant, and of others' none where there are several. (owned)
 */
GuestlockGuest *gl_find_guest(GlCli *cli, GuestlockManager *manager, const char *word, GError **error);

/* Whether a guest of this name is found by it, whatever other guests there are. */
gboolean gl_is_name(const char *word);

/* How it is called on the screen: by name and uuid. (owned) */
char *gl_text_of_guest(GuestlockGuest *guest);

/* By name, then uuid, then owner; of pointers to GuestlockGuest. */
int gl_compare_guests(gconstpointer a, gconstpointer b);
