#!/usr/bin/env bash
# Whatever a cluster needs beside the images of this checkout: docker, programs, the node image. Quick once it is there.
set -euo pipefail
cd "$(dirname "$0")"
. ./cache.sh
./docker/ready.sh
./build-tools.sh k8s kind etcd coredns cni localpath helm
./build-node-image.sh
