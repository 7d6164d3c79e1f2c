/**
 * One random life of a replicated volume: writes, flushes, crashes, power losses, broken links,
 * takeovers at any moment; then peace, in which it must heal.
 */

import { RequestKind } from "../../src/volume/types.ts";
import { readMetadata } from "../../src/volume/metadata/format.ts";
import { Cluster, History } from "./register.ts";
import { type Request, World, type WorldOptions } from "./harness.ts";

/** How wild a run is. */
export interface ChaosOptions extends WorldOptions {
  readonly seed: number;
  readonly steps: number;
  readonly power: boolean;
  /** Disks fail, fill up, and cannot read, one at a time. */
  readonly disks?: boolean;
  /** Check every member of the in-sync set all the time, not only what a client can see. */
  readonly strict?: boolean;
}

/** Blocks that clients write: two neighbours in each of many extents, more than the log holds. */
function blocksOf(extents: number): number[] {
  return Array.from({ length: extents }, (_, i) => [1024 * i + 7, 1024 * i + 8]).flat();
}

/** Runs one life: what went wrong, or null. */
export function chaos(options: ChaosOptions): string | null {
  const world = new World({ extents: 16, logSlots: 12, volatileCache: options.power, ...options });
  const cluster = new Cluster(world);
  const blocks = blocksOf(16);
  const history = new History(cluster, blocks);
  const { random } = world;
  const steps: string[] = [];
  const fail = (what: string) =>
    `seed ${options.seed}: ${what}\n  register ${JSON.stringify(cluster.register)}\n  ` +
    cluster.log.slice(-12).join("; ") + `\n  ${steps.slice(-30).join(" | ")}`;
  const start = (index: number, boot: boolean) => {
    cluster.forget(index);
    world.start(index, boot);
  };
  const down = [true, true];
  const off = [false, false];

  const write = () => {
    const node = world.nodes[random.below(2)]!;
    if (node.report?.role !== "Primary" || !node.volume) return;
    const extent = random.below(16);
    const both = random.chance(0.3);
    const first = 1024 * extent + 7 + (both ? 0 : random.below(2));
    const waiting =
      world.requests.filter((one) =>
        one.answered === null && one.node === node.index && one.life === node.life
      ).length;
    if (waiting > 24) return;
    const kind = random.next();
    if (kind < 0.75) {
      const next = world.requests.length;
      // The history must know of it before it can be answered.
      const issued = { pending: true };
      const before = world.onAnswer;
      const early: [Request, number][] = [];
      world.onAnswer = (request, errno) => {
        if (request.id === next && issued.pending) early.push([request, errno]);
        else before(request, errno);
      };
      const request = world.request(
        node.index,
        RequestKind.Write,
        first,
        both ? 2 : 1,
        random.chance(0.1),
      );
      issued.pending = false;
      world.onAnswer = before;
      history.issued(request);
      for (const [one, errno] of early) before(one, errno);
    } else if (kind < 0.87) {
      const truth = new Map(history.truth);
      const request = world.request(node.index, RequestKind.Flush);
      if (truth.size > 0 && request.answered === null) history.flushIssued(request);
    } else {
      world.request(node.index, RequestKind.Read, first, both ? 2 : 1);
    }
  };

  const progress = () => {
    const kind = random.next();
    if (kind < 0.5 && world.pending.length > 0) {
      world.perform(random.below(world.pending.length));
    } else if (kind < 0.9) {
      world.deliver(random.below(2));
    } else {
      world.now += random.below(30);
      for (const node of world.nodes) node.volume?.tick(world.now);
    }
  };

  const disturb = () => {
    const index = random.below(2);
    const node = world.nodes[index]!;
    const kind = random.next();
    if (options.disks && random.chance(0.3)) {
      disturbDisk();
      return;
    }
    if (down[index]) {
      if (kind < 0.8) {
        steps.push(`start ${node.name}${off[index] ? " (boot)" : ""}`);
        start(index, off[index]!);
        down[index] = off[index] = false;
      }
    } else if (kind < 0.12) {
      const power = options.power && random.chance(0.6);
      steps.push(`${power ? "power loss" : "kill"} ${node.name}`);
      if (world.crash(index, power)) history.lossy = true;
      down[index] = true;
      off[index] = power;
    } else if (kind < 0.3) {
      world.setLink(random.chance(0.4));
      steps.push(`link ${world.linkUp ? "up" : "down"}`);
    } else if (kind < 0.4) {
      cluster.leases = random.chance(0.7);
      if (!cluster.leases) node.volume?.lease(cluster.register.epoch, 0);
    } else if (kind < 0.5 && node.report?.role === "Primary") {
      steps.push(`demote ${node.name}`);
      node.volume!.order({ type: "demote", forced: random.chance(0.3) });
    } else if (kind < 0.6) {
      cluster.release(node);
    } else if (kind < 0.7) {
      cluster.resumeSole(node);
    } else if (kind < 0.85 && cluster.mayTake(node)) {
      steps.push(`take ${node.name}`);
      cluster.take(node);
    }
  };

  /** One disk is bad, or the one that is becomes good again and its agent starts anew. */
  const disturbDisk = () => {
    const bad = world.nodes.find(({ disk }) => disk.writeError || disk.readError || disk.metaError);
    if (bad === undefined) {
      const { disk, name } = random.chance(0.5) ? world.nodes[0] : world.nodes[1];
      const kind = random.next();
      if (kind < 0.4) disk.writeError = random.chance(0.5) ? 5 : 28;
      else if (kind < 0.7) disk.readError = 5;
      else if (kind < 0.8) disk.metaError = 5;
      else Object.assign(disk, { writeError: 5, readError: 5, metaError: 5 });
      steps.push(`disk of ${name}: ${disk.writeError} ${disk.readError} ${disk.metaError}`);
    } else if (random.chance(0.5)) {
      mendDisk(bad.index);
    }
  };

  const mendDisk = (index: number) => {
    const node = world.nodes[index]!;
    Object.assign(node.disk, { writeError: 0, readError: 0, metaError: 0 });
    steps.push(`disk of ${node.name} mended`);
    if (node.report?.disk !== "Diskless") return;
    world.crash(index, false);
    down[index] = true;
    off[index] = false;
  };

  const clusterStep = () => {
    if (cluster.proposals.length > 0 && random.chance(0.5)) {
      cluster.apply(random.below(cluster.proposals.length));
    } else {
      cluster.read(world.nodes[random.below(2)]!);
    }
  };

  for (let step = 0; step < options.steps; step++) {
    const kind = random.next();
    if (kind < 0.3) write();
    else if (kind < 0.88) { for (let i = random.below(8); i >= 0; i--) progress(); }
    else if (kind < 0.97) clusterStep();
    else disturb();
    if (options.strict) history.checkMembers();
    if (history.harm.length > 0) return fail(`step ${step}: ${history.harm[0]}`);
  }

  // Peace: everything is up, nothing new is asked for.
  steps.push("PEACE");
  world.setLink(true);
  cluster.leases = true;
  for (const index of [0, 1]) mendDisk(index);
  for (const index of [0, 1]) if (down[index]) start(index, off[index]!);
  const [a, b] = world.nodes;
  const healed = () => {
    const primary = [a, b].filter((node) => node.report?.role === "Primary");
    return primary.length === 1 && cluster.register.upToDate.length === 2 &&
      primary[0]!.report!.peers[0]!.connection === "Connected" &&
      primary[0]!.report!.peers[0]!.outOfSyncBytes === 0 &&
      !a.report!.unclean && !b.report!.unclean && a.report!.disk !== "Inconsistent" &&
      b.report!.disk !== "Inconsistent" && world.pending.length === 0 &&
      world.requests.every((one) =>
        one.answered !== null || world.nodes[one.node]!.life !== one.life
      );
  };
  for (let round = 0; round < 2500 && !healed(); round++) {
    world.run(10);
    while (cluster.proposals.length > 0) cluster.apply(0);
    for (const node of world.nodes) {
      cluster.read(node);
      cluster.resumeSole(node);
      if (cluster.demoted[node.index] === true) cluster.release(node);
    }
    const nobody = world.nodes.every((node) => node.report?.role !== "Primary");
    if (nobody && round % 20 === 19) {
      for (const node of world.nodes) {
        if (cluster.mayTake(node)) {
          cluster.take(node);
          break;
        }
      }
    }
    if (history.harm.length > 0) return fail(`in peace: ${history.harm[0]}`);
  }
  if (!healed()) {
    return fail(
      `not healed: ${JSON.stringify(a.report)} ${JSON.stringify(b.report)} ` +
        `${world.requests.filter((one) => one.answered === null).length} unanswered`,
    );
  }
  for (const block of blocks) {
    const found = [a.disk.get(block), b.disk.get(block)];
    if (found[0] !== found[1]) return fail(`block ${block} differs after healing: ${found}`);
    if (found[0] !== history.truth.get(block) && !history.open.get(block)!.has(found[0]!)) {
      return fail(`block ${block} has ${found[0]}, acknowledged is ${history.truth.get(block)}`);
    }
  }
  for (const node of world.nodes) {
    const reads = world.requests.filter((one) =>
      one.kind === RequestKind.Read && one.node === node.index && one.life === node.life
    ).length;
    if (node.buffers.size > reads) {
      return fail(`${node.name} keeps ${node.buffers.size} buffers`);
    }
    readMetadata(node.disk.metadata, { volume: "data", size: world.layout.size });
  }
  return null;
}
