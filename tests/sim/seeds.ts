/** Every seed that once broke a promise, and what it showed. They are run each time. */

/** One world that went wrong once. */
export interface KnownSeed {
  readonly seed: number;
  /** Simulated minutes of trouble. */
  readonly minutes: number;
  readonly found: string;
}

/** See the module comment. */
export const KNOWN_SEEDS: readonly KnownSeed[] = [
  {
    seed: 1181,
    minutes: 4,
    found: "an address whose stop hung was not taken away when the lease was lost",
  },
];
