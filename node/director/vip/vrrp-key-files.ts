/** The keys of the groups with authentication, read from the files that the configuration names. */
import { parseVrrpKeys } from '../../../protocol/packet/vrrp-trailer.ts'
import { readKeyText } from '../../agent/key-file.ts'
import type { VrrpKeys } from './vip.ts'
import type { VipConfig } from './vip-config.ts'

/** By file, each at least one. @throws DirectorError CONFIG_UNREADABLE or CONFIG_INVALID */
export function readVrrpKeys(vips: readonly Pick<VipConfig, 'authentication'>[]): VrrpKeys {
  const files = new Set(vips.flatMap(({ authentication }) => (authentication ? [authentication.keyFile] : [])))
  return new Map([...files].map((file) => [file, parseVrrpKeys(readKeyText(file, "directors'"), file)]))
}
