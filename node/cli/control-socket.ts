/** Where the commands find a director: by the path of its control socket, or from another machine by https://HOST:PORT. */
export function controlAddress(): string {
  return process.env.DIRECTOR_SOCKET || '/run/linux-director/control.sock'
}
