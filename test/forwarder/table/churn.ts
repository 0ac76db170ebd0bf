/** Connections whose fields follow from one number, so that a reader sees whether it got a whole one. */
export const VIRTUAL = 0x0a000064
export const VIRTUAL_PORT = 80
export const SERVERS = 8

export function clientOf(number: number): number {
  return (Math.imul(number, 0x9e3779b1) | 0) ^ 0x12345678
}

export function serverOf(number: number): number {
  return 0x0a010000 + (number % SERVERS)
}
