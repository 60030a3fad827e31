#!/usr/bin/env bash
# Sees to it that docker runs privileged containers, and that what the other scripts call is there.
# Where this is Debian and we are root it installs and starts what is missing, else it says what to do.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
say() { echo "$*" >&2; exit 1; }

missing=()
for pair in dockerd:docker.io docker:docker.io mmdebstrap:mmdebstrap jq:jq gcc:gcc ip:iproute2 curl:curl; do
  command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
done
docker version >/dev/null 2>&1 && missing=("${missing[@]/docker.io/}")
read -ra missing <<<"${missing[*]-}"
if ((${#missing[@]})); then
  [[ $EUID == 0 && -f /etc/debian_version ]] || say "install first: ${missing[*]}"
  echo "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq update
  apt-get -qq install --yes --no-install-recommends "${missing[@]}" >/dev/null
fi
command -v go >/dev/null || say "install Go 1.25 or later: the cluster's programs are built from their sources"

if ! docker version --format '{{.Server.Version}}' >/dev/null 2>&1; then
  [[ $EUID == 0 ]] || say "no docker daemon answers: start one"
  "$here/start.sh"
fi
# Each node takes some 20 of the kernel's 128 inotify instances; a kubelet that gets none does not start ("too many open files").
instances=/proc/sys/fs/inotify/max_user_instances
[[ ! -r $instances ]] || (($(<"$instances") >= 128 * 2)) ||
  echo "more than one cluster at a time needs: sysctl fs.inotify.max_user_instances=512" >&2
[[ $((0x$(sed -n 's/^CapBnd:[[:space:]]*//p' /proc/self/status) >> 24 & 1)) == 1 ]] && exit
[[ $(docker info -f '{{.DefaultRuntime}}') == bounded || $(readlink -f /usr/local/sbin/runc || :) == "$here/runc-bounded" ]] || {
  echo "this machine keeps CAP_SYS_RESOURCE back, so docker --privileged fails: start the daemon" >&2
  echo "with $here/start.sh, or: ln -s $here/runc-bounded /usr/local/sbin/runc" >&2; exit 1; }
