/** Why the pool would not take a service, before it is asked. */
import { DirectorError } from '../../../protocol/errors.ts'
import { type WholeService, wholeServiceSchema } from '../../director/control/api.ts'
import { hostAddresses } from '../../director/host/host-addresses.ts'
import { withWholeService } from '../../director/pool/service-changes.ts'

/** Wherever the director is: which addresses are its own, and which its networks' broadcast addresses, is not known here. */
const { isUnicast } = hostAddresses([])

/** @param service with one server at most, so that it is known which one the reason is about */
export function refusalOf(service: WholeService): string | undefined {
  const { error, data } = wholeServiceSchema.safeParse(service)
  if (error) {
    const [{ path, message }] = error.issues
    return `${path.filter((part) => part !== 'servers' && part !== 0).join('.')}: ${message}`
  }
  try {
    withWholeService(undefined, data, isUnicast)
    return undefined
  } catch (fault) {
    if (fault instanceof DirectorError) return fault.message
    throw fault
  }
}
