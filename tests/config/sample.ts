/**
 * A configuration without problems, and edits that break it in one place.
 *
 * @module
 */

import assert from "node:assert/strict";
import { parseConfig } from "../../src/config/parse.ts";
import { formatProblem } from "../../src/config/problem.ts";
import type { Config } from "../../src/config/types.ts";

/** Two nodes, a witness, two volumes, one group. Tests refer to its line numbers. */
export const SAMPLE = `[cluster]
name = "web"
key_file = "/etc/bascule/key"
keepalive = "200ms"
deadtime = "1s"
quorum = "majority"

[nodes.a]
links = ["udp://192.0.2.1:6940", "udp://198.51.100.1:6940"]
[nodes.b]
links = ["udp://192.0.2.2:6940", "udp://198.51.100.2:6940"]
[nodes.w]
witness = true
links = ["udp://192.0.2.9:6940"]

[volumes.data]
size = "20GiB"
[volumes.data.replicas]
a = { disk = "/dev/sdb", address = "192.0.2.1:6941" }
b = { disk = "/dev/sdb", address = "192.0.2.2:6941" }

[volumes.logs]
size = "512MiB"
[volumes.logs.replicas]
a = { disk = "/dev/sdc", address = "192.0.2.1:6942" }
b = { disk = "/dev/sdc", address = "192.0.2.2:6942" }

[groups.web]
prefer = ["a"]
resources = [
  "volume:data",
  "volume:logs",
  "ip:192.0.2.3/24",
]
`;

/** A replacement in the sample. */
export type Edit = readonly [from: string, to: string];

/** The sample with every `from` replaced by its `to`; each must be there exactly once. */
export function edited(...edits: readonly Edit[]): string {
  return edits.reduce<string>((text, [from, to]) => {
    const parts = text.split(from);
    assert.equal(parts.length, 2, `${from} must be in the sample exactly once`);
    return parts.join(to);
  }, SAMPLE);
}

/** The problems of a text as the user sees them, without the file name. */
export function problemsOf(text: string): string[] {
  return parseConfig(text, "").problems.map((problem) => formatProblem("", problem).slice(1));
}

/** The configuration of a text that must have no errors. */
export function configOf(text: string): Config {
  const { config, problems } = parseConfig(text, "bascule.toml");
  assert.ok(config, problems.map((problem) => formatProblem("", problem)).join("\n"));
  return config;
}

/** Registers a test: the edited sample has exactly these problems, in this order. */
export function bad(
  name: string,
  edits: readonly Edit[],
  problems: readonly string[],
): void {
  Deno.test(`configuration: ${name}`, () => {
    const text = edited(...edits);
    assert.deepEqual(problemsOf(text), problems);
    const onlyWarnings = problems.every((problem) => problem.includes(": warning: "));
    assert.equal(parseConfig(text, "").config !== undefined, onlyWarnings);
  });
}
