/** All mutations, in order of their numbers. */

import { LEASE_MUTATIONS } from "./lease_mutations.ts";
import { MODE_MUTATIONS } from "./mode_mutations.ts";
import type { Mutation } from "./mutation.ts";
import { OWN_MUTATIONS } from "./own_mutations.ts";
import { REGISTER_MUTATIONS } from "./register_mutations.ts";
import { RESYNC_MUTATIONS } from "./resync_mutations.ts";
import { VOLUME_MUTATIONS } from "./volume_mutations.ts";

/** See the module comment. */
export const MUTATIONS: readonly Mutation[] = [
  ...VOLUME_MUTATIONS,
  ...RESYNC_MUTATIONS,
  ...REGISTER_MUTATIONS,
  ...LEASE_MUTATIONS,
  ...MODE_MUTATIONS,
  ...OWN_MUTATIONS,
].sort((one, other) => one.number - other.number);
