/**
 * Every error that an operator can meet: a stable code, and a message that says where and what to do next.
 * docs/errors.md has one row for each code.
 */
export type ErrorCode =
  | 'CONFIG_INVALID'
  | 'CONFIG_UNREADABLE'
  | 'STORE_LOCKED'
  | 'STORE_CORRUPT'
  | 'STORE_FAILED'
  | 'INTERFACE_MISSING'
  | 'PRIVILEGE_MISSING'
  | 'SOCKET_BUSY'
  | 'HOST_INTERFERES'
  | 'MODULE_MISSING'
  | 'SERVICE_EXISTS'
  | 'SERVICE_MISSING'
  | 'SERVER_EXISTS'
  | 'SERVER_MISSING'
  | 'SCHEDULER_UNKNOWN'
  | 'MARK_EXISTS'
  | 'MARK_MISSING'
  | 'REVISION_CONFLICT'
  | 'REVISION_MISSING'
  | 'ADDRESS_INVALID'
  | 'THRESHOLDS_INVALID'
  | 'DAEMON_RUNNING'
  | 'DAEMON_MISSING'
  | 'INPUT_INVALID'
  | 'DIRECTOR_UNREACHABLE'
  | 'LAB_EXISTS'
  | 'LAB_MISSING'
  | 'LAB_FAILED'
  | 'FORWARDER_FAILED'
  | 'CLUSTER_FAILED'
  | 'SETUP_FAILED'

/** An error that is the operator's to mend. Anything else that is thrown is a bug. */
export class DirectorError extends Error {
  readonly code: ErrorCode
  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'DirectorError'
    this.code = code
  }
}
