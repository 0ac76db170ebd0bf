/** What directors are called, by people and by the libp2p peer id of their key; and revisions of a configuration. */

/** A director's name in its configuration. */
export const DIRECTOR_NAME = /^[a-z0-9][a-z0-9-]{0,62}$/
export const DIRECTOR_NAME_RULE = 'at most 63 lower-case letters, digits and dashes, beginning with a letter or digit'
/** Base58, as long as the peer ids of usual keys are. */
export const PEER_ID = /^[1-9A-HJ-NP-Za-km-z]{40,60}$/
/** A revision by its name, or by as much of its beginning as is enough. */
export const REVISION_START = /^[0-9a-f]{4,12}$/
