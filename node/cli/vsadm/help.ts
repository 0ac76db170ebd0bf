/** What -h and -v print. */

const VERSION = 'v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)\n'

/** ipvsadm's own line to the letter; otherwise ours, whose language this is. */
export function versionText(program: string, strict: boolean): string {
  return strict ? `ipvsadm ${VERSION}` : `${program}, speaks the language of ipvsadm ${VERSION}`
}

export function helpText(program: string, strict: boolean): string {
  return `${versionText(program, strict)}Usage:
  ${program} -A|E virtual-service [-s scheduler] [-p [timeout]] [-M netmask] [--pe persistence_engine] [-b sched-flags]
  ${program} -D virtual-service
  ${program} -C
  ${program} -R
  ${program} -S [-n]
  ${program} -a|e virtual-service -r server-address [-g|i|m] [-w weight]
  ${program} -d virtual-service -r server-address
  ${program} -L|l [virtual-service] [options]
  ${program} -Z [virtual-service]
  ${program} -h|v

Commands:
  -A, --add-service      add a virtual service
  -E, --edit-service     change its scheduler
  -D, --delete-service   remove it and its real servers
  -C, --clear            remove every virtual service
  -R, --restore          read commands from stdin, one a line
  -S, --save             print the commands that rebuild the table
  -a, --add-server       add a real server
  -e, --edit-server      change its forwarding method and weight
  -d, --delete-server    remove it
  -L, -l, --list         list services, or connections with -c
  -Z, --zero             set counters to zero
  -h, --help             this text
  -v, --version          the version

Virtual service:
  -t, --tcp-service host:port
  -u, --udp-service host:port

Options:
  -s, --scheduler name   wlc unless given
  -r, --real-server host[:port]
                         the service's port unless given; -g and -i always use that
  -g, --gatewaying       direct routing, the default
  -i, --ipip             IP-in-IP tunnel
  -m, --masquerading     NAT
  -w, --weight number    1 unless given; 0 takes no new connections
  -n, --numeric          addresses and ports as numbers
  -c, --connection       the connections
      --stats            counters
      --rate             counters per second
  -X, --exact            all digits of large counters
      --thresholds --persistent-conn --tun-info
                         other columns
      --nosort           servers newest first

The director is asked through its control socket: DIRECTOR_SOCKET, or /run/linux-director/control.sock.
The rest of ipvsadm's language (persistence, firewall marks, IPv6, SCTP, thresholds, --set, sync daemons) is
understood, and refused by the pool.
`
}
