# shellcheck shell=bash disable=SC2034
# What `run`, `node` and `machine` share: addresses, processes, certificates. They are started by `run` with CREMA_KUBE, the
# folder of this run, and KUBE_BIN, the folder of Kubernetes's programs.
#
#   10.99.0.0/24   machines: the control plane is .1, node N is .(10+N)
#   10.98.N.0/24   pods of node N
#   10.97.0.0/24   services; .1 is the API server, .10 the DNS

CONTROL_IP=10.99.0.1
API=https://$CONTROL_IP:6443
DNS_IP=10.97.0.10
SERVICES=10.97.0.0/24
PODS=10.98.0.0/16
PKI=$CREMA_KUBE/pki
LOGS=$CREMA_KUBE/logs

node_ip() { echo "10.99.0.$((10 + $1))"; }
pod_range() { echo "10.98.$1.0/24"; }

# start NAME COMMAND...: a daemon with a log of its own, in a group of its own, so that a signal to ours leaves it alone.
start() {
  local name=$1
  shift
  setsid "$@" >"$LOGS/$name.log" 2>&1 </dev/null &
  echo $! >"$CREMA_KUBE/pids/$name"
}

# wait_for SECONDS WHAT COMMAND...: until the command succeeds.
wait_for() {
  local until=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    if ((SECONDS >= until)); then
      echo "no $what in time; logs: $LOGS" >&2
      return 1
    fi
    sleep 0.2
  done
}

# certificate NAME SUBJECT [NAMES]: for both ends of a connection.
certificate() {
  local key=$PKI/$1.key extensions='extendedKeyUsage=serverAuth,clientAuth
keyUsage=digitalSignature'
  [[ -z ${3:-} ]] || extensions+=$'\n'subjectAltName=$3
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$key" -subj "$2" 2>/dev/null |
    openssl x509 -req -CA "$PKI/ca.crt" -CAkey "$PKI/ca.key" -set_serial "0x$(openssl rand -hex 8)" -days 30 \
      -extfile <(echo "$extensions") -out "$PKI/$1.crt" 2>/dev/null
}

# kubeconfig NAME: what the owner of that certificate connects with.
kubeconfig() {
  cat >"$CREMA_KUBE/$1.kubeconfig" <<EOF
apiVersion: v1
kind: Config
clusters: [{name: kube, cluster: {server: "$API", certificate-authority: $PKI/ca.crt}}]
users: [{name: $1, user: {client-certificate: $PKI/$1.crt, client-key: $PKI/$1.key}}]
contexts: [{name: kube, context: {cluster: kube, user: $1}}]
current-context: kube
EOF
}
