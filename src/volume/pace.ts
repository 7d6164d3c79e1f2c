/**
 * How fast blocks are copied or compared while clients go on.
 *
 * Without clients there is no limit but the configured ceiling. With clients the limit follows their
 * latency: it falls while their requests take longer than `latencyFactor` times what they take without
 * any copying, and rises otherwise. What they take without is measured: every few seconds the copying
 * pauses for a moment. The limit never falls below a share of the best rate that was ever reached, so
 * a resync under load ends in a time that can be foretold.
 */

import type { ResyncSettings } from "../config/types.ts";

/** Length of one measurement, milliseconds. */
const WINDOW = 200;
/** Every so many windows with clients the copying pauses for one. */
const PAUSE_EVERY = 20;
/** A pause takes no more windows than this. */
const PAUSE_MOST = 3;
/** Clients that had no answer for so long are idle, milliseconds. */
const BUSY_FOR = 1000;
/** The limit does not run away further above what was ever reached. */
const MOST_AHEAD = 2;
/** Requests of clients that make a mean worth something. */
const SAMPLES = 5;
/** Latencies below this are not worth protecting, milliseconds: it is the noise of one wait. */
const LATENCY_NOISE = 0.1;
/** Least limit, bytes per second, before any rate is known. */
const FLOOR_LEAST = 4 * 1024 * 1024;
/** Bytes that may be ahead of the limit: what it allows in this many milliseconds. */
const BURST = 50;
const SLOWER = 0.7;
const FASTER = 1.15;

/** Blocks of one batch, and batches under way at once. */
export interface PaceStep {
  readonly blocks: number;
  readonly window: number;
}
/** Idle: enough under way to hide a round trip. Beside clients small batches keep their waits short. */
const IDLE: PaceStep = { blocks: 256, window: 8 };
const BUSY: PaceStep = { blocks: 32, window: 4 };

/** See the module comment. Times are milliseconds of the volume's clock. */
export class Pace {
  readonly #settings: ResyncSettings;
  /** Bytes per second that this volume gets of what its node allows. */
  #ceiling = Infinity;
  #windowFrom: number;
  #bytes = 0;
  #requests = 0;
  #latency = 0;
  /** Some copying was under way in this window. */
  #copied = false;
  /** Windows since the last pause began or ended. */
  #windows = 0;
  /** Clients count as present until then. */
  #busyUntil = 0;
  #pausing = false;
  /** Mean latency of clients without copying; 0: not known. */
  #undisturbed = 0;
  #best = 0;
  #rate = 0;
  #limit = Infinity;
  #tokens = 0;
  #filledAt: number;

  constructor(settings: ResyncSettings, now: number) {
    this.#settings = settings;
    this.#windowFrom = now;
    this.#filledAt = now;
  }

  /** Bytes per second, smoothed over about a second. */
  get rate(): number {
    return this.#rate;
  }

  /** Present limit, bytes per second; Infinity: none. */
  get limit(): number {
    return Math.min(this.#limit, this.#ceiling, this.#settings.rateMax ?? Infinity);
  }

  /** Least limit, bytes per second. */
  get floor(): number {
    return Math.max(FLOOR_LEAST, this.#best * this.#settings.floor);
  }

  /** Clients' mean latency without copying, milliseconds; 0: not known yet. */
  get undisturbed(): number {
    return this.#undisturbed;
  }

  /** The agent divides what the node may spend among its volumes. */
  set ceiling(bytesPerSecond: number) {
    this.#ceiling = bytesPerSecond;
  }

  /** Size and number of batches now. */
  get step(): PaceStep {
    return this.#limit === Infinity ? IDLE : BUSY;
  }

  /** A copying begins: what was measured of another time counts no more. */
  begin(now: number): void {
    this.#rate = 0;
    this.#bytes = 0;
    this.#windowFrom = now;
    this.#filledAt = now;
    this.#tokens = this.limit === Infinity ? 0 : this.limit * BURST / 1000;
    this.#pause(false);
  }

  /** A request of a client was answered after so many milliseconds. */
  answered(latency: number): void {
    this.#requests++;
    this.#latency += latency;
  }

  /** May another batch start? */
  allows(now: number): boolean {
    if (this.#pausing) return false;
    const { limit } = this;
    if (limit === Infinity) return true;
    const most = limit * BURST / 1000;
    this.#tokens = Math.min(most, this.#tokens + limit * (now - this.#filledAt) / 1000);
    this.#filledAt = now;
    return this.#tokens > 0;
  }

  /** A batch of so many bytes started. */
  started(bytes: number): void {
    if (this.limit !== Infinity) this.#tokens -= bytes;
    this.#copied = true;
  }

  /** A batch of so many bytes is done. */
  done(bytes: number): void {
    this.#bytes += bytes;
    this.#copied = true;
  }

  /** Time passed. `underWay`: batches. */
  tick(now: number, underWay: number): void {
    if (underWay > 0) this.#copied = true;
    const elapsed = now - this.#windowFrom;
    if (elapsed < WINDOW) return;
    const rate = 1000 * this.#bytes / elapsed;
    this.#rate = this.#rate === 0 ? rate : 0.8 * this.#rate + 0.2 * rate;
    this.#best = Math.max(this.#best, rate);
    // Requests that wait for the resync itself are none that it could disturb: only answers count.
    if (this.#requests > 0) this.#busyUntil = now + BUSY_FOR;
    if (now < this.#busyUntil) this.#judge();
    else this.#limit = Infinity;
    if (this.#limit === Infinity) this.#pausing = false;
    this.#windowFrom = now;
    this.#bytes = 0;
    this.#requests = 0;
    this.#latency = 0;
    this.#copied = underWay > 0;
  }

  /** Clients had answers lately: what do they bear? */
  #judge(): void {
    const mean = this.#requests >= SAMPLES ? this.#latency / this.#requests : null;
    if (mean !== null && !this.#copied) {
      // Others change their ways, too: old measurements fade.
      this.#undisturbed = this.#undisturbed === 0 ? mean : 0.5 * (this.#undisturbed + mean);
    }
    if (this.#limit === Infinity) {
      // Clients came: on from what is surely bearable.
      this.#limit = this.floor;
      this.#pause(false);
    } else if (this.#pausing) {
      // What was under way when the pause began had to end first.
      this.#windows++;
      if (!this.#copied || this.#windows >= PAUSE_MOST) this.#pause(false);
    } else if (mean === null) {
      this.#limit *= FASTER;
    } else if (this.#undisturbed === 0) {
      // A short resync is over before that.
      this.#pause(this.#copied);
    } else {
      const bearable = this.#settings.latencyFactor * Math.max(LATENCY_NOISE, this.#undisturbed);
      this.#limit = Math.max(this.floor, this.#limit * (mean > bearable ? SLOWER : FASTER));
      this.#windows++;
      if (this.#windows >= PAUSE_EVERY) this.#pause(this.#copied);
    }
    if (this.#best > FLOOR_LEAST) this.#limit = Math.min(this.#limit, MOST_AHEAD * this.#best);
  }

  #pause(on: boolean): void {
    this.#pausing = on;
    this.#windows = 0;
  }
}
