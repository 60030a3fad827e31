#!/usr/bin/env bash
# Checks a running cluster from end to end; prints one line per check.
set -uo pipefail
cd "$(dirname "$0")"
. ./cache.sh
k() { kubectl -n verify "$@"; }
pass=0 fail=0
check() { # TITLE PATTERN COMMAND... : passes if the command's output matches
  local title=$1 pattern=$2 out; shift 2
  out=$("$@" 2>&1)
  if grep -Eq -- "$pattern" <<<"$out"; then pass=$((pass + 1)); printf 'ok    %-44s %s\n' "$title" "$(head -1 <<<"$out" | cut -c1-80)"
  else fail=$((fail + 1)); printf 'FAIL  %-44s %s\n' "$title" "$out"; fi
}

(cd verify/hello && CGO_ENABLED=0 go build -trimpath -o ../../build/hello .)
tar -C build --transform 's,^,bin/,' -cf - hello | docker import --change 'ENTRYPOINT ["/bin/hello"]' - verify/hello:1 >/dev/null
t0=$SECONDS; kind load docker-image verify/hello:1 --name "$cluster" >/dev/null 2>&1
check "kind load docker-image ($((SECONDS - t0)) s)" verify/hello docker exec "$cluster-worker" ctr -n k8s.io images ls -q
kubectl apply -f verify/app.yaml >/dev/null
check "deployment"  'successfully rolled out' k rollout status deploy/hello --timeout=90s
check "one pod on each worker" '^2$' bash -c "kubectl -n verify get pods -l app=hello -o jsonpath='{range .items[*]}{.spec.nodeName}{\"\n\"}{end}' | sort -u | wc -l"
check "daemonset" 'successfully rolled out' k rollout status ds/every --timeout=60s
check "daemonset on every node" '^3 3$' k get ds every -o 'jsonpath={.status.desiredNumberScheduled} {.status.numberReady}'
client() { k get pods -l app=every -o "jsonpath={.items[?(@.spec.nodeName==\"$cluster-control-plane\")].metadata.name}"; }
check "Service by DNS name from the third node" '^http hello-' k exec "$(client)" -- timeout 5 wget -qO- http://hello.verify.svc.cluster.local
check "short name, search domains" '^http hello-' k exec "$(client)" -- timeout 5 wget -qO- http://hello
check "DNS answer is the Service's address" "$(k get svc hello -o 'jsonpath={.spec.clusterIP}')" k exec "$(client)" -- nslookup hello.verify.svc.cluster.local
ip=$(k get pods -l app=every -o "jsonpath={.items[?(@.spec.nodeName==\"$cluster-control-plane\")].status.podIP}")
check "source address kept between nodes" " $ip:" k exec "$(client)" -- timeout 5 wget -qO- http://hello
pods=($(k get pods -l app=hello -o 'jsonpath={.items[*].metadata.name}'))
check "UDP through the Service" '^udp hello-' k exec "${pods[0]}" -- /bin/hello udp hello:81
check "kubectl logs" 'hello listens' k logs "${pods[0]}"
kubectl -n verify port-forward svc/hello 18080:80 >/dev/null 2>&1 & pf=$! # not k: kill must reach kubectl
sleep 2; check "kubectl port-forward" '^http hello-' curl -sS -m 5 http://127.0.0.1:18080/; kill $pf 2>/dev/null; wait $pf 2>/dev/null
check "memory limit kills" OOMKilled bash -c 'for i in $(seq 30); do r=$(kubectl -n verify get pod greedy -o "jsonpath={.status.containerStatuses[0].state.terminated.reason}"); [ -n "$r" ] && break; sleep 1; done; echo $r'
check "statefulset with volume" 'complete|rolling update|roll out' k rollout status sts/db --timeout=90s
t0=$SECONDS; k scale sts/db --replicas=3 >/dev/null
check "statefulset 1 -> 3" 'condition met' k wait --for=jsonpath='{.status.readyReplicas}'=3 sts/db --timeout=90s; echo "      took $((SECONDS - t0)) s"
check "stable pod name in DNS" 'Address' k exec "$(client)" -- nslookup db-2.db.verify.svc.cluster.local
t0=$SECONDS; k scale sts/db --replicas=1 >/dev/null
check "statefulset 3 -> 1" 'condition met' k wait --for=delete pod/db-1 pod/db-2 --timeout=60s; echo "      took $((SECONDS - t0)) s"
k delete pod db-0 --wait >/dev/null; k wait --for=condition=Ready pod/db-0 --timeout=60s >/dev/null
check "volume outlives its pod" '^2$' k exec db-0 -- sh -c 'wc -l </data/starts'
t0=$SECONDS; k scale deploy/hello --replicas=20 >/dev/null 2>&1
k patch deploy hello --type=json -p '[{"op":"remove","path":"/spec/template/spec/topologySpreadConstraints"}]' >/dev/null
check "deployment 2 -> 20" 'successfully rolled out' k rollout status deploy/hello --timeout=120s; echo "      took $((SECONDS - t0)) s"
t0=$SECONDS; kubectl delete ns verify --timeout=120s >/dev/null
check "namespace gone" 'NotFound' kubectl get ns verify; echo "      took $((SECONDS - t0)) s"
echo "$pass passed, $fail failed"
((fail == 0))
