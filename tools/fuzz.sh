#!/usr/bin/env bash
# fuzz.sh SECONDS [TARGET...]: fuzzes each target of tests/fuzz (all, side by side, when none is named) for SECONDS under
# AddressSanitizer and UndefinedBehaviorSanitizer with clang's libFuzzer, installing it where it is missing. Ends with one line a
# target; what it finds lies in build/fuzz/found/. An input that takes ten minutes is a finding: libFuzzer counts the clock's time,
# and a machine that stands still for one is not unheard of. The seeds of tests/fuzz/<target>/ are read, new ones go to build/fuzz/corpus/<target>/.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
seconds=${1:?usage: tools/fuzz.sh SECONDS [TARGET...], for example: tools/fuzz.sh 3600 tokenizer_encode}
shift
bash tools/install.sh --fuzz || exit 1
targets=("$@")
if [ ${#targets[@]} = 0 ]; then
    for source in tests/fuzz/fuzz_*.c; do
        name=${source##*/fuzz_}
        targets+=("${name%.c}")
    done
fi
cmake --preset fuzz >/dev/null && cmake --build build/fuzz -j "$(nproc)" --target "${targets[@]/#/fuzz_}" >build/fuzz/log || {
    tail -n 40 build/fuzz/log
    exit 1
}
mkdir -p build/fuzz/found
export ASAN_OPTIONS=allocator_may_return_null=1 # files ask for more memory than there is
running=()
for target in "${targets[@]}"; do
    mkdir -p "build/fuzz/corpus/$target"
    find build/fuzz -name "fuzz_$target" -type f -exec {} -max_total_time="$seconds" -rss_limit_mb=4096 -timeout=600 -report_slow_units=60 \
        -artifact_prefix="build/fuzz/found/$target-" -print_final_stats=1 "build/fuzz/corpus/$target" "tests/fuzz/$target" \; \
        >"build/fuzz/$target.log" 2>&1 &
    running+=($!)
done
wait "${running[@]}"
status=0
for target in "${targets[@]}"; do
    found=$(find build/fuzz/found -name "$target-*" ! -name "*-slow-unit-*" | wc -l)
    runs=$(sed -nE 's/^stat::number_of_executed_units: *//p' "build/fuzz/$target.log")
    echo "$target: ${runs:-no} runs in $seconds s, $found findings"
    [ -n "$runs" ] && [ "$found" = 0 ] || status=1
done
exit "$status"
