#!/usr/bin/env bash
# require.sh PROGRAM=PACKAGE…: see that programs are there; root has apt-get install what is missing, others are told.
set -euo pipefail
missing=()
for pair in "$@"; do
  program=${pair%%=*}
  compgen -G "$program" >/dev/null || command -v "$program" >/dev/null || missing+=("${pair#*=}")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -ne 0 ]; then
  echo "missing: ${missing[*]}; run: sudo apt-get install ${missing[*]}" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 # nothing that is installed starts by itself
install() { apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null; }
install || { apt-get update -qq && install; }
