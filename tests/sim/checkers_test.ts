import assert from "node:assert/strict";
import fc from "fast-check";
import type {
  Accept,
  ClusterRecord,
  GroupRecord,
  VoterLogRecord,
} from "../../src/cluster/types.ts";
import { History } from "../../src/sim/history.ts";
import { drawOptions } from "../../src/sim/options.ts";
import { RegisterWatch } from "../../src/sim/register_watch.ts";
import { simulate } from "../../src/sim/simulation.ts";
import { Violation } from "../../src/sim/violation.ts";

/** A history of one block from lines such as `w1 0-10`, `r1 12-13`, `f 14-15`; no end: no answer. */
function historyOf(
  lines: string,
  forgives: "nothing" | "power" = "nothing",
  losses: number[] = [],
) {
  const history = new History(forgives);
  const events: [number, () => void][] = losses.map((at) => [at, () => history.storageLost(at)]);
  for (const line of lines.split(",")) {
    const [, what, value, fua, began, ended] = /^\s*([wrf])(\d*)(!?) (\d+)-(\d*)$/.exec(line)!;
    const kind = ({ w: "write", r: "read", f: "flush" } as const)[what as "w" | "r" | "f"];
    events.push([Number(began), () => {
      const operation = history.begin(kind, 7, Number(value), fua === "!", Number(began), "a");
      if (ended !== "") history.end(operation, Number(ended));
    }]);
  }
  events.sort(([one], [other]) => one - other);
  for (const [, happen] of events) happen();
  return history;
}

const good = (...args: Parameters<typeof historyOf>) => historyOf(...args).check();
const bad = (...args: Parameters<typeof historyOf>) =>
  assert.throws(() => historyOf(...args).check(), Violation, args[0]);

Deno.test("histories that one disk could have shown pass", () => {
  good("w1 0-1, r1 2-3, w2 4-5, r2 6-7");
  good("r0 0-1, w1 2-3, r1 4-5");
  // Overlapping: either order.
  good("w1 0-10, w2 0-10, r1 11-12");
  good("w1 0-10, w2 0-10, r2 11-12");
  good("w1 0-10, r0 2-3, r1 4-5");
  // No answer: it may have happened, late, or not at all.
  good("w1 0-1, w2 2-, r1 3-4, r2 5-6");
  good("w1 0-1, w2 2-, r1 30-40");
});

Deno.test("what an earlier service left unanswered is settled when another one begins", () => {
  const history = (reads: readonly (readonly [value: number, at: number])[], run: unknown) => {
    const one = new History("nothing");
    one.end(one.begin("write", 7, 1, false, 0, "a"), 1);
    one.begin("write", 7, 2, false, 2, "a");
    one.promoted(10, run);
    for (const [value, at] of reads) one.end(one.begin("read", 7, value, false, at, "b"), at + 1);
    return one;
  };
  history([[2, 11], [2, 13]], "b").check();
  history([[1, 11], [1, 13]], "b").check();
  // The same run goes on with what it was asked.
  history([[1, 11], [2, 13]], "a").check();
  assert.throws(() => history([[1, 11], [2, 13]], "b").check(), Violation);
});

Deno.test("lost, stale, invented and resurrected values are found", () => {
  bad("w1 0-1, r0 2-3");
  bad("w1 0-1, w2 2-3, r1 4-5");
  bad("w1 0-1, r5 2-3");
  bad("r1 0-1, w1 2-3");
  // Seen, then gone again.
  bad("w1 0-1, w2 2-, r2 3-4, r1 5-6");
  // A write without an answer, denied by a later one, comes back.
  bad("w1 0-1, w2 2-, w3 3-4, r3 5-6, r2 7-8, r3 9-10");
  // Two readers see two writes in different orders.
  bad("w1 0-10, w2 0-10, r1 11-12, r2 13-14, r1 15-16");
});

Deno.test("after a loss of power an older value may come back, unless it was flushed", () => {
  good("w1 0-1, w2 2-3, r1 20-21", "power", [10]);
  bad("w1 0-1, w2 2-3, r1 20-21", "nothing", [10]);
  bad("w1 0-1, w2 2-3, r1 8-9", "power", [10]);
  bad("w1 0-1, w2 2-3, f 4-5, r1 20-21", "power", [10]);
  bad("w1 0-1, w2! 2-3, r1 20-21", "power", [10]);
  good("w1 0-1, w2 2-3, f 11-12, r1 20-21", "power", [10]);
  // It comes back once; then history goes on.
  bad("w1 0-1, w2 2-3, r1 20-21, r2 22-23, r1 24-25", "power", [10]);
});

Deno.test("whatever one disk answers passes, and a read changed to an older value does not", () => {
  const step = fc.record({
    write: fc.boolean(),
    lead: fc.integer({ min: 1, max: 30 }),
    lag: fc.integer({ min: 1, max: 30 }),
  });
  fc.assert(fc.property(fc.array(step, { minLength: 1, maxLength: 40 }), (steps) => {
    const history = new History("nothing");
    let value = 0;
    const operations = steps.map(({ write, lead, lag }, at) => {
      if (write) value++;
      const now = 10 * at;
      const operation = history.begin(write ? "write" : "read", 1, value, false, now - lead, "a");
      history.end(operation, now + lag);
      return operation;
    });
    history.check();
    const read = operations.find(({ what, value, began }) =>
      what === "read" && value > 1 &&
      operations.some((each) => each.what === "write" && each.value === value && each.ended < began)
    );
    if (read === undefined) return;
    const before = operations.find(({ what, value }) =>
      what === "write" && value === read.value - 1
    )!;
    const own = operations.find(({ what, value }) => what === "write" && value === read.value)!;
    if (before.ended >= own.began) return;
    read.value--;
    assert.throws(() => history.check(), Violation);
  }));
});

Deno.test("a member that lacks what was acknowledged is found, an overlapping write is not", () => {
  const history = historyOf("w1 0-1, w2 2-5, w3 4-6, w4 7-");
  assert.throws(() => history.checkHeld(7, 1, "b"), Violation);
  assert.throws(() => history.checkHeld(7, 0, "b"), Violation);
  for (const value of [2, 3, 4]) history.checkHeld(7, value, "b");
});

function record(version: number, epoch: number): GroupRecord {
  return { version, epoch, owner: null, volumes: {} };
}

function accepted(n: number, value: GroupRecord): VoterLogRecord {
  const ballot = { n, node: "a", incarnation: 1 };
  return { kind: "accept", register: "group:web", ballot, proposal: { value } };
}

Deno.test("registers: forks, gaps, false claims and ballots with two values are found", () => {
  const watch = new RegisterWatch(3);
  const choose = (n: number, value: GroupRecord) => {
    for (const voter of ["a", "b"]) watch.persisted(voter, accepted(n, value));
  };
  choose(1, record(1, 1));
  watch.persisted("a", accepted(2, record(2, 2)));
  assert.throws(() => watch.claimed("group:web", record(2, 2)), /is not chosen/);
  watch.persisted("b", accepted(2, record(2, 2)));
  watch.claimed("group:web", record(2, 2));
  assert.equal((watch.newest("group:web") as ClusterRecord | undefined)?.version, 2);
  // A read writes the same value back under its own ballot.
  choose(3, record(2, 2));
  assert.throws(() => choose(4, record(2, 9)), /two values are chosen/);
  assert.throws(() => choose(5, record(4, 4)), /the one before it is not/);
  assert.throws(() => watch.persisted("c", accepted(1, record(1, 7))), /two values were accepted/);
  const accept = (value: GroupRecord): Accept => ({
    type: "ACCEPT",
    register: "group:web",
    votersVersion: 1,
    ballot: { n: 9, node: "b", incarnation: 1 },
    proposal: { value },
  });
  watch.sent(accept(record(3, 3)));
  assert.throws(() => watch.sent(accept(record(3, 4))), /used for two values/);
});

Deno.test("registers: a change of voters is chosen where every majority before and after meets it", () => {
  const ballot = (n: number) => ({ n, node: "a", incarnation: 1 });
  const list = (version: number, nodes: string): ClusterRecord => ({
    version,
    voters: [...nodes].map((node) => ({ node, voterId: node })),
    votersVersion: version,
    lineage: "l",
    standby: [],
    maintenance: false,
  });
  const isChosen = (before: string, after: string, holders: string) => {
    const watch = new RegisterWatch(before.length);
    const persist = (version: number, nodes: string, by: string) => {
      const proposal = { value: list(version, nodes) };
      const record = {
        kind: "accept",
        register: "cluster",
        ballot: ballot(version),
        proposal,
      } as const;
      for (const voter of by) watch.persisted(voter, record);
    };
    persist(1, before, before);
    persist(2, after, holders);
    return watch.newest("cluster")!.version === 2;
  };
  for (
    const [before, after, holders, chosen] of [
      // Under two nothing is decided without either of them.
      ["ab", "abc", "ac", true],
      ["ab", "abc", "ab", true],
      ["ab", "abc", "a", false],
      ["ab", "abc", "c", false],
      ["abc", "abcd", "abd", true],
      ["abc", "abcd", "ab", false],
      ["abcd", "abcde", "abe", true],
      ["abcd", "abcde", "ae", false],
      // The two others of those before could decide otherwise.
      ["abc", "abd", "ad", false],
      ["abc", "abd", "ab", true],
      ["abc", "ab", "a", false],
    ] as const
  ) {
    assert.equal(isChosen(before, after, holders), chosen, `${before} to ${after}: ${holders}`);
  }
});

Deno.test("registers: what a voter accepted counts beyond its loss, under the voters it held then", () => {
  const list = (
    version: number,
    ids: readonly string[],
    votersVersion = version,
  ): VoterLogRecord => ({
    kind: "accept",
    register: "cluster",
    ballot: { n: version, node: "a", incarnation: 1 },
    proposal: {
      value: {
        version,
        voters: ids.map((voterId) => ({ node: voterId[0]!, voterId })),
        votersVersion,
        lineage: "l",
        standby: [],
        maintenance: false,
      },
    },
  });
  const first = list(1, ["a", "b", "c"]);
  const second = list(2, ["a", "b", "c2"]);
  const begun = () => {
    const watch = new RegisterWatch(3);
    for (const voter of ["a", "b", "c"]) watch.persisted(voter, first);
    watch.persisted("c", accepted(5, record(1, 1)));
    return watch;
  };
  const isChosen = (watch: RegisterWatch) => watch.newest("group:web") !== undefined;
  // Its answer is on its way; nobody can see whether c has lost its state meanwhile.
  const before = begun();
  before.persisted("b", accepted(5, record(1, 1)));
  assert.ok(isChosen(before));
  // c was admitted anew: b, which has not heard of it, completes what c had accepted.
  const late = begun();
  for (const voter of ["a", "c2"]) late.persisted(voter, second);
  late.persisted("b", accepted(5, record(1, 1)));
  assert.ok(isChosen(late));
  // One that knows the new list counts in that one, whose quorums need not meet the former.
  const mixed = begun();
  for (const voter of ["a", "b"]) mixed.persisted(voter, second);
  mixed.persisted("b", accepted(5, record(1, 1)));
  assert.ok(!isChosen(mixed));
  mixed.persisted("c2", second);
  mixed.persisted("c2", accepted(5, record(1, 1)));
  assert.ok(isChosen(mixed));
  const copied = begun();
  copied.persisted("a", list(2, ["a", "b", "c2"], 1));
  assert.throws(() => copied.persisted("b", list(2, ["a", "b", "c2"], 1)), /names two lists/);
});

Deno.test("a world in which nothing goes wrong is well, and clients are served", () => {
  const drawn = drawOptions(3, 60_000);
  const weights = Object.fromEntries(Object.keys(drawn.weights).map((name) => [name, 0]));
  const outcome = simulate({
    ...drawn,
    weights: weights as typeof drawn.weights,
    ambush: 0,
    duration: 120_000,
  });
  assert.equal(outcome.violation, null);
  assert.ok(outcome.answered > 100, `${outcome.answered} answers`);
  assert.equal(outcome.recovery, 0, "it was well before the end of trouble");
});

Deno.test("registers: who is lent a vote decides by what its own voter holds, and nobody else does", () => {
  const voters = ["a", "b"].map((node) => ({ node, voterId: node }));
  const accept = (by: string, version: number, solo?: string): VoterLogRecord => ({
    kind: "accept",
    register: "cluster",
    ballot: { n: version, node: by, incarnation: 1 },
    proposal: { value: clusterRecord(version, solo) },
  });
  const clusterRecord = (version: number, solo?: string): ClusterRecord => ({
    version,
    voters,
    votersVersion: 1,
    lineage: "l",
    standby: version > 1 ? ["b"] : [],
    maintenance: false,
    ...(solo === undefined ? {} : { solo }),
  });
  const begun = () => {
    const watch = new RegisterWatch(2);
    for (const voter of ["a", "b"]) watch.persisted(voter, accept("a", 1));
    watch.persisted("a", accept("a", 2));
    assert.throws(() => watch.claimed("cluster", clusterRecord(2)), /is not chosen/);
    return watch;
  };
  const watch = begun();
  watch.persisted("a", accept("a", 3, "a"));
  watch.claimed("cluster", clusterRecord(2));
  watch.claimed("cluster", clusterRecord(3, "a"));
  // b's voter never held the second.
  assert.throws(() => begun().persisted("b", accept("b", 3, "b")), /the one before it is not/);
  const other = begun();
  other.persisted("a", accept("a", 3, "b"));
  assert.throws(() => other.claimed("cluster", clusterRecord(3, "b")), /is not chosen/);
  assert.throws(() => other.claimed("cluster", clusterRecord(2)), /is not chosen/);
});
