# Sourced in this folder. bin/ leads to where the programs are kept, so that another clone need not build them again.
mkdir -p "${EVENTFED_CACHE:-$HOME/.cache/eventfed}/kind/bin"
ln -sfn "${EVENTFED_CACHE:-$HOME/.cache/eventfed}/kind/bin" bin
export PATH=$PWD/bin:$PATH
# Another name and another range of pod addresses, for a second cluster beside the first.
cluster=${EVENTFED_KIND_CLUSTER:-$(awk '$1=="name:"{print $2; exit}' ../../kind-config.yaml)}
export KUBECONFIG=$PWD/kubeconfig${EVENTFED_KIND_CLUSTER:+-$EVENTFED_KIND_CLUSTER}
pods=${EVENTFED_KIND_PODS:-$(awk '$1=="podSubnet:"{print $2; exit}' ../../kind-config.yaml)}
