import assert from "node:assert/strict";
import { parseConfig } from "../../src/config/parse.ts";
import { configOf, type Edit, edited, problemsOf, SAMPLE } from "./sample.ts";

const config = (...edits: readonly Edit[]) => configOf(edited(...edits));

Deno.test("configuration: an empty file lacks its tables", () => {
  assert.deepEqual(problemsOf(""), [
    "1:1: cluster: this table is missing; add [cluster]",
    "1:1: nodes: this table is missing; add [nodes]",
  ]);
});

Deno.test("configuration: a good file gives typed values and defaults", () => {
  const { cluster, nodes, paths, volumes, groups, file } = config();
  assert.equal(file, "bascule.toml");
  assert.deepEqual(cluster, {
    name: "web",
    keyFile: "/etc/bascule/key",
    keepalive: 200,
    warntime: 500,
    deadtime: 1000,
    initdead: 10_000,
    shrinkAfter: 10_000,
    pingInterval: 1000,
    pingSettle: 10_000,
    quorum: "majority",
    fenceDelay: 5000,
    bootAlone: false,
    realtime: true,
  });
  assert.deepEqual(paths, { state: "/var/lib/bascule", runtime: "/run/bascule" });
  assert.deepEqual(nodes.map(({ name, witness }) => [name, witness]), [
    ["a", false],
    ["b", false],
    ["w", true],
  ]);
  assert.deepEqual(nodes[0]?.links[1], {
    address: "udp://198.51.100.1:6940",
    host: "198.51.100.1",
    port: 6940,
  });
  assert.deepEqual(volumes[1], {
    name: "logs",
    size: 512 * 2 ** 20,
    protocol: "C",
    export: { address: "unix:/run/bascule/logs.sock", path: "/run/bascule/logs.sock" },
    afterPowerLoss: "wait",
    soleBoot: false,
    io: "buffered",
    timeout: 2000,
    freezeLimit: 60_000,
    onIoError: "detach",
    alExtents: "auto",
    verify: { every: null, repair: false },
    afterSplitBrain: "disconnect",
    resync: { floor: 0.1, rateMax: null, latencyFactor: 2, stall: 10_000 },
    replicas: [
      { node: "a", disk: "/dev/sdc", metaDisk: "internal", host: "192.0.2.1", port: 6942 },
      { node: "b", disk: "/dev/sdc", metaDisk: "internal", host: "192.0.2.2", port: 6942 },
    ],
  });
  const times = {
    startTimeout: 30_000,
    stopTimeout: 30_000,
    monitorTimeout: 10_000,
    restarts: 3,
    restartWindow: 300_000,
  };
  assert.deepEqual(groups, [{
    name: "web",
    prefer: ["a"],
    failback: "never",
    failureTimeout: 600_000,
    ping: [],
    candidates: ["a", "b"],
    resources: [
      { kind: "volume", id: "volume:data", volume: "data", monitorInterval: 0, ...times },
      { kind: "volume", id: "volume:logs", volume: "logs", monitorInterval: 0, ...times },
      {
        kind: "ip",
        id: "ip:192.0.2.3/24",
        address: "192.0.2.3",
        prefix: 24,
        family: 4,
        monitorInterval: 5000,
        ...times,
      },
    ],
  }]);
});

Deno.test("configuration: tables give resources their options", () => {
  const { groups } = config([
    '"ip:192.0.2.3/24"',
    `{ kind = "ip", address = "2001:DB8:0::3/64", interface = "eth1", monitor_interval = "0s" },
  { kind = "process", name = "p", command = ["p", ""], environment = { __proto__ = "x" } },
  { kind = "process", name = "h", command = ["h"], health = ["true"], user = "1000" },
  { kind = "command", name = "c", start = ["s"], stop = ["t"], status = ["u"], restarts = 0 }`,
  ]);
  const [ip, plain, healthy, command] = groups[0]?.resources.slice(2) ?? [];
  assert.ok(ip?.kind === "ip" && plain?.kind === "process");
  assert.ok(healthy?.kind === "process" && command?.kind === "command");
  assert.equal(ip.id, "ip:2001:db8::3/64");
  assert.equal(ip.interface, "eth1");
  assert.equal(ip.monitorInterval, 0);
  assert.deepEqual(plain.command, ["p", ""]);
  assert.deepEqual(Object.entries(plain.environment), [["__proto__", "x"]]);
  assert.equal(plain.monitorInterval, 0, "nothing to monitor with");
  assert.equal(healthy.monitorInterval, 5000);
  assert.equal(healthy.user, "1000");
  assert.deepEqual(command.status, ["u"]);
  assert.equal(command.restarts, 0);
});

Deno.test("configuration: a group runs where all of its volumes have a replica", () => {
  const one = 'b = { disk = "/dev/sdc", address = "192.0.2.2:6942" }\n';
  assert.deepEqual(config([one, ""]).groups[0]?.candidates, ["a"]);
  const none = `[groups.web]
prefer = ["a"]
resources = [
  "volume:data",
  "volume:logs",
  "ip:192.0.2.3/24",
]
`;
  const other = '[groups.other]\nresources = ["ip:192.0.2.4/24"]\n';
  assert.deepEqual(config([none, other]).groups[0]?.candidates, ["a", "b"]);
});

Deno.test("configuration: directories of the command line go before those of the file", () => {
  const text = edited(["[nodes.a]", '[paths]\nstate = "/s"\nruntime = "/r/"\n[nodes.a]']);
  assert.deepEqual(configOf(text).paths, { state: "/s", runtime: "/r" });
  const { config } = parseConfig(text, "f", { runtime: "/x" });
  assert.deepEqual(config?.paths, { state: "/s", runtime: "/x" });
  assert.equal(config?.volumes[0]?.export.path, "/x/data.sock");
});

Deno.test("configuration: the hash tells files apart by what nodes must agree on", () => {
  const { hash } = config();
  assert.match(hash, /^[0-9a-f]{64}$/);
  const moved = parseConfig(SAMPLE, "/elsewhere/file", { state: "/s", runtime: "/r" });
  assert.equal(moved.config?.hash, hash, "path and directories");
  assert.equal(configOf("# comment\n" + SAMPLE).hash, hash, "layout");
  assert.equal(config(['"1s"', '"1000ms"']).hash, hash, "spelling");
  assert.equal(
    config(['[groups.web]\nprefer = ["a"]\n', '[groups.web]\nprefer = [ "a" ]\n']).hash,
    hash,
  );
  for (
    const edit of [
      ['"1s"', '"2s"'],
      ['"20GiB"', '"21GiB"'],
      ['["a"]', '["b"]'],
      ['  "volume:data",\n  "volume:logs",', '  "volume:logs",\n  "volume:data",'],
      ["192.0.2.3/24", "192.0.2.4/24"],
      ['size = "512MiB"', 'size = "512MiB"\nexport = "unix:/run/other.sock"'],
    ] as const
  ) {
    assert.notEqual(config(edit).hash, hash, edit[1]);
  }
});

Deno.test("configuration: dotted keys and inline tables are the same tables", () => {
  const inline = SAMPLE
    .replace(
      '[volumes.logs]\nsize = "512MiB"\n[volumes.logs.replicas]\n',
      "[volumes.logs]\n" +
        'size = "512MiB"\n',
    )
    .replace('a = { disk = "/dev/sdc"', 'replicas.a = { disk = "/dev/sdc"')
    .replace(
      'b = { disk = "/dev/sdc", address = "192.0.2.2:6942" }',
      'replicas."b".disk = "/dev/sdc"\nreplicas.b.address = "192.0.2.2:6942"',
    );
  assert.equal(configOf(inline).hash, config().hash);
});

Deno.test("configuration: the annotated file of the project has no problems", () => {
  const file = new URL("../../config/bascule.toml", import.meta.url);
  const { config, problems } = parseConfig(Deno.readTextFileSync(file), "bascule.toml");
  assert.deepEqual(problems, []);
  assert.deepEqual(config?.groups[0]?.resources.map((resource) => resource.kind), [
    "volume",
    "command",
    "process",
    "ip",
    "ip",
  ]);
});

Deno.test("configuration: the defaults that the annotated file shows are the defaults", () => {
  const file = new URL("../../config/bascule.toml", import.meta.url);
  const text = Deno.readTextFileSync(file);
  const shown = text.replaceAll(/^# ([a-z_]+ = )/gm, "$1");
  assert.notEqual(shown, text);
  const [as, written] = [parseConfig(shown, "f"), parseConfig(text, "f")];
  assert.deepEqual(as.problems, []);
  assert.deepEqual(as.config, written.config);
});
