import assert from "node:assert/strict";
import { createCluster, step } from "../../src/cluster/cluster.ts";
import type {
  Ballot,
  ClusterEffect,
  Frame,
  GroupRecord,
  Heartbeat,
  Message,
  Takes,
  VoterLogRecord,
} from "../../src/cluster/types.ts";
import { DEADTIME, KEEPALIVE, makeConfig } from "./configs.ts";
import { World } from "./world.ts";

/** One voter `w`, driven by hand: what it answers to `a` and `b`, whose frames are made up here. */
class Bench {
  now = 10_000;
  readonly log: VoterLogRecord[] = [];
  state;
  #seq = new Map<string, number>();
  readonly #incarnations = new Map([["a", 1], ["b", 1]]);
  heardSeq = 0;
  /** Whether the peers say the ids that the record lists, so that this node may ask them too. */
  peersVote = false;

  constructor(log: readonly VoterLogRecord[] = clusterLog()) {
    this.log.push(...log);
    this.state = this.#create();
    this.hello();
  }

  #create() {
    return createCluster({
      config: makeConfig(),
      node: "w",
      incarnation: 1,
      voterId: "voter-w",
      now: this.now,
      seed: 1,
      log: this.log,
    });
  }

  restart(): void {
    this.state = this.#create();
    this.heardSeq = 0;
    this.hello();
  }

  /** Both peers show that they are no recordings. */
  hello(): void {
    this.tick();
    for (const node of ["a", "b"]) this.send(node, heartbeat({ hears: this.heardSeq }));
  }

  run(event: Parameters<typeof step>[2]): ClusterEffect[] {
    const effects = step(this.state, this.now, event);
    for (const effect of effects) {
      if (effect.type === "persist") this.log.push(effect.record);
      if (effect.type === "send") this.heardSeq = Math.max(this.heardSeq, effect.frame.seq);
    }
    return effects;
  }

  tick(): ClusterEffect[] {
    return this.run({ type: "tick" });
  }

  /** Time passes while both peers stay alive. */
  pass(milliseconds: number): void {
    for (let left = milliseconds; left > 0; left -= 50) {
      this.now += Math.min(50, left);
      this.tick();
      for (const node of ["a", "b"]) this.send(node, heartbeat({ hears: this.heardSeq }));
    }
  }

  frame(node: string, body: Message): Frame {
    const seq = (this.#seq.get(node) ?? 0) + 1;
    this.#seq.set(node, seq);
    return { node, incarnation: this.#incarnations.get(node)!, seq, protocol: 1, body };
  }

  /** A new run of that node. */
  reborn(node: string): void {
    this.#incarnations.set(node, this.#incarnations.get(node)! + 1);
    this.#seq.delete(node);
    this.send(node, heartbeat({ hears: this.heardSeq }));
  }

  send(node: string, message: Message): ClusterEffect[] {
    const body = message.type === "HEARTBEAT" && this.peersVote
      ? { ...message, voterId: `voter-${node}` }
      : message;
    return this.run({ type: "frame", link: 0, frame: this.frame(node, body) });
  }

  /** The answer of the voter to one message, as words. */
  ask(node: string, body: Message): string {
    const answers = this.send(node, body).flatMap((effect) =>
      effect.type === "send" && effect.to === node && effect.frame.body.type !== "HEARTBEAT" &&
        "ballot" in effect.frame.body && body.type !== "HEARTBEAT" && "ballot" in body &&
        effect.frame.body.ballot.n === body.ballot.n &&
        effect.frame.body.ballot.node === body.ballot.node
        ? [effect.frame.body]
        : []
    );
    assert.equal(answers.length, 1);
    const [answer] = answers;
    return answer!.type === "REFUSED" ? `REFUSED ${answer!.why}` : answer!.type;
  }

  /** What the next heartbeats say is granted for `web`, by sequence number; null: nothing. */
  granted(): number | null {
    this.now += KEEPALIVE;
    for (const effect of this.tick()) {
      if (effect.type === "send" && effect.frame.body.type === "HEARTBEAT") {
        return effect.frame.body.grants["web"]?.seq ?? null;
      }
    }
    throw new Error("no heartbeat");
  }
}

function ballot(n: number, node: string): Ballot {
  return { n, node, incarnation: 1 };
}

function clusterLog(votersVersion = 1): VoterLogRecord[] {
  const voters = ["a", "b", "w"].map((node) => ({ node, voterId: `voter-${node}` }));
  const value = {
    version: votersVersion,
    voters,
    votersVersion,
    lineage: "l",
    standby: [],
    maintenance: false,
  };
  return [
    { kind: "identity", voterId: "voter-w" },
    { kind: "accept", register: "cluster", ballot: ballot(1, "a"), proposal: { value } },
  ];
}

function heartbeat(
  { hears = 0, asks = {} }: { hears?: number; asks?: Record<string, number> } = {},
): Heartbeat {
  return {
    type: "HEARTBEAT",
    heard: { w: { incarnation: 1, seq: hears } },
    asks,
    grants: {},
    known: {},
    configHash: "hash",
    voterId: "voter-x",
    phase: "running",
    replicas: {},
    failed: {},
    deadtime: DEADTIME,
    lacks: 0,
    holds: 0,
    speaks: { least: 1, newest: 1 },
    reach: {},
  };
}

function record(version: number, epoch: number, owner: string | null): GroupRecord {
  const volumes = { data: { generation: "g", upToDate: ["replica-a", "replica-b"] } };
  return { version, epoch, owner: owner ? { node: owner, incarnation: 1 } : null, volumes };
}

const register = "group:web" as const;
const fromA: Takes = { node: "a", incarnation: 1, epoch: 1 };

function prepare(n: number, node: string, takes?: Takes, votersVersion = 1): Message {
  const body = { type: "PREPARE", register, votersVersion, ballot: ballot(n, node) } as const;
  return takes ? { ...body, takes } : body;
}

function accept(
  n: number,
  node: string,
  value: GroupRecord,
  takes?: Takes,
  votersVersion = 1,
): Message {
  const proposal = takes ? { value, takes } : { value };
  return { type: "ACCEPT", register, votersVersion, ballot: ballot(n, node), proposal };
}

/** `a` owns epoch 1, past the voter's wait after its own start. */
function owned(): Bench {
  const bench = new Bench();
  bench.pass(DEADTIME + 50);
  assert.equal(bench.ask("a", accept(10, "a", record(1, 1, "a"))), "ACCEPTED");
  return bench;
}

Deno.test("a voter keeps what it promised and accepted, before it answers", () => {
  const bench = new Bench();
  const effects = bench.send("a", prepare(5, "a"));
  const kinds = effects.filter(({ type }) => type === "persist" || type === "send")
    .map((effect) => effect.type === "send" ? effect.frame.body.type : effect.type);
  assert.ok(kinds.indexOf("persist") < kinds.indexOf("PROMISE"), kinds.join());
  assert.equal(bench.ask("b", prepare(4, "b")), "REFUSED ballot");
  bench.restart();
  assert.equal(bench.ask("b", prepare(4, "b")), "REFUSED ballot", "the promise was forgotten");
  assert.equal(bench.ask("b", accept(4, "b", record(1, 1, "b"))), "REFUSED ballot");
  assert.equal(bench.ask("a", accept(5, "a", record(1, 1, "a"))), "ACCEPTED");
  bench.restart();
  const answer = bench.send("b", prepare(6, "b")).find((effect) =>
    effect.type === "send" && effect.frame.body.type === "PROMISE"
  );
  assert.ok(answer?.type === "send" && answer.frame.body.type === "PROMISE");
  assert.deepEqual(answer.frame.body.accepted?.ballot, ballot(5, "a"));
});

Deno.test("retransmitted requests are answered again without another write", () => {
  const bench = new Bench();
  assert.equal(bench.ask("a", prepare(5, "a")), "PROMISE");
  assert.equal(bench.ask("a", accept(5, "a", record(1, 1, "a"))), "ACCEPTED");
  const { length } = bench.log;
  assert.equal(bench.ask("a", accept(5, "a", record(1, 1, "a"))), "ACCEPTED");
  assert.equal(bench.log.length, length);
});

Deno.test("a voter refuses other voters' versions", () => {
  const bench = new Bench();
  assert.equal(bench.ask("a", prepare(5, "a", undefined, 2)), "REFUSED votersVersion");
  assert.equal(bench.ask("a", prepare(5, "a", undefined, 0)), "REFUSED votersVersion");
  assert.equal(
    bench.ask("a", accept(5, "a", record(1, 1, "a"), undefined, 2)),
    "REFUSED votersVersion",
  );
});

Deno.test("a voter that the record does not list has no vote", () => {
  // Breaks H12: a voter that lost its state would forget for the others.
  const [, cluster] = clusterLog();
  const bench = new Bench([{ kind: "identity", voterId: "another" }, cluster!]);
  assert.equal(bench.ask("a", prepare(5, "a")), "REFUSED votersVersion");
  assert.equal(bench.ask("a", accept(5, "a", record(1, 1, "a"))), "REFUSED votersVersion");
  const blank = new Bench([]);
  assert.equal(blank.ask("a", prepare(5, "a")), "REFUSED votersVersion");
  assert.equal(blank.log[0]?.kind, "identity");
});

Deno.test("who was granted is not taken from for deadtime, at PREPARE and at ACCEPT", () => {
  // Breaks H5 and H33: a take, or a reader's completion of one, would pass beside a valid lease.
  const bench = owned();
  bench.pass(2 * DEADTIME);
  bench.send("a", heartbeat({ hears: bench.heardSeq, asks: { web: 1 } }));
  assert.notEqual(bench.granted(), null);
  assert.equal(bench.ask("b", prepare(20, "b", fromA)), "REFUSED granted");
  assert.equal(bench.ask("b", prepare(21, "b")), "PROMISE", "a read announces nothing");
  const take = record(2, 2, "b");
  assert.equal(bench.ask("b", accept(21, "b", take, fromA)), "REFUSED granted");
  const completion = accept(22, "a", take, fromA);
  assert.equal(bench.ask("a", completion), "REFUSED granted", "a reader's completion of it");
  bench.pass(DEADTIME - KEEPALIVE - 100);
  assert.equal(bench.ask("b", accept(21, "b", take, fromA)), "REFUSED granted");
  bench.pass(150);
  assert.equal(bench.ask("b", accept(21, "b", take, fromA)), "ACCEPTED");
});

Deno.test("the own voter obeys the refusal too when its node completes another's take", () => {
  // Breaks P3: with one other vote the take is chosen beside the lease that this voter granted.
  const bench = owned();
  bench.pass(2 * DEADTIME);
  bench.send("a", heartbeat({ hears: bench.heardSeq, asks: { web: 1 } }));
  const take = { value: record(2, 2, "b"), takes: fromA };
  const half = { ballot: ballot(20, "b"), proposal: take };
  let completed = 0;
  /** The two others promise what this node's reads ask, and show the half-made take. */
  const answer = (effects: readonly ClusterEffect[]) => {
    for (const effect of effects) {
      if (effect.type !== "send") continue;
      const { body } = effect.frame;
      if (body.type === "ACCEPT") completed++;
      if (body.type !== "PREPARE") continue;
      const promise = {
        type: "PROMISE",
        register: body.register,
        ballot: body.ballot,
        voterId: `voter-${effect.to}`,
      } as const;
      if (body.register === "cluster") {
        const { ballot, proposal } = bench.state.acceptor.accepted.get("cluster")!;
        answer(bench.send(effect.to, { ...promise, accepted: { ballot, proposal } }));
      } else answer(bench.send(effect.to, { ...promise, accepted: half }));
    }
  };
  const before = bench.log.length;
  bench.peersVote = true;
  for (let i = 0; i < 8; i++) {
    bench.now += 50;
    for (const node of ["a", "b"]) answer(bench.send(node, heartbeat({ hears: bench.heardSeq })));
    answer(bench.tick());
  }
  assert.ok(completed > 0, "the read went on to its write-back");
  const accepted = bench.log.slice(before).filter(({ kind }) => kind === "accept");
  assert.deepEqual(accepted.filter((each) => "register" in each && each.register === register), []);
});

Deno.test("once a voter was replaced, a voter that holds nothing in a register says so", () => {
  // Breaks H12: its promise would count although it may have forgotten a chosen value.
  const bench = new Bench(clusterLog(2));
  assert.equal(bench.ask("a", prepare(5, "a", undefined, 2)), "REFUSED noState");
  assert.equal(bench.ask("b", prepare(4, "b", undefined, 2)), "REFUSED ballot", "it did promise");
  assert.equal(bench.ask("a", accept(5, "a", record(1, 1, "a"), undefined, 2)), "ACCEPTED");
  assert.equal(bench.ask("a", prepare(6, "a", undefined, 2)), "PROMISE");
});

Deno.test("the refusal goes by what the message states, not by the voter's older record", () => {
  // Breaks H20: a voter that missed a release would refuse for ever.
  const bench = owned();
  bench.send("a", heartbeat({ hears: bench.heardSeq, asks: { web: 1 } }));
  assert.equal(bench.ask("b", accept(20, "b", record(4, 2, "b"))), "ACCEPTED");
  assert.equal(bench.granted(), null, "nor is the old grant said again");
});

Deno.test("an accepted take is a grant: it starts the refusal window", () => {
  const bench = owned();
  assert.equal(bench.ask("b", prepare(20, "b", fromA)), "REFUSED granted");
  bench.pass(DEADTIME);
  assert.equal(bench.ask("b", prepare(20, "b", fromA)), "PROMISE");
});

Deno.test("a newer run of the owner's node is never refused", () => {
  const bench = owned();
  bench.reborn("a");
  const again = { ...record(2, 2, "a"), owner: { node: "a", incarnation: 2 } };
  assert.equal(bench.ask("a", accept(30, "a", again, fromA)), "ACCEPTED");
});

Deno.test("a voter that accepted a newer epoch grants the old one no more", () => {
  // Breaks H5: the old owner's lease would come back after it was taken.
  const bench = owned();
  bench.send("a", heartbeat({ hears: bench.heardSeq, asks: { web: 1 } }));
  assert.notEqual(bench.granted(), null);
  bench.pass(2 * DEADTIME);
  assert.equal(bench.ask("b", accept(20, "b", record(2, 2, "b"), fromA)), "ACCEPTED");
  bench.send("a", heartbeat({ hears: bench.heardSeq, asks: { web: 1 } }));
  assert.equal(bench.granted(), null);
});

Deno.test("a grant needs the right epoch, and an owner that has heard this voter lately", () => {
  // Breaks H7: an owner that cannot hear would hold everybody off.
  const bench = owned();
  bench.send("a", heartbeat({ hears: bench.heardSeq, asks: { web: 2 } }));
  assert.equal(bench.granted(), null);
  const stale = bench.heardSeq;
  bench.pass(DEADTIME);
  bench.send("a", heartbeat({ hears: stale, asks: { web: 1 } }));
  assert.equal(bench.granted(), null);
  bench.send("a", heartbeat({ hears: bench.heardSeq, asks: { web: 1 } }));
  assert.notEqual(bench.granted(), null);
});

Deno.test("a voter takes nothing from anybody for deadtime after its start and after its pause", () => {
  // Breaks R12: it has forgotten, or slept over, whom it granted what.
  const bench = owned();
  bench.pass(2 * DEADTIME);
  bench.restart();
  assert.equal(bench.ask("b", prepare(20, "b", fromA)), "REFUSED restarted");
  assert.equal(bench.ask("b", accept(20, "b", record(2, 2, "b"), fromA)), "REFUSED restarted");
  assert.equal(bench.ask("b", prepare(20, "b")), "PROMISE", "it takes part otherwise");
  bench.pass(DEADTIME);
  assert.equal(bench.ask("b", prepare(21, "b", fromA)), "PROMISE");
  bench.now += 0.81 * DEADTIME;
  bench.hello();
  assert.equal(bench.ask("b", prepare(22, "b", fromA)), "REFUSED restarted");
});

Deno.test("a log that goes backwards or holds no identity is refused with the way out", () => {
  const [identity, cluster] = clusterLog();
  const later: VoterLogRecord = { kind: "promise", register: "cluster", ballot: ballot(9, "a") };
  assert.throws(() => new Bench([identity!, later, cluster!]), /goes backwards.*admit this voter/s);
  assert.throws(() => new Bench([cluster!]), /no identity/);
});

Deno.test("a voter that lost its state is admitted anew by the others, then counts", () => {
  // Breaks P4 when a reinstalled witness never votes again, P2 when it votes before.
  for (let seed = 1; seed <= 10; seed++) {
    const world = new World({ config: makeConfig(), seed });
    world.startAll();
    world.until("a serves", () => world.owner() === "a", 5 * DEADTIME);
    world.run(3 * DEADTIME);
    world.crash("w");
    world.node("w").log = [];
    world.start("w");
    world.until(
      "admitted",
      () => world.view("w").records.cluster?.votersVersion === 2,
      15 * DEADTIME,
    );
    world.until("a counts it", () => world.view("a").quorum.votes === 3, DEADTIME);
    world.run(5 * DEADTIME);
    world.crash("a");
    world.until("b takes with the new vote", () => world.owner() === "b", 3 * DEADTIME);
  }
});

Deno.test("one voter after the other may lose its state, data nodes too", () => {
  // Breaks when a replaced voter votes in a register whose value it has not been given.
  const world = new World({ config: makeConfig({ groups: ["aux"] }), seed: 5 });
  world.startAll();
  world.until("a serves", () => world.owner() === "a", 5 * DEADTIME);
  let version = 1;
  for (const name of ["w", "b", "a", "w"]) {
    world.run(8 * DEADTIME);
    world.crash(name);
    world.run(300);
    world.node(name).log = [];
    world.start(name);
    version += 1;
    world.until(
      `${name} is admitted`,
      () =>
        ["a", "b", "w"].every((each) =>
          world.view(each).records.cluster?.votersVersion === version
        ),
      20 * DEADTIME,
    );
    world.until("served", () => world.owner() !== null, 5 * DEADTIME);
    world.until("aux too", () => world.owner("aux") !== null, 5 * DEADTIME);
  }
});

Deno.test("a group whose register nobody ever wrote starts after a voter was replaced", () => {
  // Breaks P4 when voters that hold nothing can never make the first record again.
  const world = new World({ config: makeConfig() });
  world.node("b").disk.replicaId = "";
  world.startAll();
  world.run(3 * DEADTIME);
  assert.equal(world.owner(), null);
  world.crash("w");
  world.node("w").log = [];
  world.start("w");
  world.until(
    "admitted",
    () => ["a", "b", "w"].every((each) => world.view(each).records.cluster?.votersVersion === 2),
    15 * DEADTIME,
  );
  world.node("b").disk.replicaId = "replica-b";
  world.node("b").shells!.report();
  world.until("a serves", () => world.owner() === "a", 10 * DEADTIME);
});

Deno.test("two voters without their state: nothing is decided, data are not given away", () => {
  // Breaks when a cluster that forgot its records starts a new history by itself.
  const world = new World({ config: makeConfig() });
  world.startAll();
  world.until("a serves", () => world.owner() === "a", 5 * DEADTIME);
  world.run(3 * DEADTIME);
  for (const name of ["a", "b", "w"]) world.crash(name);
  for (const name of ["b", "w"]) world.node(name).log = [];
  for (const name of ["a", "b", "w"]) world.start(name);
  world.run(30 * DEADTIME);
  assert.deepEqual(world.serving(), []);
});
