/**
 * Paths of the repository for child processes.
 *
 * @module
 */

/** Absolute path of a file named relative to this folder. */
export function fromFileUrl(relative: string): string {
  return decodeURIComponent(new URL(relative, import.meta.url).pathname);
}
