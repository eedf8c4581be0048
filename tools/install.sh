#!/usr/bin/env bash
# install.sh [--test] [--quickstart] [--lint] [--fuzz] [--verbose]: installs what kmask needs and this machine lacks, with apt, asking nothing.
#   (nothing)     what the build needs, and oneDNN, which it can do without
#   --test        and what the tests need; for root also SLURM's daemons, which the tests start
#   --quickstart  and what renders Debian's manual pages, the quickstart's text
#   --lint        and clang, clang-format and clang-tidy
#   --fuzz        and clang with libFuzzer, for tools/fuzz.sh
#   --verbose     shows all that apt-get says; else its last words where it fails
# Where everything is there (also from modules or Spack) it does nothing and needs neither root nor Debian.
set -euo pipefail

missing=()
wanted=()
verbose=false
need() { # need PACKAGE PROBE...: the package counts as missing where its probe fails
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}
want() { # want PACKAGE PROBE...: the same for what the build can do without
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || wanted+=("$package")
}
program() { command -v "$1"; }
library() { pkg-config --exists "$1"; }
sbin() { PATH=$PATH:/usr/sbin:/sbin command -v "$1"; }
pmix_of_slurm() { compgen -G '/usr/lib*/*/slurm*/mpi_pmix*.so' || compgen -G '/usr/lib*/slurm*/mpi_pmix*.so'; }
header() { echo "#include <$1>" | cc -E -x c -; }
compiles() { echo 'int main(void) { return 0; }' | cc -x c -o /dev/null -; }
fuzzes() { echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' | clang -fsanitize=fuzzer,address -x c -o /dev/null -; }

need gcc program cc
need libc6-dev compiles
need cmake program cmake
need make program make
need ninja-build program ninja
need pkg-config program pkg-config
need libopenmpi-dev program mpicc
need openmpi-bin program mpirun
need libopenblas-pthread-dev library openblas # threads of a rank call it at once: not the serial build
need libhdf5-dev program h5cc
need libcjson-dev library libcjson
need libutf8proc-dev library libutf8proc
need libicu-dev library icu-uc
need libpcre2-dev library libpcre2-8
need zlib1g-dev library zlib
need libarchive-dev library libarchive
need libxxhash-dev library libxxhash
need libsodium-dev library libsodium
want libdnnl-dev header dnnl.h # train.precision=bf16
for option; do
    case $option in
        --test)
            need libcmocka-dev library cmocka
            need hdf5-tools program h5dump
            if [ "$(id -u)" = 0 ]; then # pretend hosts and a real SLURM cluster on them, which only root can have
                need iproute2 sbin ip
                need munge sbin munged
                need slurmctld sbin slurmctld
                need slurmd sbin slurmd
                need slurm-client program sbatch
                need slurm-wlm-basic-plugins pmix_of_slurm
            fi
            ;;
        --quickstart) need mandoc program mandoc ;;
        --lint)
            need clang program clang
            need clang-format program clang-format
            need clang-tidy program clang-tidy
            ;;
        --fuzz)
            need clang program clang
            need libclang-rt-dev fuzzes
            ;;
        --verbose) verbose=true ;;
        *)
            echo "install.sh: no option $option; there are --test, --quickstart, --lint, --fuzz and --verbose" >&2
            exit 2
            ;;
    esac
done
[ ${#missing[@]} -gt 0 ] || [ ${#wanted[@]} -gt 0 ] || exit 0

give_up() {
    if [ ${#missing[@]} = 0 ]; then
        echo "install.sh: not here, and done without: ${wanted[*]} (Debian's names)"
        exit 0
    fi
    echo "install.sh: missing here: ${missing[*]} (Debian's names). $1" >&2
    exit 1
}
command -v apt-get >/dev/null ||
    give_up "This machine has no apt-get: load modules or use Spack, as the README shows."
as_root=()
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null && sudo -n true 2>/dev/null ||
        give_up "Neither root nor a sudo that asks for nothing is here: let somebody run 'apt-get install ${missing[*]}', or load modules or use Spack, as the README shows."
    as_root=(sudo -n)
fi

export DEBIAN_FRONTEND=noninteractive
apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -y -q "$@"; }
echo "Installing ${missing[*]} ${wanted[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
told() { if $verbose; then "$@" 2>&1 | tee "$log"; else "$@" >"$log" 2>&1; fi; }
install() { told apt install --no-install-recommends "$@"; }
# The package lists may be missing or old; what can be done without may not exist in this distribution.
install "${missing[@]}" "${wanted[@]}" || { told apt update && install "${missing[@]}" "${wanted[@]}"; } ||
    { [ ${#missing[@]} -gt 0 ] && install "${missing[@]}"; } || {
    tail -n 20 "$log" >&2
    give_up "apt-get could not install them; its last words are above."
}
