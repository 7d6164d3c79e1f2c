/** What a node shall do about a group, and why, as data. */

/** Why something is, or is not, done. */
export interface Reason {
  readonly rule: string;
  readonly text: string;
  readonly known: Readonly<Record<string, string | number | boolean>>;
}

/** What this node shall do about the group now. */
export interface Decision {
  readonly action: "none" | "take" | "release" | "wait";
  /** Who is expected to own it next. */
  readonly to?: string;
  /** Of a take for a part: the volumes that it is not for, each with the replica that keeps it. */
  readonly leaves?: Readonly<Record<string, string>>;
  /** What the take of this node waits for; the time is counted as long as it stays the same. */
  readonly waitsFor?: string;
  readonly why: Reason;
}

/** Nothing is to be done. */
export function none(rule: string, text: string, known: Reason["known"] = {}): Decision {
  return { action: "none", why: { rule, text, known } };
}

/** Something is to be waited for. */
export function wait(rule: string, text: string, known: Reason["known"] = {}): Decision {
  return { action: "wait", why: { rule, text, known } };
}

/** The group is to be stopped and released, for `to`; undefined: for nobody yet. */
export function release(
  rule: string,
  text: string,
  to: string | undefined,
  more: Reason["known"] = {},
): Decision {
  const why = { rule, text, known: { to: to ?? "nobody", ...more } };
  return to === undefined ? { action: "release", why } : { action: "release", to, why };
}
