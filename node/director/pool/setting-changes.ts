/** What an operator's change makes of the pool's settings. Pure: the values as they are -> as they will be. */
import { isDeepStrictEqual } from 'node:util'
import {
  defaultSettings,
  type EngineSettings,
  REFUSED_SETTINGS,
  SETTINGS,
  type Setting,
} from '../../../forwarder/settings.ts'
import { DirectorError } from '../../../protocol/errors.ts'

/** By name; what is not in it has its default. */
export type SettingValues = Readonly<Record<string, number>>

/**
 * The timeouts take 0 for "as it is", as ipvsadm --set does.
 * @throws DirectorError INPUT_INVALID; then nothing is changed
 */
export function withSettings(current: SettingValues, changes: SettingValues): SettingValues {
  const changed = { ...current }
  for (const [name, value] of Object.entries(changes)) {
    const setting = demandSetting(name)
    if (value === 0 && setting.field === setting.name) continue
    demandValue(setting, value)
    changed[name] = value
  }
  return changed
}

/**
 * Exactly these are set, and whatever a later version may have.
 * @returns `current` itself when that is so already
 * @throws DirectorError INPUT_INVALID; then nothing is changed
 */
export function withWholeSettings(current: SettingValues, wanted: SettingValues): SettingValues {
  for (const [name, value] of Object.entries(wanted)) demandValue(demandSetting(name), value)
  const unknown = Object.entries(current).filter(([name]) => !SETTINGS.some((setting) => setting.name === name))
  const changed = { ...Object.fromEntries(unknown), ...wanted }
  return isDeepStrictEqual(changed, current) ? current : changed
}

/** @throws DirectorError INPUT_INVALID */
export function demandSetting(name: string): Setting {
  const setting = SETTINGS.find((each) => each.name === name)
  if (setting) return setting
  const refused = REFUSED_SETTINGS.find((each) => each.name === name)
  const message = refused
    ? `${name} would do nothing here: ${refused.reason}`
    : `there is no setting ${JSON.stringify(name)}: \`director settings list\` shows all`
  throw new DirectorError('INPUT_INVALID', message)
}

/** @throws DirectorError INPUT_INVALID */
export function demandValue(setting: Setting, value: number): void {
  if (isAllowed(setting, value)) return
  const { name, minimum, maximum } = setting
  throw new DirectorError('INPUT_INVALID', `${name}: ${value}: expected a whole number from ${minimum} to ${maximum}`)
}

/** Every setting by its name. A value that this version does not allow, of a peer of another one, counts as not set. */
export function allSettings(values: SettingValues): Record<string, number> {
  return Object.fromEntries(SETTINGS.map((setting) => [setting.name, valueIn(setting, values)]))
}

/** The same for the forwarder. */
export function engineSettings(values: SettingValues): EngineSettings {
  const settings = defaultSettings()
  for (const setting of SETTINGS) settings[setting.field] = valueIn(setting, values)
  return settings
}

function valueIn(setting: Setting, values: SettingValues): number {
  const value = Object.hasOwn(values, setting.name) ? values[setting.name] : setting.default
  return isAllowed(setting, value) ? value : setting.default
}

function isAllowed({ minimum, maximum }: Setting, value: number): boolean {
  return Number.isInteger(value) && value >= minimum && value <= maximum
}
