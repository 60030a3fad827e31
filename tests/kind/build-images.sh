#!/usr/bin/env bash
# Makes the images eventfed:VERSION and eventfed-asterisk:22 from Debian packages and Python wheels; nothing is pulled.
#   tests/kind/build-images.sh [--load]      --load puts them into the cluster of kind-config.yaml
# Needs: docker, mmdebstrap, root, and a Python 3.11 (bookworm's own version, for which the wheels are made).
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
export DOCKER_BUILDKIT=0 PATH=$root/tests/kind/bin:$PATH
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
cluster=$(awk '$1=="name:"{print $2; exit}' kind-config.yaml)
context=build/image
slim=(--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*')

base=eventfed-base:bookworm
if ! docker image inspect "$base" >/dev/null 2>&1; then
  mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,ca-certificates "${slim[@]}" bookworm | docker import - "$base" >/dev/null
fi
rm -rf "$context"; mkdir -p "$context/wheels"
python3 -m pip --disable-pip-version-check --quiet wheel --constraint constraints.txt --wheel-dir "$context/wheels" '.[operator,demo]'
cp Dockerfile "$context/"
docker build --quiet --build-arg BASE="$base" --tag "eventfed:$version" "$context" >/dev/null
echo "eventfed:$version $(docker image inspect -f '{{.Size}}' "eventfed:$version" | numfmt --to=iec)"

asterisk=eventfed-asterisk:22
if ! docker image inspect "$asterisk" >/dev/null 2>&1; then
  mmdebstrap --quiet --variant=minbase --include=asterisk,asterisk-modules,asterisk-config,asterisk-core-sounds-en-gsm,netbase \
    --aptopt='Acquire::Check-Valid-Until "false"' "${slim[@]}" sid | docker import - "$asterisk" >/dev/null
fi
echo "$asterisk $(docker image inspect -f '{{.Size}}' "$asterisk" | numfmt --to=iec)"

if [[ ${1-} == --load ]]; then
  kind load docker-image "eventfed:$version" "$asterisk" --name "$cluster"
fi
