#!/bin/sh
# SPDX-License-Identifier: MIT
# Measures everything and says which goals are reached.
#   bench/run.sh [--quick] [--exclusive] [--build DIR]
# --quick: few and short rounds, to see that it works; its figures mean little.
# --exclusive: real-time priority, so that other work on the machine waits meanwhile (needs root).
set -eu
cd "$(dirname "$0")/.." || exit 2

build=build
rounds=''
exclusive=''
scale=''
while [ $# -gt 0 ]; do
	case $1 in
	--quick)
		rounds='--rounds 3 --slice-ms 0.5'
		scale='--quick'
		;;
	--exclusive) exclusive='chrt -f 1' ;;
	--build)
		[ $# -gt 1 ] || { echo "bench/run.sh: --build needs a folder" >&2; exit 2; }
		build=$2
		shift
		;;
	*)
		sed -n '4,6s/^# *//p' "$0" >&2
		exit 2
		;;
	esac
	shift
done
for program in ring kmcl user scale; do
	[ ! -x "$build/bench/bench_$program" ] || continue
	echo "bench/run.sh: no bench_$program in $build (build it first, without a sanitizer)" >&2
	exit 2
done
if [ -n "$exclusive" ] && ! $exclusive true 2>/dev/null; then
	echo "bench/run.sh: --exclusive needs the right to real-time priority; run it as root" >&2
	exit 2
fi

out=$build/bench
sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | sort | uniq -c | sed 's/^ */processors: /'
echo "load: $(cut -d' ' -f1-3 /proc/loadavg); what else runs here makes the figures of two threads worse"

# shellcheck disable=SC2086
$exclusive "$out/bench_ring" $rounds --json "$out/ring.json"
# shellcheck disable=SC2086
$exclusive "$out/bench_kmcl" $rounds --json "$out/kmcl.json"
# shellcheck disable=SC2086
$exclusive "$out/bench_user" $rounds --json "$out/user.json"
# shellcheck disable=SC2086
$exclusive "$out/bench_scale" $scale --json "$out/scale.json"

# What a program executes apart from start and end is the difference of two lengths.
executed() {
	valgrind --tool=callgrind --callgrind-out-file=/dev/null \
		"$out/bench_ring" --callgrind "$@" 2>&1 | sed -n 's/^.*Collected : //p'
}

rm -f "$out/instructions.tsv"
if command -v valgrind >/dev/null; then
	printf '\nInstructions of a 64-byte write + read (callgrind)\n%12s %10s %10s\n' '' each 'by 32'
	for candidate in memcpy plain floor ours; do
		for batch in 1 32; do
			short=$(executed $candidate 3200 $batch)
			long=$(executed $candidate 35200 $batch)
			printf '%s\t%s\t%s\n' $candidate $batch $(((long - short + 16000) / 32000)) \
				>>"$out/instructions.tsv"
		done
		awk -F '\t' -v c=$candidate '$1 == c { n[$2] = $3 }
			END { printf "%12s %10d %10d\n", c, n[1], n[32] }' "$out/instructions.tsv"
	done
else
	printf '\nInstructions are not counted: there is no valgrind.\n'
fi

python3 bench/goals.py "$out"
