/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <systemd/sd-bus.h>

/* What `guestlockd --check` looks at: whether this installation can keep the service's promise. */
typedef struct {
        const char *configuration; /* (nullable) as for gl_configuration_load() */
        const char *runtime_dir;
        const char *state_dir;
        /* Where the files that the service comes with were installed. */
        const char *bus_policy;
        const char *bus_activation;
        const char *polkit_actions;
        const char *driver_dir;
        const char *keeper;        /* the program */
        const char *keeper_socket;
        const char *supervisor;    /* likewise */
        const char *sysroot; /* (nullable) where /proc is looked for: "/" */
        guint32 pid;         /* whose view of the files and whose limits: the running service's; 0: our own */
        sd_bus *bus;         /* (nullable) the system bus, to ask for polkit */
} GlCheckOptions;

/*
 * Appends a line to REPORT for each thing that was looked at: "ok: …", "warning: …" or "problem: …", the latter two
 * with what to do about it. Changes nothing. The system calls are tried by this process, so that a filter on them is
 * found only by a check that runs under it. Returns the number of problems.
 */
guint gl_check_installation(const GlCheckOptions *options, GString *report);
