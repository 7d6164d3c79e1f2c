/** What a run gives: raw figures for the file, medians for the reader. */
import { formatTable } from "../../../src/cli/output.ts";
import type { Idle, Measured, Ordeal } from "./trial.ts";

/** One contender with one setting. */
export interface Row {
  readonly name: string;
  readonly deadtime: number;
  readonly crash: Measured[];
  readonly graceful: Measured[];
  readonly partition: Ordeal[];
  readonly pause: Ordeal[];
  idle?: Idle;
  /** Why it was measured no further. */
  failure?: string;
}

/** All of them. */
export interface Results {
  /** By name of the contender: its version, or why it is not there. */
  readonly versions: Record<string, string>;
  readonly rows: Row[];
}

/** The median; NaN of nothing. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** The tables, line by line. */
export function tables({ versions, rows }: Results): string[] {
  return [
    ...Object.entries(versions).map(([name, version]) => `${name}: ${version}`),
    ...rows.flatMap(({ name, deadtime, failure }) =>
      failure === undefined ? [] : [`${name}/${deadtime} was measured no further: ${failure}`]
    ),
    "",
    "Outage that the client sees (a probe every 2 ms), milliseconds: min / median / max (rounds)",
    ...formatTable(
      ["CLUSTER", "DEADTIME", "CRASH", "CRASH/DEADTIME", "GRACEFUL MOVE"],
      rows.map(({ name, deadtime, crash, graceful }) => [
        name,
        `${deadtime}`,
        spread(crash),
        crash.length === 0 ? "-" : (median(crash.map(outage)) / deadtime).toFixed(2),
        spread(graceful),
      ]),
    ),
    "",
    "Partition of 10 s (both nodes reach the client), SIGSTOP of the active agent for 5 s; milliseconds",
    ...formatTable(
      ["CLUSTER", "DEADTIME", "WHAT", "BOTH HAD IT", "DARK DURING", "DARK AFTER", "CHANGES OVER"],
      rows.flatMap((row) =>
        (["partition", "pause"] as const).flatMap((what) =>
          row[what].map(({ both, dark, darkAfter, switches }) => [
            row.name,
            `${row.deadtime}`,
            what,
            both.toFixed(0),
            dark.toFixed(0),
            darkAfter.toFixed(0),
            `${switches}`,
          ])
        )
      ),
    ),
    "",
    "Idle cost of each machine (10 s)",
    ...formatTable(
      ["CLUSTER", "DEADTIME", "MACHINE", "PROCESSES", "RSS MIB", "PSS MIB", "CPU %"],
      rows.flatMap(({ name, deadtime, idle }) =>
        (idle?.hosts ?? []).map(({ host, processes, rssMiB, pssMiB, cpuPercent }) => [
          name,
          `${deadtime}`,
          host,
          `${processes}`,
          rssMiB.toFixed(0),
          pssMiB.toFixed(0),
          cpuPercent.toFixed(2),
        ])
      ),
    ),
  ];
}

function outage(measured: Measured): number {
  return measured.outage;
}

function spread(all: readonly Measured[]): string {
  if (all.length === 0) return "-";
  const values = all.map(outage);
  const parts = [Math.min(...values), median(values), Math.max(...values)];
  return `${parts.map((value) => value.toFixed(0)).join(" / ")} (${all.length})`;
}
