/** What a cluster has to offer to be measured. */
import type { NodeName, Site } from "./site.ts";

/** One kind of cluster with its settings. */
export interface Contender {
  /** For the table. */
  readonly name: string;
  /** Configured dead time, milliseconds. */
  readonly deadtime: number;
  /** Whether it starts and stops the service; otherwise one answers at both nodes all the time. */
  readonly movesService: boolean;
  /** Programs that it needs. */
  readonly needs: readonly string[];
  /** Its version, one line. */
  version(): Promise<string>;
  /** Makes its files in `directory` and prepares it to run at the site. Starts nothing. */
  prepare(site: Site, directory: string): Promise<Cluster>;
}

/** A contender at its site. */
export interface Cluster {
  /** Starts everything on a node. */
  start(node: NodeName): Promise<void>;
  /** What is not on one of the two nodes; the address goes to `a` first where that can be said. */
  startRest(): Promise<void>;
  /** Whether `active` has the address and `standby` is able to take it. */
  ready(active: NodeName, standby: NodeName): Promise<boolean>;
  /** Hands the address over to the other node in order. */
  handOver(active: NodeName): Promise<void>;
  /** The node that handed over becomes a standby again. */
  rejoin(node: NodeName): Promise<void>;
  /** The agent's processes on a node. */
  agents(node: NodeName): Promise<number[]>;
}
