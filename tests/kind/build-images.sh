#!/usr/bin/env bash
# Makes the images eventfed:VERSION and eventfed-asterisk:22 from Debian packages and Python wheels; nothing is pulled.
#   tests/kind/build-images.sh [--load]      --load puts them into the cluster of kind-config.yaml
# Needs: docker, mmdebstrap, root, and a Python 3.11 or 3.13, Debian's own versions: the wheels are made for it.
set -euo pipefail
cd "$(dirname "$0")"
. ./cache.sh
cd ../..
export DOCKER_BUILDKIT=0
# Another checkout that builds the same tag waits until this one has loaded its own.
exec 9>"${EVENTFED_CACHE:-$HOME/.cache/eventfed}/kind/images.lock"; flock 9
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
context=build/image
slim=(--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*')

python=$(python3 -c 'import sys; print("{}.{}".format(*sys.version_info))')
case $python in
  3.11) release=bookworm ;;
  3.13) release=trixie ;;
  *) echo "python3 is $python: Debian has 3.11 (bookworm) and 3.13 (trixie), put one of these first in PATH" >&2; exit 1 ;;
esac
base=eventfed-base:$release
if ! docker image inspect "$base" >/dev/null 2>&1; then
  mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,ca-certificates "${slim[@]}" "$release" | docker import - "$base" >/dev/null
fi
# What the image stands on: Python, a shell and the certificates of authorities, without what would only install more.
runtime=eventfed-runtime:$release
if ! docker image inspect "$runtime" >/dev/null 2>&1; then
  root=$(mktemp -d)
  mmdebstrap --quiet --variant=extract --include=python3,ca-certificates,base-files,dash,netbase \
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr "$release" "$root"
  tests/kind/runtime-image.sh "$root"
  tar --create --numeric-owner --directory "$root" . | docker import - "$runtime" >/dev/null
  rm -rf "$root"
fi
# Wheels of the pinned packages are kept: only another constraints.txt, or another Python, asks for them again.
kept=$(cat pyproject.toml constraints.txt <(echo "$python") | sha256sum | cut -c1-16)
wheelhouse=${EVENTFED_CACHE:-$HOME/.cache/eventfed}/kind/wheels-$kept
pip=(python3 -m pip --disable-pip-version-check --quiet)
if [[ ! -d $wheelhouse ]]; then
  rm -rf "$wheelhouse.new"; mkdir -p "$wheelhouse.new"
  "${pip[@]}" wheel --constraint constraints.txt --wheel-dir "$wheelhouse.new" '.[operator,nats]'
  rm -f "$wheelhouse.new"/eventfed-*.whl
  mv "$wheelhouse.new" "$wheelhouse"
fi
# What an earlier build left in build/lib, a wheel would hold too: modules that are no more.
rm -rf "$context" build/lib build/bdist.*; mkdir -p "$context/own"
cp -r "$wheelhouse" "$context/wheels"
# The same sources make the same image, which need not be loaded again.
SOURCE_DATE_EPOCH=315619200 "${pip[@]}" wheel --no-deps --wheel-dir "$context/own" .
cp Dockerfile constraints.txt pyproject.toml "$context/"
docker build --quiet --build-arg BASE="$base" --build-arg RUNTIME="$runtime" --build-arg VERSION="$version" --tag "eventfed:$version" "$context" >/dev/null
echo "eventfed:$version $(docker image inspect -f '{{.Size}}' "eventfed:$version" | numfmt --to=iec)"

# The example's phones: the same image, and the lab.
lab=eventfed-lab:$version
rm -rf "$context/lab"; mkdir -p "$context/lab"
git ls-files -z --cached --others --exclude-standard lab 2>/dev/null | xargs -0 cp --parents -t "$context" || cp -r lab "$context/"
docker build --quiet --build-arg IMAGE="eventfed:$version" --tag "$lab" --file "$context/lab/Dockerfile" "$context" >/dev/null
echo "$lab"

asterisk=eventfed-asterisk:22
if ! docker image inspect "$asterisk" >/dev/null 2>&1; then
  mmdebstrap --quiet --variant=minbase --include=asterisk,asterisk-modules,asterisk-config,asterisk-core-sounds-en-gsm,netbase \
    --aptopt='Acquire::Check-Valid-Until "false"' "${slim[@]}" sid | docker import - "$asterisk" >/dev/null
fi
echo "$asterisk $(docker image inspect -f '{{.Size}}' "$asterisk" | numfmt --to=iec)"

[[ ${1-} == --load ]] || exit 0
for image in "eventfed:$version" "$lab" "$asterisk"; do
  loaded=/var/lib/loaded-$(docker image inspect -f '{{.Id}}' "$image" | cut -c8-23)
  nodes=()
  for node in $(kind get nodes --name "$cluster"); do
    docker exec "$node" test -e "$loaded" || nodes+=("$node")
  done
  ((${#nodes[@]})) || continue
  kind load docker-image "$image" --name "$cluster" --nodes "$(IFS=,; echo "${nodes[*]}")" 2>&1 | sed 's/ with ID.*//'
  for node in "${nodes[@]}"; do docker exec "$node" touch "$loaded"; done
done
