/** Real traffic by tunnels, as the kernel was recorded to take it: see traffic-replay.ts. */
import { replayTraffic } from './traffic-replay.ts'

replayTraffic('tun')
