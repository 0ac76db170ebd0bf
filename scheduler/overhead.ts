/**
 * How busy a server is, as the least-connection schedulers reckon it, and the comparison of that load per weight.
 *
 * Source: ip_vs_dest_conn_overhead() in Linux 6.1.192: 256 for an active connection, and one for each of either kind.
 */
import type { Candidate } from './scheduler.ts'

const ACTIVE_COST = 257

export function connectionOverhead(server: Candidate): number {
  return server.activeConnections * ACTIVE_COST + server.inactiveConnections
}

/**
 * Whether loadA / weightA > loadB / weightB, exactly, for integers with weights above 0.
 *
 * By cross multiplication. Weights reach 2^31 - 1, so a product can pass 2^53 and be rounded; rounding never turns the order
 * of two products round, it can only make them look equal. Only then are they multiplied again, exactly.
 */
export function hasMoreLoadPerWeight(loadA: number, weightA: number, loadB: number, weightB: number): boolean {
  const a = loadA * weightB
  const b = loadB * weightA
  if (a !== b || a <= Number.MAX_SAFE_INTEGER) return a > b
  return BigInt(loadA) * BigInt(weightB) > BigInt(loadB) * BigInt(weightA)
}
