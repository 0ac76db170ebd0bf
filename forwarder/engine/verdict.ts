/** What becomes of a frame. A number >= 0 is the link that it is to be transmitted on. */
export type Verdict = number

/** The frame is the host's. */
export const TO_HOST = -1
/** The frame is dropped, and counted under its reason. */
export const DROPPED = -2
/** Nothing is left to do: the frame waits, or was turned into others. */
export const CONSUMED = -3
/** A fragment that is the first of its datagram, and is handled as a whole packet is. Never comes out of the engine. */
export const FIRST_FRAGMENT = -4
/** A fragment that goes where its first one went. Never comes out of the engine. */
export const LATER_FRAGMENT = -5
