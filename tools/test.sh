#!/usr/bin/env bash
# test.sh [--quick]: installs what is missing, builds and runs every test; ends with "N passed, N failed".
#   --quick  the release build's tests only: no sanitizers, no clang, no clang-format, no clang-tidy
# CI=true (set by continuous integration) also installs clang, clang-format and clang-tidy and makes warnings errors.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

quick=false
case ${1:-} in
    '') ;;
    --quick) quick=true ;;
    *)
        echo "test.sh: no option $1; there is --quick" >&2
        exit 2
        ;;
esac
ci=false
[ "${CI:-}" = true ] && ci=true
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_hwloc_base_binding_policy=none
cores=$(nproc)
passed=0
failed=0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

step() { printf '\n== %s\n' "$*"; }
count() { # count DESCRIPTION STATUS
    if [ "$2" = 0 ]; then passed=$((passed + 1)); else
        failed=$((failed + 1))
        echo "FAILED: $1"
    fi
}
finish() {
    printf '\n%d passed, %d failed\n' "$passed" "$failed"
    [ "$failed" = 0 ]
    exit
}

build() { # build PRESET
    local options=()
    # A folder keeps the generator it was made with.
    command -v ninja >/dev/null && [ ! -e "build/$1/CMakeCache.txt" ] && options=(-G Ninja)
    cmake --preset "$1" "${options[@]}" -DKMASK_WERROR="${KMASK_WERROR:-$($ci && echo ON || echo OFF)}" \
        >"$scratch/configure" 2>&1 || { cat "$scratch/configure"; return 1; }
    cmake --build "build/$1" -j "$cores" >"$scratch/build" 2>&1 || { tail -n 60 "$scratch/build"; return 1; }
    grep -E 'warning:' "$scratch/build" | sort -u
    return 0
}

run() { # run PRESET CTEST-OPTIONS...: adds to the counts
    local preset=$1 line
    shift
    ctest --test-dir "build/$preset" --output-on-failure --no-tests=error "$@" 2>&1 | tee "$scratch/ctest"
    line=$(grep -oE '[0-9]+ tests failed out of [0-9]+' "$scratch/ctest" | tail -n 1)
    if [ -z "$line" ]; then
        count "ctest in build/$preset" 1
        return
    fi
    local bad all
    bad=${line%% *}
    all=${line##* }
    passed=$((passed + all - bad))
    failed=$((failed + bad))
}

step "Installing what is missing"
needs=(--test)
$ci && needs+=(--lint)
bash tools/install.sh "${needs[@]}" || {
    count "tools/install.sh" 1
    finish
}

step "Release build"
build release
status=$?
count "release build" $status
[ $status = 0 ] || finish
step "Tests"
run release -j "$cores"
$quick && finish

step "Build with AddressSanitizer and UndefinedBehaviorSanitizer"
build asan
status=$?
count "asan build" $status
if [ $status = 0 ]; then
    step "Programs' tests and fuzz targets' seeds with sanitizers"
    export LSAN_OPTIONS=suppressions=$PWD/tests/lsan.supp:print_suppressions=0
    export ASAN_OPTIONS=allocator_may_return_null=1 # tests ask for more memory than there is
    run asan -j "$cores" -R '/test_|^fuzz/' -E '/test_corpus'
    # MPI unloads its modules before leaks are looked for: they could neither be named nor suppressed.
    ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0 run asan -j "$cores" -R '/mpi_.*@2$|/test_corpus|/run_(ten_steps|damage)$'
fi

step "Build with ThreadSanitizer"
build tsan
status=$?
count "tsan build" $status
if [ $status = 0 ]; then
    step "Tests with threads, with ThreadSanitizer"
    export TSAN_OPTIONS=suppressions=$PWD/tests/tsan.supp:print_suppressions=0
    run tsan -j "$cores" -R '^(base/test_(base|log)|data/test_reader|comm/(mpi_.*@2|test_.*)|run/(test_(run|deadline)|mpi_.*@2|run_ten_steps)|train/mpi_.*@2)$'
fi

if command -v clang >/dev/null; then
    step "Build with clang"
    build clang
    status=$?
    count "clang build" $status
    if [ $status = 0 ]; then
        step "Programs' tests, built with clang"
        run clang -j "$cores" -R '/test_|/mpi_.*@2$|/run_ten_steps$'
    fi
fi

if command -v clang-format >/dev/null; then
    step "clang-format"
    find src include tests -name '*.[ch]' -print0 | xargs -0 clang-format --dry-run -Werror 2>"$scratch/format"
    status=$?
    sed -nE 's/^([^: ]+):.*clang-format-violations.*/clang-format -i \1/p' "$scratch/format" | sort -u
    count "clang-format" $status
fi
if command -v clang-tidy >/dev/null; then
    step "clang-tidy"
    find src -name '*.c' -print0 |
        xargs -0 -n 4 -P "$cores" clang-tidy --quiet -p build/release >"$scratch/tidy" 2>/dev/null
    status=$?
    cat "$scratch/tidy"
    count "clang-tidy" $status
fi
finish
