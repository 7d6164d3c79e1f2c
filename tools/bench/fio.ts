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
  /** 99th percentile of the completion latency, microseconds. */
  readonly p99: number;
}

/** In the order of the table. */
export const WORKLOADS: readonly Workload[] = [
  { name: "4k random read, depth 1", rw: "randread", block: "4k", depth: 1 },
  { name: "4k random read, depth 16", rw: "randread", block: "4k", depth: 16 },
  { name: "4k random write, depth 1", rw: "randwrite", block: "4k", depth: 1 },
  { name: "4k random write, depth 16", rw: "randwrite", block: "4k", depth: 16 },
  { name: "128k sequential read, depth 8", rw: "read", block: "128k", depth: 8 },
  { name: "128k sequential write, depth 8", rw: "write", block: "128k", depth: 8 },
];

interface FioDirection {
  readonly iops: number;
  readonly bw_bytes: number;
  readonly clat_ns: { readonly percentile?: Readonly<Record<string, number>> };
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
  return {
    iops: direction.iops,
    mibPerSecond: direction.bw_bytes / (1 << 20),
    p99: (direction.clat_ns.percentile?.["99.000000"] ?? 0) / 1000,
  };
}
