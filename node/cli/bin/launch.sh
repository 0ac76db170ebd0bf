#!/bin/sh
# Runs one of our programs under a Node.js that can: the one pinned in node_modules, or else one on the PATH that is new
# enough. The program takes the place of this script (exec), so signals, exit status and memory are its own.
#
# usage: launch.sh FILE [ARGUMENT...]
#        . launch.sh, with director|vsadm [ARGUMENT...] in "$@", and in $here the folder of this script
#
# No process is started on the way of vsadm, which is run often.

# Whether something that a program is made from was written after what was made of it.
has_newer_source() {
  if [ "$program" = director ]; then
    newer=$(find "$root/forwarder" "$root/node" "$root/protocol" "$root/scheduler" -name '*.ts' -newer "$1" -print -quit)
    [ -n "$newer" ]
    return
  fi
  for folder in node/agent node/cli node/cli/vsadm node/director node/director/control protocol scheduler; do
    for source in "$root/$folder"/*.ts; do
      [ "$source" -nt "$1" ] && return 0
    done
  done
  return 1
}

# Where ip, nft, nginx and what dpkg runs are: not on the PATH of a plain user, nor of root after `su` without `-`.
case :$PATH: in
*:/usr/sbin:*) ;;
*)
  PATH=${PATH:-/usr/bin:/bin}:/usr/sbin:/sbin
  export PATH
  ;;
esac

case $0 in
*launch.sh)
  self=$(readlink -f "$0")
  here=${self%/*}
  ;;
esac
flags=

case $1 in
director | vsadm)
  program=$1
  shift
  # JavaScript in the installed package. TypeScript in the repository; and JavaScript there too, bundled into few files that
  # load faster (node/cli/setup/bundle.sh), which is taken until something that it is made from is newer.
  root=$here/../../..
  file=$here/../$program.ts
  built=$root/dist/node/cli/$program.js
  if [ ! -e "$file" ] || { [ -e "$built" ] && ! has_newer_source "$built"; }; then
    file=$built
  fi
  # V8 compiles what runs often, even if often means once a second for minutes, and its compilers stay in memory: 65 MB
  # with them, 55 MB without, the same 0.09 % of a core. An agent that forwards packets does need them.
  case "$program $*" in
  *--decapsulate*) ;;
  'director agent'*) flags='--no-opt --no-maglev --no-sparkplug' ;;
  esac
  set -- "$file" "$@"
  ;;
esac

# Compiled code is kept beside the packages it comes from, where only their owner can write: vsadm answers in a third of
# the time. A folder that cannot be written is passed over by Node.js.
cache_in() {
  NODE_COMPILE_CACHE=${NODE_COMPILE_CACHE:-$1/node_modules/.cache/compile}
  export NODE_COMPILE_CACHE
}

folder=$here
while [ -n "$folder" ]; do
  # npm installs the one for this machine's processor alone.
  for node in "$folder"/node_modules/node-linux-*/bin/node; do
    if [ -x "$node" ]; then
      cache_in "$folder"
      # Flags are words, so no quotes.
      # shellcheck disable=SC2086
      exec "$node" $flags "$@"
    fi
  done
  folder=${folder%/*}
done

if version=$(node --version 2>/dev/null); then
  version=${version#v}
  major=${version%%.*}
  minor=${version#*.}
  minor=${minor%%.*}
  if [ "$major" -gt 22 ] || { [ "$major" -eq 22 ] && [ "$minor" -ge 18 ]; }; then
    # shellcheck disable=SC2086
    exec node $flags "$@"
  fi
fi
echo "linux-director: no Node.js 22.18 or newer: run npm ci in the repository, or install the package again without --omit=optional" >&2
exit 1
