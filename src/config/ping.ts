/**
 * Reads ping targets: addresses outside the cluster whose answers say how well a node is connected.
 *
 * @module
 */

import { parseIp, whyNoHost } from "./address.ts";
import { array, fail, placed, type Reader, text } from "./schema.ts";

/** Each target costs every node a packet an interval, and has to be there on every day of the year. */
const MAX_TARGETS = 8;

/** At most eight different addresses; canonical texts. */
export const pingTargets: Reader<readonly string[]> = (value, problems) => {
  const targets = array(placed(pingTarget), 0, "addresses")(value, problems);
  if (targets === undefined) return undefined;
  const seen = new Map<string, string>();
  for (const { value: target, at } of targets) {
    const before = seen.get(target);
    if (before !== undefined) problems.error(at, `${target} is already named in ${before}`);
    seen.set(target, at.key);
  }
  if (targets.length > MAX_TARGETS) {
    return fail(value, `${targets.length} targets are too many; name at most 8`, problems);
  }
  return targets.map((target) => target.value);
};

const pingTarget: Reader<string> = (value, problems) => {
  const address = text(value, problems);
  if (address === undefined) return undefined;
  const ip = parseIp(address);
  if (ip === undefined) {
    return fail(
      value,
      `${JSON.stringify(address)} is not an IP address; names are not looked up, ` +
        "write the address of a router or a switch",
      problems,
    );
  }
  const unusable = whyNoHost(ip);
  if (unusable === undefined) return ip.text;
  return fail(value, `${ip.text} ${unusable}; write the address of one machine`, problems);
};
