/**
 * Versions of the replication link's protocol. Both ends say which they speak in the challenge, and use
 * the newest that both know.
 *
 * - 1: as of the first release.
 * - 2: DETACH and READ: a Primary whose disk fails goes on through its peer.
 */

/** Oldest and newest version of the replication link that this code speaks. */
export const LINK_VERSIONS = { oldest: 1, newest: 2 } as const;
