/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

/*
 * D-Bus messages out of text, a line for each argument, so that corpora can be read and mutants are mostly messages
 * that a bus would deliver (dbus-daemon checks every message, so that nothing else reaches the service; bytes on a
 * socket would have fuzzed sd-bus's header parser instead of us):
 *
 *     sTEXT uN tN iN nN qN xN yN bN dN oPATH gSIGNATURE hN    a value; hN one of a few descriptors
 *     v…                        a variant of the value that follows it
 *     [  kKEY=VALUE …  ]        a{sv}
 *     <  ( … )  …  >            a(sssa{sv})
 *
 * What is not closed is closed at the end.
 */

/* A sealed method call with these arguments; NULL when the lines make none. */
sd_bus_message *fuzz_message(sd_bus *bus, const char *text);
/* A connection that messages can be made for; nothing is sent on it. */
sd_bus *fuzz_message_bus(void);
