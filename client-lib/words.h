/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib-object.h>

/* The value of an enumeration that the service has this word for; 0, which is UNKNOWN in each, if there is none. */
int gl_word_to_value(GType type, const char *word);

/* The service's word; "unknown" is none of its own, and gets InvalidArgs from it. */
const char *gl_word_of_value(GType type, int value);
