/**
 * Everything that can be done to a simulated cluster, as plain data: what was drawn in one run can be
 * done again in another, in part or whole. Times are milliseconds of the simulated world.
 */

import type { OperatorCommand } from "../cluster/types.ts";

/** How long something lasts, milliseconds; null: until something else ends it. */
export type Duration = number | null;

/**
 * One direction or more on one path or more: `a>b/0` (from a to b on link 0), `a-b` (both directions,
 * all paths), `a-*\/r` (all replication of a). `*` is any machine, or any path.
 */
export type RoutePattern = string;

/** What happens. */
export type Fault =
  /** The agent is killed; `power`: the machine loses power. Started again after `down`. */
  | { readonly fault: "kill" | "power"; readonly node: string; readonly down: Duration }
  /** A machine's agent is started, if none runs. */
  | { readonly fault: "start"; readonly node: string }
  /** Killed between two effects, after so many of them; `power`: and the machine, where that may be. */
  | {
    readonly fault: "fuse";
    readonly node: string;
    readonly effects: number;
    readonly power: boolean;
    readonly down: number;
  }
  /** Ended in order, and started again; `reboot`: with the machine. */
  | {
    readonly fault: "shutdown";
    readonly node: string;
    readonly down: Duration;
    readonly reboot: boolean;
  }
  | { readonly fault: "cut"; readonly routes: readonly RoutePattern[]; readonly for: Duration }
  /** Ends cuts of exactly these routes, whoever made them; no routes: all cuts. */
  | { readonly fault: "heal"; readonly routes: readonly RoutePattern[] }
  /** The replication connection of a volume breaks. */
  | { readonly fault: "reset"; readonly node: string; readonly volume: string }
  /** Packets on these routes get lost, doubled, delayed and so reordered. */
  | {
    readonly fault: "weather";
    readonly routes: readonly RoutePattern[];
    readonly loss: number;
    readonly duplication: number;
    readonly delay: readonly [number, number];
    readonly for: Duration;
  }
  /** Threads of the agent are not scheduled: `both` stands for a stopped process. */
  | {
    readonly fault: "pause";
    readonly node: string;
    readonly threads: "both" | "main" | "worker";
    readonly for: Duration;
  }
  /** Ends every pause of a machine. */
  | { readonly fault: "resume"; readonly node: string }
  /** The whole machine stands still, and its clock with it: a paused virtual machine. */
  | { readonly fault: "freeze"; readonly node: string; readonly for: number }
  | {
    readonly fault: "slowDisk";
    readonly node: string;
    readonly volume: string;
    /** Least and most milliseconds that an operation takes. */
    readonly latency: readonly [number, number];
    readonly for: Duration;
  }
  /** Operations fail: 5 (EIO) all of them, or reads only; 28 (ENOSPC) those that write. */
  | {
    readonly fault: "diskError";
    readonly node: string;
    readonly volume: string;
    readonly errno: number;
    readonly reads?: true;
    readonly for: Duration;
  }
  /** An operator asks the agent of `node`, or the first that runs. */
  | { readonly fault: "command"; readonly node?: string; readonly command: OperatorCommand }
  /** The file of a node is replaced by the n-th variant of the configuration; nobody pushes it yet. */
  | { readonly fault: "file"; readonly node: string; readonly variant: number }
  /** The program of a node is replaced: its agent ends in order, the next run speaks more versions. */
  | {
    readonly fault: "upgrade";
    readonly node: string;
    readonly newest: number;
    readonly down: number;
  }
  /** The wall clock of a node jumps by so many milliseconds. */
  | { readonly fault: "wallJump"; readonly node: string; readonly by: number }
  /** An operator ends maintenance and every standby and cleans every group up. */
  | { readonly fault: "pardon" }
  /** A running service ends by itself. */
  | {
    readonly fault: "serviceDies";
    readonly node: string;
    readonly group: string;
    readonly service: number;
  }
  /** For a while this share of what services are asked fails, hangs, or is answered with a lie. */
  | {
    readonly fault: "ail";
    readonly node: string;
    readonly how: "fails" | "hangs" | "lies";
    readonly share: number;
    readonly for: Duration;
  }
  /**
   * The agent is killed and the voter's state lost, with its disk or (`rot`: at this share of its
   * length) by one bit of its log. Only while every other voter is listed and holds every register.
   */
  | {
    readonly fault: "voterLoss";
    readonly node: string;
    readonly rot: number | null;
    readonly down: number;
  }
  /** The agent is killed and the disk of a replica replaced by a used one. */
  | {
    readonly fault: "diskLoss";
    readonly node: string;
    readonly volume: string;
    readonly seed: number;
    readonly down: number;
  };

/** Names of all kinds. */
export const FAULT_NAMES: ReadonlySet<string> = new Set<Fault["fault"]>([
  "kill",
  "power",
  "start",
  "fuse",
  "shutdown",
  "cut",
  "heal",
  "reset",
  "weather",
  "pause",
  "resume",
  "freeze",
  "slowDisk",
  "diskError",
  "command",
  "file",
  "upgrade",
  "wallJump",
  "pardon",
  "serviceDies",
  "ail",
  "voterLoss",
  "diskLoss",
]);

/** A fault and when it happens. */
export type TimedFault = Fault & { readonly at: number };

/** A fault in one line, as a timeline shows it. */
export function describeFault(fault: Fault): string {
  const { fault: name, ...rest } = fault;
  if (name === "heal" && fault.routes.length === 0) return "heal all";
  const about = Object.entries(rest).filter(([key, value]) => key !== "at" && value !== null).map((
    [key, value],
  ) => `${key}=${typeof value === "number" ? round(value) : plain(value)}`);
  return [name, ...about].join(" ");
}

function plain(value: unknown): string {
  if (Array.isArray(value)) return value.map(plain).join(",");
  if (typeof value === "number") return round(value);
  return typeof value === "object" && value !== null ? JSON.stringify(value) : String(value);
}

function round(value: number): string {
  return Number.isInteger(value) ? `${value}` : value.toFixed(3);
}
