/**
 * A program that builds a lab as far as its servers, says so, and then waits to be killed: `half-built-lab NAME`.
 */
import { createNetwork } from '../../node/drill/lab-network.ts'
import { planLab } from '../../node/drill/lab-plan.ts'
import { prepareFiles, startServers } from '../../node/drill/lab-programs.ts'
import { claimLab } from '../../node/drill/lab-state.ts'

const plan = planLab({ name: process.argv[2], directors: 1, servers: 2 })
const folder = claimLab(plan)
await createNetwork(plan)
prepareFiles(plan, folder)
startServers(plan, folder, () => {})
process.stdout.write('standing\n')
setInterval(() => {}, 1000)
