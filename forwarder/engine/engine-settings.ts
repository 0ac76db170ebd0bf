/** What an operator may change of the packet path while it runs. Names, types and defaults are those of ipvs-sysctl. */
export interface EngineSettings {
  /**
   * 1: a packet whose sender forbids cutting it is not cut for a tunnel either, and the sender is told what fits.
   * 0: the tunnel's outer packet may always be cut.
   */
  pmtuDisc: number
}

export function defaultEngineSettings(): EngineSettings {
  return { pmtuDisc: 1 }
}
