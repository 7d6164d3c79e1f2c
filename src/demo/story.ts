/**
 * The demonstration: a cluster on this machine that loses a server under load, loses no record, gets
 * its server back, and moves the service home.
 *
 * @module
 */
import { createKeyFile } from "../config/key_file.ts";
import { selfCommand } from "../agent/self.ts";
import { request } from "../status/client.ts";
import type { StatusDocument } from "../status/types.ts";
import { Agents } from "./agents.ts";
import { configuration, Files, GROUP, VOLUME } from "./configuration.ts";
import type { LoadReport } from "./load_client.ts";
import { LoadProcess } from "./load_process.ts";
import { RECORD_SIZE } from "./record_protocol.ts";
import { loopbackStage, namespaceStage, type NodeName, NODES, type Stage } from "./stage.ts";
import { JournalFollower, Timeline } from "./timeline.ts";

/** Size of the volume, MiB. */
const SIZE_MIB = 256;
/** Everything below is waited for at most so long, milliseconds. */
const PATIENCE = 20_000;
/** Rules of the journal that would bury the story. */
const DETAILS: ReadonlySet<string> = new Set(["link-bound", "link-up", "link-down", "peer-alive"]);
/** How long the client writes before each blow, milliseconds. */
const LOAD_TIME = 3000;

/** Runs the demonstration; true if nothing was lost. */
export async function runStory(where: "namespaces" | "loopback"): Promise<boolean> {
  const stage = where === "namespaces" ? await namespaceStage() : loopbackStage();
  const directory = await Deno.makeTempDir({ prefix: "bascule-demo-" });
  const story = new Story(stage, new Files(directory));
  try {
    return await story.play();
  } finally {
    await story.end();
    await stage.remove();
    await Deno.remove(directory, { recursive: true });
  }
}

type Verified = Extract<LoadReport, { type: "verified" }>;

class Story {
  readonly #stage: Stage;
  readonly #files: Files;
  readonly #timeline = new Timeline();
  readonly #agents: Agents;
  readonly #followers = new Map<NodeName, JournalFollower>();
  #load: LoadProcess | null = null;

  constructor(stage: Stage, files: Files) {
    this.#stage = stage;
    this.#files = files;
    this.#agents = new Agents(stage, files);
  }

  async play(): Promise<boolean> {
    const timeline = this.#timeline;
    timeline.chapter("1. Two servers, a witness, a client");
    timeline.line(`           ${this.#stage.description}`);
    await this.#setUp();
    const first = await this.#waitForOwner();
    timeline.event(
      `${first} runs the group; the client writes records of ${RECORD_SIZE / 1024} KiB`,
    );
    const load = this.#load = LoadProcess.start(this.#stage, this.#records());
    load.send("load");
    await this.#waitInSync(first, null);
    await sleep(LOAD_TIME);

    timeline.chapter(`2. ${first} dies: every process killed with -9, every cable pulled`);
    load.send("mark");
    await load.next("mark");
    const blow = timeline.now();
    await this.#agents.powerCut(first);
    timeline.event(`${first} is dead`, blow);
    const crash = await load.next("answered");
    timeline.event(`client answered again, ${ms(crash.afterMs)} after its last answer`);
    const second = await this.#waitForOwner();
    await sleep(LOAD_TIME);
    load.send("mark");
    const crashOutage = (await load.next("mark")).longestGapMs;

    timeline.chapter(`3. Is every acknowledged record on ${second}?`);
    const afterCrash = await this.#verify(load, second);

    timeline.chapter(`4. ${first} comes back: only what it missed is copied`);
    load.send("load");
    await this.#stage.powerOn(first);
    this.#startAgent(first);
    await this.#waitInSync(second, first);

    timeline.chapter(`5. The service moves home, gracefully`);
    await sleep(LOAD_TIME / 3);
    load.send("mark");
    await load.next("mark");
    await request(this.#files.runtime(second), "POST", "/v1/command", {
      type: "move",
      group: GROUP,
      to: first,
    });
    await this.#waitForOwner(first);
    await sleep(LOAD_TIME / 3);
    load.send("mark");
    const moveOutage = (await load.next("mark")).longestGapMs;
    await this.#waitInSync(first, null);
    const afterMove = await this.#verify(load, first);

    timeline.chapter("Summary");
    const lost = afterCrash.lost + afterMove.lost;
    const checked = afterCrash.records + afterMove.records;
    timeline.line(`  client outage, crash of the active server   ${ms(crashOutage)}`);
    timeline.line(`  client outage, graceful move                ${ms(moveOutage)}`);
    timeline.line(`  acknowledged writes                         ${load.acknowledged}`);
    timeline.line(
      `  records read back and compared by SHA-256   ${checked} ` +
        `(${(afterCrash.bytes + afterMove.bytes) / (1 << 20)} MiB)`,
    );
    timeline.line(`  lost                                        ${lost}`);
    if (this.#stage.virtualAddress === null) {
      timeline.line(
        "  not shown here: the virtual address and pulled cables; they need namespaces",
      );
    }
    return lost === 0 && checked > 0;
  }

  /** Ends every process that the story started. */
  async end(): Promise<void> {
    await Promise.all([...this.#followers.values()].map((follower) => follower.stop()));
    await this.#load?.end();
    await this.#agents.end();
  }

  #records(): number {
    return (SIZE_MIB << 20) / RECORD_SIZE;
  }

  async #setUp(): Promise<void> {
    const text = configuration(this.#stage, this.#files, selfCommand(), SIZE_MIB);
    createKeyFile(this.#files.key);
    await Deno.writeTextFile(this.#files.configuration, text);
    for (const node of NODES) {
      await Deno.mkdir(this.#files.state(node), { recursive: true });
      await Deno.mkdir(this.#files.runtime(node), { recursive: true });
      if (node !== "temoin") await this.#agents.createVolume(node, VOLUME);
    }
    for (const node of NODES) this.#startAgent(node);
  }

  #startAgent(node: NodeName): void {
    this.#agents.start(node);
    if (this.#followers.has(node)) return;
    const follower = new JournalFollower(
      this.#files.runtime(node),
      (entry) => {
        if (DETAILS.has(entry.rule)) return;
        this.#timeline.event(`${node.padEnd(9)} ${entry.text}`, this.#timeline.at(entry));
      },
    );
    this.#followers.set(node, follower);
  }

  async #status(node: NodeName): Promise<StatusDocument | null> {
    try {
      return await request(this.#files.runtime(node), "GET", "/v1/status") as StatusDocument;
    } catch {
      return null;
    }
  }

  /** Waits until a node runs the group, or `wanted` does. */
  async #waitForOwner(wanted?: NodeName): Promise<NodeName> {
    return await this.#until(`a node that runs group ${GROUP}`, async () => {
      for (const node of NODES) {
        if (wanted !== undefined && node !== wanted) continue;
        const group = (await this.#status(node))?.groups.find((group) => group.name === GROUP);
        if (group?.owner === node && group.state === "running") return node;
      }
      return null;
    });
  }

  /** Waits until both replicas are up to date, showing the progress of a resync. */
  async #waitInSync(primary: NodeName, target: NodeName | null): Promise<void> {
    await this.#until("both replicas up to date", async () => {
      const volume = (await this.#status(primary))?.volumes.find((each) => each.name === VOLUME);
      const peer = volume?.peers[0];
      if (volume === undefined || peer === undefined) return null;
      if (target !== null && peer.resync !== undefined) {
        this.#timeline.progress(
          `resync of ${(peer.resync.totalBytes / (1 << 20)).toFixed(0).padStart(4)} MiB`,
          peer.resync.doneBytes,
          peer.resync.totalBytes,
        );
      }
      return volume.upToDate.length === 2 ? true : null;
    });
    this.#timeline.event("both replicas are up to date");
  }

  async #verify(load: LoadProcess, from: NodeName): Promise<Verified> {
    load.send("pause");
    await load.next("paused");
    load.send("verify");
    const result = await load.next("verified");
    this.#timeline.event(
      `${result.records} records read back from ${from} and compared by SHA-256, ${result.lost} lost`,
    );
    return result;
  }

  async #until<T>(what: string, probe: () => Promise<T | null>): Promise<T> {
    const deadline = performance.now() + PATIENCE;
    while (performance.now() < deadline) {
      const found = await probe();
      if (found !== null) return found;
      this.#agents.check();
      await sleep(20);
    }
    throw new Error(`waited ${PATIENCE / 1000} s in vain for ${what}\n${this.#agents.lastWords()}`);
  }
}

function ms(value: number): string {
  return `${value.toFixed(0).padStart(5)} ms`;
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
