/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Serves whoever connects to LISTENER, until SIGTERM arrives at SIGNALS (a signalfd) while nothing is kept, or, unless
 * IDLE_MSEC is -1, until nothing was kept or connected for that long. 0 or a negative errno.
 */
int gl_keeper_serve(int listener, int signals, int idle_msec);
