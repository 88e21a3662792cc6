#!/bin/sh
# SPDX-License-Identifier: MIT
# Verifies each model as the ring does it, and once for each thing left out, which must go wrong:
# a model that still holds then proves nothing. Prints TAP. Needs spin and a C compiler.
set -u

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT INT TERM
number=0
failures=0

# verify MODEL [-DNAME]: 0 holds, 1 goes wrong, 2 could not be told
verify()
{
	rm -rf "$work/run"
	mkdir "$work/run" && cd "$work/run" || return 2
	cp "$here"/*.pml "$here"/tso.h . || return 2
	spin -a ${2:+"$2"} "$1.pml" >log 2>&1 || return 2
	${CC:-cc} -O1 -DSAFETY -DMEMLIM=256 -w -o pan pan.c >>log 2>&1 || return 2
	timeout 120 ./pan -m20000 -w18 >pan.log 2>&1
	cat pan.log >>log
	if grep -q '^pan:1: \(invalid end state\|assertion violated\)' pan.log; then
		return 1
	fi
	grep -q 'max search depth too small\|Search not completed' pan.log && return 2
	grep -q 'errors: 0$' pan.log || return 2
}

# check WANTED NAME MODEL [-DNAME]
check()
{
	wanted=$1
	name=$2
	shift 2
	number=$((number + 1))
	verify "$@"
	got=$?
	if [ "$got" -eq "$wanted" ]; then
		echo "ok $number - $name"
		return
	fi
	failures=$((failures + 1))
	echo "not ok $number - $name"
	sed 's/^/# /' "$work/run/log"
}

if ! command -v spin >/dev/null; then
	echo 'Bail out! spin is not installed'
	exit 1
fi

echo '1..15'
check 0 ring_043_044_unmask_recheck_loses_no_packet nonempty
check 1 ring_044_model_fails_without_the_readers_fence nonempty -DNO_READERS_FENCE
check 1 ring_044_model_fails_without_the_writers_fence nonempty -DNO_WRITERS_FENCE
check 1 ring_043_model_fails_without_the_second_look nonempty -DNO_RECHECK
check 1 ring_043_model_fails_if_the_event_is_reset_late nonempty -DRESET_EVENT_LATE
check 0 ring_052_053_blocked_writer_misses_no_room room
check 1 ring_052_model_fails_without_the_writers_fence room -DNO_WRITERS_FENCE
check 1 ring_052_model_fails_without_the_readers_fence room -DNO_READERS_FENCE
check 1 ring_053_model_fails_without_the_second_look room -DNO_RECHECK
check 0 ring_058_full_in_both_directions_goes_on both
check 1 ring_058_model_fails_without_the_publish_fence both -DNO_PUBLISH_FENCE
check 1 ring_058_model_fails_without_the_unmask_fence both -DNO_UNMASK_FENCE
check 1 ring_058_model_fails_without_the_release_fence both -DNO_RELEASE_FENCE
check 1 ring_058_model_fails_without_the_block_fence both -DNO_BLOCK_FENCE
check 1 ring_056_model_fails_if_a_signal_is_held_back both -DHOLD_SIGNALS
[ "$failures" -eq 0 ]
