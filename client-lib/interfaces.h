/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <gio/gio.h>

/* What a method answers with, from introspection/, which GDBus holds the reply to; NULL where that is not known. */
GVariantType *gl_interfaces_reply_type(const char *interface, const char *method);
