#!/usr/bin/env bash
# Builds the real Collector, Jaeger, Prometheus and Compose's own loader from Go modules.
# Usage: build.sh DEST [otelcol] [jaeger] [prometheus] [compose]   (all when none is named)
# Skips what is there. Needs Go 1.26 or newer; about 12 minutes on two cores with nothing cached.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dest=$(mkdir -p "$1" && cd "$1" && pwd); shift
export GOTOOLCHAIN=local GOWORK=off CGO_ENABLED=0 GOFLAGS=-buildvcs=false
# The sums below and the go.sum of each module pin every byte; the public checksum log does not
# know all of these versions.
export GONOSUMDB='go.opentelemetry.io/*,github.com/*'
work=$(mktemp -d); trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT

module_copy() {  # module@version, its sum: a writable copy of the source in $work/src
  local answer dir sum
  answer=$(go mod download -json "$1")
  dir=$(sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p' <<<"$answer")
  sum=$(sed -n 's/^\t"Sum": "\(.*\)",\{0,1\}$/\1/p' <<<"$answer")
  [ "$sum" = "$2" ] || { echo "$1: sum is $sum, not $2" >&2; return 1; }
  cp -r "$dir" "$work/src"; chmod -R u+w "$work/src"; cd "$work/src"
}
go_build() { go build -trimpath -ldflags='-s -w' "$@"; }

otelcol() {
  cp "$here"/builder.yaml "$here"/go.mod "$here"/go.sum "$work/"; cd "$work"
  go run go.opentelemetry.io/collector/cmd/builder@v0.140.0 --config builder.yaml \
    --skip-compilation --skip-get-modules
  cp go.mod go.sum dist/; cd dist
  go_build -mod=readonly -o "$work/otelcol" .
}
jaeger() {  # the module v1.76.0 is Jaeger 2.13
  module_copy github.com/jaegertracing/jaeger@v1.76.0 h1:sWCOOF1dr+NL0PLil7mFo3BqqQL8k4WiM7aguFbc14g=
  go_build -o "$work/" ./cmd/jaeger
}
prometheus() {  # the module v0.310.0 is Prometheus 3.10; its pages are left out, the API is whole
  module_copy github.com/prometheus/prometheus@v0.310.0 h1:iS0Uul/dHjy8ifBnqo3YEOhRxlTOWantRoDWwmIowwA=
  go_build -tags remove_all_sd -o "$work/" ./cmd/prometheus ./cmd/promtool
}
compose() {
  cp "$here"/compose/* "$work/"; cd "$work"
  go_build -mod=readonly -o "$work/compose" .
}
results() { case $1 in prometheus) echo prometheus promtool;; *) echo "$1";; esac; }
recipe() {  # what a part is built from: another recipe is another build
  declare -f "$1"
  case $1 in
    otelcol) cat "$here"/builder.yaml "$here"/go.mod "$here"/go.sum;;
    compose) cat "$here"/compose/*;;
  esac
}
there() {
  for name in $(results "$1"); do [ -x "$dest/$name" ] || return 1; done
  recipe "$1" | cmp -s - "$dest/.$1"
}

[ $# -gt 0 ] || set -- otelcol jaeger prometheus compose
for part in "$@"; do
  if there "$part"; then echo "$part: there"; continue; fi
  command -v go >/dev/null || {
    echo "Go 1.26 or newer is needed to build $part; install it and put it on the PATH" >&2; exit 2; }
  start=$SECONDS; rm -rf "${work:?}"/*
  ( "$part" )
  # A rename is atomic: a build that was cut short leaves nothing that looks finished.
  for name in $(results "$part"); do mv "$work/$name" "$dest/$name"; done
  recipe "$part" >"$dest/.$part"
  echo "$part: built in $((SECONDS - start)) s"
done
