#!/usr/bin/env bash
# Prints the secrets that deploy/k8s refers to, freshly made, for a cluster of one's own:
#   deploy/k8s/secrets.sh algotrade | kubectl apply -f -
# Run it once: with new passwords an existing database is not entered, with new keys every token is refused. Elsewhere they
# come from where you keep secrets (External Secrets, Sealed Secrets); nothing of them belongs into a repository.
set -euo pipefail
namespace=${1:-algotrade}
secret() { # name, then key=value…
  printf -- '---\napiVersion: v1\nkind: Secret\nmetadata: { name: %s, namespace: %s }\ndata:\n' "$1" "$namespace"
  shift
  for pair in "$@"; do printf '  %s: %s\n' "${pair%%=*}" "$(printf '%s' "${pair#*=}" | base64 -w0)"; done
}
key() { openssl ecparam -name prime256v1 -genkey -noout; }
database=$(openssl rand -hex 24) redis=$(openssl rand -hex 24)
secret algotrade-database "password=$database" "dsn=postgresql://algotrade:$database@postgres:5432/algotrade"
secret algotrade-redis "password=$redis" "url=redis://:$redis@redis:6379/0"
secret algotrade-keys-identity "access-token.pem=$(key)"
secret algotrade-keys-notification "channels.pem=$(key)"
