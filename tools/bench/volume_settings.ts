/**
 * `deno task bench:al`: what settings of a volume cost. Random writes of 4 KiB over a volume of many
 * more extents than the log holds, against `al_extents`; and writes to a replicated volume, plain and
 * with `encrypt = true`. Rounds are interleaved; figures are medians.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { formatTable, printLine } from "../../src/cli/output.ts";
import { type PlaneOptions, startPlanes } from "./bascule.ts";
import { measure, type Measurement, type Workload } from "./fio.ts";
import { median } from "./table.ts";

const GIB = 2 ** 30;
const RANDOM: Workload = { name: "random", rw: "randwrite", block: "4k", depth: 16 };
const LARGE: Workload = { name: "large", rw: "write", block: "128k", depth: 8 };

interface Case {
  readonly label: readonly string[];
  readonly planes: Partial<PlaneOptions>;
  readonly size: number;
  readonly workload: Workload;
}

async function once({ planes, size, workload }: Case, seconds: number): Promise<Measurement> {
  const directory = Deno.makeTempDirSync({ prefix: "bascule-bench-" });
  try {
    const running = await startPlanes({
      directory,
      size,
      io: "buffered",
      transport: "unix",
      nodes: ["a"],
      ...planes,
    });
    try {
      return await measure(running.uri, workload, seconds);
    } finally {
      await running.stop();
    }
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

async function table(cases: readonly Case[], rounds: number, seconds: number): Promise<string[][]> {
  const found = cases.map(() => [] as Measurement[]);
  for (let round = 0; round < rounds; round++) {
    for (const [i, one] of cases.entries()) found[i]!.push(await once(one, seconds));
  }
  return cases.map(({ label }, i) => {
    const of = (value: (one: Measurement) => number) =>
      Math.round(median(found[i]!.map(value))).toString();
    return [...label, of((one) => one.iops), of((one) => one.mibPerSecond), of((one) => one.p99)];
  });
}

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    seconds: { type: "string", default: "3" },
  },
});
const [rounds, seconds] = [Number(values.rounds), Number(values.seconds)];

const size = 8 * GIB;
const logs = [67, 257, 1237, 2048].map((alExtents): Case => ({
  label: [String(alExtents), `${Math.round((100 * alExtents * 4 * 2 ** 20) / size)} %`],
  planes: { alExtents },
  size,
  workload: RANDOM,
}));
printLine(`random writes of 4 KiB, depth 16, over ${size / GIB} GiB, one replica`);
const header = ["IOPS", "MIB/S", "P99 US"];
for (
  const line of formatTable(
    ["AL_EXTENTS", "OF THE VOLUME", ...header],
    await table(logs, rounds, seconds),
  )
) {
  printLine(line);
}

const links = [false, true].flatMap((encrypt) =>
  [RANDOM, LARGE].map((workload): Case => ({
    label: [encrypt ? "AES-256-GCM" : "plain", `${workload.block} ${workload.rw}`],
    planes: { nodes: ["a", "b"], encrypt },
    size: GIB / 4,
    workload,
  }))
);
printLine("");
printLine("two replicas over loopback, protocol C");
for (
  const line of formatTable(["LINK", "WORKLOAD", ...header], await table(links, rounds, seconds))
) {
  printLine(line);
}
