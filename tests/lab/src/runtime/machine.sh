#!/usr/bin/env bash
# Becomes the first process of a machine: to be started in new mount and PID namespaces, in the node's network namespace.
# $1: a name that no other machine has; $2: the lab's root. Says "ready PID" once all is in place, with its PID outside.
set -euo pipefail
name=$1 root=$2
# Not yet that of the new PID namespace.
read -r outside _ </proc/self/stat

# Place, type and options of each cgroup hierarchy: one with version 2, one for each controller with version 1.
hierarchies=()
while read -r _ place type options _; do
    [[ $type != cgroup && $type != cgroup2 ]] || hierarchies+=("$place $type $options")
done </proc/self/mounts

# Version 1 lets no process into a group without these.
share_cpus() {
    local file
    for file in cpuset.cpus cpuset.mems; do
        [[ ! -e $1/$file || ! -e $2/$file ]] || cat "$1/$file" >"$2/$file"
    done
}

# A group for this machine in each hierarchy, to be the root of the cgroups seen here.
for hierarchy in "${hierarchies[@]}"; do
    read -r place _ <<<"$hierarchy"
    mkdir "$place/$name"
    share_cpus "$place" "$place/$name" 2>/dev/null || true
done
for hierarchy in "${hierarchies[@]}"; do
    read -r place _ <<<"$hierarchy"
    echo 0 >"$place/$name/cgroup.procs"
done

mount -t proc proc /proc
for folder in /run /opt; do mount -t tmpfs -o mode=0755 tmpfs "$folder"; done
# What is written to /var/lib, such as results that libcni caches, is for this machine alone.
mkdir -p /run/lock /run/lab/upper /run/lab/work /opt/cni/bin
mount -t overlay -o lowerdir=/var/lib,upperdir=/run/lab/upper,workdir=/run/lab/work overlay /var/lib
# The lab's tree is in place without CHAINKIT_ROOT, too: not every process of a runtime hands its environment on.
for folder in etc/cni/net.d opt/cni/bin sys/fs/bpf run/chainkit var/lib/chainkit var/lib/cni; do
    [[ -d $root/$folder ]] || (umask 077 && mkdir -p "$root/$folder")
    [[ $folder == etc/* || -d /$folder ]] || mkdir -p "/$folder"
    [[ -d /$folder ]] || { echo "/$folder is not there: install podman" && exit 1; }
    mount --bind "$root/$folder" "/$folder"
done

# In the new cgroup namespace: mounts each hierarchy again, and goes into a group of its own, since with version 2 no group with
# children that are limited may hold processes.
inside() {
    local hierarchy place type options
    for hierarchy in "$@"; do
        read -r place type options <<<"$hierarchy"
        umount "$place"
        mount -t "$type" -o "${options//,release_agent=*([^,])/}" "$type" "$place"
        mkdir "$place/machine"
        share_cpus "$place" "$place/machine" 2>/dev/null || true
        echo 1 >"$place/machine/cgroup.procs"
    done
}
shopt -s extglob
export -f share_cpus inside
# shellcheck disable=SC2016 # expanded in there
exec unshare --cgroup -- bash -O extglob -euc 'inside "${@:2}"; echo "ready $1"; exec sleep infinity' machine \
    "$outside" "${hierarchies[@]}"
