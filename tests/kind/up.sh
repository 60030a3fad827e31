#!/usr/bin/env bash
# Brings the cluster of ../../kind-config.yaml up; installs and builds what is missing first.
# Afterwards: export KUBECONFIG=<this folder>/kubeconfig PATH=<this folder>/bin:$PATH; of a cluster of another name, kubeconfig-NAME
set -euo pipefail
cd "$(dirname "$0")"
. ./cache.sh
./build.sh
image=kindest/node:$(kubeadm version -o short)-local

t0=$SECONDS
# Not by a pipe: grep ends at the first match, and kind, which goes on writing, would make the pipe fail.
exists() { grep -qx "$cluster" <<<"$(kind get clusters 2>/dev/null)"; }
if exists; then
  kind export kubeconfig --name "$cluster" >/dev/null 2>&1 || :
  if timeout 10 kubectl get --raw /readyz >/dev/null 2>&1; then
    echo "cluster $cluster is up already"
  else
    echo "cluster $cluster does not answer: made again"
    kind delete cluster --name "$cluster" >/dev/null 2>&1
  fi
fi
if ! exists; then
  sed "s#podSubnet:.*#podSubnet: $pods#" ../../kind-config.yaml |
    kind create cluster --name "$cluster" --config - --image "$image" --wait 3m
fi
# A node may join later than kind says that it is done.
for node in $(kind get nodes --name "$cluster"); do
  kubectl wait node "$node" --for=create --timeout=180s >/dev/null
done
kubectl wait node --all --for=condition=Ready --timeout=120s >/dev/null
# Names outside the cluster do not exist here: answer at once instead of asking around.
corefile=$(kubectl -n kube-system get configmap coredns -o yaml)
if grep -q 'forward \.' <<<"$corefile"; then
  sed '/forward \./,/}/d' <<<"$corefile" | kubectl apply -f - >/dev/null 2>&1
  kubectl -n kube-system rollout restart deployment coredns >/dev/null
fi
kubectl -n kube-system rollout status deployment coredns --timeout=120s >/dev/null
kubectl -n local-path-storage rollout status deployment local-path --timeout=120s >/dev/null
echo "cluster $cluster is ready after $((SECONDS - t0)) s"
