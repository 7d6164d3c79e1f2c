/** What each bench measures. */
import {
  bascule,
  type ContenderSettings,
  nbdkit,
  nbdServer,
  qemuNbd,
  qemuQuorum,
} from "./contenders.ts";
import { workloads } from "./fio.ts";
import type { Suite } from "./rounds.ts";

/** A bench. */
export type SuiteName = "overview" | "nbd" | "replication" | "engine";

/** The contender whose ratio to the best of the others is shown. */
export const OURS = "bascule";
/** Our export without a second copy, beside ours with one. */
const ONE_COPY = "bascule, one copy";

const ONE = ["a"];
const TWO = ["a", "b"];

/** The suites of a bench, in order. */
export function suitesOf(name: SuiteName): Suite[] {
  switch (name) {
    case "overview":
      return [
        localSuite("one copy, buffered", { io: "buffered", transport: "unix" }, [1, 16], false),
        replicatedSuite("two copies, protocol C", [1, 16], false),
      ];
    case "nbd":
      return [
        localSuite("buffered, unix socket", { io: "buffered", transport: "unix" }, DEPTHS, true),
        localSuite("direct, unix socket", { io: "direct", transport: "unix" }, DEPTHS, true),
        localSuite("buffered, TCP", { io: "buffered", transport: "tcp" }, DEPTHS, false),
      ];
    case "replication":
      return [replicatedSuite("two copies, protocol C", DEPTHS, true)];
    case "engine":
      return [engineSuite("buffered"), engineSuite("direct")];
  }
}

const DEPTHS = [1, 16, 64];

function localSuite(
  name: string,
  settings: ContenderSettings,
  depths: readonly number[],
  copies: boolean,
): Suite {
  const contenders = [
    bascule(OURS, ONE, settings),
    qemuNbd(settings),
    nbdkit(settings),
    // It cannot go past the page cache.
    ...settings.io === "buffered" ? [nbdServer(settings)] : [],
  ];
  return { name, contenders, workloads: workloads(depths), copies };
}

function replicatedSuite(name: string, depths: readonly number[], all: boolean): Suite {
  const settings: ContenderSettings = { io: "buffered", transport: "unix" };
  const contenders = [
    bascule(OURS, TWO, settings),
    qemuQuorum("qemu-nbd", settings),
    ...all ? [qemuQuorum("nbdkit", settings), bascule(ONE_COPY, ONE, settings, false)] : [],
  ];
  return { name, contenders, workloads: workloads(depths), copies: false };
}

function engineSuite(io: ContenderSettings["io"]): Suite {
  const settings: ContenderSettings = { io, transport: "unix" };
  const contenders = [
    bascule(OURS, ONE, { ...settings, engine: "io_uring" }),
    bascule("bascule, epoll", ONE, { ...settings, engine: "epoll" }),
  ];
  return { name: `engines, ${io}`, contenders, workloads: workloads(DEPTHS), copies: false };
}
