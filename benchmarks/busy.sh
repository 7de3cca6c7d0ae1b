#!/usr/bin/env bash
# A command several times beside two busy processes: `benchmarks/busy.sh TIMES COMMAND...`
# Says how many times it was green; the status is 0 where it always was.
set -uo pipefail
times=$1; shift
busy=()
trap 'kill "${busy[@]}" 2>/dev/null' EXIT
for _ in 1 2; do
    (while :; do :; done) &
    busy+=($!)
done
green=0
for ((k = 1; k <= times; k++)); do
    started=$SECONDS
    if "$@"; then green=$((green + 1)); result=green; else result=RED; fi
    echo "run $k of $times: $result, $((SECONDS - started)) s"
done
echo "green $green of $times"
[[ $green == "$times" ]]
