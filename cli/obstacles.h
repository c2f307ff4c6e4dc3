/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdio.h>

#include "cli.h"

/* Who is in the way, of GuestlockObstacle, as a table. */
void gl_print_obstacles(const GlCli *cli, FILE *where, GPtrArray *obstacles);

/* One of them in a few words: guest "web1" (pid 4242, host kvm1). (owned) */
char *gl_text_of_obstacle(GuestlockObstacle *obstacle);
