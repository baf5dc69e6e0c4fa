#!/bin/sh
# The two Secrets, made from files so that no value is in a shell history. Usage: secret.example.sh KEY-FILE [NAMESPACE]
set -eu
key=$1 namespace=${2:-default}
token=$(mktemp)
trap 'rm -f "$token"' EXIT
head -c 32 /dev/urandom | base64 | tr -d '\n' >"$token"
: "${KUBECTL:=kubectl}"
$KUBECTL create secret generic supabase --namespace "$namespace" --from-file=service-role-key="$key" --dry-run=client -o yaml
echo ---
$KUBECTL create secret generic crossfade --namespace "$namespace" --from-file=admin-token="$token" --dry-run=client -o yaml
