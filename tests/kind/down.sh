#!/usr/bin/env bash
# Removes the cluster, its containers and volumes; keeps programs and images.
set -euo pipefail
cd "$(dirname "$0")"
. ./cache.sh
kind delete cluster --name "$cluster"
rm -f "$KUBECONFIG"
