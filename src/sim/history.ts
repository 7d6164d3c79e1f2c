/**
 * What clients saw, and whether one disk could have shown it: every block is a register, whose
 * acknowledged writes and reads must fit one order that agrees with real time (linearizability,
 * Herlihy and Wing 1990). All writes have values of their own, so the order is decided by the zones
 * of Gibbons and Korach (1997), in the time that sorting takes.
 *
 * A write of an earlier service is settled when another replica has become Primary: it is in the one
 * history or never will be, answered or not, and may not come back once it was read past.
 *
 * After a permitted loss (power with unflushed writes in caches, a takeover under protocol A) an older
 * value may come back; never one that is older than what a FLUSH or FUA made safe.
 */

import { Violation } from "./violation.ts";

/** A request as its client saw it. Times in milliseconds of the world; `ended` Infinity: no answer. */
export interface Operation {
  readonly what: "write" | "read" | "flush";
  readonly block: number;
  value: number;
  readonly began: number;
  ended: number;
  readonly fua: boolean;
  readonly where: string;
  /** Which run of a volume was asked. */
  readonly run: unknown;
}

/** Operations that are about one value. */
interface Zone {
  readonly value: number;
  /** Earliest end and latest beginning of its operations. */
  firstEnd: number;
  lastBegin: number;
  /** What stands at these two, for the message. */
  first: Operation | null;
  last: Operation | null;
}

/** See the module comment. */
export class History {
  readonly #operations: Operation[] = [];
  /** By value: values are counted from 1 on. */
  readonly #writes: Operation[] = [];
  /** By block: the write that was acknowledged last. */
  readonly #newest = new Map<number, Operation>();
  readonly #losses: number[] = [];
  readonly #promotions: { readonly at: number; readonly run: unknown }[] = [];
  readonly #forgives: "nothing" | "power" | "takeover";
  #value = 0;

  /** `power`: what stood unflushed in a cache may be lost with it; `takeover`: by each takeover too. */
  constructor(forgives: "nothing" | "power" | "takeover") {
    this.#forgives = forgives;
  }

  /** A value that no write had before. */
  nextValue(): number {
    return ++this.#value;
  }

  /** How many operations were answered. */
  get answered(): number {
    return this.#operations.reduce((sum, { ended }) => sum + (ended < Infinity ? 1 : 0), 0);
  }

  /** A client asks. The answer sets `ended`, and `value` of a read. */
  begin(
    what: Operation["what"],
    block: number,
    value: number,
    fua: boolean,
    now: number,
    where: string,
    run: unknown = where,
  ): Operation {
    const operation = { what, block, value, fua, began: now, ended: Infinity, where, run };
    this.#operations.push(operation);
    if (what === "write") this.#writes[value] = operation;
    return operation;
  }

  /** Name of the machine that was asked to write this value; undefined: nobody was. */
  askedAt(value: number): string | undefined {
    return this.#writes[value]?.where;
  }

  /** A client has its answer. */
  end(operation: Operation, now: number): void {
    operation.ended = now;
    if (operation.what === "write") this.#newest.set(operation.block, operation);
  }

  /** Blocks in which writes were acknowledged. */
  get written(): Iterable<number> {
    return this.#newest.keys();
  }

  /**
   * Throws if `value`, found where every acknowledged write has to be, is certainly older than one of
   * them. Says nothing where losses are forgiven.
   */
  checkHeld(block: number, value: number, where: string): void {
    if (this.#forgives !== "nothing") return;
    const missed = this.missed(block, value);
    if (missed !== null) throw this.lost(missed, value, where);
  }

  /** The acknowledged write that `value` of this block is certainly older than; null: there is none. */
  missed(block: number, value: number): Operation | null {
    const newest = this.#newest.get(block);
    if (newest === undefined || newest.value === value) return null;
    const found = this.#writes[value];
    return found !== undefined && !(found.ended < newest.began) ? null : newest;
  }

  /** That a write is missing somewhere. */
  lost(missed: Operation, value: number, where: string): Violation {
    return new Violation(
      "P1",
      `${where} holds value ${value} of block ${missed.block}, not what was acknowledged later: ` +
        describe(missed),
    );
  }

  /** A replica whose machine has lost its power since it joined becomes Primary. */
  storageLost(now: number): void {
    if (this.#forgives !== "nothing") this.#losses.push(now);
  }

  /** A replica became Primary. */
  promoted(now: number, run: unknown): void {
    this.#promotions.push({ at: now, run });
    if (this.#forgives === "takeover") this.#losses.push(now);
  }

  /** Throws a {@linkcode Violation} if no single disk could have answered so. */
  check(): void {
    const blocks = new Map<number, Operation[]>();
    const flushes: Operation[] = [];
    for (const operation of this.#operations) {
      if (operation.what === "flush") {
        if (operation.ended < Infinity) flushes.push(operation);
        continue;
      }
      // A read without an answer says nothing.
      if (operation.what === "read" && operation.ended === Infinity) continue;
      const list = blocks.get(operation.block);
      if (list === undefined) blocks.set(operation.block, [operation]);
      else list.push(operation);
    }
    for (const operations of blocks.values()) {
      this.#checkBlock(operations);
      this.#checkFlushed(operations, flushes);
    }
  }

  #checkBlock(operations: readonly Operation[]): void {
    const zones = new Map<string, Zone>();
    const writes = writesOf(operations);
    const zoneOf = (value: number, segment: number): Zone => {
      const key = `${value} ${segment}`;
      let zone = zones.get(key);
      if (zone === undefined) {
        zone = { value, firstEnd: Infinity, lastBegin: -Infinity, first: null, last: null };
        zones.set(key, zone);
      }
      return zone;
    };
    for (const operation of operations) {
      const write = writes.get(operation.value);
      if (operation.what === "read") {
        if (write === undefined) throw violation("a value that nobody wrote", operation, null);
        if (write.began > operation.ended) {
          throw violation("a value before it was written", operation, write);
        }
      } else if (operation.ended === Infinity) continue;
      const segment = this.#segment(operation.began);
      const own = write !== undefined && this.#segment(write.began) === segment;
      const zone = zoneOf(operation.value, own ? -1 : segment);
      extend(zone, operation);
      if (own && write !== undefined) extend(zone, this.#settled(write));
      // After a loss the value came back at some time since then.
      if (!own && zone.lastBegin < this.#losses[segment - 1]!) {
        zone.lastBegin = this.#losses[segment - 1]!;
      }
    }
    checkZones([...zones.values()]);
  }

  /** A write as it ended, or was ended by another one's becoming Primary. */
  #settled(write: Operation): Operation {
    for (const { at, run } of this.#promotions) {
      if (at >= write.ended) break;
      if (at > write.began && run !== write.run) return { ...write, ended: at };
    }
    return write;
  }

  /** How many losses came before. */
  #segment(time: number): number {
    let low = 0;
    let high = this.#losses.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#losses[middle]! <= time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** No read finds a value that is older than what was flushed before the read began. */
  #checkFlushed(operations: readonly Operation[], flushes: readonly Operation[]): void {
    if (this.#losses.length === 0) return;
    const writes = writesOf(operations);
    // Steps of (from when, the latest beginning of a write that is safe from then on).
    const steps: { at: number; write: Operation }[] = [];
    for (const write of writes.values()) {
      if (write.ended === Infinity) continue;
      let at = write.fua ? write.ended : Infinity;
      // A flush covers what is there: not what a loss before its end may have taken.
      const segment = this.#segment(write.ended);
      for (const flush of flushes) {
        if (flush.began < write.ended || flush.ended >= at) continue;
        if (this.#segment(flush.ended) === segment) at = flush.ended;
      }
      if (at < Infinity) steps.push({ at, write });
    }
    for (const read of operations) {
      if (read.what !== "read") continue;
      const { ended } = writes.get(read.value)!;
      for (const { at, write } of steps) {
        if (at < read.began && ended < write.began) {
          throw violation(`a value older than flushed write ${write.value}`, read, write);
        }
      }
    }
  }
}

function writesOf(operations: readonly Operation[]): Map<number, Operation> {
  const block = operations[0]!.block;
  const first: Operation = {
    what: "write",
    block,
    value: 0,
    began: -1,
    ended: -1,
    fua: true,
    where: "at the beginning",
    run: null,
  };
  const writes = new Map<number, Operation>([[0, first]]);
  for (const operation of operations) {
    if (operation.what === "write") writes.set(operation.value, operation);
  }
  return writes;
}

function extend(zone: Zone, operation: Operation): void {
  if (operation.ended < zone.firstEnd) {
    zone.firstEnd = operation.ended;
    zone.first = operation;
  }
  if (operation.began > zone.lastBegin) {
    zone.lastBegin = operation.began;
    zone.last = operation;
  }
}

/** Forward zones must not overlap, and none may hold a backward zone within it. */
function checkZones(zones: readonly Zone[]): void {
  const forward = zones.filter((zone) => zone.firstEnd < zone.lastBegin)
    .sort((a, b) => a.firstEnd - b.firstEnd);
  for (let i = 1; i < forward.length; i++) {
    const [one, other] = [forward[i - 1]!, forward[i]!];
    if (other.firstEnd < one.lastBegin) throw disorder(one, other);
  }
  for (const zone of zones) {
    if (zone.firstEnd < zone.lastBegin) continue;
    for (const around of forward) {
      if (around.firstEnd < zone.lastBegin && zone.firstEnd < around.lastBegin) {
        throw disorder(around, zone);
      }
    }
  }
}

function disorder(one: Zone, other: Zone): Violation {
  const about = (zone: Zone) =>
    [zone.first, zone.last].filter((each) => each !== null).map(describe).join(", ");
  return new Violation(
    "P2",
    `no order of block ${(one.first ?? one.last)!.block} explains: value ${one.value} ` +
      `(${about(one)}) and value ${other.value} (${about(other)})`,
  );
}

function violation(what: string, read: Operation, write: Operation | null): Violation {
  const against = write === null ? "" : `; ${describe(write)}`;
  return new Violation("P1", `a read found ${what}: ${describe(read)}${against}`);
}

function describe({ what, block, value, began, ended, where }: Operation): string {
  return `${what} ${value} of block ${block} ${where} [${began.toFixed(1)}, ${ended.toFixed(1)}]`;
}
