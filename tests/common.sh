# shellcheck shell=bash
# What tests/demo, tests/run and tests/kernel-6.1 share; to be sourced.
#
# Cargo must run as the user whose home and checkout it writes to. Under sudo that is not the user of this script: the
# *builder* is $SUDO_USER where there is one, and whoever runs the script otherwise.

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Administrators' programs (ip, tc, setpriv's friends) are not in every user's PATH.
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

is_root() { ((EUID == 0)); }

# Sets builder, builder_home and cargo_bin (the folder that cargo is in), and exports CARGO_TARGET_DIR.
find_builder() {
    if is_root && [[ -n ${SUDO_USER:-} && ${SUDO_USER} != root ]]; then
        builder=$SUDO_USER
    else
        builder=$(id -un)
    fi
    builder_home=$(getent passwd "$builder" | cut -d: -f6)
    [[ -n $builder_home ]] || die "user $builder is not in the password database: run this as a user who is"
    local folder
    cargo_bin=
    for folder in ${CARGO_HOME:+"$CARGO_HOME/bin"} "$builder_home/.cargo/bin"; do
        if [[ -x $folder/cargo ]]; then
            cargo_bin=$folder
            break
        fi
    done
    if [[ -z $cargo_bin ]] && command -v cargo >/dev/null; then
        cargo_bin=$(dirname "$(command -v cargo)")
    fi
    [[ -n $cargo_bin ]] ||
        die "no cargo in $builder_home/.cargo/bin nor in PATH: install Rust by rustup as $builder"
    export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$repo/target}"
    if [[ -e $CARGO_TARGET_DIR ]] && ! as_builder test -w "$CARGO_TARGET_DIR"; then
        die "$builder may not write to $CARGO_TARGET_DIR, left there by another user: chown -R $builder '$CARGO_TARGET_DIR'"
    fi
}

# Runs a program as the builder, with the builder's own home, in the environment that there is otherwise.
as_builder() {
    local environment=(HOME="$builder_home" USER="$builder" LOGNAME="$builder" PATH="$cargo_bin:$PATH")
    if [[ $builder == "$(id -un)" ]]; then
        env "${environment[@]}" "$@"
    else
        setpriv --reuid="$builder" --regid="$(id -g "$builder")" --init-groups -- env "${environment[@]}" "$@"
    fi
}

# Hands the builder what a root program left in the checkout, such as the record of a random case that failed.
give_back() {
    [[ $builder != "$(id -un)" ]] || return 0
    local folder
    for folder in "$repo" "$CARGO_TARGET_DIR"; do
        [[ ! -e $folder ]] || find "$folder" -user root -exec chown --no-dereference "$builder:" {} +
    done
}

# Installs those of the named Debian packages that are missing, and starts none of their services. Fails, naming them, where it cannot.
install_packages() {
    local package missing=()
    command -v dpkg-query >/dev/null || die "this is no Debian: install what Debian calls $*"
    for package in "$@"; do
        [[ $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) == 'install ok installed' ]] || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    is_root || die "these Debian packages are missing: run this as root, or: sudo apt-get install ${missing[*]}"
    echo "installing the Debian packages ${missing[*]}"
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -qq -y)
    "${apt[@]}" update </dev/null
    # A container runtime that starts by itself would bring interfaces and rules of its own to this machine; tests start theirs.
    # In a shell of its own, so that what keeps it from starting goes however that ends.
    (
        policy=/usr/sbin/policy-rc.d
        if [[ ! -e $policy ]]; then
            trap 'rm -f "$policy"' EXIT
            trap 'exit 130' INT
            trap 'exit 143' TERM HUP
            printf '#!/bin/sh\nexit 101\n' >"$policy"
            chmod 755 "$policy"
        fi
        "${apt[@]}" install --no-install-recommends "${missing[@]}" </dev/null >/dev/null
    ) || die "cannot install these Debian packages: ${missing[*]}"
}
