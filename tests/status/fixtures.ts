/** A status document, a provider and a directory for the tests of the API and of the command line. */

import type { Note, OperatorCommand } from "../../src/cluster/types.ts";
import { serveApi, type StatusApi } from "../../src/status/api.ts";
import { Journal } from "../../src/status/journal.ts";
import type { ConfigStatus, StatusDocument } from "../../src/status/types.ts";

/** A cluster in the middle of a resync. */
export const DOCUMENT: StatusDocument = {
  cluster: "web",
  node: "serveur-a",
  quorum: { have: true, mode: "majority", votes: 2, expected: 3 },
  nodes: [
    {
      name: "serveur-a",
      state: "online",
      role: "data",
      links: [{ address: "udp://192.0.2.1:6940", up: true }],
    },
    {
      name: "serveur-b",
      state: "late",
      role: "data",
      links: [
        { address: "udp://192.0.2.2:6940", up: true },
        { address: "udp://198.51.100.2:6940", up: false },
      ],
    },
    { name: "temoin", state: "offline", role: "witness", links: [] },
  ],
  groups: [
    {
      name: "web",
      owner: "serveur-a",
      state: "running",
      resources: [
        { id: "volume:data", kind: "volume", state: "running" },
        { id: "ip:192.0.2.3/24", kind: "ip", state: "suspended" },
      ],
    },
    {
      name: "mail",
      owner: null,
      state: "stopped",
      resources: [],
      reason: "no candidate is online",
    },
  ],
  volumes: [
    {
      name: "data",
      role: "Primary",
      disk: "UpToDate",
      connection: "SyncSource",
      peers: [
        {
          node: "serveur-b",
          disk: "Inconsistent",
          outOfSyncBytes: 3 * 2 ** 30,
          resync: { doneBytes: 2 ** 30, totalBytes: 4 * 2 ** 30, bytesPerSecond: 2 ** 27 },
        },
      ],
      upToDate: ["serveur-a"],
      generation: "9f3c",
    },
  ],
};

/** Of an agent whose file holds what it runs. */
export const RUNNING: ConfigStatus = {
  running: "aaaa",
  pushed: null,
  file: null,
  problem: null,
  live: [],
  restart: [],
  refused: [],
  leaving: [],
};

/** A note of this level. */
export function note(text: string, level: Note["level"] = "info"): Note {
  return { level, rule: "take", group: "web", text, known: { epoch: 4, sole: true } };
}

/** What an API was asked, and the API itself. */
export interface TestApi {
  readonly dir: string;
  readonly api: StatusApi;
  readonly journal: Journal;
  readonly commands: OperatorCommand[];
}

/** A test with a directory of its own. */
export function withDirectory(name: string, body: (dir: string) => Promise<void> | void): void {
  Deno.test(name, async () => {
    const dir = await Deno.makeTempDir({ prefix: "bascule-status-" });
    try {
      await body(dir);
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  });
}

/** A test with an API that carries commands out by `command`. */
export function withApi(
  name: string,
  body: (test: TestApi) => Promise<void>,
  command: (command: OperatorCommand) => Promise<string | null> = () => Promise.resolve(null),
): void {
  withDirectory(name, async (dir) => {
    const journal = Journal.open(`${dir}/state`, { node: "serveur-a" });
    const commands: OperatorCommand[] = [];
    const provider = {
      status: () => DOCUMENT,
      config: () => RUNNING,
      command: (asked: OperatorCommand) => {
        commands.push(asked);
        return command(asked);
      },
      journal,
    };
    const api = serveApi(dir, provider, { commandTimeout: 200 });
    try {
      await body({ dir, api, journal, commands });
    } finally {
      await api.close();
      await journal.close();
    }
  });
}
