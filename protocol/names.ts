/** What directors are called: by people, and by the libp2p peer id of their key. */

/** A director's name in its configuration. */
export const DIRECTOR_NAME = /^[a-z0-9][a-z0-9-]{0,62}$/
/** Base58, as long as the peer ids of usual keys are. */
export const PEER_ID = /^[1-9A-HJ-NP-Za-km-z]{40,60}$/
