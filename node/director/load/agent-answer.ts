/**
 * What a HAProxy agent says of its server, and what is known of the server after it. Pure.
 *
 * A line of words in any order and case, between which are spaces, tabs or commas:
 *
 *   50%                          of the configured weight; 0%: no new clients
 *   maxconn:100                  connections at a time, of each service; 0: as many as it is configured for
 *   ready drain maint            takes clients; takes no new ones; is not there
 *   up down fail failed stopped  lives; or is dead
 *   # text                       the rest of the line, for people
 *
 * Of several words of a kind the last counts, and a kind of which nothing is said stays as it was. Other words are passed over.
 *
 * Source: HAProxy 2.6, configuration manual ("agent-check") and src/tcpcheck.c (tcpcheck_agent_expect_reply), src/server.c
 * (server_parse_weight_change_request).
 */
export interface AgentState {
  /** Of the configured weight; null: nothing was said. */
  readonly weightPercent: number | null
  /** 0: none by the agent; null: nothing was said. */
  readonly maxConnections: number | null
  readonly administration: 'ready' | 'drain' | 'maint'
  readonly isDown: boolean
  /** Of the last line. */
  readonly description: string
}

/** Of a server whose agent has said nothing yet, or that has none. */
export const NOTHING_SAID: AgentState = {
  weightPercent: null,
  maxConnections: null,
  administration: 'ready',
  isDown: false,
  description: '',
}

const ADMINISTRATION: readonly string[] = ['ready', 'drain', 'maint'] satisfies AgentState['administration'][]
const HEALTH: Readonly<Record<string, boolean>> = { up: false, down: true, fail: true, failed: true, stopped: true }
/** HAProxy's own bound. */
const PERCENT_MAX = 25_600
/** The largest threshold. */
const CONNECTIONS_MAX = 2 ** 32 - 1
const DESCRIPTION_MAX = 120

export function afterAnswer(before: AgentState, line: string): AgentState {
  const [words, ...rest] = line.split('#')
  const description = printable(rest.join('#'))
  let { weightPercent, maxConnections, administration, isDown } = before
  for (const word of words.toLowerCase().split(/[ \t,]+/)) {
    const percent = /^(\d+)%$/.exec(word)?.[1]
    const connections = /^maxconn:(\d+)$/.exec(word)?.[1]
    if (percent !== undefined) weightPercent = Math.min(PERCENT_MAX, Number(percent))
    else if (connections !== undefined) maxConnections = Math.min(CONNECTIONS_MAX, Number(connections))
    else if (ADMINISTRATION.includes(word)) administration = word as AgentState['administration']
    else if (Object.hasOwn(HEALTH, word)) isDown = HEALTH[word]
  }
  return { weightPercent, maxConnections, administration, isDown, description }
}

/** Whether it takes no new clients, and serves those that it has. */
export function isDrained({ administration, weightPercent }: AgentState): boolean {
  return administration === 'drain' || weightPercent === 0
}

/** Whether it is not to be used at all. */
export function isAway({ administration, isDown }: AgentState): boolean {
  return administration === 'maint' || isDown
}

/** It comes from outside, and is shown in terminals. */
function printable(text: string): string {
  return text
    .replace(/[^\x20-\x7e]/g, ' ')
    .trim()
    .slice(0, DESCRIPTION_MAX)
}
