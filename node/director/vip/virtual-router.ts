/**
 * One virtual router's state machine (RFC 9568 section 6.4) as code without effects: an input and the time go in, actions
 * come out. Where it departs from the RFC, docs/divergence.md says how and why: preemption only in sync, a lower standing
 * for directors out of sync, and no takeover on the strength of our own slowness.
 */
import { compareAddresses } from '../../../protocol/packet/ipv6-address.ts'
import { PRIORITY_OWNER, PRIORITY_RESIGN, type VrrpVersion } from '../../../protocol/packet/vrrp.ts'
import {
  PRIORITY_OUT_OF_SYNC,
  resignationDelay,
  skewTime,
  stallDelay,
  stallTolerance,
  takeoverDelay,
  usurpationTime,
} from './timing.ts'

export type RouterState = 'init' | 'backup' | 'active' | 'fault'

export interface VirtualRouterOptions {
  /** The sender of its advertisements, in canonical form; breaks ties. */
  readonly address: string
  /** 1 to 255; what is tracked may change it. */
  readonly priority: number
  readonly intervalMs: number
  readonly preempt: boolean
  /** How long the addresses are left with a router of lower priority, once nothing else holds this one back. */
  readonly preemptDelayMs: number
  readonly version: VrrpVersion
  /** In a sync group a router does not become active by itself: it is ready, and told when the others are. */
  readonly isGrouped: boolean
}

export type RouterInput =
  | { readonly kind: 'start' }
  | { readonly kind: 'stop' }
  | { readonly kind: 'advertisement'; readonly from: string; readonly priority: number; readonly intervalMs: number }
  /** The timer of the last `arm` action fired. */
  | { readonly kind: 'timer' }
  /** All of the sync group are ready. */
  | { readonly kind: 'activate' }
  /** Another of the sync group has yielded. */
  | { readonly kind: 'yield'; readonly reason: string }
  | { readonly kind: 'priority'; readonly priority: number }
  | { readonly kind: 'sync'; readonly inSync: boolean }
  | { readonly kind: 'fault'; readonly reason: string }
  | { readonly kind: 'cleared' }
  /** Another was active, too, or may have been, when it could not be heard. */
  | { readonly kind: 'contested'; readonly reason: string }

export type RouterAction =
  | { readonly kind: 'advertise'; readonly priority: number }
  | { readonly kind: 'become'; readonly state: RouterState; readonly reason: string }
  /** Replaces the timer. There is one, for both states; without it, no timer runs. */
  | { readonly kind: 'arm'; readonly dueMs: number }
  | { readonly kind: 'disarm' }
  /** Announce the addresses again: another router may have drawn the neighbours away. */
  | { readonly kind: 'announce' }
  /** Another has taken over while this router stood still: what it has told meanwhile may not have come here. */
  | { readonly kind: 'overtaken' }
  /** Something that an operator wants to find in the log. */
  | { readonly kind: 'note'; readonly message: string }

/** A stalled director listens again this often; then its empty receive queue has been looked at often enough. */
const MOST_POSTPONEMENTS = 3
/** A rival that does not hear us must not make us flood the network with announcements. */
const ANNOUNCEMENT_PAUSE_MS = 1000

export class VirtualRouter {
  readonly #options: VirtualRouterOptions
  #state: RouterState = 'init'
  #priority: number
  #inSync = false
  /** Active only: whether it was in sync at any time since it became active. From then on its own table is the truth. */
  #authoritative = false
  /** Active only: our own silence was so long that a successor must be expected; we listen before we speak. */
  #doubtful = false
  #holder: { address: string; priority: number } | undefined
  /** Active_Adver_Interval: the interval of the router that is active. */
  #activeIntervalMs: number
  #timerDueMs: number | undefined
  /** Active only: when it last spoke. */
  #spokeMs = Number.NEGATIVE_INFINITY
  /** When an active router was last heard, however low its priority. */
  #heardMs = Number.NEGATIVE_INFINITY
  #postponements = 0
  #stallMs = 0
  #announcedMs = Number.NEGATIVE_INFINITY
  /** When two others were last heard so soon after each other that neither can have taken over from a silent one. */
  #duelMs = Number.NEGATIVE_INFINITY
  /** Why an announcement is due when this router next speaks; undefined: none is. */
  #owedFor: string | undefined
  /** Backup only: since when it has been able to preempt whom it hears. */
  #ableSinceMs: number | undefined
  #isDelayed = false
  #isReady = false
  #faultReason: string | undefined
  #actions: RouterAction[] = []

  constructor(options: VirtualRouterOptions) {
    this.#options = options
    this.#priority = options.priority
    this.#activeIntervalMs = options.intervalMs
  }

  get state(): RouterState {
    return this.#state
  }

  /** Backup in a sync group: it would be active by now if it were alone. */
  get isReady(): boolean {
    return this.#isReady
  }

  /** The priority with which this router stands for election now. */
  get effectivePriority(): number {
    const standing = this.#state === 'active' ? this.#authoritative : this.#inSync
    return standing ? Math.max(this.#priority, PRIORITY_OUT_OF_SYNC + 1) : PRIORITY_OUT_OF_SYNC
  }

  /** Address of the router believed to be active. */
  get holder(): string | null {
    return this.#state === 'active' ? this.#options.address : (this.#holder?.address ?? null)
  }

  /** Why this router does not take the addresses although it may seem that it should; null: nothing holds it back. */
  get waiting(): string | null {
    if (this.#state === 'fault') return this.#faultReason ?? null
    if (this.#state === 'active') return this.#doubtful ? `was stalled for ${this.#stallMs} ms; listening` : null
    if (this.#state !== 'backup') return null
    if (this.#postponements > 0) return `own timers were ${this.#stallMs} ms late; listening before taking over`
    if (this.#isReady) return 'leaves the addresses until the other groups of its sync group can have theirs'
    if (!this.#holder) return this.#inSync ? null : 'not in sync; leaves a director that is the first chance'
    const { address, priority } = this.#holder
    if (priority >= this.#priority) return null
    if (!this.#inSync) return `not in sync; leaves the addresses with ${address} (priority ${priority})`
    if (!this.#options.preempt) return `preempt is off; leaves the addresses with ${address} (priority ${priority})`
    if (!this.#isDelayed) return null
    return `preempts ${address} (priority ${priority}) after ${this.#options.preemptDelayMs} ms`
  }

  get #skewMs(): number {
    return skewTime(this.#priority, this.#activeIntervalMs, this.#options.version)
  }

  handle(input: RouterInput, nowMs: number): RouterAction[] {
    this.#actions = []
    switch (input.kind) {
      case 'start':
        if (this.#state === 'init') this.#begin('started', nowMs)
        break
      case 'stop':
        if (this.#state !== 'init') this.#end('init', 'stopped')
        break
      case 'fault':
        this.#faultReason = input.reason
        if (this.#state === 'backup' || this.#state === 'active') this.#end('fault', input.reason)
        break
      case 'cleared':
        this.#faultReason = undefined
        if (this.#state === 'fault') this.#begin('the fault is gone', nowMs)
        break
      case 'activate':
        if (this.#isReady) this.#activate(this.#opportunity(), nowMs)
        break
      case 'yield':
        if (this.#state !== 'active') break
        // Who has the other group's addresses now is to have these as well, and not only after the silence.
        this.#actions.push({ kind: 'advertise', priority: PRIORITY_RESIGN })
        this.#backUp(input.reason, nowMs)
        break
      case 'priority':
        this.#changePriority(input.priority, nowMs)
        break
      case 'sync':
        this.#changeSync(input.inSync, nowMs)
        break
      case 'advertisement':
        if (input.from !== this.#options.address) this.#hear(input, nowMs)
        break
      case 'contested':
        // Not now: it may be doubtful, or about to hear of a better one.
        if (this.#state === 'active') this.#owedFor ??= input.reason
        break
      case 'timer':
        this.#timeout(nowMs)
        break
    }
    return this.#actions
  }

  #begin(reason: string, nowMs: number): void {
    this.#holder = undefined
    this.#heardMs = Number.NEGATIVE_INFINITY
    this.#activeIntervalMs = this.#options.intervalMs
    if (this.#faultReason !== undefined) this.#become('fault', this.#faultReason)
    else if (this.#priority === PRIORITY_OWNER && this.#inSync && !this.#options.isGrouped)
      this.#activate('owns the addresses', nowMs)
    else this.#backUp(reason, nowMs)
  }

  #end(state: 'init' | 'fault', reason: string): void {
    if (this.#state === 'active') this.#actions.push({ kind: 'advertise', priority: PRIORITY_RESIGN })
    this.#timerDueMs = undefined
    this.#actions.push({ kind: 'disarm' })
    this.#become(state, reason)
  }

  #changeSync(inSync: boolean, nowMs: number): void {
    if (inSync === this.#inSync) return
    this.#inSync = inSync
    this.#ableSinceMs = undefined
    this.#isReady = false
    if (this.#state === 'active' && inSync) this.#authoritative = true
    if (this.#state !== 'backup') return
    const intervalMs = this.#activeIntervalMs
    // A timer that is overdue stays so: how late it is says how slow we have been.
    if (inSync) this.#arm(Math.max(Math.min(nowMs, this.#timerDueMs!), this.#timerDueMs! - intervalMs))
    else {
      // The timer may be about to fire because a lower priority was being ignored: its holder is respected from now on.
      const silentMs = this.#heardMs + takeoverDelay(this.#skewMs, intervalMs, false)
      this.#arm(Math.max(this.#timerDueMs! + intervalMs, silentMs))
    }
  }

  /** An active router says so at once: a better one need not wait for the next advertisement. After a stall it listens first. */
  #changePriority(priority: number, nowMs: number): void {
    if (priority === this.#priority) return
    this.#priority = priority
    if (this.#state === 'active') {
      this.#suspectSuccessor(nowMs)
      if (!this.#doubtful) this.#advertise(nowMs)
    }
    if (this.#state !== 'backup' || !this.#holder || this.#preempts(this.#holder.priority, nowMs)) return
    // As after a loss of sync: the timer may run because the holder's priority was the lower one.
    const silentMs = this.#heardMs + takeoverDelay(this.#skewMs, this.#activeIntervalMs, this.#inSync)
    this.#arm(Math.max(this.#timerDueMs!, silentMs))
  }

  #hear(heard: { from: string; priority: number; intervalMs: number }, nowMs: number): void {
    const { from, priority, intervalMs } = heard
    if (this.#state === 'active') {
      this.#hearAsActive(from, priority, intervalMs, nowMs)
      return
    }
    if (this.#holder && this.#holder.address !== from && nowMs - this.#heardMs < 2 * intervalMs) this.#duelMs = nowMs
    if (priority === PRIORITY_RESIGN) {
      if (this.#holder?.address === from) {
        this.#holder = undefined
        this.#heardMs = Number.NEGATIVE_INFINITY
      }
      // Where two were active, the other one may still be: it must fall silent, as before.
      const isDuel = nowMs - this.#duelMs < usurpationTime(this.#activeIntervalMs)
      if (this.#state === 'backup' && !isDuel) {
        // Never later than it would have been: a second resignation must not put the takeover off.
        const delay = resignationDelay(this.#skewMs, this.#activeIntervalMs, this.#inSync)
        this.#arm(Math.min(this.#timerDueMs!, nowMs + delay))
      }
    } else {
      this.#holder = { address: from, priority }
      this.#heardMs = nowMs
      if (this.#state === 'backup' && !this.#preempts(priority, nowMs)) {
        this.#activeIntervalMs = intervalMs
        this.#awaitSilence(nowMs)
      }
    }
  }

  /** Whether a router of that priority, heard now, is not to stay active. */
  #preempts(priority: number, nowMs: number): boolean {
    const isAble = this.#options.preempt && this.#inSync && priority < this.effectivePriority
    if (!isAble) this.#ableSinceMs = undefined
    else this.#ableSinceMs ??= nowMs
    this.#isDelayed = isAble && nowMs - this.#ableSinceMs! < this.#options.preemptDelayMs
    return isAble && !this.#isDelayed
  }

  #hearAsActive(from: string, priority: number, intervalMs: number, nowMs: number): void {
    if (priority === PRIORITY_RESIGN) {
      this.#advertise(nowMs)
      // It was active until now, and who yields for the sake of a sync group says nothing else.
      this.#announceAgain(nowMs, `${from} was active too, and has resigned`)
      return
    }
    this.#suspectSuccessor(nowMs)
    const own = this.effectivePriority
    const yields = priority > own || (priority === own && compareAddresses(from, this.#options.address) > 0)
    if (yields || this.#doubtful) {
      const reason = yields
        ? `${from} advertises priority ${priority}, this director ${own}`
        : `${from} took over while this director was stalled for ${this.#stallMs} ms`
      // The rival may not have heard us yet, while neighbours have: it hears of us, and announces the addresses again.
      this.#actions.push({ kind: 'advertise', priority: yields ? own : Math.min(own, priority - 1) })
      if (this.#doubtful) this.#actions.push({ kind: 'overtaken' })
      this.#holder = { address: from, priority }
      this.#heardMs = nowMs
      this.#activeIntervalMs = intervalMs
      this.#backUp(reason, nowMs)
      return
    }
    this.#advertise(nowMs)
    this.#announceAgain(nowMs, `${from} was active too, with priority ${priority}`)
  }

  /** Now, or after the pause since the last one. */
  #announceAgain(nowMs: number, reason: string): void {
    this.#owedFor = nowMs - this.#announcedMs < ANNOUNCEMENT_PAUSE_MS ? reason : undefined
    if (this.#owedFor !== undefined) return
    this.#announcedMs = nowMs
    this.#actions.push({ kind: 'note', message: `${reason}: announces the addresses again` })
    this.#actions.push({ kind: 'announce' })
  }

  #timeout(nowMs: number): void {
    if (this.#timerDueMs === undefined) return
    if (nowMs < this.#timerDueMs) {
      this.#arm(this.#timerDueMs)
      return
    }
    if (this.#state === 'active') {
      const lateMs = nowMs - this.#timerDueMs
      // What had arrived was read first. Shortly after the time when a backup may take over, to speak at once keeps it from that; later the
      // host itself may have been deaf.
      this.#doubtful = lateMs >= usurpationTime(this.#options.intervalMs)
      if (this.#doubtful) {
        this.#stallMs = Math.round(lateMs)
        this.#actions.push({ kind: 'note', message: `stalled for ${this.#stallMs} ms while active; listening first` })
        this.#arm(nowMs + this.#options.intervalMs)
        return
      }
      this.#advertise(nowMs)
      if (this.#owedFor !== undefined) this.#announceAgain(nowMs, this.#owedFor)
      return
    }
    const lateMs = nowMs - this.#timerDueMs
    if (lateMs > stallTolerance(this.#activeIntervalMs) && this.#postponements < MOST_POSTPONEMENTS) {
      this.#postponements++
      this.#stallMs = Math.round(lateMs)
      this.#actions.push({ kind: 'note', message: `timer came ${this.#stallMs} ms late; listening before taking over` })
      this.#arm(nowMs + stallDelay(this.#skewMs, this.#activeIntervalMs, this.#inSync))
      return
    }
    if (!this.#options.isGrouped) this.#activate(this.#opportunity(), nowMs)
    else {
      this.#awaitSilence(nowMs)
      this.#isReady = true
    }
  }

  #opportunity(): string {
    if (!this.#holder) return 'no active director is heard'
    const { address, priority } = this.#holder
    const preempts = this.#options.preempt && !this.#isDelayed && priority < this.effectivePriority
    return preempts ? `preempts ${address} (priority ${priority})` : `${address} fell silent`
  }

  /** Whether our own advertisements have been missing for so long that a backup will have taken over. */
  #suspectSuccessor(nowMs: number): void {
    if (this.#doubtful || nowMs - this.#spokeMs < usurpationTime(this.#options.intervalMs)) return
    this.#doubtful = true
    this.#stallMs = Math.round(nowMs - this.#timerDueMs!)
  }

  #activate(reason: string, nowMs: number): void {
    this.#authoritative = this.#inSync
    this.#doubtful = false
    this.#holder = undefined
    this.#announcedMs = Number.NEGATIVE_INFINITY
    this.#owedFor = undefined
    this.#timerDueMs = undefined
    this.#become('active', this.#inSync ? reason : `${reason}; not in sync, but nobody better is heard`)
    this.#advertise(nowMs)
  }

  #backUp(reason: string, nowMs: number): void {
    this.#become('backup', reason)
    this.#awaitSilence(nowMs)
  }

  #awaitSilence(nowMs: number): void {
    this.#postponements = 0
    this.#isReady = false
    this.#arm(nowMs + takeoverDelay(this.#skewMs, this.#activeIntervalMs, this.#inSync))
  }

  /** Counts from the time when the advertisement was due, so that small delays do not add up to a slower rhythm. */
  #advertise(nowMs: number): void {
    this.#actions.push({ kind: 'advertise', priority: this.effectivePriority })
    this.#spokeMs = nowMs
    const { intervalMs } = this.#options
    const dueMs = this.#timerDueMs ?? nowMs
    const onTime = nowMs >= dueMs && nowMs - dueMs < intervalMs
    this.#arm((onTime ? dueMs : nowMs) + intervalMs)
  }

  #arm(dueMs: number): void {
    this.#timerDueMs = dueMs
    this.#actions.push({ kind: 'arm', dueMs })
  }

  #become(state: RouterState, reason: string): void {
    this.#state = state
    this.#postponements = 0
    this.#doubtful = false
    this.#ableSinceMs = undefined
    this.#isDelayed = false
    this.#isReady = false
    this.#actions.push({ kind: 'become', state, reason })
  }
}
