import assert from "node:assert/strict";
import { DEFAULT_RESYNC } from "../../src/config/resync.ts";
import type { ResyncSettings } from "../../src/config/types.ts";
import { Pace } from "../../src/volume/pace.ts";

const MIB = 1024 * 1024;
const STEP = 10;

/** What a machine does: clients wait the longer, the more is copied; copying has a top speed. */
interface Machine {
  /** Milliseconds without copying; null: no clients. */
  readonly latency: number | null;
  /** How often the latency comes on top at full speed. */
  readonly slope: number;
  readonly bytesPerSecond: number;
}

class Run {
  readonly pace: Pace;
  now = 0;
  bytes = 0;
  latencies: number[] = [];

  constructor(settings: Partial<ResyncSettings> = {}) {
    this.pace = new Pace({ ...DEFAULT_RESYNC, ...settings }, 0);
  }

  /** So many milliseconds on this machine; `copying`: there is something to copy. */
  go(milliseconds: number, { latency, slope, bytesPerSecond }: Machine, copying = true): void {
    this.bytes = 0;
    this.latencies = [];
    for (const end = this.now + milliseconds; this.now < end; this.now += STEP) {
      let step = 0;
      const most = bytesPerSecond * STEP / 1000;
      while (copying && step < most && this.pace.allows(this.now)) {
        const batch = this.pace.step.blocks * 4096;
        this.pace.started(batch);
        this.pace.done(batch);
        step += batch;
      }
      this.bytes += step;
      if (latency !== null) {
        const felt = latency * (1 + slope * step / most);
        for (let i = 0; i < 5; i++) this.pace.answered(felt);
        this.latencies.push(felt);
      }
      this.pace.tick(this.now, 0);
    }
  }

  get rate(): number {
    return this.bytes / (this.latencies.length * STEP / 1000 || 1);
  }

  get mean(): number {
    return this.latencies.reduce((sum, one) => sum + one, 0) / this.latencies.length;
  }
}

const FAST = 1000 * MIB;

Deno.test("without clients nothing holds a resync back but the ceilings", () => {
  const machine = { latency: null, slope: 0, bytesPerSecond: FAST };
  const free = new Run();
  free.go(2000, machine);
  assert.ok(free.bytes > 1.9 * FAST, `${free.bytes}`);
  const capped = new Run({ rateMax: 100 * MIB });
  capped.go(2000, machine);
  assert.ok(Math.abs(capped.bytes - 200 * MIB) < 20 * MIB, `${capped.bytes / MIB} MiB in 2 s`);
  capped.pace.ceiling = 20 * MIB;
  capped.go(2000, machine);
  assert.ok(Math.abs(capped.bytes - 40 * MIB) < 8 * MIB, `${capped.bytes / MIB} MiB in 2 s`);
});

for (const factor of [2, 3]) {
  Deno.test(`beside clients it takes what keeps their requests below ${factor} times their own time`, () => {
    const run = new Run({ latencyFactor: factor });
    const machine = { latency: 1, slope: 8, bytesPerSecond: FAST };
    run.go(2000, machine, false);
    run.go(5000, { ...machine, latency: null });
    run.go(5000, machine);
    run.go(20_000, machine);
    assert.ok(run.mean <= 1.1 * factor, `${run.mean} ms`);
    // Full speed would cost 9 ms; what the factor leaves is used.
    const share = run.rate / FAST;
    assert.ok(share > 0.6 * (factor - 1) / 8, `${share} of full speed`);
  });
}

Deno.test("the floor is kept whatever clients feel, and follows what was ever reached", () => {
  const run = new Run();
  const machine = { latency: 1, slope: 1000, bytesPerSecond: FAST };
  run.go(2000, machine, false);
  run.go(3000, { ...machine, latency: null });
  run.go(20_000, machine);
  assert.ok(run.pace.floor > 0.09 * FAST, `${run.pace.floor / MIB} MiB/s`);
  assert.ok(run.rate > 0.85 * run.pace.floor, `${run.rate / MIB} MiB/s`);
  assert.ok(run.mean > 2, "which costs them more than the factor here");
  assert.ok(new Run().pace.floor >= 4 * MIB, "before anything is known");
});

Deno.test("what clients need by themselves is measured in pauses, and again when it changes", () => {
  const run = new Run();
  run.go(10_000, { latency: 1, slope: 8, bytesPerSecond: FAST });
  assert.ok(Math.abs(run.pace.undisturbed - 1) < 0.2, `${run.pace.undisturbed} ms`);
  run.go(40_000, { latency: 5, slope: 8, bytesPerSecond: FAST });
  assert.ok(Math.abs(run.pace.undisturbed - 5) < 1, `${run.pace.undisturbed} ms`);
});
