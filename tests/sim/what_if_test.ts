import assert from "node:assert/strict";
import { parseConfig } from "../../src/config/parse.ts";
import type { Config } from "../../src/config/types.ts";
import {
  type Happening,
  HappeningError,
  HAPPENINGS,
  parseHappening,
} from "../../src/sim/happenings.ts";
import { type EndState, type Entry, whatIf } from "../../src/sim/what_if.ts";

const ANNOTATED = new URL("../../config/bascule.toml", import.meta.url).pathname;

function configOf(text: string): Config {
  const { config, problems } = parseConfig(text, "bascule.toml");
  assert.ok(config, JSON.stringify(problems));
  return config;
}

const annotated = () => configOf(Deno.readTextFileSync(ANNOTATED));

/** Two groups with volumes, one of them with two, one without any, on links of their own. */
const many = () =>
  configOf(`
[cluster]
name = "many"
key_file = "/etc/bascule/key"
keepalive = "200ms"
deadtime = "1s"
quorum = "majority"
[nodes.node-a]
links = ["udp://10.0.1.1:6940", "udp://10.0.2.1:6940"]
[nodes.node-b]
links = ["udp://10.0.1.2:6940", "udp://10.0.2.2:6940"]
[nodes.c]
witness = true
links = ["udp://10.0.1.3:6940", "udp://10.0.2.3:6940"]
${
    ["one", "two", "three"].map((name, index) => `
[volumes.${name}]
size = "1TiB"
[volumes.${name}.replicas]
node-a = { disk = "/dev/a${index}", address = "10.0.2.1:${7000 + index}" }
node-b = { disk = "/dev/a${index}", address = "10.0.2.2:${7000 + index}" }`).join("\n")
  }
[groups.web]
prefer = ["node-a"]
resources = ["volume:one", "volume:two", "ip:10.0.9.1/24"]
[groups.mail]
prefer = ["node-b"]
resources = ["volume:three", { kind = "process", name = "mail", command = ["/bin/mail"] }]
[groups.plain]
prefer = ["node-b", "node-a"]
resources = ["ip:10.0.9.3/24"]
`);

function play(
  config: Config,
  happenings: readonly (readonly [Happening, string])[],
  until: number,
): EndState & { lines: Entry[] } {
  const lines: Entry[] = [];
  const faults = happenings.map(([kind, words]) => parseHappening(kind, words, config));
  const end = whatIf(config, { happenings: faults, until, seed: 1 }, (entry) => lines.push(entry));
  assert.equal(end.violation, null);
  return { ...end, lines };
}

Deno.test("a crash on the annotated configuration: who takes over, why, and the outage", () => {
  const { lines, outages, groups, nodes } = play(annotated(), [
    ["crash", "serveur-a@5s"],
    ["restart", "serveur-a@30s"],
  ], 60_000);
  const take = lines.find(({ rule }) => rule === "take")!;
  assert.equal(take.who, "serveur-b");
  assert.match(take.text, /serveur-a has no lease any more/);
  assert.ok(take.at > 5700 && take.at < 6300, `${take.at}`);
  assert.equal(outages.length, 1);
  const [{ from, to, before, after }] = outages as [EndState["outages"][0]];
  assert.deepEqual([before, after, from], ["serveur-a", "serveur-b", 5000]);
  assert.ok(to - from < 1300, `${to - from} ms`);
  assert.deepEqual(groups, [{ name: "web", state: "runs on serveur-b" }]);
  assert.ok(nodes.every(({ state }) => state.startsWith("runs")));
});

Deno.test("one of two links, or the witness alone, costs nobody anything", () => {
  for (const words of ["serveur-a-*/0@5s", "temoin-*@5s", "serveur-a>serveur-b/1@5s"]) {
    const { outages, lines } = play(annotated(), [["cut", words]], 30_000);
    assert.deepEqual(outages, [], words);
    assert.ok(lines.some(({ rule }) => rule === "link-down"), words);
  }
});

Deno.test("replication on the addresses of a link goes with that link", () => {
  // All three volumes are replicated on the network of link 1.
  const { volumes } = play(many(), [["cut", "node-a-node-b/1@5s"]], 20_000);
  for (const { state } of volumes) assert.doesNotMatch(state, /, Connected/);
  const other = play(many(), [["cut", "node-a-node-b/0@5s"]], 20_000);
  for (const { state } of other.volumes) assert.match(state, /, Connected/);
});

Deno.test("several groups and volumes move as they must", () => {
  const { groups, volumes, outages } = play(many(), [
    ["move", "plain>node-a@2s"],
    ["crash", "node-a@5s"],
  ], 30_000);
  assert.deepEqual(groups.map(({ state }) => state), [
    "runs on node-b",
    "runs on node-b",
    "runs on node-b",
  ]);
  assert.ok(volumes.every(({ state }) => state.includes("node-b: Primary")));
  assert.deepEqual([...new Set(outages.map(({ group }) => group))].sort(), ["plain", "web"]);
});

Deno.test("when nobody can run a group the end says why", () => {
  const { groups, outages } = play(annotated(), [
    ["crash", "serveur-a@5s"],
    ["crash", "temoin@5s"],
  ], 30_000);
  assert.match(groups[0]!.state, /runs nowhere; .*No majority of voters/);
  assert.equal(outages[0]!.to, Infinity);
});

Deno.test("every kind can be written as its help says", () => {
  const config = annotated();
  for (const [kind, words] of Object.entries(HAPPENINGS)) {
    const filled = words.replace(/^NODE-NODE/, "serveur-a-temoin").replace(/^NODE/, "serveur-a")
      .replace("[/LINK]", "/1").replace("/VOLUME", "/data").replace("GROUP", "web")
      .replace("[>NODE]", ">serveur-b").replaceAll("TIME", "1500ms");
    assert.equal(parseHappening(kind as Happening, filled, config).at, 1500, filled);
  }
});

Deno.test("words that mean nothing are answered with the mend", () => {
  const bad = (kind: Happening, words: string, message: RegExp) =>
    assert.throws(() => parseHappening(kind, words, annotated()), (error) => {
      assert.ok(error instanceof HappeningError);
      assert.match(error.message, message);
      return true;
    });
  bad("crash", "serveur-a", /says not when; write --crash NODE@TIME/);
  bad("crash", "servur-a@5s", /no node is called servur-a; did you mean serveur-a\?/);
  bad("crash", "serveur-a@5", /"5" has no unit/);
  bad("cut", "serveur-a@5s", /names no two nodes; .*The nodes are serveur-a, serveur-b, temoin/);
  bad("cut", "serveur-a-temoin/7@5s", /no link is called 7; there are 0, 1 and r/);
  bad("freeze", "serveur-a@5s", /says not for how long/);
  bad("move", "wob@5s", /no group is called wob; did you mean web\?/);
  bad("fail-disk", "temoin@5s", /temoin has no replica/);
});
