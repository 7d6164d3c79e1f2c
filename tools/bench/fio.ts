/** One measurement by fio's NBD engine. */
import { output } from "./processes.ts";

/** What is measured. */
export interface Workload {
  readonly name: string;
  readonly rw: "randread" | "randwrite" | "read" | "write";
  readonly block: string;
  readonly depth: number;
}

/** What came out. */
export interface Measurement {
  readonly iops: number;
  readonly mibPerSecond: number;
  /** Percentiles of the completion latency, microseconds. */
  readonly p50: number;
  readonly p99: number;
}

const KINDS = [
  { name: "4k random read", rw: "randread", block: "4k" },
  { name: "4k random write", rw: "randwrite", block: "4k" },
  { name: "128k sequential read", rw: "read", block: "128k" },
  { name: "128k sequential write", rw: "write", block: "128k" },
] as const;

/** Every kind of workload at each of these depths, in the order of the table. */
export function workloads(depths: readonly number[]): Workload[] {
  return KINDS.flatMap((kind) =>
    depths.map((depth) => ({ ...kind, depth, name: `${kind.name}, depth ${depth}` }))
  );
}

interface FioDirection {
  readonly iops: number;
  readonly bw_bytes: number;
  readonly clat_ns: { readonly percentile?: Readonly<Record<string, number>> };
}

/** Size of an export as libnbd, which fio uses, is told it, bytes. */
export async function sizeSeen(uri: string): Promise<number> {
  return Number(await output("nbdinfo", ["--size", uri]));
}

/** Writes the whole export once, so that no contender reads holes. */
export async function fill(uri: string): Promise<void> {
  await output("fio", [
    "--name=fill",
    "--ioengine=nbd",
    `--uri=${uri}`,
    "--rw=write",
    "--bs=1m",
    "--iodepth=4",
    "--output-format=json",
  ]);
}

/** Runs a workload for so many seconds. */
export async function measure(
  uri: string,
  workload: Workload,
  seconds: number,
): Promise<Measurement> {
  const said = await output("fio", [
    "--name=bench",
    "--ioengine=nbd",
    `--uri=${uri}`,
    `--rw=${workload.rw}`,
    `--bs=${workload.block}`,
    `--iodepth=${workload.depth}`,
    "--time_based",
    `--runtime=${seconds}`,
    "--norandommap",
    "--output-format=json",
  ]);
  const { jobs } = JSON.parse(said.slice(said.indexOf("{"))) as {
    jobs: { error: number; read: FioDirection; write: FioDirection }[];
  };
  const [job] = jobs;
  if (job === undefined || job.error !== 0) throw new Error(`fio failed on ${uri}: ${said}`);
  const direction = workload.rw.includes("read") ? job.read : job.write;
  const percentile = (rank: string) => (direction.clat_ns.percentile?.[rank] ?? 0) / 1000;
  return {
    iops: direction.iops,
    mibPerSecond: direction.bw_bytes / (1 << 20),
    p50: percentile("50.000000"),
    p99: percentile("99.000000"),
  };
}
