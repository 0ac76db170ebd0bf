/**
 * What a script for bash is put behind. Without the option bash takes the socket that Node.js gives it as its standard input for a sign that
 * rshd has started it, and reads the files of whoever is logged in, which may take long, or wait for each other (bash(1), "Invocation").
 */
export const BASH = ['bash', '--norc', '-c'] as const
