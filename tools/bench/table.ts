/** Medians as tables for people. */
import { formatTable } from "../../src/cli/output.ts";
import type { Cell, Round } from "./rounds.ts";

const REQUESTS = 100_000;
const GIB_IN_MIB = 1024;

/** The middle of the sorted values; of an even number the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** The geometric mean. */
export function geometricMean(values: readonly number[]): number {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

/** One suite: medians of everybody, and how we stand against the best of the others. */
export function suiteTable(cells: readonly Cell[], ours: string): string[] {
  const names = [...new Set(cells.map(({ workload }) => workload))];
  const ratios: number[] = [];
  const rows = names.flatMap((name) => {
    const row = cells.filter(({ workload }) => workload === name);
    const own = row.find(({ contender }) => contender === ours);
    const others = row.filter((cell) => cell !== own && cell.rival).map((cell) => of(cell, rate));
    const ratio = own === undefined || others.length === 0
      ? null
      : of(own, rate) / Math.max(...others);
    if (ratio !== null) ratios.push(ratio);
    return row.map((cell, index) => line(cell, index === 0 ? name : "", cell === own && ratio));
  });
  const header = [
    "WORKLOAD",
    "SERVER",
    "IOPS",
    "RANGE",
    "MIB/S",
    "P50 US",
    "P99 US",
    "CPU S/GIB",
    "CPU S/100K",
    "× BEST OTHER",
  ];
  const lines = formatTable(header, rows);
  if (ratios.length > 0) {
    const least = Math.min(...ratios).toFixed(2);
    lines.push(`geometric mean ${geometricMean(ratios).toFixed(2)}, least ${least}`);
  }
  return lines;
}

function rate({ iops }: Round): number {
  return iops;
}

function of(cell: Cell, pick: (round: Round) => number): number {
  return median(cell.rounds.map(pick));
}

function line(cell: Cell, name: string, ratio: number | null | false): string[] {
  const all = cell.rounds.map(rate);
  const latency = (pick: (round: Round) => number) => {
    const value = of(cell, pick);
    return value === 0 ? "" : Math.round(value).toString();
  };
  return [
    name,
    cell.contender,
    Math.round(of(cell, rate)).toString(),
    `${Math.round(Math.min(...all))}-${Math.round(Math.max(...all))}`,
    Math.round(of(cell, ({ mibPerSecond }) => mibPerSecond)).toString(),
    latency(({ p50 }) => p50),
    latency(({ p99 }) => p99),
    of(
      cell,
      ({ cpuSeconds, mibPerSecond, seconds }) => cpuSeconds / (mibPerSecond * seconds / GIB_IN_MIB),
    ).toFixed(2),
    of(cell, ({ cpuSeconds, iops, seconds }) => cpuSeconds / (iops * seconds / REQUESTS))
      .toFixed(2),
    typeof ratio === "number" ? ratio.toFixed(2) : "",
  ];
}
