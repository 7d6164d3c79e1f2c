/** The agent's log: one line a note on standard error, for a terminal or for the system's journal. */

import { configureSync, getLogger, type LogRecord, resetSync } from "@logtape/logtape";
import type { Note } from "../cluster/types.ts";

/** Levels, the least first. */
export type LogLevel = Note["level"];

/** How the log is set up. */
export interface LoggingOptions {
  /** Least level that is shown. Default `info`. */
  readonly level?: LogLevel;
  /** Name of this node: shown for notes that are about none. */
  readonly node: string;
  /** Takes a line with its line feed. Default: standard error. */
  readonly write?: (line: string) => void;
}

const CATEGORY = "bascule";
const RULE_WIDTH = 16;

/** Sets up the log of this process. A later call replaces an earlier one. */
export function setUpLogging(options: LoggingOptions): void {
  const write = options.write ?? writeToStderr;
  const sink = (record: LogRecord) => write(formatRecord(record, options.node) + "\n");
  configureSync({
    reset: true,
    sinks: { line: sink },
    loggers: [
      { category: CATEGORY, sinks: ["line"], lowestLevel: options.level ?? "info" },
      { category: ["logtape", "meta"], sinks: ["line"], lowestLevel: "error" },
    ],
  });
}

/** Undoes {@linkcode setUpLogging}; then nothing is shown. */
export function endLogging(): void {
  resetSync();
}

/** One line for a note. */
export function logNote(note: Note): void {
  const { level, rule, node, group, text } = note;
  const shown = group === undefined ? text : `${group}: ${text}`;
  getLogger(CATEGORY)[level]("{text}", { text: shown, rule, ...(node !== undefined && { node }) });
}

/** One line of plain text, such as what a script said. */
export function logText(level: LogLevel, text: string): void {
  getLogger(CATEGORY)[level]("{text}", { text, rule: "output" });
}

/** `2026-11-24 00:04:13.123 warning a  lease-lost       web: …`, in local time. */
function formatRecord(record: LogRecord, self: string): string {
  const { text, rule, node } = record.properties as Partial<Record<string, string>>;
  const message = text ?? record.message.map(String).join("");
  const level = record.level.padEnd("warning".length);
  return [
    formatTime(new Date(record.timestamp)),
    level,
    node ?? self,
    (rule ?? record.category.join(".")).padEnd(RULE_WIDTH),
    // deno-lint-ignore no-control-regex -- a line stays one line, and a terminal is not steered
    message.replace(/[\x00-\x1f\x7f-\x9f]+/g, " "),
  ].join(" ");
}

function formatTime(time: Date): string {
  const two = (value: number) => String(value).padStart(2, "0");
  const day = `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
  const clock = `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
  return `${day} ${clock}.${String(time.getMilliseconds()).padStart(3, "0")}`;
}

/** A log that nobody takes any more must not stop the agent. */
function writeToStderr(line: string): void {
  const bytes = new TextEncoder().encode(line);
  try {
    for (let at = 0; at < bytes.length;) at += Deno.stderr.writeSync(bytes.subarray(at));
  } catch {
    return;
  }
}
