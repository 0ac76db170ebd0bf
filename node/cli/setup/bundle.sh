#!/bin/sh
# The script `prepare` of npm, which `npm ci` runs: has esbuild put each program, with the packages it uses, into few files, since
# Node.js takes a millisecond and more for every file that it loads. They are taken until a source is newer (launch.sh, and
# forwarder/program-file.ts for what programs start themselves). docs/decisions/tooling.md has the figures.
#
# usage: bundle.sh [FOLDER]    which is made anew; dist, unless given
set -eu
cd "$(dirname "$0")/../../.."
to=${1:-dist}
esbuild=node_modules/.bin/esbuild
# Absent after npm ci --omit=dev.
[ -x "$esbuild" ] || exit 0
rm -rf "$to"

bundle() {
  "$esbuild" --bundle --splitting --platform=node --format=esm --target=node22.18 --log-level=warning "$@"
}

# vsadm is to start quickly above all: what every call needs is in two files, and no package is among it.
bundle node/cli/vsadm.ts --packages=external --outdir="$to/node/cli" --chunk-names='vsadm-[hash]'

# Packages with machine code stay where they are. The line at the top is for those that call require().
bundle node/cli/director.ts node/director/cluster/worker.ts node/director/control/tls-gate-worker.ts forwarder/worker.ts \
  forwarder/decapsulator-worker.ts node/drill/session-client.ts node/drill/session-server.ts \
  --outbase=. --outdir="$to" --chunk-names='chunks/[name]-[hash]' \
  --external:classic-level --external:koffi --external:msgpackr-extract --external:raw-socket \
  --banner:js='import { createRequire as createRequireOf } from "node:module"; const require = createRequireOf(import.meta.url);'
