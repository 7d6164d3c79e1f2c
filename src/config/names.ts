/**
 * Names of clusters, nodes, volumes and groups.
 *
 * @module
 */

import type { Place, Problems } from "./problem.ts";

/** Whether a text is a host name: RFC 1123 labels joined by dots. */
export function isHostName(name: string): boolean {
  return name.length <= 253 &&
    name.split(".").every((label) => /^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/.test(label));
}

/** Whether a text can name a cluster, a volume, a group or a process: it also names files. */
export function isPlainName(name: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name);
}

/** Checks a name of the kind that also names files. Returns whether it is one. */
export function checkPlainName(name: string, at: Place, problems: Problems): boolean {
  if (isPlainName(name)) return true;
  problems.error(
    at,
    `${JSON.stringify(name)} cannot be a name; ` +
      "use at most 64 letters, digits, dots, hyphens and underscores, a letter or digit first",
  );
  return false;
}
