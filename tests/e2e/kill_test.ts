/**
 * Agents are killed at random moments, one or both, under two loads at once: fio's verified one and
 * overlapping requests of any size. After each return to normal everything that was acknowledged is
 * there and both replicas are the same, byte for byte.
 *
 * `BASCULE_KILLS` says how many rounds, `BASCULE_KILL_SEED` which.
 */
import assert from "node:assert/strict";
import { Random } from "../volume/fake_disk.ts";
import { type Cluster, withCluster } from "./cluster.ts";
import { e2eTest, must } from "./network.ts";
import type { Node } from "./node.ts";
import { OverlappingLoad } from "./overlapping_load.ts";

const MIB = 1 << 20;
const HALF = 32 * MIB;
const ROUNDS = Number(Deno.env.get("BASCULE_KILLS") ?? 6);
const SEED = Number(Deno.env.get("BASCULE_KILL_SEED") ?? Date.now() % 1_000_000);
const SHOW = Deno.env.has("BASCULE_KILLS");

function fio(node: Node, ...args: string[]): string[] {
  const uri = `nbd+unix:///data?socket=${node.socket}`;
  const region = ["--offset", `${HALF}`, "--size", `${HALF}`, "--bs=4k", "--verify=crc32c"];
  // A job of its own process would outlive fio when that is killed.
  return ["fio", "--thread", "--name=load", "--ioengine=nbd", `--uri=${uri}`, ...region, ...args];
}

/** Random writes that fio reads back and checks while it runs, until it is ended or cannot go on. */
class VerifiedLoad {
  readonly #child: Deno.ChildProcess;
  readonly #output: Promise<Deno.CommandOutput>;

  constructor(node: Node, directory: string) {
    const [program, ...args] = fio(
      node,
      "--rw=randwrite",
      "--iodepth=8",
      "--verify_backlog=256",
      "--verify_fatal=1",
      "--time_based",
      "--runtime=600",
      "--verify_state_save=0",
    );
    this.#child = new Deno.Command(program!, {
      args,
      cwd: directory,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#output = this.#child.output();
  }

  /** Ends it; fails when it has read something wrong. */
  async end(): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It ended by itself when its connection did.
    }
    const { stdout, stderr } = await this.#output;
    const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    assert.doesNotMatch(said, /verify|crc32c: |bad (magic|header|length)/i);
  }
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

async function round(cluster: Cluster, random: Random, load: OverlappingLoad): Promise<string> {
  const owner = await cluster.waitForAnyOwner();
  const other = cluster.other(owner);
  const epoch = await cluster.epoch(owner);
  const nbd = await owner.nbd();
  const verified = new VerifiedLoad(owner, cluster.network.directory);
  const running = load.run(nbd, 1 + random.below(12));
  const lot = random.below(100);
  const victims = lot < 45 ? [owner] : lot < 70 ? [other] : lot < 85 ? [owner, other] : [
    other,
    owner,
  ];
  try {
    await sleep(200 + random.below(1200));
    for (const victim of victims) {
      await sleep(random.below(3) * random.below(150));
      await victim.kill();
    }
    await sleep(random.below(3) * random.below(700));
    for (const victim of victims) {
      victim.start();
      await sleep(random.below(2) * random.below(500));
    }
    if (victims.includes(owner)) {
      await running;
    } else {
      // The load goes on without the Secondary, and while it is resynced.
      await cluster.waitInSync(owner);
      load.stop();
      await running;
    }
  } finally {
    load.stop();
    await nbd.close();
    await running;
    await verified.end();
  }
  const now = await cluster.waitForAnyOwner(victims.includes(owner) ? epoch : 0);
  await cluster.waitInSync(now);
  const look = await now.nbd();
  try {
    await load.verify(look);
    await look.flush();
  } finally {
    await look.disconnect();
  }
  await must(fio(now, "--rw=read", "--iodepth=8", "--verify_fatal=1", "--verify_state_save=0"));
  assert.ok(await cluster.sameData(), "the replicas differ");
  return `${victims.map(({ name }) => name).join(" and ")} killed, ${owner.name} owned, ` +
    `${now.name} owns`;
}

e2eTest(
  `${ROUNDS} random kills of either or both agents under load lose nothing`,
  ["fio", "cmp"],
  () =>
    withCluster({ sizeMiB: 2 * HALF / MIB }, async (cluster) => {
      // Breaks when a crash leaves the replicas different, or an acknowledged write is lost.
      assert.ok(ROUNDS > 0, "BASCULE_KILLS is no number");
      const random = new Random(SEED);
      const load = new OverlappingLoad(0, HALF, () => random.below(1 << 30) / (1 << 30));
      await cluster.start();
      await must(fio(cluster.alpha, "--rw=write", "--iodepth=8", "--do_verify=0"));
      let done = 0;
      try {
        for (; done < ROUNDS; done++) {
          const before = load.answered;
          const what = await round(cluster, random, load);
          assert.ok(load.answered > before, "nothing was written");
          if (!SHOW) continue;
          const counts = `${load.answered - before} changes, ${load.judged} reads judged so far`;
          // deno-lint-ignore no-console -- what a run of half an hour shows of itself
          console.log(`${done + 1}: ${what}; ${counts}`);
        }
      } catch (error) {
        const seed = `seed ${SEED}, round ${done + 1}`;
        throw new Error(`${seed}: ${error instanceof Error ? error.message : error}`, {
          cause: error,
        });
      }
    }),
);
