#!/usr/bin/env bash
# Makes dist/: what others need to install this version. `make package` calls it.
#   eventfed-VERSION-py3-none-any.whl   the Python package
#   eventfed-VERSION.tgz                the chart
#   eventfed-VERSION.yaml               the chart as a plain manifest, for kubectl apply -f
#   eventfed-VERSION.cdx.json           what Python packages the image holds (CycloneDX)
#   eventfed-VERSION-image.tar          the image, where docker is: docker load, or a registry's own tool
#   SHA256SUMS
# Environment:
#   IMAGE      repository of the image, without tag (eventfed); the manifest and the image's tag name it
#   BASE       base image (python:3.13-slim), RUNTIME the one that the programs stand on (BASE)
#   PLATFORMS  such as linux/amd64,linux/arm64: one OCI archive for all, by docker buildx
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-.venv/bin/python}
image=${IMAGE:-eventfed}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || echo 315619200)
export SOURCE_DATE_EPOCH
name=eventfed-$version

say() { echo "$*" >&2; }

# Helm makes chart and manifest. The kind suite builds one, and keeps it.
helm=$(command -v helm || echo "${EVENTFED_CACHE:-$HOME/.cache/eventfed}/kind/bin/helm")
if [[ ! -x $helm ]]; then
  command -v go >/dev/null || { say "make package needs helm, or Go to build it"; exit 1; }
  say "building helm"
  tests/kind/build-tools.sh helm >&2
fi

# What an earlier build left, a wheel would hold too: modules that are no more.
rm -rf dist build/lib build/bdist.*
mkdir dist
say "the Python package"
"$python" -m pip --disable-pip-version-check --quiet wheel --no-deps --wheel-dir dist .
say "the chart"
"$helm" package charts/eventfed --destination dist >/dev/null
say "the plain manifest"
"$python" release/manifest.py --helm "$helm" --image "$image" >"dist/$name.yaml"
say "the bill of materials"
"$python" release/sbom.py >"dist/$name.cdx.json"
if docker version >/dev/null 2>&1; then
  say "the image $image:$version"
  arguments=(--build-arg "VERSION=$version" --build-arg "REVISION=$revision" --tag "$image:$version")
  for variable in BASE RUNTIME PIP_INDEX_URL; do
    [[ -z ${!variable:-} ]] || arguments+=(--build-arg "$variable=${!variable}")
  done
  # Such as --network host, where the index is reached by the host's network alone.
  read -r -a more <<<"${DOCKER_BUILD_ARGS:-}"
  if [[ -n ${PLATFORMS:-} ]]; then
    docker buildx build --platform "$PLATFORMS" --output "type=oci,dest=dist/$name-image.tar" "${arguments[@]}" "${more[@]}" . >&2
  else
    docker build --quiet "${arguments[@]}" "${more[@]}" . >&2
    docker save --output "dist/$name-image.tar" "$image:$version"
  fi
else
  say "no docker: dist/ has no image archive; docker build --tag $image:$version . makes the image elsewhere"
fi
(cd dist && sha256sum -- * >SHA256SUMS)
(cd dist && ls -l >&2)
