#!/usr/bin/env bash
# Removes the cluster, its containers and volumes; keeps programs and images.
set -euo pipefail
cd "$(dirname "$0")"
export PATH=$PWD/bin:$PATH KUBECONFIG=$PWD/kubeconfig
kind delete cluster --name "$(awk '$1=="name:"{print $2; exit}' ../../kind-config.yaml)"
rm -f kubeconfig
