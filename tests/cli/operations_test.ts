import assert from "node:assert/strict";
import { differenceLines, outcomeLines } from "../../src/cli/config_push.ts";
import { explainGroup } from "../../src/cli/explain.ts";
import { statusLines } from "../../src/cli/status_table.ts";
import type { GroupStatus, StatusDocument } from "../../src/status/types.ts";
import { configOf, SAMPLE } from "../config/sample.ts";
import { DOCUMENT, note, RUNNING, withApi } from "../status/fixtures.ts";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;

async function bascule(...args: string[]): Promise<[number, string, string]> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", MAIN, ...args],
    stdin: "null",
    env: { NO_COLOR: "1" },
  }).output();
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return [code, decode(stdout), decode(stderr)];
}

const CONFIG = RUNNING;

const WEB: GroupStatus = {
  name: "web",
  owner: "serveur-a",
  state: "running",
  epoch: 7,
  resources: [],
  why: {
    action: "none",
    to: "serveur-b",
    rule: "connectivity-soon",
    text: "serveur-b reaches 1 of 1 ping targets, serveur-a 0: the group goes there if that lasts",
    known: { own: 0, reaches: 1 },
  },
  candidates: [
    { node: "serveur-b", against: null, reaches: 1, of: 1 },
    { node: "serveur-a", against: null, reaches: 0, of: 1 },
    { node: "serveur-c", against: "failed the group (it exited)", reaches: null, of: 1 },
  ],
  failures: { "serveur-c": { reason: "it exited", count: 2, againIn: 90_000 } },
};

Deno.test("explain says what is known, the rule, every candidate, and the last decisions", () => {
  const decision = {
    ...note("it is taken"),
    id: 3,
    node: "serveur-a",
    time: "2026-11-25T10:00:00Z",
  };
  assert.deepEqual(explainGroup(DOCUMENT, WEB, [decision]), [
    "web: running on serveur-a, epoch 7",
    "  seen from  serveur-a, with a quorum (2 of 3 votes)",
    "  decision   none serveur-b, by the rule connectivity-soon",
    "  because    serveur-b reaches 1 of 1 ping targets, serveur-a 0: the group goes there if that lasts",
    "  known      own=0, reaches=1",
    "  candidates  serveur-b  could take it                 reaches 1 of 1 targets",
    "              serveur-a  owns it                       reaches 0 of 1 targets",
    "              serveur-c  failed the group (it exited)  pings not measured",
    "  failed     on serveur-c 2 times: it may try again in 90 s, or at once after bascule cleanup web",
    "  last decisions on serveur-a",
    "    2026-11-25T10:00:00Z take: it is taken [epoch=4, sole=true]",
  ]);
});

withApi("explain asks the agent and its journal", async ({ dir, journal }) => {
  for (let i = 0; i < 30; i++) journal.append(note(`decision ${i}`));
  journal.append({ ...note("of another group"), group: "mail" });
  const [code, out] = await bascule("explain", "web", "--last", "3", "--runtime-dir", dir);
  assert.equal(code, 0);
  assert.deepEqual(out.match(/decision \d+/g), ["decision 27", "decision 28", "decision 29"]);
  const [, json] = await bascule("explain", "--json", "--runtime-dir", dir);
  const { groups } = JSON.parse(json);
  assert.deepEqual(groups.map(({ name }: { name: string }) => name), ["web", "mail"]);
  assert.equal(groups[1].decisions[0].text, "of another group");
  assert.deepEqual(await bascule("explain", "wbe", "--runtime-dir", dir), [
    2,
    "",
    "there is no group wbe; the configuration has web, mail\n",
  ]);
});

withApi("maintenance and config push reach the agent", async ({ dir, commands }) => {
  const config = `${dir}/bascule.toml`;
  await Deno.writeTextFile(config, SAMPLE);
  const tell = (...args: string[]) => bascule(...args, "-c", config, "--runtime-dir", dir);
  assert.match((await tell("maintenance", "on"))[1], /maintenance is on: nothing is started/);
  assert.match((await tell("maintenance", "off"))[1], /maintenance is off/);
  assert.equal((await tell("maintenance", "status"))[1], "maintenance is off\n");
  const [code, out, err] = await tell("config", "push");
  assert.deepEqual([code, err], [0, ""]);
  assert.match(out, /in force/);
  const { hash } = configOf(SAMPLE);
  assert.deepEqual(commands, [
    { type: "maintenance", on: true },
    { type: "maintenance", on: false },
    { type: "push", hash },
  ]);
  await Deno.writeTextFile(config, SAMPLE.replace("[cluster]", "[clutter]"));
  assert.equal((await tell("config", "push"))[0], 2);
  assert.equal(commands.length, 3);
});

Deno.test("push says what differs, what is in force, and whom to restart", () => {
  const differing = { ...CONFIG, live: ["x"], restart: ["y"], refused: ["z"] };
  assert.deepEqual(differenceLines(CONFIG), ["the file holds what runs here"]);
  assert.deepEqual(differenceLines(differing).slice(1), [
    "  x",
    "  y (needs a restart of the agent)",
    "  z (cannot be pushed)",
  ]);
  const nodes = DOCUMENT.nodes.map((node) => ({
    ...node,
    voter: true,
    config: node.name === "serveur-b" ? "aaaa" : "bbbb",
  }));
  assert.deepEqual(outcomeLines({ ...DOCUMENT, nodes, config: CONFIG }, "bbbb"), [
    "configuration bbbb is in force; voters: serveur-a, serveur-b, temoin",
    "serveur-b still runs another: what changes there needs a restart of the agent, " +
    "one node after the other (its groups are handed over)",
  ]);
});

Deno.test("status shows maintenance, pings, and every configuration that is not the pushed one", () => {
  const show = (change: Partial<StatusDocument>) =>
    statusLines({ ...DOCUMENT, config: CONFIG, ...change }).slice(1, 6);
  assert.equal(show({})[0], "");
  assert.match(show({ maintenance: true })[0]!, /^MAINTENANCE/);
  const pushed = { ...CONFIG, pushed: "bbbb", file: "bbbb", restart: ["groups.web.resources"] };
  const nodes = DOCUMENT.nodes.map((node) => ({ ...node, config: "aaaa" }));
  assert.deepEqual(show({ config: pushed, nodes }).slice(0, 2), [
    "the pushed configuration waits for a restart of this agent: groups.web.resources",
    "serveur-a, serveur-b, temoin run another configuration than the one that was pushed",
  ]);
  assert.match(show({ config: { ...CONFIG, file: "cccc" } })[0]!, /bascule config push/);
  const waits = { ...CONFIG, pushed: "aaaa", waitsFor: "temoin to come up and join the voters" };
  assert.match(show({ config: waits })[0]!, /waits for temoin to come up and join the voters/);
  const reach = { "192.0.2.254": false, "192.0.2.253": true };
  const measured = DOCUMENT.nodes.map((node) => ({ ...node, reach }));
  const lines = show({ nodes: measured, groups: [WEB] });
  assert.match(lines[1]!, /PINGS$/);
  assert.match(lines[2]!, /1 of 2; lost: 192\.0\.2\.254$/);
});
