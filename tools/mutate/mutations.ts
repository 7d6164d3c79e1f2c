/** All mutations, in order of their numbers. */

import { LEASE_MUTATIONS } from "./lease_mutations.ts";
import type { Mutation } from "./mutation.ts";
import { REGISTER_MUTATIONS } from "./register_mutations.ts";

/** See the module comment. */
export const MUTATIONS: readonly Mutation[] = [
  ...REGISTER_MUTATIONS,
  ...LEASE_MUTATIONS,
].sort((one, other) => one.number - other.number);
