/** Where the commands find the director of this machine. */
export function controlSocketPath(): string {
  return process.env.DIRECTOR_SOCKET || '/run/linux-director/control.sock'
}
