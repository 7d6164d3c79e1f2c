/**
 * Three agents, and everything that can happen to them, at random: SIGKILL, SIGSTOP and SIGCONT, cables
 * pulled, nodes cut apart. A client writes numbered blocks all the time and reads all of them back
 * after each takeover; another asks the network who has the address. What the simulator says of the
 * pure parts is true of real processes.
 *
 * `BASCULE_FAULT_SECONDS` says how long, `BASCULE_FAULT_SEED` what happens. The choices follow from the
 * seed, the moments at which they fall do not.
 */
import assert from "node:assert/strict";
import { Random } from "../volume/fake_disk.ts";
import type { Answers } from "./address_poll.ts";
import { type Cluster, VIRTUAL_ADDRESS, withCluster } from "./cluster.ts";
import { blocks, Ledger } from "./ledger.ts";
import { e2eTest } from "./network.ts";
import type { Node } from "./node.ts";

const SECONDS = Number(
  Deno.env.get("BASCULE_FAULT_SECONDS") ?? (Deno.env.get("CI") === "true" ? 180 : 45),
);
const SEED = Number(Deno.env.get("BASCULE_FAULT_SEED") ?? Date.now() % 1_000_000);
const BLOCKS = blocks(0, 512);

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** The client that asks who has the address. */
class AddressPoll {
  readonly answers: Answers[] = [];
  readonly #child: Deno.ChildProcess;
  readonly #reading: Promise<void>;

  constructor({ network }: Cluster) {
    const program = new URL("address_poll.ts", import.meta.url).pathname;
    const asks = ["eth0", network.address("client", 0), VIRTUAL_ADDRESS];
    const deno = [Deno.execPath(), "run", "-A", "--quiet", program, ...asks];
    const [command = "", ...args] = network.on("client", deno);
    this.#child = new Deno.Command(command, { args, stdin: "null", stdout: "piped" }).spawn();
    this.#reading = this.#read();
  }

  /** Everybody who had the address, each once for every time that it took over. */
  get owners(): string[] {
    const macs = this.answers.flatMap((each) => each.macs);
    return macs.filter((mac, index) => mac !== macs[index - 1]);
  }

  async end(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.status;
    await this.#reading;
  }

  async #read(): Promise<void> {
    let rest = "";
    for await (const text of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      for (const line of lines) this.answers.push(JSON.parse(line));
    }
  }
}

/** Who serves in the highest epoch now, if anybody says that he does. */
async function server(cluster: Cluster): Promise<{ node: Node; epoch: number } | null> {
  let best: { node: Node; epoch: number } | null = null;
  for (const node of [cluster.alpha, cluster.beta]) {
    const group = await node.group();
    const epoch = group?.epoch ?? 0;
    const serves = group?.owner === node.name && group.state === "running";
    if (serves && epoch > (best?.epoch ?? 0)) best = { node, epoch };
  }
  return best;
}

/** The client that writes: to whoever serves, until it is told to stop. */
class Writer {
  readonly ledger = new Ledger();
  /** How often it found everything that was acknowledged at a new owner. */
  verified = 0;
  #over = false;

  async run(cluster: Cluster): Promise<void> {
    let epoch = 0;
    while (!this.#over) {
      const found = await server(cluster);
      if (found === null || found.epoch < epoch) {
        await sleep(50);
        continue;
      }
      const takeover = found.epoch > epoch;
      let nbd;
      try {
        nbd = await found.node.nbd();
      } catch {
        // It fell since it was asked.
        await sleep(50);
        continue;
      }
      let ended = false;
      const work = (async () => {
        if (takeover && epoch > 0) await this.ledger.verify(nbd);
        if (takeover && epoch > 0) this.verified++;
        epoch = found.epoch;
        await this.ledger.load(nbd, BLOCKS);
      })().finally(() => ended = true);
      // A refusal or the end of the connection; a block that is wrong is passed on below.
      work.catch(() => {});
      while (!ended && !this.#over && !await this.#moved(cluster, found.epoch)) await sleep(100);
      await nbd.close();
      await work.catch((error) => {
        if (error instanceof assert.AssertionError) throw error;
      });
    }
  }

  stop(): void {
    this.#over = true;
  }

  /** Requests at an owner that hangs are answered never, or when it learns that it was replaced. */
  async #moved(cluster: Cluster, epoch: number): Promise<boolean> {
    const now = await server(cluster);
    return now !== null && now.epoch > epoch;
  }
}

/** One fault: what it is, how it begins and how it ends. */
interface Fault {
  readonly what: string;
  begin(): Promise<void>;
  end(): Promise<void>;
}

function fault(cluster: Cluster, node: Node, random: Random): Fault {
  const { network } = cluster;
  const others = cluster.nodes.filter((each) => each !== node).map(({ name }) => name);
  const lot = random.below(100);
  if (lot < 30) {
    return {
      what: `kill ${node.name}`,
      begin: () => node.kill(),
      end: () => Promise.resolve(node.start()),
    };
  }
  if (lot < 60) {
    return {
      what: `stop ${node.name}`,
      begin: () => Promise.resolve(node.pause()),
      end: () => Promise.resolve(node.resume()),
    };
  }
  if (lot < 75) {
    return {
      what: `pull the cables of ${node.name}`,
      begin: () => network.plug(node.name, false),
      end: () => network.plug(node.name, true),
    };
  }
  const from = random.chance(0.5) ? others : [others[random.below(2)]!];
  return {
    what: `cut ${node.name} off ${from.join(" and ")}`,
    begin: () => network.cut(node.name, from),
    end: () => network.heal(node.name, from),
  };
}

/** Faults one after the other, some of them two at a time at different nodes. */
async function wreak(cluster: Cluster, random: Random, story: string[]): Promise<void> {
  const end = performance.now() + SECONDS * 1000;
  const begun = Date.now();
  const say = (text: string) =>
    story.push(`${((Date.now() - begun) / 1000).toFixed(1)} s: ${text}`);
  while (performance.now() < end) {
    await sleep(random.below(3000));
    const nodes = [...cluster.nodes];
    const first = nodes.splice(random.below(nodes.length), 1)[0]!;
    const second = nodes[random.below(nodes.length)]!;
    const faults = [fault(cluster, first, random)];
    // Two cuts of one pair would be undone twice.
    if (random.chance(0.3)) {
      const other = fault(cluster, second, random);
      if (!(other.what.startsWith("cut") && faults[0]!.what.startsWith("cut"))) faults.push(other);
    }
    for (const each of faults) {
      say(each.what);
      await each.begin();
      await sleep(random.below(1500));
    }
    await sleep(random.below(5000));
    for (const each of faults) {
      say(`mend: ${each.what}`);
      await each.end();
      await sleep(random.below(500));
    }
  }
}

async function live(cluster: Cluster, story: string[]): Promise<void> {
  const { network } = cluster;
  await cluster.start();
  const poll = new AddressPoll(cluster);
  const writer = new Writer();
  const writing = writer.run(cluster);
  try {
    await Promise.race([wreak(cluster, new Random(SEED), story), writing]);
    // Everything is mended: it all comes back by itself.
    const owner = await cluster.waitForAnyOwner();
    await cluster.waitInSync(owner);
    writer.stop();
    await writing;
    const nbd = await owner.nbd();
    await writer.ledger.verify(nbd);
    await nbd.flush();
    await nbd.disconnect();
    await cluster.waitForSameData();
  } finally {
    writer.stop();
    await writing.catch(() => {});
    await poll.end();
  }
  const names = new Map<string, string>();
  for (const { name } of [cluster.alpha, cluster.beta]) names.set(await network.mac(name), name);
  for (const { at, macs } of poll.answers) {
    assert.ok(macs.length <= 1, `${new Date(at).toISOString()}: both nodes have the address`);
    for (const mac of macs) assert.ok(names.has(mac), `a stranger has the address: ${mac}`);
  }
  assert.ok(writer.ledger.acknowledged > 100, `${writer.ledger.acknowledged} writes acknowledged`);
  const owners = poll.owners.map((mac) => names.get(mac)).join(", then ");
  // deno-lint-ignore no-console -- what happened differs from run to run, and so does what it proves
  console.log(
    `${story.length} events; ${writer.ledger.acknowledged} writes acknowledged; all read back at ` +
      `${writer.verified} takeovers; the address was at ${owners}`,
  );
}

e2eTest(
  `${SECONDS} s of random kills, stops, cuts and pulled cables (seed ${SEED}): nothing that was ` +
    "acknowledged is lost, and never two nodes have the address",
  [],
  () =>
    withCluster({}, async (cluster) => {
      // Breaks when anything that keeps P1 to P4 holds in the simulator only.
      assert.ok(SECONDS > 0, "BASCULE_FAULT_SECONDS is no number");
      const story: string[] = [];
      try {
        await live(cluster, story);
      } catch (error) {
        const what = error instanceof Error ? error.message : String(error);
        throw new Error(`seed ${SEED}:\n${story.join("\n")}\n${what}`, { cause: error });
      }
    }),
);
