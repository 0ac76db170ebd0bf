/** What -h and -v print. */

const VERSION = 'v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)\n'

/** ipvsadm's own line to the letter; otherwise ours, whose language this is. */
export function versionText(program: string, strict: boolean): string {
  return strict ? `ipvsadm ${VERSION}` : `${program}, speaks the language of ipvsadm ${VERSION}`
}

export function helpText(program: string, strict: boolean): string {
  return `${versionText(program, strict)}Usage:
  ${program} -A|E virtual-service [-s scheduler] [-p [timeout]] [-M netmask] [--pe persistence_engine] [-b sched-flags]
  ${program} -a|e virtual-service -r server-address [server options]
  ${program} -D virtual-service
  ${program} -d virtual-service -r server-address
  ${program} -L|l [virtual-service] [listing options]
  ${program} -Z [virtual-service]
  ${program} -C
  ${program} -S [-n]
  ${program} -R
  ${program} --set tcp tcpfin udp
  ${program} --start-daemon master|backup [daemon options]
  ${program} --stop-daemon master|backup
  ${program} -h|v

Commands:
  -A, --add-service      add a virtual service
  -E, --edit-service     set its scheduler and options anew
  -D, --delete-service   remove it and its real servers
  -C, --clear            remove every virtual service
  -R, --restore          read commands from stdin, one a line
  -S, --save             print the commands that rebuild the table
  -a, --add-server       add a real server
  -e, --edit-server      set its options anew
  -d, --delete-server    remove it
  -L, -l, --list         list services, or what the listing options say
  -Z, --zero             set counters to zero
      --set              timeouts in seconds: TCP, closing TCP, UDP; 0 leaves one as it is
      --start-daemon     share connections with a kernel's IPVS
      --stop-daemon
  -h, --help             this text
  -v, --version          the version

Virtual service:
  -t, --tcp-service host:port
  -u, --udp-service host:port
      --sctp-service host:port
                         IPv6 as [address]:port; port 0 is every port, with -p
  -f, --fwmark-service mark
  -6, --ipv6             behind -f: the mark's IPv6 packets

Service options:
  -s, --scheduler name   wlc unless given
  -b, --sched-flags flags
                         sh-fallback, sh-port, mh-fallback, mh-port, flag-1, flag-2, flag-3
  -p, --persistent [seconds]
                         a client keeps its server; 360 unless given
  -M, --netmask mask     clients that are one
      --pe engine        sip
  -o, --ops              each datagram for itself
${strict ? '' : SERVICE_HELP}
Server options:
  -r, --real-server host[:port]
                         the service's port unless given; -g and -i always use that
  -g, --gatewaying       direct routing, the default
  -i, --ipip             tunnel
  -m, --masquerading     NAT
  -w, --weight number    1 unless given; 0 takes no new connections
  -x, --u-threshold number
  -y, --l-threshold number
                         no new connections from -x on, until there are fewer than -y
      --tun-type type    ipip, gue, gre; ipip unless given
      --tun-port port    of gue
      --tun-nocsum --tun-csum --tun-remcsum
                         without checksum, with one, with one that the receiver completes

Listing options:
  -n, --numeric          addresses and ports as numbers
  -c, --connection       the connections
      --timeout          the timeouts
      --daemon           the sync daemons
      --stats            counters
      --rate             counters per second
  -X, --exact            all digits of large counters
      --thresholds --persistent-conn --tun-info
                         other columns
      --nosort           servers newest first
      --sort             nothing, as ever

Daemon options:
      --syncid 0-255 --sync-maxlen bytes --mcast-interface name --mcast-group address --mcast-port port --mcast-ttl hops

The director is asked through its control socket: DIRECTOR_SOCKET, or /run/linux-director/control.sock.
Of another machine: DIRECTOR_SOCKET=https://HOST:PORT, and files in DIRECTOR_TLS_CA, DIRECTOR_TLS_CERT, DIRECTOR_TLS_KEY.
`
}

const SERVICE_HELP = `\
      --mss clamp        segments that fit the way to the server
      --sync confirmed|confirmed-only|established
                         a connection waits until a standby knows it; if none
                         does: it goes on, or it is refused; or never waits
`
