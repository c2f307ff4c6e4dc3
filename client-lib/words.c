/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "words.h"

/* The nicks that glib-mkenums makes are the words of the contract; tests hold them to that. */

int gl_word_to_value(GType type, const char *word) {
        GEnumClass *class = g_type_class_ref(type);
        const GEnumValue *found = word ? g_enum_get_value_by_nick(class, word) : NULL;
        int value = found ? found->value : 0;

        g_type_class_unref(class);
        return value;
}

const char *gl_word_of_value(GType type, int value) {
        GEnumClass *class = g_type_class_ref(type);
        const GEnumValue *found = g_enum_get_value(class, value);
        const char *word = found ? found->value_nick : "unknown";

        /* The nick is static. */
        g_type_class_unref(class);
        return word;
}
