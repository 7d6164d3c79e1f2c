/**
 * A register whose requests may take effect at any later time, the owner's requests to it, and the
 * history that clients saw: together they say whether a run kept its promises.
 */

import type { VolumeAsk } from "../../src/volume/types.ts";
import { readMetadata } from "../../src/volume/metadata/format.ts";
import type { FakeNode } from "./fake_node.ts";
import type { Request, World } from "./harness.ts";

/** The group's record, as far as one volume goes. */
export interface Register {
  version: number;
  epoch: number;
  owner: { readonly node: number; readonly life: number } | null;
  generation: string;
  upToDate: readonly string[];
}

interface Proposal {
  readonly version: number;
  readonly node: number;
  readonly life: number;
  readonly apply: (register: Register) => void;
  readonly what: string;
}

/** Something a node wants to propose once its generation is minted. */
interface Minting {
  readonly generation: string;
  readonly then: () => void;
}

/** The cluster as the volumes see it. Takeover is tried whenever the test likes: no clocks. */
export class Cluster {
  readonly world: World;
  readonly register: Register;
  /** Requests that may take effect at any time. */
  readonly proposals: Proposal[] = [];
  readonly #minting: (Minting | null)[] = [null, null];
  /** A request is under way, or nothing was read yet in this run. */
  readonly #busy = [true, true];
  #generations = 0;
  readonly #served = ["", ""];
  lineage = "line";
  /** Whether leases are given. */
  leases = true;
  /** What a volume said last of its demotion. */
  readonly demoted: (boolean | null)[] = [null, null];
  readonly promoted: number[] = [0, 0];
  onPromoted: (node: FakeNode, epoch: number) => void = () => {};
  log: string[] = [];

  constructor(world: World) {
    this.world = world;
    const [a, b] = world.nodes;
    const first = readMetadata(a.disk.metadata, { volume: "data", size: world.layout.size });
    this.register = {
      version: 1,
      epoch: 0,
      owner: null,
      generation: first.superblock.generations.current,
      upToDate: [a.replicaId, b.replicaId],
    };
    world.onAsk = (node, ask) => this.#asked(node, ask);
  }

  /** A new run of a node knows nothing of what the old one wanted. */
  forget(node: number): void {
    this.#minting[node] = null;
    this.#busy[node] = true;
    this.demoted[node] = null;
  }

  /** Whether this run owns the group. */
  owns(node: FakeNode): boolean {
    const { owner } = this.register;
    return owner !== null && owner.node === node.index && owner.life === node.life;
  }

  /** Whether the rules let this node take. */
  mayTake(node: FakeNode): boolean {
    const { report, volume } = node;
    const { upToDate, generation } = this.register;
    if (!volume || !report || this.#busy[node.index] || report.role === "Primary") return false;
    if (!upToDate.includes(node.replicaId) || report.replicaId !== node.replicaId) return false;
    if (report.disk === "Inconsistent" || report.disk === "Diskless") return false;
    if (report.generation !== generation && report.pending !== generation) return false;
    const other = this.world.nodes[node.peer]!;
    const otherUnclean = other.report?.unclean === true;
    return !report.unclean || upToDate.length === 1 || otherUnclean;
  }

  /** Proposes a takeover with a new epoch. */
  take(node: FakeNode): void {
    const { version, owner } = this.register;
    const life = node.life;
    if (owner === null) {
      // It keeps the set, hence the generation: the other member could not take without it.
      this.#busy[node.index] = true;
      this.#propose(node, life, version, `${node.name} takes`, (register) => {
        register.epoch++;
        register.owner = { node: node.index, life };
      });
      return;
    }
    this.#mint(
      node,
      (generation) =>
        this.#propose(node, life, version, `${node.name} takes`, (register) => {
          register.epoch++;
          register.owner = { node: node.index, life };
          register.generation = generation;
          register.upToDate = [node.replicaId];
        }),
    );
  }

  /** Proposes to release: only after a clean demotion. */
  release(node: FakeNode): void {
    if (this.demoted[node.index] !== true || !this.owns(node)) return;
    this.demoted[node.index] = null;
    this.#busy[node.index] = true;
    this.#propose(node, node.life, this.register.version, `${node.name} releases`, (register) => {
      register.owner = null;
    });
  }

  /** A request takes effect, or is found to be out of date. */
  apply(place: number): void {
    const [proposal] = this.proposals.splice(place, 1);
    if (!proposal) return;
    const { register } = this;
    const chosen = proposal.version === register.version;
    this.log.push(`${proposal.what}${chosen ? "" : ": too late"}`);
    if (!chosen) return;
    proposal.apply(register);
    register.version++;
  }

  /** The node reads the register by a quorum: it knows what was chosen, and asks anew if need be. */
  read(node: FakeNode): void {
    const { volume } = node;
    if (!volume) return;
    const { version, epoch, generation, upToDate } = this.register;
    const record = { generation, upToDate };
    // Its ballot is above those of this node's earlier runs: what they proposed is over.
    for (let i = this.proposals.length - 1; i >= 0; i--) {
      const one = this.proposals[i]!;
      if (one.node === node.index && one.life !== node.life) this.proposals.splice(i, 1);
    }
    const pendingOwn = this.proposals.some((one) =>
      one.node === node.index && one.life === node.life && one.version === version
    );
    if (!pendingOwn && !this.#minting[node.index]) this.#busy[node.index] = false;
    const mine = this.owns(node);
    volume.order({ type: "record", epoch, version, mine, record });
    const { report } = node;
    if (!mine || !report) return;
    if (this.leases) volume.lease(epoch, this.world.now + 500);
    if (report.role === "Secondary" && this.demoted[node.index] === null) {
      volume.order({ type: "promote", epoch, version, lineage: this.lineage, record });
    }
  }

  /** Serves again under the `sole` mark after a restart in the same boot: owner by the same epoch. */
  resumeSole(node: FakeNode): void {
    const { volume, report } = node;
    const { owner, epoch, version, generation, upToDate } = this.register;
    if (!volume || report?.role !== "Secondary" || report.sole !== epoch) return;
    if (owner?.node !== node.index) return;
    this.register.owner = { node: node.index, life: node.life };
    volume.order({
      type: "promote",
      epoch,
      version,
      lineage: this.lineage,
      record: { generation, upToDate },
    });
  }

  #mint(node: FakeNode, then: (generation: string) => void): void {
    const generation = `g${++this.#generations}`;
    this.#busy[node.index] = true;
    this.#minting[node.index] = { generation, then: () => then(generation) };
    node.volume!.order({ type: "mint", generation });
  }

  #propose(
    node: FakeNode,
    life: number,
    version: number,
    what: string,
    apply: (register: Register) => void,
  ): void {
    this.proposals.push({ version, node: node.index, life, apply, what });
  }

  #asked(node: FakeNode, ask: VolumeAsk): void {
    const life = node.life;
    switch (ask.type) {
      case "minted": {
        const minting = this.#minting[node.index];
        if (minting?.generation !== ask.generation) return;
        this.#minting[node.index] = null;
        minting.then();
        return;
      }
      case "promoted":
        // A Primary says it again when it is ordered again.
        if (this.#served[node.index] === `${life} ${ask.epoch}`) return;
        this.#served[node.index] = `${life} ${ask.epoch}`;
        this.promoted[node.index] = ask.epoch;
        this.onPromoted(node, ask.epoch);
        return;
      case "demoted":
        this.demoted[node.index] = ask.clean && ask.epoch === this.register.epoch ? true : null;
        return;
      case "grow":
      case "shrink": {
        const { version, epoch } = this.register;
        if (this.#busy[node.index] || ask.version !== version || ask.epoch !== epoch) return;
        if (ask.type === "grow") {
          this.#busy[node.index] = true;
          this.#propose(node, life, version, `${node.name} grows`, (register) => {
            register.upToDate = [...new Set([...register.upToDate, ask.replicaId])].sort();
          });
          return;
        }
        if (ask.replicaId === node.replicaId) {
          // It has no disk to mint on: those that stay keep the generation that they bear.
          this.#busy[node.index] = true;
          this.#propose(node, life, version, `${node.name} leaves`, (register) => {
            register.upToDate = register.upToDate.filter((one) => one !== ask.replicaId);
          });
          return;
        }
        this.#mint(
          node,
          (generation) =>
            this.#propose(node, life, version, `${node.name} shrinks`, (register) => {
              register.generation = generation;
              register.upToDate = register.upToDate.filter((one) => one !== ask.replicaId);
            }),
        );
        return;
      }
      default:
    }
  }
}

/** What clients may count on, per block. */
export class History {
  readonly #cluster: Cluster;
  readonly #blocks: readonly number[];
  /** Last acknowledged, or found by the newest Primary. */
  readonly truth = new Map<number, number>();
  /** Not answered, and not denied by a later Primary. */
  readonly open = new Map<number, Set<number>>();
  /** Was in the history once. */
  readonly served = new Map<number, Set<number>>();
  /** Stable, by FLUSH or FUA. */
  readonly flushed = new Map<number, number>();
  readonly #flushes = new Map<Request, Map<number, number>>();
  /** A power loss has taken unflushed data: only flushed ones are owed from now on. */
  lossy = false;
  readonly harm: string[] = [];

  constructor(cluster: Cluster, blocks: readonly number[]) {
    this.#cluster = cluster;
    this.#blocks = blocks;
    for (const block of blocks) {
      this.truth.set(block, 0);
      this.open.set(block, new Set());
      this.served.set(block, new Set([0]));
      this.flushed.set(block, 0);
    }
    cluster.onPromoted = (node, epoch) => this.promoted(node, epoch);
    cluster.world.onAnswer = (request, errno) => this.answered(request, errno);
  }

  /** A write was issued. */
  issued(request: Request): void {
    for (const block of request.blocks) this.open.get(block)!.add(request.value);
  }

  /** A FLUSH was issued. */
  flushIssued(request: Request): void {
    this.#flushes.set(request, new Map(this.truth));
  }

  /** A request was answered. */
  answered(request: Request, errno: number): void {
    if (errno !== 0) return;
    const node = this.#cluster.world.nodes[request.node]!;
    const current = this.#cluster.owns(node) &&
      this.#cluster.promoted[node.index] === this.#cluster.register.epoch;
    if (request.value > 0) {
      for (const block of request.blocks) {
        const open = this.open.get(block)!;
        if (open.delete(request.value)) {
          this.truth.set(block, request.value);
          this.served.get(block)!.add(request.value);
        } else if (!this.served.get(block)!.has(request.value) && !this.lossy) {
          this.harm.push(`write ${request.value} acknowledged, though the history went on without`);
        }
        if (request.fua && current) this.#floor(block, request.value);
      }
    }
    const covered = this.#flushes.get(request);
    if (covered && current) { for (const [block, value] of covered) this.#floor(block, value); }
    if (request.blocks.length > 0 && request.value === 0 && current) this.#checkRead(request);
  }

  /** A Primary begins: its data are the history from now on. */
  promoted(node: FakeNode, epoch: number): void {
    if (!this.#cluster.owns(node) || epoch !== this.#cluster.register.epoch) return;
    for (const block of this.#blocks) {
      const found = node.disk.get(block);
      const open = this.open.get(block)!;
      const truth = this.truth.get(block)!;
      if (this.lossy) {
        const floor = this.flushed.get(block)!;
        if (found < floor) {
          this.harm.push(`flushed ${floor} of block ${block} lost: ${node.name} has ${found}`);
        }
      } else if (found !== truth && !open.has(found)) {
        this.harm.push(
          `${node.name} is promoted with ${found} in block ${block}, acknowledged is ${truth}`,
        );
      }
      this.truth.set(block, found);
      this.served.get(block)!.add(found);
      open.clear();
    }
  }

  /** Every member of the in-sync set holds what was acknowledged. */
  checkMembers(): void {
    if (this.lossy) return;
    for (const node of this.#cluster.world.nodes) {
      if (!this.#cluster.register.upToDate.includes(node.replicaId)) continue;
      for (const block of this.#blocks) {
        const found = node.disk.get(block);
        if (found !== this.truth.get(block) && !this.open.get(block)!.has(found)) {
          this.harm.push(
            `member ${node.name} has ${found} in block ${block}, not ${this.truth.get(block)}`,
          );
        }
      }
    }
  }

  #floor(block: number, value: number): void {
    if (value > this.flushed.get(block)!) this.flushed.set(block, value);
  }

  #checkRead(request: Request): void {
    const data = this.#cluster.world.dataOf(request);
    request.blocks.forEach((block, i) => {
      const found = data[i]!;
      if (found !== this.truth.get(block) && !this.lossy) {
        this.harm.push(
          `read of block ${block} found ${found}, acknowledged is ${this.truth.get(block)}`,
        );
      }
    });
  }
}
