/**
 * The configuration of a transcript, from one line: `cluster serveur-a serveur-b temoin:witness`.
 * Options stand behind the names (`links=2`), further keys on lines of their own
 * (`groups.web.failback = "now"`). It becomes a file that passes the production parser.
 */

import assert from "node:assert/strict";
import { parseConfig } from "../../src/config/parse.ts";
import { formatProblem } from "../../src/config/problem.ts";
import type { Config } from "../../src/config/types.ts";

/** TOML tables by name, each with its keys. */
class Tables {
  readonly #tables = new Map<string, Map<string, string>>();

  set(table: string, key: string, value: string): void {
    const entries = this.#tables.get(table) ?? new Map<string, string>();
    this.#tables.set(table, entries);
    entries.set(key, value);
  }

  text(): string {
    return [...this.#tables].map(([name, entries]) =>
      [`[${name}]`, ...[...entries].map(([key, value]) => `${key} = ${value}`)].join("\n")
    ).join("\n\n");
  }
}

/** Words `key=value` of a command, taken out of the others. */
export function optionsOf(words: readonly string[]): {
  readonly names: string[];
  readonly options: Map<string, string>;
} {
  const options = new Map<string, string>();
  const names: string[] = [];
  for (const word of words) {
    const [, key, value] = /^(\w+)=(.+)$/.exec(word) ?? [];
    if (key === undefined) names.push(word);
    else options.set(key, value!);
  }
  return { names, options };
}

/**
 * `quorum=fencing` gives every node a fence device. Two nodes with a volume `data` in group `web`, unless `volume=none`;
 * `volumes=data,logs` has both there. `groups=mail,db` are more groups,
 * of a process and an address, that every data node may run.
 */
export function configure(words: readonly string[], more: readonly string[]): Config {
  const { names, options } = optionsOf(words);
  const tables = new Tables();
  tables.set("cluster", "name", '"scenario"');
  tables.set("cluster", "key_file", '"/etc/bascule/key"');
  tables.set("cluster", "keepalive", '"200ms"');
  tables.set("cluster", "deadtime", '"1s"');
  const mode = options.get("quorum") ?? "majority";
  tables.set("cluster", "quorum", `"${mode}"`);
  const data: string[] = [];
  names.forEach((word, index) => {
    const [name = "", kind] = word.split(":");
    if (kind === "witness") tables.set(`nodes.${name}`, "witness", "true");
    else data.push(name);
    if (mode === "fencing") {
      tables.set(`nodes.${name}`, "fence", `{ command = ["/usr/local/sbin/power", "${name}"] }`);
    }
    const links = Array.from(
      { length: Number(options.get("links") ?? "1") },
      (_, link) => `"udp://10.0.${link + 1}.${index + 1}:6940"`,
    );
    tables.set(`nodes.${name}`, "links", `[${links.join(", ")}]`);
  });
  const first = data[0] ?? "";
  const service = (group: string, index: number) =>
    `{ kind = "process", name = "${group}", command = ["/usr/bin/${group}"] }, ` +
    `"ip:130.66.201.${index + 3}/24"`;
  const volumes = options.get("volume") === "none"
    ? []
    : options.get("volumes")?.split(",") ?? ["data"];
  volumes.forEach((volume, place) => {
    tables.set(`volumes.${volume}`, "size", '"1MiB"');
    data.slice(0, 2).forEach((name, index) =>
      tables.set(
        `volumes.${volume}.replicas`,
        name,
        `{ disk = "/dev/sda${place + 1}", address = "10.0.9.${index + 1}:${6941 + place}" }`,
      )
    );
  });
  const groups = ["web", ...options.get("groups")?.split(",") ?? []];
  groups.forEach((group, index) => {
    const volume = index === 0 ? volumes.map((each) => `"volume:${each}", `).join("") : "";
    tables.set(`groups.${group}`, "prefer", `["${first}"]`);
    tables.set(`groups.${group}`, "resources", `[${volume}${service(group, index)}]`);
  });
  for (const line of more) {
    const [, table, key, value] = /^([\w.-]+)\.([\w-]+) = (.+)$/.exec(line) ?? [];
    assert.ok(table, `"${line}" is no line such as groups.web.failback = "now"`);
    tables.set(table, key!, value!);
  }
  const { config, problems } = parseConfig(tables.text(), "bascule.toml");
  const said = problems.map((problem) => formatProblem("bascule.toml", problem)).join("\n");
  assert.ok(config, `${said}\n${tables.text()}`);
  return config;
}
