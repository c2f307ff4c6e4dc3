# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What tools/private-bus and tests/integration/run have in common: namespaces with a system bus
# configuration of their own. Sourced, not run.
#
# One tmpfs over /run/dbus, seen from inside only, holds everything: the bus's socket at its usual
# place, so that a program without our environment finds the private bus too, and below
# /run/dbus/guestlock the configuration, logs and the service's directories. polkitd's directories
# are compiled in, so ours are mounted over them. The bus starts polkitd and the service when they
# are first asked for. Everything goes with the namespaces; nothing of it is ever on a disk.

root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
build=$(realpath -m "${GUESTLOCK_BUILD:-$root/build}")
private=/run/dbus/guestlock

complain() {
        echo "${0##*/}: $*" >&2
}

# What is missing for private surroundings, in words, or nothing. Argument: is polkit wanted?
missing_for_surroundings() {
        if [ "$(id -u)" != 0 ]; then
                echo "this needs root, for namespaces of its own"
        elif ! unshare --mount --pid --fork true 2>/dev/null; then
                echo "this machine does not allow new namespaces"
        elif ! command -v dbus-daemon >/dev/null; then
                echo "dbus-daemon is missing (tools/install-deps installs it)"
        elif [ -n "$1" ] && [ ! -d /usr/share/polkit-1/actions ]; then
                echo "polkit is missing (tools/install-deps installs it)"
        fi
}

# Runs COMMAND as PID 1 of new mount and PID namespaces, and exits with its status. Whatever ends
# this process ends all that runs inside; SIGTERM and SIGHUP leave it a second to tidy up.
enter_namespaces() {
        local signalled=0 status
        # In the background, because a shell serves no trap while it waits for a foreground command.
        # That would have it ignore SIGINT and read from /dev/null.
        env --default-signal=INT,QUIT setpriv --pdeathsig KILL \
                unshare --mount --propagation private --pid --fork --mount-proc --kill-child "$@" <&0 &
        local inside=$!
        trap 'signalled=1' TERM HUP
        trap : INT
        while true; do
                status=0
                { wait "$inside" || status=$?; } 2>/dev/null
                kill -0 "$inside" 2>/dev/null || exit $((signalled ? 143 : status))
                if ((signalled)); then
                        for _ in {1..20}; do kill -0 "$inside" 2>/dev/null && sleep 0.05; done
                        kill -KILL "$inside" 2>/dev/null || :
                fi
        done
}

# To be called inside. Arguments: a directory with polkit rules or "", where the service keeps its
# state and runtime directories or "", and whether there is a polkit.
make_surroundings() {
        local rules=$1 state=$2 polkit=$3
        umask 022
        mkdir -p /run/dbus
        mount -t tmpfs -o mode=755 guestlock /run/dbus
        mkdir -p $private/{actions,drivers,rules,services,policy,tmp}
        if [ -n "$polkit" ]; then
                redirect_polkit "$rules"
        fi
        state=${state:-$private}
        mkdir -p "$state"
        # The machine's own configuration is not ours either.
        [ -e "$state/guestlockd.conf" ] || : >"$state/guestlockd.conf"

        export GUESTLOCK_BUILD=$build PATH=$build/cli:$PATH
        export GUESTLOCK_LOG=${GUESTLOCK_LOG:-$private/log} GUESTLOCK_TMP=$private/tmp
        export GUESTLOCK_RULES=$private/rules GUESTLOCK_CONFIG=$state/guestlockd.conf
        export GUESTLOCK_RUNTIME_DIR=$state/run GUESTLOCK_STATE_DIR=$state/state
        export GUESTLOCK_DRIVER_DIR=$private/drivers GUESTLOCK_KEEPER_SOCKET=$private/keeper.sock
        export DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/dbus/system_bus_socket
        : >>"$GUESTLOCK_LOG"

        cp "$root/policy/org.guestlock1.conf" $private/policy/
        # Drivers have to be root's all the way up, and this tree may be anybody's.
        find "$build/service/drivers" -maxdepth 1 -name '*.so' -exec install -m 644 -t $private/drivers {} +
        describe_service
        describe_bus
}

redirect_polkit() {
        cp /usr/share/polkit-1/actions/org.freedesktop.policykit.policy "$root"/policy/*.policy $private/actions/
        cp /usr/share/polkit-1/rules.d/50-default.rules $private/rules/
        [ -z "$1" ] || find "$1/" -maxdepth 1 -name '*.rules' -exec cp -t $private/rules/ {} +
        # Only polkitd may read the machine's rules; it reads ours as itself. Whoever checked out this tree may
        # have a umask that keeps others from reading it.
        chmod -R u=rwX,go=rX $private/actions $private/rules
        chown -R polkitd $private/rules
        cp /usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service $private/services/
        cp /usr/share/dbus-1/system.d/org.freedesktop.PolicyKit1.conf $private/policy/
        mount --bind $private/actions /usr/share/polkit-1/actions
        mount --bind $private/rules /usr/share/polkit-1/rules.d
        if [ -d /etc/polkit-1/rules.d ]; then
                mount -t tmpfs -o mode=755 guestlock /etc/polkit-1/rules.d
        fi
}

describe_service() {
        cat >$private/services/org.guestlock1.service <<-END
		[D-BUS Service]
		Name=org.guestlock1
		User=root
		Exec=${GUESTLOCKD_WRAPPER:+$GUESTLOCKD_WRAPPER }"$build/service/guestlockd" "--config=$GUESTLOCK_CONFIG" "--runtime-dir=$GUESTLOCK_RUNTIME_DIR" "--state-dir=$GUESTLOCK_STATE_DIR" "--driver-dir=$GUESTLOCK_DRIVER_DIR" "--keeper=$build/keeper/guestlock-keeper" "--keeper-socket=$GUESTLOCK_KEEPER_SOCKET" "--supervisor=$build/supervisor/guestlock-supervisor"
	END
}

# As Debian's own, without the setuid helper (which would look into the machine's directories) and
# without system users.
describe_bus() {
        cat >$private/system.conf <<-END
		<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
		 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
		<busconfig>
		  <type>system</type>
		  <servicedir>$private/services</servicedir>
		  <auth>EXTERNAL</auth>
		  <!-- As on a session's bus: on a busy machine it may take a while to get in, and to start. -->
		  <limit name="auth_timeout">240000</limit>
		  <limit name="service_start_timeout">120000</limit>
		  <listen>$DBUS_SYSTEM_BUS_ADDRESS</listen>
		  <policy context="default">
		    <allow user="*"/>
		    <deny own="*"/>
		    <deny send_type="method_call"/>
		    <allow send_type="signal"/>
		    <allow send_requested_reply="true" send_type="method_return"/>
		    <allow send_requested_reply="true" send_type="error"/>
		    <allow receive_type="method_call"/>
		    <allow receive_type="method_return"/>
		    <allow receive_type="error"/>
		    <allow receive_type="signal"/>
		    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
		    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Introspectable"/>
		    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Properties"/>
		    <deny send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"
		          send_member="UpdateActivationEnvironment"/>
		  </policy>
		  <policy user="root">
		    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Monitoring"/>
		  </policy>
		  <includedir>$private/policy</includedir>
		</busconfig>
	END
}
