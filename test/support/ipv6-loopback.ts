/** ::1, which a host or a container without IPv6 has not on its loopback interface. */
import { networkInterfaces } from 'node:os'

const addresses = Object.values(networkInterfaces()).flatMap((each = []) => each)
const isThere = addresses.some(({ address }) => address === '::1')

/** The `skip` of a test that speaks over it. */
export const needsIPv6Loopback = isThere ? false : 'there is no ::1 on this host'
